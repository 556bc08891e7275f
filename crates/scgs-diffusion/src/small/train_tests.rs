//! Training steps: repeatable, resumable, and they learn.

use burn::tensor::Device;
use image::{Rgb, RgbImage, Rgba, RgbaImage};

use super::*;

fn scenes() -> Scenes {
    let background = RgbImage::from_pixel(90, 70, Rgb([10, 20, 200]));
    let cutout = |colour: [u8; 3]| RgbaImage::from_pixel(30, 40, Rgba([colour[0], colour[1], colour[2], 255]));
    Scenes::new(vec![background], vec![vec![cutout([230, 30, 10])], vec![cutout([20, 200, 10])]]).unwrap()
}

fn trainer(seed: u64) -> Trainer {
    let network = UnetConfig { channels: [8, 8, 64], embedding: 16, classes: 2 };
    let config = TrainerConfig { network, batch: 4, rate: 3e-3, seed };
    Trainer::new(config, scenes(), &Device::flex()).unwrap()
}

fn steps(trainer: &mut Trainer, count: usize, total: Option<u64>) {
    for _ in 0..count {
        trainer.step(total).unwrap();
    }
}

#[test]
fn the_loss_falls() {
    let mut trainer = trainer(1);
    trainer.progress.config.rate = 0.02;
    let losses: Vec<f32> = (0..80).map(|_| trainer.step(None).unwrap().loss).collect();
    let mean = |part: &[f32]| part.iter().sum::<f32>() / part.len() as f32;
    let (first, last) = (mean(&losses[..15]), mean(&losses[65..]));
    assert!(last < 0.85 * first, "{first} to {last}: {losses:?}");
}

#[test]
fn a_training_that_was_interrupted_ends_with_the_same_bytes_on_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let threads = |count| rayon::ThreadPoolBuilder::new().num_threads(count).build().unwrap();
    let total = Some(10);
    threads(1).install(|| {
        let mut straight = trainer(2);
        steps(&mut straight, 10, total);
        straight.save(&path("straight.safetensors")).unwrap();
    });
    threads(3).install(|| {
        let mut first = trainer(2);
        steps(&mut first, 9, total);
        first.checkpoint(&path("state.safetensors")).unwrap();
        let mut second = trainer(2).resume(&path("state.safetensors")).unwrap();
        assert_eq!(second.progress(), first.progress());
        assert_eq!(second.progress().decaying_to, total, "step 9 of 10 lies in the decay");
        assert!(second.leads_to(10) && !second.leads_to(20));
        second.step(total).unwrap();
        second.save(&path("resumed.safetensors")).unwrap();
    });
    let read = |name| fs_err::read(path(name)).unwrap();
    assert!(read("straight.safetensors") == read("resumed.safetensors"));
}

#[test]
fn a_training_without_an_end_becomes_one_with_an_end() {
    let mut open = trainer(3);
    steps(&mut open, 8, None);
    let total = open.total_if_decaying_now();
    assert_eq!(total, 9, "9 - 9 / 5 is 8");
    assert!(open.leads_to(total));
    open.step(Some(total)).unwrap();
    let mut planned = trainer(3);
    steps(&mut planned, 9, Some(total));
    assert_eq!(open.state, planned.state);
}

#[test]
fn what_does_not_fit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    trainer(4).checkpoint(&path).unwrap();
    let refused = trainer(5).resume(&path).unwrap_err().to_string();
    assert!(refused.contains("another training") && refused.contains("seed: 4"), "{refused}");
    fs_err::write(&path, b"short").unwrap();
    assert!(trainer(4).resume(&path).unwrap_err().to_string().contains("state.safetensors"));
    let config =
        TrainerConfig { network: UnetConfig { classes: 3, ..UnetConfig::default() }, ..TrainerConfig::default() };
    let refused = Trainer::new(config, scenes(), &Device::flex()).unwrap_err().to_string();
    assert!(refused.contains("3 classes of objects, but cut-outs of 2"), "{refused}");
}

#[test]
fn saved_weights_come_back_and_damaged_ones_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    let trainer = trainer(6);
    trainer.save(&path).unwrap();
    let (network, config) = weights::load(&path, &Device::flex()).unwrap();
    assert_eq!(config, trainer.progress().config.network);
    let names: Vec<_> = parameters::shapes(&network);
    assert_eq!(names, parameters::shapes(&trainer.averaged()));
    let bytes = fs_err::read(&path).unwrap();
    let error = |bytes: &[u8]| {
        fs_err::write(&path, bytes).unwrap();
        weights::load(&path, &Device::flex()).unwrap_err().to_string()
    };
    assert!(error(&bytes[..bytes.len() / 2]).contains("no complete safetensors file"));
    let name = b"\"stem.weight\"";
    let at = bytes.windows(name.len()).position(|part| part == name).unwrap();
    let mut renamed = bytes.clone();
    renamed[at..at + name.len()].copy_from_slice(b"\"stem.wieght\"");
    let message = error(&renamed);
    assert!(
        message.contains("stem.weight [8, 28, 3, 3] is missing") && message.contains("stem.wieght is unknown"),
        "{message}"
    );
    let mut infinite = bytes.clone();
    let end = infinite.len();
    infinite[end - 2..].copy_from_slice(&half::f16::INFINITY.to_le_bytes());
    assert!(error(&infinite).contains("no numbers"));
}

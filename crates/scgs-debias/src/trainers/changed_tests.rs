//! Changed pictures pixel by pixel.

use std::{path::Path, sync::atomic::AtomicBool};

use burn::tensor::Device;
use image::{Rgb, RgbImage, imageops};
use scgs_models::{Architecture, HeadPolicy};

use super::*;
use crate::minibatch::Partner;

/// A picture in which every pixel has its own colour.
fn gradient(path: &Path, side: u32, blue: u8) {
    let step = (255 / side) as u8;
    RgbImage::from_fn(side, side, |x, y| Rgb([x as u8 * step, y as u8 * step, blue])).save(path).unwrap();
}

type Files = Vec<(u64, PathBuf)>;

/// Two pictures of 16 x 16 that fill the input exactly, as (files, values of the one and of the other).
fn two(dir: &Path) -> (Files, Input, Vec<f32>, Vec<f32>) {
    let input = Input::new(Architecture::ResNet18, 16);
    let files: Files = (0..2).map(|i| (i, dir.join(format!("{i}.png")))).collect();
    gradient(&files[0].1, 16, 0);
    gradient(&files[1].1, 16, 200);
    let values = |i: usize| input.values(&[files[i].1.clone()]).unwrap();
    let (a, b) = (values(0), values(1));
    (files, input, a, b)
}

fn loading(input: Input, files: &Files) -> impl Fn(Of, &[usize]) -> Result<Vec<f32>, Error> {
    move |_, rows| input.values(&rows.iter().map(|&row| files[row].1.clone()).collect::<Vec<_>>())
}

fn item(partner: Option<Partner>) -> Item {
    Item { row: 0, partner }
}

#[test]
fn cutmix_replaces_the_rectangle_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (files, input, a, b) = two(dir.path());
    // Rows 4 to 8 and columns 8 to 16 of 16.
    let partner = Partner { row: 1, keep: 1.0 - 0.25 * 0.5, cut: Some([0.25, 0.5, 0.5, 1.0]) };
    let cut = mixed(16, &[item(Some(partner)), item(None)], &loading(input, &files)).unwrap();
    assert_eq!(cut.len(), 2 * 3 * 16 * 16);
    let mut replaced = 0;
    for channel in 0..3 {
        for y in 0..16 {
            for x in 0..16 {
                let at = channel * 256 + y * 16 + x;
                let inside = (4..8).contains(&y) && (8..16).contains(&x);
                replaced += usize::from(inside);
                assert_eq!(cut[at], if inside { b[at] } else { a[at] }, "channel {channel}, row {y}, column {x}");
            }
        }
    }
    assert_eq!(replaced as f64 / 768.0, 1.0 - partner.keep, "the labels are weighted by what is replaced");
    assert_eq!(cut[768..], a[..], "an example without a partner stays as it is");
}

#[test]
fn mixup_is_the_weighted_mean_of_every_pixel() {
    let dir = tempfile::tempdir().unwrap();
    let (files, input, a, b) = two(dir.path());
    let values = mixed(16, &[item(Some(Partner { row: 1, keep: 0.75, cut: None }))], &loading(input, &files)).unwrap();
    for ((v, a), b) in values.iter().zip(&a).zip(&b) {
        assert!((v - (0.75 * a + 0.25 * b)).abs() < 1e-6);
    }
}

/// An animal on grey, and whether a pixel is inside its cut-out.
fn animal(path: &Path, left: i64) -> RgbImage {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/habitat/fg/mammal/gc_panda.png");
    let cutout = image::open(root).unwrap().to_rgba8();
    let cutout = imageops::resize(&cutout, 100, 100, imageops::FilterType::Triangle);
    let mut picture = image::RgbaImage::from_pixel(224, 224, image::Rgba([128, 128, 128, 255]));
    imageops::overlay(&mut picture, &cutout, left, 62);
    let picture = image::DynamicImage::ImageRgba8(picture).to_rgb8();
    picture.save(path).unwrap();
    picture
}

#[test]
fn masktune_blackens_what_is_attended_by_more_than_two_deviations() {
    let dir = tempfile::tempdir().unwrap();
    let cancelled = AtomicBool::new(false);
    let context = Context::new(Device::flex(), &cancelled, &|_| {});
    let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/weights/efficientnet_lite0.safetensors");
    let architecture = Architecture::EfficientNetLite0;
    let network = scgs_models::load(architecture, &weights, None, HeadPolicy::Keep, &context.device).unwrap();
    let network = network.fold_batch_norm();
    let input = Input::new(architecture, 224);
    for (name, left) in [("left.png", 4i64), ("right.png", 120)] {
        let path = dir.path().join(name);
        animal(&path, left);
        let paths = [path];
        let before = input.values(&paths).unwrap();
        let after = blackened(&network, input, &context, &paths, 2.0).unwrap();
        // The same map by hand: mean and deviation over the positive values, as in the authors' code.
        let x = Tensor::<4>::from_data(TensorData::new(before.clone(), [1, 3, 224, 224]), &context.device);
        let map = network.features(x);
        let logits = network.head(map.clone()).into_data().convert::<f64>().try_into_vec::<f64>().unwrap();
        let score = Score::Class(most_probable(&softmax(&logits)).0);
        let maps = attention(&CamMethod::XGradCam, map, &|a| network.head(a), &[score], (224, 224))
            .unwrap()
            .remove(0)
            .unwrap();
        let positive: Vec<f64> = maps.values.iter().map(|&v| f64::from(v)).filter(|v| *v > 0.0).collect();
        let n = positive.len() as f64;
        let mean = positive.iter().sum::<f64>() / n;
        let sd = |ddof: f64| (positive.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - ddof)).sqrt();
        let plane = 224 * 224;
        let (mut black, mut columns, mut disputed) = (0, 0, 0);
        for at in 0..plane {
            let pixel: Vec<f32> = (0..3).map(|c| after[c * plane + at]).collect();
            let is_black = pixel.iter().all(|v| (v + 127.0 / 128.0).abs() < 1e-6);
            let same = (0..3).all(|c| after[c * plane + at] == before[c * plane + at]);
            assert!(is_black || same, "pixel {at} is neither black nor as it was: {pixel:?}");
            let value = f64::from(maps.values[at]);
            // The two usual deviations differ in the fifth digit.
            let (low, high) = (mean + 2.0 * sd(0.0) - 1e-6, mean + 2.0 * sd(1.0) + 1e-6);
            if value < low || value > high {
                assert_eq!(is_black, value > high, "pixel {at}: attention {value}, limits {low} and {high}");
            } else {
                disputed += 1;
            }
            black += usize::from(is_black);
            columns += usize::from(is_black) * (at % 224);
        }
        assert!(black > 200 && black < plane / 4 && disputed < 20, "{name}: {black} black pixels, {disputed} disputed");
        let centre = columns as f64 / black as f64;
        let expected = left as f64 + 50.0;
        assert!(
            (centre - expected).abs() < 50.0,
            "{name}: the black pixels centre on column {centre}, not on the animal"
        );
    }
}

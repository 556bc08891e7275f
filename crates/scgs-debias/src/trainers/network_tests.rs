//! Tests of training a whole network on a handful of small pictures.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use burn::tensor::Device;
use image::{Rgb, RgbImage};
use scgs_data::{Index, Sample, Split};
use scgs_models::Architecture;

use super::*;
use crate::{
    Event, RunFolder, Settings,
    methods::Method,
    selection::{Criterion, Selector},
    settings::TrainMode,
};

const PICTURES: usize = 8;

/// Dark pictures of class 0, bright ones of class 1.
fn index(folder: &Path) -> Index {
    let samples = (0..PICTURES).map(|i| {
        let (label, path) = (i % 2, format!("{i}.png"));
        let picture = RgbImage::from_fn(32, 32, |x, y| {
            let grey = 60 + 120 * label as u8 + ((x * 3 + y * 5 + i as u32 * 7) % 40) as u8;
            Rgb([grey, grey / 2 + 10 * i as u8, 255 - grey])
        });
        picture.save(folder.join(&path)).unwrap();
        Sample { id: 100 + i as u64, path: path.into(), label, split: Split::Train }
    });
    Index { root: folder.to_owned(), classes: vec!["dark".into(), "bright".into()], samples: samples.collect() }
}

fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.backbone.architecture = Architecture::ResNet18;
    settings.backbone.weights = "none".into();
    settings.backbone.input_size = 32;
    settings.train.mode = TrainMode::Full;
    settings.train.epochs = 2;
    settings.train.batch = 4;
    settings.train.learning_rate = 0.01;
    settings
}

/// Trains a method and gives the network's parameters as numbers.
fn parameters(method: Method, settings: &Settings) -> Result<Vec<f64>, Error> {
    Ok(trained(tempfile::tempdir().unwrap().path(), method, settings, usize::MAX)?.0)
}

/// Trains a method in a folder, interrupted after `steps` steps of this process; the parameters, and all that was chosen
/// and logged.
fn trained(dir: &Path, method: Method, settings: &Settings, steps: usize) -> Result<(Vec<f64>, String), Error> {
    trained_on(&[], dir, method, settings, steps)
}

/// The same on further devices.
fn trained_on(
    replicas: &[Device],
    dir: &Path,
    method: Method,
    settings: &Settings,
    steps: usize,
) -> Result<(Vec<f64>, String), Error> {
    let index = index(dir);
    let folder = RunFolder::open(dir, 0).unwrap();
    let inputs = Inputs {
        index: &index,
        settings,
        folder: &folder,
        weights: None,
        backgrounds: None,
        small_model: None,
        prompts: &[],
        memory: crate::memory::Share::default(),
    };
    let cancelled = AtomicBool::new(false);
    let taken = AtomicUsize::new(0);
    let report = |event| {
        if matches!(event, Event::Advanced { .. }) && taken.fetch_add(1, Ordering::Relaxed) + 1 == steps {
            cancelled.store(true, Ordering::Relaxed);
        }
    };
    let context = Context { replicas, ..Context::new(Device::flex(), &cancelled, &report) };
    let files = inputs.files(&index.of(Split::Train));
    let labels: Vec<usize> = index.samples.iter().map(|s| s.label).collect();
    let data = TrainingData {
        labels: labels.clone(),
        repeats: vec![1; PICTURES],
        synthetic: vec![false; PICTURES],
        classes: 2,
        stream: (0, "t".into()),
        ..TrainingData::default()
    };
    let validation: Vec<PathBuf> = files.iter().map(|f| f.1.clone()).collect();
    let mut watch = Watch::new(
        Selector::new(labels.clone(), 2, vec![0; PICTURES]),
        labels,
        Criterion::Last,
        settings.train.patience,
    );
    let mut trainer = NetworkTrainer {
        inputs,
        context: &context,
        stage: "t",
        data: &data,
        files: &files,
        store: &Store::open(inputs, &context)?,
        validation: &validation,
        real: PICTURES,
        stage_one: false,
        watch: &mut watch,
        network: None,
        phases: 0,
    };
    method.with(settings).train(&data, &mut trainer)?;
    let network = trainer.network.expect("a method trains a network");
    let path = dir.join("model.safetensors");
    scgs_models::save(&network, &path).unwrap();
    let tensors = scgs_models::open_tensors(&path).unwrap();
    // PyTorch's counters are whole numbers.
    let floats = tensors.values().filter(|t| !t.name().ends_with("num_batches_tracked"));
    let values = floats.flat_map(|t| t.read().unwrap()).map(f64::from).collect();
    let chosen = watch.finish();
    let models = chosen.models.iter().map(|(criterion, (epoch, model))| {
        let Trained::Network(network) = model else { panic!("a network trainer keeps networks") };
        format!("{criterion} {epoch} {:?}", crate::minibatch::numbers_of(network.as_ref()))
    });
    Ok((values, format!("{:?} {:?}", models.collect::<Vec<_>>(), chosen.log)))
}

/// Every method's state is another: momentum and moments, two networks with averages per example, an average of the
/// parameters, accumulated batches, several phases.
#[test]
fn a_training_that_is_stopped_again_and_again_ends_with_the_same_bytes() {
    // A small network: every step of these runs goes to the disk.
    let settings = || {
        let mut settings = settings();
        settings.backbone.architecture = Architecture::EfficientNetLite0;
        settings
    };
    let mut adamw = settings();
    adamw.train.optimiser = crate::minibatch::OptimiserKind::Adamw;
    adamw.train.average = 0.9;
    adamw.train.epochs = 3;
    adamw.train.patience = 2;
    let mut accumulating = settings();
    // The other network's last map has one cell at this size, which leaves nothing to mask.
    accumulating.backbone.architecture = Architecture::ResNet18;
    accumulating.train.accumulate = 2;
    accumulating.train.batch = 2;
    let cases = [(Method::Erm, adamw), (Method::Lff, settings()), (Method::Masktune, accumulating)];
    for (method, mut settings) in cases {
        settings.checkpoint = crate::settings::CheckpointSettings { every: 1, keep: 2 };
        let whole = trained(tempfile::tempdir().unwrap().path(), method, &settings, usize::MAX).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut stops = 0;
        let cut = loop {
            match trained(dir.path(), method, &settings, 2 + stops % 2) {
                Ok(cut) => break cut,
                Err(Error::Interrupted { .. }) => stops += 1,
                Err(error) => panic!("{method}: {error}"),
            }
            assert!(stops < 40, "{method} never ends");
            // A process that is killed leaves no checkpoint of its last steps.
            let phases = fs_err::read_dir(dir.path().join("seed-0/t/checkpoints")).unwrap();
            for phase in phases.map(|entry| entry.unwrap().path()) {
                let mut files: Vec<_> = fs_err::read_dir(phase).unwrap().map(|entry| entry.unwrap().path()).collect();
                files.sort();
                assert!(files.len() <= 2, "the newest stay: {files:?}");
                if let (1, [older, newest]) = (stops % 3, files.as_slice()) {
                    fs_err::write(newest, &fs_err::read(older).unwrap()[..1000]).unwrap();
                }
            }
        };
        assert!(stops > 1, "{method}");
        assert!(cut.0 == whole.0, "{method}: other parameters");
        assert!(cut.1 == whole.1, "{method}: other choices or another log");
    }
}

/// Parameters, running statistics, choices and log: an epoch of four batches is a step of three and one of one here.
#[test]
fn devices_that_share_a_step_make_the_same_step() {
    let mut partly = settings();
    (partly.train.batch, partly.train.accumulate, partly.train.freeze) = (2, 3, vec!["layer1".into()]);
    let on = |replicas: usize, method, settings: &Settings| {
        let dir = tempfile::tempdir().unwrap();
        trained_on(&vec![Device::flex(); replicas], dir.path(), method, settings, usize::MAX).unwrap()
    };
    // More devices than batches, too.
    for (method, replicas) in [(Method::Erm, 3), (Method::Lff, 1)] {
        assert!(on(replicas, method, &partly) == on(0, method, &partly), "{method} on {replicas} further devices");
    }
    // A copy that recomputes activations lies otherwise in memory: one step, before rounding grows.
    let mut recomputing = settings();
    (recomputing.train.batch, recomputing.train.accumulate, recomputing.train.epochs) = (4, 2, 1);
    recomputing.train.checkpointing = true;
    let one = on(0, Method::Erm, &recomputing).0;
    let two = largest_difference(&one, &on(1, Method::Erm, &recomputing).0);
    recomputing.train.accumulate = 1;
    let other = largest_difference(&one, &on(1, Method::Erm, &recomputing).0);
    assert!(two < 1e-4 && other > 1e-2, "{two} {other}");
}

/// A checkpoint of other settings is not gone on from.
#[test]
fn a_checkpoint_belongs_to_its_settings() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = settings();
    first.backbone.architecture = Architecture::EfficientNetLite0;
    first.checkpoint.every = 1;
    assert!(matches!(trained(dir.path(), Method::Erm, &first, 2), Err(Error::Interrupted { .. })));
    let mut second = first.clone();
    second.train.learning_rate = 0.02;
    let here = trained(dir.path(), Method::Erm, &second, usize::MAX).unwrap();
    assert!(here == trained(tempfile::tempdir().unwrap().path(), Method::Erm, &second, usize::MAX).unwrap());
}

fn largest_difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
fn recomputed_activations_give_the_same_network() {
    let kept = parameters(Method::Erm, &settings()).unwrap();
    let mut recomputing = settings();
    recomputing.train.checkpointing = true;
    let recomputed = parameters(Method::Erm, &recomputing).unwrap();
    assert!(largest_difference(&kept, &recomputed) < 1e-6);
    // The second phase goes on with the network of the first.
    assert!(parameters(Method::Masktune, &recomputing).is_ok());
    let mut longer = settings();
    longer.train.epochs = 1;
    assert!(largest_difference(&kept, &parameters(Method::Erm, &longer).unwrap()) > 1e-4, "training changes something");
}

/// Both networks of LfF have parameters of their own, or the loop would refuse them; the second does not touch the first
/// but through the weights of the examples.
#[test]
fn lff_trains_two_networks() {
    let lff = parameters(Method::Lff, &settings()).unwrap();
    assert_eq!(lff, parameters(Method::Lff, &settings()).unwrap(), "the same seed gives the same network");
    assert!(largest_difference(&lff, &parameters(Method::Erm, &settings()).unwrap()) > 1e-4);
}

#[test]
fn a_loss_that_is_not_finite_stops_with_step_rate_and_pictures() {
    let mut settings = settings();
    settings.train.learning_rate = 1e30;
    let error = parameters(Method::Erm, &settings).unwrap_err();
    let Error::Diverged { step, rate, ids, .. } = &error else { panic!("{error}") };
    assert!(*step > 1, "the first loss is that of the starting weights");
    assert!(*rate > 1e29 && *rate <= 1e30, "{rate}");
    assert!(ids.len() == 4 && ids.iter().all(|id| (100..108).contains(&id.parse::<u64>().unwrap())), "{ids:?}");
    let text = error.to_string();
    assert!(text.contains(&format!("at step {step}")) && text.contains("lower train.learning_rate"), "{text}");
}

#[test]
fn unknown_layers_to_freeze_are_named_with_those_there_are() {
    let mut settings = settings();
    settings.train.freeze = vec!["layer1".into(), "layer9".into()];
    let text = parameters(Method::Erm, &settings).unwrap_err().to_string();
    assert!(text.contains("no layer layer9") && text.contains("layer4"), "{text}");
}

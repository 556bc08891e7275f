//! Stage `2-errors`: the training pictures the classifier gets wrong.
//!
//! A network that has been trained to the end makes hardly any mistake on its own training pictures, so they are found
//! by stopping early (JTT) or by asking a head that has not seen the picture.

use std::ops::ControlFlow;

use burn::{
    module::Param,
    nn::{Initializer, Linear, LinearConfig},
    tensor::{Device, Distribution, Tensor, TensorData},
};
use rand::{SeedableRng as _, rngs::StdRng, seq::SliceRandom};
use scgs_data::{Split, stream};

use super::{
    Inputs,
    erm::{self, Prediction},
};
use crate::{
    Context, Error, RunFolder, Settings,
    features::Features,
    logistic::{self, Examples, Standardiser, most_probable},
    methods::{Phase, Trainer as _, TrainingData, objective::Risk},
    minibatch::{self, Decay, Mixing, OptimiserKind, Sampler, Schedule, Targets, Visits},
    run_folder,
    selection::{Criterion, Selector},
    settings::{IdentifyRule, IdentifySettings, TrainMode, TrainSettings},
    trainers::{NetworkTrainer, Store, Watch},
};

/// Folder name.
pub const STAGE: &str = "2-errors";
/// Examples per step of the early-stopped head.
const BATCH: usize = 32;

/// Finds the error set and writes `errors.csv` (id, label, predicted, confidence) in the order of the training split.
///
/// # Errors
/// [`Error::EmptyErrorSet`] if a class has no mistake.
pub fn run(inputs: Inputs<'_>, context: &Context<'_>) -> Result<(), Error> {
    let rule = inputs.settings.identify.rule;
    let total = if rule == IdentifyRule::EarlyEpoch { 0 } else { inputs.settings.identify.folds };
    inputs.folder.stage(context, STAGE, total, |folder| {
        let features = erm::train_features(inputs.folder)?;
        let labels: Vec<usize> = erm::train_predictions(inputs.folder)?.iter().map(|p| p.label).collect();
        let predictions = identify(inputs, context, &features, &labels)?;
        let errors: Vec<Prediction> = predictions.into_iter().filter(|p| p.label != p.predicted).collect();
        let counts: Vec<usize> =
            (0..inputs.classes()).map(|c| errors.iter().filter(|e| e.label == c).count()).collect();
        let named: Vec<String> =
            counts.iter().zip(&inputs.index.classes).map(|(n, class)| format!("{n} of {class}")).collect();
        if counts.contains(&0) {
            let found = format!("{} pictures ({})", errors.len(), named.join(", "));
            return Err(Error::EmptyErrorSet { found, rule: rule.name(), settings: rule.settings() });
        }
        run_folder::write_csv(&folder.join("errors.csv"), &errors)?;
        Ok(format!("{} of {} pictures by rule {} ({})", errors.len(), labels.len(), rule.name(), named.join(", ")))
    })
}

/// The error set.
///
/// # Errors
/// If the stage's file is missing or damaged.
pub fn read(folder: &RunFolder) -> Result<Vec<Prediction>, Error> {
    run_folder::read_csv(&folder.path(STAGE, "errors.csv"))
}

/// Predictions of the identification model on the training split, one per row of `features`.
fn identify(
    inputs: Inputs<'_>,
    context: &Context<'_>,
    features: &Features,
    labels: &[usize],
) -> Result<Vec<Prediction>, Error> {
    let settings = &inputs.settings.identify;
    let matrix = match settings.rule {
        IdentifyRule::Background => &features.background,
        IdentifyRule::HeldOut | IdentifyRule::EarlyEpoch => &features.pooled,
    };
    let probabilities = match settings.rule {
        IdentifyRule::EarlyEpoch if inputs.settings.train.mode == TrainMode::Full => {
            early_network(inputs, context, labels)?
        }
        IdentifyRule::EarlyEpoch => early_epoch(inputs, context, matrix, features.width, labels)?,
        _ => held_out(inputs.folder.seed, context, matrix, features.width, labels, inputs.classes(), settings)?,
    };
    Ok(probabilities
        .iter()
        .zip(labels)
        .zip(&features.ids)
        .map(|((p, &label), &id)| {
            let (predicted, confidence) = most_probable(p);
            Prediction { id, label, predicted, confidence }
        })
        .collect())
}

/// Fold number per example: classes spread evenly, order drawn from the run's stream.
fn stratified_folds(seed: u64, labels: &[usize], classes: usize, folds: usize) -> Vec<usize> {
    let mut fold_of = vec![0; labels.len()];
    for class in 0..classes {
        let mut members: Vec<usize> = (0..labels.len()).filter(|&i| labels[i] == class).collect();
        members.shuffle(&mut stream(seed, "errors/folds", class as u64));
        members.iter().enumerate().for_each(|(position, &i)| fold_of[i] = position % folds);
    }
    fold_of
}

fn held_out(
    seed: u64,
    context: &Context<'_>,
    matrix: &[f32],
    width: usize,
    labels: &[usize],
    classes: usize,
    settings: &IdentifySettings,
) -> Result<Vec<Vec<f64>>, Error> {
    let fold_of = stratified_folds(seed, labels, classes, settings.folds);
    let mut probabilities = vec![Vec::new(); labels.len()];
    for fold in 0..settings.folds {
        let chosen: Vec<usize> = (0..labels.len()).filter(|&i| fold_of[i] != fold).collect();
        let rows: Vec<f32> = chosen.iter().flat_map(|&i| matrix[i * width..(i + 1) * width].iter().copied()).collect();
        let chosen_labels: Vec<usize> = chosen.iter().map(|&i| labels[i]).collect();
        let weights = vec![1.0; chosen.len()];
        let examples = Examples { features: &rows, width, labels: &chosen_labels, weights: &weights };
        let head = logistic::fit(examples, classes, settings.c, &Standardiser::fit(&rows, width))?;
        for i in (0..labels.len()).filter(|&i| fold_of[i] == fold) {
            probabilities[i] = head.probabilities(&matrix[i * width..(i + 1) * width]);
        }
        context.advance(STAGE, fold + 1)?;
    }
    Ok(probabilities)
}

/// A network from the starting weights, stopped after `identify.epoch` passes at a constant rate: JTT's first stage.
fn early_network(inputs: Inputs<'_>, context: &Context<'_>, labels: &[usize]) -> Result<Vec<Vec<f64>>, Error> {
    let identify = &inputs.settings.identify;
    let train = TrainSettings {
        epochs: identify.epoch,
        learning_rate: identify.learning_rate,
        weight_decay: identify.weight_decay,
        schedule: Decay::Constant,
        warmup: 0,
        average: 0.0,
        ..inputs.settings.train.clone()
    };
    let settings = Settings { train, ..inputs.settings.clone() };
    let inputs = Inputs { settings: &settings, ..inputs };
    let files = inputs.files(&inputs.usable(Split::Train)?);
    let data = TrainingData { stream: (inputs.folder.seed, STAGE.to_owned()), ..erm::data_of(inputs, labels) };
    // No model is chosen here, so there is nothing to judge one by.
    let nothing = Selector::new(Vec::new(), inputs.classes(), Vec::new());
    let mut watch = Watch::new(nothing, Vec::new(), Criterion::Last, 0);
    let mut trainer = NetworkTrainer {
        inputs,
        context,
        stage: STAGE,
        data: &data,
        files: &files,
        store: &Store::open(inputs, context)?,
        validation: &[],
        real: labels.len(),
        stage_one: false,
        watch: &mut watch,
        network: None,
        phases: 0,
    };
    trainer.run(Phase { name: "identify", last: false, ..Phase::risk(data.rows(), labels.len()) })?;
    trainer.probabilities()
}

/// A head on standardised features, stopped after `identify.epoch` passes at a constant rate.
fn early_epoch(
    inputs: Inputs<'_>,
    context: &Context<'_>,
    matrix: &[f32],
    width: usize,
    labels: &[usize],
) -> Result<Vec<Vec<f64>>, Error> {
    let settings = &inputs.settings.identify;
    let scaled: Vec<f32> = Standardiser::fit(matrix, width).apply(matrix).iter().map(|&v| v as f32).collect();
    let device = context.device.clone().autodiff();
    let targets = Targets {
        names: labels.iter().enumerate().map(|(i, _)| i.to_string()).collect(),
        labels: labels.to_vec(),
        weights: vec![1.0; labels.len()],
        smoothing: 0.0,
    };
    let visits = Visits { rows: (0..labels.len()).collect(), sampler: Sampler::Shuffle, mixing: Mixing::None };
    let schedule = Schedule {
        steps: settings.epoch * labels.len().div_ceil(BATCH),
        batch: BATCH,
        learning_rate: settings.learning_rate,
        decay: Decay::Constant,
        warmup: 0,
        optimiser: OptimiserKind::Sgd,
        weight_decay: settings.weight_decay,
        momentum: 0.9,
        clip: None,
        accumulate: 1,
        average: None,
        pull: None,
        stream: (inputs.folder.seed, "errors/order".into()),
    };
    let head = fresh_head(width, inputs.classes(), inputs.folder.seed, &device);
    let (head, _) = minibatch::train(
        context,
        STAGE,
        head,
        &schedule,
        &visits,
        &targets,
        &mut Risk,
        &|head: &Linear, batch| Ok(vec![head.forward(minibatch::rows(&scaled, width, batch, &device))]),
        &mut |_, _| Ok(ControlFlow::Continue(())),
    )?;
    let all = Tensor::<2>::from_data(TensorData::new(scaled, [labels.len(), width]), &device);
    let logits =
        head.forward(all).inner().into_data().convert::<f32>().try_into_vec::<f32>().expect("converted to f32");
    Ok(logits
        .chunks(inputs.classes())
        .map(|row| logistic::softmax(&row.iter().map(|&v| f64::from(v)).collect::<Vec<_>>()))
        .collect())
}

/// A linear layer with burn's default start, drawn on the host: a device's own generator would give every device another
/// head. On flex it is the layer that burn itself draws there.
fn fresh_head(width: usize, classes: usize, seed: u64, device: &Device) -> Linear {
    let mut rng = StdRng::seed_from_u64(seed);
    // Burn's formula, term by term: another order would round differently.
    let bound = 3.0_f64.sqrt() * (1.0 / 3.0_f64.sqrt()) * (1.0 / (width as f64).sqrt());
    let mut draw = |shape: &[usize]| {
        TensorData::random::<f32, _, _>(shape.to_vec(), Distribution::Uniform(-bound, bound), &mut rng)
    };
    let mut head = LinearConfig::new(width, classes).with_initializer(Initializer::Zeros).init(device);
    head.weight = Param::from_tensor(Tensor::from_data(draw(&[width, classes]), device));
    head.bias = Some(Param::from_tensor(Tensor::from_data(draw(&[classes]), device)));
    head
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use burn::tensor::Device;
    use image::{Rgb, RgbImage};
    use scgs_data::{Index, Sample};
    use scgs_models::Architecture;

    use super::*;
    use crate::{RunFolder, logistic::most_probable, settings::TrainMode};

    /// What a network of its own says about four dark and four bright pictures after some epochs.
    fn answers(epochs: usize, learning_rate: f64) -> Vec<Vec<f64>> {
        let dir = tempfile::tempdir().unwrap();
        let sample = |i: usize| {
            let path = format!("{i}.png");
            let shade = |x: u32, y: u32| 40 + 130 * (i % 2) as u8 + ((x * 3 + y * 5 + i as u32 * 7) % 40) as u8;
            RgbImage::from_fn(32, 32, |x, y| Rgb([shade(x, y); 3])).save(dir.path().join(&path)).unwrap();
            Sample { id: i as u64, path: path.into(), label: i % 2, split: Split::Train }
        };
        let classes = vec!["dark".into(), "bright".into()];
        let index = Index { root: dir.path().to_owned(), classes, samples: (0..8).map(sample).collect() };
        let mut settings = Settings::default();
        settings.backbone.architecture = Architecture::ResNet18;
        settings.backbone.weights = "none".into();
        settings.backbone.input_size = 32;
        settings.train.mode = TrainMode::Full;
        settings.train.batch = 4;
        (settings.identify.epoch, settings.identify.learning_rate) = (epochs, learning_rate);
        let folder = RunFolder::open(dir.path(), 0).unwrap();
        let inputs = Inputs {
            index: &index,
            settings: &settings,
            folder: &folder,
            weights: None,
            backgrounds: None,
            small_model: None,
            prompts: &[],
            memory: crate::memory::Share::default(),
        };
        let cancelled = AtomicBool::new(false);
        let context = Context::new(Device::flex(), &cancelled, &|_| {});
        crate::stages::pictures::run(inputs, &context).unwrap();
        early_network(inputs, &context, &[0, 1, 0, 1, 0, 1, 0, 1]).unwrap()
    }

    #[test]
    fn an_early_network_errs_where_a_trained_one_does_not() {
        let mistakes =
            |answers: &[Vec<f64>]| answers.iter().enumerate().filter(|(i, row)| most_probable(row).0 != i % 2).count();
        let early = answers(1, 1e-4);
        assert!(early.iter().all(|row| (row.iter().sum::<f64>() - 1.0).abs() < 1e-9));
        assert!(mistakes(&early) > 0, "{early:?}");
        assert_eq!(early, answers(1, 1e-4), "the same seed gives the same mistakes");
        // At rates of 1e-2, batches of four make rounding decide whether 20 epochs are enough.
        assert_eq!(mistakes(&answers(20, 1e-3)), 0);
    }

    /// Results of earlier versions hang on it.
    #[test]
    fn a_fresh_head_is_the_one_that_burn_draws_on_flex() {
        let device = Device::flex().autodiff();
        device.seed(7);
        let burns = LinearConfig::new(33, 3).init(&device);
        let (weight, bias) = (burns.weight.val().into_data(), burns.bias.map(|bias| bias.val().into_data()));
        let ours = fresh_head(33, 3, 7, &device);
        assert_eq!(ours.weight.val().into_data(), weight);
        assert_eq!(ours.bias.map(|bias| bias.val().into_data()), bias);
    }

    #[test]
    fn folds_are_stratified_complete_and_seeded() {
        let labels: Vec<usize> = (0..53).map(|i| usize::from(i % 3 == 0)).collect();
        let folds = stratified_folds(1, &labels, 2, 5);
        for class in 0..2 {
            let sizes: Vec<usize> =
                (0..5).map(|f| (0..53).filter(|&i| folds[i] == f && labels[i] == class).count()).collect();
            let (min, max) = (sizes.iter().min(), sizes.iter().max());
            assert!(max.zip(min).is_some_and(|(max, min)| max - min <= 1), "{sizes:?}");
        }
        assert_eq!(folds, stratified_folds(1, &labels, 2, 5));
        assert_ne!(folds, stratified_folds(2, &labels, 2, 5));
    }
}

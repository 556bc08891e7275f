//! Stage `1-erm`: the plain classifier (empirical risk minimisation), its features and its predictions.

use scgs_data::Split;
use serde::{Deserialize, Serialize};

use super::{Inputs, retrain};
use crate::{
    Context, Error, RunFolder,
    features::Features,
    logistic::{self, Examples, LinearHead, Standardiser, most_probable},
    logs,
    methods::{Method, TrainingData},
    minibatch::Metrics,
    run_folder,
    selection::Criterion,
    settings::TrainMode,
    stages::retrain::TrainingSet,
    training::{LogLine, Trained},
};

/// Folder name.
pub const STAGE: &str = "1-erm";

/// A row of `predictions.csv` and `errors.csv`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// The picture.
    pub id: u64,
    /// Its class.
    pub label: usize,
    /// The classifier's answer.
    pub predicted: usize,
    /// Probability of the answer, 0..=1.
    pub confidence: f64,
}

/// Trains the classifier and writes `model.safetensors`, `features-train.safetensors`, `features-val.safetensors`,
/// `predictions-train.csv`, `predictions-val.csv` and the files of [`logs`].
///
/// # Errors
/// Those of reading pictures and weights, [`Error::Diverged`], [`Error::Interrupted`].
pub fn run(inputs: Inputs<'_>, context: &Context<'_>) -> Result<(), Error> {
    let train = inputs.usable(Split::Train)?;
    let val = inputs.usable(Split::Val)?;
    let steps = match inputs.settings.train.mode {
        TrainMode::Head => 0,
        TrainMode::Full => retrain::steps(inputs, Method::Erm, train.len()),
    };
    inputs.folder.stage(context, STAGE, steps + train.len() + val.len(), |folder| {
        let model = folder.join("model.safetensors");
        let labels: Vec<usize> = train.iter().map(|s| s.label).collect();
        let compute = |network: &_, context: &Context<'_>| {
            // One pass over both splits keeps the count of the progress line monotone.
            let all: Vec<_> = train.iter().chain(&val).copied().collect();
            let partial = folder.join("features.partial");
            Features::compute_kept(context, STAGE, network, inputs.input(), &inputs.files(&all), Some(&partial))
        };
        let mut log = Vec::new();
        let (features, network, note) = match inputs.settings.train.mode {
            TrainMode::Head => {
                let network = inputs.fresh_network(&context.device)?;
                let features = compute(&network.clone().fold_batch_norm(), context)?;
                let train_rows = &features.pooled[..train.len() * features.width];
                let scale = Standardiser::fit(train_rows, features.width);
                let weights = vec![1.0; labels.len()];
                let examples =
                    Examples { features: train_rows, width: features.width, labels: &labels, weights: &weights };
                let head = logistic::fit(examples, inputs.classes(), inputs.settings.train.c, &scale)?;
                let network = network.with_linear(head.weight, head.bias);
                (features, network, "last layer trained on frozen features")
            }
            TrainMode::Full => {
                let set = TrainingSet {
                    files: inputs.files(&train),
                    data: data_of(inputs, &labels),
                    features: Vec::new(),
                    plain: true,
                };
                // No group is known here: the criterion that asks for groups judges by a single one, and the last
                // epoch is taken.
                let groups = vec![0; val.len()];
                let mut chosen = retrain::train(inputs, context, STAGE, Method::Erm, &set, groups)?;
                log = chosen.log;
                let Some((_, Trained::Network(network))) = chosen.models.remove(&Criterion::Last) else {
                    unreachable!("a network trainer leaves a network");
                };
                let features = compute(&network.clone().fold_batch_norm(), context)?;
                (features, *network, "every layer trained")
            }
        };
        scgs_models::save(&network, &model)?;
        let head = Trained::head_of(&network);
        let (on_train, on_val) = split_rows(features, train.len());
        on_train.save(&folder.join("features-train.safetensors"))?;
        on_val.save(&folder.join("features-val.safetensors"))?;
        let losses: Vec<f64> =
            labels.iter().enumerate().map(|(i, &l)| -head.probabilities(on_train.row(i))[l].ln()).collect();
        let on_train = predict(&head, &on_train, &labels);
        let val_labels: Vec<usize> = val.iter().map(|s| s.label).collect();
        let on_val = predict(&head, &on_val, &val_labels);
        run_folder::write_csv(&folder.join("predictions-train.csv"), &on_train)?;
        run_folder::write_csv(&folder.join("predictions-val.csv"), &on_val)?;
        if log.is_empty() {
            log.push(solved(&on_train, &losses, &on_val));
        }
        logs::write(folder, &log)?;
        Ok(format!("{note}; accuracy {:.3} on train, {:.3} on val", accuracy(&on_train), accuracy(&on_val)))
    })
}

/// The real training pictures, each once, without anything that only some methods may know.
pub(super) fn data_of(inputs: Inputs<'_>, labels: &[usize]) -> TrainingData {
    TrainingData {
        labels: labels.to_vec(),
        repeats: vec![1; labels.len()],
        synthetic: vec![false; labels.len()],
        classes: inputs.classes(),
        stream: (inputs.folder.seed, STAGE.to_owned()),
        ..TrainingData::default()
    }
}

/// Features of the training split.
///
/// # Errors
/// If the stage's file is missing or damaged.
pub fn train_features(folder: &RunFolder) -> Result<Features, Error> {
    Features::load(&folder.path(STAGE, "features-train.safetensors"))
}

/// Predictions on the training split, in the order of the features' rows.
///
/// # Errors
/// If the stage's file is missing or damaged.
pub fn train_predictions(folder: &RunFolder) -> Result<Vec<Prediction>, Error> {
    run_folder::read_csv(&folder.path(STAGE, "predictions-train.csv"))
}

/// Applies a head to rows of features.
pub(crate) fn predict(head: &LinearHead, features: &Features, labels: &[usize]) -> Vec<Prediction> {
    labels
        .iter()
        .enumerate()
        .map(|(i, &label)| {
            let (predicted, confidence) = most_probable(&head.probabilities(features.row(i)));
            Prediction { id: features.ids[i], label, predicted, confidence }
        })
        .collect()
}

fn split_rows(mut all: Features, first: usize) -> (Features, Features) {
    let rest = Features {
        ids: all.ids.split_off(first),
        width: all.width,
        pooled: all.pooled.split_off(first * all.width),
        background: all.background.split_off(first * all.width),
    };
    (all, rest)
}

fn accuracy(predictions: &[Prediction]) -> f64 {
    predictions.iter().filter(|p| p.label == p.predicted).count() as f64 / predictions.len() as f64
}

/// The log line of a solved last layer: one step, whose loss is that of the solution.
fn solved(on_train: &[Prediction], losses: &[f64], on_val: &[Prediction]) -> LogLine {
    let metrics = Metrics {
        epoch: 1,
        step: 1,
        loss: losses.iter().sum::<f64>() / losses.len() as f64,
        accuracy: accuracy(on_train),
        learning_rate: 0.0,
        state: Vec::new(),
    };
    LogLine { phase: "train", metrics, validation: Some(accuracy(on_val)) }
}

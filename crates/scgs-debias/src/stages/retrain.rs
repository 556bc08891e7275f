//! Training of an arm: on features (last layer) or on pictures (every layer).

use std::path::{Path, PathBuf};

use scgs_data::atomic;
use scgs_models::Network;

use super::Inputs;
use crate::{
    Context, Error,
    logistic::{self, Examples, LinearHead, Standardiser},
    minibatch::{self, Metrics, Schedule, Targets},
    training::Example,
};
use burn::module::Module;

/// Mini-batch steps of every arm: `train.epochs` passes over `real` pictures, however many an arm adds.
pub fn steps(inputs: Inputs<'_>, real: usize) -> usize {
    inputs.settings.train.epochs * real.div_ceil(inputs.settings.train.batch)
}

/// Solves for the last layer. `features` is `[examples, width]`.
///
/// # Errors
/// If the solver does not converge.
pub fn fit_head(
    inputs: Inputs<'_>,
    features: &[f32],
    width: usize,
    examples: &[Example],
    scale: &Standardiser,
) -> Result<LinearHead, Error> {
    let labels: Vec<usize> = examples.iter().map(|e| e.label).collect();
    let weights: Vec<f64> = examples.iter().map(|e| e.repeats as f64 * e.weight).collect();
    let examples = Examples { features, width, labels: &labels, weights: &weights };
    logistic::fit(examples, inputs.classes(), inputs.settings.train.c, scale)
}

/// Trains every layer from the starting weights; repeated examples occur repeatedly in an epoch. Returns the network on
/// the plain device.
///
/// # Errors
/// Those of [`minibatch::train`] and of reading pictures.
pub fn train_network(
    inputs: Inputs<'_>,
    context: &Context<'_>,
    stage: &str,
    files: &[(u64, PathBuf)],
    examples: &[Example],
) -> Result<(Network, Vec<Metrics>), Error> {
    let device = context.device.clone().autodiff();
    let network = inputs.fresh_network(&device)?;
    let expanded: Vec<usize> =
        examples.iter().enumerate().flat_map(|(i, e)| std::iter::repeat_n(i, e.repeats)).collect();
    let targets = Targets {
        names: expanded.iter().map(|&i| files[i].0.to_string()).collect(),
        labels: expanded.iter().map(|&i| examples[i].label).collect(),
        weights: expanded.iter().map(|&i| examples[i].weight).collect(),
    };
    let settings = &inputs.settings.train;
    let real = inputs.usable(scgs_data::Split::Train)?.len();
    let schedule = Schedule {
        steps: steps(inputs, real),
        batch: settings.batch,
        learning_rate: settings.learning_rate,
        cosine: true,
        weight_decay: settings.weight_decay,
        momentum: 0.9,
        stream: (inputs.folder.seed, format!("train/{stage}")),
    };
    let on_autodiff = Context { device: device.clone(), cancelled: context.cancelled, report: context.report };
    let (network, metrics) =
        minibatch::train(context, stage, network, &schedule, &targets, &|network: &Network, batch| {
            let paths: Vec<PathBuf> = batch.iter().map(|&i| files[expanded[i]].1.clone()).collect();
            Ok(network.forward(inputs.input().load(&paths, &on_autodiff)?))
        })?;
    Ok((network.valid(), metrics))
}

/// Writes `metrics.jsonl`.
///
/// # Errors
/// If the file cannot be written.
pub fn write_metrics(folder: &Path, metrics: &[Metrics]) -> Result<(), Error> {
    let mut text = String::new();
    for m in metrics {
        text.push_str(&serde_json::to_string(m).expect("metrics are plain numbers"));
        text.push('\n');
    }
    Ok(atomic::write(folder.join("metrics.jsonl"), text.as_bytes())?)
}

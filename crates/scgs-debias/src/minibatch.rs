//! The mini-batch loop: SGD with momentum on weighted cross-entropy, for a whole network or a last layer alone.

use burn::{
    Tensor,
    module::Module,
    optim::{GradientsParams, SgdConfig, decay::WeightDecayConfig, momentum::MomentumConfig},
    tensor::{Device, Int, TensorData, activation::log_softmax},
};
use rand::seq::SliceRandom;
use scgs_data::stream;
use serde::Serialize;

use crate::{Context, Error};

/// How long and how fast to learn.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// Number of updates, at least 1: the budget, the same for every arm whatever it trains on.
    pub steps: usize,
    /// Examples per update.
    pub batch: usize,
    /// Learning rate of the first step; a cosine takes it to 0 at the last (`cosine`), or it stays.
    pub learning_rate: f64,
    /// Whether the rate decays.
    pub cosine: bool,
    /// Added to the gradient as `weight_decay * parameter`, as PyTorch's SGD does.
    pub weight_decay: f64,
    /// Momentum without dampening, as PyTorch's SGD.
    pub momentum: f64,
    /// Names the random stream of the order of examples.
    pub stream: (u64, String),
}

/// What the examples are, apart from their content.
#[derive(Debug, Clone, Default)]
pub struct Targets {
    /// For messages.
    pub names: Vec<String>,
    /// Class per example.
    pub labels: Vec<usize>,
    /// Loss weight per example, 0 or more.
    pub weights: Vec<f64>,
}

/// One line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Metrics {
    /// Passes over the examples, counted from 1.
    pub epoch: usize,
    /// Updates so far.
    pub step: usize,
    /// Weighted mean cross-entropy of the epoch's batches, before their updates.
    pub loss: f64,
    /// Share of correct answers in the epoch's batches, before their updates.
    pub accuracy: f64,
    /// Learning rate of the last step.
    pub learning_rate: f64,
}

/// Maps a model and example numbers to logits `[n, classes]`.
pub type Forward<'a, M> = dyn Fn(&M, &[usize]) -> Result<Tensor<2>, Error> + 'a;

/// Trains `model`, which lives on an autodiff device. `forward` maps the model and example numbers to logits
/// `[n, classes]`. Each epoch visits the examples in a new order drawn from the schedule's stream.
///
/// # Errors
/// [`Error::Diverged`] if the loss is not finite; [`Error::Interrupted`]; the errors of `forward`.
pub fn train<M: Module>(
    context: &Context<'_>,
    stage: &str,
    mut model: M,
    schedule: &Schedule,
    targets: &Targets,
    forward: &Forward<'_, M>,
) -> Result<(M, Vec<Metrics>), Error> {
    let mut optimiser = SgdConfig::new()
        .with_momentum(Some(MomentumConfig::new().with_momentum(schedule.momentum).with_dampening(0.0)))
        .with_weight_decay((schedule.weight_decay > 0.0).then(|| WeightDecayConfig::new(schedule.weight_decay as f32)))
        .init();
    let mut metrics = Vec::new();
    let (mut step, mut epoch) = (0, 0);
    while step < schedule.steps {
        epoch += 1;
        let mut order: Vec<usize> = (0..targets.labels.len()).collect();
        order.shuffle(&mut stream(schedule.stream.0, &schedule.stream.1, epoch as u64));
        let (mut loss_sum, mut weight_sum, mut correct, mut seen) = (0.0, 0.0, 0, 0);
        let mut rate = 0.0;
        for batch in order.chunks(schedule.batch).take(schedule.steps - step) {
            rate = schedule.rate(step);
            step += 1;
            let logits = forward(&model, batch)?;
            let answers = logits.clone().inner().argmax(1).into_data().convert::<i64>().try_into_vec::<i64>();
            let weight: f64 = batch.iter().map(|&i| targets.weights[i]).sum();
            let loss = cross_entropy(logits, batch, targets, weight);
            let value = loss.clone().into_scalar::<f32>();
            if !value.is_finite() {
                let ids = batch.iter().take(5).map(|&i| targets.names[i].clone()).collect();
                return Err(Error::Diverged { loss: value, step, rate, ids });
            }
            let gradients = GradientsParams::from_grads(loss.backward(), &model);
            model = optimiser.step(rate, model, gradients);
            loss_sum += f64::from(value) * weight;
            weight_sum += weight;
            seen += batch.len();
            let answers = answers.expect("argmax yields integers");
            correct += batch.iter().zip(answers).filter(|&(&i, a)| targets.labels[i] as i64 == a).count();
            context.advance(stage, step)?;
        }
        metrics.push(Metrics {
            epoch,
            step,
            loss: loss_sum / weight_sum,
            accuracy: correct as f64 / seen as f64,
            learning_rate: rate,
        });
    }
    Ok((model, metrics))
}

impl Schedule {
    /// Learning rate of a step counted from 0.
    fn rate(&self, step: usize) -> f64 {
        if self.cosine {
            self.learning_rate * 0.5 * (1.0 + (std::f64::consts::PI * step as f64 / self.steps as f64).cos())
        } else {
            self.learning_rate
        }
    }
}

/// `sum_i w_i * loss_i / sum_i w_i` of a batch.
fn cross_entropy(logits: Tensor<2>, batch: &[usize], targets: &Targets, total: f64) -> Tensor<1> {
    let device = logits.device();
    let n = batch.len();
    let labels: Vec<i64> = batch.iter().map(|&i| targets.labels[i] as i64).collect();
    let labels = Tensor::<2, Int>::from_data(TensorData::new(labels, [n, 1]), &device);
    let weights: Vec<f32> = batch.iter().map(|&i| (targets.weights[i] / total) as f32).collect();
    let weights = Tensor::<2>::from_data(TensorData::new(weights, [n, 1]), &device);
    (log_softmax(logits, 1).gather(1, labels) * weights).sum().neg()
}

/// The rows of a matrix as a batch of inputs `[n, width]`.
pub(crate) fn rows(features: &[f32], width: usize, batch: &[usize], device: &Device) -> Tensor<2> {
    let values: Vec<f32> = batch.iter().flat_map(|&i| features[i * width..(i + 1) * width].iter().copied()).collect();
    Tensor::from_data(TensorData::new(values, [batch.len(), width]), device)
}

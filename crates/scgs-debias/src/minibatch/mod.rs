//! The mini-batch loop: one for every method, for whole networks and for last layers.
//!
//! A step draws a [`Batch`], runs the models, asks the method's [`Objective`] for a loss and updates the parameters by
//! the [`Schedule`].

mod batch;
mod checkpoint;
mod replicas;
mod schedule;
mod update;

use std::{iter, ops::ControlFlow};

use burn::{
    Tensor,
    module::Module,
    optim::{GradientsAccumulator, GradientsParams},
    tensor::{Device, Int, TensorData, activation::log_softmax},
};
use scgs_data::stream;
use serde::{Deserialize, Serialize};

pub use batch::{Batch, Contrast, Item, Mixing, Partner, Sampler};
pub(crate) use batch::{draw, epoch};
pub use checkpoint::{Beside, Keeping};
pub(crate) use checkpoint::{numbers_of, with_numbers};
pub use replicas::Replicas;
pub use schedule::{Decay, OptimiserKind, Pull, Schedule};
pub(crate) use update::freeze;

use crate::{Context, Error};

/// What the examples are, apart from their content.
#[derive(Debug, Clone, Default)]
pub struct Targets {
    /// For messages.
    pub names: Vec<String>,
    /// Class per example.
    pub labels: Vec<usize>,
    /// Loss weight per example, 0 or more.
    pub weights: Vec<f64>,
    /// Share of the target that is spread over all classes, 0 up to 1 (PyTorch's `label_smoothing`).
    pub smoothing: f64,
}

/// Which examples are visited, and how they meet.
#[derive(Debug, Clone)]
pub struct Visits {
    /// A multiset of examples: one epoch.
    pub rows: Vec<usize>,
    /// Their order.
    pub sampler: Sampler,
    /// What is mixed.
    pub mixing: Mixing,
}

/// What a method minimises. It may keep a state, such as weights of groups.
pub trait Objective {
    /// The loss `[1]` of a batch. `outputs[0]` are the logits `[n, classes]`; further outputs depend on the method.
    fn loss(&mut self, outputs: &[Tensor<2>], batch: &Batch, targets: &Targets) -> Tensor<1>;

    /// The state after the last batch, such as the weight of each group; empty without one.
    fn state(&self) -> Vec<f64> {
        Vec::new()
    }

    /// Everything that later losses depend on, for a checkpoint; empty where there is nothing.
    fn memory(&self) -> Vec<f64> {
        self.state()
    }

    /// Goes on from what [`Self::memory`] gave.
    fn remember(&mut self, _memory: &[f64]) {}
}

/// One line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Passes over the examples, counted from 1.
    pub epoch: usize,
    /// Updates so far.
    pub step: usize,
    /// Mean loss of the epoch's batches, before their updates; batches count by the weight of their examples.
    pub loss: f64,
    /// Share of correct answers in the epoch's batches, before their updates.
    pub accuracy: f64,
    /// Learning rate of the last step.
    pub learning_rate: f64,
    /// The method's state, such as the weight of each group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub state: Vec<f64>,
}

/// Maps a model and a batch to outputs; the first is logits `[n, classes]`.
pub type Forward<'a, M> = dyn Fn(&M, &Batch) -> Result<Vec<Tensor<2>>, Error> + 'a;

/// Looks at the model (off the tape) after each epoch and may stop the run.
pub type OnEpoch<'a, M> = dyn FnMut(&M, &Metrics) -> Result<ControlFlow<()>, Error> + 'a;

/// Trains `model`, which lives on an autodiff device, and returns it there, with one [`Metrics`] per epoch. Each epoch
/// draws its batches from the schedule's stream, so that a run depends on nothing but its arguments.
///
/// # Errors
/// [`Error::Diverged`] if the loss is not finite; [`Error::NoBatch`] if an epoch has no batch;
/// [`Error::Interrupted`]; the errors of `forward` and `on_epoch`.
///
/// # Panics
/// If two parameters of the model have one id, as those of a module and its clone do: gradients and the optimiser's
/// state are kept by id, so that one of the two would not learn and the other would learn from the wrong loss.
#[expect(clippy::too_many_arguments, reason = "the parts of a run are independent of each other")]
pub fn train<M: Module>(
    context: &Context<'_>,
    stage: &str,
    model: M,
    schedule: &Schedule,
    visits: &Visits,
    targets: &Targets,
    objective: &mut dyn Objective,
    forward: &Forward<'_, M>,
    on_epoch: &mut OnEpoch<'_, M>,
) -> Result<(M, Vec<Metrics>), Error> {
    train_kept(context, stage, model, schedule, visits, targets, objective, forward, on_epoch, None, None)
}

/// [`train`] with checkpoints and on several devices: a run that was stopped at any step and is called again with equal
/// arguments ends with the same bytes as one that was not.
///
/// # Errors
/// Those of [`train`], and of files that cannot be written.
///
/// # Panics
/// As [`train`].
#[expect(clippy::too_many_arguments, reason = "the parts of a run are independent of each other")]
pub fn train_kept<M: Module>(
    context: &Context<'_>,
    stage: &str,
    mut model: M,
    schedule: &Schedule,
    visits: &Visits,
    targets: &Targets,
    objective: &mut dyn Objective,
    forward: &Forward<'_, M>,
    on_epoch: &mut OnEpoch<'_, M>,
    keeping: Option<&Keeping<'_, M>>,
    replicas: Option<&Replicas<'_, M>>,
) -> Result<(M, Vec<Metrics>), Error> {
    assert!(
        update::ids_are_distinct(&model),
        "{stage}: two parameters share an id; make a second model instead of a clone"
    );
    let mut optimiser = schedule.optimiser();
    let found = keeping.and_then(|keeping| keeping.newest(context, stage));
    if let Some(found) = &found {
        model = found.with_ids(model);
    }
    let start = update::values(&model);
    let mut average = schedule.average.map(|decay| update::Average::new(&model, decay));
    let mut at = Progress::default();
    if let (Some(found), Some(keeping)) = (found, keeping) {
        (at, model, optimiser) = found.restore(model, optimiser, average.as_mut(), objective, keeping)?;
    }
    // A checkpoint may lie between the last step of an epoch and what follows it.
    while !at.finished && (at.step < schedule.steps || at.taken > 0) {
        if at.taken == 0 {
            at.epoch += 1;
            at.sums = Sums::default();
        }
        let batches = batches(schedule, visits, at.epoch);
        if batches.is_empty() {
            return Err(Error::NoBatch { stage: stage.to_owned() });
        }
        let left = schedule.steps - at.step;
        for group in batches.chunks(schedule.accumulate).skip(at.taken).take(left) {
            at.rate = schedule.rate(at.step);
            at.step += 1;
            at.taken += 1;
            let copies = replicas.map_or_else(Vec::new, |replicas| replicas.copies(&model, group.len()));
            let mut accumulated = GradientsAccumulator::new();
            for together in group.chunks(1 + copies.len()) {
                // Every device gets its work before any number is read, so that they compute at the same time.
                let mut begun = Vec::with_capacity(together.len());
                for (model, batch) in iter::once(&model).chain(&copies).zip(together) {
                    let outputs = forward(model, batch)?;
                    let loss = objective.loss(&outputs, batch, targets);
                    let gradients = GradientsParams::from_grads(loss.backward(), model);
                    begun.push((outputs, loss, gradients));
                }
                if let Some(replicas) = replicas {
                    copies.iter().take(together.len() - 1).for_each(|copy| (replicas.join)(&model, copy));
                }
                for ((outputs, loss, mut gradients), batch) in begun.into_iter().zip(together) {
                    let value = loss.into_scalar::<f32>();
                    if !value.is_finite() {
                        let ids = batch.items.iter().take(5).map(|i| targets.names[i.row].clone()).collect();
                        return Err(Error::Diverged { loss: value, step: at.step, rate: at.rate, ids });
                    }
                    at.sums.add(value, &answers(&outputs[0]), batch, targets);
                    if !copies.is_empty() {
                        gradients = gradients.to_device(&context.device, &model);
                    }
                    accumulated.accumulate(&model, gradients);
                }
            }
            let mut gradients = accumulated.grads();
            if group.len() > 1 {
                update::scale(&model, &mut gradients, 1.0 / group.len() as f64);
            }
            if let Some(limit) = schedule.clip {
                update::clip(&model, &mut gradients, limit);
            }
            if let Some(pull) = schedule.pull {
                update::pull(&model, &mut gradients, pull, &start);
            }
            model = optimiser.step(at.rate, model, gradients);
            if let Some(average) = &mut average {
                average.update(&model);
            }
            let told = context.advance(stage, at.step);
            if let Some(keeping) = keeping
                && (at.step.is_multiple_of(keeping.every) || told.is_err())
            {
                keeping.save(&at, &model, &optimiser, average.as_ref(), objective)?;
            }
            told?;
        }
        at.taken = 0;
        let line = at.sums.metrics(at.epoch, at.step, at.rate, objective.state());
        let seen = average.as_ref().map_or_else(|| model.valid(), |a| a.module(&model));
        let flow = on_epoch(&seen, &line)?;
        at.metrics.push(line);
        at.finished = flow.is_break();
    }
    if let Some(keeping) = keeping.filter(|keeping| !at.finished_before && at.step >= keeping.every) {
        at.finished = true;
        keeping.save(&at, &model, &optimiser, average.as_ref(), objective)?;
    }
    match average {
        Some(average) => Ok((average.module(&model).train(), at.metrics)),
        None => Ok((model, at.metrics)),
    }
}

/// The batches of an epoch, counted from 1.
pub(crate) fn batches(schedule: &Schedule, visits: &Visits, epoch: usize) -> Vec<Batch> {
    let mut rng = stream(schedule.stream.0, &schedule.stream.1, epoch as u64);
    let mut batches = batch::epoch(&visits.rows, schedule.batch, &visits.sampler, &visits.mixing, &mut rng);
    batches.iter_mut().enumerate().for_each(|(number, batch)| batch.place = (epoch, number));
    batches
}

/// Where a run is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Progress {
    /// Updates so far.
    step: usize,
    /// The present epoch, counted from 1.
    epoch: usize,
    /// Updates of the present epoch; 0 when its end has been dealt with.
    taken: usize,
    /// Whether nothing is left to do.
    finished: bool,
    /// Whether it was so when the run began.
    #[serde(skip)]
    finished_before: bool,
    /// Learning rate of the last update.
    rate: f64,
    sums: Sums,
    metrics: Vec<Metrics>,
}

/// What an epoch adds up.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sums {
    loss: f64,
    weight: f64,
    correct: usize,
    seen: usize,
}

impl Sums {
    fn add(&mut self, loss: f32, answers: &[usize], batch: &Batch, targets: &Targets) {
        let weight: f64 = batch.items.iter().map(|i| targets.weights[i.row]).sum();
        self.loss += f64::from(loss) * weight;
        self.weight += weight;
        self.seen += batch.items.len();
        self.correct += batch.items.iter().zip(answers).filter(|&(i, &a)| targets.labels[i.row] == a).count();
    }

    fn metrics(&self, epoch: usize, step: usize, learning_rate: f64, state: Vec<f64>) -> Metrics {
        let accuracy = self.correct as f64 / self.seen as f64;
        Metrics { epoch, step, loss: self.loss / self.weight, accuracy, learning_rate, state }
    }
}

fn answers(logits: &Tensor<2>) -> Vec<usize> {
    let found = logits.clone().inner().argmax(1).into_data().convert::<i64>().try_into_vec::<i64>();
    found.expect("argmax yields integers").into_iter().map(|a| a as usize).collect()
}

/// Cross-entropy per example `[n, 1]`: of both labels where examples are mixed, smoothed where the targets ask for it.
pub fn cross_entropies(logits: Tensor<2>, batch: &Batch, targets: &Targets) -> Tensor<2> {
    let [n, classes] = logits.dims();
    let mut share = vec![(targets.smoothing / classes as f64) as f32; n * classes];
    for (row, item) in share.chunks_mut(classes).zip(&batch.items) {
        let keep = item.partner.map_or(1.0, |p| p.keep);
        row[targets.labels[item.row]] += ((1.0 - targets.smoothing) * keep) as f32;
        if let Some(partner) = item.partner {
            row[targets.labels[partner.row]] += ((1.0 - targets.smoothing) * (1.0 - keep)) as f32;
        }
    }
    let share = Tensor::<2>::from_data(TensorData::new(share, [n, classes]), &logits.device());
    (log_softmax(logits, 1) * share).sum_dim(1).neg()
}

/// Probability of each example's label `[n, 1]`.
pub fn label_probabilities(logits: Tensor<2>, batch: &Batch, targets: &Targets) -> Tensor<2> {
    let n = batch.items.len();
    let labels: Vec<i64> = batch.items.iter().map(|i| targets.labels[i.row] as i64).collect();
    let labels = Tensor::<2, Int>::from_data(TensorData::new(labels, [n, 1]), &logits.device());
    log_softmax(logits, 1).gather(1, labels).exp()
}

/// One number per example as a constant `[n, 1]`.
pub fn column(values: &[f64], device: &Device) -> Tensor<2> {
    let values: Vec<f32> = values.iter().map(|&v| v as f32).collect();
    let n = values.len();
    Tensor::from_data(TensorData::new(values, [n, 1]), device)
}

/// The values of a tensor as 64-bit numbers.
pub fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    let values = tensor.into_data().convert::<f64>().try_into_vec::<f64>();
    values.expect("converted to f64")
}

/// The rows of a batch as inputs `[n, width]`, mixed where the batch says so.
pub(crate) fn rows(features: &[f32], width: usize, batch: &Batch, device: &Device) -> Tensor<2> {
    let row = |i: usize| &features[i * width..(i + 1) * width];
    let mut values: Vec<f32> = Vec::with_capacity(batch.items.len() * width);
    for item in &batch.items {
        match item.partner {
            None => values.extend_from_slice(row(item.row)),
            Some(p) => {
                let (a, b) = (p.keep as f32, (1.0 - p.keep) as f32);
                values.extend(row(item.row).iter().zip(row(p.row)).map(|(x, y)| a * x + b * y));
            }
        }
    }
    Tensor::from_data(TensorData::new(values, [batch.items.len(), width]), device)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

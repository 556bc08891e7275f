//! Training of a last layer on frozen features: solved where the solution is unique, by mini-batches elsewhere.

use std::ops::ControlFlow;

use burn::{
    Tensor,
    module::{Module as _, Param},
    nn::{Initializer, Linear, LinearConfig},
    tensor::{Device, TensorData},
};
use rayon::prelude::*;

use super::{Changed, Watch, steps};
use crate::{
    Context, Error,
    logistic::{self, Examples, LinearHead, Standardiser},
    methods::{Change, LastLayerFit, Outputs, Phase, Start, Trainer, TrainingData},
    minibatch::{self, Batch, Metrics, Mixing, Pull, Sampler, Schedule, Targets, Visits, numbers},
    settings::{DfrSplit, Penalty, TrainSettings},
    training::{LogLine, Trained},
};

/// Features of a list of pictures.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    /// `[n, width]`, row major.
    pub values: &'a [f32],
    /// Columns.
    pub width: usize,
}

impl Matrix<'_> {
    fn row(&self, i: usize) -> &[f32] {
        &self.values[i * self.width..(i + 1) * self.width]
    }

    fn len(&self) -> usize {
        self.values.len() / self.width
    }
}

/// Trains a last layer.
pub struct HeadTrainer<'a> {
    /// Device, cancellation and progress.
    pub context: &'a Context<'a>,
    /// For messages and progress.
    pub stage: &'a str,
    /// The run's training settings.
    pub settings: &'a TrainSettings,
    /// The examples.
    pub data: &'a TrainingData,
    /// Their names, for messages.
    pub names: &'a [String],
    /// Their features.
    pub features: Matrix<'a>,
    /// Features of the validation split.
    pub validation: Matrix<'a>,
    /// Scales features; fitted on the real training pictures.
    pub scale: &'a Standardiser,
    /// Number of real training pictures: the budget of steps.
    pub real: usize,
    /// Makes features of changed pictures; `None` where there are no pictures.
    pub changed: Option<Changed<'a>>,
    /// Keeps the chosen models.
    pub watch: &'a mut Watch,
    /// The present model.
    pub head: Option<LinearHead>,
}

impl Trainer for HeadTrainer<'_> {
    fn run(&mut self, mut phase: Phase) -> Result<(), Error> {
        let changed = match phase.change {
            Change::None => None,
            Change::MaskAttention { sigmas } => Some(self.changed()?.masked(self.present(), sigmas)?),
        };
        let solvable = phase.objective.is_none()
            && phase.start == Start::Fresh
            && phase.outputs == Outputs::Logits
            && phase.full_batch.is_none()
            && matches!(phase.mixing, Mixing::None | Mixing::Cutmix { .. });
        if solvable {
            let head = self.solve(&phase)?;
            let line = self.solved(&head, &phase);
            self.head = Some(head.clone());
            return self.offer(phase.last, line, &head).map(|_| ());
        }
        let features = changed.as_deref().unwrap_or(self.features.values);
        self.learn(&mut phase, features)
    }

    fn probabilities(&mut self) -> Result<Vec<Vec<f64>>, Error> {
        Ok(probabilities(self.present(), self.features))
    }

    fn fit_last_layer(&mut self, fit: LastLayerFit) -> Result<(), Error> {
        let (matrix, labels) = match fit.on {
            DfrSplit::Val => (self.validation, &self.data.validation_labels),
            DfrSplit::Train => (self.features, &self.data.labels),
        };
        let mut sum: Option<LinearHead> = None;
        for rows in &fit.subsets {
            let features: Vec<f32> = rows.iter().flat_map(|&i| matrix.row(i).iter().copied()).collect();
            let labels: Vec<usize> = rows.iter().map(|&i| labels[i]).collect();
            let weights = vec![1.0; rows.len()];
            let examples = Examples { features: &features, width: matrix.width, labels: &labels, weights: &weights };
            let head = match fit.penalty {
                Penalty::L1 => logistic::fit_sparse(examples, self.data.classes, fit.c, self.scale)?,
                Penalty::L2 => logistic::fit(examples, self.data.classes, fit.c, self.scale)?,
            };
            sum = Some(match sum {
                None => head,
                Some(mut sum) => {
                    sum.weight.iter_mut().zip(&head.weight).for_each(|(s, w)| *s += w);
                    sum.bias.iter_mut().zip(&head.bias).for_each(|(s, b)| *s += b);
                    sum
                }
            });
        }
        let mut head = sum.expect("at least one fit");
        let n = fit.subsets.len() as f32;
        head.weight.iter_mut().chain(&mut head.bias).for_each(|v| *v /= n);
        let phase = Phase { name: "last-layer", ..Phase::risk(fit.subsets.concat(), self.data.labels.len()) };
        let line = match fit.on {
            DfrSplit::Train => self.solved(&head, &phase),
            DfrSplit::Val => line(&phase, fit_quality(&head, matrix, labels, &phase.rows, None)),
        };
        self.head = Some(head.clone());
        self.offer(true, line, &head).map(|_| ())
    }
}

impl HeadTrainer<'_> {
    fn present(&self) -> &LinearHead {
        self.head.as_ref().expect("a method trains before it asks")
    }

    fn changed(&self) -> Result<Changed<'_>, Error> {
        self.changed.ok_or_else(|| Error::ImpossibleArm {
            arm: self.stage.to_owned(),
            why: "it changes pictures and there are none here".into(),
        })
    }

    /// The minimum of weighted, L2-regularised empirical risk.
    fn solve(&self, phase: &Phase) -> Result<LinearHead, Error> {
        let mut rng = scgs_data::stream(self.data.stream.0, &format!("{}/draw", self.data.stream.1), 0);
        if let Mixing::Cutmix { .. } = phase.mixing {
            let size = self.settings.head.batch;
            let batches = minibatch::epoch(&phase.rows, size, &phase.sampler, &phase.mixing, &mut rng);
            return self.solve_cut(&batches);
        }
        let rows = match &phase.sampler {
            // A draw of the same size stands for the draws of a run.
            Sampler::Weighted(weights) => minibatch::draw(&phase.rows, weights, &mut rng),
            _ => phase.rows.clone(),
        };
        let mut weights = vec![0.0; self.data.labels.len()];
        rows.iter().for_each(|&r| weights[r] += phase.weights[r]);
        let features = self.features;
        let examples =
            Examples { features: features.values, width: features.width, labels: &self.data.labels, weights: &weights };
        logistic::fit(examples, self.data.classes, self.settings.c, self.scale)
    }

    /// The same on pictures cut into each other: each counts once for either label, by its share.
    fn solve_cut(&self, batches: &[Batch]) -> Result<LinearHead, Error> {
        let cut = self.changed()?.cut(batches)?;
        let (mut features, mut labels, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        let width = self.features.width;
        for (item, row) in batches.iter().flat_map(|b| &b.items).zip(cut.chunks(width)) {
            let keep = item.partner.map_or(1.0, |p| p.keep);
            let second = item.partner.map(|p| (p.row, 1.0 - keep));
            for (i, share) in [(item.row, keep)].into_iter().chain(second).filter(|&(_, share)| share > 0.0) {
                features.extend_from_slice(row);
                labels.push(self.data.labels[i]);
                weights.push(share);
            }
        }
        let examples = Examples { features: &features, width, labels: &labels, weights: &weights };
        logistic::fit(examples, self.data.classes, self.settings.c, self.scale)
    }

    /// The log line of a solved phase.
    fn solved(&self, head: &LinearHead, phase: &Phase) -> LogLine {
        line(phase, fit_quality(head, self.features, &self.data.labels, &phase.rows, Some(&phase.weights)))
    }

    fn offer(&mut self, last: bool, line: LogLine, head: &LinearHead) -> Result<ControlFlow<()>, Error> {
        if !last {
            self.watch.note(line);
            return Ok(ControlFlow::Continue(()));
        }
        let stop = self.watch.offer(line, &probabilities(head, self.validation), &|| Trained::Head(head.clone()));
        Ok(if stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    /// Mini-batches on standardised features.
    fn learn(&mut self, phase: &mut Phase, features: &[f32]) -> Result<(), Error> {
        let width = self.features.width;
        let device = self.context.device.clone().autodiff();
        let scaled: Vec<f32> = self.scale.apply(features).iter().map(|&v| v as f32).collect();
        let schedule = self.schedule(phase);
        let targets = Targets {
            names: self.names.to_vec(),
            labels: self.data.labels.clone(),
            weights: phase.weights.clone(),
            smoothing: self.settings.smoothing,
        };
        let visits = Visits {
            rows: std::mem::take(&mut phase.rows),
            sampler: phase.sampler.clone(),
            mixing: phase.mixing.clone(),
        };
        let outputs = phase.outputs;
        let models = self.models(phase, &device);
        let (context, stage, scale) = (self.context, self.stage, self.scale);
        let mut objective = phase.objective();
        let (last, name) = (phase.last, phase.name);
        let (models, _) = minibatch::train(
            context,
            stage,
            models,
            &schedule,
            &visits,
            &targets,
            objective.as_mut(),
            &|models: &Vec<Linear>, batch| {
                Ok(forward(models, minibatch::rows(&scaled, width, batch, &device), outputs))
            },
            &mut |models, metrics| {
                let head = to_head(models, outputs, scale);
                self.offer(last, LogLine { phase: name, metrics: metrics.clone(), validation: None }, &head)
            },
        )?;
        self.head = Some(to_head(&models.valid(), outputs, scale));
        Ok(())
    }

    fn schedule(&self, phase: &Phase) -> Schedule {
        let s = self.settings;
        let batch = if phase.full_batch.is_some() { phase.rows.len() } else { s.head.batch };
        let batch = if matches!(phase.sampler, Sampler::Contrastive(_)) { 1 } else { batch };
        // The solver's penalty |w|^2 / 2 against C times the sum of losses is this pull against their mean; the
        // difference of two symmetric logits carries only half of the penalty of the one score it stands for.
        let halves = if self.data.classes == 2 { 2.0 } else { 1.0 };
        let strength = halves / (s.c * phase.rows.len() as f64);
        let regular = Pull { strength, to_start: phase.outputs == Outputs::Features, biases: false };
        let plain = phase.full_batch.is_none();
        Schedule {
            steps: steps(phase, s.head.epochs, self.real, s.head.batch),
            batch,
            learning_rate: phase.rate.unwrap_or(s.head.learning_rate),
            decay: if plain { s.schedule } else { minibatch::Decay::Constant },
            warmup: if plain { s.warmup } else { 0 },
            optimiser: if plain { s.optimiser } else { minibatch::OptimiserKind::Sgd },
            weight_decay: 0.0,
            momentum: if plain { s.momentum } else { 0.0 },
            clip: (s.clip > 0.0).then_some(s.clip),
            accumulate: if plain { s.accumulate } else { 1 },
            average: (plain && s.average > 0.0).then_some(s.average),
            pull: Some(phase.full_batch.unwrap_or(regular)),
            stream: (self.data.stream.0, format!("{}/{}", self.data.stream.1, phase.name)),
        }
    }

    /// The model to start from, and the one beside it.
    fn models(&self, phase: &Phase, device: &Device) -> Vec<Linear> {
        let (width, classes) = (self.features.width, self.data.classes);
        let (weight, bias) = match (phase.start, &self.head) {
            (Start::Continue, Some(head)) => self.scale.to_scaled(head),
            _ => (vec![0.0; classes * width], vec![0.0; classes]),
        };
        let first = linear(&weight, &bias, device);
        match phase.outputs {
            Outputs::Logits => vec![first],
            // A clone would share its parameters' ids, and with them gradients and momentum.
            Outputs::TwoModels => vec![first, linear(&weight, &bias, device)],
            Outputs::Features => {
                let identity: Vec<f64> = (0..width * width).map(|i| f64::from(i % (width + 1) == 0)).collect();
                vec![first, linear(&identity, &[], device)]
            }
        }
    }
}

/// A linear layer from `weight` (`[out, in]`) and `bias` (empty for none).
fn linear(weight: &[f64], bias: &[f64], device: &Device) -> Linear {
    let outputs = if bias.is_empty() { (weight.len() as f64).sqrt() as usize } else { bias.len() };
    let inputs = weight.len() / outputs;
    let config = LinearConfig::new(inputs, outputs).with_bias(!bias.is_empty()).with_initializer(Initializer::Zeros);
    let mut layer = config.init(device);
    // burn keeps the weight as [in, out].
    let values: Vec<f32> = (0..inputs * outputs).map(|i| weight[(i % outputs) * inputs + i / outputs] as f32).collect();
    layer.weight = Param::from_tensor(Tensor::from_data(TensorData::new(values, [inputs, outputs]), device));
    if !bias.is_empty() {
        let values: Vec<f32> = bias.iter().map(|&b| b as f32).collect();
        layer.bias = Some(Param::from_tensor(Tensor::from_data(TensorData::new(values, [outputs]), device)));
    }
    layer
}

fn forward(models: &[Linear], x: Tensor<2>, outputs: Outputs) -> Vec<Tensor<2>> {
    match outputs {
        Outputs::Logits => vec![models[0].forward(x)],
        Outputs::TwoModels => vec![models[0].forward(x.clone()), models[1].forward(x)],
        Outputs::Features => {
            let z = models[1].forward(x);
            vec![models[0].forward(z.clone()), z]
        }
    }
}

/// The model (off the tape) as a head on raw features; an adapter is multiplied into it.
fn to_head(models: &[Linear], outputs: Outputs, scale: &Standardiser) -> LinearHead {
    let mut weight = models[0].weight.val();
    if outputs == Outputs::Features {
        weight = models[1].weight.val().matmul(weight);
    }
    let weight = numbers(weight.transpose());
    let bias = models[0].bias.as_ref().map(|b| numbers(b.val())).unwrap_or_default();
    scale.to_raw(&weight, &bias)
}

/// Class probabilities, one row per picture.
fn probabilities(head: &LinearHead, features: Matrix<'_>) -> Vec<Vec<f64>> {
    (0..features.len()).into_par_iter().map(|i| head.probabilities(features.row(i))).collect()
}

/// Loss and accuracy of a solution on what it was fitted to.
fn fit_quality(
    head: &LinearHead,
    features: Matrix<'_>,
    labels: &[usize],
    rows: &[usize],
    weights: Option<&[f64]>,
) -> Metrics {
    let parts: Vec<(f64, f64, usize)> = rows
        .par_iter()
        .map(|&i| {
            let p = head.probabilities(features.row(i));
            let weight = weights.map_or(1.0, |w| w[i]);
            (-weight * p[labels[i]].ln(), weight, usize::from(logistic::most_probable(&p).0 == labels[i]))
        })
        .collect();
    let (loss, weight, right) = parts.iter().fold((0.0, 0.0, 0), |(l, w, r), p| (l + p.0, w + p.1, r + p.2));
    let accuracy = right as f64 / rows.len() as f64;
    Metrics { epoch: 1, step: 1, loss: loss / weight, accuracy, learning_rate: 0.0, state: Vec::new() }
}

fn line(phase: &Phase, metrics: Metrics) -> LogLine {
    LogLine { phase: phase.name, metrics, validation: None }
}

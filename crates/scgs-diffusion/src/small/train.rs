//! Training of the small model.

use std::path::Path;

use burn::{
    module::Module,
    tensor::{Device, Tensor, TensorData},
};
use rand::RngExt;
use rayon::prelude::*;
use scgs_data::stream;
use serde::{Deserialize, Serialize};

use super::{
    layout::{COLOURS, Flags, INPUTS, Patches},
    optimiser::State,
    parameters,
    process::{Moment, normal},
    scenes::Scenes,
    unet::{Unet, UnetConfig, map_shape},
    weights::{self, SmallWeightsError},
};

/// Steps until the learning rate is reached.
const WARM_UP: u64 = 200;
/// One in so many steps, the last ones, lower the learning rate to nothing.
const DECAY: u64 = 5;
/// How much of the reported loss each step keeps.
const LOSS_MEMORY: f64 = 0.99;

/// How a training goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainerConfig {
    /// The network.
    pub network: UnetConfig,
    /// Scenes per step.
    pub batch: usize,
    /// The learning rate between the rise at the start and the decay at the end.
    pub rate: f32,
    /// Decides fresh weights, scenes, times and noise.
    pub seed: u64,
}

impl Default for TrainerConfig {
    fn default() -> Self {
        Self { network: UnetConfig::default(), batch: 16, rate: 1e-3, seed: 0 }
    }
}

/// Why a training cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// Occurs when a setting is impossible.
    #[error("training: {0}")]
    Settings(String),
    /// Occurs when the loss is no number.
    #[error("step {step}: the loss is {loss}: lower the learning rate")]
    Diverged {
        /// The step.
        step: u64,
        /// Its loss.
        loss: f32,
    },
    /// Occurs when a checkpoint belongs to another training.
    #[error("{path} is the checkpoint of another training ({what}): delete it, or use another --out")]
    OtherTraining {
        /// The checkpoint.
        path: String,
        /// What differs.
        what: String,
    },
    /// Occurs when a file cannot be read or written.
    #[error(transparent)]
    File(#[from] SmallWeightsError),
}

/// Where a training is; also the description of a checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    config: TrainerConfig,
    /// sha256 of the pictures, see [`Scenes::fingerprint`].
    scenes: String,
    /// Steps taken.
    pub step: u64,
    /// Mean loss of about the last hundred steps.
    pub loss: f64,
    /// The number of steps that the decay of the learning rate was planned for, once it has begun.
    pub decaying_to: Option<u64>,
}

/// What one step did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepReport {
    /// Its number, from 1.
    pub step: u64,
    /// Its loss: the weighted mean squared error of the velocity inside the masks.
    pub loss: f32,
    /// Mean loss of about the last hundred steps.
    pub smooth_loss: f64,
    /// Length of the gradient before it was shortened.
    pub gradient: f64,
}

/// A training, step by step. Step `i` is a function of the settings, the pictures and step `i - 1`, so a training that
/// goes on from a checkpoint ends with the same bytes as one that never stopped, on any number of threads.
#[derive(Debug)]
pub struct Trainer {
    progress: Progress,
    scenes: Scenes,
    network: Unet,
    state: State,
    device: Device,
}

/// The step after which the learning rate decays in a training of `total` steps.
fn decay_start(total: u64) -> u64 {
    total - total / DECAY
}

impl Trainer {
    /// A training from fresh weights. `device` is a plain one.
    ///
    /// # Errors
    /// [`TrainError::Settings`].
    pub fn new(config: TrainerConfig, scenes: Scenes, device: &Device) -> Result<Self, TrainError> {
        if let Some(problem) = config.network.problem() {
            return Err(TrainError::Settings(problem));
        }
        if config.network.classes != scenes.classes() {
            let (wanted, found) = (config.network.classes, scenes.classes());
            return Err(TrainError::Settings(format!("{wanted} classes of objects, but cut-outs of {found}")));
        }
        if !(1..=1024).contains(&config.batch) || !(0.0..=1.0).contains(&config.rate) {
            let (batch, rate) = (config.batch, config.rate);
            return Err(TrainError::Settings(format!("batch {batch}, rate {rate}; expected 1..=1024 and 0..=1")));
        }
        let device = device.clone().autodiff();
        let network = config.network.init(&device);
        let state = State::new(parameters::fresh(&network, config.seed));
        let fingerprint = scenes.fingerprint();
        let progress = Progress { config, scenes: fingerprint, step: 0, loss: 1.0, decaying_to: None };
        Ok(Self { progress, scenes, network, state, device })
    }

    /// Goes on from a checkpoint of the same settings and pictures.
    ///
    /// # Errors
    /// [`TrainError::OtherTraining`] if it is another's, [`TrainError::File`] if it cannot be read.
    pub fn resume(self, checkpoint: &Path) -> Result<Self, TrainError> {
        let (state, progress) = weights::load_state(checkpoint, |progress: &Progress| progress.step)?;
        let other = |what: String| Err(TrainError::OtherTraining { path: checkpoint.display().to_string(), what });
        if progress.config != self.progress.config {
            return other(format!("found {:?}, wanted {:?}", progress.config, self.progress.config));
        }
        if progress.scenes != self.progress.scenes {
            return other(format!("pictures {}, wanted {}", progress.scenes, self.progress.scenes));
        }
        if state.weights.len() != self.state.weights.len() {
            return other(format!("{} weights, wanted {}", state.weights.len(), self.state.weights.len()));
        }
        Ok(Self { progress, state, ..self })
    }

    /// Where the training is.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Number of weights.
    pub fn weights(&self) -> usize {
        self.state.weights.len()
    }

    /// Whether this state lies on the way to `total` steps: the learning rate has not begun to decay too early for it.
    pub fn leads_to(&self, total: u64) -> bool {
        match self.progress.decaying_to {
            Some(planned) => planned == total,
            None => self.progress.step <= decay_start(total),
        }
    }

    /// The smallest number of steps whose decay begins after the present step.
    pub fn total_if_decaying_now(&self) -> u64 {
        (self.progress.step..)
            .find(|&total| decay_start(total) >= self.progress.step)
            .expect("decay_start is unbounded")
    }

    /// Takes one step of a training of `total` steps, or of one whose end is not known yet.
    ///
    /// # Errors
    /// [`TrainError::Diverged`].
    pub fn step(&mut self, total: Option<u64>) -> Result<StepReport, TrainError> {
        let step = self.state.step + 1;
        let batch = Batch::draw(&self.scenes, &self.progress.config, step, &self.device);
        self.network = parameters::with_values(self.network.clone(), &self.state.weights, true);
        let predicted = self.network.forward(batch.input, &batch.times, &batch.classes);
        let error = predicted - batch.velocity;
        let loss = (error.square() * batch.weight).sum();
        let gradients = loss.backward();
        let loss: f32 = loss.into_scalar();
        if !loss.is_finite() {
            return Err(TrainError::Diverged { step, loss });
        }
        let gradient = parameters::gradients(&self.network, &gradients);
        let mut rate = self.progress.config.rate * ((step as f32) / WARM_UP as f32).min(1.0);
        if let Some(total) = total
            && step > decay_start(total)
        {
            self.progress.decaying_to = Some(total);
            rate *= (total.saturating_sub(step) + 1) as f32 / (total - decay_start(total) + 1) as f32;
        }
        let gradient = self.state.update(&gradient, rate);
        self.progress.step = step;
        // Young means follow quickly.
        let keep = LOSS_MEMORY.min((step - 1) as f64 / step as f64);
        self.progress.loss = keep * self.progress.loss + (1.0 - keep) * f64::from(loss);
        Ok(StepReport { step, loss, smooth_loss: self.progress.loss, gradient })
    }

    /// Writes the state, to go on from later.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn checkpoint(&self, path: &Path) -> Result<(), TrainError> {
        Ok(weights::save_state(path, &self.progress, &self.state)?)
    }

    /// Writes the averaged weights for use, in f16.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), TrainError> {
        Ok(weights::save(path, &self.progress.config.network, &self.network, &self.state.average)?)
    }

    /// The network with averaged weights, on a plain device.
    pub fn averaged(&self) -> Unet {
        parameters::with_values(self.network.valid(), &self.state.average, false)
    }
}

/// What one step learns from.
struct Batch {
    input: Tensor<4>,
    velocity: Tensor<4>,
    weight: Tensor<4>,
    times: Vec<f32>,
    classes: Vec<usize>,
}

/// One scene with its noise.
struct Item {
    input: Vec<f32>,
    velocity: Vec<f32>,
    weight: Vec<f32>,
    time: f32,
    class: usize,
}

impl Item {
    fn draw(scenes: &Scenes, config: &TrainerConfig, step: u64, number: usize) -> Self {
        let mut rng = stream(config.seed, "small/scene", step * config.batch as u64 + number as u64);
        let sample = scenes.draw(&mut rng);
        // Times are spread evenly over a batch, which steadies the loss.
        let time = (number as f32 + rng.random::<f32>()) / config.batch as f32;
        let moment = Moment::at(time);
        let picture = Patches::of(&sample.picture);
        let mask: Vec<bool> = sample.mask.pixels().map(|p| p[0] == 255).collect();
        let flags = Flags::of(&mask);
        let noise = normal(&mut rng, picture.0.len());
        let both = || picture.0.iter().zip(&noise);
        let noisy: Vec<f32> = both().map(|(&x, &e)| moment.noisy(x, e)).collect();
        let mut input = Vec::with_capacity(INPUTS * picture.0.len() / COLOURS);
        flags.push_input(&noisy, &picture, &mut input);
        // Each scene counts the same, whatever the size of its mask.
        let weight = moment.weight() / (3.0 * flags.count() * config.batch as f32);
        Self {
            input,
            velocity: both().map(|(&x, &e)| moment.velocity(x, e)).collect(),
            weight: flags.per_value().map(|m| m * weight).collect(),
            time,
            class: sample.class,
        }
    }
}

impl Batch {
    fn draw(scenes: &Scenes, config: &TrainerConfig, step: u64, device: &Device) -> Self {
        let items: Vec<Item> =
            (0..config.batch).into_par_iter().map(|number| Item::draw(scenes, config, step, number)).collect();
        let tensor = |channels: usize, part: fn(&Item) -> &[f32]| {
            let values: Vec<f32> = items.iter().flat_map(|item| part(item).iter().copied()).collect();
            Tensor::from_data(TensorData::new(values, map_shape(items.len(), channels)), device)
        };
        Self {
            input: tensor(INPUTS, |item| &item.input),
            velocity: tensor(COLOURS, |item| &item.velocity),
            weight: tensor(COLOURS, |item| &item.weight),
            times: items.iter().map(|item| item.time).collect(),
            classes: items.iter().map(|item| item.class).collect(),
        }
    }
}

#[cfg(test)]
#[path = "train_tests.rs"]
mod tests;

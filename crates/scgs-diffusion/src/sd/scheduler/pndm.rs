//! PNDM in its linear multi-step form (PLMS): Liu et al. (2022), equations 9 and 12, as diffusers' `PNDMScheduler`.
//!
//! Always without Runge-Kutta steps: diffusers' Stable Diffusion pipelines set `skip_prk_steps` whatever the folder says.

use burn::tensor::Tensor;

use super::{
    Prediction, Scheduler, SchedulerConfig, SchedulerError, combine,
    config::Spacing,
    levels::{Alphas, spaced, within},
};

#[derive(Debug)]
pub(super) struct Pndm {
    alphas: Alphas,
    /// The share of signal after the last step.
    last: f64,
    ratio: usize,
    velocity: bool,
    timesteps: Vec<f32>,
    /// Steps done in this run.
    done: usize,
    /// The latents of the first step, which the second one takes again.
    first_sample: Option<Tensor<4>>,
    /// The last answers of the network, the newest last; at most four.
    answers: Vec<Tensor<4>>,
}

impl Pndm {
    pub(super) fn new(config: &SchedulerConfig, steps: usize) -> Result<Self, SchedulerError> {
        let prediction = config.prediction()?;
        if prediction == Prediction::Sample {
            return Err(config.unsupported("prediction_type", "sample", "epsilon or v_prediction (with pndm)"));
        }
        let count = config.train_steps();
        let alphas = config.alphas(false);
        let spacing = config.spacing(Spacing::Leading)?;
        let mut timesteps: Vec<f64> =
            spaced(spacing, steps, count, config.offset()).into_iter().map(f64::round_ties_even).collect();
        let ratio = count / steps;
        within(&timesteps, count, steps)?;
        if let Some(second) = timesteps.get(1).copied() {
            // The first two steps are Heun's method: the second timestep comes twice, once from the first one's place.
            timesteps.insert(1, second);
            within(&[second + ratio as f64], count, steps)?;
        }
        Ok(Self {
            last: if config.alpha_to_one(false) { 1.0 } else { alphas.at(0) },
            alphas,
            ratio,
            velocity: prediction == Prediction::V,
            timesteps: timesteps.into_iter().map(|t| t as f32).collect(),
            done: 0,
            first_sample: None,
            answers: Vec::new(),
        })
    }

    /// Equation 9.
    fn transfer(&self, sample: Tensor<4>, from: usize, to: i64, model_output: Tensor<4>) -> Tensor<4> {
        let (at, next) = (self.alphas.at(from), self.alphas.before(to, self.last));
        let model_output = if self.velocity {
            combine(at.sqrt(), model_output, (1.0 - at).sqrt(), sample.clone())
        } else {
            model_output
        };
        let denominator = at * (1.0 - next).sqrt() + (at * (1.0 - at) * next).sqrt();
        combine((next / at).sqrt(), sample, -(next - at) / denominator, model_output)
    }
}

/// The sum of `weights` times the newest `answers`, the newest first, over `divisor`.
fn blend<const N: usize>(answers: &[Tensor<4>], weights: [f64; N], divisor: f64) -> Tensor<4> {
    let mut terms =
        answers.iter().rev().zip(weights).map(|(answer, weight)| answer.clone().mul_scalar(weight / divisor));
    let first = terms.next().expect("an answer was just added");
    terms.fold(first, |sum, term| sum + term)
}

impl Scheduler for Pndm {
    fn timesteps(&self) -> &[f32] {
        &self.timesteps
    }

    fn init_noise_sigma(&self) -> f64 {
        1.0
    }

    fn scale_model_input(&self, sample: Tensor<4>, _: usize) -> Tensor<4> {
        sample
    }

    fn step(
        &mut self,
        model_output: Tensor<4>,
        index: usize,
        sample: Tensor<4>,
        _: &mut dyn FnMut() -> Tensor<4>,
    ) -> Tensor<4> {
        let timestep = self.timesteps[index] as usize;
        let (mut from, mut to) = (timestep, timestep as i64 - self.ratio as i64);
        let mut start = sample;
        let slope = if self.done == 1 {
            // Again from the first latents, with the mean of both ends.
            (from, to) = (timestep + self.ratio, timestep as i64);
            start = self.first_sample.take().unwrap_or(start);
            let first = self.answers.last().expect("the first step keeps its answer").clone();
            combine(0.5, model_output, 0.5, first)
        } else {
            if self.done == 0 {
                self.first_sample = Some(start.clone());
            }
            if self.answers.len() == 4 {
                self.answers.remove(0);
            }
            self.answers.push(model_output);
            match self.answers.len() {
                1 => blend(&self.answers, [1.0], 1.0),
                2 => blend(&self.answers, [3.0, -1.0], 2.0),
                3 => blend(&self.answers, [23.0, -16.0, 5.0], 12.0),
                _ => blend(&self.answers, [55.0, -59.0, 37.0, -9.0], 24.0),
            }
        };
        self.done += 1;
        self.transfer(start, from, to, slope)
    }

    fn add_noise(&self, original: Tensor<4>, noise: Tensor<4>, index: usize) -> Tensor<4> {
        self.alphas.noisy(original, noise, self.timesteps[index] as usize)
    }
}

//! DDIM with eta 0: Song et al. (2021), equation 12, as diffusers' `DDIMScheduler`.

use burn::tensor::Tensor;

use super::{
    Prediction, Scheduler, SchedulerConfig, SchedulerError, combine,
    config::Spacing,
    levels::{Alphas, spaced, within},
};

#[derive(Debug)]
pub(super) struct Ddim {
    alphas: Alphas,
    /// The share of signal after the last step.
    last: f64,
    ratio: usize,
    prediction: Prediction,
    clip: Option<f64>,
    timesteps: Vec<f32>,
}

impl Ddim {
    pub(super) fn new(config: &SchedulerConfig, steps: usize) -> Result<Self, SchedulerError> {
        config.refuse_thresholding()?;
        let count = config.train_steps();
        let alphas = config.alphas(config.zero_snr());
        let spacing = config.spacing(Spacing::Leading)?;
        let timesteps: Vec<f64> =
            spaced(spacing, steps, count, config.offset()).into_iter().map(f64::round_ties_even).collect();
        within(&timesteps, count, steps)?;
        let prediction = config.prediction()?;
        config.refuse_noise_alone(prediction, &alphas, &timesteps)?;
        Ok(Self {
            last: if config.alpha_to_one(true) { 1.0 } else { alphas.at(0) },
            alphas,
            ratio: count / steps,
            prediction,
            clip: config.clip(true),
            timesteps: timesteps.into_iter().map(|t| t as f32).collect(),
        })
    }
}

impl Scheduler for Ddim {
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
        let next = self.alphas.before(timestep as i64 - self.ratio as i64, self.last);
        let (clean, noise) = self.prediction.split(model_output, sample, self.alphas.at(timestep));
        let clean = match self.clip {
            Some(range) => clean.clamp(-range, range),
            None => clean,
        };
        combine(next.sqrt(), clean, (1.0 - next).sqrt(), noise)
    }

    fn add_noise(&self, original: Tensor<4>, noise: Tensor<4>, index: usize) -> Tensor<4> {
        self.alphas.noisy(original, noise, self.timesteps[index] as usize)
    }
}

//! Multi-step sampling of latent consistency models: Luo et al. (2023), algorithm 3, as diffusers' `LCMScheduler`.

use burn::tensor::Tensor;

use super::{
    Prediction, Scheduler, SchedulerConfig, SchedulerError, SchedulerKind, combine,
    levels::{Alphas, within},
};

/// The standard deviation of the data in the boundary condition.
const SIGMA_DATA: f64 = 0.5;

#[derive(Debug)]
pub(super) struct Lcm {
    alphas: Alphas,
    prediction: Prediction,
    clip: Option<f64>,
    /// What timesteps are multiplied by in the boundary condition.
    scaling: f64,
    timesteps: Vec<f32>,
}

impl Lcm {
    pub(super) fn new(config: &SchedulerConfig, steps: usize) -> Result<Self, SchedulerError> {
        config.refuse_thresholding()?;
        let count = config.train_steps();
        let original = config.whole("original_inference_steps")?.unwrap_or(50);
        if original == 0 || original > count {
            let supported = format!("1 to {count}");
            return Err(config.unsupported("original_inference_steps", &original.to_string(), &supported));
        }
        if steps > original {
            return Err(SchedulerError::TooManySteps { steps, kind: SchedulerKind::Lcm, most: Some(original) });
        }
        // The steps of the distillation, of which every `original / steps`-th is taken from the noisy end.
        let stride = count / original;
        let share = original as f64 / steps as f64;
        let index = |i: usize| (i as f64 * share).floor() as usize;
        let timesteps: Vec<f64> = (0..steps).map(|i| ((original - index(i)) * stride - 1) as f64).collect();
        within(&timesteps, count, steps)?;
        let (alphas, prediction) = (config.alphas(config.zero_snr()), config.prediction()?);
        config.refuse_noise_alone(prediction, &alphas, &timesteps)?;
        Ok(Self {
            alphas,
            prediction,
            clip: config.clip(false),
            scaling: config.number("timestep_scaling")?.unwrap_or(10.0),
            timesteps: timesteps.into_iter().map(|t| t as f32).collect(),
        })
    }
}

impl Scheduler for Lcm {
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
        noise: &mut dyn FnMut() -> Tensor<4>,
    ) -> Tensor<4> {
        let timestep = self.timesteps[index];
        let scaled = f64::from(timestep) * self.scaling;
        let norm = scaled * scaled + SIGMA_DATA * SIGMA_DATA;
        let (skip, out) = (SIGMA_DATA * SIGMA_DATA / norm, scaled / norm.sqrt());
        let (clean, _) = self.prediction.split(model_output, sample.clone(), self.alphas.at(timestep as usize));
        let clean = match self.clip {
            Some(range) => clean.clamp(-range, range),
            None => clean,
        };
        let denoised = combine(out, clean, skip, sample);
        match self.timesteps.get(index + 1) {
            Some(next) => self.alphas.noisy(denoised, noise(), *next as usize),
            None => denoised,
        }
    }

    fn add_noise(&self, original: Tensor<4>, noise: Tensor<4>, index: usize) -> Tensor<4> {
        self.alphas.noisy(original, noise, self.timesteps[index] as usize)
    }
}

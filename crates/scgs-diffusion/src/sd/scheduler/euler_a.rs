//! Euler's method with ancestral sampling, as diffusers' `EulerAncestralDiscreteScheduler` and k-diffusion's
//! `sample_euler_ancestral`: a step goes below the next noise level and fresh noise lifts it up again.

use burn::tensor::Tensor;

use super::{Prediction, Scheduler, SchedulerConfig, SchedulerError, euler::Sigmas};

#[derive(Debug)]
pub(super) struct EulerA {
    sigmas: Sigmas,
    prediction: Prediction,
}

impl EulerA {
    pub(super) fn new(config: &SchedulerConfig, steps: usize) -> Result<Self, SchedulerError> {
        let prediction = config.prediction()?;
        if prediction == Prediction::Sample {
            return Err(config.unsupported("prediction_type", "sample", "epsilon or v_prediction (with euler-a)"));
        }
        Ok(Self { sigmas: Sigmas::new(config, steps, true)?, prediction })
    }
}

impl Scheduler for EulerA {
    fn timesteps(&self) -> &[f32] {
        &self.sigmas.timesteps
    }

    fn init_noise_sigma(&self) -> f64 {
        self.sigmas.init()
    }

    fn scale_model_input(&self, sample: Tensor<4>, index: usize) -> Tensor<4> {
        self.sigmas.scaled(sample, index)
    }

    fn step(
        &mut self,
        model_output: Tensor<4>,
        index: usize,
        sample: Tensor<4>,
        noise: &mut dyn FnMut() -> Tensor<4>,
    ) -> Tensor<4> {
        let (from, to) = (self.sigmas.at(index), self.sigmas.at(index + 1));
        let up = to * ((from * from - to * to).max(0.0)).sqrt() / from;
        let down = (to * to - up * up).max(0.0).sqrt();
        let next = self.sigmas.advance(self.prediction, model_output, index, sample, down);
        // Drawn at the last step too, where it counts nothing, so that streams stay aligned with diffusers.
        next + noise().mul_scalar(up)
    }

    fn add_noise(&self, original: Tensor<4>, noise: Tensor<4>, index: usize) -> Tensor<4> {
        self.sigmas.noisy(original, noise, index)
    }
}

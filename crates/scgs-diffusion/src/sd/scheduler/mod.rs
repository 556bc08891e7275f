//! The sampling schedulers of Stable Diffusion, equal to those of diffusers 0.35.2.
//!
//! A [`Scheduler`] is made for one run of a known number of steps and is addressed by the index of a step, never by a
//! timestep: PNDM has one timestep twice, and with Karras' noise levels rounded timesteps may repeat. Starting at a later index
//! is what `strength < 1` means. Coefficients are computed in f64 from tables that hold the f32 values of PyTorch.

mod config;
mod ddim;
mod dpmpp;
mod euler;
mod euler_a;
mod lcm;
mod levels;
mod pndm;
#[cfg(test)]
mod tests;

use std::{fmt, str::FromStr};

use burn::tensor::Tensor;

pub use config::{SchedulerConfig, SchedulerError};

/// Turns what the UNet says into the next, less noisy latents. See the module for how steps are counted.
pub trait Scheduler: fmt::Debug + Send {
    /// The timestep of every step, from the noisiest down, as the UNet takes it; each in 0 ..= 999 for the usual 1000
    /// training steps, not always whole.
    fn timesteps(&self) -> &[f32];

    /// What standard normal noise is multiplied by before the first step of a run at full strength.
    fn init_noise_sigma(&self) -> f64;

    /// What the UNet sees in place of the latents at step `index`.
    fn scale_model_input(&self, sample: Tensor<4>, index: usize) -> Tensor<4>;

    /// One step: from the latents of step `index` and the UNet's answer to the latents of the next step. Steps are called
    /// in order from wherever the run starts to the last one.
    ///
    /// `noise` gives standard normal noise of the sample's shape. Only `euler-a` (at every step) and `lcm` (at every step
    /// but the last) ask for it, once per step, as diffusers does.
    fn step(
        &mut self,
        model_output: Tensor<4>,
        index: usize,
        sample: Tensor<4>,
        noise: &mut dyn FnMut() -> Tensor<4>,
    ) -> Tensor<4>;

    /// Clean latents with as much noise as the latents of step `index` have.
    fn add_noise(&self, original: Tensor<4>, noise: Tensor<4>, index: usize) -> Tensor<4>;

    /// The first step when only the share `strength` of the steps is to be run, as diffusers' `get_timesteps`:
    /// `steps` is the number that was asked for (PNDM has one step more in [`Scheduler::timesteps`]).
    ///
    /// # Errors
    /// [`SchedulerError::Strength`] when `strength` is not in (0, 1] or so small that no step is left.
    fn first_step(&self, steps: usize, strength: f64) -> Result<usize, SchedulerError> {
        let run = ((steps as f64 * strength) as usize).min(steps);
        let first = steps - run;
        if !(strength > 0.0 && strength <= 1.0) || first >= self.timesteps().len() || run == 0 {
            return Err(SchedulerError::Strength { strength, steps });
        }
        Ok(first)
    }
}

/// Which scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchedulerKind {
    /// Denoising diffusion implicit models (Song et al. 2021) without added noise.
    Ddim,
    /// Pseudo linear multi-step (Liu et al. 2022), the usual default of Stable Diffusion's folders.
    Pndm,
    /// DPM-Solver++ of second order, multi-step (Lu et al. 2022).
    DpmPp2M,
    /// Euler's method on noise levels (Karras et al. 2022).
    Euler,
    /// Euler's method with ancestral sampling: noise is added at every step.
    EulerA,
    /// Latent consistency models (Luo et al. 2023), for models or LoRAs made for 1 to 8 steps.
    Lcm,
}

impl SchedulerKind {
    /// Every scheduler.
    pub const ALL: [Self; 6] = [Self::Ddim, Self::Pndm, Self::DpmPp2M, Self::Euler, Self::EulerA, Self::Lcm];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ddim => "ddim",
            Self::Pndm => "pndm",
            Self::DpmPp2M => "dpmpp-2m",
            Self::Euler => "euler",
            Self::EulerA => "euler-a",
            Self::Lcm => "lcm",
        }
    }

    /// diffusers' name of the class, as in `scheduler_config.json`.
    pub fn class_name(self) -> &'static str {
        match self {
            Self::Ddim => "DDIMScheduler",
            Self::Pndm => "PNDMScheduler",
            Self::DpmPp2M => "DPMSolverMultistepScheduler",
            Self::Euler => "EulerDiscreteScheduler",
            Self::EulerA => "EulerAncestralDiscreteScheduler",
            Self::Lcm => "LCMScheduler",
        }
    }
}

impl fmt::Display for SchedulerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for SchedulerKind {
    type Err = SchedulerError;

    fn from_str(text: &str) -> Result<Self, SchedulerError> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| SchedulerError::UnknownKind(text.to_owned()))
    }
}

/// What the network was trained to say about noisy latents `x = sqrt(a) x0 + sqrt(1 - a) e`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prediction {
    /// The noise `e`.
    Epsilon,
    /// The velocity `v = sqrt(a) e - sqrt(1 - a) x0` (Salimans and Ho 2022).
    V,
    /// The clean latents `x0`.
    Sample,
}

/// `a x + b y`.
fn combine(a: f64, x: Tensor<4>, b: f64, y: Tensor<4>) -> Tensor<4> {
    x.mul_scalar(a) + y.mul_scalar(b)
}

impl Prediction {
    /// The clean latents and the noise for a share `alpha` (the cumulated product) of signal.
    fn split(self, model_output: Tensor<4>, sample: Tensor<4>, alpha: f64) -> (Tensor<4>, Tensor<4>) {
        let (signal, noise) = (alpha.sqrt(), (1.0 - alpha).sqrt());
        match self {
            Self::Epsilon => {
                let clean = combine(1.0, sample, -noise, model_output.clone()).div_scalar(signal);
                (clean, model_output)
            }
            Self::Sample => {
                let rest = combine(1.0, sample, -signal, model_output.clone()).div_scalar(noise);
                (model_output, rest)
            }
            Self::V => {
                let clean = combine(signal, sample.clone(), -noise, model_output.clone());
                (clean, combine(signal, model_output, noise, sample))
            }
        }
    }
}

//! Euler's method on noise levels: Karras et al. (2022), algorithm 2 without churn, as diffusers'
//! `EulerDiscreteScheduler`; and the noise levels that the ancestral variant shares.

use burn::tensor::Tensor;

use super::{
    Prediction, Scheduler, SchedulerConfig, SchedulerError, combine,
    config::{FinalSigma, Spacing},
    levels,
};

/// Noise levels of a run: those of the steps and of what comes after the last one.
#[derive(Debug)]
pub(super) struct Sigmas {
    pub(super) sigmas: Vec<f32>,
    pub(super) timesteps: Vec<f32>,
    init: f64,
}

impl Sigmas {
    /// `karras` and the final level are settings of plain Euler only.
    pub(super) fn new(config: &SchedulerConfig, steps: usize, ancestral: bool) -> Result<Self, SchedulerError> {
        let count = config.train_steps();
        let mut alphas = config.alphas(config.zero_snr());
        if config.zero_snr() {
            alphas = alphas.with_least_signal();
        }
        let all = alphas.sigmas();
        let spacing = config.spacing(Spacing::Linspace)?;
        let mut timesteps = levels::spaced(spacing, steps, count, config.offset());
        levels::within(&timesteps, count, steps)?;
        let rounded = |t: &f64| f64::from(*t as f32);
        let mut sigmas: Vec<f64> = timesteps.iter().map(|t| levels::interpolate(&all, rounded(t))).collect();
        if !ancestral && config.karras() {
            let lowest = config.number("sigma_min")?.unwrap_or(sigmas[steps - 1]);
            let highest = config.number("sigma_max")?.unwrap_or(sigmas[0]);
            if !(lowest > 0.0 && lowest <= highest && highest.is_finite()) {
                let found = format!("{lowest} .. {highest}");
                return Err(config.unsupported("sigma_min, sigma_max", &found, "0 < sigma_min <= sigma_max"));
            }
            sigmas = levels::karras(lowest, highest, steps);
            let logs: Vec<f32> = all.iter().map(|sigma| sigma.ln()).collect();
            timesteps = sigmas.iter().map(|sigma| levels::timestep_of(*sigma, &logs)).collect();
        }
        let last = if ancestral { FinalSigma::Zero } else { config.final_sigma()? };
        sigmas.push(match last {
            FinalSigma::Zero => 0.0,
            FinalSigma::Least => f64::from(all[0]),
        });
        let sigmas: Vec<f32> = sigmas.into_iter().map(|sigma| sigma as f32).collect();
        let highest = sigmas.iter().copied().map(f64::from).fold(0.0, f64::max);
        let init = if spacing == Spacing::Leading { (highest * highest + 1.0).sqrt() } else { highest };
        Ok(Self { sigmas, timesteps: timesteps.into_iter().map(|t| t as f32).collect(), init })
    }

    pub(super) fn at(&self, index: usize) -> f64 {
        f64::from(self.sigmas[index])
    }

    pub(super) fn init(&self) -> f64 {
        self.init
    }

    pub(super) fn scaled(&self, sample: Tensor<4>, index: usize) -> Tensor<4> {
        let sigma = self.at(index);
        sample.div_scalar((sigma * sigma + 1.0).sqrt())
    }

    pub(super) fn noisy(&self, original: Tensor<4>, noise: Tensor<4>, index: usize) -> Tensor<4> {
        original + noise.mul_scalar(self.at(index))
    }

    /// One step of Euler's method from the level of step `index` to the level `to`.
    pub(super) fn advance(
        &self,
        prediction: Prediction,
        model_output: Tensor<4>,
        index: usize,
        sample: Tensor<4>,
        to: f64,
    ) -> Tensor<4> {
        let sigma = self.at(index);
        let dt = to - sigma;
        let derivative = match prediction {
            // (x - (x - sigma e)) / sigma
            Prediction::Epsilon => model_output,
            Prediction::Sample => (sample.clone() - model_output).div_scalar(sigma),
            Prediction::V => {
                let variance = sigma * sigma + 1.0;
                combine(1.0 / variance.sqrt(), model_output, sigma / variance, sample.clone())
            }
        };
        sample + derivative.mul_scalar(dt)
    }
}

#[derive(Debug)]
pub(super) struct Euler {
    sigmas: Sigmas,
    prediction: Prediction,
}

impl Euler {
    pub(super) fn new(config: &SchedulerConfig, steps: usize) -> Result<Self, SchedulerError> {
        config.refuse_switches(&["use_exponential_sigmas", "use_beta_sigmas"])?;
        config.require("interpolation_type", &["linear"])?;
        config.require("timestep_type", &["discrete"])?;
        Ok(Self { sigmas: Sigmas::new(config, steps, false)?, prediction: config.prediction()? })
    }
}

impl Scheduler for Euler {
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
        _: &mut dyn FnMut() -> Tensor<4>,
    ) -> Tensor<4> {
        let to = self.sigmas.at(index + 1);
        self.sigmas.advance(self.prediction, model_output, index, sample, to)
    }

    fn add_noise(&self, original: Tensor<4>, noise: Tensor<4>, index: usize) -> Tensor<4> {
        self.sigmas.noisy(original, noise, index)
    }
}

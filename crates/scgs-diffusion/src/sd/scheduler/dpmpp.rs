//! DPM-Solver++ with multi-steps of order 1 or 2: Lu et al. (2022), algorithm 2, as diffusers'
//! `DPMSolverMultistepScheduler` with `algorithm_type` `dpmsolver++`.

use burn::tensor::Tensor;

use super::{
    Prediction, Scheduler, SchedulerConfig, SchedulerError, combine,
    config::{Betas, FinalSigma, Spacing},
    levels::{self, Alphas},
};

/// Below so many steps `lower_order_final` takes effect.
const FEW: usize = 15;

#[derive(Debug)]
pub(super) struct DpmPp {
    /// Noise levels of the steps and of what comes after the last one.
    sigmas: Vec<f32>,
    timesteps: Vec<f32>,
    prediction: Prediction,
    second_order: bool,
    heun: bool,
    /// Whether the last step is of first order.
    lower_at_end: bool,
    /// The clean latents that the step before predicted.
    previous: Option<Tensor<4>>,
}

impl DpmPp {
    pub(super) fn new(config: &SchedulerConfig, steps: usize) -> Result<Self, SchedulerError> {
        config.refuse_thresholding()?;
        config.refuse_switches(&["use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas", "use_flow_sigmas"])?;
        config.require("algorithm_type", &["dpmsolver++"])?;
        let heun = config.require("solver_type", &["midpoint", "heun"])? == Some("heun");
        let second_order = match config.whole("solver_order")?.unwrap_or(2) {
            1 => false,
            2 => true,
            other => return Err(config.unsupported("solver_order", &other.to_string(), "1 or 2")),
        };
        let count = config.train_steps();
        let mut alphas = config.alphas(config.zero_snr());
        if config.zero_snr() {
            alphas = alphas.with_least_signal();
        }
        let all = alphas.sigmas();
        let (timesteps, mut sigmas) = if config.karras() {
            let sigmas = levels::karras(f64::from(all[0]), f64::from(all[count - 1]), steps);
            let logs: Vec<f32> = all.iter().map(|sigma| sigma.ln()).collect();
            let exact = sigmas.iter().map(|sigma| levels::timestep_of(*sigma, &logs));
            let cosine = matches!(config.betas(), Betas::SquaredCosine);
            (exact.map(|t| if cosine { t.trunc() } else { t.round_ties_even() }).collect(), sigmas)
        } else {
            let timesteps = spaced(config, &alphas, steps)?;
            let sigmas = timesteps.iter().map(|t| levels::interpolate(&all, *t)).collect();
            (timesteps, sigmas)
        };
        levels::within(&timesteps, count, steps)?;
        if timesteps.len() != steps || sigmas.windows(2).any(|pair| pair[1] >= pair[0]) {
            return Err(SchedulerError::TooManySteps { steps, kind: super::SchedulerKind::DpmPp2M, most: None });
        }
        let last = config.final_sigma()?;
        sigmas.push(match last {
            FinalSigma::Zero => 0.0,
            FinalSigma::Least => f64::from(all[0]),
        });
        let few = config.flag("lower_order_final", true) && steps < FEW;
        Ok(Self {
            sigmas: sigmas.into_iter().map(|sigma| sigma as f32).collect(),
            timesteps: timesteps.into_iter().map(|t| t as f32).collect(),
            prediction: config.prediction()?,
            second_order,
            heun,
            lower_at_end: config.flag("euler_at_final", false) || few || last == FinalSigma::Zero,
            previous: None,
        })
    }

    /// Signal, noise and half the logarithm of their ratio at a step.
    fn level(&self, index: usize) -> (f64, f64, f64) {
        let sigma = f64::from(self.sigmas[index]);
        let signal = 1.0 / (sigma * sigma + 1.0).sqrt();
        (signal, sigma * signal, -sigma.ln())
    }
}

/// The timesteps where diffusers takes one more and drops the last one.
fn spaced(config: &SchedulerConfig, alphas: &Alphas, steps: usize) -> Result<Vec<f64>, SchedulerError> {
    let count = config.train_steps();
    let last = match config.number("lambda_min_clipped")? {
        Some(least) => alphas.above(least).max(1),
        None => count,
    };
    Ok(match config.spacing(Spacing::Linspace)? {
        Spacing::Linspace => {
            levels::ramp((last - 1) as f64, steps + 1).into_iter().skip(1).rev().map(f64::round_ties_even).collect()
        }
        Spacing::Leading => {
            let ratio = last / (steps + 1);
            (1..=steps).rev().map(|i| (i * ratio + config.offset()) as f64).collect()
        }
        Spacing::Trailing => levels::trailing(last, count, steps),
    })
}

impl Scheduler for DpmPp {
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
        let (signal, noise, lambda) = self.level(index);
        let clean = match self.prediction {
            Prediction::Epsilon => combine(1.0, sample.clone(), -noise, model_output).div_scalar(signal),
            Prediction::V => combine(signal, sample.clone(), -noise, model_output),
            Prediction::Sample => model_output,
        };
        let (next_signal, next_noise, next_lambda) = self.level(index + 1);
        let h = next_lambda - lambda;
        let growth = next_signal * ((-h).exp() - 1.0);
        let mut next = combine(next_noise / noise, sample, -growth, clean.clone());
        let at_end = index + 1 == self.timesteps.len() && self.lower_at_end;
        // Of a step of no width nothing is left to correct.
        if let Some(previous) = self.previous.take()
            && !at_end
            && h != 0.0
        {
            let ratio = (lambda - self.level(index - 1).2) / h;
            let slope = (clean.clone() - previous).div_scalar(ratio);
            let weight = if self.heun { growth / h + next_signal } else { -0.5 * growth };
            next = next + slope.mul_scalar(weight);
        }
        self.previous = self.second_order.then_some(clean);
        next
    }

    fn add_noise(&self, original: Tensor<4>, noise: Tensor<4>, index: usize) -> Tensor<4> {
        let (signal, sigma, _) = self.level(index);
        combine(signal, original, sigma, noise)
    }
}

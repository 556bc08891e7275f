//! Tables of noise and the choice of timesteps that the schedulers share.

use burn::tensor::Tensor;

use super::{
    combine,
    config::{Betas, SchedulerError, Spacing},
};

/// The cumulated products of `1 - beta`, one per training step, from clean to noisy.
#[derive(Clone, Debug)]
pub(super) struct Alphas(Vec<f32>);

impl Alphas {
    /// `zero_snr`: rescaled so that the last step is pure noise (Lin et al. 2024, algorithm 1).
    pub(super) fn new(schedule: &Betas, start: f64, end: f64, count: usize, zero_snr: bool) -> Self {
        let mut betas: Vec<f32> = match schedule {
            Betas::Given(betas) => betas.clone(),
            Betas::Linear => linspace(start as f32, end as f32, count),
            Betas::ScaledLinear => {
                linspace(start.sqrt() as f32, end.sqrt() as f32, count).into_iter().map(|root| root * root).collect()
            }
            Betas::SquaredCosine => {
                let bar = |t: f64| ((t + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2).cos().powi(2);
                let at = |i: usize| i as f64 / count as f64;
                (0..count).map(|i| (1.0 - bar(at(i + 1)) / bar(at(i))).min(0.999) as f32).collect()
            }
        };
        if zero_snr {
            betas = without_signal_at_the_end(&betas);
        }
        Self(cumulated(&betas))
    }

    /// Sets the last value just above 0, which the schedulers that divide by it need; diffusers takes the same number.
    pub(super) fn with_least_signal(mut self) -> Self {
        if let Some(last) = self.0.last_mut() {
            *last = 2f32.powi(-24);
        }
        self
    }

    /// The share of signal at a training step in `0 .. len`.
    pub(super) fn at(&self, timestep: usize) -> f64 {
        f64::from(self.0[timestep])
    }

    /// The same, where before the first step there is `last`.
    pub(super) fn before(&self, timestep: i64, last: f64) -> f64 {
        usize::try_from(timestep).map_or(last, |timestep| self.at(timestep))
    }

    /// Clean latents with the noise of a training step.
    pub(super) fn noisy(&self, original: Tensor<4>, noise: Tensor<4>, timestep: usize) -> Tensor<4> {
        let alpha = self.at(timestep);
        combine(alpha.sqrt(), original, (1.0 - alpha).sqrt(), noise)
    }

    /// Noise levels `sqrt((1 - a) / a)` of all training steps, rising.
    pub(super) fn sigmas(&self) -> Vec<f32> {
        self.0.iter().map(|a| ((1.0 - a) / a).sqrt()).collect()
    }

    /// How many training steps have half the logarithm of the signal-to-noise ratio at or above `least`.
    pub(super) fn above(&self, least: f64) -> usize {
        self.0.iter().filter(|a| f64::from(a.sqrt().ln() - (1.0 - **a).sqrt().ln()) >= least).count()
    }
}

/// PyTorch's `linspace` in f32: from both ends, so that both are exact.
fn linspace(start: f32, end: f32, count: usize) -> Vec<f32> {
    if count == 1 {
        return vec![start];
    }
    let step = (end - start) / (count - 1) as f32;
    let value = |i: usize| {
        if i < count / 2 { start + step * i as f32 } else { end - step * (count - i - 1) as f32 }
    };
    (0..count).map(value).collect()
}

/// PyTorch cumulates f32 in f64.
fn cumulated(betas: &[f32]) -> Vec<f32> {
    let mut product = 1.0_f64;
    betas
        .iter()
        .map(|beta| {
            product *= f64::from(1.0 - beta);
            product as f32
        })
        .collect()
}

fn without_signal_at_the_end(betas: &[f32]) -> Vec<f32> {
    let roots: Vec<f32> = cumulated(betas).into_iter().map(f32::sqrt).collect();
    let (Some(first), Some(last)) = (roots.first(), roots.last()) else {
        return Vec::new();
    };
    let scale = first / (first - last);
    let bar: Vec<f32> = roots.iter().map(|root| ((root - last) * scale).powi(2)).collect();
    (0..bar.len()).map(|i| 1.0 - if i == 0 { bar[0] } else { bar[i] / bar[i - 1] }).collect()
}

/// numpy's `linspace(0, stop, count)`.
pub(super) fn ramp(stop: f64, count: usize) -> Vec<f64> {
    let step = if count > 1 { stop / (count - 1) as f64 } else { 0.0 };
    (0..count).map(|i| if i > 0 && i + 1 == count { stop } else { i as f64 * step }).collect()
}

/// The timesteps of `steps` steps among `count` training steps, falling; not rounded for [`Spacing::Linspace`] (table 2
/// of Lin et al. 2024).
///
/// diffusers computes `trailing` by a range of floats that, by rounding, has one element too many for some numbers of steps (61
/// for instance), which then is -1; here it is left out.
pub(super) fn spaced(spacing: Spacing, steps: usize, count: usize, offset: usize) -> Vec<f64> {
    match spacing {
        Spacing::Linspace => ramp((count - 1) as f64, steps).into_iter().rev().collect(),
        Spacing::Leading => {
            let ratio = count / steps;
            (0..steps).rev().map(|i| (i * ratio + offset) as f64).collect()
        }
        Spacing::Trailing => trailing(count, count, steps),
    }
}

/// `round(last, last - count/steps, ..) - 1`.
pub(super) fn trailing(last: usize, count: usize, steps: usize) -> Vec<f64> {
    let ratio = count as f64 / steps as f64;
    // numpy's arange multiplies the difference of its first two elements.
    let delta = (last as f64 - ratio) - last as f64;
    let all = (0..steps).map(|i| (last as f64 + i as f64 * delta).round_ties_even() - 1.0);
    all.take_while(|t| *t >= 0.0).collect()
}

/// Refuses timesteps that the network was not trained for.
pub(super) fn within(timesteps: &[f64], count: usize, steps: usize) -> Result<(), SchedulerError> {
    match timesteps.iter().find(|t| **t < 0.0 || **t > (count - 1) as f64) {
        Some(found) => Err(SchedulerError::Timestep { found: *found, steps, train_steps: count }),
        None => Ok(()),
    }
}

/// The values at fractional positions of a table, as numpy's `interp`.
pub(super) fn interpolate(table: &[f32], position: f64) -> f64 {
    let last = table.len() - 1;
    let low = (position.max(0.0) as usize).min(last);
    let (at, next) = (f64::from(table[low]), f64::from(table[(low + 1).min(last)]));
    (next - at) * (position - low as f64).clamp(0.0, 1.0) + at
}

/// Noise levels of Karras et al. (2022), equation 5 with rho 7, from the highest to the lowest.
pub(super) fn karras(lowest: f64, highest: f64, steps: usize) -> Vec<f64> {
    let (low, high) = (lowest.powf(1.0 / 7.0), highest.powf(1.0 / 7.0));
    ramp(1.0, steps).into_iter().map(|r| (high + r * (low - high)).powf(7.0)).collect()
}

/// The timestep of a noise level: linear in the logarithm between the training steps around it.
pub(super) fn timestep_of(sigma: f64, log_sigmas: &[f32]) -> f64 {
    let log = sigma.max(1e-10).ln();
    let low = log_sigmas.iter().rposition(|l| log >= f64::from(*l)).unwrap_or(0).min(log_sigmas.len() - 2);
    let (at, next) = (f64::from(log_sigmas[low]), f64::from(log_sigmas[low + 1]));
    let share = ((at - log) / (at - next)).clamp(0.0, 1.0);
    low as f64 + share
}

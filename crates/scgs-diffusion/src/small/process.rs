//! The noising process: a cosine of continuous time, and its deterministic way back.

use std::f32::consts::FRAC_PI_2;

use rand::{Rng, RngExt};

/// The most weight that a time may have in terms of the picture's error; see [`Moment::weight`].
const LARGEST_WEIGHT: f32 = 5.0;

/// One time of the process: `x_t = signal * x + noise * e` with `signal^2 + noise^2 = 1`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Moment {
    pub(super) signal: f32,
    pub(super) noise: f32,
}

impl Moment {
    /// At time `t` from 0 (the picture) to 1 (nothing but noise).
    pub(super) fn at(t: f32) -> Self {
        let (noise, signal) = (t * FRAC_PI_2).sin_cos();
        // The cosine of a rounded pi / 2 is not quite zero.
        if t >= 1.0 { Self { signal: 0.0, noise: 1.0 } } else { Self { signal, noise } }
    }

    /// What the network learns: the velocity `signal * e - noise * x` (Salimans and Ho 2022).
    pub(super) fn velocity(self, x: f32, e: f32) -> f32 {
        self.signal * e - self.noise * x
    }

    /// The noisy value.
    pub(super) fn noisy(self, x: f32, e: f32) -> f32 {
        self.signal * x + self.noise * e
    }

    /// The weight of the squared error of the velocity. An error there counts `1 / noise^2` times in the picture; late
    /// times, where only invisible detail is left to learn, are held at [`LARGEST_WEIGHT`] (after Hang et al. 2023).
    pub(super) fn weight(self) -> f32 {
        (LARGEST_WEIGHT * self.noise * self.noise).min(1.0)
    }

    /// From the noisy value here and the velocity to the noisy value at an earlier time: a step of DDIM without
    /// fresh noise (Song et al. 2021), with the picture cut to -1..=1 on the way.
    pub(super) fn step(self, earlier: Self, noisy: f32, velocity: f32) -> f32 {
        let x = (self.signal * noisy - self.noise * velocity).clamp(-1.0, 1.0);
        // The noise that agrees with the cut picture; at time 1 that is the noisy value itself.
        let e = (noisy - self.signal * x) / self.noise;
        earlier.noisy(x, e)
    }
}

/// Standard normal values (Box and Muller).
pub(crate) fn normal(rng: &mut impl Rng, count: usize) -> Vec<f32> {
    let mut values = Vec::with_capacity(count + 1);
    while values.len() < count {
        // 1 - u lies in (0, 1], so the logarithm is finite.
        let (u, v): (f32, f32) = (rng.random(), rng.random());
        let (sine, cosine) = (v * std::f32::consts::TAU).sin_cos();
        let radius = (-2.0 * (1.0 - u).ln()).sqrt();
        values.extend([radius * cosine, radius * sine]);
    }
    values.truncate(count);
    values
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn the_true_velocity_leads_back_to_the_picture_in_any_number_of_steps() {
        let (x, e) = (0.37_f32, -1.2_f32);
        for steps in [1, 2, 7, 20] {
            let times: Vec<Moment> = (0..=steps).rev().map(|i| Moment::at(i as f32 / steps as f32)).collect();
            let mut value = times[0].noisy(x, e);
            assert_eq!(value, e, "at time 1 there is nothing but noise");
            for pair in times.windows(2) {
                value = pair[0].step(pair[1], value, pair[0].velocity(x, e));
            }
            assert!((value - x).abs() < 1e-5, "{steps} steps: {value}");
        }
    }

    #[test]
    fn signal_and_noise_have_unit_power_and_the_weight_falls_with_the_noise() {
        for i in 0..=100 {
            let moment = Moment::at(i as f32 / 100.0);
            assert!((moment.signal.powi(2) + moment.noise.powi(2) - 1.0).abs() < 1e-6);
            assert!((0.0..=1.0).contains(&moment.weight()));
        }
        assert_eq!(Moment::at(1.0).weight(), 1.0);
        assert!(Moment::at(0.05).weight() < 0.05);
    }

    #[test]
    fn normal_values_have_mean_0_and_deviation_1() {
        let values = normal(&mut ChaCha8Rng::seed_from_u64(4), 20_001);
        assert_eq!(values.len(), 20_001);
        let mean = values.iter().sum::<f32>() / 20_001.0;
        let variance = values.iter().map(|v| v * v).sum::<f32>() / 20_001.0;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
    }
}

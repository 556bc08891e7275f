//! Where the random numbers of a picture come from.

use rand_chacha::ChaCha8Rng;
use scgs_data::RandomState;

use crate::small::normal;

/// What random numbers are for. diffusers draws them in this order: for the picture's latents (with a strength below 1, and
/// always for networks of four channels), the initial noise, the latents of the masked picture, then one draw per
/// step of the schedulers that want it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Draw {
    /// A sample of the distribution that the VAE's encoder gives.
    Encoder,
    /// The noise that a picture starts from.
    Initial,
    /// The noise of a scheduler's step.
    Step,
}

/// A source of standard normal numbers for one picture.
pub trait Noise: Send {
    /// The next `count` numbers.
    fn normal(&mut self, draw: Draw, count: usize) -> Vec<f32>;
}

/// Every number from one stream, in the order of the draws.
impl Noise for ChaCha8Rng {
    fn normal(&mut self, _: Draw, count: usize) -> Vec<f32> {
        normal(self, count)
    }
}

/// The numbers of `torch.randn(.., generator=torch.Generator("cpu").manual_seed(seed))`, so that a seed gives the picture
/// that diffusers gives for it on a CPU.
///
/// The generator is MT19937. Sixteen numbers and more are made of uniform ones by Box and Muller's method (1958), in blocks of
/// sixteen whose first half holds the radii; the last block overlaps the one before. They differ from PyTorch's by the
/// rounding of logarithm, sine and cosine.
#[derive(Clone, Debug)]
pub struct TorchNoise {
    words: RandomState,
    /// The second number of a pair that was drawn in double precision.
    spare: Option<f64>,
}

/// Numbers made together.
const BLOCK: usize = 16;

impl TorchNoise {
    /// As `manual_seed(seed)`, which uses the lower 32 bits.
    pub fn new(seed: u64) -> Self {
        Self { words: RandomState::new(seed as u32), spare: None }
    }

    fn uniform(&mut self) -> f32 {
        (self.words.next_u32() & 0x00ff_ffff) as f32 / (1 << 24) as f32
    }

    /// 53 random bits as a number in 0..1.
    fn uniform_f64(&mut self) -> f64 {
        let high = u64::from(self.words.next_u32());
        let low = u64::from(self.words.next_u32());
        ((high << 32 | low) & ((1 << 53) - 1)) as f64 / (1_u64 << 53) as f64
    }

    /// A number on its own, as PyTorch draws fewer than sixteen.
    fn single(&mut self) -> f32 {
        if let Some(spare) = self.spare.take() {
            return spare as f32;
        }
        let (angle, radius) = (self.uniform_f64(), self.uniform_f64());
        let radius = (-2.0 * (-radius).ln_1p()).sqrt();
        let angle = 2.0 * std::f64::consts::PI * angle;
        self.spare = Some(radius * angle.sin());
        (radius * angle.cos()) as f32
    }
}

impl Noise for TorchNoise {
    fn normal(&mut self, _: Draw, count: usize) -> Vec<f32> {
        if count < BLOCK {
            return (0..count).map(|_| self.single()).collect();
        }
        let mut values: Vec<f32> = (0..count).map(|_| self.uniform()).collect();
        values.chunks_exact_mut(BLOCK).for_each(box_muller);
        if !count.is_multiple_of(BLOCK) {
            let last = &mut values[count - BLOCK..];
            last.fill_with(|| self.uniform());
            box_muller(last);
        }
        values
    }
}

fn box_muller(block: &mut [f32]) {
    let (radii, angles) = block.split_at_mut(BLOCK / 2);
    for (radius, angle) in radii.iter_mut().zip(angles) {
        let length = (-2.0 * (1.0 - *radius).ln()).sqrt();
        let (sine, cosine) = (2.0 * std::f32::consts::PI * *angle).sin_cos();
        (*radius, *angle) = (length * cosine, length * sine);
    }
}

#[cfg(test)]
#[path = "noise_tests.rs"]
mod tests;

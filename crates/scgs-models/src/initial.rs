//! Fresh weights, drawn from one random stream per tensor.

use std::f64::consts::TAU;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use crate::{Architecture, Network, names};

/// Draws every weight of a network that has just been made; see [`crate::Architecture::init_seeded`].
pub(crate) fn draw(network: Network, seed: u64, zero_init_residual: bool) -> Network {
    let architecture = network.architecture();
    let features = architecture.feature_width();
    // The batch norm before the addition; the stem's `bn1` has no dot in front and no block's `bn2` or `bn3`.
    let last_norm = match (architecture, features) {
        (Architecture::EfficientNetLite0, _) => None,
        (_, 512) => Some(".bn2.weight"),
        _ => Some(".bn3.weight"),
    };
    names::replace(network, |name, shape| match last_norm {
        Some(last) if zero_init_residual && name.ends_with(last) => vec![0.0; shape.iter().product()],
        _ => values(name, shape, features, seed),
    })
}

/// Fresh values for the tensor `name` of `shape`, by the rank: convolution 4, last layer's weight 2, the rest 1.
pub(crate) fn values(name: &str, shape: &[usize], features: usize, seed: u64) -> Vec<f32> {
    let count = shape.iter().product();
    let mut rng = stream(name, seed);
    match *shape {
        [output, input, height, width] => {
            // A depthwise convolution sends each input to one output: `fan_out` is the kernel's area alone.
            let fan_out = if input == 1 { height * width } else { output * height * width };
            let deviation = (2.0 / fan_out as f64).sqrt();
            normal(&mut rng, count).map(|z| (deviation * z) as f32).collect()
        }
        [_, _] => uniform(&mut rng, count, features),
        _ if name.ends_with("fc.bias") => uniform(&mut rng, count, features),
        _ if name.ends_with(".bias") || name.ends_with(".running_mean") => vec![0.0; count],
        _ => vec![1.0; count],
    }
}

fn stream(name: &str, seed: u64) -> ChaCha8Rng {
    let mut key = Sha256::new();
    key.update(b"scgs-models/initial");
    key.update(seed.to_le_bytes());
    key.update(name.as_bytes());
    ChaCha8Rng::from_seed(key.finalize().into())
}

/// Uniform in `±1 / sqrt(features)`, PyTorch's default for `nn.Linear`.
fn uniform(rng: &mut impl Rng, count: usize, features: usize) -> Vec<f32> {
    let bound = 1.0 / (features as f64).sqrt();
    (0..count).map(|_| (bound * (2.0 * rng.random::<f64>() - 1.0)) as f32).collect()
}

/// Standard normal values by Box and Muller.
fn normal(rng: &mut impl Rng, count: usize) -> impl Iterator<Item = f64> {
    (0..count).map(|_| {
        // 1 - u lies in (0, 1], so the logarithm is finite.
        let (u, v): (f64, f64) = (rng.random(), rng.random());
        (-2.0 * (1.0 - u).ln()).sqrt() * (TAU * v).cos()
    })
}

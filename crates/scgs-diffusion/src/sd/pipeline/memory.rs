//! How much memory painting takes, and what fits into a budget.

use super::{PaintOptions, load::Configs};

/// Bytes that one row of the UNet's input takes while it runs, by pixel of the latents and channel of the first level.
///
/// Measured with the full network at 512 x 512 (see docs/parity.md); attention is counted on its own, because only some
/// devices fuse it.
const UNET: u64 = 220;

/// Bytes that the VAE takes by pixel of the picture and channel of its first level, measured likewise.
const VAE: u64 = 40;

/// The most rows that are computed together: beyond it nothing gets faster.
const MOST: usize = 64;

fn pixels((width, height): (u32, u32)) -> u64 {
    u64::from(width) * u64::from(height)
}

/// What the VAE takes for a whole picture.
fn vae(configs: &Configs, size: (u32, u32)) -> u64 {
    VAE * pixels(size) * configs.vae.block_out_channels[0] as u64
}

/// What the UNet takes for a row.
fn row(configs: &Configs, size: (u32, u32)) -> u64 {
    let latents = pixels(size) / (configs.vae.scale() * configs.vae.scale()) as u64;
    UNET * latents * configs.unet.block_out_channels[0] as u64
}

/// Rows of input that the UNet computes together; both of a picture with guidance where nothing limits it. `weights` is
/// what the weights take in bytes.
pub(super) fn rows(configs: &Configs, weights: u64, options: &PaintOptions, size: (u32, u32)) -> usize {
    match options.memory {
        None => 2,
        Some(budget) => {
            let left = budget.saturating_sub(weights);
            usize::try_from(left / row(configs, size).max(1)).unwrap_or(usize::MAX).clamp(1, MOST)
        }
    }
}

/// Whether the VAE must work in tiles to stay within the budget.
pub(super) fn needs_tiles(configs: &Configs, weights: u64, options: &PaintOptions, size: (u32, u32)) -> bool {
    options.memory.is_some_and(|budget| weights.saturating_add(vae(configs, size)) > budget)
}

//! Controls: random masks of a given area, to see whether it matters where a mask lies.

use std::f64::consts::TAU;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::{Mask, MaskError};

/// A box at a random place with `round(area * width * height)` pixels, aspect ratio between 1:2 and 2:1 where the
/// picture allows. Where no box has exactly that many pixels, its last row is cut short. Pass [`Mask::area`] to match a
/// mask.
///
/// # Errors
/// [`MaskError::Setting`] for an area outside 0..=1, [`MaskError::Shape`] for a picture without pixels.
pub fn random_box(width: usize, height: usize, area: f64, rng: &mut ChaCha8Rng) -> Result<Mask, MaskError> {
    let count = pixel_count(width, height, area)?;
    // Uniform in the logarithm, so that flat and tall boxes are equally likely.
    let aspect = 2f64.powf(rng.random_range(-1.0..=1.0));
    let narrowest = count.div_ceil(height).max(1);
    let columns = ((count as f64 * aspect).sqrt().round() as usize).clamp(narrowest, width);
    let rows = count.div_ceil(columns);
    let left = rng.random_range(0..=width - columns);
    let top = rng.random_range(0..=height - rows);
    let mut pixels = vec![false; width * height];
    for at in 0..count {
        pixels[(top + at / columns) * width + left + at % columns] = true;
    }
    Mask::new(width, height, pixels)
}

/// A roundish blob in one piece around a random pixel with `round(area * width * height)` pixels, cut off by the
/// picture's border. Its outline is a circle bent by a few random waves. Pass [`Mask::area`] to match a mask.
///
/// # Errors
/// As [`random_box`].
pub fn random_blob(width: usize, height: usize, area: f64, rng: &mut ChaCha8Rng) -> Result<Mask, MaskError> {
    let count = pixel_count(width, height, area)?;
    let centre = (rng.random_range(0..width), rng.random_range(0..height));
    // Amplitudes that add up to less than 1 keep the radius positive in every direction.
    let waves: Vec<(f64, f64, f64)> = (2..6)
        .map(|turns| {
            let turns = f64::from(turns);
            (turns, rng.random_range(0.0..0.4) / turns, rng.random_range(0.0..TAU))
        })
        .collect();
    let mut order: Vec<(f64, usize)> = (0..width * height)
        .map(|at| {
            let (dx, dy) = ((at % width) as f64 - centre.0 as f64, (at / width) as f64 - centre.1 as f64);
            let angle = dy.atan2(dx);
            let radius =
                1.0 + waves.iter().map(|(turns, height, phase)| height * (turns * angle + phase).cos()).sum::<f64>();
            (dx.hypot(dy) / radius, at)
        })
        .collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut pixels = vec![false; width * height];
    order.iter().take(count).for_each(|&(_, at)| pixels[at] = true);
    Mask::new(width, height, pixels)
}

fn pixel_count(width: usize, height: usize, area: f64) -> Result<usize, MaskError> {
    if !(0.0..=1.0).contains(&area) {
        return Err(MaskError::Setting { name: "area", value: area, expected: "0 to 1" });
    }
    match width.checked_mul(height) {
        Some(pixels) if pixels > 0 => Ok((area * pixels as f64).round() as usize),
        _ => Err(MaskError::Shape { width, height, len: 0 }),
    }
}

//! Attention maps: scaling, resizing, fusing.

use crate::{CamError, MaskError};

/// Where a classifier looked in one picture: one value per pixel, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionMap {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// `width * height` values in 0..=1, row by row.
    pub values: Vec<f32>,
}

impl AttentionMap {
    /// Clips at 0 and scales to 0..=1. `None` when nothing is positive or all is equal: then no place stands out.
    pub(crate) fn from_raw(width: usize, height: usize, raw: &[f64]) -> Option<Self> {
        let clipped = || raw.iter().map(|&v| v.max(0.0));
        let (low, high) = clipped().fold((f64::INFINITY, 0.0f64), |(low, high), v| (low.min(v), high.max(v)));
        if high <= low {
            return None;
        }
        let values = clipped().map(|v| ((v - low) / (high - low)) as f32).collect();
        Some(Self { width, height, values })
    }

    /// Refuses a map whose values are not `width * height` finite numbers.
    pub(crate) fn checked(&self) -> Result<(), MaskError> {
        let (width, height) = (self.width, self.height);
        if width.checked_mul(height) != Some(self.values.len()) || self.values.is_empty() {
            return Err(MaskError::Shape { width, height, len: self.values.len() });
        }
        match self.values.iter().position(|v| !v.is_finite()) {
            Some(at) => Err(MaskError::NotFinite { x: at % width, y: at / width }),
            None => Ok(()),
        }
    }

    /// Bilinear resampling with half-pixel centres and clamped borders, as `cv2.resize` (`INTER_LINEAR`) does it; no
    /// antialiasing when shrinking.
    #[must_use]
    pub fn resized(&self, width: usize, height: usize) -> Self {
        let columns = taps(self.width, width);
        let rows = taps(self.height, height);
        let mut values = Vec::with_capacity(width * height);
        for &(y0, y1, fy) in &rows {
            let (upper, lower) = (&self.values[y0 * self.width..], &self.values[y1 * self.width..]);
            values.extend(columns.iter().map(|&(x0, x1, fx)| {
                let top = upper[x0] + (upper[x1] - upper[x0]) * fx;
                let bottom = lower[x0] + (lower[x1] - lower[x0]) * fx;
                top + (bottom - top) * fy
            }));
        }
        Self { width, height, values }
    }

    /// The map mirrored left to right, for averaging over a picture and its mirror image.
    #[must_use]
    pub fn flipped(&self) -> Self {
        let values = self.values.chunks(self.width.max(1)).flat_map(|row| row.iter().rev().copied()).collect();
        Self { values, ..*self }
    }
}

/// For every target position the two source positions and the weight of the second.
fn taps(source: usize, target: usize) -> Vec<(usize, usize, f32)> {
    let scale = source as f64 / target as f64;
    (0..target)
        .map(|i| {
            let at = ((i as f64 + 0.5) * scale - 0.5).clamp(0.0, (source - 1) as f64);
            let low = at.floor() as usize;
            (low, (low + 1).min(source - 1), (at - low as f64) as f32)
        })
        .collect()
}

/// The mean of maps of one picture, scaled to 0..=1: over several layers ([`layer_attention`](crate::layer_attention)),
/// or over methods, scales and flips. A flat mean becomes all 0, as in pytorch-grad-cam (`aggregate_multi_layers`).
///
/// # Errors
/// [`CamError::NoMaps`] for an empty slice, [`CamError::MapSizes`] for maps of different sizes.
pub fn fuse(maps: &[AttentionMap]) -> Result<AttentionMap, CamError> {
    let first = maps.first().ok_or(CamError::NoMaps)?;
    let (width, height) = (first.width, first.height);
    let mut sum = vec![0.0f64; first.values.len()];
    for map in maps {
        if (map.width, map.height) != (width, height) || map.values.len() != sum.len() {
            return Err(CamError::MapSizes { width, height, other_width: map.width, other_height: map.height });
        }
        sum.iter_mut().zip(&map.values).for_each(|(sum, &v)| *sum += f64::from(v));
    }
    let values = vec![0.0; sum.len()];
    Ok(AttentionMap::from_raw(width, height, &sum).unwrap_or(AttentionMap { width, height, values }))
}

/// The mean of a picture's map and the map of its mirror image, scaled to 0..=1 (flip averaging at test time).
///
/// # Errors
/// [`CamError::MapSizes`] when the two differ in size.
pub fn average_with_flip(map: &AttentionMap, of_mirror_image: &AttentionMap) -> Result<AttentionMap, CamError> {
    fuse(&[map.clone(), of_mirror_image.flipped()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(width: usize, values: &[f32]) -> AttentionMap {
        AttentionMap { width, height: values.len() / width, values: values.to_vec() }
    }

    #[test]
    fn a_map_without_a_place_that_stands_out_is_none() {
        assert_eq!(AttentionMap::from_raw(2, 1, &[-1.0, -0.5]), None);
        assert_eq!(AttentionMap::from_raw(2, 1, &[0.0, 0.0]), None);
        assert_eq!(AttentionMap::from_raw(2, 1, &[3.0, 3.0]), None);
        assert_eq!(AttentionMap::from_raw(1, 1, &[3.0]), None);
        assert_eq!(AttentionMap::from_raw(3, 1, &[-2.0, 1.0, 4.0]).unwrap().values, [0.0, 0.25, 1.0]);
    }

    /// `cv2.resize(np.float32([[0, 1]]), (8, 1))` and `(…, (1, 1))`.
    #[test]
    fn resizing_uses_half_pixel_centres() {
        let wide = map(2, &[0.0, 1.0]).resized(8, 1);
        assert_eq!(wide.values, [0.0, 0.0, 0.125, 0.375, 0.625, 0.875, 1.0, 1.0]);
        assert_eq!(map(2, &[0.0, 1.0]).resized(1, 1).values, [0.5]);
        assert_eq!(map(1, &[0.7]).resized(3, 2).values, [0.7; 6]);
    }

    #[test]
    fn fusing_takes_the_mean_and_scales_it() {
        let fused = fuse(&[map(2, &[0.0, 1.0]), map(2, &[0.5, 0.5])]).unwrap();
        assert_eq!(fused.values, [0.0, 1.0]);
        assert_eq!(fuse(&[map(2, &[0.0, 1.0]), map(2, &[1.0, 0.0])]).unwrap().values, [0.0, 0.0]);
        assert_eq!(fuse(&[]), Err(CamError::NoMaps));
        let error = fuse(&[map(2, &[0.0, 1.0]), map(1, &[0.0, 1.0])]).unwrap_err().to_string();
        assert!(error.contains("2 x 1 and 1 x 2"), "{error}");
    }

    #[test]
    fn flip_averaging_mirrors_the_second_map() {
        let there = map(3, &[0.0, 0.2, 1.0, 0.1, 0.3, 0.5]);
        let averaged = average_with_flip(&there, &there.flipped()).unwrap();
        for (a, b) in averaged.values.iter().zip(&there.values) {
            assert!((a - b).abs() < 1e-6);
        }
        assert_eq!(there.flipped().values, [1.0, 0.2, 0.0, 0.5, 0.3, 0.1]);
    }
}

//! How good attention maps and masks are, measured against true object masks and against the classifier itself.
//!
//! For development and evaluation only: true masks are never used by the method. The overlap of a region with the true
//! object is [`Mask::iou`].

use image::RgbImage;
use imageproc::filter::gaussian_blur_f32;

use crate::{AttentionMap, Mask, MaskError};

/// The share of the attention that falls into a mask, 0..=1 (the energy-based pointing game of Wang et al., arXiv
/// 1910.01279, section 4.3). 0 for a map of zeros.
///
/// # Errors
/// [`MaskError::SizeMismatch`] when map and mask differ in size, [`MaskError::NotFinite`] for a damaged map.
pub fn energy_inside(attention: &AttentionMap, mask: &Mask) -> Result<f64, MaskError> {
    check(attention, mask.width(), mask.height())?;
    let (mut inside, mut all) = (0.0, 0.0);
    for (&value, &within) in attention.values.iter().zip(mask.pixels()) {
        all += f64::from(value);
        inside += if within { f64::from(value) } else { 0.0 };
    }
    Ok(if all > 0.0 { inside / all } else { 0.0 })
}

/// Whether the strongest pixel (the first in reading order) lies in the mask or within `tolerance` pixels of it (the
/// pointing game of Zhang et al., arXiv 1608.00507, which allows 15 pixels).
///
/// # Errors
/// As [`energy_inside`].
pub fn pointing_game(attention: &AttentionMap, mask: &Mask, tolerance: u8) -> Result<bool, MaskError> {
    check(attention, mask.width(), mask.height())?;
    let strongest = by_attention(attention)[0];
    Ok(mask.dilate(tolerance).pixels()[strongest])
}

/// The area under the score while the most attended pixels are replaced first (Petsiuk et al., RISE, arXiv 1806.07421):
/// low for a map that finds what the score depends on.
///
/// The pixels of `picture` turn into those of `baseline` (a plain or a [`blurred`] picture) in `steps` equal steps.
/// `score` gets all `steps + 1` pictures, from the untouched one to the baseline, and returns one number each, usually
/// a probability; the area is the trapezoid rule's, on 0..=1.
///
/// # Errors
/// [`MaskError::SizeMismatch`] for pictures and maps of different sizes, [`MaskError::NotFinite`] for a damaged map,
/// [`MaskError::Setting`] for 0 steps, [`MaskError::ScoreCount`] when `score` returns another number of finite scores.
pub fn deletion_auc(
    picture: &RgbImage,
    baseline: &RgbImage,
    attention: &AttentionMap,
    steps: usize,
    score: &mut dyn FnMut(&[RgbImage]) -> Vec<f64>,
) -> Result<f64, MaskError> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    check(attention, width, height)?;
    if picture.dimensions() != baseline.dimensions() {
        let (other_width, other_height) = (baseline.width() as usize, baseline.height() as usize);
        return Err(MaskError::SizeMismatch { what: "baseline", width, height, other_width, other_height });
    }
    if steps == 0 {
        return Err(MaskError::Setting { name: "steps", value: 0.0, expected: "at least 1" });
    }
    let order = by_attention(attention);
    let mut pictures = vec![picture.clone()];
    let mut current = picture.clone();
    for step in 0..steps {
        for &at in &order[order.len() * step / steps..order.len() * (step + 1) / steps] {
            let (x, y) = ((at % width) as u32, (at / width) as u32);
            current.put_pixel(x, y, *baseline.get_pixel(x, y));
        }
        pictures.push(current.clone());
    }
    let scores = score(&pictures);
    let finite = scores.iter().filter(|s| s.is_finite()).count();
    if scores.len() != pictures.len() || finite != pictures.len() {
        return Err(MaskError::ScoreCount { scores: finite, pictures: pictures.len() });
    }
    let ends = (scores[0] + scores[steps]) / 2.0;
    Ok((scores.iter().sum::<f64>() - ends) / steps as f64)
}

/// The area under the score while the most attended pixels of `picture` are put onto `baseline` first (RISE, as
/// [`deletion_auc`]): high for a map that finds what the score depends on.
///
/// # Errors
/// As [`deletion_auc`].
pub fn insertion_auc(
    picture: &RgbImage,
    baseline: &RgbImage,
    attention: &AttentionMap,
    steps: usize,
    score: &mut dyn FnMut(&[RgbImage]) -> Vec<f64>,
) -> Result<f64, MaskError> {
    deletion_auc(baseline, picture, attention, steps, score)
}

/// The picture under a Gaussian blur of `sigma` pixels: the baseline RISE inserts into (sigma 5 at 224 pixels).
///
/// # Errors
/// [`MaskError::Setting`] for a `sigma` that is not above 0, or above 1000.
pub fn blurred(picture: &RgbImage, sigma: f32) -> Result<RgbImage, MaskError> {
    if sigma > 0.0 && sigma <= 1000.0 {
        return Ok(gaussian_blur_f32(picture, sigma));
    }
    Err(MaskError::Setting { name: "sigma", value: sigma.into(), expected: "above 0, at most 1000 pixels" })
}

/// The pixels from the most to the least attended; equal ones in reading order.
fn by_attention(attention: &AttentionMap) -> Vec<usize> {
    let mut order: Vec<usize> = (0..attention.values.len()).collect();
    order.sort_by(|&a, &b| attention.values[b].total_cmp(&attention.values[a]));
    order
}

/// Refuses a map that is not `width` x `height` finite values.
fn check(attention: &AttentionMap, width: usize, height: usize) -> Result<(), MaskError> {
    attention.checked()?;
    if (attention.width, attention.height) == (width, height) {
        return Ok(());
    }
    let (other_width, other_height) = (attention.width, attention.height);
    Err(MaskError::SizeMismatch { what: "attention map", width, height, other_width, other_height })
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;
    use crate::mask::tests::drawn;

    fn map(values: [f32; 4]) -> AttentionMap {
        AttentionMap { width: 4, height: 1, values: values.to_vec() }
    }

    #[test]
    fn energy_and_pointing() {
        let attention = map([0.1, 1.0, 0.5, 0.4]);
        assert!((energy_inside(&attention, &drawn(&[".##."])).unwrap() - 0.75).abs() < 1e-7);
        assert_eq!(energy_inside(&map([0.0; 4]), &drawn(&[".##."])), Ok(0.0));
        assert_eq!(pointing_game(&attention, &drawn(&[".##."]), 0), Ok(true));
        assert_eq!(pointing_game(&attention, &drawn(&["...#"]), 1), Ok(false));
        assert_eq!(pointing_game(&attention, &drawn(&["...#"]), 2), Ok(true));
        let error = energy_inside(&attention, &drawn(&["#"])).unwrap_err().to_string();
        assert_eq!(error, "the attention map is 4 x 1, expected 1 x 1; bring both to one size first");
        assert_eq!(
            pointing_game(&map([0.0, f32::NAN, 0.0, 0.0]), &drawn(&["####"]), 0),
            Err(MaskError::NotFinite { x: 1, y: 0 })
        );
    }

    /// The score is the brightness of pixel 1, the map's strongest: gone after the first of four steps.
    #[test]
    fn deleting_and_inserting_by_hand() {
        let white = RgbImage::from_pixel(4, 1, Rgb([255; 3]));
        let black = RgbImage::new(4, 1);
        let mut score = |pictures: &[RgbImage]| -> Vec<f64> {
            pictures.iter().map(|p| f64::from(p.get_pixel(1, 0).0[0]) / 255.0).collect()
        };
        let attention = map([0.1, 1.0, 0.5, 0.4]);
        assert_eq!(deletion_auc(&white, &black, &attention, 4, &mut score), Ok(0.125));
        assert_eq!(insertion_auc(&white, &black, &attention, 4, &mut score), Ok(0.875));
        assert_eq!(deletion_auc(&white, &black, &map([1.0, 0.0, 0.5, 0.4]), 4, &mut score), Ok(0.875));
        let mut short = |_: &[RgbImage]| vec![0.0];
        let error = deletion_auc(&white, &black, &attention, 4, &mut short);
        assert_eq!(error, Err(MaskError::ScoreCount { scores: 1, pictures: 5 }));
        assert!(deletion_auc(&white, &black, &attention, 0, &mut score).is_err());
        assert!(deletion_auc(&white, &RgbImage::new(3, 1), &attention, 4, &mut score).is_err());
        assert_eq!(blurred(&white, 5.0), Ok(white));
        assert!(blurred(&black, 0.0).is_err());
    }
}

//! From attention to the attended region: threshold rules, and refinement by the picture's colours.

use image::{GrayImage, RgbImage};
use imageproc::contrast::otsu_level;

use crate::{AttentionMap, Mask, MaskError, grabcut};

/// How an attention map becomes a region.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "rule", rename_all = "kebab-case", deny_unknown_fields)]
pub enum MaskRule {
    /// The top share of the pixels, to the pixel: `round(share * pixels)` of them. Equal values are taken in reading
    /// order.
    Quantile {
        /// 0..=1.
        share: f64,
    },
    /// Attention above a fixed value.
    Absolute {
        /// 0..=1.
        threshold: f64,
    },
    /// Attention above the mean plus `k` standard deviations of the positive values; MaskTune (Asgari et al., arXiv
    /// 2210.00055) uses k = 2.
    MeanSd {
        /// Any finite number.
        k: f64,
    },
    /// Otsu's threshold on 256 grey levels (Otsu 1979): the most homogeneous foreground and background.
    Otsu,
    /// The knee of the sorted attention: the value farthest below the straight line from the largest to the smallest
    /// (Satopaa et al. 2011, Kneedle, for a decreasing convex curve, without smoothing).
    Knee,
    /// GrabCut (Rother, Kolmogorov and Blake 2004) started from the attention: the borders of the region follow the
    /// picture's colours. Each level is a quantile of the attention; see [`object_region`].
    GrabCut {
        /// Above this quantile: surely object.
        #[serde(default = "sure")]
        sure: f64,
        /// Above this quantile: probably object.
        #[serde(default = "probable")]
        probable: f64,
        /// Below this quantile: surely background; in between: probably background.
        #[serde(default = "background")]
        background: f64,
        /// Rounds of fitting colours and cutting.
        #[serde(default = "iterations")]
        iterations: usize,
    },
}

fn sure() -> f64 {
    0.97
}

fn probable() -> f64 {
    0.75
}

fn background() -> f64 {
    0.40
}

fn iterations() -> usize {
    3
}

impl Default for MaskRule {
    /// GrabCut at .97, .75 and .40, 3 rounds: the best finder of objects among the rules in a pilot study.
    fn default() -> Self {
        Self::GrabCut { sure: sure(), probable: probable(), background: background(), iterations: iterations() }
    }
}

/// The attended region of one picture.
///
/// `picture` must have the size of the map; only [`MaskRule::GrabCut`] looks at it. That rule gives the pixels above
/// the `probable` quantile where the cut leaves nothing. A region may be empty or everything (a threshold above or
/// below all values): [`AreaLimits`](crate::AreaLimits) says which to skip.
///
/// # Errors
/// [`MaskError::Shape`] or [`MaskError::NotFinite`] for a damaged map, [`MaskError::Setting`] for a setting out of
/// range, [`MaskError::NeedsPicture`] and [`MaskError::SizeMismatch`] for a missing picture or one of another size.
pub fn object_region(attention: &AttentionMap, picture: Option<&RgbImage>, rule: &MaskRule) -> Result<Mask, MaskError> {
    let (width, height, values) = (attention.width, attention.height, &attention.values);
    attention.checked()?;
    let above = |level: f64| Mask::new(width, height, values.iter().map(|&v| f64::from(v) > level).collect());
    match *rule {
        MaskRule::Quantile { share } => {
            let count = (share_of("share", share)? * values.len() as f64).round() as usize;
            let mut order: Vec<usize> = (0..values.len()).collect();
            order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
            let mut pixels = vec![false; values.len()];
            order.iter().take(count).for_each(|&at| pixels[at] = true);
            Mask::new(width, height, pixels)
        }
        MaskRule::Absolute { threshold } => above(share_of("threshold", threshold)?),
        MaskRule::MeanSd { k } => {
            if !k.is_finite() {
                return Err(MaskError::Setting { name: "k", value: k, expected: "a finite number, such as 2" });
            }
            above(mean_plus_sd(values, k))
        }
        MaskRule::Otsu => {
            let grey: Vec<u8> = values.iter().map(|v| (v.clamp(0.0, 1.0) * 255.0).round() as u8).collect();
            let grey = GrayImage::from_raw(width as u32, height as u32, grey).expect("width * height bytes");
            let level = otsu_level(&grey);
            Mask::new(width, height, grey.as_raw().iter().map(|&v| v > level).collect())
        }
        MaskRule::Knee => above(knee(values)),
        MaskRule::GrabCut { sure, probable, background, iterations } => {
            let picture = picture.ok_or(MaskError::NeedsPicture)?;
            let size = (picture.width() as usize, picture.height() as usize);
            if size != (width, height) {
                let (other_width, other_height) = size;
                return Err(MaskError::SizeMismatch { what: "picture", width, height, other_width, other_height });
            }
            let quantiles = [("background", background), ("probable", probable), ("sure", sure)];
            for (name, value) in quantiles {
                share_of(name, value)?;
            }
            if !(background <= probable && probable <= sure) {
                let expected = "a value with background <= probable <= sure";
                return Err(MaskError::Setting { name: "probable", value: probable, expected });
            }
            if !(1..=100).contains(&iterations) {
                let value = iterations as f64;
                return Err(MaskError::Setting { name: "iterations", value, expected: "1 to 100" });
            }
            let mut sorted = values.clone();
            sorted.sort_by(f32::total_cmp);
            let [background, probable, sure] = quantiles.map(|(_, q)| quantile(&sorted, q));
            let seeds = values.iter().map(|&v| match f64::from(v) {
                v if v > sure => grabcut::Seed::Object,
                v if v > probable => grabcut::Seed::ProbablyObject,
                v if v < background => grabcut::Seed::Background,
                _ => grabcut::Seed::ProbablyBackground,
            });
            let cut = grabcut::grab_cut(picture, &seeds.collect::<Vec<_>>(), iterations);
            if cut.contains(&true) { Mask::new(width, height, cut) } else { above(probable) }
        }
    }
}

/// A setting that must lie in 0..=1.
fn share_of(name: &'static str, value: f64) -> Result<f64, MaskError> {
    if (0.0..=1.0).contains(&value) {
        return Ok(value);
    }
    Err(MaskError::Setting { name, value, expected: "0 to 1" })
}

/// The quantile of ascending values with linear interpolation, as `numpy.quantile`.
fn quantile(sorted: &[f32], q: f64) -> f64 {
    let at = q * (sorted.len() - 1) as f64;
    let low = at.floor() as usize;
    let (a, b) = (f64::from(sorted[low]), f64::from(sorted[(low + 1).min(sorted.len() - 1)]));
    a + (b - a) * (at - low as f64)
}

/// Mean plus `k` population standard deviations of the positive values; infinite when there are none.
fn mean_plus_sd(values: &[f32], k: f64) -> f64 {
    let positive: Vec<f64> = values.iter().map(|&v| f64::from(v)).filter(|&v| v > 0.0).collect();
    if positive.is_empty() {
        return f64::INFINITY;
    }
    let mean = positive.iter().sum::<f64>() / positive.len() as f64;
    let variance = positive.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / positive.len() as f64;
    mean + k * variance.sqrt()
}

/// The value at the knee of the values in descending order.
fn knee(values: &[f32]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let (first, last) = (f64::from(sorted[0]), f64::from(sorted[sorted.len() - 1]));
    let steps = (sorted.len() - 1).max(1) as f64;
    let below = |at: usize| first + (last - first) * at as f64 / steps - f64::from(sorted[at]);
    let farthest = (1..sorted.len()).fold(0, |best, at| if below(at) > below(best) { at } else { best });
    f64::from(sorted[farthest])
}

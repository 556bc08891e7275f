//! What happens to a picture between its file and a network: torchvision's transforms on our random streams.

use std::{fmt, ops::RangeInclusive};

use image::{RgbImage, imageops};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{MAX_PIXELS, resize_bilinear};

/// The sides that a step may ask for, in pixels.
const SIDES: RangeInclusive<u32> = 1..=4096;

/// The aspect ratios (width / height) that [`Step::RandomResizedCrop`] may ask for.
const RATIOS: RangeInclusive<f64> = 0.01..=100.0;

/// How often [`Step::RandomResizedCrop`] draws a box before it takes the central one, as torchvision.
const TRIES: usize = 10;

/// Steps that are applied to a picture one after the other.
///
/// The geometry, the rounding and the resampling are those of torchvision 0.24 on Pillow pictures
/// (`torchvision.transforms`, `BILINEAR`, antialiased): sizes are equal and values differ by at most 1 of 255. Random
/// steps have torchvision's distributions but draw from the given stream, so a picture is the same on every machine and
/// for any number of threads.
///
/// ```
/// use scgs_data::{Step, Transform, stream};
/// let picture = image::RgbImage::from_pixel(500, 333, image::Rgb([90, 120, 30]));
///
/// let eval = Transform::waterbirds_eval();
/// assert!(!eval.is_random());
/// assert_eq!(eval.apply(&picture, &mut stream(7, "train/augment", 0)).dimensions(), (224, 224));
///
/// let text = "steps = [{ resize-shorter = { side = 256 } }, { center-crop = { side = 224 } }]";
/// let from_settings: Transform = toml::from_str(text).unwrap();
/// from_settings.check().unwrap();
/// assert_eq!(from_settings.steps, [Step::ResizeShorter { side: 256 }, Step::CenterCrop { side: 224 }]);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transform {
    /// First step first; none leaves the picture as it is.
    pub steps: Vec<Step>,
}

/// One step of a [`Transform`]. In settings its name is written in small letters with `-`: `center-crop`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Step {
    /// Scales to an exact size, whatever the aspect: `Resize((height, width))`.
    Resize {
        /// Width in pixels, 1..=4096.
        width: u32,
        /// Height in pixels, 1..=4096.
        height: u32,
    },
    /// Scales the shorter side to `side` and keeps the aspect: `Resize(side)`. The longer side is `side * longer / shorter`
    /// without its fraction, and no longer than [`MAX_PIXELS`] allows (torchvision has no limit): with a side of 224, only
    /// pictures more than 1,337 times as long as wide lose their aspect.
    ResizeShorter {
        /// The shorter side afterwards, in pixels, 1..=4096.
        side: u32,
    },
    /// Cuts the central square: `CenterCrop(side)`. A picture that is smaller gets a black margin.
    CenterCrop {
        /// Width and height in pixels, 1..=4096.
        side: u32,
    },
    /// Cuts a box of random size, aspect and place and scales it to a square: `RandomResizedCrop(side, scale, ratio)`.
    ///
    /// The area is uniform in `scale`, the logarithm of the aspect ratio uniform in the logarithms of `ratio`, and the place
    /// uniform where the box fits. After ten boxes that do not fit it is the largest central one within `ratio`.
    RandomResizedCrop {
        /// Width and height afterwards, in pixels, 1..=4096.
        side: u32,
        /// Smallest and largest area of the box as shares of the picture's, above 0 and at most 1.
        scale: (f64, f64),
        /// Smallest and largest width / height of the box, 0.01..=100.
        ratio: (f64, f64),
    },
    /// Mirrors left and right in a share of the cases: `RandomHorizontalFlip(p)`.
    HorizontalFlip {
        /// The share, 0..=1.
        probability: f64,
    },
}

/// Occurs when settings of a [`Transform`] are impossible; all problems are listed at once, with the step, the value and
/// the expected range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the pictures cannot be transformed with these settings:\n{}", .0.iter().map(|p| format!("  {p}")).collect::<Vec<_>>().join("\n"))]
pub struct TransformError(pub Vec<String>);

impl Transform {
    /// Waterbirds and MetaShift for evaluation: 256 x 256, then the central 224 x 224 (`get_transform_cub` of group DRO, JTT
    /// and DISC).
    pub fn waterbirds_eval() -> Self {
        Self { steps: vec![Step::Resize { width: 256, height: 256 }, Step::CenterCrop { side: 224 }] }
    }

    /// Waterbirds for augmented training: a box of 70 to 100 % of the area, aspect 3:4 to 4:3, to 224 x 224, mirrored in
    /// half of the cases (`get_transform_cub` of group DRO).
    pub fn waterbirds_train() -> Self {
        Self::crop_and_flip((3.0 / 4.0, 4.0 / 3.0))
    }

    /// CelebA for evaluation: the central 178 x 178 (the width of its aligned pictures), scaled to 224 x 224
    /// (`get_transform_celebA` of group DRO).
    pub fn celeba_eval() -> Self {
        Self { steps: vec![Step::CenterCrop { side: 178 }, Step::Resize { width: 224, height: 224 }] }
    }

    /// CelebA for augmented training: as [`Transform::waterbirds_train`], but never narrower than a square, since the aligned
    /// pictures are narrow already (`get_transform_celebA` of group DRO).
    pub fn celeba_train() -> Self {
        Self::crop_and_flip((1.0, 4.0 / 3.0))
    }

    /// The whole picture scaled to `size` x `size`, whatever its aspect.
    pub fn square(size: u32) -> Self {
        Self { steps: vec![Step::Resize { width: size, height: size }] }
    }

    fn crop_and_flip(ratio: (f64, f64)) -> Self {
        let crop = Step::RandomResizedCrop { side: 224, scale: (0.7, 1.0), ratio };
        Self { steps: vec![crop, Step::HorizontalFlip { probability: 0.5 }] }
    }

    /// Whether the settings are possible. Every transform from outside is checked before it is applied.
    ///
    /// # Errors
    /// [`TransformError`] with every impossible setting and its range.
    pub fn check(&self) -> Result<(), TransformError> {
        let mut problems = Vec::new();
        for (at, step) in self.steps.iter().enumerate() {
            step.check(&mut |problem| problems.push(format!("step {} ({step}): {problem}", at + 1)));
        }
        if problems.is_empty() { Ok(()) } else { Err(TransformError(problems)) }
    }

    /// Width and height that every picture has afterwards; `None` where they depend on the picture.
    pub fn size(&self) -> Option<(u32, u32)> {
        self.steps.iter().rev().find_map(|step| match *step {
            Step::HorizontalFlip { .. } => None,
            Step::Resize { width, height } => Some(Some((width, height))),
            Step::CenterCrop { side } | Step::RandomResizedCrop { side, .. } => Some(Some((side, side))),
            Step::ResizeShorter { .. } => Some(None),
        })?
    }

    /// Whether two applications to one picture can differ.
    pub fn is_random(&self) -> bool {
        self.steps.iter().any(|step| match *step {
            Step::RandomResizedCrop { .. } => true,
            // `0.0..1.0` draws are never below 0 and always below 1.
            Step::HorizontalFlip { probability } => probability > 0.0 && probability < 1.0,
            Step::Resize { .. } | Step::ResizeShorter { .. } | Step::CenterCrop { .. } => false,
        })
    }

    /// The picture after all steps. Steps without chance leave `rng` as it is.
    ///
    /// # Panics
    /// When [`Transform::check`] fails or `picture` has no pixels ([`crate::read_rgb`] never returns such a picture).
    pub fn apply(&self, picture: &RgbImage, rng: &mut ChaCha8Rng) -> RgbImage {
        let mut steps = self.steps.iter();
        let Some(first) = steps.next() else { return picture.clone() };
        steps.fold(first.apply(picture, rng), |picture, step| step.apply(&picture, rng))
    }
}

impl Step {
    fn check(&self, problem: &mut dyn FnMut(String)) {
        let mut side = |name: &str, side: u32| {
            if !SIDES.contains(&side) {
                problem(format!("{name} is {side}, expected {}..={} pixels", SIDES.start(), SIDES.end()));
            }
        };
        match *self {
            Step::Resize { width, height } => {
                side("width", width);
                side("height", height);
            }
            Step::ResizeShorter { side: value } | Step::CenterCrop { side: value } => side("side", value),
            Step::RandomResizedCrop { side: value, scale, ratio } => {
                side("side", value);
                // Written so that NaN is refused.
                if !(scale.0 > 0.0 && scale.0 <= scale.1 && scale.1 <= 1.0) {
                    problem(format!("scale is {scale:?}, expected smallest <= largest, above 0 and at most 1"));
                }
                if !(RATIOS.contains(&ratio.0) && RATIOS.contains(&ratio.1) && ratio.0 <= ratio.1) {
                    let (least, most) = (RATIOS.start(), RATIOS.end());
                    problem(format!("ratio is {ratio:?}, expected smallest <= largest, in {least}..={most}"));
                }
            }
            Step::HorizontalFlip { probability } => {
                if !(0.0..=1.0).contains(&probability) {
                    problem(format!("probability is {probability}, expected 0..=1"));
                }
            }
        }
    }

    fn apply(&self, picture: &RgbImage, rng: &mut ChaCha8Rng) -> RgbImage {
        match *self {
            Step::Resize { width, height } => resize_bilinear(picture, width, height),
            Step::ResizeShorter { side } => {
                let (width, height) = shorter_to(picture.dimensions(), side);
                resize_bilinear(picture, width, height)
            }
            Step::CenterCrop { side } => center_crop(picture, side),
            Step::RandomResizedCrop { side, scale, ratio } => {
                crop_and_resize(picture, CropBox::draw(picture.dimensions(), scale, ratio, rng), side)
            }
            Step::HorizontalFlip { probability } if rng.random::<f64>() < probability => {
                imageops::flip_horizontal(picture)
            }
            Step::HorizontalFlip { .. } => picture.clone(),
        }
    }
}

/// Width and height after [`Step::ResizeShorter`]: `int(side * longer / shorter)`.
fn shorter_to((width, height): (u32, u32), side: u32) -> (u32, u32) {
    let longer_to = |longer: u32, shorter: u32| {
        let wanted = u64::from(side) * u64::from(longer) / u64::from(shorter);
        let most = MAX_PIXELS / u64::from(side);
        u32::try_from(wanted.min(most)).expect("MAX_PIXELS fits into 32 bits")
    };
    if width <= height { (side, longer_to(height, width)) } else { (longer_to(width, height), side) }
}

/// [`Step::CenterCrop`]: where the picture is too small, half of the missing pixels go to the left and top, the odd one to
/// the right or bottom; where it is too large, the offset `(size - side) / 2` is rounded as Python does, half to even.
fn center_crop(picture: &RgbImage, side: u32) -> RgbImage {
    // (first pixel of the source, first pixel of the target, count)
    let place = |size: u32| {
        let first = (f64::from(size.saturating_sub(side)) / 2.0).round_ties_even() as u32;
        (first, side.saturating_sub(size) / 2, size.min(side))
    };
    let (left, to_left, width) = place(picture.width());
    let (top, to_top, height) = place(picture.height());
    let middle = imageops::crop_imm(picture, left, top, width, height);
    if (width, height) == (side, side) {
        return middle.to_image();
    }
    let mut padded = RgbImage::new(side, side);
    imageops::replace(&mut padded, &*middle, i64::from(to_left), i64::from(to_top));
    padded
}

/// Cuts first and scales then, as torchvision: the filter sees no pixel outside the box.
fn crop_and_resize(picture: &RgbImage, at: CropBox, side: u32) -> RgbImage {
    resize_bilinear(&imageops::crop_imm(picture, at.left, at.top, at.width, at.height).to_image(), side, side)
}

/// A part of a picture in pixels, not empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CropBox {
    top: u32,
    left: u32,
    height: u32,
    width: u32,
}

impl CropBox {
    /// `RandomResizedCrop.get_params`, in double precision and from our stream.
    fn draw((width, height): (u32, u32), scale: (f64, f64), ratio: (f64, f64), rng: &mut ChaCha8Rng) -> Self {
        let mut between = |(low, high): (f64, f64)| low + (high - low) * rng.random::<f64>();
        let area = f64::from(width) * f64::from(height);
        let fits = (0..TRIES).find_map(|_| {
            let area = area * between(scale);
            let aspect = between((ratio.0.ln(), ratio.1.ln())).exp();
            let box_width = (area * aspect).sqrt().round_ties_even();
            let box_height = (area / aspect).sqrt().round_ties_even();
            let fits = (1.0..=f64::from(width)).contains(&box_width) && (1.0..=f64::from(height)).contains(&box_height);
            fits.then_some((box_width as u32, box_height as u32))
        });
        let Some((box_width, box_height)) = fits else { return Self::central((width, height), ratio) };
        let (top, left) = (rng.random_range(0..=height - box_height), rng.random_range(0..=width - box_width));
        Self { top, left, height: box_height, width: box_width }
    }

    /// The largest central box whose aspect is within `ratio`; at least one pixel, where torchvision would fail.
    fn central((width, height): (u32, u32), (least, most): (f64, f64)) -> Self {
        let aspect = f64::from(width) / f64::from(height);
        let rounded = |value: f64| value.round_ties_even().max(1.0) as u32;
        let (box_width, box_height) = if aspect < least {
            (width, rounded(f64::from(width) / least))
        } else if aspect > most {
            (rounded(f64::from(height) * most), height)
        } else {
            (width, height)
        };
        Self { top: (height - box_height) / 2, left: (width - box_width) / 2, height: box_height, width: box_width }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Resize { .. } => "resize",
            Step::ResizeShorter { .. } => "resize-shorter",
            Step::CenterCrop { .. } => "center-crop",
            Step::RandomResizedCrop { .. } => "random-resized-crop",
            Step::HorizontalFlip { .. } => "horizontal-flip",
        })
    }
}

#[cfg(test)]
#[path = "transform_tests.rs"]
mod tests;

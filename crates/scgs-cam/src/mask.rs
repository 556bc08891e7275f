//! Masks: which pixels to repaint.

use image::{GrayImage, Luma};
use imageproc::{definitions::Image, distance_transform::Norm, filter::gaussian_blur_f32, morphology};

use crate::MaskError;

/// A yes or no for every pixel, row by row. As a picture: white (255) is `true`, and means "repaint".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    width: usize,
    height: usize,
    pixels: Vec<bool>,
}

impl Mask {
    /// A mask from its pixels, row by row.
    ///
    /// # Errors
    /// [`MaskError::Shape`] when `pixels` does not hold `width * height` values, or there are none.
    pub fn new(width: usize, height: usize, pixels: Vec<bool>) -> Result<Self, MaskError> {
        match width.checked_mul(height) {
            Some(count) if count > 0 && count == pixels.len() => Ok(Self { width, height, pixels }),
            _ => Err(MaskError::Shape { width, height, len: pixels.len() }),
        }
    }

    /// A mask from a grey picture, for masks made by hand: 128 and above is `true`, as in diffusers' mask processor.
    ///
    /// # Errors
    /// [`MaskError::Shape`] for a picture without pixels.
    pub fn from_gray(picture: &GrayImage) -> Result<Self, MaskError> {
        let pixels = picture.as_raw().iter().map(|&v| v >= 128).collect();
        Self::new(picture.width() as usize, picture.height() as usize, pixels)
    }

    /// The mask as a picture of 0 and 255.
    #[must_use]
    pub fn to_gray(&self) -> GrayImage {
        let bytes = self.pixels.iter().map(|&p| if p { 255 } else { 0 }).collect();
        GrayImage::from_raw(self.width as u32, self.height as u32, bytes).expect("width * height bytes")
    }

    /// Same size, other pixels.
    fn with(&self, pixels: Vec<bool>) -> Self {
        Self { pixels, ..*self }
    }

    /// Width in pixels.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    #[must_use]
    pub fn height(&self) -> usize {
        self.height
    }

    /// The pixels, row by row.
    #[must_use]
    pub fn pixels(&self) -> &[bool] {
        &self.pixels
    }

    /// The number of `true` pixels.
    #[must_use]
    pub fn count(&self) -> usize {
        self.pixels.iter().filter(|&&p| p).count()
    }

    /// The share of `true` pixels, 0..=1.
    #[must_use]
    pub fn area(&self) -> f64 {
        self.count() as f64 / self.pixels.len() as f64
    }

    /// The other pixels.
    #[must_use]
    pub fn invert(&self) -> Self {
        self.with(self.pixels.iter().map(|p| !p).collect())
    }

    /// The mask grown by a disc: every pixel within `radius` pixels of a `true` one.
    #[must_use]
    pub fn dilate(&self, radius: u8) -> Self {
        let grown = morphology::dilate(&self.to_gray(), Norm::L2, radius);
        self.with(grown.as_raw().iter().map(|&v| v > 0).collect())
    }

    /// Only the largest component (8 neighbours); the first in reading order where two are equal. Empty stays empty.
    #[must_use]
    pub fn largest_component(&self) -> Self {
        let mut seen = vec![false; self.pixels.len()];
        let mut largest = Vec::new();
        for start in 0..self.pixels.len() {
            if !self.pixels[start] || seen[start] {
                continue;
            }
            // Filled in breadth: `component` is both the list of pixels and the queue.
            seen[start] = true;
            let mut component = vec![start];
            let mut next = 0;
            while let Some(&at) = component.get(next) {
                next += 1;
                let (x, y) = (at % self.width, at / self.width);
                for near_y in y.saturating_sub(1)..(y + 2).min(self.height) {
                    for near_x in x.saturating_sub(1)..(x + 2).min(self.width) {
                        let near = near_y * self.width + near_x;
                        if self.pixels[near] && !seen[near] {
                            seen[near] = true;
                            component.push(near);
                        }
                    }
                }
            }
            if component.len() > largest.len() {
                largest = component;
            }
        }
        let mut pixels = vec![false; self.pixels.len()];
        largest.into_iter().for_each(|at| pixels[at] = true);
        self.with(pixels)
    }

    /// Intersection over union, 0..=1; 1 for two empty masks.
    ///
    /// # Errors
    /// [`MaskError::SizeMismatch`] when the masks differ in size.
    pub fn iou(&self, other: &Self) -> Result<f64, MaskError> {
        self.same_size("other mask", other.width, other.height)?;
        let pairs = || self.pixels.iter().zip(&other.pixels);
        let both = pairs().filter(|&(&a, &b)| a && b).count();
        let either = pairs().filter(|&(&a, &b)| a || b).count();
        Ok(if either == 0 { 1.0 } else { both as f64 / either as f64 })
    }

    /// A soft edge for blending: the mask blurred with a Gaussian of `sigma` pixels, values 0..=1, row by row. A
    /// `sigma` of 0 gives 0 and 1.
    ///
    /// # Errors
    /// [`MaskError::Setting`] for a `sigma` that is negative, NaN or above 1000.
    pub fn feather(&self, sigma: f32) -> Result<Vec<f32>, MaskError> {
        if !(0.0..=1000.0).contains(&sigma) {
            return Err(MaskError::Setting { name: "sigma", value: sigma.into(), expected: "0 to 1000 pixels" });
        }
        let hard: Vec<f32> = self.pixels.iter().map(|&p| if p { 1.0 } else { 0.0 }).collect();
        if sigma == 0.0 {
            return Ok(hard);
        }
        let hard: Image<Luma<f32>> =
            Image::from_raw(self.width as u32, self.height as u32, hard).expect("width * height values");
        Ok(gaussian_blur_f32(&hard, sigma).into_raw().into_iter().map(|v| v.clamp(0.0, 1.0)).collect())
    }

    /// Refuses something of another size.
    pub(crate) fn same_size(&self, what: &'static str, width: usize, height: usize) -> Result<(), MaskError> {
        if (width, height) == (self.width, self.height) {
            return Ok(());
        }
        Err(MaskError::SizeMismatch {
            what,
            width: self.width,
            height: self.height,
            other_width: width,
            other_height: height,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A mask drawn with `#` and `.`.
    pub(crate) fn drawn(rows: &[&str]) -> Mask {
        Mask::new(rows[0].len(), rows.len(), rows.concat().bytes().map(|b| b == b'#').collect()).unwrap()
    }

    #[test]
    fn wrong_shapes_are_refused() {
        let error = Mask::new(3, 2, vec![true; 5]).unwrap_err().to_string();
        assert_eq!(error, "a 3 x 2 mask or map needs 6 value(s) and at least one pixel, got 5");
        assert!(Mask::new(0, 0, vec![]).is_err());
        assert!(Mask::new(usize::MAX, 2, vec![]).is_err());
    }

    #[test]
    fn dilating_grows_by_a_disc() {
        let point = drawn(&[".....", ".....", "..#..", ".....", "....."]);
        assert_eq!(point.dilate(1), drawn(&[".....", "..#..", ".###.", "..#..", "....."]));
        assert_eq!(point.dilate(2), drawn(&["..#..", ".###.", "#####", ".###.", "..#.."]));
        assert_eq!(point.dilate(0), point);
        assert_eq!(drawn(&["...", "..."]).dilate(3).count(), 0);
    }

    #[test]
    fn the_largest_component_counts_diagonal_neighbours() {
        let mask = drawn(&["#....##", ".#...##", "..#....", "......#"]);
        assert_eq!(mask.largest_component(), drawn(&[".....##", ".....##", ".......", "......."]));
        let equal = drawn(&["##..##", "......"]);
        assert_eq!(equal.largest_component(), drawn(&["##....", "......"]));
        assert_eq!(drawn(&["..", ".."]).largest_component().count(), 0);
        assert_eq!(drawn(&["#"]).largest_component(), drawn(&["#"]));
    }

    #[test]
    fn overlap() {
        let (a, b) = (drawn(&["##.."]), drawn(&[".###"]));
        assert_eq!(a.iou(&b), Ok(0.25));
        assert_eq!(a.iou(&a), Ok(1.0));
        assert_eq!(a.iou(&a.invert()), Ok(0.0));
        assert_eq!(drawn(&["...."]).iou(&drawn(&["...."])), Ok(1.0));
        let error = a.iou(&drawn(&["#"])).unwrap_err().to_string();
        assert_eq!(error, "the other mask is 1 x 1, expected 4 x 1; bring both to one size first");
    }

    #[test]
    fn feathering_keeps_the_mass_inside_and_softens_the_edge() {
        let mut pixels = vec![false; 400];
        for y in 5..15 {
            pixels[y * 20 + 5..y * 20 + 15].fill(true);
        }
        let mask = Mask::new(20, 20, pixels).unwrap();
        let soft = mask.feather(1.5).unwrap();
        let sum: f32 = soft.iter().sum();
        assert!((sum - 100.0).abs() < 0.1, "{sum}");
        assert!((soft[10 * 20 + 10] - 1.0).abs() < 0.01);
        let (inside, outside) = (soft[10 * 20 + 5], soft[10 * 20 + 4]);
        assert!((inside + outside - 1.0).abs() < 1e-3 && inside > 0.6, "{inside} {outside}");
        assert_eq!(mask.feather(0.0).unwrap()[0], 0.0);
        assert!(mask.feather(f32::NAN).is_err() && mask.feather(-1.0).is_err());
    }

    #[test]
    fn grey_pictures_round_trip() {
        let mask = drawn(&["#.#", ".#."]);
        assert_eq!(Mask::from_gray(&mask.to_gray()), Ok(mask));
        let soft = GrayImage::from_raw(2, 1, vec![127, 128]).unwrap();
        assert_eq!(Mask::from_gray(&soft), Ok(drawn(&[".#"])));
    }
}

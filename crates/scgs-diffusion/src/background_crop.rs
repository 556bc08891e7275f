//! The classical fill: a random crop of a random background photo shows through the mask.

use image::{GrayImage, Luma, Rgb, RgbImage, imageops};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::{InpaintError, Inpainter, Request};

/// Smallest and largest side of a crop as a share of the background's short side.
const CROP_SHARE: std::ops::RangeInclusive<f32> = 0.6..=1.0;

/// Paints the masked region with a square crop of one of its backgrounds, mirrored half of the time, with a soft seam.
///
/// The backgrounds are pictures without the objects that are to be recognised (for Habitat: the background photos of
/// the training split). It knows no labels, so what it paints is independent of the class.
#[derive(Debug)]
pub struct BackgroundCrop {
    backgrounds: Vec<RgbImage>,
    feather: f32,
}

impl BackgroundCrop {
    /// A fill from `backgrounds`, with a seam blurred by a Gaussian of `feather` pixels (0 = hard).
    ///
    /// # Errors
    /// [`InpaintError::NoBackgrounds`] for an empty list, [`InpaintError::Feather`] outside 0..=32.
    pub fn new(backgrounds: Vec<RgbImage>, feather: f32) -> Result<Self, InpaintError> {
        if backgrounds.is_empty() {
            return Err(InpaintError::NoBackgrounds);
        }
        check_feather(feather)?;
        Ok(Self { backgrounds, feather })
    }

    fn random_crop(&self, width: u32, height: u32, rng: &mut ChaCha8Rng) -> RgbImage {
        let background = &self.backgrounds[rng.random_range(0..self.backgrounds.len())];
        let (bw, bh) = background.dimensions();
        // The largest window of the wanted aspect, then a random share of it.
        let scale = (bw as f32 / width as f32).min(bh as f32 / height as f32) * rng.random_range(CROP_SHARE);
        let cw = ((width as f32 * scale) as u32).clamp(1, bw);
        let ch = ((height as f32 * scale) as u32).clamp(1, bh);
        let (x, y) = (rng.random_range(0..=bw - cw), rng.random_range(0..=bh - ch));
        let crop = imageops::crop_imm(background, x, y, cw, ch).to_image();
        let mut crop = imageops::resize(&crop, width, height, imageops::FilterType::Triangle);
        if rng.random_bool(0.5) {
            imageops::flip_horizontal_in_place(&mut crop);
        }
        crop
    }
}

impl Inpainter for BackgroundCrop {
    fn name(&self) -> &'static str {
        "background-crop"
    }

    fn inpaint(&self, request: &Request<'_>, rng: &mut ChaCha8Rng) -> Result<RgbImage, InpaintError> {
        request.check()?;
        let (width, height) = request.picture.dimensions();
        let crop = self.random_crop(width, height, rng);
        let alpha = feathered(request.mask, self.feather);
        Ok(RgbImage::from_fn(width, height, |x, y| {
            let a = u32::from(alpha.get_pixel(x, y)[0]);
            let (old, new) = (request.picture.get_pixel(x, y), crop.get_pixel(x, y));
            Rgb(std::array::from_fn(|c| ((u32::from(new[c]) * a + u32::from(old[c]) * (255 - a) + 127) / 255) as u8))
        }))
    }
}

pub(crate) fn check_feather(feather: f32) -> Result<(), InpaintError> {
    if (0.0..=32.0).contains(&feather) { Ok(()) } else { Err(InpaintError::Feather(feather)) }
}

/// The mask with a soft border. Blurring reaches `3 * feather` pixels to either side of the border.
pub(crate) fn feathered(mask: &GrayImage, feather: f32) -> GrayImage {
    if feather == 0.0 {
        return mask.clone();
    }
    let blurred = imageproc::filter::gaussian_blur_f32(mask, feather);
    // Rounding in the blur must not leave a veil over pixels far from the border.
    GrayImage::from_fn(mask.width(), mask.height(), |x, y| {
        Luma([match blurred.get_pixel(x, y)[0] {
            0..=2 => 0,
            253.. => 255,
            v => v,
        }])
    })
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    fn half_mask(size: u32) -> GrayImage {
        GrayImage::from_fn(size, size, |x, _| Luma([if x < size / 2 { 255 } else { 0 }]))
    }

    /// A background whose pixels tell where they come from.
    fn ramp(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| Rgb([x as u8, y as u8, 200]))
    }

    fn paint(fill: &BackgroundCrop, picture: &RgbImage, mask: &GrayImage, seed: u64) -> Result<RgbImage, InpaintError> {
        let request = Request { picture, mask, prompt: "", class: 0 };
        fill.inpaint(&request, &mut ChaCha8Rng::seed_from_u64(seed))
    }

    #[test]
    fn keeps_what_is_black_and_repaints_what_is_white() {
        let picture = RgbImage::from_pixel(64, 64, Rgb([9, 8, 7]));
        let fill = BackgroundCrop::new(vec![ramp(100, 80)], 0.0).unwrap();
        let out = paint(&fill, &picture, &half_mask(64), 3).unwrap();
        for (x, _, p) in out.enumerate_pixels() {
            if x < 32 {
                assert_eq!(p[2], 200, "painted from the background at column {x}");
            } else {
                assert_eq!(p, &Rgb([9, 8, 7]), "kept at column {x}");
            }
        }
    }

    #[test]
    fn feathering_is_monotone_and_ends_within_three_sigma() {
        let picture = RgbImage::from_pixel(64, 64, Rgb([0, 0, 0]));
        let fill = BackgroundCrop::new(vec![RgbImage::from_pixel(90, 90, Rgb([255, 255, 255]))], 1.5).unwrap();
        let out = paint(&fill, &picture, &half_mask(64), 0).unwrap();
        let row: Vec<u8> = (0..64).map(|x| out.get_pixel(x, 30)[0]).collect();
        assert!(row.windows(2).all(|w| w[0] >= w[1]), "{row:?}");
        assert_eq!((row[26], row[37]), (255, 0));
        // The border lies between the columns 31 and 32: 255 * Phi(+-0.5 / 1.5).
        assert!(row[31].abs_diff(161) <= 2 && row[32].abs_diff(94) <= 2, "{:?}", &row[30..34]);
    }

    #[test]
    fn same_stream_same_bytes_other_stream_other_crop() {
        let picture = RgbImage::new(48, 48);
        let fill = BackgroundCrop::new(vec![ramp(100, 80), ramp(200, 60)], 1.5).unwrap();
        let a = paint(&fill, &picture, &half_mask(48), 5).unwrap();
        assert_eq!(a, paint(&fill, &picture, &half_mask(48), 5).unwrap());
        assert_ne!(a, paint(&fill, &picture, &half_mask(48), 6).unwrap());
    }

    #[test]
    fn backgrounds_smaller_than_the_picture_are_enlarged() {
        let fill = BackgroundCrop::new(vec![RgbImage::from_pixel(3, 2, Rgb([1, 2, 3]))], 0.0).unwrap();
        let out = paint(&fill, &RgbImage::new(40, 40), &half_mask(40), 0).unwrap();
        assert_eq!(out.get_pixel(0, 0), &Rgb([1, 2, 3]));
    }

    #[test]
    fn bad_requests_are_refused_by_name() {
        let fill = BackgroundCrop::new(vec![ramp(10, 10)], 0.0).unwrap();
        let picture = RgbImage::new(8, 8);
        assert_eq!(
            paint(&fill, &picture, &GrayImage::new(9, 8), 0),
            Err(InpaintError::SizeMismatch { picture: (8, 8), mask: (9, 8) })
        );
        assert_eq!(paint(&fill, &picture, &GrayImage::new(8, 8), 0), Err(InpaintError::NothingToRepaint));
        let grey = GrayImage::from_pixel(8, 8, Luma([128]));
        assert_eq!(paint(&fill, &picture, &grey, 0), Err(InpaintError::GreyMask { x: 0, y: 0, value: 128 }));
        assert_eq!(BackgroundCrop::new(vec![], 0.0).unwrap_err(), InpaintError::NoBackgrounds);
        assert!(matches!(BackgroundCrop::new(vec![ramp(2, 2)], f32::NAN), Err(InpaintError::Feather(_))));
    }
}

//! Repainting without a model: the old object is filled in, and one that was cut out of another picture takes its place.

use image::{GrayImage, Luma, Rgb, RgbImage, imageops};
use imageproc::{distance_transform::Norm, morphology};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::{InpaintError, Inpainter, Request, seam, telea::telea};

/// Pixels around a hole that the fill looks at.
const FILL_RADIUS: u8 = 3;
/// Largest side of a pasted object as a share of the picture's.
const LARGEST: f32 = 0.95;

/// A picture and where its object is.
#[derive(Debug, Clone)]
pub struct CutOut {
    picture: RgbImage,
    mask: GrayImage,
}

impl CutOut {
    /// Cuts the white part of `mask` out of `picture`; the mask may be a guess, such as one from attention.
    ///
    /// # Errors
    /// As [`Request::check`].
    pub fn new(picture: &RgbImage, mask: &GrayImage) -> Result<Self, InpaintError> {
        Request { picture, mask, prompt: "", class: None }.check()?;
        let (x, y, width, height) = seam::bounds(mask).expect("a checked mask is not empty");
        let cut = |picture: &RgbImage| imageops::crop_imm(picture, x, y, width, height).to_image();
        Ok(Self { picture: cut(picture), mask: imageops::crop_imm(mask, x, y, width, height).to_image() })
    }

    fn area(&self) -> f32 {
        area(&self.mask)
    }
}

fn area(mask: &GrayImage) -> f32 {
    mask.pixels().filter(|p| p[0] == 255).count() as f32
}

/// How [`CopyPaste`] works.
#[derive(Debug, Clone, PartialEq)]
pub struct CopyPasteOptions {
    /// How far around the mask the old object is removed too, in pixels, 0..=32.
    pub around: u8,
    /// Standard deviation of the soft edge of what is pasted, in pixels, 0..=32.
    pub feather: f32,
    /// Area of the new object as a share of the mask's: drawn between the squares of these, 0.1..=10.
    pub scale: (f32, f32),
}

impl Default for CopyPasteOptions {
    fn default() -> Self {
        Self { around: 3, feather: 1.5, scale: (0.85, 1.2) }
    }
}

/// Fills the mask with [`telea`], then pastes an object of the wanted class at the mask's centre, mirrored half of the
/// time. With [`Request::class`] `None` nothing is pasted: the control that tells what the new object adds.
///
/// It repaints more than the mask: `around` pixels around it, and where the new object reaches further. Everything
/// else is kept. A mask over the whole picture leaves nothing to fill from and is only pasted over.
#[derive(Debug)]
pub struct CopyPaste {
    objects: Vec<Vec<CutOut>>,
    options: CopyPasteOptions,
}

impl CopyPaste {
    /// From objects by class; empty for the fill alone.
    ///
    /// # Errors
    /// [`InpaintError::Feather`] or [`InpaintError::Scale`] for impossible options, [`InpaintError::NoObjects`] for a
    /// class without objects.
    pub fn new(objects: Vec<Vec<CutOut>>, options: CopyPasteOptions) -> Result<Self, InpaintError> {
        if !(0.0..=32.0).contains(&options.feather) {
            return Err(InpaintError::Feather(options.feather));
        }
        let (low, high) = options.scale;
        if !(0.1..=10.0).contains(&low) || !(0.1..=10.0).contains(&high) || low > high {
            return Err(InpaintError::Scale(low, high));
        }
        match objects.iter().position(Vec::is_empty) {
            Some(class) => Err(InpaintError::NoObjects(class)),
            None => Ok(Self { objects, options }),
        }
    }

    /// Pastes a random object of a class over the centre of `mask`.
    fn paste(&self, objects: &[CutOut], mask: &GrayImage, canvas: &mut RgbImage, rng: &mut ChaCha8Rng) {
        let object = &objects[rng.random_range(0..objects.len())];
        let factor = rng.random_range(self.options.scale.0..=self.options.scale.1);
        let mirrored = rng.random_bool(0.5);
        let (x, y, width, height) = seam::bounds(mask).expect("a checked mask is not empty");
        let (own_width, own_height) = object.mask.dimensions();
        let cap = (LARGEST * canvas.width() as f32 / own_width as f32)
            .min(LARGEST * canvas.height() as f32 / own_height as f32);
        let scale = ((area(mask) / object.area()).sqrt() * factor).min(cap);
        let scaled = |length: u32| ((length as f32 * scale).round() as u32).max(1);
        let (new_width, new_height) = (scaled(own_width), scaled(own_height));
        let mut colours = imageops::resize(&object.picture, new_width, new_height, imageops::FilterType::Triangle);
        let mut shape = imageops::resize(&object.mask, new_width, new_height, imageops::FilterType::Triangle);
        if mirrored {
            imageops::flip_horizontal_in_place(&mut colours);
            imageops::flip_horizontal_in_place(&mut shape);
        }
        // Centre on centre, but inside the picture.
        let place = |start: u32, length: u32, new: u32, limit: u32| {
            let wanted = i64::from(start) + (i64::from(length) - i64::from(new)) / 2;
            wanted.clamp(0, i64::from(limit.saturating_sub(new)))
        };
        let left = place(x, width, new_width, canvas.width());
        let top = place(y, height, new_height, canvas.height());
        let mut cover = GrayImage::new(canvas.width(), canvas.height());
        imageops::replace(&mut cover, &shape, left, top);
        if self.options.feather > 0.0 {
            cover = imageproc::filter::gaussian_blur_f32(&cover, self.options.feather);
        }
        for (px, py, share) in cover.enumerate_pixels() {
            if share[0] <= 2 {
                // Rounding in the blur must not leave a veil far from the object.
                continue;
            }
            // Just outside the cut there is no colour: its nearest pixel's goes on.
            let inside = |at: u32, start: i64, length: u32| (i64::from(at) - start).clamp(0, i64::from(length) - 1) as u32;
            let new = *colours.get_pixel(inside(px, left, new_width), inside(py, top, new_height));
            let old = canvas.get_pixel_mut(px, py);
            let share = f32::from(share[0]) / 255.0;
            *old = Rgb(std::array::from_fn(|c| seam::blend(old[c], new[c], share)));
        }
    }
}

impl Inpainter for CopyPaste {
    fn name(&self) -> &'static str {
        "copy-paste"
    }

    fn inpaint(&self, request: &Request<'_>, rng: &mut ChaCha8Rng) -> Result<RgbImage, InpaintError> {
        request.check()?;
        let objects = match request.class {
            None => None,
            Some(class) => Some(
                self.objects
                    .get(class)
                    .ok_or(InpaintError::UnknownClass { class, known: self.objects.len() })?,
            ),
        };
        let hole = match self.options.around {
            0 => request.mask.clone(),
            radius => {
                let grown = morphology::dilate(request.mask, Norm::L2, radius);
                GrayImage::from_fn(grown.width(), grown.height(), |x, y| {
                    Luma([if grown.get_pixel(x, y)[0] > 0 { 255 } else { 0 }])
                })
            }
        };
        let mut canvas = telea(request.picture, &hole, FILL_RADIUS);
        if let Some(objects) = objects {
            self.paste(objects, request.mask, &mut canvas, rng);
        }
        Ok(canvas)
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    const GREEN: Rgb<u8> = Rgb([20, 200, 30]);
    const BLUE: Rgb<u8> = Rgb([10, 20, 180]);

    fn disc(size: u32, radius: f32) -> GrayImage {
        let middle = size as f32 / 2.0;
        GrayImage::from_fn(size, size, |x, y| {
            let far = (x as f32 + 0.5 - middle).hypot(y as f32 + 0.5 - middle);
            Luma([if far < radius { 255 } else { 0 }])
        })
    }

    /// A blue picture with a red disc in the middle.
    fn scene() -> (RgbImage, GrayImage) {
        let mask = disc(80, 16.0);
        let picture = RgbImage::from_fn(80, 80, |x, y| if mask.get_pixel(x, y)[0] > 0 { Rgb([230, 0, 0]) } else { BLUE });
        (picture, mask)
    }

    fn objects() -> Vec<Vec<CutOut>> {
        let mask = disc(50, 20.0);
        vec![vec![CutOut::new(&RgbImage::from_pixel(50, 50, GREEN), &mask).unwrap()]]
    }

    fn paint(class: Option<usize>, seed: u64) -> RgbImage {
        let (picture, mask) = scene();
        let paste = CopyPaste::new(objects(), CopyPasteOptions::default()).unwrap();
        let request = Request { picture: &picture, mask: &mask, prompt: "", class };
        paste.inpaint(&request, &mut ChaCha8Rng::seed_from_u64(seed)).unwrap()
    }

    #[test]
    fn the_old_object_goes_and_the_new_one_has_its_place_and_size() {
        for seed in 0..5 {
            let painted = paint(Some(0), seed);
            assert_eq!(painted.get_pixel(40, 40), &GREEN);
            assert!(painted.pixels().all(|p| p[0] < 60), "nothing red is left");
            let green = painted.pixels().filter(|p| p[1] > 110).count() as f32;
            let wanted = std::f32::consts::PI * 256.0;
            assert!((0.6..1.6).contains(&(green / wanted)), "{green} pixels of {wanted}");
            assert_eq!(painted.get_pixel(5, 5), &BLUE, "far away everything is kept");
        }
        assert_eq!(paint(Some(0), 1), paint(Some(0), 1));
        assert_ne!(paint(Some(0), 1), paint(Some(0), 2));
    }

    #[test]
    fn without_a_class_nothing_is_pasted() {
        let painted = paint(None, 0);
        for p in painted.pixels() {
            assert!(p.0.iter().zip(BLUE.0).all(|(&a, b)| (b..=b + 20).contains(&a)), "{p:?}");
        }
    }

    #[test]
    fn what_is_impossible_is_refused() {
        let (picture, mask) = scene();
        let paste = CopyPaste::new(objects(), CopyPasteOptions::default()).unwrap();
        let request = Request { picture: &picture, mask: &mask, prompt: "", class: Some(1) };
        let refused = paste.inpaint(&request, &mut ChaCha8Rng::seed_from_u64(0));
        assert_eq!(refused, Err(InpaintError::UnknownClass { class: 1, known: 1 }));
        assert!(matches!(CopyPaste::new(vec![vec![]], CopyPasteOptions::default()), Err(InpaintError::NoObjects(0))));
        let scale = CopyPasteOptions { scale: (2.0, 1.0), ..CopyPasteOptions::default() };
        assert!(matches!(CopyPaste::new(objects(), scale), Err(InpaintError::Scale(..))));
        let feather = CopyPasteOptions { feather: f32::NAN, ..CopyPasteOptions::default() };
        assert!(matches!(CopyPaste::new(objects(), feather), Err(InpaintError::Feather(_))));
        assert!(CutOut::new(&picture, &GrayImage::new(80, 80)).is_err());
    }

    #[test]
    fn a_mask_over_everything_is_pasted_over() {
        let picture = RgbImage::from_pixel(30, 20, BLUE);
        let mask = GrayImage::from_pixel(30, 20, Luma([255]));
        let paste = CopyPaste::new(objects(), CopyPasteOptions::default()).unwrap();
        let request = Request { picture: &picture, mask: &mask, prompt: "", class: Some(0) };
        let painted = paste.inpaint(&request, &mut ChaCha8Rng::seed_from_u64(0)).unwrap();
        assert_eq!(painted.get_pixel(15, 10), &GREEN);
        assert_eq!(painted.get_pixel(0, 0), &BLUE);
    }
}

//! Copy-paste: an object cut out of another picture takes the place of the old one. No model, no weights.

use std::ops::RangeInclusive;

use image::{GrayImage, Rgb, RgbImage, imageops};
use rand::{RngExt, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::{InpaintError, Inpainter, Request, background_crop::feathered, inpainter};

/// Size of the new object as a share of the old one's extent.
const SCALE: RangeInclusive<f32> = 0.85..=1.2;
/// The region to remove is grown by so many pixels, because masks end a little inside of objects.
const GROW: u8 = 3;

/// An object of a picture.
#[derive(Debug, Clone)]
pub struct CutOut {
    /// The object's bounding box, cut from its picture.
    picture: RgbImage,
    /// Opacity, 0 to 255, with a soft border.
    alpha: GrayImage,
}

impl CutOut {
    /// Cuts the white region of `mask` out of a picture of the same size; its border is blurred by a Gaussian of
    /// `feather` pixels.
    ///
    /// # Errors
    /// Those of [`Request::check`], and [`InpaintError::Feather`] outside 0..=32.
    pub fn new(picture: &RgbImage, mask: &GrayImage, feather: f32) -> Result<Self, InpaintError> {
        Request { picture, mask, prompt: "", class: 0 }.check()?;
        crate::background_crop::check_feather(feather)?;
        let alpha = feathered(mask, feather);
        let Extent { left, top, width, height } = Extent::of(&alpha).ok_or(InpaintError::NothingToRepaint)?;
        Ok(Self {
            picture: imageops::crop_imm(picture, left, top, width, height).to_image(),
            alpha: imageops::crop_imm(&alpha, left, top, width, height).to_image(),
        })
    }
}

/// The smallest rectangle around what is not black.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Extent {
    left: u32,
    top: u32,
    width: u32,
    height: u32,
}

impl Extent {
    fn of(mask: &GrayImage) -> Option<Self> {
        let mut found: Option<(u32, u32, u32, u32)> = None;
        for (x, y, _) in mask.enumerate_pixels().filter(|(_, _, p)| p[0] > 0) {
            let (x0, y0, x1, y1) = found.unwrap_or((x, y, x, y));
            found = Some((x0.min(x), y0.min(y), x1.max(x), y1.max(y)));
        }
        found.map(|(x0, y0, x1, y1)| Self { left: x0, top: y0, width: x1 - x0 + 1, height: y1 - y0 + 1 })
    }
}

/// Removes the object under the mask with another inpainter, then pastes an object of the wanted class at its place,
/// about as large, mirrored half of the time.
///
/// It is what a perfect generator of objects would be if it could only repeat objects it has seen: the bar for models
/// that paint objects. The cut-outs bring the edge of their masks along.
pub struct CopyPaste {
    remover: Box<dyn Inpainter>,
    objects: Option<Vec<Vec<CutOut>>>,
}

impl std::fmt::Debug for CopyPaste {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let objects = self.objects.as_ref().map(|o| o.iter().map(Vec::len).collect::<Vec<_>>());
        f.debug_struct("CopyPaste").field("remover", &self.remover.name()).field("objects", &objects).finish()
    }
}

impl CopyPaste {
    /// `objects` are cut-outs by class.
    ///
    /// # Errors
    /// [`InpaintError::NoObjects`] if a class has none.
    pub fn new(remover: Box<dyn Inpainter>, objects: Vec<Vec<CutOut>>) -> Result<Self, InpaintError> {
        match objects.iter().position(Vec::is_empty) {
            Some(class) => Err(InpaintError::NoObjects { class }),
            None if objects.is_empty() => Err(InpaintError::NoObjects { class: 0 }),
            None => Ok(Self { remover, objects: Some(objects) }),
        }
    }

    /// Removes and pastes nothing: the control that tells what the context alone does.
    pub fn context_only(remover: Box<dyn Inpainter>) -> Self {
        Self { remover, objects: None }
    }
}

impl CopyPaste {
    /// The emptied picture with an object of the request's class.
    fn pasted(
        &self,
        request: &Request<'_>,
        mut canvas: RgbImage,
        rng: &mut ChaCha8Rng,
    ) -> Result<RgbImage, InpaintError> {
        let Some(objects) = &self.objects else { return Ok(canvas) };
        let of_class = objects.get(request.class).ok_or(InpaintError::NoObjects { class: request.class })?;
        let object = of_class.choose(rng).ok_or(InpaintError::NoObjects { class: request.class })?;
        let place = Extent::of(request.mask).ok_or(InpaintError::NothingToRepaint)?;
        paste(&mut canvas, object, place, rng);
        Ok(canvas)
    }
}

impl Inpainter for CopyPaste {
    fn name(&self) -> &'static str {
        if self.objects.is_some() { "copy-paste" } else { "context-only" }
    }

    fn inpaint(&self, request: &Request<'_>, rng: &mut ChaCha8Rng) -> Result<RgbImage, InpaintError> {
        inpainter::alone(self, request, rng)
    }

    fn inpaint_all(&self, work: &mut [(Request<'_>, ChaCha8Rng)]) -> Vec<Result<RgbImage, InpaintError>> {
        let grow = |mask| imageproc::morphology::dilate(mask, imageproc::distance_transform::Norm::L2, GROW);
        let grown: Vec<GrayImage> = work.par_iter().map(|(request, _)| grow(request.mask)).collect();
        let removals =
            work.iter().zip(&grown).map(|((request, rng), mask)| (Request { mask, ..*request }, rng.clone()));
        let mut removals: Vec<_> = removals.collect();
        let emptied = self.remover.inpaint_all(&mut removals);
        let pasted = work.par_iter_mut().zip(emptied).zip(removals).map(|(((request, rng), emptied), (_, after))| {
            *rng = after;
            // What is wrong with the mask itself is said before what is wrong with the grown one.
            request.check()?;
            self.pasted(request, emptied?, rng)
        });
        pasted.collect()
    }

    fn finish(
        &self,
        request: &Request<'_>,
        emptied: RgbImage,
        rng: &mut ChaCha8Rng,
    ) -> Option<Result<RgbImage, InpaintError>> {
        self.remover.pass_over(rng).then(|| {
            request.check()?;
            self.pasted(request, emptied, rng)
        })
    }

    fn at_once(&self) -> usize {
        self.remover.at_once()
    }
}

/// Pastes the object with its centre at the centre of `place`; the longer sides are as long as each other, times a random
/// scale.
fn paste(canvas: &mut RgbImage, object: &CutOut, place: Extent, rng: &mut ChaCha8Rng) {
    let (width, height) = object.picture.dimensions();
    let scale = place.width.max(place.height) as f32 / width.max(height) as f32 * rng.random_range(SCALE);
    let scaled = |side: u32| ((side as f32 * scale).round() as u32).max(1);
    let size = (scaled(width), scaled(height));
    let filter = imageops::FilterType::Triangle;
    let mut picture = imageops::resize(&object.picture, size.0, size.1, filter);
    let mut alpha = imageops::resize(&object.alpha, size.0, size.1, filter);
    if rng.random_bool(0.5) {
        imageops::flip_horizontal_in_place(&mut picture);
        imageops::flip_horizontal_in_place(&mut alpha);
    }
    let centred = |start: u32, old: u32, new: u32| i64::from(start) + (i64::from(old) - i64::from(new)) / 2;
    let (left, top) = (centred(place.left, place.width, size.0), centred(place.top, place.height, size.1));
    for (x, y, new) in picture.enumerate_pixels() {
        let (cx, cy) = (left + i64::from(x), top + i64::from(y));
        if (0..i64::from(canvas.width())).contains(&cx) && (0..i64::from(canvas.height())).contains(&cy) {
            let a = u32::from(alpha.get_pixel(x, y)[0]);
            let old = canvas.get_pixel_mut(cx as u32, cy as u32);
            *old = Rgb(std::array::from_fn(|c| {
                ((u32::from(new[c]) * a + u32::from(old[c]) * (255 - a) + 127) / 255) as u8
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use image::Luma;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;
    use crate::BackgroundCrop;

    const GREEN: Rgb<u8> = Rgb([0, 200, 0]);
    const RED: Rgb<u8> = Rgb([200, 0, 0]);
    const BLUE: Rgb<u8> = Rgb([0, 0, 200]);

    fn square(size: u32, from: u32, to: u32) -> GrayImage {
        let inside = |v: u32| (from..to).contains(&v);
        GrayImage::from_fn(size, size, |x, y| Luma([if inside(x) && inside(y) { 255 } else { 0 }]))
    }

    /// A blue picture with a green square, a red square as the new object, a black fill.
    fn painted(paste: bool, class: usize, seed: u64) -> Result<RgbImage, InpaintError> {
        let mask = square(64, 20, 40);
        let old = RgbImage::from_fn(64, 64, |x, y| if mask.get_pixel(x, y)[0] > 0 { GREEN } else { BLUE });
        let fill = BackgroundCrop::new(vec![RgbImage::new(80, 80)], 0.0)?;
        let donor = RgbImage::from_pixel(64, 64, RED);
        let cut = CutOut::new(&donor, &square(64, 5, 35), 0.0)?;
        let inpainter = if paste {
            CopyPaste::new(Box::new(fill), vec![vec![cut.clone()], vec![cut]])?
        } else {
            CopyPaste::context_only(Box::new(fill))
        };
        let request = Request { picture: &old, mask: &mask, prompt: "", class };
        inpainter.inpaint(&request, &mut ChaCha8Rng::seed_from_u64(seed))
    }

    #[test]
    fn the_old_object_goes_the_new_one_stands_at_its_place_and_the_context_stays() {
        for seed in 0..20 {
            let out = painted(true, 1, seed).unwrap();
            assert!(out.pixels().all(|p| *p != GREEN), "seed {seed}");
            let red: Vec<(u32, u32)> =
                out.enumerate_pixels().filter(|(_, _, p)| **p == RED).map(|(x, y, _)| (x, y)).collect();
            let side = (red.len() as f64).sqrt();
            assert!((16.0..=25.0).contains(&side), "20 px times .85 to 1.2, found {side}");
            let mean = red.iter().map(|p| f64::from(p.0)).sum::<f64>() / red.len() as f64;
            assert!((mean - 29.5).abs() <= 1.0, "centred at {mean}");
            assert_eq!(out.get_pixel(10, 10), &BLUE);
            assert_eq!(out, painted(true, 1, seed).unwrap());
        }
        assert_ne!(painted(true, 1, 0).unwrap(), painted(true, 1, 1).unwrap());
    }

    /// Fills with a colour that it draws.
    struct Plain;

    impl Inpainter for Plain {
        fn name(&self) -> &'static str {
            "plain"
        }

        fn inpaint(&self, request: &Request<'_>, rng: &mut ChaCha8Rng) -> Result<RgbImage, InpaintError> {
            let (mut out, fill) = (request.picture.clone(), Rgb([0, 0, rng.random()]));
            out.enumerate_pixels_mut()
                .filter(|(x, y, _)| request.mask.get_pixel(*x, *y)[0] > 0)
                .for_each(|(_, _, pixel)| *pixel = fill);
            Ok(out)
        }

        fn pass_over(&self, rng: &mut ChaCha8Rng) -> bool {
            let _: u8 = rng.random();
            true
        }
    }

    #[test]
    fn pasting_into_an_emptied_picture_gives_what_removing_and_pasting_gives() {
        let (picture, mask) = (RgbImage::from_pixel(64, 64, GREEN), square(64, 20, 40));
        let cut = CutOut::new(&RgbImage::from_pixel(64, 64, RED), &square(64, 5, 35), 1.0).unwrap();
        let paste = CopyPaste::new(Box::new(Plain), vec![vec![cut.clone(), cut]]).unwrap();
        let request = Request { picture: &picture, mask: &mask, prompt: "", class: 0 };
        let rng = || ChaCha8Rng::seed_from_u64(8);
        let emptied = CopyPaste::context_only(Box::new(Plain)).inpaint(&request, &mut rng()).unwrap();
        assert_eq!(paste.finish(&request, emptied.clone(), &mut rng()), Some(paste.inpaint(&request, &mut rng())));
        // What the fill draws from its backgrounds depends on the request.
        let fill = BackgroundCrop::new(vec![RgbImage::new(80, 80)], 0.0).unwrap();
        let other = CopyPaste::context_only(Box::new(fill));
        assert_eq!(other.finish(&request, emptied, &mut rng()), None);
    }

    #[test]
    fn context_only_removes_and_pastes_nothing() {
        let out = painted(false, 0, 3).unwrap();
        assert!(out.pixels().all(|p| *p != RED && *p != GREEN));
        assert_eq!(out.get_pixel(30, 30), &Rgb([0, 0, 0]));
        assert_eq!(out.get_pixel(10, 10), &BLUE);
    }

    #[test]
    fn an_object_larger_than_the_picture_is_cut_at_its_border() {
        let mask = square(64, 0, 64);
        let cut = CutOut::new(&RgbImage::from_pixel(64, 64, RED), &square(64, 0, 64), 0.0).unwrap();
        let mut canvas = RgbImage::new(64, 64);
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        for _ in 0..10 {
            paste(&mut canvas, &cut, Extent::of(&mask).unwrap(), &mut rng);
        }
        assert_eq!(canvas.get_pixel(32, 32), &RED);
    }

    #[test]
    fn impossible_objects_are_refused_by_name() {
        assert_eq!(painted(true, 2, 0), Err(InpaintError::NoObjects { class: 2 }));
        let fill = BackgroundCrop::new(vec![RgbImage::new(8, 8)], 0.0).unwrap();
        assert_eq!(CopyPaste::new(Box::new(fill), vec![]).unwrap_err(), InpaintError::NoObjects { class: 0 });
        let picture = RgbImage::new(8, 8);
        assert_eq!(CutOut::new(&picture, &GrayImage::new(8, 8), 1.0).unwrap_err(), InpaintError::NothingToRepaint);
        assert!(matches!(CutOut::new(&picture, &square(8, 0, 4), 99.0), Err(InpaintError::Feather(_))));
    }
}

//! What every inpainter is asked and what it answers.

use image::{GrayImage, RgbImage};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// One picture to repaint.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The picture, sRGB.
    pub picture: &'a RgbImage,
    /// Same size as the picture; 255 = repaint, 0 = keep, in between is not allowed.
    pub mask: &'a GrayImage,
    /// What to paint, for inpainters that read text; others ignore it.
    pub prompt: &'a str,
    /// The class that the new picture is to show, for inpainters that know classes; others ignore it.
    pub class: usize,
}

impl Request<'_> {
    /// Checks what holds for every inpainter.
    ///
    /// # Errors
    /// [`InpaintError::SizeMismatch`], [`InpaintError::GreyMask`] or [`InpaintError::NothingToRepaint`].
    pub fn check(&self) -> Result<(), InpaintError> {
        if self.picture.dimensions() != self.mask.dimensions() {
            return Err(InpaintError::SizeMismatch {
                picture: self.picture.dimensions(),
                mask: self.mask.dimensions(),
            });
        }
        if let Some((x, y, value)) = self.mask.enumerate_pixels().find(|(_, _, p)| !matches!(p[0], 0 | 255)) {
            return Err(InpaintError::GreyMask { x, y, value: value[0] });
        }
        if self.mask.pixels().all(|p| p[0] == 0) {
            return Err(InpaintError::NothingToRepaint);
        }
        Ok(())
    }
}

/// Repaints the white part of a mask. The result has the picture's size and equals it where the mask is black and
/// further from the border than the inpainter's feathering.
pub trait Inpainter: Sync {
    /// A short name for tables and provenance columns, such as `background-crop`.
    fn name(&self) -> &'static str;

    /// Paints one picture. Every random draw comes from `rng`, so that the same request and stream give the same
    /// bytes.
    ///
    /// # Errors
    /// Those of [`Request::check`], and the inpainter's own.
    fn inpaint(&self, request: &Request<'_>, rng: &mut ChaCha8Rng) -> Result<RgbImage, InpaintError>;

    /// Paints several pictures, each with its own stream, to what [`Inpainter::inpaint`] makes of it; in parallel
    /// unless the inpainter has a better way.
    fn inpaint_all(&self, work: &mut [(Request<'_>, ChaCha8Rng)]) -> Vec<Result<RgbImage, InpaintError>> {
        work.par_iter_mut().map(|(request, rng)| self.inpaint(request, rng)).collect()
    }

    /// For inpainters that first empty the picture under the mask: goes on from the emptied picture as [`Inpainter::inpaint`]
    /// would, to the same picture. `None` for others, and where the numbers drawn for emptying cannot be passed over.
    fn finish(
        &self,
        _request: &Request<'_>,
        _emptied: RgbImage,
        _rng: &mut ChaCha8Rng,
    ) -> Option<Result<RgbImage, InpaintError>> {
        None
    }

    /// Draws from `rng` what [`Inpainter::inpaint`] does for any request, and says so; `false` where that depends on the
    /// request.
    fn pass_over(&self, _rng: &mut ChaCha8Rng) -> bool {
        false
    }

    /// How many pictures [`Inpainter::inpaint_all`] is best given together; work can be interrupted in between.
    fn at_once(&self) -> usize {
        16
    }

    /// How a picture is made, as keywords and texts for its file: nothing for inpainters whose name says it all. `rng` is the
    /// stream as [`Inpainter::inpaint`] would get it.
    fn provenance(&self, _prompt: &str, _mask: &GrayImage, _rng: &ChaCha8Rng) -> Vec<(String, String)> {
        Vec::new()
    }
}

/// [`Inpainter::inpaint`] by [`Inpainter::inpaint_all`], for inpainters that have their own.
pub(crate) fn alone(
    inpainter: &impl Inpainter,
    request: &Request<'_>,
    rng: &mut ChaCha8Rng,
) -> Result<RgbImage, InpaintError> {
    let mut work = [(*request, rng.clone())];
    let painted = inpainter.inpaint_all(&mut work).pop().expect("a picture for every request");
    [(_, *rng)] = work;
    painted
}

/// Why a picture could not be repainted.
#[derive(Debug, Clone, thiserror::Error, PartialEq)]
pub enum InpaintError {
    /// Occurs when picture and mask have different sizes.
    #[error("the picture is {}x{} but its mask is {}x{}: give a mask of the picture's size", picture.0, picture.1, mask.0, mask.1)]
    SizeMismatch {
        /// Width and height of the picture.
        picture: (u32, u32),
        /// Width and height of the mask.
        mask: (u32, u32),
    },
    /// Occurs when a mask holds a value that is neither black nor white.
    #[error("the mask has the value {value} at ({x}, {y}): a mask is 0 (keep) or 255 (repaint); binarise it first")]
    GreyMask {
        /// Column of the first such pixel.
        x: u32,
        /// Row of the first such pixel.
        y: u32,
        /// Its value.
        value: u8,
    },
    /// Occurs when the mask is black everywhere.
    #[error("the mask is black everywhere: there is nothing to repaint")]
    NothingToRepaint,
    /// Occurs when a background-crop fill is made without backgrounds.
    #[error("a background-crop fill needs at least one background picture")]
    NoBackgrounds,
    /// Occurs when copy-paste has no object of a class to paste.
    #[error("there is no object of class {class} to paste: give at least one cut-out of every class")]
    NoObjects {
        /// The class, from 0.
        class: usize,
    },
    /// Occurs when the feathering radius is negative or not a number.
    #[error("feather is {0} px, expected a number from 0 to 32")]
    Feather(f32),
    /// Occurs when Stable Diffusion cannot paint; holds the message of its [`PipelineError`](crate::sd::PipelineError).
    #[error("{0}")]
    StableDiffusion(String),
    /// Occurs when an object of a class is asked for that the inpainter has not learned.
    #[error("asked to paint an object of class {class}, but this inpainter knows the classes 0 to {}", known - 1)]
    UnknownClass {
        /// The class.
        class: usize,
        /// How many there are.
        known: usize,
    },
}

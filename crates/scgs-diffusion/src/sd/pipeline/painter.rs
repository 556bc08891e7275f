//! Stable Diffusion as an [`Inpainter`].

use image::RgbImage;
use rand_chacha::ChaCha8Rng;

use super::{Job, PaintOptions, PipelineError, StableDiffusionInpaint};
use crate::{InpaintError, Inpainter, Request};

/// A loaded model and how it paints.
#[derive(Debug)]
pub struct StableDiffusionPainter {
    model: StableDiffusionInpaint,
    options: PaintOptions,
}

impl StableDiffusionPainter {
    /// Checks the options against the model.
    ///
    /// # Errors
    /// [`PipelineError`] for options out of range.
    pub fn new(model: StableDiffusionInpaint, options: PaintOptions) -> Result<Self, PipelineError> {
        model.scheduler(&options)?;
        Ok(Self { model, options })
    }

    /// The model.
    pub fn model(&self) -> &StableDiffusionInpaint {
        &self.model
    }

    /// How it paints.
    pub fn options(&self) -> &PaintOptions {
        &self.options
    }
}

impl Inpainter for StableDiffusionPainter {
    fn name(&self) -> &'static str {
        "stable-diffusion"
    }

    fn inpaint(&self, request: &Request<'_>, rng: &mut ChaCha8Rng) -> Result<RgbImage, InpaintError> {
        let mut painted = self.paint(&mut [job(request, rng)?])?;
        painted.pop().ok_or(InpaintError::NothingToRepaint)
    }

    /// Pictures are painted one after the other, or together if the options allow memory for it: the threads work inside of
    /// a picture.
    fn inpaint_all(&self, work: &mut [(Request<'_>, ChaCha8Rng)]) -> Result<Vec<RgbImage>, InpaintError> {
        let jobs: Result<Vec<_>, _> = work.iter_mut().map(|(request, rng)| job(request, rng)).collect();
        self.paint(&mut jobs?)
    }
}

impl StableDiffusionPainter {
    fn paint(&self, jobs: &mut [Job<'_>]) -> Result<Vec<RgbImage>, InpaintError> {
        let painted = self.model.paint(jobs, &self.options, &mut |_| true);
        let painted = painted.map_err(|error| InpaintError::StableDiffusion(error.to_string()))?;
        Ok(painted.into_iter().map(|one| one.picture).collect())
    }
}

fn job<'a>(request: &Request<'a>, rng: &'a mut ChaCha8Rng) -> Result<Job<'a>, InpaintError> {
    request.check()?;
    let Request { picture, mask, prompt, .. } = *request;
    Ok(Job { picture, mask, prompt, latents: None, noise: rng })
}

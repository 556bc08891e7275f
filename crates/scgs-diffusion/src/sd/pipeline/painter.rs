//! Stable Diffusion as an [`Inpainter`].

use image::{GrayImage, RgbImage};
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use super::{Job, PaintOptions, PipelineError, StableDiffusionInpaint, TorchNoise, mask_sha256};
use crate::{InpaintError, Inpainter, Request, inpainter};

/// Pictures that are handed over together where the memory allows several.
const TOGETHER: usize = 8;

/// A loaded model and how it paints.
///
/// The seed of a picture is the first 32 bits of its stream: `scgs inpaint --seed` paints the same picture with it.
#[derive(Debug)]
pub struct StableDiffusionPainter {
    model: StableDiffusionInpaint,
    options: PaintOptions,
}

impl StableDiffusionPainter {
    /// Checks the options against the model, and computes its hash.
    ///
    /// # Errors
    /// [`PipelineError`] for options out of range or files that can no longer be read.
    pub fn new(model: StableDiffusionInpaint, options: PaintOptions) -> Result<Self, PipelineError> {
        model.provenance(&options, "", 0, "")?;
        Ok(Self { model, options })
    }

    /// The model.
    pub fn model(&self) -> &StableDiffusionInpaint {
        &self.model
    }

    fn paint(&self, work: &mut [(Request<'_>, ChaCha8Rng)]) -> Result<Vec<RgbImage>, InpaintError> {
        let mut noises: Vec<TorchNoise> =
            work.iter_mut().map(|(_, rng)| TorchNoise::new(u64::from(rng.next_u32()))).collect();
        let mut jobs = Vec::with_capacity(work.len());
        for ((request, _), noise) in work.iter().zip(&mut noises) {
            request.check()?;
            let Request { picture, mask, prompt, .. } = *request;
            jobs.push(Job { picture, mask, prompt, latents: None, noise });
        }
        let painted = self.model.paint(&mut jobs, &self.options, &mut |_| true);
        let painted = painted.map_err(|error| InpaintError::StableDiffusion(error.to_string()))?;
        Ok(painted.into_iter().map(|one| one.picture).collect())
    }
}

impl Inpainter for StableDiffusionPainter {
    fn name(&self) -> &'static str {
        "stable-diffusion"
    }

    fn inpaint(&self, request: &Request<'_>, rng: &mut ChaCha8Rng) -> Result<RgbImage, InpaintError> {
        inpainter::alone(self, request, rng)
    }

    /// One after the other, or together if the options allow memory for it: the threads work inside of a picture.
    fn inpaint_all(&self, work: &mut [(Request<'_>, ChaCha8Rng)]) -> Vec<Result<RgbImage, InpaintError>> {
        match self.paint(work) {
            Ok(painted) => painted.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error); work.len()],
        }
    }

    fn at_once(&self) -> usize {
        if self.options.memory.is_some() { TOGETHER } else { 1 }
    }

    fn provenance(&self, prompt: &str, mask: &GrayImage, rng: &ChaCha8Rng) -> Vec<(String, String)> {
        let seed = u64::from(rng.clone().next_u32());
        // The hash is known and the options are checked since `new`.
        self.model.provenance(&self.options, prompt, seed, &mask_sha256(mask)).unwrap_or_default()
    }
}

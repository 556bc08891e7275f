//! Stable Diffusion inpainting as one call, equal to diffusers' `StableDiffusionInpaintPipeline`.

mod denoise;
mod error;
mod load;
mod memory;
mod noise;
#[cfg(test)]
mod option_tests;
mod options;
mod painter;
mod pillow;
mod prepare;
mod prompts;
mod provenance;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, OnceLock, PoisonError},
};

use burn::tensor::{Device, Tensor};
use image::{GrayImage, RgbImage};
use scgs_models::open_tensors;
use sha2::{Digest as _, Sha256};

use self::load::Configs;
pub use self::{
    error::PipelineError,
    load::LoadOptions,
    noise::{Draw, Noise, TorchNoise},
    options::PaintOptions,
    painter::StableDiffusionPainter,
    prepare::{Fit, Region},
    prompts::PromptTemplates,
};
use super::{ModelFolder, SchedulerKind, TextEncoder, Tokenizer, UNet, Vae};

/// Stable Diffusion 1 or 2, loaded: the 9-channel inpainting networks, and those of 4 channels through re-blending of the
/// latents. Made by [`StableDiffusionInpaint::load`].
#[derive(Debug)]
pub struct StableDiffusionInpaint {
    folder: ModelFolder,
    loaded: LoadOptions,
    configs: Configs,
    tokenizer: Tokenizer,
    text_encoder: TextEncoder,
    vae: Vae,
    unet: UNet,
    /// What the weights take in memory.
    weight_bytes: u64,
    device: Device,
    /// What prompts became, by the prompt and the number of layers left out.
    prompts: Mutex<BTreeMap<(String, usize), Tensor<3>>>,
    hash: OnceLock<String>,
}

/// One picture to paint.
pub struct Job<'a> {
    /// The picture, sRGB.
    pub picture: &'a RgbImage,
    /// Its mask, of the same size: white is repainted. Grey counts as white from one half on, and fades between old and new
    /// pixels in the result.
    pub mask: &'a GrayImage,
    /// What to paint.
    pub prompt: &'a str,
    /// The initial noise; drawn from `noise` if `None`. As with diffusers' `latents` painting starts from it alone, whatever
    /// the strength.
    pub latents: Option<&'a Latents>,
    /// Every random number of this picture.
    pub noise: &'a mut dyn Noise,
}

impl std::fmt::Debug for Job<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job")
            .field("size", &self.picture.dimensions())
            .field("prompt", &self.prompt)
            .finish_non_exhaustive()
    }
}

/// A painted picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Painted {
    /// Of the original's size.
    pub picture: RgbImage,
    /// What the network painted, at the size at which it works.
    pub raw: RgbImage,
    /// The last latents, `[4, h, w]` row by row.
    pub latents: Vec<f32>,
    /// How the picture was brought to the size at which the network works.
    pub fit: Fit,
    /// sha256 of the mask's pixels as they were given, row by row, in hexadecimal digits.
    pub mask_sha256: String,
}

/// Standard normal noise from outside.
#[derive(Clone, Debug, PartialEq)]
pub struct Latents {
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl Latents {
    /// Noise of `shape` `[1, 4, h, w]` or `[4, h, w]`, row by row; it is checked when it is used.
    pub fn new(shape: Vec<usize>, values: Vec<f32>) -> Self {
        Self { shape, values }
    }

    /// The tensor `latents` of a safetensors file.
    ///
    /// # Errors
    /// [`PipelineError::Part`] for a missing or damaged file and numbers that are not finite, [`PipelineError::Latents`]
    /// if there is no such tensor.
    pub fn read(path: &Path) -> Result<Self, PipelineError> {
        let tensors = open_tensors(path).map_err(super::PartError::from)?;
        let tensor = tensors.get("latents").ok_or_else(|| PipelineError::NoLatents {
            path: path.to_owned(),
            found: tensors.keys().take(10).cloned().collect(),
        })?;
        let values = tensor.read().map_err(super::PartError::from)?;
        Ok(Self { shape: tensor.shape().to_vec(), values })
    }

    /// The numbers, if they are those of latents of `[4, h, w]`.
    fn of(&self, expected: [usize; 3]) -> Result<&[f32], PipelineError> {
        let shape = match &*self.shape {
            [1, rest @ ..] if rest.len() == 3 => rest,
            shape => shape,
        };
        let fits = *shape == expected && self.values.len() == expected.iter().product::<usize>();
        if fits && self.values.iter().all(|value| value.is_finite()) {
            return Ok(&self.values);
        }
        let expected = [&[1], &expected[..]].concat();
        Err(PipelineError::Latents { found: self.shape.clone(), expected })
    }
}

/// sha256 of a mask's pixels, row by row, in hexadecimal digits.
pub fn mask_sha256(mask: &GrayImage) -> String {
    Sha256::digest(mask.as_raw()).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl StableDiffusionInpaint {
    /// What the options and a picture's size ask for, checked with nothing but the folder's configurations: whatever is
    /// wrong there need not wait for gigabytes of weights.
    ///
    /// # Errors
    /// [`PipelineError`], as [`StableDiffusionInpaint::load`] and [`StableDiffusionInpaint::paint`] would give it.
    pub fn check(
        folder: &ModelFolder,
        options: &PaintOptions,
        picture: &RgbImage,
        mask: &GrayImage,
        prompt: &str,
        latents: Option<&Latents>,
    ) -> Result<(), PipelineError> {
        let configs = Configs::read(folder)?;
        options.check(&configs.scheduler)?;
        configs.size(picture.dimensions(), options, latents)?;
        if picture.dimensions() != mask.dimensions() {
            return Err(PipelineError::MaskSize { picture: picture.dimensions(), mask: mask.dimensions() });
        }
        if prompt.trim().is_empty() && !options.unconditional {
            return Err(PipelineError::EmptyPrompt);
        }
        Ok(())
    }

    /// What the options ask for, checked with the folder's configurations and the headers of LoRAs and learned words, before
    /// there is a picture.
    ///
    /// # Errors
    /// [`PipelineError`], as [`StableDiffusionInpaint::load`] and [`StableDiffusionInpaint::paint`] would give it.
    pub fn check_model(folder: &ModelFolder, load: &LoadOptions, options: &PaintOptions) -> Result<(), PipelineError> {
        let configs = Configs::read(folder)?;
        options.check(&configs.scheduler)?;
        for (path, _) in &load.loras {
            super::Lora::open(path)?;
        }
        for (path, token) in &load.embeddings {
            super::Embedding::read(path, token.as_deref())?;
        }
        Ok(())
    }

    /// Whether a mask leaves anything to repaint once it has grown and is cut at one half.
    pub fn repaints(mask: &GrayImage, options: &PaintOptions) -> bool {
        prepare::grown(mask, options).pixels().any(|p| p[0] >= 128)
    }

    /// Paints pictures; those that follow each other and have one size together, as many as the memory allows.
    ///
    /// A picture whose mask leaves nothing to repaint comes back as it is. `watch` hears of every step of every batch, and
    /// ends the work by answering `false`.
    ///
    /// # Errors
    /// [`PipelineError`]: options out of range, an empty prompt, a mask of another size, latents that do not fit, numbers that
    /// run away, [`PipelineError::Interrupted`].
    pub fn paint(
        &self,
        jobs: &mut [Job<'_>],
        options: &PaintOptions,
        watch: &mut dyn FnMut(Step) -> bool,
    ) -> Result<Vec<Painted>, PipelineError> {
        let plan = denoise::Plan::new(self, options)?;
        let mut prepared = Vec::new();
        for job in jobs.iter() {
            if job.prompt.trim().is_empty() && !options.unconditional {
                return Err(PipelineError::EmptyPrompt);
            }
            let size = self.configs.size(job.picture.dimensions(), options, job.latents)?;
            prepared.push(prepare::prepare_unless_black(job, options, size)?);
        }
        let mut painted = Vec::with_capacity(jobs.len());
        let mut from = 0;
        while from < jobs.len() {
            let Some(first) = &prepared[from] else {
                painted.push(Painted::untouched(&jobs[from]));
                from += 1;
                continue;
            };
            let most = plan.pictures(first.size);
            let alike =
                prepared[from..].iter().take_while(|one| one.as_ref().is_some_and(|one| one.size == first.size));
            let end = from + alike.count().min(most);
            let batch: Vec<_> = prepared[from..end].iter_mut().filter_map(Option::take).collect();
            let mut report = |done| watch(Step { pictures: from..end, done, of: plan.steps() });
            painted.extend(plan.paint(&mut jobs[from..end], &batch, &mut report)?);
            from = end;
        }
        Ok(painted)
    }

    /// The embedding of a prompt, `[1, tokens, width]`, computed once.
    fn embedding(&self, prompt: &str, clip_skip: usize) -> Result<Tensor<3>, PipelineError> {
        let key = (prompt.to_owned(), clip_skip);
        let mut known = self.prompts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(embedding) = known.get(&key) {
            return Ok(embedding.clone());
        }
        let embedding = self.text_encoder.encode(&[self.tokenizer.encode(prompt).ids], clip_skip)?;
        known.insert(key, embedding.clone());
        Ok(embedding)
    }

    /// What of a prompt is beyond the model's 77 tokens and has no effect, if anything.
    pub fn cut_off(&self, prompt: &str) -> Option<String> {
        self.tokenizer.encode(prompt).cut
    }

    /// The scheduler that options lead to.
    ///
    /// # Errors
    /// [`PipelineError`] for options out of range.
    pub fn scheduler(&self, options: &PaintOptions) -> Result<SchedulerKind, PipelineError> {
        Ok(options.check(&self.configs.scheduler)?.1)
    }

    /// The model's folder.
    pub fn folder(&self) -> &ModelFolder {
        &self.folder
    }
}

impl Configs {
    /// Width and height at which the network works on a picture; latents from outside must fit.
    fn size(
        &self,
        picture: (u32, u32),
        options: &PaintOptions,
        latents: Option<&Latents>,
    ) -> Result<(u32, u32), PipelineError> {
        let scale = self.vae.scale() as u32;
        let native = self.unet.sample_size as u32 * scale;
        let size = prepare::working_size(picture, options, native, scale)?;
        if let Some(latents) = latents {
            latents.of([self.vae.latent_channels, (size.1 / scale) as usize, (size.0 / scale) as usize])?;
        }
        Ok(size)
    }
}

impl Painted {
    fn untouched(job: &Job<'_>) -> Self {
        Self {
            picture: job.picture.clone(),
            raw: job.picture.clone(),
            latents: Vec::new(),
            fit: Fit::Exact,
            mask_sha256: mask_sha256(job.mask),
        }
    }
}

/// How far painting is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which of the jobs are under way.
    pub pictures: std::ops::Range<usize>,
    /// Their finished steps.
    pub done: usize,
    /// All their steps.
    pub of: usize,
}

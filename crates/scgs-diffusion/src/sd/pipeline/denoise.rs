//! The way from noise to a picture, for several pictures of one size together.

use burn::tensor::{Tensor, TensorData};

use super::{
    Draw, Job, PaintOptions, Painted, PipelineError, StableDiffusionInpaint, mask_sha256, memory,
    prepare::{self, Prepared},
};
use crate::sd::{Scheduler, SchedulerConfig, SchedulerKind};

/// Checked options, and what follows from them for a model.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    model: &'a StableDiffusionInpaint,
    options: &'a PaintOptions,
    config: SchedulerConfig,
    kind: SchedulerKind,
    first: usize,
    steps: usize,
    /// Whether every step computes the negative prompt as well.
    guided: bool,
}

/// What stays the same over the steps of a batch.
struct Conditions {
    /// `[B, 1, h, w]`: 1 where the picture is repainted.
    mask: Tensor<4>,
    /// Latents of the picture with its masked part grey, for networks of nine channels.
    masked: Option<Tensor<4>>,
    /// Latents of the picture, for networks of four.
    picture: Option<Tensor<4>>,
    /// The noise that the batch started from.
    noise: Tensor<4>,
    /// `[B, tokens, width]`.
    prompts: Tensor<3>,
    /// The same for the negative prompt.
    negative: Option<Tensor<3>>,
}

impl<'a> Plan<'a> {
    pub(super) fn new(model: &'a StableDiffusionInpaint, options: &'a PaintOptions) -> Result<Self, PipelineError> {
        let (config, kind) = options.check(&model.configs.scheduler)?;
        let scheduler = config.scheduler(kind, options.steps)?;
        let first = scheduler.first_step(options.steps, options.strength)?;
        let steps = scheduler.timesteps().len() - first;
        // Networks that were distilled to take the scale as an input need no second prediction.
        let guided = options.guidance > 1.0 && model.configs.unet.time_cond_proj_dim.is_none();
        Ok(Self { model, options, config, kind, first, steps, guided })
    }

    /// How many steps a picture takes.
    pub(super) fn steps(&self) -> usize {
        self.steps
    }

    /// How many pictures of a size are painted together.
    pub(super) fn pictures(&self, size: (u32, u32)) -> usize {
        if self.options.memory.is_none() {
            return 1;
        }
        let rows = memory::rows(&self.model.configs, self.model.weight_bytes, self.options, size);
        if self.guided { (rows / 2).max(1) } else { rows }
    }

    fn four(&self) -> bool {
        self.model.configs.unet.in_channels == self.model.configs.vae.latent_channels
    }

    /// Paints a batch of equal sizes.
    pub(super) fn paint(
        &self,
        jobs: &mut [Job<'_>],
        prepared: &[Prepared],
        watch: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Vec<Painted>, PipelineError> {
        let mut scheduler = self.config.scheduler(self.kind, self.options.steps)?;
        let (mut latents, conditions) = self.start(jobs, prepared, scheduler.as_ref())?;
        let timesteps = scheduler.timesteps().to_vec();
        let shape = latents.dims();
        for index in self.first..timesteps.len() {
            let input = scheduler.scale_model_input(latents.clone(), index);
            let prediction = self.prediction(input, f64::from(timesteps[index]), &conditions, prepared[0].size);
            let mut noise = || {
                let each: Vec<f32> = jobs.iter_mut().flat_map(|job| self.draw(job, Draw::Step, shape)).collect();
                Tensor::from_data(TensorData::new(each, shape), &self.model.device)
            };
            latents = scheduler.step(prediction, index, latents, &mut noise);
            if let Some(picture) = &conditions.picture {
                // What is kept follows the picture, with as much noise as the next step expects (Lugmayr et al. 2022).
                let known = match index + 1 < timesteps.len() {
                    true => scheduler.add_noise(picture.clone(), conditions.noise.clone(), index + 1),
                    false => picture.clone(),
                };
                let mask = conditions.mask.clone();
                latents = (mask.clone().neg() + 1.0) * known + mask * latents;
            }
            if !finite(&latents) {
                return Err(PipelineError::NotFinite { step: index - self.first + 1 });
            }
            if !watch(index - self.first + 1) {
                return Err(PipelineError::Interrupted);
            }
        }
        self.decoded(jobs, prepared, latents)
    }

    /// The first latents, and what conditions every step.
    fn start(
        &self,
        jobs: &mut [Job<'_>],
        prepared: &[Prepared],
        scheduler: &dyn Scheduler,
    ) -> Result<(Tensor<4>, Conditions), PipelineError> {
        let model = self.model;
        let scale = model.vae.scale() as u32;
        let (width, height) = prepared[0].size;
        let shape = [1, model.configs.vae.latent_channels, (height / scale) as usize, (width / scale) as usize];
        let full = self.options.strength == 1.0;
        let (mut starts, mut noises, mut masks) = (Vec::new(), Vec::new(), Vec::new());
        let (mut pictures, mut masked) = (Vec::new(), Vec::new());
        for (job, prepared) in jobs.iter_mut().zip(prepared) {
            let tensor = |values: Vec<f32>| Tensor::<4>::from_data(TensorData::new(values, shape), &model.device);
            // In the order of diffusers, so that one stream per picture gives its numbers.
            let picture = (self.four() || (job.latents.is_none() && !full))
                .then(|| self.encoded(&prepared.picture, prepared, tensor(self.draw(job, Draw::Encoder, shape))));
            let noise = match job.latents {
                Some(latents) => tensor(latents.of([shape[1], shape[2], shape[3]])?.to_vec()),
                None => tensor(self.draw(job, Draw::Initial, shape)),
            };
            let sample = self.draw(job, Draw::Encoder, shape);
            if !self.four() {
                masked.push(self.encoded(&prepared.masked_picture(), prepared, tensor(sample)));
            }
            starts.push(match &picture {
                Some(picture) if job.latents.is_none() && !full => {
                    scheduler.add_noise(picture.clone(), noise.clone(), self.first)
                }
                _ => noise.clone().mul_scalar(scheduler.init_noise_sigma()),
            });
            let mask = TensorData::new(prepared.latent_mask(scale), [1, 1, shape[2], shape[3]]);
            masks.push(Tensor::from_data(mask, &model.device));
            noises.push(noise);
            pictures.extend(picture);
        }
        let skip = self.options.clip_skip;
        let prompts: Result<Vec<_>, _> = jobs.iter().map(|job| model.embedding(job.prompt, skip)).collect();
        let negative = match self.guided {
            true => Some(model.embedding(&self.options.negative_prompt, skip)?),
            false => None,
        };
        let conditions = Conditions {
            mask: Tensor::cat(masks, 0),
            masked: (!self.four()).then(|| Tensor::cat(masked, 0)),
            picture: self.four().then(|| Tensor::cat(pictures, 0)),
            noise: Tensor::cat(noises, 0),
            prompts: Tensor::cat(prompts?, 0),
            negative: negative.map(|one| one.repeat_dim(0, jobs.len())),
        };
        Ok((Tensor::cat(starts, 0), conditions))
    }

    /// A sample of a picture's latents.
    fn encoded(&self, values: &[f32], prepared: &Prepared, noise: Tensor<4>) -> Tensor<4> {
        let vae = self.vae(prepared.size);
        let (width, height) = prepared.size;
        let data = TensorData::new(values.to_vec(), [1, 3, height as usize, width as usize]);
        let posterior = vae.encode(Tensor::from_data(data, &self.model.device));
        posterior.sample(noise).mul_scalar(vae.scaling_factor())
    }

    fn vae(&self, size: (u32, u32)) -> crate::sd::Vae {
        let tiling = self.options.tiling
            || memory::needs_tiles(&self.model.configs, self.model.weight_bytes, self.options, size);
        self.model.vae.clone().with_tiling(tiling)
    }

    /// The network's answer, guided away from the negative prompt.
    fn prediction(&self, latents: Tensor<4>, timestep: f64, conditions: &Conditions, size: (u32, u32)) -> Tensor<4> {
        let options = self.options;
        let input = match &conditions.masked {
            Some(masked) => Tensor::cat(vec![latents, conditions.mask.clone(), masked.clone()], 1),
            None => latents,
        };
        let (input, text) = match &conditions.negative {
            Some(negative) => {
                (input.repeat_dim(0, 2), Tensor::cat(vec![negative.clone(), conditions.prompts.clone()], 0))
            }
            None => (input, conditions.prompts.clone()),
        };
        let rows = memory::rows(&self.model.configs, self.model.weight_bytes, options, size);
        let answers = input.split(rows, 0).into_iter().zip(text.split(rows, 0)).map(|(input, text)| {
            self.model.unet.forward(input, timestep, text, options.guidance, options.heads_at_once)
        });
        let answer = Tensor::cat(answers.collect(), 0);
        if conditions.negative.is_none() {
            return answer;
        }
        let [negative, positive]: [Tensor<4>; 2] = answer.chunk(2, 0).try_into().expect("two halves");
        negative.clone() + (positive - negative).mul_scalar(options.guidance)
    }

    fn draw(&self, job: &mut Job<'_>, draw: Draw, [_, channels, height, width]: [usize; 4]) -> Vec<f32> {
        job.noise.normal(draw, channels * height * width)
    }

    /// Pictures of the last latents.
    fn decoded(
        &self,
        jobs: &[Job<'_>],
        prepared: &[Prepared],
        latents: Tensor<4>,
    ) -> Result<Vec<Painted>, PipelineError> {
        let mut painted = Vec::with_capacity(jobs.len());
        for ((job, prepared), latents) in jobs.iter().zip(prepared).zip(latents.split(1, 0)) {
            let vae = self.vae(prepared.size);
            let values = numbers(vae.decode(latents.clone().div_scalar(vae.scaling_factor())));
            if values.iter().any(|value| !value.is_finite()) {
                return Err(PipelineError::NotFinite { step: 0 });
            }
            let raw = prepare::to_picture(&values, prepared.size);
            painted.push(Painted {
                picture: prepared.pasted(job.picture, &raw, self.options),
                raw,
                latents: numbers(latents),
                fit: prepared.fit,
                mask_sha256: mask_sha256(job.mask),
            });
        }
        Ok(painted)
    }
}

fn numbers(tensor: Tensor<4>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().try_into_vec().expect("converted to f32")
}

fn finite(tensor: &Tensor<4>) -> bool {
    numbers(tensor.clone()).iter().all(|value| value.is_finite())
}

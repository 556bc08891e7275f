//! How pictures are painted.

use super::PipelineError;
use crate::sd::{SchedulerConfig, SchedulerKind};

/// How [`StableDiffusionInpaint`](super::StableDiffusionInpaint) paints; the defaults are diffusers' where it has them.
#[derive(Clone, Debug, PartialEq)]
pub struct PaintOptions {
    /// Steps of the scheduler, at least 1. With a strength below 1 only its share of them is run.
    pub steps: usize,
    /// How far the prediction is pushed away from that of the negative prompt (classifier-free guidance, Ho and Salimans
    /// 2022), 0..=100; 1 and below not at all, which halves the time.
    pub guidance: f64,
    /// How much of the masked part is forgotten, above 0 up to 1. Below 1 painting starts from the noised picture.
    pub strength: f64,
    /// The scheduler; the model folder's own if `None`.
    pub scheduler: Option<SchedulerKind>,
    /// Whether the model predicts the velocity, whatever its folder says; `None` for what it says.
    pub v_prediction: Option<bool>,
    /// What not to paint; often empty.
    pub negative_prompt: String,
    /// Lets an empty prompt through.
    pub unconditional: bool,
    /// Last layers of the text encoder to leave out.
    pub clip_skip: usize,
    /// Pixels by which the mask grows to every side, 0..=512.
    pub dilate: u32,
    /// Radius in pixels of the mask's Gaussian blur, 0..=512; 0 for none. The painted part fades into the rest there.
    pub blur: f32,
    /// Cuts out the mask's box and this many pixels around it, scales that up, and pastes the result back
    /// (`padding_mask_crop`).
    pub padding_mask_crop: Option<u32>,
    /// Width and height at which the network works. `None` for the picture's own, padded to a multiple of 8; with
    /// `padding_mask_crop` for the size that the model was trained at.
    pub size: Option<(u32, u32)>,
    /// Whether pixels outside the mask are those of the picture, bit for bit. Otherwise they are what the VAE made of them.
    pub paste: bool,
    /// Whether the VAE works in tiles where a picture is larger than it was trained at.
    pub tiling: bool,
    /// Attention heads that are computed together, 0 for all (attention slicing).
    pub heads_at_once: usize,
    /// Bytes of memory that all may take, weights included: it decides how many pictures are painted together and whether
    /// the VAE works in tiles. `None` for one picture at a time.
    pub memory: Option<u64>,
}

impl Default for PaintOptions {
    fn default() -> Self {
        Self {
            steps: 50,
            guidance: 7.5,
            strength: 1.0,
            scheduler: None,
            v_prediction: None,
            negative_prompt: String::new(),
            unconditional: false,
            clip_skip: 0,
            dilate: 0,
            blur: 0.0,
            padding_mask_crop: None,
            size: None,
            paste: true,
            tiling: false,
            heads_at_once: 0,
            memory: None,
        }
    }
}

impl PaintOptions {
    /// The scheduler and its settings for these options; refuses whatever is out of range.
    pub(super) fn check(&self, config: &SchedulerConfig) -> Result<(SchedulerConfig, SchedulerKind), PipelineError> {
        let refused = |option, found: String, expected| Err(PipelineError::Option { option, found, expected });
        if !(0.0..=100.0).contains(&self.guidance) {
            return refused("guidance", self.guidance.to_string(), "a number from 0 to 100");
        }
        if self.dilate > 512 {
            return refused("dilation", self.dilate.to_string(), "at most 512 pixels");
        }
        if !(0.0..=512.0).contains(&self.blur) {
            return refused("blur", self.blur.to_string(), "a radius from 0 to 512 pixels");
        }
        if self.padding_mask_crop.is_some_and(|padding| padding > 4096) {
            let found = self.padding_mask_crop.unwrap_or_default().to_string();
            return refused("padding around the mask", found, "at most 4096 pixels");
        }
        let kind = match self.scheduler {
            Some(kind) => kind,
            None => config.kind()?,
        };
        let mut config = config.clone().in_pipeline(kind);
        if let Some(v_prediction) = self.v_prediction {
            config = config.with_v_prediction(v_prediction);
        }
        // What is wrong with steps, strength and the folder's settings comes out here.
        config.scheduler(kind, self.steps)?.first_step(self.steps, self.strength)?;
        Ok((config, kind))
    }
}

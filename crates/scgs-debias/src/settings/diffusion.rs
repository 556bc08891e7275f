//! How Stable Diffusion paints: `[synthesis.diffusion]`.

use std::path::PathBuf;

use scgs_diffusion::sd::{LoadOptions, PaintOptions, SchedulerKind, WeightType};
use serde::{Deserialize, Serialize};

use super::Checks;

/// `[synthesis.diffusion]`, for `synthesis.inpainter = stable-diffusion`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiffusionSettings {
    /// A folder in diffusers' layout, or a name ORG/NAME in the cache of Hugging Face's programs.
    pub model: String,
    /// Steps of the scheduler, 1..=1000.
    pub steps: usize,
    /// How strongly the prompt counts, 0..=100; 1 and below switches the negative prompt off and halves the time.
    pub guidance: f64,
    /// How much of the masked part is forgotten, above 0 up to 1.
    pub strength: f64,
    /// `ddim`, `pndm`, `dpmpp-2m`, `euler`, `euler-a` or `lcm`; left out: the model folder's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<String>,
    /// What not to paint.
    pub negative_prompt: String,
    /// What to paint, with `{class}` for the name of the class, in turn for the pictures made from one source; left out:
    /// the prompts of the data set.
    pub prompts: Vec<String>,
    /// Files of LoRAs, merged in this order.
    pub lora: Vec<PathBuf>,
    /// The scale of each LoRA; 1 where it is left out.
    pub lora_scale: Vec<f64>,
    /// Files of learned words (textual inversion).
    pub embeddings: Vec<PathBuf>,
    /// How weights are kept in memory: `f32`, `f16` or `bf16`.
    pub dtype: Dtype,
    /// Pixels by which masks grow, 0..=512.
    pub dilate: u32,
    /// Radius of the masks' blur in pixels, 0..=512.
    pub blur: f32,
    /// Work on the mask's box and this many pixels around it, scaled up to `size`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub padding_crop: Option<u32>,
    /// Width and height at which the model works; left out: the picture's, or with `padding_crop` the model's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<[u32; 2]>,
    /// GiB of memory that painting may take, weights included; left out: one picture at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<f64>,
}

/// How weights are kept in memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// 4 bytes a number.
    #[default]
    F32,
    /// 2 bytes, and the model's fp16 files where there are some.
    F16,
    /// 2 bytes with a larger range.
    Bf16,
}

impl Default for DiffusionSettings {
    fn default() -> Self {
        let paint = PaintOptions::default();
        Self {
            model: String::new(),
            steps: paint.steps,
            guidance: paint.guidance,
            strength: paint.strength,
            scheduler: None,
            negative_prompt: String::new(),
            prompts: Vec::new(),
            lora: Vec::new(),
            lora_scale: Vec::new(),
            embeddings: Vec::new(),
            dtype: Dtype::F32,
            dilate: 0,
            blur: 0.0,
            padding_crop: None,
            size: None,
            memory: None,
        }
    }
}

impl DiffusionSettings {
    /// Whether nothing was set; it then is no part of a run's configuration.
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn check(&self, checks: &mut Checks, used: bool) {
        let kind = self.scheduler.as_deref().map(str::parse::<SchedulerKind>);
        for (holds, key, value, expected) in [
            (!used || !self.model.is_empty(), "synthesis.diffusion.model", "empty".to_owned(), "a model folder"),
            ((1..=1000).contains(&self.steps), "synthesis.diffusion.steps", self.steps.to_string(), "1 to 1000"),
            (
                (0.0..=100.0).contains(&self.guidance),
                "synthesis.diffusion.guidance",
                self.guidance.to_string(),
                "0 to 100",
            ),
            (
                self.strength > 0.0 && self.strength <= 1.0,
                "synthesis.diffusion.strength",
                self.strength.to_string(),
                "above 0, at most 1",
            ),
            (
                kind.is_none_or(|kind| kind.is_ok()),
                "synthesis.diffusion.scheduler",
                self.scheduler.clone().unwrap_or_default(),
                SCHEDULERS,
            ),
            (
                self.lora_scale.len() <= self.lora.len() && self.lora_scale.iter().all(|scale| scale.is_finite()),
                "synthesis.diffusion.lora_scale",
                format!("{:?}", self.lora_scale),
                "a number for each of synthesis.diffusion.lora at most",
            ),
            (self.dilate <= 512, "synthesis.diffusion.dilate", self.dilate.to_string(), "0 to 512"),
            ((0.0..=512.0).contains(&self.blur), "synthesis.diffusion.blur", self.blur.to_string(), "0 to 512"),
            (
                self.memory.is_none_or(|memory| memory > 0.0 && memory < 1e6),
                "synthesis.diffusion.memory",
                self.memory.unwrap_or_default().to_string(),
                "GiB above 0",
            ),
        ] {
            checks.require(holds, key, &value, expected);
        }
    }

    /// What the model is loaded with.
    pub fn load_options(&self) -> LoadOptions {
        let scales = self.lora_scale.iter().copied().chain(std::iter::repeat(1.0));
        LoadOptions {
            weights: match self.dtype {
                Dtype::F32 => WeightType::F32,
                Dtype::F16 => WeightType::F16,
                Dtype::Bf16 => WeightType::BF16,
            },
            loras: self.lora.iter().cloned().zip(scales).collect(),
            embeddings: self.embeddings.iter().map(|path| (path.clone(), None)).collect(),
        }
    }

    /// How it paints. Settings are checked before.
    pub fn paint_options(&self) -> PaintOptions {
        PaintOptions {
            steps: self.steps,
            guidance: self.guidance,
            strength: self.strength,
            scheduler: self.scheduler.as_deref().and_then(|name| name.parse().ok()),
            negative_prompt: self.negative_prompt.clone(),
            dilate: self.dilate,
            blur: self.blur,
            padding_mask_crop: self.padding_crop,
            size: self.size.map(Into::into),
            memory: self.memory.map(|gib| (gib * f64::from(1 << 30)) as u64),
            ..PaintOptions::default()
        }
    }
}

/// The names of the schedulers, as messages list them.
const SCHEDULERS: &str = "ddim, pndm, dpmpp-2m, euler, euler-a, lcm";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_names_every_scheduler() {
        assert_eq!(SchedulerKind::ALL.map(SchedulerKind::name).join(", "), SCHEDULERS);
    }
}

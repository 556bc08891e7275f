//! Stable Diffusion inpainting, equal to diffusers 0.35.

mod attention;
mod config;
mod folder;
mod layers;
mod lora;
#[cfg(test)]
mod parts_tests;
mod pipeline;
mod scheduler;
mod text;
mod textual_inversion;
mod tokenizer;
mod unet;
mod vae;
mod weights;

pub use config::ConfigError;
pub use folder::{FolderError, HubCache, ModelFolder, Variant};
pub use lora::{Lora, LoraError, LoraPart};
pub use pipeline::{
    Draw, Fit, Job, Latents, LoadOptions, Noise, PaintOptions, Painted, PipelineError, PromptTemplates, Region,
    StableDiffusionInpaint, StableDiffusionPainter, Step, TorchNoise, mask_sha256,
};
pub use scheduler::{Prediction, Scheduler, SchedulerConfig, SchedulerError, SchedulerKind};
pub use text::{TextActivation, TextConfig, TextEncoder, TextError};
pub use textual_inversion::{Embedding, EmbeddingError};
pub use tokenizer::{Encoded, Tokenizer, TokenizerError};
pub use unet::{UNet, UNetConfig};
pub use vae::{Posterior, Vae, VaeConfig};
pub use weights::{Part, PartError, Shaped, WeightType, Weights};

//! Stable Diffusion inpainting, equal to diffusers 0.35.

mod folder;
mod lora;
mod scheduler;
mod tokenizer;
mod weights;

pub use folder::{FolderError, HubCache, ModelFolder, Variant};
pub use lora::{Lora, LoraError, LoraPart};
pub use scheduler::{Prediction, Scheduler, SchedulerConfig, SchedulerError, SchedulerKind};
pub use tokenizer::{Encoded, Tokenizer, TokenizerError};
pub use weights::{Part, PartError, Weights};

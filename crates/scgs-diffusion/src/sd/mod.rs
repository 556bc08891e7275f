//! Stable Diffusion inpainting, equal to diffusers 0.35.

mod scheduler;
mod weights;

pub use scheduler::{Prediction, Scheduler, SchedulerConfig, SchedulerError, SchedulerKind};
pub use weights::{Part, PartError, Weights};

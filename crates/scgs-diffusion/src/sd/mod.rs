//! Stable Diffusion inpainting, equal to diffusers 0.35.

mod weights;

pub use weights::{Part, PartError, Weights};

//! Stable Diffusion inpainting, equal to diffusers 0.35.

mod attention;
mod config;
mod layers;
mod unet;
mod vae;
mod weights;

pub use config::ConfigError;
pub use unet::{UNet, UNetConfig};
pub use vae::{Posterior, Vae, VaeConfig};
pub use weights::{Part, PartError, Weights};

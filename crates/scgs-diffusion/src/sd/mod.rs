//! Stable Diffusion inpainting, equal to diffusers 0.35.
//!
//! ```
//! use burn::tensor::Device;
//! use image::{GrayImage, Luma, Rgb, RgbImage};
//! use scgs_diffusion::sd::{
//!     Job, LoadOptions, ModelFolder, PaintOptions, StableDiffusionInpaint, TorchNoise, Variant,
//! };
//!
//! # let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/diffusion/models/sd15");
//! // A folder in diffusers' layout, here a tiny one; loaded once for any number of pictures.
//! let folder = ModelFolder::open(&folder, Variant::Full)?;
//! let model = StableDiffusionInpaint::load(&folder, &LoadOptions::default(), &Device::flex())?;
//!
//! let picture = RgbImage::from_pixel(64, 48, Rgb([200, 30, 30]));
//! let mut mask = GrayImage::new(64, 48); // black = keep
//! (16..40).for_each(|x| (16..40).for_each(|y| mask.put_pixel(x, y, Luma([255])))); // white = repaint
//!
//! let mut noise = TorchNoise::new(7); // as `torch.Generator("cpu").manual_seed(7)`
//! let job = Job { picture: &picture, mask: &mask, prompt: "a bird", latents: None, noise: &mut noise };
//! let options = PaintOptions { steps: 2, ..PaintOptions::default() };
//! let painted = model.paint(&mut [job], &options, &mut |_step| true)?.remove(0);
//! assert_eq!(painted.picture.get_pixel(0, 0), &Rgb([200, 30, 30]));
//! assert_ne!(painted.picture, picture);
//! # Ok::<(), scgs_diffusion::sd::PipelineError>(())
//! ```

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

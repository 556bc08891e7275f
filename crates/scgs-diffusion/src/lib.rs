//! Inpainting: repaint the masked part of a picture.
//!
//! ```
//! use image::{GrayImage, Luma, Rgb, RgbImage};
//! use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
//! use scgs_diffusion::{BackgroundCrop, Inpainter, Request};
//!
//! let picture = RgbImage::from_pixel(32, 32, Rgb([200, 30, 30]));
//! let mut mask = GrayImage::new(32, 32); // black = keep
//! mask.put_pixel(16, 16, Luma([255])); // white = repaint
//! let sea = RgbImage::from_pixel(64, 48, Rgb([20, 60, 180]));
//!
//! let fill = BackgroundCrop::new(vec![sea], 0.0)?;
//! let mut rng = ChaCha8Rng::seed_from_u64(1);
//! let painted = fill.inpaint(&Request { picture: &picture, mask: &mask, prompt: "", class: 0 }, &mut rng)?;
//! assert_eq!(painted.get_pixel(0, 0), &Rgb([200, 30, 30]));
//! assert_eq!(painted.get_pixel(16, 16), &Rgb([20, 60, 180]));
//! # Ok::<(), scgs_diffusion::InpaintError>(())
//! ```
//!
//! [`BackgroundCrop`] is the classical fill: it needs no model and stays as the control that every generator has to
//! beat. [`TeleaFill`] continues what is around the mask. [`CopyPaste`] puts an object of another picture in the place of the
//! old one. [`sd`] is Stable Diffusion, for models in diffusers' layout. [`small`] is a diffusion model that is trained in an hour on two CPU cores. [`quality`] measures what they
//! all paint.
//!
//! # Features
//! None. burn's own features, in your `Cargo.toml`, decide on which devices models can run.

mod background_crop;
mod copy_paste;
mod inpainter;
mod png_text;
pub mod quality;
pub mod sd;
mod seam;
pub mod small;
mod telea;

pub use background_crop::BackgroundCrop;
pub use copy_paste::{CopyPaste, CutOut};
pub use inpainter::{InpaintError, Inpainter, Request};
pub use png_text::save_png_with_text;
pub use telea::{TeleaFill, telea};

/// The example of the README is tested too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

//! A diffusion model small enough to train and to run on two CPU cores: pixels, 64 x 64, one class condition.
//!
//! [`Trainer`] trains it on scenes that it composes on the way, [`SmallDiffusion`] repaints pictures of any size with
//! it. Class 0 is "no object": the background goes on. The classes from 1 on are kinds of objects.
//!
//! The network predicts the velocity (Salimans and Ho 2022) of a cosine process (Nichol and Dhariwal 2021) inside the
//! mask; what is outside is an input and never changes.

mod inpainter;
mod layout;
mod optimiser;
mod parameters;
mod process;
mod scenes;
mod train;
mod unet;
mod weights;

pub use inpainter::{SmallDiffusion, SmallOptions};
pub(crate) use process::normal;
pub use scenes::{Sample, Scenes};
pub use train::{Progress, StepReport, TrainError, Trainer, TrainerConfig};
pub use unet::{Unet, UnetConfig};
pub use weights::SmallWeightsError;

/// Width and height at which the network works.
pub const SIDE: usize = 64;

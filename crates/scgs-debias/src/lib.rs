//! The debiasing method: find a classifier's mistakes, make the pictures it was missing, train it again, and report
//! accuracy per group.
//!
//! ```
//! use scgs_debias::{GroupReport, Spread};
//!
//! // Ten test pictures: class, background, answer.
//! let labels = [0, 0, 0, 0, 0, 1, 1, 1, 1, 1];
//! let backgrounds = [0, 0, 0, 1, 1, 1, 1, 1, 0, 0];
//! let answers = [0, 0, 0, 0, 1, 1, 1, 1, 0, 0];
//! let report = GroupReport::count(2, 2, &labels, &backgrounds, &answers, "test")?;
//! assert_eq!(report.plain(), 0.7);
//! assert_eq!(report.worst_group(), 0.0); // class 1 on background 0
//!
//! let over_seeds = Spread::of(&[0.71, 0.74, 0.68]).expect("three seeds");
//! assert!((over_seeds.mean - 0.71).abs() < 1e-12);
//! # Ok::<(), scgs_debias::Error>(())
//! ```
//!
//! A run is a row of [`stages`], each a function of (inputs, checked [`Settings`], seed, device) that writes one folder
//! of a [`RunFolder`]; [`pipeline::run`] calls them in order. [`Inputs`](stages::Inputs) has no group attribute:
//! only [`stages::evaluate`] and [`diagnostics`] take a `Grouped` data set.
//!
//! # Features
//! None. burn's own features, in your `Cargo.toml`, decide on which devices networks can run.

pub mod arms;
mod context;
pub mod diagnostics;
mod error;
pub mod features;
mod groups;
mod journal;
pub mod lock;
pub mod logistic;
pub mod logs;
pub mod look;
pub mod mask_quality;
pub mod measures;
pub mod memory;
pub mod methods;
pub mod minibatch;
mod object_masks;
pub mod pipeline;
pub mod preflight;
pub mod region;
pub mod requirements;
pub mod results;
mod run_data;
mod run_folder;
pub mod selection;
pub mod settings;
mod shared;
pub mod simulation;
mod space;
pub mod stages;
pub mod sweep;
pub mod trainers;
pub mod training;

pub use context::{Context, Event};
pub use error::Error;
pub use groups::{Group, GroupReport, Spread};
pub use results::Results;
pub use run_data::{Additions, RunData};
pub use run_folder::RunFolder;
pub use settings::Settings;

/// The example of the README is tested too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

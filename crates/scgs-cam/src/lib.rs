//! Where an image classifier looks, and which pixels to repaint because of it.
//!
//! Knows no models, files or network: the rest of the network comes in as a closure, pictures as pixels. An activation
//! and a score give an [`AttentionMap`] ([`attention`]); a map gives a region ([`object_region`]); a region gives the
//! [`Mask`] of the pixels to repaint ([`to_repaint`]).
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use scgs_cam::{CamMethod, MaskRule, Score, attention, object_region};
//!
//! // One picture; a layer of 2 channels and 2 x 2 cells, of which channel 0 fires at the top left.
//! let activation = Tensor::<4>::from_data([[[[9., 1.], [1., 0.]], [[0., 1.], [0., 8.]]]], &Device::flex());
//! // The rest of the network: global average pooling; class k is channel k.
//! let tail = |a: Tensor<4>| a.mean_dim(3).mean_dim(2).flatten::<2>(1, 3);
//!
//! let maps = attention(&CamMethod::LayerCam, activation, &tail, &[Score::Class(0)], (8, 8))?;
//! let map = maps[0].as_ref().expect("something is positive");
//! assert_eq!((map.values[0], map.values[63]), (1.0, 0.0));
//!
//! let region = object_region(map, None, &MaskRule::Quantile { share: 0.25 })?;
//! assert_eq!(region.count(), 16);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Maps equal pytorch-grad-cam's to 1e-4, with one difference: a map in which nothing is positive is `None`, "no
//! attention", not a picture of zeros. Every result depends on its arguments alone, never on the number of threads.
//!
//! # Features
//! None. burn's own features, in your `Cargo.toml`, decide on which devices tensors can live.

mod attention;
mod control;
mod error;
mod grabcut;
mod map;
mod mask;
mod method;
mod quality;
mod repaint;
mod rule;
mod score_cam;
mod weigh;

pub use attention::{attention, attention_linear_head, attention_of_predicted, layer_attention};
pub use control::{random_blob, random_box};
pub use error::{CamError, MaskError};
pub use map::{AttentionMap, average_with_flip, fuse};
pub use mask::Mask;
pub use method::{CamMethod, Epsilon, Score};
pub use quality::{blurred, deletion_auc, energy_inside, insertion_auc, pointing_game};
pub use repaint::{AreaLimits, Repaint, Skipped, to_repaint};
pub use rule::{MaskRule, object_region};
pub use score_cam::{layer_score_cam, score_cam};

/// The example of the README is tested too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

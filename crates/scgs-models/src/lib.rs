//! Image classifiers that equal their reference implementations, and their weights.
//!
//! EfficientNet-Lite0 and ResNet-18/34/50/101 with the reference's tensor names, so that weights go both ways between
//! this crate and PyTorch. A network can be cut after any layer, which is what attention maps need.
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use scgs_models::Architecture;
//!
//! let device = Device::flex();
//! let network = Architecture::ResNet18.init(2, &device);
//! let pictures = Tensor::<4>::zeros([1, 3, 32, 32], &device);
//!
//! let map = network.until("layer3", pictures.clone())?;
//! assert_eq!(map.dims(), [1, 256, 2, 2]);
//! let logits = network.after("layer3", map)?;
//! assert_eq!(logits.to_data(), network.forward(pictures).to_data());
//! # Ok::<(), scgs_models::UnknownLayer>(())
//! ```
//!
//! # Features
//! `flex` adds the faster convolution and normalisation for burn's pure-Rust CPU device, and turns that device on. Without it burn's own
//! operations run on whatever device burn was built with.

mod architecture;
mod conv_norm;
mod efficientnet_lite;
#[cfg(feature = "flex")]
mod fast;
mod initial;
mod layers;
mod names;
mod network;
#[cfg(test)]
mod parity_tests;
mod published;
mod replica;
mod resnet;
#[cfg(test)]
mod tests;
mod weights;

pub use architecture::{Architecture, UnknownArchitecture};
pub use efficientnet_lite::EfficientNetLite0;
pub use layers::{Activation, adaptive_group_norm, attention, batch_norm, conv2d, forward_conv, group_norm};
pub use network::{Network, UnknownLayer, pooled};
pub use published::PublishedWeights;
pub use resnet::ResNet;
pub use weights::{HeadPolicy, LazyTensor, Mismatch, WeightsError, load, open_tensors, save};

/// The example of the README is tested too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

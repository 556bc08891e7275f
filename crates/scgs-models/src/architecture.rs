//! The architectures by name, with what a caller has to know before it has a network.

use std::{fmt, str::FromStr};

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::{Network, efficientnet_lite::EfficientNetLite0, initial, resnet::ResNet};

/// An image classifier with a known reference implementation.
///
/// The names of `Display`, `FromStr` and serde are those of the command line: `efficientnet-lite0`, `resnet18`,
/// `resnet34`, `resnet50`, `resnet101`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Architecture {
    /// EfficientNet-Lite0: EfficientNet-B0 (Tan and Le 2019) without squeeze-and-excitation and with ReLU6; 4.65 M
    /// parameters. Reference: PyPI `efficientnet-lite-pytorch` 0.1.0.
    #[serde(rename = "efficientnet-lite0")]
    EfficientNetLite0,
    /// ResNet-18 (He et al. 2016), 11.7 M parameters. Reference for all four: torchvision 0.24.
    #[serde(rename = "resnet18")]
    ResNet18,
    /// ResNet-34, 21.8 M parameters.
    #[serde(rename = "resnet34")]
    ResNet34,
    /// ResNet-50 in torchvision's variant with the stride in the 3x3 convolution ("v1.5"), 25.6 M parameters.
    #[serde(rename = "resnet50")]
    ResNet50,
    /// ResNet-101 in the same variant, 44.5 M parameters.
    #[serde(rename = "resnet101")]
    ResNet101,
}

impl Architecture {
    /// Every architecture, smallest first.
    pub const ALL: [Self; 5] =
        [Self::EfficientNetLite0, Self::ResNet18, Self::ResNet34, Self::ResNet50, Self::ResNet101];

    /// The name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::EfficientNetLite0 => "efficientnet-lite0",
            Self::ResNet18 => "resnet18",
            Self::ResNet34 => "resnet34",
            Self::ResNet50 => "resnet50",
            Self::ResNet101 => "resnet101",
        }
    }

    /// A network with fresh weights for `classes` classes: [`Self::init_seeded`] with seed 0.
    pub fn init(self, classes: usize, device: &Device) -> Network {
        self.init_seeded(classes, 0, false, device)
    }

    /// A network with fresh weights for `classes` classes, drawn by `seed`.
    ///
    /// The distributions are the reference's: convolutions normal with variance `2 / fan_out` (He et al. 2015, eq. 15),
    /// batch norms one and zero, the last layer uniform in `±1 / sqrt(features)`. Each tensor has its own random stream
    /// derived from the seed and its name, so the weights depend on neither device nor number of threads.
    ///
    /// With `zero_init_residual` the scale of the last batch norm of each residual block starts at zero, so that every
    /// block starts as the identity (Goyal et al. 2017, section 5.1; torchvision's option of the same name).
    /// EfficientNet-Lite0 has no such option and ignores it.
    pub fn init_seeded(self, classes: usize, seed: u64, zero_init_residual: bool, device: &Device) -> Network {
        initial::draw(self.skeleton(classes, device), seed, zero_init_residual)
    }

    /// The network with all convolutions and the last layer zero: for weights that come from elsewhere.
    pub(crate) fn skeleton(self, classes: usize, device: &Device) -> Network {
        match self {
            Self::EfficientNetLite0 => Network::EfficientNetLite0(EfficientNetLite0::new(classes, device)),
            _ => Network::ResNet(ResNet::new(self, classes, device)),
        }
    }

    /// Height and width in pixels of the pictures the published weights were trained on. Every network takes any size
    /// from 1 x 1 on.
    pub fn input_size(self) -> usize {
        224
    }

    /// Channels of the last map, which is also the number of features of the last layer.
    pub fn feature_width(self) -> usize {
        match self {
            Self::EfficientNetLite0 => 1280,
            Self::ResNet18 | Self::ResNet34 => 512,
            Self::ResNet50 | Self::ResNet101 => 2048,
        }
    }

    /// What to subtract from red, green and blue, for pixels in 0..=255.
    pub fn mean(self) -> [f32; 3] {
        match self {
            Self::EfficientNetLite0 => [127.0; 3],
            _ => [0.485 * 255.0, 0.456 * 255.0, 0.406 * 255.0],
        }
    }

    /// What to divide by after [`Self::mean`] was subtracted.
    pub fn std(self) -> [f32; 3] {
        match self {
            Self::EfficientNetLite0 => [128.0; 3],
            _ => [0.229 * 255.0, 0.224 * 255.0, 0.225 * 255.0],
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is no architecture.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no architecture `{0}`; take one of efficientnet-lite0, resnet18, resnet34, resnet50, resnet101")]
pub struct UnknownArchitecture(pub String);

impl FromStr for Architecture {
    type Err = UnknownArchitecture;

    /// # Errors
    /// [`UnknownArchitecture`] with the names that exist.
    fn from_str(name: &str) -> Result<Self, UnknownArchitecture> {
        Self::ALL.into_iter().find(|a| a.name() == name).ok_or_else(|| UnknownArchitecture(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_through_text_and_serde_unchanged() {
        for architecture in Architecture::ALL {
            assert_eq!(architecture.to_string().parse(), Ok(architecture));
            assert_eq!(serde_json::to_string(&architecture).unwrap(), format!("\"{architecture}\""));
        }
        let message = "vgg16".parse::<Architecture>().unwrap_err().to_string();
        assert!(message.contains("`vgg16`"), "{message}");
        for architecture in Architecture::ALL {
            assert!(message.contains(architecture.name()), "{message}");
        }
    }
}

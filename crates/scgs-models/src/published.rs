//! The published weights whose accuracy is known, by name and hash.

use crate::Architecture;

/// A file of ImageNet-1k weights with 1000 classes, as its authors publish it.
///
/// Accuracies are the authors' own, top-1 on the 50,000 validation pictures of ImageNet-1k, one centre crop of
/// 224 x 224. Source: torchvision 0.24, `torchvision.models.ResNet*_Weights`; for EfficientNet-Lite0
/// `datasets/weights/README.md`.
///
/// ```
/// use scgs_models::{Architecture, PublishedWeights};
///
/// let weights = PublishedWeights::ResNet50V1;
/// assert_eq!(weights.file_name(), "resnet50-0676ba61.pth");
/// assert_eq!(weights.architecture(), Architecture::ResNet50);
/// assert_eq!(weights.sha256_prefix(), "0676ba61");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PublishedWeights {
    /// EfficientNet-Lite0; ships with the project as `datasets/weights/efficientnet_lite0.safetensors`. The package it
    /// was converted from states no accuracy; TensorFlow's own weights of the same architecture reach 75.1 %
    /// (github.com/tensorflow/tpu, models/official/efficientnet/lite).
    EfficientNetLite0,
    /// ResNet-18, `IMAGENET1K_V1`: 69.758 %.
    ResNet18V1,
    /// ResNet-34, `IMAGENET1K_V1`: 73.314 %.
    ResNet34V1,
    /// ResNet-50, `IMAGENET1K_V1`: 76.130 %. The one behind `pretrained=True` in the papers on spurious correlations.
    ResNet50V1,
    /// ResNet-50, `IMAGENET1K_V2`, a longer training recipe: 80.858 %.
    ResNet50V2,
    /// ResNet-101, `IMAGENET1K_V1`: 77.374 %.
    ResNet101V1,
    /// ResNet-101, `IMAGENET1K_V2`: 81.886 %.
    ResNet101V2,
}

impl PublishedWeights {
    /// Every one, by architecture from the smallest on, older versions first.
    pub const ALL: [Self; 7] = [
        Self::EfficientNetLite0,
        Self::ResNet18V1,
        Self::ResNet34V1,
        Self::ResNet50V1,
        Self::ResNet50V2,
        Self::ResNet101V1,
        Self::ResNet101V2,
    ];

    /// The name of the file, which for torchvision's ends with [`Self::sha256_prefix`].
    pub fn file_name(self) -> &'static str {
        match self {
            Self::EfficientNetLite0 => "efficientnet_lite0.safetensors",
            Self::ResNet18V1 => "resnet18-f37072fd.pth",
            Self::ResNet34V1 => "resnet34-b627a593.pth",
            Self::ResNet50V1 => "resnet50-0676ba61.pth",
            Self::ResNet50V2 => "resnet50-11ad3fa6.pth",
            Self::ResNet101V1 => "resnet101-63fe2227.pth",
            Self::ResNet101V2 => "resnet101-cd907fc2.pth",
        }
    }

    /// The architecture the weights belong to.
    pub fn architecture(self) -> Architecture {
        match self {
            Self::EfficientNetLite0 => Architecture::EfficientNetLite0,
            Self::ResNet18V1 => Architecture::ResNet18,
            Self::ResNet34V1 => Architecture::ResNet34,
            Self::ResNet50V1 | Self::ResNet50V2 => Architecture::ResNet50,
            Self::ResNet101V1 | Self::ResNet101V2 => Architecture::ResNet101,
        }
    }

    /// The first 8 hexadecimal digits of the file's sha256.
    pub fn sha256_prefix(self) -> &'static str {
        match self {
            Self::EfficientNetLite0 => "ba5021c2",
            Self::ResNet18V1 => "f37072fd",
            Self::ResNet34V1 => "b627a593",
            Self::ResNet50V1 => "0676ba61",
            Self::ResNet50V2 => "11ad3fa6",
            Self::ResNet101V1 => "63fe2227",
            Self::ResNet101V2 => "cd907fc2",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// What `cargo xtask download weights-..` gets, and what ships, is what is named here.
    #[test]
    fn each_is_in_the_list_of_its_download_or_ships() {
        let datasets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets");
        for weights in PublishedWeights::ALL {
            let (name, prefix) = (weights.file_name(), weights.sha256_prefix());
            if weights == PublishedWeights::EfficientNetLite0 {
                let readme = fs_err::read_to_string(datasets.join("weights/README.md")).unwrap();
                assert!(datasets.join("weights").join(name).exists());
                assert!(readme.contains(&format!("| sha256 | `{prefix}")), "{name}");
                continue;
            }
            let list = datasets.join(format!("sources/weights-{}.toml", weights.architecture()));
            let list = fs_err::read_to_string(list).unwrap();
            assert!(list.contains(&format!("name = \"{name}\"")), "{name}");
            assert!(list.contains(&format!("sha256 = \"{prefix}")), "{name}");
            assert_eq!(name, format!("{}-{prefix}.pth", weights.architecture()));
        }
    }
}

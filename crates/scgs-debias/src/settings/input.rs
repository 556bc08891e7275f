//! How pictures are read, and by which network: `[data]` and `[backbone]`.

use scgs_models::Architecture;
use serde::{Deserialize, Serialize};

use super::Checks;

/// `[data]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataSettings {
    /// How many unreadable pictures may be left out of a run (they are listed by id and reason).
    pub max_bad_pictures: usize,
}

/// `[backbone]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BackboneSettings {
    /// The architecture.
    pub architecture: Architecture,
    /// `imagenet` (the file in `datasets/weights`), `none` (random, seeded), or a path to `.safetensors` or `.pth`.
    pub weights: String,
    /// Side of the square input in pixels, 32..=512.
    pub input_size: usize,
}

impl Default for BackboneSettings {
    fn default() -> Self {
        Self { architecture: Architecture::EfficientNetLite0, weights: "imagenet".into(), input_size: 224 }
    }
}

impl BackboneSettings {
    pub(super) fn check(&self, checks: &mut Checks) {
        checks.require((32..=512).contains(&self.input_size), "backbone.input_size", &self.input_size, "32 to 512");
    }
}

//! What is painted, and how often: `[synthesis]`.

use serde::{Deserialize, Serialize};

use super::{Checks, positive};

/// `[synthesis]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SynthesisSettings {
    /// New pictures as a share of the real training set, above 0, up to 10; split equally over the classes.
    pub share: f64,
    /// Width of the soft seam: sigma in pixels, 0..=32.
    pub feather: f32,
}

impl Default for SynthesisSettings {
    fn default() -> Self {
        Self { share: 0.5, feather: 1.5 }
    }
}

impl SynthesisSettings {
    pub(super) fn check(&self, checks: &mut Checks) {
        checks.require(
            positive(self.share) && self.share <= 10.0,
            "synthesis.share",
            &self.share,
            "above 0, at most 10",
        );
        checks.require((0.0..=32.0).contains(&self.feather), "synthesis.feather", &self.feather, "0 to 32");
    }
}

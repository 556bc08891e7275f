//! What is painted, and how often: `[synthesis]`.

use serde::{Deserialize, Serialize};

use super::{Checks, DiffusionSettings, positive};

/// `[synthesis]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SynthesisSettings {
    /// New pictures as a share of the real training set, above 0, up to 10; split equally over the classes.
    pub share: f64,
    /// Share of the added pictures that are repeated mistakes instead of new pictures, 0 up to, not including, 1.
    pub duplicates: f64,
    /// What paints.
    pub inpainter: InpainterKind,
    /// The most sources per class where they are drawn (`mask.repaint = swap`, control `scgs-random-source`), at least 1.
    pub sources: usize,
    /// Objects per class that `copy-paste` cuts out of training pictures, at least 1.
    pub objects: usize,
    /// Width of the soft seam: sigma in pixels, 0..=32.
    pub feather: f32,
    /// How Stable Diffusion paints.
    #[serde(skip_serializing_if = "DiffusionSettings::is_default")]
    pub diffusion: DiffusionSettings,
}

impl Default for SynthesisSettings {
    fn default() -> Self {
        Self {
            share: 0.5,
            duplicates: 0.0,
            inpainter: InpainterKind::BackgroundCrop,
            sources: 150,
            objects: 60,
            feather: 1.5,
            diffusion: DiffusionSettings::default(),
        }
    }
}

/// What paints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InpainterKind {
    /// A crop of a picture without objects.
    BackgroundCrop,
    /// The same, then an object of the wanted class, cut out of another training picture.
    CopyPaste,
    /// A Stable Diffusion model, by the prompt of the wanted class (`synthesis.diffusion`).
    StableDiffusion,
}

impl InpainterKind {
    /// Whether it can paint a picture of a class without one to start from.
    pub fn paints_pictures(self) -> bool {
        match self {
            Self::BackgroundCrop | Self::CopyPaste => false,
            Self::StableDiffusion => true,
        }
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
        checks.require(
            (0.0..1.0).contains(&self.duplicates),
            "synthesis.duplicates",
            &self.duplicates,
            "0 up to, not including, 1",
        );
        checks.require(self.sources > 0, "synthesis.sources", &self.sources, "at least 1");
        checks.require(self.objects > 0, "synthesis.objects", &self.objects, "at least 1");
        checks.require((0.0..=32.0).contains(&self.feather), "synthesis.feather", &self.feather, "0 to 32");
        self.diffusion.check(checks, self.inpainter == InpainterKind::StableDiffusion);
    }
}

//! What is painted, how often, and which of it is kept: `[synthesis]`.

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
    /// What removes the old object before `copy-paste` puts a new one there, and for `scgs-context-only`.
    pub fill: FillKind,
    /// The most sources per class where they are drawn (`mask.repaint = swap`, control `scgs-random-source`), at least 1.
    pub sources: usize,
    /// Objects per class that `copy-paste` cuts out of training pictures, at least 1.
    pub objects: usize,
    /// Width of the soft seam: sigma in pixels, 0..=32.
    pub feather: f32,
    /// The small diffusion model.
    pub small: SmallSettings,
    /// Which new pictures are dropped.
    pub filter: FilterSettings,
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
            fill: FillKind::BackgroundCrop,
            sources: 150,
            objects: 60,
            feather: 1.5,
            small: SmallSettings::default(),
            filter: FilterSettings::default(),
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
    /// `synthesis.fill` in the object's place, then an object of the wanted class, cut out of another training picture.
    CopyPaste,
    /// The small diffusion model: an object of the wanted class with what is around it.
    SmallDiffusion,
    /// A Stable Diffusion model, by the prompt of the wanted class (`synthesis.diffusion`).
    StableDiffusion,
}

impl InpainterKind {
    /// Whether it can paint a picture of a class without one to start from.
    pub fn paints_pictures(self) -> bool {
        match self {
            Self::BackgroundCrop | Self::CopyPaste => false,
            Self::SmallDiffusion => true,
            Self::StableDiffusion => true,
        }
    }
}

/// What takes the place of an object that is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FillKind {
    /// A crop of a picture without objects.
    BackgroundCrop,
    /// What is around the object goes on, by the method of Telea (2004): no model and no pictures are needed.
    Telea,
    /// What is around the object goes on, painted by the small diffusion model.
    SmallDiffusion,
}

/// `[synthesis.small]`: the small diffusion model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SmallSettings {
    /// A file of `scgs train-inpainter`, or `habitat`: the weights that ship for the embedded data set.
    pub weights: String,
    /// Sampling steps, 1 to 1000.
    pub steps: usize,
    /// How far the wanted class is pushed away from "no object", 0 to 20; 1 not at all.
    pub guidance: f32,
}

impl Default for SmallSettings {
    fn default() -> Self {
        Self { weights: "habitat".into(), steps: 10, guidance: 2.0 }
    }
}

/// `[synthesis.filter]`: which new pictures are dropped. Everything is off by default. Kept pictures of the same class are
/// taken again in the place of dropped ones, so that every arm adds the same number.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FilterSettings {
    /// Drops a picture that the ERM classifier answers wrongly with at least this probability, above 0, at most 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confident_error: Option<f64>,
    /// Drops a picture whose repainted part changed by less: mean absolute difference, 0..=1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unchanged: Option<f64>,
    /// Drops a picture that is closer to an earlier one of its class: mean absolute difference of both at 16 x 16 pixels,
    /// 0..=1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicate: Option<f64>,
}

impl SynthesisSettings {
    /// Whether the settings, for a run that removes objects or not, ask for the small diffusion model.
    pub fn needs_small_model(&self) -> bool {
        self.inpainter == InpainterKind::SmallDiffusion || self.fill == FillKind::SmallDiffusion
    }

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
        let small = &self.small;
        checks.require((1..=1000).contains(&small.steps), "synthesis.small.steps", &small.steps, "1 to 1000");
        checks.require((0.0..=20.0).contains(&small.guidance), "synthesis.small.guidance", &small.guidance, "0 to 20");
        let filter = &self.filter;
        for (key, value) in [
            ("synthesis.filter.confident_error", filter.confident_error),
            ("synthesis.filter.unchanged", filter.unchanged),
            ("synthesis.filter.duplicate", filter.duplicate),
        ] {
            if let Some(value) = value {
                checks.require(value > 0.0 && value <= 1.0, key, &value, "above 0, at most 1");
            }
        }
        self.diffusion.check(checks, self.inpainter == InpainterKind::StableDiffusion);
    }
}

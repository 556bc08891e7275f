//! Where the classifier looks, and which part of a picture is repainted: `[attention]` and `[mask]`.

use std::path::PathBuf;

use scgs_cam::{MaskRule, Repaint};
use serde::{Deserialize, Serialize};

use super::Checks;
use crate::{
    look::{INPUT_SIZES, Look},
    region::{Region, Tidy},
};

/// `[mask]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MaskSettings {
    /// How an attention map becomes a region.
    pub region: MaskRule,
    /// Steps after the rule, in order: `largest`, `fill`, `dilateN`, `openN`.
    pub tidy: Vec<Tidy>,
    /// Which side of the region is repainted.
    pub repaint: Repaint,
    /// Smallest repainted share of a picture that is accepted, 0..1.
    pub min_area: f64,
    /// Largest repainted share of a picture that is accepted, 0..=1.
    pub max_area: f64,
    /// The shape of the random masks of the control.
    pub control: ControlShape,
    /// A folder of your own masks, `<id>.png` of the picture's size, white = repaint, used instead of attention. A
    /// picture without one is skipped. The files are read once per run: give changed masks another folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
}

/// The shape of a random mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ControlShape {
    /// A rectangle.
    Box,
    /// A connected region with an irregular border.
    Blob,
}

impl Default for MaskSettings {
    fn default() -> Self {
        Self {
            region: MaskRule::default(),
            tidy: Vec::new(),
            repaint: Repaint::Complement,
            min_area: 0.02,
            max_area: 0.98,
            control: ControlShape::Box,
            folder: None,
        }
    }
}

impl Look {
    pub(super) fn check(&self, checks: &mut Checks) {
        checks.require(!self.layers.is_empty(), "attention.layers", &"empty", "at least one layer, or `last`");
        let size = self.input_size.unwrap_or(*INPUT_SIZES.start());
        checks.require(INPUT_SIZES.contains(&size), "attention.input_size", &size, "32 to 512");
    }
}

impl MaskSettings {
    /// The rule with its steps.
    pub fn region(&self) -> Region {
        Region { rule: self.region, tidy: self.tidy.clone() }
    }

    pub(super) fn check(&self, checks: &mut Checks) {
        checks.require(
            (0.0..1.0).contains(&self.min_area),
            "mask.min_area",
            &self.min_area,
            "0 up to, not including, 1",
        );
        checks.require(
            self.max_area > self.min_area && self.max_area <= 1.0,
            "mask.max_area",
            &self.max_area,
            "above mask.min_area, at most 1",
        );
    }
}

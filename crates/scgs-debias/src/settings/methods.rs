//! Parameters of the debiasing methods, one section each. The defaults are those the papers use for Waterbirds where
//! they carry over to frozen features; `docs/methods` has the published presets per data set.

use serde::{Deserialize, Serialize};

use super::{Checks, positive};

/// `[jtt]`: Just Train Twice (Liu et al. 2021).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JttSettings {
    /// How often each picture of the error set occurs in training (lambda of Liu et al. 2021), at least 1.
    pub upweight: usize,
}

impl Default for JttSettings {
    fn default() -> Self {
        Self { upweight: 20 }
    }
}

/// `[groupdro]`: group DRO (Sagawa et al. 2020).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GroupDroSettings {
    /// Step size of the group weights (eta_q), above 0.
    pub step: f64,
    /// Generalisation adjustment C, 0 or more.
    pub adjustment: f64,
}

impl Default for GroupDroSettings {
    fn default() -> Self {
        Self { step: 0.01, adjustment: 0.0 }
    }
}

/// `[cvar_dro]`: conditional value at risk (Levy et al. 2020).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CvarDroSettings {
    /// Share of the examples of a batch that counts, above 0, at most 1.
    pub alpha: f64,
}

impl Default for CvarDroSettings {
    fn default() -> Self {
        Self { alpha: 0.2 }
    }
}

/// What DFR fits the last layer on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DfrSplit {
    /// The validation split (DFR-val): the model then has no split left to be selected on without bias.
    Val,
    /// The training split (DFR-train).
    Train,
}

/// The norm that regularises DFR's last layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Penalty {
    /// Absolute values, as in the paper.
    L1,
    /// Squares.
    L2,
}

/// `[dfr]`: deep feature reweighting (Kirichenko et al. 2023).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DfrSettings {
    /// `val` or `train`.
    pub split: DfrSplit,
    /// `l1` (the paper) or `l2`.
    pub penalty: Penalty,
    /// Inverse strength of the penalty on standardised features, above 0; the paper searches 1, 0.7, 0.3, 0.1, 0.07,
    /// 0.03, 0.01.
    pub c: f64,
    /// Fits on different balanced subsets that are averaged, 1 to 100.
    pub fits: usize,
}

impl Default for DfrSettings {
    fn default() -> Self {
        Self { split: DfrSplit::Val, penalty: Penalty::L1, c: 0.1, fits: 10 }
    }
}

/// `[afr]`: automatic feature reweighting (Qiu et al. 2023).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AfrSettings {
    /// Share of the training split that is kept for the second stage, between 0 and 1.
    pub held_out: f64,
    /// How strongly difficulty counts, 0 or more.
    pub gamma: f64,
    /// Strength of the pull to the first stage's last layer, 0 or more.
    pub lambda: f64,
    /// Full-batch steps of the second stage, 1 to 100000.
    pub epochs: usize,
    /// Their learning rate, above 0.
    pub learning_rate: f64,
}

impl Default for AfrSettings {
    fn default() -> Self {
        Self { held_out: 0.2, gamma: 10.0, lambda: 0.0, epochs: 500, learning_rate: 0.01 }
    }
}

/// `[lff]`: learning from failure (Nam et al. 2020).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LffSettings {
    /// Exponent of the generalised cross-entropy, above 0, at most 1.
    pub q: f64,
    /// Decay of the moving averages of the losses, 0 up to 1.
    pub average: f64,
}

impl Default for LffSettings {
    fn default() -> Self {
        Self { q: 0.7, average: 0.7 }
    }
}

/// `[mixup]` and `[cutmix]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MixSettings {
    /// Both parameters of the Beta distribution of the shares, above 0.
    pub alpha: f64,
}

impl Default for MixSettings {
    fn default() -> Self {
        Self { alpha: 1.0 }
    }
}

/// How LISA mixes two pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LisaMix {
    /// By a weighted mean.
    Mixup,
    /// By a rectangle, as its authors do on CelebA and MetaShift; needs `train.mode = full`.
    Cutmix,
}

/// `[lisa]`: LISA (Yao et al. 2022).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LisaSettings {
    /// Both parameters of the Beta distribution of the shares, above 0.
    pub alpha: f64,
    /// Probability that a batch is mixed within classes and across domains, 0 to 1; else within domains.
    pub same_label: f64,
    /// `mixup` or `cutmix`.
    pub mix: LisaMix,
}

impl Default for LisaSettings {
    fn default() -> Self {
        Self { alpha: 2.0, same_label: 0.5, mix: LisaMix::Mixup }
    }
}

/// `[masktune]`: MaskTune (Asgari et al. 2022).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MasktuneSettings {
    /// Attention above mean + so many standard deviations is blackened, above 0.
    pub sigmas: f64,
    /// Learning rate of the masked epoch, above 0.
    pub learning_rate: f64,
}

impl Default for MasktuneSettings {
    fn default() -> Self {
        Self { sigmas: 2.0, learning_rate: 1e-3 }
    }
}

/// `[cnc]`: Correct-n-Contrast (Zhang et al. 2022).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CncSettings {
    /// Positives, and negatives, per anchor, 1 to 1000.
    pub samples: usize,
    /// Temperature, above 0.
    pub temperature: f64,
    /// Share of the contrastive loss, 0 to 1.
    pub weight: f64,
}

impl Default for CncSettings {
    fn default() -> Self {
        Self { samples: 17, temperature: 0.1, weight: 0.75 }
    }
}

/// `[pretrain]`: new pictures first, real ones after (Qraitem et al. 2024).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PretrainSettings {
    /// Share of the steps that goes to the new pictures, between 0 and 1.
    pub share: f64,
}

impl Default for PretrainSettings {
    fn default() -> Self {
        Self { share: 0.5 }
    }
}

/// Checks every section of this file.
pub(super) fn check(s: &super::Settings, checks: &mut Checks) {
    let above = "a number above 0";
    let share = |v: f64| v > 0.0 && v < 1.0;
    let not_negative = |v: f64| v >= 0.0 && v.is_finite();
    checks.require((1..=1_000_000).contains(&s.jtt.upweight), "jtt.upweight", &s.jtt.upweight, "1 to 1000000");
    checks.require(positive(s.groupdro.step), "groupdro.step", &s.groupdro.step, above);
    let g = &s.groupdro;
    checks.require(not_negative(g.adjustment), "groupdro.adjustment", &g.adjustment, "0 or more");
    let alpha = s.cvar_dro.alpha;
    checks.require(alpha > 0.0 && alpha <= 1.0, "cvar_dro.alpha", &alpha, "above 0, at most 1");
    checks.require(positive(s.dfr.c), "dfr.c", &s.dfr.c, above);
    checks.require((1..=100).contains(&s.dfr.fits), "dfr.fits", &s.dfr.fits, "1 to 100");
    let a = &s.afr;
    checks.require(share(a.held_out), "afr.held_out", &a.held_out, "between 0 and 1");
    checks.require(not_negative(a.gamma), "afr.gamma", &a.gamma, "0 or more");
    checks.require(not_negative(a.lambda), "afr.lambda", &a.lambda, "0 or more");
    checks.require((1..=100_000).contains(&a.epochs), "afr.epochs", &a.epochs, "1 to 100000");
    checks.require(positive(a.learning_rate), "afr.learning_rate", &a.learning_rate, above);
    checks.require(s.lff.q > 0.0 && s.lff.q <= 1.0, "lff.q", &s.lff.q, "above 0, at most 1");
    checks.require((0.0..1.0).contains(&s.lff.average), "lff.average", &s.lff.average, "0 up to, not including, 1");
    checks.require(positive(s.mixup.alpha), "mixup.alpha", &s.mixup.alpha, above);
    checks.require(positive(s.cutmix.alpha), "cutmix.alpha", &s.cutmix.alpha, above);
    checks.require(positive(s.lisa.alpha), "lisa.alpha", &s.lisa.alpha, above);
    checks.require((0.0..=1.0).contains(&s.lisa.same_label), "lisa.same_label", &s.lisa.same_label, "0 to 1");
    let m = &s.masktune;
    checks.require(positive(m.sigmas), "masktune.sigmas", &m.sigmas, above);
    checks.require(positive(m.learning_rate), "masktune.learning_rate", &m.learning_rate, above);
    let c = &s.cnc;
    checks.require((1..=1000).contains(&c.samples), "cnc.samples", &c.samples, "1 to 1000");
    checks.require(positive(c.temperature), "cnc.temperature", &c.temperature, above);
    checks.require((0.0..=1.0).contains(&c.weight), "cnc.weight", &c.weight, "0 to 1");
    checks.require(share(s.pretrain.share), "pretrain.share", &s.pretrain.share, "between 0 and 1");
}

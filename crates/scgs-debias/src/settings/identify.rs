//! Which pictures count as mistakes and how they are grouped: `[identify]` and `[cluster]`.

use scgs_cluster::PickOrder;
use serde::{Deserialize, Serialize};

use super::{Checks, positive};

/// Which training pictures count as mistakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdentifyRule {
    /// Training errors of a classifier stopped after `identify.epoch` epochs (JTT, Liu et al. 2021).
    EarlyEpoch,
    /// Errors of k-fold held-out predictions of a head on the ERM features.
    HeldOut,
    /// The same on features of the background: the mean over the half of the last map's cells with the lowest norm.
    Background,
}

impl IdentifyRule {
    /// The name used in configuration files.
    pub fn name(self) -> &'static str {
        match self {
            Self::EarlyEpoch => "early-epoch",
            Self::HeldOut => "held-out",
            Self::Background => "background",
        }
    }

    /// The settings that change what the rule finds, for messages.
    pub fn settings(self) -> &'static str {
        match self {
            Self::EarlyEpoch => {
                "identify.rule (background finds most), identify.epoch (lower) or identify.learning_rate (lower)"
            }
            Self::HeldOut => "identify.rule (background finds most), identify.c (lower) or identify.folds",
            Self::Background => "identify.c (lower) or identify.folds",
        }
    }
}

/// `[identify]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IdentifySettings {
    /// `early-epoch`, `held-out` or `background`.
    pub rule: IdentifyRule,
    /// Folds of the held-out rules, 2..=20; stratified by class.
    pub folds: usize,
    /// Inverse L2 strength of the held-out heads, above 0.
    pub c: f64,
    /// Epochs of the early-stopped classifier (rule `early-epoch`): a head on the ERM features, in mode `full` a network
    /// from the starting weights, as in JTT.
    pub epoch: usize,
    /// Its learning rate, which stays the same.
    pub learning_rate: f64,
    /// Its weight decay, 0 or more.
    pub weight_decay: f64,
}

impl Default for IdentifySettings {
    fn default() -> Self {
        Self { rule: IdentifyRule::Background, folds: 5, c: 1e-3, epoch: 1, learning_rate: 1e-4, weight_decay: 0.0 }
    }
}

/// How many clusters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ClusterCount {
    /// So many.
    Fixed(usize),
    /// As many as give the highest silhouette.
    Chosen(Auto),
}

/// The word `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Auto {
    /// `auto`
    Auto,
}

/// `[cluster]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClusterSettings {
    /// Clusters per class, or `auto`: by silhouette; a class with fewer mistakes gets as many clusters as mistakes.
    pub k: ClusterCount,
    /// Restarts of k-means.
    pub n_init: usize,
    /// Whether features are scaled to length 1 first.
    pub l2_normalise: bool,
    /// Principal components to keep; 0 keeps the features as they are.
    pub pca: usize,
    /// Which members of a cluster are picked first: `uniform` (at random) or `nearest-to-centre`.
    pub order: PickOrder,
}

impl Default for ClusterSettings {
    fn default() -> Self {
        Self { k: ClusterCount::Fixed(3), n_init: 10, l2_normalise: false, pca: 0, order: PickOrder::Uniform }
    }
}

impl IdentifySettings {
    pub(super) fn check(&self, checks: &mut Checks) {
        checks.require((2..=20).contains(&self.folds), "identify.folds", &self.folds, "2 to 20");
        checks.require(positive(self.c), "identify.c", &self.c, "a number above 0");
        checks.require((1..=10_000).contains(&self.epoch), "identify.epoch", &self.epoch, "1 to 10000");
        checks.require(positive(self.learning_rate), "identify.learning_rate", &self.learning_rate, "a number above 0");
        let decay = self.weight_decay;
        checks.require(decay >= 0.0 && decay.is_finite(), "identify.weight_decay", &decay, "0 or more");
    }
}

impl ClusterSettings {
    pub(super) fn check(&self, checks: &mut Checks) {
        if let ClusterCount::Fixed(k) = self.k {
            checks.require((1..=1000).contains(&k), "cluster.k", &k, "1 to 1000, or auto");
        }
        checks.require((1..=1000).contains(&self.n_init), "cluster.n_init", &self.n_init, "1 to 1000");
    }
}

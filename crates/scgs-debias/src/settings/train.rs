//! How every arm is trained: `[train]` and `[jtt]`.

use serde::{Deserialize, Serialize};

use super::{Checks, positive};

/// What is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrainMode {
    /// The last layer on frozen features, solved to convergence.
    Head,
    /// Every parameter, by mini-batches.
    Full,
}

/// `[train]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainSettings {
    /// `head` or `full`.
    pub mode: TrainMode,
    /// Inverse L2 strength of the head's logistic regression on standardised features (scikit-learn's `C`), above 0.
    pub c: f64,
    /// Passes over the real training set that fix the number of mini-batch steps of every arm (mode `full`).
    pub epochs: usize,
    /// Pictures per step (mode `full`).
    pub batch: usize,
    /// Peak learning rate of SGD with momentum 0.9 and a cosine schedule (mode `full`).
    pub learning_rate: f64,
    /// Weight decay as in PyTorch's SGD (mode `full`).
    pub weight_decay: f64,
}

impl Default for TrainSettings {
    fn default() -> Self {
        Self { mode: TrainMode::Head, c: 1e-3, epochs: 10, batch: 32, learning_rate: 1e-3, weight_decay: 1e-4 }
    }
}

/// `[jtt]`
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

impl TrainSettings {
    pub(super) fn check(&self, checks: &mut Checks) {
        checks.require(positive(self.c), "train.c", &self.c, "a number above 0");
        checks.require((1..=10_000).contains(&self.epochs), "train.epochs", &self.epochs, "1 to 10000");
        checks.require((1..=4096).contains(&self.batch), "train.batch", &self.batch, "1 to 4096");
        checks.require(positive(self.learning_rate), "train.learning_rate", &self.learning_rate, "a number above 0");
        checks.require(
            self.weight_decay >= 0.0 && self.weight_decay.is_finite(),
            "train.weight_decay",
            &self.weight_decay,
            "0 or more",
        );
    }
}

impl JttSettings {
    pub(super) fn check(&self, checks: &mut Checks) {
        checks.require((1..=1_000_000).contains(&self.upweight), "jtt.upweight", &self.upweight, "1 to 1000000");
    }
}

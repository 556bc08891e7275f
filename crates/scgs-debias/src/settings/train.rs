//! How every arm is trained: `[train]`.

use serde::{Deserialize, Serialize};

use super::{Checks, positive};
use crate::{
    minibatch::{Decay, OptimiserKind},
    selection::Criterion,
};

/// What is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrainMode {
    /// The last layer on frozen features, solved to convergence where the method has a unique solution.
    Head,
    /// Every parameter, by mini-batches.
    Full,
}

/// How training pictures are changed at random.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Augment {
    /// Not at all.
    #[default]
    None,
    /// Mirrored in half of the cases.
    Flip,
    /// A box of the picture scaled to the input, mirrored in half of the cases.
    CropFlip,
}

/// `[train.head]`: mini-batches on frozen features (mode `head`), for methods without a unique solution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HeadSettings {
    /// Passes over the real training set that fix the number of steps, 1 to 10000.
    pub epochs: usize,
    /// Examples per step, 1 to 4096.
    pub batch: usize,
    /// Peak learning rate on standardised features, above 0.
    pub learning_rate: f64,
}

impl Default for HeadSettings {
    fn default() -> Self {
        Self { epochs: 20, batch: 32, learning_rate: 0.01 }
    }
}

/// `[train]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainSettings {
    /// `head` or `full`.
    pub mode: TrainMode,
    /// Inverse L2 strength of the head's logistic regression on standardised features (scikit-learn's `C`), above 0.
    /// Mini-batches on frozen features are pulled to 0 with the same strength.
    pub c: f64,
    /// Passes over the real training set that fix the number of mini-batch steps of every arm (mode `full`).
    pub epochs: usize,
    /// Pictures per step (mode `full`).
    pub batch: usize,
    /// Peak learning rate (mode `full`).
    pub learning_rate: f64,
    /// Weight decay as in PyTorch: coupled for SGD, decoupled for AdamW (mode `full`).
    pub weight_decay: f64,
    /// `sgd` or `adamw`.
    pub optimiser: OptimiserKind,
    /// Momentum of SGD, 0 up to 1.
    pub momentum: f64,
    /// `constant`, `step` (times 0.1 after each third) or `cosine`.
    pub schedule: Decay,
    /// Steps in which the rate rises to its peak.
    pub warmup: usize,
    /// Largest norm of the gradient over all parameters; 0 turns clipping off.
    pub clip: f64,
    /// Batches per update, at least 1.
    pub accumulate: usize,
    /// Label smoothing, 0 up to 1.
    pub smoothing: f64,
    /// Decay of the exponential moving average of the parameters, 0 up to 1; 0 turns it off.
    pub average: f64,
    /// How training pictures are changed at random, in every visit anew (mode `full`): `none`; `flip`, mirrored in half of the
    /// cases; `crop-flip`, also a box of 70 to 100 % of the area with an aspect of 3:4 to 4:3, scaled to the input, as
    /// group DRO's code does for Waterbirds. Such pictures do not come from a packed cache.
    pub augment: Augment,
    /// Layers that are not trained (mode `full`), such as `stem` or `layer1`.
    pub freeze: Vec<String>,
    /// Epochs without a better model by `train.selection` after which training stops; 0 never stops early.
    pub patience: usize,
    /// Recompute activations in the backward pass instead of keeping them (mode `full`): less memory, more time.
    pub checkpointing: bool,
    /// Which epoch's model is reported: `last`, `average`, `worst-class`, or `worst-group` (sees group labels of the
    /// validation split). Every criterion's choice is reported beside it.
    pub selection: Criterion,
    /// Multiple of the steps that `erm-long` takes, 1 to 100.
    pub long: f64,
    /// Mini-batches on frozen features.
    pub head: HeadSettings,
}

impl Default for TrainSettings {
    fn default() -> Self {
        Self {
            mode: TrainMode::Head,
            c: 1e-3,
            epochs: 10,
            batch: 32,
            learning_rate: 1e-3,
            weight_decay: 1e-4,
            optimiser: OptimiserKind::Sgd,
            momentum: 0.9,
            schedule: Decay::Cosine,
            warmup: 0,
            clip: 0.0,
            accumulate: 1,
            smoothing: 0.0,
            average: 0.0,
            augment: Augment::None,
            freeze: Vec::new(),
            patience: 0,
            checkpointing: false,
            selection: Criterion::Last,
            long: 2.0,
            head: HeadSettings::default(),
        }
    }
}

impl TrainSettings {
    pub(super) fn check(&self, checks: &mut Checks) {
        let above = "a number above 0";
        let not_negative = |v: f64| v >= 0.0 && v.is_finite();
        let share = "0 up to, not including, 1";
        checks.require(positive(self.c), "train.c", &self.c, above);
        checks.require((1..=10_000).contains(&self.epochs), "train.epochs", &self.epochs, "1 to 10000");
        checks.require((1..=4096).contains(&self.batch), "train.batch", &self.batch, "1 to 4096");
        checks.require(positive(self.learning_rate), "train.learning_rate", &self.learning_rate, above);
        let decay = self.weight_decay;
        checks.require(not_negative(decay), "train.weight_decay", &decay, "0 or more");
        checks.require((0.0..1.0).contains(&self.momentum), "train.momentum", &self.momentum, share);
        checks.require(self.warmup <= 1_000_000, "train.warmup", &self.warmup, "0 to 1000000");
        checks.require(not_negative(self.clip), "train.clip", &self.clip, "0 (off) or more");
        checks.require((1..=1000).contains(&self.accumulate), "train.accumulate", &self.accumulate, "1 to 1000");
        checks.require((0.0..1.0).contains(&self.smoothing), "train.smoothing", &self.smoothing, share);
        checks.require((0.0..1.0).contains(&self.average), "train.average", &self.average, share);
        let augmented = match self.augment {
            Augment::None => "none",
            Augment::Flip => "flip",
            Augment::CropFlip => "crop-flip",
        };
        let possible = self.augment == Augment::None || self.mode == TrainMode::Full;
        checks.require(possible, "train.augment", &augmented, "none in mode head, whose features are computed once");
        checks.require((1.0..=100.0).contains(&self.long), "train.long", &self.long, "1 to 100");
        let h = &self.head;
        checks.require((1..=10_000).contains(&h.epochs), "train.head.epochs", &h.epochs, "1 to 10000");
        checks.require((1..=4096).contains(&h.batch), "train.head.batch", &h.batch, "1 to 4096");
        checks.require(positive(h.learning_rate), "train.head.learning_rate", &h.learning_rate, above);
    }
}

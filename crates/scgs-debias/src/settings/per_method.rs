//! `[methods.<name>]`: what one method is trained with instead of `[train]`, for papers that publish a learning rate or a
//! weight decay for their method alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Checks, TrainSettings, positive};
use crate::{
    methods::Method,
    minibatch::{Decay, OptimiserKind},
};

/// `[methods.<name>]`; what is left out is that of `[train]`. In mode `head` epochs, batch and rate are those of
/// `[train.head]` for every method.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MethodTraining {
    /// See [`TrainSettings::epochs`]. Another number is another budget: the comparison is then one of published recipes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<usize>,
    /// See [`TrainSettings::batch`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<usize>,
    /// See [`TrainSettings::learning_rate`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// See [`TrainSettings::weight_decay`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// See [`TrainSettings::momentum`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub momentum: Option<f64>,
    /// See [`TrainSettings::optimiser`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub optimiser: Option<OptimiserKind>,
    /// See [`TrainSettings::schedule`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Decay>,
}

impl MethodTraining {
    /// The run's training settings with these over them.
    pub fn over(&self, train: &TrainSettings) -> TrainSettings {
        TrainSettings {
            epochs: self.epochs.unwrap_or(train.epochs),
            batch: self.batch.unwrap_or(train.batch),
            learning_rate: self.learning_rate.unwrap_or(train.learning_rate),
            weight_decay: self.weight_decay.unwrap_or(train.weight_decay),
            momentum: self.momentum.unwrap_or(train.momentum),
            optimiser: self.optimiser.unwrap_or(train.optimiser),
            schedule: self.schedule.unwrap_or(train.schedule),
            ..train.clone()
        }
    }
}

/// Checks every section, and that its name is that of a method other than `erm`, which is what `[train]` describes.
pub(super) fn check(methods: &BTreeMap<String, MethodTraining>, checks: &mut Checks) {
    let share = "0 up to, not including, 1";
    for (name, m) in methods {
        let known = Method::ALL.iter().any(|k| k.name() == name && *k != Method::Erm);
        checks.require(known, "methods", name, "sections named after a method other than erm, such as methods.jtt");
        let epochs = m.epochs.unwrap_or(1);
        checks.require((1..=10_000).contains(&epochs), "methods.<name>.epochs", &epochs, "1 to 10000");
        let batch = m.batch.unwrap_or(1);
        checks.require((1..=4096).contains(&batch), "methods.<name>.batch", &batch, "1 to 4096");
        let rate = m.learning_rate.unwrap_or(1.0);
        checks.require(positive(rate), "methods.<name>.learning_rate", &rate, "a number above 0");
        let decay = m.weight_decay.unwrap_or(0.0);
        checks.require(decay >= 0.0 && decay.is_finite(), "methods.<name>.weight_decay", &decay, "0 or more");
        let momentum = m.momentum.unwrap_or(0.0);
        checks.require((0.0..1.0).contains(&momentum), "methods.<name>.momentum", &momentum, share);
    }
}

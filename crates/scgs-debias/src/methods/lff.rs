//! Learning from failure.

use super::{Outputs, Phase, Trainer, TrainingData, TrainingMethod, objective::Lff};
use crate::{Error, settings::LffSettings};

/// Two models side by side; the debiased one is the result.
#[derive(Debug)]
pub(super) struct LffMethod(pub(super) LffSettings);

impl TrainingMethod for LffMethod {
    fn train(&self, data: &TrainingData, trainer: &mut dyn Trainer) -> Result<(), Error> {
        let objective = Lff::new(self.0.q, self.0.average, data.labels.len());
        trainer.run(Phase {
            objective: Some(Box::new(objective)),
            outputs: Outputs::TwoModels,
            ..Phase::risk(data.rows(), data.labels.len())
        })
    }
}

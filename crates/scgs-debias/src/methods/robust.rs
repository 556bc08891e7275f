//! GroupDRO and CVaR-DRO.

use super::{Method, Phase, Trainer, TrainingData, TrainingMethod, objective};
use crate::{
    Error,
    minibatch::Sampler,
    settings::{CvarDroSettings, GroupDroSettings},
};

/// GroupDRO with batches drawn evenly from the groups, as the authors' `--reweight_groups`.
#[derive(Debug)]
pub(super) struct GroupDroMethod(pub(super) GroupDroSettings);

impl TrainingMethod for GroupDroMethod {
    fn train(&self, data: &TrainingData, trainer: &mut dyn Trainer) -> Result<(), Error> {
        let groups = data.need_groups(Method::GroupDro)?;
        let phase = Phase::risk(data.rows(), data.labels.len());
        let weights = groups.weights();
        let sampler = Sampler::Weighted(phase.rows.iter().map(|&r| weights[r]).collect());
        let GroupDroSettings { step, adjustment } = self.0;
        let objective = objective::GroupDro::new(groups.of.clone(), &groups.counts, step, adjustment);
        trainer.run(Phase { sampler, objective: Some(Box::new(objective)), ..phase })
    }
}

/// Conditional value at risk.
#[derive(Debug)]
pub(super) struct CvarMethod(pub(super) CvarDroSettings);

impl TrainingMethod for CvarMethod {
    fn train(&self, data: &TrainingData, trainer: &mut dyn Trainer) -> Result<(), Error> {
        let objective = objective::Cvar { alpha: self.0.alpha };
        trainer.run(Phase { objective: Some(Box::new(objective)), ..Phase::risk(data.rows(), data.labels.len()) })
    }
}

//! Deep feature reweighting.

use super::{LastLayerFit, Method, Phase, Trainer, TrainingData, TrainingMethod, weighting::balanced_subset};
use crate::{
    Error,
    settings::{DfrSettings, DfrSplit},
};

/// ERM, then the last layer fitted on group-balanced subsets; the fits are averaged.
#[derive(Debug)]
pub(super) struct Dfr(pub(super) DfrSettings);

impl TrainingMethod for Dfr {
    fn train(&self, data: &TrainingData, trainer: &mut dyn Trainer) -> Result<(), Error> {
        let groups = match self.0.split {
            DfrSplit::Val => data.need_validation_groups(Method::Dfr)?,
            DfrSplit::Train => data.need_groups(Method::Dfr)?,
        };
        trainer.run(Phase { last: false, ..Phase::risk(data.rows(), data.labels.len()) })?;
        let subsets = (0..self.0.fits).map(|i| balanced_subset(groups, &data.stream, i as u64)).collect();
        trainer.fit_last_layer(LastLayerFit { on: self.0.split, subsets, penalty: self.0.penalty, c: self.0.c })
    }
}

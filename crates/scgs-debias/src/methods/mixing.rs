//! mixup, CutMix and LISA. On frozen features mixup and LISA mix the inputs of the last layer (manifold mixup, Verma et
//! al. 2019, at the last layer); CutMix always cuts pictures.

use super::{Method, Phase, Trainer, TrainingData, TrainingMethod};
use crate::{
    Error,
    methods::objective::Risk,
    minibatch::Mixing,
    settings::{LisaMix, LisaSettings, MixSettings},
};

/// mixup.
#[derive(Debug)]
pub(super) struct MixupMethod(pub(super) MixSettings);

impl TrainingMethod for MixupMethod {
    fn train(&self, data: &TrainingData, trainer: &mut dyn Trainer) -> Result<(), Error> {
        let mixing = Mixing::Mixup { alpha: self.0.alpha };
        let phase = Phase::risk(data.rows(), data.labels.len());
        trainer.run(Phase { mixing, objective: Some(Box::new(Risk)), ..phase })
    }
}

/// CutMix.
#[derive(Debug)]
pub(super) struct CutmixMethod(pub(super) MixSettings);

impl TrainingMethod for CutmixMethod {
    fn train(&self, data: &TrainingData, trainer: &mut dyn Trainer) -> Result<(), Error> {
        let mixing = Mixing::Cutmix { alpha: self.0.alpha };
        trainer.run(Phase { mixing, ..Phase::risk(data.rows(), data.labels.len()) })
    }
}

/// LISA.
#[derive(Debug)]
pub(super) struct LisaMethod(pub(super) LisaSettings);

impl TrainingMethod for LisaMethod {
    fn train(&self, data: &TrainingData, trainer: &mut dyn Trainer) -> Result<(), Error> {
        let groups = data.need_groups(Method::Lisa)?;
        let mixing = Mixing::Lisa {
            alpha: self.0.alpha,
            same_label: self.0.same_label,
            cut: self.0.mix == LisaMix::Cutmix,
            labels: data.labels.clone(),
            domains: groups.domains.clone(),
        };
        let phase = Phase::risk(data.rows(), data.labels.len());
        trainer.run(Phase { mixing, objective: Some(Box::new(Risk)), ..phase })
    }
}

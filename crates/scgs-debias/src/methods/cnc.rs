//! Correct-n-Contrast.

use super::{Outputs, Phase, Trainer, TrainingData, TrainingMethod, objective::Cnc};
use crate::{
    Error,
    logistic::most_probable,
    minibatch::{Contrast, Sampler},
    settings::CncSettings,
};

/// ERM, whose answers say what looks alike; then a contrastive loss beside cross-entropy, from the starting weights.
#[derive(Debug)]
pub(super) struct CncMethod(pub(super) CncSettings);

impl TrainingMethod for CncMethod {
    fn train(&self, data: &TrainingData, trainer: &mut dyn Trainer) -> Result<(), Error> {
        trainer.run(Phase { last: false, ..Phase::risk(data.rows(), data.labels.len()) })?;
        let answers: Vec<usize> = trainer.probabilities()?.iter().map(|p| most_probable(p).0).collect();
        if data.labels.iter().zip(&answers).all(|(label, answer)| label == answer) {
            return Err(Error::ImpossibleArm {
                arm: "cnc".into(),
                why: "the first classifier makes no mistake on the training pictures, so nothing can be contrasted: \
                      regularise it more (lower train.c, or fewer train.epochs)"
                    .into(),
            });
        }
        let contrast = Contrast { each: self.0.samples, labels: data.labels.clone(), answers };
        trainer.run(Phase {
            name: "contrast",
            sampler: Sampler::Contrastive(contrast),
            objective: Some(Box::new(Cnc { temperature: self.0.temperature, weight: self.0.weight })),
            outputs: Outputs::Features,
            ..Phase::risk(data.rows(), data.labels.len())
        })
    }
}

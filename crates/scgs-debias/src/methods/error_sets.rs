//! Methods that train a second time: on mistakes, on masked pictures, on real pictures after new ones.

use super::{Change, Length, Phase, Start, Trainer, TrainingData, TrainingMethod};
use crate::{Error, settings::MasktuneSettings};

/// Just Train Twice: mistakes occur `upweight` times.
#[derive(Debug)]
pub(super) struct Jtt {
    pub(super) upweight: usize,
}

impl Jtt {
    /// The multiset of training examples.
    pub(super) fn rows(&self, data: &TrainingData) -> Vec<usize> {
        let mut repeats = data.repeats.clone();
        data.errors.iter().for_each(|&i| repeats[i] *= self.upweight);
        TrainingData { repeats, ..data.clone() }.rows()
    }
}

impl TrainingMethod for Jtt {
    fn train(&self, data: &TrainingData, trainer: &mut dyn Trainer) -> Result<(), Error> {
        trainer.run(Phase::risk(self.rows(data), data.labels.len()))
    }
}

/// ERM, then one epoch on pictures whose most attended part is black.
#[derive(Debug)]
pub(super) struct Masktune(pub(super) MasktuneSettings);

impl TrainingMethod for Masktune {
    fn train(&self, data: &TrainingData, trainer: &mut dyn Trainer) -> Result<(), Error> {
        let phase = Phase::risk(data.rows(), data.labels.len());
        trainer.run(Phase { last: false, ..phase })?;
        let phase = Phase::risk(data.rows(), data.labels.len());
        trainer.run(Phase {
            name: "masked",
            start: Start::Continue,
            length: Length::Epochs(1),
            rate: Some(self.0.learning_rate),
            change: Change::MaskAttention { sigmas: self.0.sigmas },
            ..phase
        })
    }
}

/// New pictures first, real ones after.
#[derive(Debug)]
pub(super) struct Pretrain {
    /// Share of the budget that goes to the new pictures, between 0 and 1.
    pub(super) share: f64,
}

impl TrainingMethod for Pretrain {
    fn train(&self, data: &TrainingData, trainer: &mut dyn Trainer) -> Result<(), Error> {
        let examples = data.labels.len();
        let rows = |synthetic: bool| data.rows().into_iter().filter(|&i| data.synthetic[i] == synthetic).collect();
        let new = Phase::risk(rows(true), examples);
        trainer.run(Phase { name: "new-pictures", length: Length::Budget(self.share), last: false, ..new })?;
        let real = Phase::risk(rows(false), examples);
        trainer.run(Phase { start: Start::Continue, length: Length::Budget(1.0 - self.share), ..real })
    }
}

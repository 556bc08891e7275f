//! Who does what a method asks for: [`HeadTrainer`] to a last layer on frozen features, [`NetworkTrainer`] to a whole
//! network.

mod ahead;
mod changed;
mod head;
mod kept;
mod network;
mod store;

pub use changed::Changed;
pub use head::{HeadTrainer, Matrix};
pub use network::NetworkTrainer;
pub use store::Store;

use crate::{
    logistic::most_probable,
    methods::{Length, Phase},
    selection::{Criterion, Selector},
    training::{Chosen, LogLine, Trained},
};

/// Updates that a phase makes: `epochs` passes over `real` examples are the budget that all arms share.
fn steps(phase: &Phase, epochs: usize, real: usize, batch: usize) -> usize {
    match (phase.length, phase.full_batch) {
        (Length::Budget(factor), _) => ((epochs * real.div_ceil(batch)) as f64 * factor).round().max(1.0) as usize,
        (Length::Epochs(n), Some(_)) => n,
        (Length::Epochs(n), None) => n * phase.rows.len().div_ceil(batch),
    }
}

/// Keeps the models the criteria choose, and the log.
#[derive(Debug, Clone)]
pub struct Watch {
    selector: Selector,
    labels: Vec<usize>,
    stop_by: Criterion,
    patience: usize,
    chosen: Chosen,
}

impl Watch {
    /// `labels` are those of the validation split; `patience` epochs without a better model by `stop_by` end training, 0
    /// never does.
    pub fn new(selector: Selector, labels: Vec<usize>, stop_by: Criterion, patience: usize) -> Self {
        Self { selector, labels, stop_by, patience, chosen: Chosen::default() }
    }

    /// Judges the model after an epoch of the last phase; true if training should stop.
    fn offer(&mut self, line: LogLine, probabilities: &[Vec<f64>], model: &dyn Fn() -> Trained) -> bool {
        let right = probabilities.iter().zip(&self.labels).filter(|(p, l)| most_probable(p).0 == **l).count();
        let epoch = line.metrics.epoch;
        let validation = Some(right as f64 / self.labels.len() as f64);
        self.chosen.log.push(LogLine { validation, ..line });
        let better = self.selector.offer(epoch, probabilities);
        if !better.is_empty() {
            let model = model();
            self.chosen.models.extend(better.into_iter().map(|criterion| (criterion, (epoch, model.clone()))));
        }
        self.patience > 0 && self.selector.waited(self.stop_by) >= self.patience
    }

    /// Notes an epoch of an earlier phase.
    fn note(&mut self, line: LogLine) {
        self.chosen.log.push(line);
    }

    /// What was chosen.
    pub fn finish(self) -> Chosen {
        self.chosen
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

//! ERM, and the methods that weigh, draw or leave out examples by class or group.

use rand::seq::SliceRandom;
use scgs_data::stream;

use super::{Groups, Length, Method, Phase, Trainer, TrainingData, TrainingMethod};
use crate::{Error, minibatch::Sampler};

/// Empirical risk minimisation with a multiple of the budget.
#[derive(Debug)]
pub(super) struct Erm {
    pub(super) factor: f64,
}

impl TrainingMethod for Erm {
    fn train(&self, data: &TrainingData, trainer: &mut dyn Trainer) -> Result<(), Error> {
        let phase = Phase::risk(data.rows(), data.labels.len());
        trainer.run(Phase { length: Length::Budget(self.factor), ..phase })
    }
}

/// The groups a balancing method sees: classes, or with oracle knowledge groups.
fn balance(data: &TrainingData, by_group: bool, method: Method) -> Result<Groups, Error> {
    if by_group { data.need_groups(method).cloned() } else { Groups::classes(&data.labels, data.classes) }
}

/// Weights `n / (groups * n_g)`.
#[derive(Debug)]
pub(super) struct Reweight {
    pub(super) by_group: bool,
}

impl TrainingMethod for Reweight {
    fn train(&self, data: &TrainingData, trainer: &mut dyn Trainer) -> Result<(), Error> {
        let groups = balance(data, self.by_group, Method::OracleReweight)?;
        trainer.run(Phase { weights: groups.weights(), ..Phase::risk(data.rows(), data.labels.len()) })
    }
}

/// Draws with replacement, every group with the same probability.
#[derive(Debug)]
pub(super) struct Resample {
    pub(super) by_group: bool,
}

impl TrainingMethod for Resample {
    fn train(&self, data: &TrainingData, trainer: &mut dyn Trainer) -> Result<(), Error> {
        let weights = balance(data, self.by_group, Method::OracleResample)?.weights();
        let phase = Phase::risk(data.rows(), data.labels.len());
        let sampler = Sampler::Weighted(phase.rows.iter().map(|&r| weights[r]).collect());
        trainer.run(Phase { sampler, ..phase })
    }
}

/// As many examples of every group as the smallest has, drawn once without replacement (Idrissi et al. 2022).
#[derive(Debug)]
pub(super) struct Subg;

impl TrainingMethod for Subg {
    fn train(&self, data: &TrainingData, trainer: &mut dyn Trainer) -> Result<(), Error> {
        let groups = data.need_groups(Method::Subg)?;
        let rows = balanced_subset(groups, &data.stream, 0);
        trainer.run(Phase::risk(rows, data.labels.len()))
    }
}

/// As many examples of every group as the smallest has, ascending.
pub(super) fn balanced_subset(groups: &Groups, of: &(u64, String), draw: u64) -> Vec<usize> {
    let size = groups.smallest();
    let mut rows: Vec<usize> = (0..groups.counts.len())
        .flat_map(|g| {
            let mut members = groups.members(g);
            members.shuffle(&mut stream(of.0, &format!("{}/subset-{draw}", of.1), g as u64));
            members.truncate(size);
            members
        })
        .collect();
    rows.sort_unstable();
    rows
}

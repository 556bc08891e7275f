//! Automatic feature reweighting.

use rand::seq::SliceRandom;
use scgs_data::stream;

use super::{Length, Part, Phase, Start, Trainer, TrainingData, TrainingMethod};
use crate::{Error, minibatch::Pull, settings::AfrSettings};

/// ERM on one part of the data, then the last layer alone on the other, weighted by difficulty.
#[derive(Debug)]
pub(super) struct Afr(pub(super) AfrSettings);

impl TrainingMethod for Afr {
    fn train(&self, data: &TrainingData, trainer: &mut dyn Trainer) -> Result<(), Error> {
        let s = &self.0;
        let mut rows = data.rows();
        rows.shuffle(&mut stream(data.stream.0, &format!("{}/held-out", data.stream.1), 0));
        let held = ((rows.len() as f64 * s.held_out).round() as usize).clamp(1, rows.len() - 1);
        let second = rows.split_off(rows.len() - held);
        trainer.run(Phase { last: false, ..Phase::risk(rows, data.labels.len()) })?;
        let probabilities = trainer.probabilities()?;
        let of_label: Vec<f64> = second.iter().map(|&i| probabilities[i][data.labels[i]]).collect();
        let labels: Vec<usize> = second.iter().map(|&i| data.labels[i]).collect();
        let mut weights = vec![0.0; data.labels.len()];
        for (&row, weight) in second.iter().zip(weights_of(&of_label, &labels, data.classes, s.gamma)) {
            weights[row] = weight;
        }
        trainer.run(Phase {
            name: "reweighted",
            start: Start::Continue,
            part: Part::LastLayer,
            weights,
            length: Length::Epochs(s.epochs),
            rate: Some(s.learning_rate),
            // lambda |w - w_1|^2 has the gradient 2 lambda (w - w_1).
            full_batch: Some(Pull { strength: 2.0 * s.lambda, to_start: true, biases: true }),
            ..Phase::risk(second, data.labels.len())
        })
    }
}

/// The weights of the second stage: `mu_i` in proportion to `beta_y exp(-gamma p_i)`, where `p_i` is the first classifier's
/// probability of the label and `beta_y = 1 / n_y`; normalised to sum 1.
pub(super) fn weights_of(of_label: &[f64], labels: &[usize], classes: usize, gamma: f64) -> Vec<f64> {
    let mut counts = vec![0usize; classes];
    labels.iter().for_each(|&l| counts[l] += 1);
    let raw: Vec<f64> = of_label.iter().zip(labels).map(|(p, &l)| (-gamma * p).exp() / counts[l] as f64).collect();
    let sum: f64 = raw.iter().sum();
    raw.iter().map(|w| w / sum).collect()
}

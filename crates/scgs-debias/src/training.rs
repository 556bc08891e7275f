//! What an arm trains on, and what comes out.

use scgs_models::Network;

use crate::{Error, logistic::LinearHead};

/// One training example, apart from its content.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Example {
    /// Class.
    pub label: usize,
    /// How often it occurs: at least 1.
    pub repeats: usize,
    /// Weight of its loss: 0 or more.
    pub weight: f64,
}

impl Example {
    /// Occurs once, weighs 1.
    pub fn plain(label: usize) -> Self {
        Self { label, repeats: 1, weight: 1.0 }
    }
}

/// A trained classifier.
#[derive(Debug)]
pub enum Trained {
    /// A last layer for the frozen backbone.
    Head(LinearHead),
    /// A whole network, on a plain device.
    Network(Box<Network>),
}

impl Trained {
    /// The last layer of a network.
    pub fn head_of(network: &Network) -> LinearHead {
        let linear = network.linear();
        let [width, classes] = linear.weight.dims();
        // burn keeps linear weights as [in, out]; a head has one row per class.
        let values = linear.weight.val().into_data().convert::<f32>();
        let values = values.try_into_vec::<f32>().expect("converted to f32");
        let weight = (0..classes * width).map(|i| values[(i % width) * classes + i / width]).collect();
        let bias = match &linear.bias {
            Some(bias) => bias.val().into_data().convert::<f32>().try_into_vec::<f32>().expect("converted to f32"),
            None => vec![0.0; classes],
        };
        LinearHead { classes, width, weight, bias }
    }
}

/// Weights that make every group count the same in total: `n / (groups * n_g)`, mean 1 (group reweighting, as in
/// group_DRO's `--reweight_groups`).
///
/// # Errors
/// [`Error::EmptyGroup`] if a group does not occur: it cannot be weighted up.
pub fn group_weights(group_of: &[usize], groups: usize) -> Result<Vec<f64>, Error> {
    let mut counts = vec![0usize; groups];
    group_of.iter().for_each(|&g| counts[g] += 1);
    if let Some(group) = counts.iter().position(|&n| n == 0) {
        return Err(Error::EmptyGroup { group: group.to_string(), split: "train".into() });
    }
    let n = group_of.len() as f64;
    Ok(group_of.iter().map(|&g| n / (groups as f64 * counts[g] as f64)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_weights_give_every_group_the_same_total() {
        let weights = group_weights(&[0, 0, 0, 1, 2, 2], 3).unwrap();
        assert_eq!(weights, [6.0 / 9.0, 6.0 / 9.0, 6.0 / 9.0, 2.0, 1.0, 1.0]);
        assert!(matches!(group_weights(&[0, 2], 3), Err(Error::EmptyGroup { .. })));
    }
}

//! What comes out of training.

use std::collections::BTreeMap;

use scgs_models::Network;

use crate::{logistic::LinearHead, minibatch::Metrics, selection::Criterion};

/// A trained classifier.
#[derive(Debug, Clone)]
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

/// The models that the criteria chose, and the log.
#[derive(Debug, Clone, Default)]
pub struct Chosen {
    /// Epoch and model per criterion.
    pub models: BTreeMap<Criterion, (usize, Trained)>,
    /// The epochs of all phases.
    pub log: Vec<LogLine>,
}

/// One line of an arm's `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct LogLine {
    /// The phase of the method.
    pub phase: &'static str,
    /// The epoch.
    #[serde(flatten)]
    pub metrics: Metrics,
    /// Accuracy on the validation split after the epoch, in the phase that models are selected from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<f64>,
}

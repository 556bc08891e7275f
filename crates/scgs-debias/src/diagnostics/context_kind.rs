//! Whether repainting changed the kind of background: judged by a probe that was told the groups, for evaluation only.

use std::collections::BTreeMap;

use scgs_data::{Grouped, Split};
use serde::{Deserialize, Serialize};

use crate::{
    Error,
    features::Features,
    logistic::{self, Examples, LinearHead, Standardiser, most_probable},
    stages::{Inputs, erm, synthesis},
};

/// Inverse L2 strength of the probe, that of the project's other heads on standardised features.
const C: f64 = 1e-3;

/// What the probe says of new pictures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContextKind {
    /// Share of validation pictures whose background kind the probe names, 0..=1: how far its word can be trusted.
    pub probe_accuracy: f64,
    /// Per stage of new pictures the share whose background is of another kind than the source's, 0..=1.
    pub changed: BTreeMap<String, f64>,
}

/// Trains the probe and asks it about the finished stages `stages` of new pictures.
///
/// # Errors
/// If files of the run are missing or damaged, or the probe's fit does not converge.
pub(super) fn of_stages(inputs: Inputs<'_>, grouped: &Grouped, stages: &[String]) -> Result<ContextKind, Error> {
    let attributes = grouped.attribute_names().len();
    let attribute = |id: u64| grouped.attribute_of(id).expect("pictures of the data set have an attribute");
    let train = erm::train_features(inputs.folder)?;
    let labels: BTreeMap<u64, usize> = inputs.usable(Split::Train)?.iter().map(|s| (s.id, s.label)).collect();
    let kinds: Vec<usize> = train.ids.iter().map(|&id| attribute(id)).collect();
    let groups: Vec<usize> = train.ids.iter().zip(&kinds).map(|(id, a)| labels[id] * attributes + a).collect();
    // Every group weighs the same, or the probe would learn the classes.
    let size = |group: usize| groups.iter().filter(|&&g| g == group).count() as f64;
    let sizes: Vec<f64> = (0..inputs.classes() * attributes).map(size).collect();
    let share = groups.len() as f64 / sizes.iter().filter(|s| **s > 0.0).count() as f64;
    let weights: Vec<f64> = groups.iter().map(|&g| share / sizes[g]).collect();
    let scale = Standardiser::fit(&train.background, train.width);
    let examples = Examples { features: &train.background, width: train.width, labels: &kinds, weights: &weights };
    let probe = logistic::fit(examples, attributes, C, &scale)?;
    let val = Features::load(&inputs.folder.path(erm::STAGE, "features-val.safetensors"))?;
    let right = (0..val.ids.len()).filter(|&i| kind(&probe, &val, i) == attribute(val.ids[i])).count();
    let mut changed = BTreeMap::new();
    for stage in stages {
        let features = synthesis::features(inputs.folder, stage)?;
        let rows = synthesis::read(inputs.folder, stage)?;
        let other = (0..rows.len()).filter(|&i| kind(&probe, &features, i) != attribute(rows[i].source_id)).count();
        changed.insert(stage.clone(), other as f64 / rows.len() as f64);
    }
    Ok(ContextKind { probe_accuracy: right as f64 / val.ids.len() as f64, changed })
}

fn kind(probe: &LinearHead, features: &Features, i: usize) -> usize {
    most_probable(&probe.probabilities(&features.background[i * features.width..(i + 1) * features.width])).0
}

//! How well the method found what it looks for. Everything here uses group labels or object masks, so it is for the
//! report alone: no stage reads it.

mod attention;
mod context_kind;

use std::{collections::BTreeMap, path::Path};

use scgs_cam::Mask;
use scgs_data::{Grouped, Sample, Split};
use serde::{Deserialize, Serialize};

pub use attention::ArmAttention;
pub use context_kind::ContextKind;

use crate::{
    Context, Error,
    arms::Arm,
    object_masks, run_folder,
    stages::{Inputs, clusters, errors, masks, sources::Variant, synthesis},
};

/// Share and coverage of the minority groups in the error set.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ErrorSetQuality {
    /// Pictures in the error set.
    pub size: usize,
    /// Share of them that belong to a minority group: a label with any but its most frequent attribute.
    pub precision: f64,
    /// Share of the minority pictures of the training split that are in the error set.
    pub recall: f64,
}

/// Everything that is known only with group labels and object masks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Diagnostics {
    /// Training pictures per group, ordered by label, then attribute.
    pub train_counts: Vec<usize>,
    /// Absent when no error set was needed.
    pub error_set: Option<ErrorSetQuality>,
    /// Share of the mistakes that belong to the most frequent group of their cluster (1 = every cluster is one group).
    pub cluster_purity: Option<f64>,
    /// Mean intersection over union of the kept (or repainted, where `mask.repaint` paints the region) region with the true
    /// object; absent where no object masks exist.
    pub mask_iou: Option<f64>,
    /// The same for the random masks.
    pub random_mask_iou: Option<f64>,
    /// New pictures that the filter dropped, per stage.
    #[serde(default)]
    pub dropped: BTreeMap<String, usize>,
    /// Whether repainting changed the kind of background; absent where nothing was repainted.
    #[serde(default)]
    pub context: Option<ContextKind>,
    /// Where the arms look; empty where no object masks exist.
    #[serde(default)]
    pub attention: Vec<ArmAttention>,
}

/// Whether a file of diagnostics is about these arms, so that its attention, which takes seconds, need not be looked at again.
pub(crate) fn covers(path: &Path, arms: &[Arm]) -> bool {
    let found = run_folder::read_json::<Diagnostics>(path);
    let names = |d: Diagnostics| d.attention.into_iter().map(|a| a.arm).collect::<Vec<_>>();
    !arms.is_empty() && found.is_ok_and(|d| names(d) == arms.iter().map(|a| a.name()).collect::<Vec<_>>())
}

/// Computes the diagnostics of a finished run with the arms `arms`.
///
/// # Errors
/// If files of the run are missing or damaged, and those of the attention method.
pub fn compute(
    inputs: Inputs<'_>,
    context: &Context<'_>,
    grouped: &Grouped,
    arms: &[Arm],
) -> Result<Diagnostics, Error> {
    let train_counts: Vec<usize> = train_counts(grouped);
    let done = |stage: &str| inputs.folder.is_done(stage);
    let repainted: Vec<String> = Variant::ALL.map(synthesis::stage_name).into_iter().filter(|s| done(s)).collect();
    let mut dropped = BTreeMap::new();
    for stage in &repainted {
        let rows = synthesis::read(inputs.folder, stage)?;
        dropped.insert(stage.clone(), rows.iter().filter(|r| r.dropped.is_some()).count());
    }
    Ok(Diagnostics {
        dropped,
        context: (!repainted.is_empty() && grouped.attribute_names().len() > 1)
            .then(|| context_kind::of_stages(inputs, grouped, &repainted))
            .transpose()?,
        attention: if object_masks::exist(inputs.index) {
            attention::of_arms(inputs, context, grouped, arms)?
        } else {
            Vec::new()
        },
        // Without a spurious attribute there is no minority to find.
        error_set: (done(errors::STAGE) && grouped.attribute_names().len() > 1)
            .then(|| error_set(inputs, grouped, &train_counts))
            .transpose()?,
        cluster_purity: done(clusters::STAGE).then(|| cluster_purity(inputs, grouped)).transpose()?,
        mask_iou: done(masks::STAGE).then(|| mean_iou(inputs, masks::STAGE)).transpose()?.flatten(),
        random_mask_iou: done(masks::RANDOM_STAGE)
            .then(|| mean_iou(inputs, masks::RANDOM_STAGE))
            .transpose()?
            .flatten(),
        train_counts,
    })
}

/// A row of `group-labels.csv`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct GroupLabel {
    id: u64,
    label: usize,
    attribute: usize,
}

/// Writes `group-labels.csv` (id, label, attribute) into the seed's folder, so that the report can show and filter
/// pictures by group without the data set. No stage reads it.
///
/// # Errors
/// If the file cannot be written.
pub fn write_group_labels(inputs: Inputs<'_>, grouped: &Grouped) -> Result<(), Error> {
    let row = |sample: &Sample| {
        let attribute = grouped.attribute_of(sample.id)?;
        Some(GroupLabel { id: sample.id, label: sample.label, attribute })
    };
    let rows: Vec<GroupLabel> = inputs.index.samples.iter().filter_map(row).collect();
    run_folder::write_csv(&inputs.folder.root().join("group-labels.csv"), &rows)
}

/// Training pictures per group, ordered by label, then attribute.
pub fn train_counts(grouped: &Grouped) -> Vec<usize> {
    grouped.counts(Split::Train).groups.iter().map(|g| g.n).collect()
}

fn error_set(inputs: Inputs<'_>, grouped: &Grouped, train_counts: &[usize]) -> Result<ErrorSetQuality, Error> {
    let attributes = grouped.attribute_names().len();
    let majority: Vec<usize> = train_counts
        .chunks(attributes)
        .map(|of_label| (0..attributes).max_by_key(|&a| of_label[a]).expect("attributes exist"))
        .collect();
    let is_minority = |id: u64, label: usize| grouped.attribute_of(id).is_some_and(|a| a != majority[label]);
    let errors = errors::read(inputs.folder)?;
    let hits = errors.iter().filter(|e| is_minority(e.id, e.label)).count();
    let minority = inputs.usable(Split::Train)?.iter().filter(|s| is_minority(s.id, s.label)).count();
    Ok(ErrorSetQuality {
        size: errors.len(),
        precision: hits as f64 / errors.len() as f64,
        recall: hits as f64 / minority as f64,
    })
}

fn cluster_purity(inputs: Inputs<'_>, grouped: &Grouped) -> Result<f64, Error> {
    let attributes = grouped.attribute_names().len();
    let members = clusters::members(inputs.folder)?;
    let most = members.iter().map(|m| m.cluster).max().unwrap_or_default() + 1;
    let cluster_of: Vec<usize> = members.iter().map(|m| m.label * most + m.cluster).collect();
    let group_of: Vec<usize> = members
        .iter()
        .map(|m| m.label * attributes + grouped.attribute_of(m.id).expect("mistakes are pictures of the data set"))
        .collect();
    Ok(scgs_cluster::purity(&cluster_of, &group_of)?)
}

fn mean_iou(inputs: Inputs<'_>, stage: &str) -> Result<Option<f64>, Error> {
    if !object_masks::exist(inputs.index) {
        return Ok(None);
    }
    let mut overlaps = Vec::new();
    for row in masks::read(inputs.folder, stage)?.iter().filter(|r| r.area.is_some()) {
        let mask = Mask::from_gray(&masks::load(inputs.folder, stage, row.id)?)?;
        let found = if inputs.settings.mask.repaint.paints_region() { mask } else { mask.invert() };
        overlaps.push(found.iou(&object_masks::read(inputs.index, row.id)?)?);
    }
    Ok((!overlaps.is_empty()).then(|| overlaps.iter().sum::<f64>() / overlaps.len() as f64))
}

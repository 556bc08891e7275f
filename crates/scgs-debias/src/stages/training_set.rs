//! What an arm learns from. Group numbers are put into it for the methods that may see them, and for no others.

use std::collections::{BTreeMap, BTreeSet};

use scgs_data::{Grouped, Sample, Split};

use super::{Inputs, clusters, erm, errors, evaluate, retrain::TrainingSet, sources::Added, synthesis};
use crate::{
    Context, Error,
    arms::{Arm, Pictures},
    features::Features,
    methods::{Groups, TrainingData},
    settings::TrainMode,
};

/// Folder of the balanced training split's features.
pub const BALANCED_STAGE: &str = "6-balanced-data";

/// The examples of an arm.
///
/// # Errors
/// [`Error::ImpossibleArm`] for `oracle-balanced` without a balanced set, [`Error::EmptyGroup`] for a method that sees
/// groups where one has no picture, and those of reading files of the run.
pub fn of(
    inputs: Inputs<'_>,
    context: &Context<'_>,
    arm: Arm,
    grouped: &Grouped,
    balanced: Option<&Grouped>,
) -> Result<TrainingSet, Error> {
    let head = inputs.settings.train.mode == TrainMode::Head;
    if arm.pictures == Pictures::Balanced {
        return balanced_set(inputs, context, arm, balanced, head);
    }
    let real = inputs.usable(Split::Train)?;
    let labels: Vec<usize> = real.iter().map(|s| s.label).collect();
    let mut set = TrainingSet {
        files: inputs.files(&real),
        data: data(inputs, arm, labels),
        features: if head { erm::train_features(inputs.folder)?.pooled } else { Vec::new() },
        plain: arm.pictures == Pictures::Real,
    };
    match arm.pictures {
        Pictures::Real | Pictures::Balanced => {}
        Pictures::Duplicate => {
            // As many copies as SCGS makes new pictures, of the same sources.
            let position = positions(&real);
            for pick in clusters::picks(inputs.folder)? {
                set.data.repeats[position[&pick.id]] += 1;
            }
        }
        Pictures::Scgs(variant) => {
            let position = positions(&real);
            for pick in clusters::repeats(inputs, Added::per_class(inputs)?.repeated)? {
                set.data.repeats[position[&pick.id]] += 1;
            }
            add_synthetic(inputs, &mut set, &synthesis::stage_name(variant))?;
        }
    }
    if arm.method.needs_errors() {
        let position = positions(&real);
        set.data.errors = errors::read(inputs.folder)?.iter().map(|e| position[&e.id]).collect();
    }
    if arm.method.sees_groups().training {
        show_groups(inputs, &mut set, grouped)?;
    }
    Ok(set)
}

fn data(inputs: Inputs<'_>, arm: Arm, labels: Vec<usize>) -> TrainingData {
    TrainingData {
        repeats: vec![1; labels.len()],
        synthetic: vec![false; labels.len()],
        classes: inputs.classes(),
        stream: (inputs.folder.seed, evaluate::stage_name(arm)),
        labels,
        ..TrainingData::default()
    }
}

/// Mistakes and picks are usable training pictures, hence in here.
fn positions(real: &[&Sample]) -> BTreeMap<u64, usize> {
    real.iter().enumerate().map(|(i, s)| (s.id, i)).collect()
}

/// Group numbers of the training examples and of the validation split.
fn show_groups(inputs: Inputs<'_>, set: &mut TrainingSet, grouped: &Grouped) -> Result<(), Error> {
    let attributes = grouped.attribute_names().len();
    // A generated picture is not in the data set: its attribute is not known.
    let of: Vec<Option<usize>> = set.files.iter().map(|f| grouped.attribute_of(f.0)).collect();
    let expected = grouped.expected(Split::Train);
    set.data.groups = Some(Groups::among(&expected, &set.data.labels, &of, attributes, "train")?);
    let val = inputs.usable(Split::Val)?;
    let of: Vec<Option<usize>> = val.iter().map(|s| grouped.attribute_of(s.id)).collect();
    set.data.validation_labels = val.iter().map(|s| s.label).collect();
    let expected = grouped.expected(Split::Val);
    set.data.validation_groups = Some(Groups::among(&expected, &set.data.validation_labels, &of, attributes, "val")?);
    Ok(())
}

fn add_synthetic(inputs: Inputs<'_>, set: &mut TrainingSet, stage: &str) -> Result<(), Error> {
    let rows = synthesis::read(inputs.folder, stage)?;
    if inputs.settings.train.mode == TrainMode::Head {
        set.features.extend(synthesis::features(inputs.folder, stage)?.pooled);
    }
    for row in rows {
        set.files.push((row.img_id, inputs.folder.path(stage, &row.img_filename)));
        set.data.labels.push(row.y);
        set.data.repeats.push(1);
        set.data.synthetic.push(true);
    }
    Ok(())
}

fn balanced_set(
    inputs: Inputs<'_>,
    context: &Context<'_>,
    arm: Arm,
    balanced: Option<&Grouped>,
    head: bool,
) -> Result<TrainingSet, Error> {
    let balanced = balanced.ok_or_else(|| no_balanced_set(arm))?;
    let index = balanced.index();
    let samples = index.of(Split::Train);
    let files: Vec<_> = samples.iter().map(|s| (s.id, index.absolute(s))).collect();
    let mut features = Vec::new();
    if head {
        inputs.folder.stage(context, BALANCED_STAGE, samples.len(), |folder| {
            let network = inputs.erm_network(context)?;
            Features::compute(context, BALANCED_STAGE, &network, inputs.input(), &files)?
                .save(&folder.join("features.safetensors"))?;
            Ok(format!("features of {} pictures with equally large groups (oracle)", samples.len()))
        })?;
        features = Features::load(&inputs.folder.path(BALANCED_STAGE, "features.safetensors"))?.pooled;
    }
    let labels: Vec<usize> = samples.iter().map(|s| s.label).collect();
    Ok(TrainingSet { files, data: data(inputs, arm, labels), features, plain: false })
}

/// Why the arm cannot be run on pictures that are not composed.
pub(crate) fn no_balanced_set(arm: Arm) -> Error {
    Error::ImpossibleArm {
        arm: arm.name(),
        why: "a balanced training set of the same size exists only where pictures are composed (habitat); leave it out of --methods".into(),
    }
}

/// What is wrong with the groups of the splits a run needs, for all at once, before anything is trained.
///
/// # Errors
/// [`Error::EmptyGroup`] with every group that has no picture in a split that an arm needs it in.
pub fn check_groups(arms: &[Arm], worst_group_selection: bool, grouped: &Grouped) -> Result<(), Error> {
    let mut splits = BTreeSet::from([Split::Test]);
    if worst_group_selection || arms.iter().any(|a| a.method.sees_groups().training) {
        splits.insert(Split::Val);
    }
    if arms.iter().any(|a| a.method.sees_groups().training) {
        splits.insert(Split::Train);
    }
    for split in splits {
        let counts = grouped.counts(split);
        let groups = counts.groups.iter().zip(grouped.expected(split));
        let empty: Vec<String> = groups.filter(|(g, meant)| g.n == 0 && *meant).map(|(g, _)| counts.name(g)).collect();
        if !empty.is_empty() {
            return Err(Error::EmptyGroup { group: empty.join(" and "), split: split.to_string() });
        }
    }
    Ok(())
}

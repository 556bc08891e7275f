//! What an arm learns from. Group numbers are put into it for the methods that may see them, and for no others.

use std::collections::BTreeMap;

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
    let head = inputs.settings.train.mode == TrainMode::Head;
    let features = if head { Some(synthesis::features(inputs.folder, stage)?) } else { None };
    for (i, row) in rows.into_iter().enumerate().filter(|(_, row)| row.uses > 0) {
        if let Some(features) = &features {
            set.features.extend_from_slice(features.row(i));
        }
        set.files.push((row.img_id, inputs.folder.path(stage, &row.img_filename)));
        set.data.labels.push(row.y);
        set.data.repeats.push(row.uses);
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
            let partial = folder.join("features.partial");
            Features::compute_kept(context, BALANCED_STAGE, &network, inputs.input(), &files, Some(&partial))?
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
/// [`Error::ImpossibleArm`] for arms that need groups on data without any; [`Error::EmptyGroups`] with every group that
/// has no picture in a split that an arm, the selection or the evaluation needs it in.
pub fn check_groups(arms: &[Arm], worst_group_selection: bool, grouped: &Grouped) -> Result<(), Error> {
    let told: Vec<String> = arms.iter().filter(|a| a.method.sees_groups().training).map(|a| a.name()).collect();
    if grouped.attribute_names().len() < 2 && !told.is_empty() {
        return Err(Error::ImpossibleArm {
            arm: told.join(", "),
            why: "it needs group labels, and this data set has no spurious attribute: leave it out of --methods, or give \
                  the definition `attributes` and a table of groups"
                .into(),
        });
    }
    let mut splits = BTreeMap::from([(Split::Test, "the evaluation".to_owned())]);
    if worst_group_selection {
        splits.insert(Split::Val, "train.selection = worst-group".to_owned());
    }
    if !told.is_empty() {
        splits.extend([Split::Train, Split::Val].map(|split| (split, told.join(", "))));
    }
    let mut empty = Vec::new();
    for (split, needed) in splits {
        let counts = grouped.counts(split);
        let groups = counts.groups.iter().zip(grouped.expected(split));
        let names: Vec<String> = groups.filter(|(g, meant)| g.n == 0 && *meant).map(|(g, _)| counts.name(g)).collect();
        if !names.is_empty() {
            empty.push(format!("{} in {split} (needed by {needed})", names.join(" and ")));
        }
    }
    if empty.is_empty() { Ok(()) } else { Err(Error::EmptyGroups(empty)) }
}

#[cfg(test)]
mod tests {
    use scgs_data::Index;

    use super::*;

    /// Pictures given as (split, label, attribute).
    fn grouped(rows: &[(Split, usize, usize)], attributes: &[&str]) -> Grouped {
        let sample = |(i, &(split, label, _)): (usize, &(Split, usize, usize))| Sample {
            id: i as u64,
            path: format!("{i}.png").into(),
            label,
            split,
        };
        let samples = rows.iter().enumerate().map(sample).collect();
        let index = Index { root: "r".into(), classes: vec!["mammal".into(), "bird".into()], samples };
        let names = attributes.iter().map(|a| (*a).to_owned()).collect();
        Grouped::new(index, names, rows.iter().map(|r| r.2).collect()).unwrap()
    }

    fn every_group(but: &[(Split, usize, usize)]) -> Grouped {
        let mut rows = Vec::new();
        for split in Split::ALL {
            rows.extend([(0, 0), (0, 1), (1, 0), (1, 1)].map(|(label, attribute)| (split, label, attribute)));
        }
        rows.retain(|row| !but.contains(row));
        grouped(&rows, &["land", "water"])
    }

    fn arms(names: &[&str]) -> Vec<Arm> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn groups_without_a_picture_are_all_named_with_what_needs_them() {
        assert!(check_groups(&arms(&["groupdro"]), true, &every_group(&[])).is_ok());
        let gaps = [(Split::Train, 1, 0), (Split::Val, 0, 1), (Split::Val, 1, 0)];
        let data = every_group(&gaps);
        assert!(check_groups(&arms(&["erm", "jtt"]), false, &data).is_ok(), "nobody needs them");
        let message = check_groups(&arms(&["erm", "groupdro", "scgs+dfr"]), false, &data).unwrap_err().to_string();
        for part in ["bird x land in train (needed by groupdro, scgs+dfr)", "mammal x water and bird x land in val"] {
            assert!(message.contains(part), "{part} in {message}");
        }
        let message = check_groups(&arms(&["erm"]), true, &data).unwrap_err().to_string();
        assert!(message.contains("in val (needed by train.selection = worst-group)"), "{message}");
        let message =
            check_groups(&arms(&["erm"]), false, &every_group(&[(Split::Test, 0, 0)])).unwrap_err().to_string();
        assert!(message.contains("mammal x land in test (needed by the evaluation)"), "{message}");
    }

    #[test]
    fn methods_that_are_told_groups_refuse_data_that_has_none() {
        let rows: Vec<_> = Split::ALL.into_iter().flat_map(|split| [(split, 0, 0), (split, 1, 0)]).collect();
        let data = grouped(&rows, &["any"]);
        assert!(check_groups(&arms(&["erm", "jtt"]), false, &data).is_ok());
        let message = check_groups(&arms(&["erm", "subg", "lisa"]), false, &data).unwrap_err().to_string();
        assert!(message.contains("`subg, lisa`") && message.contains("no spurious attribute"), "{message}");
    }
}

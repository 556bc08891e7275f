//! One arm alone, without the rest of the loop where the method allows it: what `scgs train` does.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use scgs_data::Grouped;
use serde::{Deserialize, Serialize};

use super::{Opened, Plan, open, sha256_of, stages};
use crate::{
    Context, Error,
    arms::{Arm, Pictures},
    diagnostics,
    methods::Method,
    results::Row,
    run_folder,
    selection::Criterion,
    settings::TrainMode,
    stages::{evaluate, pictures, training_set},
};

/// What a trained classifier is, as `train.json` beside its weights says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The version of this file.
    pub schema: u32,
    /// The arm.
    pub method: String,
    /// The architecture.
    pub architecture: String,
    /// The data set.
    pub dataset: String,
    /// The seed.
    pub seed: u64,
    /// The device's name.
    pub device: String,
    /// Hash of all settings, twelve hexadecimal digits.
    pub settings: String,
    /// sha256 of the starting weights; absent for random ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starting_weights: Option<String>,
}

impl Identity {
    /// The file's name.
    pub const FILE: &str = "train.json";

    /// What `plan` will train with `seed`.
    ///
    /// # Errors
    /// Those of the weights file.
    pub fn of(plan: &Plan, arm: Arm, seed: u64) -> Result<Self, Error> {
        Ok(Self {
            schema: 1,
            method: arm.name(),
            architecture: plan.settings.backbone.architecture.to_string(),
            dataset: plan.definition.name.clone(),
            seed,
            device: plan.device.clone(),
            settings: plan.settings.hash(&[]),
            starting_weights: plan.weights()?.as_deref().map(sha256_of).transpose()?,
        })
    }

    /// How another classifier differs from this one, one phrase per field; empty for the same.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let weights = |i: &Self| i.starting_weights.as_deref().map_or("random", |s| &s[..12]).to_owned();
        let fields = |i: &Self| {
            [
                ("method", i.method.clone()),
                ("architecture", i.architecture.clone()),
                ("data set", i.dataset.clone()),
                ("seed", i.seed.to_string()),
                ("device", i.device.clone()),
                ("settings", i.settings.clone()),
                ("starting weights", weights(i)),
            ]
        };
        let pairs = fields(self).into_iter().zip(fields(other));
        pairs.filter(|(a, b)| a.1 != b.1).map(|((name, a), (_, b))| format!("{name} {b} instead of {a}")).collect()
    }
}

/// What is left of training one arm.
#[derive(Debug)]
pub struct Single {
    /// The arm's folder in the run folder.
    pub folder: PathBuf,
    /// Counts per group, averages and measures on the test split.
    pub row: Row,
    /// Names of classes and attributes, for tables.
    pub grouped: Grouped,
    /// Training pictures per group, in group order.
    pub train_counts: Vec<usize>,
}

/// Trains `arm` and tests it once, at the end. Stages it shares with other arms are those of the run folder; in mode `full`
/// a method that needs no first classifier trains none.
///
/// # Errors
/// Those of the stages, and of data that lacks what the arm needs, before a picture is read.
pub fn train_one(plan: &Plan, arm: Arm, seed: u64, context: &Context<'_>) -> Result<Single, Error> {
    let opened = open(plan, seed, context)?;
    let inputs = opened.inputs(plan);
    let by_group = plan.settings.train.selection == Criterion::WorstGroup;
    training_set::check_groups(&[arm], by_group, &opened.grouped)?;
    if needs_first_classifier(plan, arm) {
        stages(inputs, context, &[arm])?;
    } else {
        pictures::run(inputs, context)?;
    }
    evaluate::prepare(inputs, context)?;
    evaluate::run(inputs, context, arm, &opened.grouped, opened.balanced.as_ref())?;
    let Opened { grouped, folder, .. } = &opened;
    let train_counts = diagnostics::train_counts(grouped);
    let selected = evaluate::read_selection(folder, arm)?;
    let row = Row::new(
        arm,
        seed,
        &evaluate::read(folder, arm)?,
        evaluate::read_validation(folder, arm)?,
        (&train_counts, grouped.attribute_names().len()),
        (plan.settings.train.selection, &selected),
        evaluate::read_measures(folder, arm)?,
    );
    let folder = folder.root().join(evaluate::stage_name(arm));
    Ok(Single { folder, row, grouped: opened.grouped, train_counts })
}

/// In mode `head` stage 1 makes the features. In mode `full` it is the arm `erm` itself, and what the error set and new
/// pictures are made with.
fn needs_first_classifier(plan: &Plan, arm: Arm) -> bool {
    let erm = arm.pictures == Pictures::Real && arm.method == Method::Erm;
    plan.settings.train.mode == TrainMode::Head || erm || arm.needs_errors()
}

/// Why `folder` must not be written to, or why weights in it must not be started from: it holds another classifier.
///
/// # Errors
/// If its `train.json` cannot be read.
fn foreign(folder: &Path, identity: &Identity) -> Result<Option<String>, Error> {
    let path = folder.join(Identity::FILE);
    if path.is_file() {
        let found: Identity = run_folder::read_json(&path)?;
        let differences = identity.differences(&found);
        return Ok((!differences.is_empty())
            .then(|| format!("{} holds another checkpoint: {}", folder.display(), differences.join(", "))));
    }
    let model = folder.join("model.safetensors");
    Ok(model.is_file().then(|| format!("{} is there without a {}", model.display(), Identity::FILE)))
}

/// Why the starting weights of `plan` must not be started from: `scgs train` left them as another method's result.
///
/// # Errors
/// If the `train.json` beside them cannot be read.
fn foreign_start(plan: &Plan) -> Result<Option<String>, Error> {
    let Some(weights) = plan.weights()? else { return Ok(None) };
    let path = weights.with_file_name(Identity::FILE);
    if weights.file_name().is_none_or(|name| name != "model.safetensors") || !path.is_file() {
        return Ok(None);
    }
    let found: Identity = run_folder::read_json(&path)?;
    Ok((found.method != Method::Erm.name()).then(|| {
        format!(
            "the starting weights {} are a checkpoint of method `{}`: start from pretrained weights or from one of `erm`",
            weights.display(),
            found.method
        )
    }))
}

/// Checks everything about the plan, the starting weights and the folder to write that needs no data. One sentence per problem.
pub fn refusals(plan: &Plan, arm: Arm, seed: u64, out: &Path, device: &Device) -> Vec<String> {
    let mut found = crate::preflight::problems(plan, device);
    if !found.is_empty() {
        return found;
    }
    let start = foreign_start(plan);
    let there = Identity::of(plan, arm, seed).and_then(|identity| foreign(out, &identity));
    for (problem, advice) in [(start, ""), (there, "; choose another --out folder, or delete this one")] {
        match problem {
            Ok(None) => {}
            Ok(Some(text)) => found.push(format!("{text}{advice}")),
            Err(error) => found.push(error.to_string()),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            schema: 1,
            method: "jtt".into(),
            architecture: "resnet18".into(),
            dataset: "habitat".into(),
            seed: 3,
            device: "flex".into(),
            settings: "0123456789ab".into(),
            starting_weights: None,
        }
    }

    #[test]
    fn a_checkpoint_of_something_else_is_described_field_by_field() {
        let dir = tempfile::tempdir().unwrap();
        let mine = identity();
        assert_eq!(foreign(dir.path(), &mine).unwrap(), None);
        fs_err::write(dir.path().join("model.safetensors"), b"x").unwrap();
        let text = foreign(dir.path(), &mine).unwrap().unwrap();
        assert!(text.ends_with("model.safetensors is there without a train.json"), "{text}");
        run_folder::write_json(&dir.path().join(Identity::FILE), &mine).unwrap();
        assert_eq!(foreign(dir.path(), &mine).unwrap(), None);
        let other = Identity { method: "dfr".into(), architecture: "resnet50".into(), ..identity() };
        let text = foreign(dir.path(), &other).unwrap().unwrap();
        assert!(text.contains("method jtt instead of dfr, architecture resnet18 instead of resnet50"), "{text}");
    }
}

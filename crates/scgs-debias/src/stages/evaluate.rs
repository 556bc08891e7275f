//! Stages `6-<arm>`: each arm is trained and, at the very end, tested. Groups are seen here for the report of every arm
//! and for the selection criterion that is marked so; a method sees them only as [`training_set`] hands them out.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use scgs_data::{Grouped, Index, Sample, Split, atomic};
use scgs_models::{HeadPolicy, Network};
use serde::{Deserialize, Serialize};

use super::{
    Inputs,
    erm::{self, Prediction},
    retrain, training_set,
};
use crate::{
    Context, Error, GroupReport, RunFolder,
    arms::{Arm, Pictures},
    features::{Features, Input},
    logistic::{most_probable, softmax},
    logs,
    measures::Measures,
    methods::Method,
    run_folder,
    selection::Criterion,
    settings::TrainMode,
    training::{Chosen, Trained},
};

/// Folder of the test split's features (mode `head`); written when every choice has been made.
pub const TEST_STAGE: &str = "6-test";
/// Counts per group of the validation split; absent where a group is.
const VALIDATION_GROUPS: &str = "validation-groups.json";
const BATCH: usize = 32;

/// Folder name of an arm.
pub fn stage_name(arm: Arm) -> String {
    format!("6-{}", arm.name())
}

/// What one criterion chose, and what came of it: an entry of `selection.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Selected {
    /// By what the model was chosen.
    pub criterion: Criterion,
    /// The epoch it chose, counted from 1.
    pub epoch: usize,
    /// Whether the choice looked at group labels of the validation split.
    pub sees_groups: bool,
    /// Accuracy of the chosen model on the validation split.
    pub validation: Validation,
    /// Counts per group of the test split.
    pub report: GroupReport,
}

/// Class probabilities of one picture.
struct Answer {
    id: u64,
    label: usize,
    probabilities: Vec<f64>,
}

/// Trains an arm and reports its accuracy per group of the test split: `model.safetensors`, `predictions.csv`,
/// `groups.json`, `validation.json`, `selection.json`, `measures.json` and the files of [`logs`].
///
/// # Errors
/// [`Error::EmptyGroup`], [`Error::ImpossibleArm`], and those of training.
pub fn run(
    inputs: Inputs<'_>,
    context: &Context<'_>,
    arm: Arm,
    grouped: &Grouped,
    balanced: Option<&Grouped>,
) -> Result<(), Error> {
    let stage = stage_name(arm);
    if inputs.folder.is_done(&stage) {
        return inputs.folder.stage(context, &stage, 0, |_| Ok(String::new()));
    }
    let head = inputs.settings.train.mode == TrainMode::Head;
    let set = training_set::of(inputs, context, arm, grouped, balanced)?;
    let total = if head { 0 } else { retrain::steps(inputs, arm.method, inputs.usable(Split::Train)?.len()) };
    inputs.folder.stage(context, &stage, total, |folder| {
        let (val, test) = (inputs.usable(Split::Val)?, inputs.usable(Split::Test)?);
        let groups = group_numbers(grouped, &val);
        let stage_one = arm.pictures == Pictures::Real && arm.method == Method::Erm && only_last(inputs);
        let mut chosen = if stage_one {
            Chosen { models: BTreeMap::from([(Criterion::Last, (1, first_classifier(inputs, context)?))]), log: vec![] }
        } else {
            retrain::train(inputs, context, &stage, arm.method, &set, groups)?
        };
        if stage_one {
            logs::copy(&inputs.folder.path(erm::STAGE, ""), folder)?;
        } else {
            logs::write(folder, &chosen.log)?;
        }
        let mut selected = Vec::new();
        let mut reported = None;
        let wanted = inputs.settings.train.selection;
        for (criterion, (epoch, model)) in std::mem::take(&mut chosen.models) {
            let on_val = answers(inputs, context, &model, &val, "features-val.safetensors")?;
            let on_test = answers(inputs, context, &model, &test, "")?;
            selected.push(Selected {
                criterion,
                epoch,
                sees_groups: criterion.sees_groups(),
                validation: Validation::of(&predictions(&on_val), inputs.classes()),
                report: report(grouped, &predictions(&on_test), Split::Test)?,
            });
            if criterion == wanted || stage_one {
                reported = Some((model, on_val, on_test));
            }
        }
        let (model, on_val, on_test) = reported.expect("every criterion chooses a model");
        save(inputs, context, stage_one, &model, &folder.join("model.safetensors"))?;
        let this = selected.iter().find(|s| s.criterion == wanted).unwrap_or(&selected[0]);
        run_folder::write_csv(&folder.join("predictions.csv"), &predictions(&on_test))?;
        run_folder::write_json(&folder.join("validation.json"), &this.validation)?;
        run_folder::write_json(&folder.join("groups.json"), &this.report)?;
        // For choosing settings with oracle knowledge only; a validation split need not have every group.
        if let Ok(on_val) = report(grouped, &predictions(&on_val), Split::Val) {
            run_folder::write_json(&folder.join(VALIDATION_GROUPS), &on_val)?;
        }
        run_folder::write_json(&folder.join("selection.json"), &selected)?;
        run_folder::write_json(&folder.join("measures.json"), &measures(inputs, grouped, &test, &on_test))?;
        Ok(format!("worst group {:.3}, average {:.3}", this.report.worst_group(), this.report.plain()))
    })
}

/// Whether the last epoch is all that can be chosen from stage 1: it stores one model, without group labels.
fn only_last(inputs: Inputs<'_>) -> bool {
    inputs.settings.train.mode == TrainMode::Head || inputs.settings.train.selection == Criterion::Last
}

/// The classifier of stage 1: the arm `erm`.
fn first_classifier(inputs: Inputs<'_>, context: &Context<'_>) -> Result<Trained, Error> {
    let path = inputs.folder.path(erm::STAGE, "model.safetensors");
    let architecture = inputs.settings.backbone.architecture;
    let network = scgs_models::load(architecture, &path, Some(inputs.classes()), HeadPolicy::Keep, &context.device)?;
    Ok(match inputs.settings.train.mode {
        TrainMode::Head => Trained::Head(Trained::head_of(&network)),
        TrainMode::Full => Trained::Network(Box::new(network)),
    })
}

/// Class probabilities on a split. A head takes the validation features from stage 1, the test features from
/// [`TEST_STAGE`].
fn answers(
    inputs: Inputs<'_>,
    context: &Context<'_>,
    model: &Trained,
    samples: &[&Sample],
    stored: &str,
) -> Result<Vec<Answer>, Error> {
    let rows: Vec<Vec<f64>> = match model {
        Trained::Head(head) => {
            let path = match stored {
                "" => inputs.folder.path(TEST_STAGE, "features.safetensors"),
                file => inputs.folder.path(erm::STAGE, file),
            };
            let features = Features::load(&path)?;
            (0..samples.len()).map(|i| head.probabilities(features.row(i))).collect()
        }
        Trained::Network(network) => {
            let network = network.clone().fold_batch_norm();
            probabilities(context, &network, inputs.input(), inputs.index, samples)?
        }
    };
    let answer = |(sample, probabilities): (&&Sample, _)| Answer { id: sample.id, label: sample.label, probabilities };
    Ok(samples.iter().zip(rows).map(answer).collect())
}

fn predictions(answers: &[Answer]) -> Vec<Prediction> {
    answers
        .iter()
        .map(|a| {
            let (predicted, confidence) = most_probable(&a.probabilities);
            Prediction { id: a.id, label: a.label, predicted, confidence }
        })
        .collect()
}

fn save(inputs: Inputs<'_>, context: &Context<'_>, stage_one: bool, model: &Trained, path: &Path) -> Result<(), Error> {
    let erm = inputs.folder.path(erm::STAGE, "model.safetensors");
    match model {
        Trained::Network(_) if stage_one => atomic::write(path, fs_err::read(&erm)?)?,
        Trained::Network(network) => scgs_models::save(network, path)?,
        Trained::Head(head) => {
            let architecture = inputs.settings.backbone.architecture;
            let classes = Some(inputs.classes());
            let network = scgs_models::load(architecture, &erm, classes, HeadPolicy::Keep, &context.device)?;
            scgs_models::save(&network.with_linear(head.weight.clone(), head.bias.clone()), path)?;
        }
    }
    Ok(())
}

/// Group numbers, for evaluation and for the criterion that is marked as seeing them.
fn group_numbers(grouped: &Grouped, samples: &[&Sample]) -> Vec<usize> {
    let attributes = grouped.attribute_names().len();
    let of = |s: &&Sample| grouped.attribute_of(s.id).map(|a| s.label * attributes + a);
    samples.iter().map(|s| of(s).expect("samples are of the data set")).collect()
}

fn measures(inputs: Inputs<'_>, grouped: &Grouped, test: &[&Sample], answers: &[Answer]) -> Measures {
    let labels: Vec<usize> = answers.iter().map(|a| a.label).collect();
    let rows: Vec<Vec<f64>> = answers.iter().map(|a| a.probabilities.clone()).collect();
    Measures::of(&labels, &rows, &group_numbers(grouped, test), inputs.classes(), inputs.folder.seed)
}

/// The accuracy of predictions per group that the split is meant to have.
///
/// # Errors
/// [`Error::EmptyGroup`].
pub fn report(grouped: &Grouped, predictions: &[Prediction], split: Split) -> Result<GroupReport, Error> {
    let attributes: Vec<usize> = predictions
        .iter()
        .map(|p| grouped.attribute_of(p.id).expect("predictions are about pictures of the data set"))
        .collect();
    let labels: Vec<usize> = predictions.iter().map(|p| p.label).collect();
    let predicted: Vec<usize> = predictions.iter().map(|p| p.predicted).collect();
    let expected = grouped.expected(split);
    let names = grouped.attribute_names().len();
    GroupReport::count_among(&expected, names, &labels, &attributes, &predicted, &split.to_string())
}

/// Accuracy on the validation split without group labels: what settings may be chosen by.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// Pictures.
    pub n: usize,
    /// Share of correct pictures.
    pub plain: f64,
    /// Accuracy of the class with the lowest one.
    pub worst_class: f64,
}

impl Validation {
    /// Counts predictions; a class that does not occur is left out of the minimum.
    fn of(predictions: &[Prediction], classes: usize) -> Self {
        let share = |of: &mut dyn Iterator<Item = &Prediction>| {
            let (n, correct) = of.fold((0, 0), |(n, c), p| (n + 1, c + usize::from(p.label == p.predicted)));
            f64::from(correct as u32) / f64::from(n)
        };
        let worst_class = (0..classes)
            .filter(|&class| predictions.iter().any(|p| p.label == class))
            .map(|class| share(&mut predictions.iter().filter(|p| p.label == class)))
            .fold(f64::INFINITY, f64::min);
        Self { n: predictions.len(), plain: share(&mut predictions.iter()), worst_class }
    }
}

/// Reads what the criteria chose in a finished arm.
///
/// # Errors
/// If the file is missing or damaged.
pub fn read_selection(folder: &RunFolder, arm: Arm) -> Result<Vec<Selected>, Error> {
    run_folder::read_json(&folder.path(&stage_name(arm), "selection.json"))
}

/// Reads the further measures of a finished arm.
///
/// # Errors
/// If the file is missing or damaged.
pub fn read_measures(folder: &RunFolder, arm: Arm) -> Result<Measures, Error> {
    run_folder::read_json(&folder.path(&stage_name(arm), "measures.json"))
}

/// Reads the predictions of a finished arm on the test split.
///
/// # Errors
/// If the file is missing or damaged.
pub fn read_predictions(folder: &RunFolder, arm: Arm) -> Result<Vec<Prediction>, Error> {
    run_folder::read_csv(&folder.path(&stage_name(arm), "predictions.csv"))
}

/// Reads the validation accuracy of a finished arm.
///
/// # Errors
/// If the file is missing or damaged.
pub fn read_validation(folder: &RunFolder, arm: Arm) -> Result<Validation, Error> {
    run_folder::read_json(&folder.path(&stage_name(arm), "validation.json"))
}

/// Reads the counts per group of the validation split: what only an oracle may choose settings by.
///
/// # Errors
/// If the file is missing, because a group has no validation picture, or damaged.
pub fn read_validation_groups(folder: &RunFolder, arm: Arm) -> Result<GroupReport, Error> {
    run_folder::read_json(&folder.path(&stage_name(arm), VALIDATION_GROUPS))
}

/// Reads the report of a finished arm.
///
/// # Errors
/// If the file is missing or damaged.
pub fn read(folder: &RunFolder, arm: Arm) -> Result<GroupReport, Error> {
    run_folder::read_json(&folder.path(&stage_name(arm), "groups.json"))
}

/// Opens the test split: in mode `head`, computes its features once for all arms. To be called before [`run`], when every
/// choice has been made.
///
/// # Errors
/// Those of reading pictures.
pub fn prepare(inputs: Inputs<'_>, context: &Context<'_>) -> Result<(), Error> {
    if inputs.settings.train.mode == TrainMode::Full {
        return Ok(());
    }
    let test = inputs.usable(Split::Test)?;
    inputs.folder.stage(context, TEST_STAGE, test.len(), |folder| {
        let network = inputs.erm_network(context)?;
        let partial = folder.join("features.partial");
        Features::compute_kept(context, TEST_STAGE, &network, inputs.input(), &inputs.files(&test), Some(&partial))?
            .save(&folder.join("features.safetensors"))?;
        Ok(format!("features of {} test pictures", test.len()))
    })
}

/// Answers of a whole network, whose batch norms should be folded.
///
/// # Errors
/// Those of reading pictures, and [`Error::Interrupted`].
pub fn predict_pictures(
    context: &Context<'_>,
    network: &Network,
    input: Input,
    index: &Index,
    samples: &[&Sample],
) -> Result<Vec<Prediction>, Error> {
    let rows = probabilities(context, network, input, index, samples)?;
    let answer = |(sample, row): (&&Sample, Vec<f64>)| {
        let (predicted, confidence) = most_probable(&row);
        Prediction { id: sample.id, label: sample.label, predicted, confidence }
    };
    Ok(samples.iter().zip(rows).map(answer).collect())
}

/// Class probabilities of a whole network, one row per sample.
///
/// # Errors
/// Those of reading pictures.
pub fn probabilities(
    context: &Context<'_>,
    network: &Network,
    input: Input,
    index: &Index,
    samples: &[&Sample],
) -> Result<Vec<Vec<f64>>, Error> {
    let mut rows = Vec::with_capacity(samples.len());
    for chunk in samples.chunks(BATCH) {
        let paths: Vec<PathBuf> = chunk.iter().map(|s| index.absolute(s)).collect();
        let logits = network.forward(input.load(&paths, context)?);
        let values = logits.into_data().convert::<f32>().try_into_vec::<f32>().expect("converted to f32");
        for row in values.chunks(index.classes.len()) {
            rows.push(softmax(&row.iter().map(|&v| f64::from(v)).collect::<Vec<_>>()));
        }
    }
    Ok(rows)
}

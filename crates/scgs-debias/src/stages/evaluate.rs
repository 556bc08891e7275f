//! Stages `6-<arm>`: each arm is trained and, at the very end, tested. This is the only stage that sees groups: for the
//! report of every arm, and for the training of the oracles.

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
    errors, retrain,
    sources::Added,
    synthesis,
};
use crate::{
    Context, Error, GroupReport, RunFolder,
    arms::{Arm, Method, Pictures},
    features::{Features, Input},
    logistic::{LinearHead, Standardiser, most_probable},
    run_folder,
    settings::TrainMode,
    training::{Example, Trained, group_weights},
};

/// Folder of the test split's features (mode `head`); written when every choice has been made.
pub const TEST_STAGE: &str = "6-test";
/// Folder of the balanced training split's features.
pub const BALANCED_STAGE: &str = "6-balanced-data";
const BATCH: usize = 32;

/// Folder name of an arm.
pub fn stage_name(arm: Arm) -> String {
    format!("6-{}", arm.name())
}

/// What an arm learns from.
struct TrainingSet {
    files: Vec<(u64, PathBuf)>,
    examples: Vec<Example>,
    /// `[examples, width]`; empty in mode `full`.
    features: Vec<f32>,
}

/// Trains an arm and reports its accuracy per group of the test split: `model.safetensors`, `predictions.csv`,
/// `groups.json`, `validation.json`, and `metrics.jsonl` where mini-batches are used.
///
/// # Errors
/// [`Error::EmptyGroup`], [`Error::ImpossibleArm`] for `oracle-balanced` without a balanced set, and those of training.
pub fn run(
    inputs: Inputs<'_>,
    context: &Context<'_>,
    arm: Arm,
    grouped: &Grouped,
    balanced: Option<&Grouped>,
) -> Result<(), Error> {
    let head_mode = inputs.settings.train.mode == TrainMode::Head;
    if head_mode && arm.pictures == Pictures::Balanced {
        balanced_features(inputs, context, arm, balanced)?;
    }
    let stage = stage_name(arm);
    let total = match (head_mode, arm.pictures, arm.method) {
        (true, ..) | (_, Pictures::Real, Method::Erm) => 0,
        _ => retrain::steps(inputs, inputs.usable(Split::Train)?.len()),
    };
    inputs.folder.stage(context, &stage, total, |folder| {
        let erm = inputs.folder.path(erm::STAGE, "model.safetensors");
        let trained = if arm.pictures == Pictures::Real && arm.method == Method::Erm {
            // The classifier of stage 1 is this arm.
            let network = inputs.erm_network(context)?;
            if head_mode { Trained::Head(Trained::head_of(&network)) } else { Trained::Network(Box::new(network)) }
        } else {
            let set = training_set(inputs, arm, grouped, balanced)?;
            if head_mode {
                let real = erm::train_features(inputs.folder)?;
                let scale = Standardiser::fit(&real.pooled, real.width);
                Trained::Head(retrain::fit_head(inputs, &set.features, real.width, &set.examples, &scale)?)
            } else {
                let (network, metrics) = retrain::train_network(inputs, context, &stage, &set.files, &set.examples)?;
                retrain::write_metrics(folder, &metrics)?;
                Trained::Network(Box::new(network))
            }
        };
        let model = folder.join("model.safetensors");
        let (val, test) = (inputs.usable(Split::Val)?, inputs.usable(Split::Test)?);
        let (on_val, on_test) = match trained {
            Trained::Head(head) => {
                let architecture = inputs.settings.backbone.architecture;
                let classes = Some(inputs.classes());
                let network = scgs_models::load(architecture, &erm, classes, HeadPolicy::Keep, &context.device)?;
                let on_val =
                    predict_features(&inputs.folder.path(erm::STAGE, "features-val.safetensors"), &head, &val)?;
                let on_test = predict_features(&inputs.folder.path(TEST_STAGE, "features.safetensors"), &head, &test)?;
                scgs_models::save(&network.with_linear(head.weight, head.bias), &model)?;
                (on_val, on_test)
            }
            Trained::Network(network) => {
                if arm.pictures == Pictures::Real && arm.method == Method::Erm {
                    atomic::write(&model, fs_err::read(&erm)?)?;
                } else {
                    scgs_models::save(&network, &model)?;
                }
                let network = network.fold_batch_norm();
                let predict = |samples: &_| predict_pictures(context, &network, inputs.input(), inputs.index, samples);
                (predict(&val)?, predict(&test)?)
            }
        };
        run_folder::write_csv(&folder.join("predictions.csv"), &on_test)?;
        run_folder::write_json(&folder.join("validation.json"), &Validation::of(&on_val, inputs.classes()))?;
        let report = report(grouped, &on_test, "test")?;
        run_folder::write_json(&folder.join("groups.json"), &report)?;
        Ok(format!("worst group {:.3}, average {:.3}", report.worst_group(), report.plain()))
    })
}

/// The accuracy of predictions per group.
///
/// # Errors
/// [`Error::EmptyGroup`].
pub fn report(grouped: &Grouped, predictions: &[Prediction], split: &str) -> Result<GroupReport, Error> {
    let attributes: Vec<usize> = predictions
        .iter()
        .map(|p| grouped.attribute_of(p.id).expect("predictions are about pictures of the data set"))
        .collect();
    let labels: Vec<usize> = predictions.iter().map(|p| p.label).collect();
    let predicted: Vec<usize> = predictions.iter().map(|p| p.predicted).collect();
    let classes = grouped.index().classes.len();
    GroupReport::count(classes, grouped.attribute_names().len(), &labels, &attributes, &predicted, split)
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

/// Reads the validation accuracy of a finished arm.
///
/// # Errors
/// If the file is missing or damaged.
pub fn read_validation(folder: &RunFolder, arm: Arm) -> Result<Validation, Error> {
    run_folder::read_json(&folder.path(&stage_name(arm), "validation.json"))
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
        Features::compute(context, TEST_STAGE, &network, inputs.input(), &inputs.files(&test))?
            .save(&folder.join("features.safetensors"))?;
        Ok(format!("features of {} test pictures", test.len()))
    })
}

fn need_balanced(arm: Arm, balanced: Option<&Grouped>) -> Result<&Grouped, Error> {
    balanced.ok_or_else(|| Error::ImpossibleArm {
        arm: arm.name().into(),
        why: "a balanced training set of the same size exists only where pictures are composed (habitat); leave it out of --methods".into(),
    })
}

fn balanced_features(
    inputs: Inputs<'_>,
    context: &Context<'_>,
    arm: Arm,
    balanced: Option<&Grouped>,
) -> Result<(), Error> {
    let index = need_balanced(arm, balanced)?.index();
    let samples = index.of(Split::Train);
    inputs.folder.stage(context, BALANCED_STAGE, samples.len(), |folder| {
        let network = inputs.erm_network(context)?;
        let files: Vec<_> = samples.iter().map(|s| (s.id, index.absolute(s))).collect();
        Features::compute(context, BALANCED_STAGE, &network, inputs.input(), &files)?
            .save(&folder.join("features.safetensors"))?;
        Ok(format!("features of {} pictures with equally large groups (oracle)", samples.len()))
    })
}

fn training_set(
    inputs: Inputs<'_>,
    arm: Arm,
    grouped: &Grouped,
    balanced: Option<&Grouped>,
) -> Result<TrainingSet, Error> {
    let head_mode = inputs.settings.train.mode == TrainMode::Head;
    if arm.pictures == Pictures::Balanced {
        let index = need_balanced(arm, balanced)?.index();
        let samples = index.of(Split::Train);
        return Ok(TrainingSet {
            files: samples.iter().map(|s| (s.id, index.absolute(s))).collect(),
            examples: samples.iter().map(|s| Example::plain(s.label)).collect(),
            features: if head_mode {
                Features::load(&inputs.folder.path(BALANCED_STAGE, "features.safetensors"))?.pooled
            } else {
                Vec::new()
            },
        });
    }
    let real = inputs.usable(Split::Train)?;
    let mut set = TrainingSet {
        files: inputs.files(&real),
        examples: real.iter().map(|s| Example::plain(s.label)).collect(),
        features: if head_mode { erm::train_features(inputs.folder)?.pooled } else { Vec::new() },
    };
    // Mistakes and picks are usable training pictures, hence in here.
    let position: BTreeMap<u64, usize> = real.iter().enumerate().map(|(i, s)| (s.id, i)).collect();
    match arm.method {
        Method::Erm => {}
        Method::Jtt => {
            for error in errors::read(inputs.folder)? {
                set.examples[position[&error.id]].repeats = inputs.settings.jtt.upweight;
            }
        }
        Method::Reweight => {
            let attributes = grouped.attribute_names().len();
            let group = |s: &&Sample| Some(s.label * attributes + grouped.attribute_of(s.id)?);
            let groups: Vec<usize> = real.iter().filter_map(group).collect();
            let weights = group_weights(&groups, inputs.classes() * attributes)?;
            set.examples.iter_mut().zip(weights).for_each(|(e, w)| e.weight = w);
        }
    }
    match arm.pictures {
        Pictures::Real | Pictures::Balanced => {}
        Pictures::Duplicate => {
            // As many copies as SCGS makes new pictures, of the same sources.
            for pick in super::clusters::picks(inputs.folder)? {
                set.examples[position[&pick.id]].repeats += 1;
            }
        }
        Pictures::Scgs(variant) => {
            for pick in super::clusters::repeats(inputs, Added::per_class(inputs)?.repeated)? {
                set.examples[position[&pick.id]].repeats += 1;
            }
            add_synthetic(inputs, &mut set, &synthesis::stage_name(variant))?;
        }
    }
    Ok(set)
}

fn add_synthetic(inputs: Inputs<'_>, set: &mut TrainingSet, stage: &str) -> Result<(), Error> {
    let rows = synthesis::read(inputs.folder, stage)?;
    if inputs.settings.train.mode == TrainMode::Head {
        set.features.extend(synthesis::features(inputs.folder, stage)?.pooled);
    }
    for row in rows {
        set.files.push((row.img_id, inputs.folder.path(stage, &row.img_filename)));
        set.examples.push(Example::plain(row.y));
    }
    Ok(())
}

fn predict_features(path: &Path, head: &LinearHead, samples: &[&Sample]) -> Result<Vec<Prediction>, Error> {
    let labels: Vec<usize> = samples.iter().map(|s| s.label).collect();
    Ok(erm::predict(head, &Features::load(path)?, &labels))
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
    let mut predictions = Vec::with_capacity(samples.len());
    for chunk in samples.chunks(BATCH) {
        let paths: Vec<PathBuf> = chunk.iter().map(|s| index.absolute(s)).collect();
        let logits = network.forward(input.load(&paths, context)?);
        let values = logits.into_data().convert::<f32>().try_into_vec::<f32>().expect("converted to f32");
        for (sample, row) in chunk.iter().zip(values.chunks(index.classes.len())) {
            let row: Vec<f64> = row.iter().map(|&v| f64::from(v)).collect();
            let (predicted, confidence) = most_probable(&crate::logistic::softmax(&row));
            predictions.push(Prediction { id: sample.id, label: sample.label, predicted, confidence });
        }
    }
    Ok(predictions)
}

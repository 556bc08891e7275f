//! Training of one arm: its pictures and its method, in the run's mode.

use std::path::PathBuf;

use scgs_data::Split;

use super::{Inputs, erm};
use crate::{
    Context, Error, Settings,
    features::Features,
    logistic::Standardiser,
    methods::{Method, TrainingData},
    selection::Selector,
    settings::TrainMode,
    trainers::{Changed, HeadTrainer, Matrix, NetworkTrainer, Store, Watch},
    training::Chosen,
};

/// What an arm learns from.
#[derive(Debug, Clone, Default)]
pub struct TrainingSet {
    /// Id and file per example.
    pub files: Vec<(u64, PathBuf)>,
    /// Everything about the examples but their content.
    pub data: TrainingData,
    /// `[examples, width]`; empty in mode `full`.
    pub features: Vec<f32>,
    /// Whether these are the real training pictures, each once.
    pub plain: bool,
}

/// Mini-batch steps of an arm in mode `full`: `train.epochs` passes over `real` pictures, however many an arm adds.
pub fn steps(inputs: Inputs<'_>, method: Method, real: usize) -> usize {
    let train = inputs.settings.train_for(method);
    train.epochs * real.div_ceil(train.batch)
}

/// Trains a method on a training set. `validation_groups` are opaque numbers by which the selection criterion
/// `worst-group` judges.
///
/// # Errors
/// Those of the method and of its trainer.
pub fn train(
    inputs: Inputs<'_>,
    context: &Context<'_>,
    stage: &str,
    method: Method,
    set: &TrainingSet,
    validation_groups: Vec<usize>,
) -> Result<Chosen, Error> {
    // A method with training settings of its own does not start from stage 1, which was trained with those of the run.
    let own = inputs.settings.methods.contains_key(method.name());
    let all = Settings { train: inputs.settings.train_for(method), ..inputs.settings.clone() };
    let inputs = Inputs { settings: &all, ..inputs };
    let settings = &inputs.settings.train;
    let validation = inputs.usable(Split::Val)?;
    let labels: Vec<usize> = validation.iter().map(|s| s.label).collect();
    let selector = Selector::new(labels.clone(), inputs.classes(), validation_groups);
    let mut watch = Watch::new(selector, labels, settings.selection, settings.patience);
    let real = inputs.usable(Split::Train)?.len();
    let method = method.with(inputs.settings);
    match settings.mode {
        TrainMode::Head => {
            let on_train = erm::train_features(inputs.folder)?;
            let on_val = Features::load(&inputs.folder.path(erm::STAGE, "features-val.safetensors"))?;
            let scale = Standardiser::fit(&on_train.pooled, on_train.width);
            let names: Vec<String> = set.files.iter().map(|f| f.0.to_string()).collect();
            let network = inputs.erm_network(context)?;
            let changed = Changed { context, stage, input: inputs.input(), files: &set.files, network: &network };
            let mut trainer = HeadTrainer {
                context,
                stage,
                settings,
                data: &set.data,
                names: &names,
                features: Matrix { values: &set.features, width: on_train.width },
                validation: Matrix { values: &on_val.pooled, width: on_val.width },
                scale: &scale,
                real,
                changed: Some(changed),
                watch: &mut watch,
                head: None,
            };
            method.train(&set.data, &mut trainer)?;
        }
        TrainMode::Full => {
            let files: Vec<PathBuf> = inputs.files(&validation).into_iter().map(|f| f.1).collect();
            let mut trainer = NetworkTrainer {
                inputs,
                context,
                stage,
                data: &set.data,
                files: &set.files,
                store: &Store::open(inputs, context)?,
                validation: &files,
                real,
                stage_one: set.plain && !own && inputs.folder.is_done(erm::STAGE),
                watch: &mut watch,
                network: None,
                phases: 0,
            };
            method.train(&set.data, &mut trainer)?;
        }
    }
    Ok(watch.finish())
}

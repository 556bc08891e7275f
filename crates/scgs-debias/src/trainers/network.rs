//! Training of a whole network by mini-batches.

use std::{cell::RefCell, ops::ControlFlow, path::PathBuf};

use burn::{
    module::Module as _,
    tensor::{Device, Tensor, TensorData},
};
use scgs_models::{HeadPolicy, Network, pooled};
use sha2::{Digest, Sha256};

use super::{HeadTrainer, Matrix, Store, Watch, ahead, changed, steps};
use crate::{
    Context, Error,
    logistic::{Standardiser, softmax},
    methods::{Change, LastLayerFit, Length, Outputs, Part, Phase, Start, Trainer, TrainingData},
    minibatch::{self, Batch, Keeping, Mixing, Replicas, Sampler, Schedule, Targets, Visits, freeze, numbers},
    run_folder,
    settings::TrainSettings,
    stages::{Inputs, erm},
    training::{Chosen, LogLine, Trained},
};

/// Pictures per forward pass outside training; bounds memory, does not change any result.
const BATCH: usize = 32;

/// Trains every layer.
pub struct NetworkTrainer<'a> {
    /// Settings, weights and folder of the run.
    pub inputs: Inputs<'a>,
    /// Device, cancellation and progress.
    pub context: &'a Context<'a>,
    /// For messages, progress and the random stream.
    pub stage: &'a str,
    /// The examples.
    pub data: &'a TrainingData,
    /// Id and file per example.
    pub files: &'a [(u64, PathBuf)],
    /// Where pictures are read.
    pub store: &'a Store,
    /// Files of the validation split.
    pub validation: &'a [PathBuf],
    /// Number of real training pictures: the budget of steps.
    pub real: usize,
    /// Whether plain ERM on these examples is the classifier of stage 1.
    pub stage_one: bool,
    /// Keeps the chosen models.
    pub watch: &'a mut Watch,
    /// The present network, on a plain device.
    pub network: Option<Network>,
    /// Phases begun so far; each has checkpoints of its own.
    pub phases: usize,
}

impl Trainer for NetworkTrainer<'_> {
    fn run(&mut self, mut phase: Phase) -> Result<(), Error> {
        if phase.part == Part::LastLayer {
            return self.last_layer(|head| head.run(phase));
        }
        if self.stage_one && !phase.last && is_plain(&phase) {
            let path = self.inputs.folder.path(erm::STAGE, "model.safetensors");
            let architecture = self.inputs.settings.backbone.architecture;
            let classes = Some(self.data.classes);
            let device = &self.context.device;
            self.network = Some(scgs_models::load(architecture, &path, classes, HeadPolicy::Keep, device)?);
            return Ok(());
        }
        let settings = &self.inputs.settings.train;
        let on = |device: &Device| training_on(device, settings);
        let models = self.models(&phase, &on(&self.context.device))?;
        let masks = match phase.change {
            Change::None => None,
            Change::MaskAttention { sigmas } => {
                Some((self.network.clone().expect("a method trains before it masks").fold_batch_norm(), sigmas))
            }
        };
        let schedule = self.schedule(&phase);
        let targets = Targets {
            names: self.files.iter().map(|f| f.0.to_string()).collect(),
            labels: self.data.labels.clone(),
            weights: phase.weights.clone(),
            smoothing: settings.smoothing,
        };
        let mut objective = phase.objective();
        let visits = Visits { rows: phase.rows, sampler: phase.sampler, mixing: phase.mixing };
        let (outputs, last, name) = (phase.outputs, phase.last, phase.name);
        let (context, stage, input) = (self.context, self.stage, self.inputs.input());
        let (files, store, augment) = (self.files, self.store, settings.augment);
        let paths = |rows: &[usize]| rows.iter().map(|&row| files[row].1.clone()).collect::<Vec<PathBuf>>();
        let make = |batch: &Batch| {
            let (epoch, number) = batch.place;
            changed::mixed(input.size, &batch.items, &|of, rows| {
                let name = format!("augment/{}/{epoch}/{number}/{of:?}", schedule.stream.1);
                store.augmented(&paths(rows), augment, (schedule.stream.0, &name))
            })
        };
        self.phases += 1;
        let checkpoints = self.inputs.folder.path(stage, run_folder::CHECKPOINTS);
        let fingerprint = fingerprint(settings, &schedule, &visits, &targets, (files, outputs, last));
        let (this, watch) = (self.inputs.settings, RefCell::new(&mut *self.watch));
        let (validation, classes) = (self.validation, self.data.classes);
        let keeping = Keeping {
            folder: checkpoints.join(format!("{}-{name}", self.phases)),
            every: this.checkpoint.every,
            keep: this.checkpoint.keep,
            fingerprint,
            beside: &|| watch.borrow().keep(name),
            restore: &|models: &Vec<Network>, beside| watch.borrow_mut().take_back(name, &models[0], &beside),
        };
        let (models, metrics) =
            ahead::with_batches(self.inputs.memory.ahead.get(), &visits, &schedule, make, |ready| {
                let load = |batch: &Batch, device: &Device| -> Result<Tensor<4>, Error> {
                    let values = match &masks {
                        // What is masked depends on a network, which stays on this thread.
                        Some((network, sigmas)) => {
                            changed::blackened(network, input, context, &paths(&batch.rows()), *sigmas)?
                        }
                        None => ready(batch)?,
                    };
                    let shape = [batch.items.len(), 3, input.size, input.size];
                    Ok(Tensor::from_data(TensorData::new(values, shape), device))
                };
                let replicas = Replicas {
                    devices: context.replicas,
                    copy: &|models: &Vec<Network>, device| models.iter().map(|m| m.replica(&on(device))).collect(),
                    join: &|models, copies| {
                        models.iter().zip(copies).for_each(|(model, copy)| model.take_statistics(copy))
                    },
                };
                minibatch::train_kept(
                    context,
                    stage,
                    models,
                    &schedule,
                    &visits,
                    &targets,
                    objective.as_mut(),
                    &|models: &Vec<Network>, batch| {
                        let plain = models[0].linear().weight.val().inner().device();
                        Ok(forward(models, load(batch, &on(&plain))?, outputs))
                    },
                    &mut |models, metrics| {
                        if !last {
                            return Ok(ControlFlow::Continue(()));
                        }
                        // `valid` takes a copy of the running statistics, which clones share.
                        let network = models[0].valid();
                        let folded = network.clone().fold_batch_norm();
                        let probabilities = of_files(store, context, classes, &folded, validation)?;
                        let line = LogLine { phase: name, metrics: metrics.clone(), validation: None };
                        let model = || Trained::Network(Box::new(network.clone()));
                        let stop = watch.borrow_mut().offer(line, &probabilities, &model);
                        Ok(if stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
                    },
                    Some(&keeping),
                    Some(&replicas),
                )
            })?;
        if !last {
            metrics.into_iter().for_each(|metrics| self.watch.note(LogLine { phase: name, metrics, validation: None }));
        }
        self.network = models.valid().into_iter().next();
        Ok(())
    }

    fn probabilities(&mut self) -> Result<Vec<Vec<f64>>, Error> {
        let network = self.network.clone().expect("a method trains before it asks").fold_batch_norm();
        let files: Vec<PathBuf> = self.files.iter().map(|f| f.1.clone()).collect();
        of_files(self.store, self.context, self.data.classes, &network, &files)
    }

    fn fit_last_layer(&mut self, fit: LastLayerFit) -> Result<(), Error> {
        self.last_layer(|head| head.fit_last_layer(fit))
    }
}

impl NetworkTrainer<'_> {
    /// The models to start from. Clones share running statistics, so a second model is loaded anew.
    fn models(&self, phase: &Phase, device: &Device) -> Result<Vec<Network>, Error> {
        let first = match (phase.start, &self.network) {
            (Start::Continue, Some(network)) => network.for_training(device),
            _ => self.inputs.fresh_network(device)?,
        };
        let mut models = vec![first];
        if phase.outputs == Outputs::TwoModels {
            models.push(self.inputs.fresh_network(device)?);
        }
        let (models, unknown) = freeze(models, &self.inputs.settings.train.freeze);
        if unknown.is_empty() { Ok(models) } else { Err(Error::UnknownFrozen { unknown, known: models[0].layers() }) }
    }

    fn schedule(&self, phase: &Phase) -> Schedule {
        let s = &self.inputs.settings.train;
        Schedule {
            steps: steps(phase, s.epochs, self.real, s.batch),
            batch: if matches!(phase.sampler, Sampler::Contrastive(_)) { 1 } else { s.batch },
            learning_rate: phase.rate.unwrap_or(s.learning_rate),
            decay: s.schedule,
            warmup: s.warmup,
            optimiser: s.optimiser,
            weight_decay: s.weight_decay,
            momentum: s.momentum,
            clip: (s.clip > 0.0).then_some(s.clip),
            accumulate: s.accumulate,
            average: (s.average > 0.0).then_some(s.average),
            pull: None,
            stream: (self.data.stream.0, format!("train/{}/{}", self.data.stream.1, phase.name)),
        }
    }

    /// Trains the last layer on the features of the present network, then puts it back.
    fn last_layer(&mut self, work: impl FnOnce(&mut HeadTrainer<'_>) -> Result<(), Error>) -> Result<(), Error> {
        let network = self.network.clone().expect("a method trains the network before its last layer");
        let folded = network.clone().fold_batch_norm();
        let train: Vec<PathBuf> = self.files.iter().map(|f| f.1.clone()).collect();
        let (on_train, on_val) = (self.features(&folded, &train)?, self.features(&folded, self.validation)?);
        let width = self.inputs.input().architecture.feature_width();
        let real: Vec<f32> = on_train
            .chunks(width)
            .zip(&self.data.synthetic)
            .filter(|(_, synthetic)| !**synthetic)
            .flat_map(|(row, _)| row.iter().copied())
            .collect();
        let names: Vec<String> = self.files.iter().map(|f| f.0.to_string()).collect();
        // The head's choices become networks below.
        let mut watch = self.watch.clone();
        let mut head = HeadTrainer {
            context: self.context,
            stage: self.stage,
            settings: &self.inputs.settings.train,
            data: self.data,
            names: &names,
            features: Matrix { values: &on_train, width },
            validation: Matrix { values: &on_val, width },
            scale: &Standardiser::fit(&real, width),
            real: self.real,
            changed: None,
            watch: &mut watch,
            head: Some(Trained::head_of(&network)),
        };
        work(&mut head)?;
        let with = |head: crate::logistic::LinearHead| network.clone().with_linear(head.weight, head.bias);
        self.network = head.head.map(with);
        let Chosen { models, log } = watch.finish();
        let models = models.into_iter().map(|(criterion, (epoch, model))| {
            let model = match model {
                Trained::Head(head) => Trained::Network(Box::new(with(head))),
                network @ Trained::Network(_) => network,
            };
            (criterion, (epoch, model))
        });
        self.watch.chosen = Chosen { models: models.collect(), log };
        Ok(())
    }

    fn features(&self, network: &Network, files: &[PathBuf]) -> Result<Vec<f32>, Error> {
        let mut features = Vec::new();
        for chunk in files.chunks(BATCH) {
            let map = network.features(self.store.load(chunk, &self.context.device)?);
            let values = pooled(map).into_data().convert::<f32>().try_into_vec::<f32>();
            features.extend(values.expect("converted to f32"));
        }
        Ok(features)
    }
}

/// Where a network is trained whose home is `device`.
fn training_on(device: &Device, settings: &TrainSettings) -> Device {
    let device = device.clone().autodiff();
    if settings.checkpointing { device.gradient_checkpointing() } else { device }
}

/// Class probabilities of pictures, one row each.
fn of_files(
    store: &Store,
    context: &Context<'_>,
    classes: usize,
    network: &Network,
    files: &[PathBuf],
) -> Result<Vec<Vec<f64>>, Error> {
    let mut probabilities = Vec::with_capacity(files.len());
    for chunk in files.chunks(BATCH) {
        let logits = numbers(network.forward(store.load(chunk, &context.device)?));
        probabilities.extend(logits.chunks(classes).map(softmax));
    }
    Ok(probabilities)
}

/// Changes with everything that decides a phase's steps, and with the version of the program.
fn fingerprint(
    settings: &TrainSettings,
    schedule: &Schedule,
    visits: &Visits,
    targets: &Targets,
    rest: (&[(u64, PathBuf)], Outputs, bool),
) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let text = format!("{version} {settings:?} {schedule:?} {visits:?} {targets:?} {rest:?}");
    Sha256::digest(text).iter().map(|b| format!("{b:02x}")).collect()
}

/// Whether a phase is ERM as stage 1 does it.
fn is_plain(phase: &Phase) -> bool {
    phase.objective.is_none()
        && phase.start == Start::Fresh
        && phase.sampler == Sampler::Shuffle
        && phase.mixing == Mixing::None
        && phase.length == Length::Budget(1.0)
        && phase.rate.is_none()
        && phase.weights.iter().all(|&w| w == 1.0)
        && phase.rows.len() == phase.weights.len()
        && phase.rows.is_sorted()
}

fn forward(models: &[Network], x: Tensor<4>, outputs: Outputs) -> Vec<Tensor<2>> {
    match outputs {
        Outputs::Logits => vec![models[0].forward(x)],
        Outputs::TwoModels => vec![models[0].forward(x.clone()), models[1].forward(x)],
        Outputs::Features => {
            let z = pooled(models[0].features(x));
            vec![models[0].linear().forward(z.clone()), z]
        }
    }
}

#[cfg(test)]
#[path = "network_tests.rs"]
mod tests;

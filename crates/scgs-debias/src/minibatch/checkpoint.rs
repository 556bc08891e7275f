//! Checkpoints of a mini-batch run: everything that the next step depends on, in one file that appears whole.
//!
//! The order of examples is no part of it: it follows from (seed, epoch). Parameters are lists in the order of the module;
//! their ids, under which the optimiser keeps its state, are kept and given back.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use burn::{
    Tensor,
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId},
    optim::ModuleOptimizer,
    tensor::{Bytes, TensorData},
};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use scgs_data::atomic;
use serde::{Deserialize, Serialize};

use super::{Objective, Progress, update::Average};
use crate::{Context, Error, Event, run_folder};

/// The key of the description in a file's metadata.
const KEY: &str = "scgs";
/// How the tensors of models that are kept beside are called.
const BESIDE: &str = "beside.";

/// What somebody else keeps with a checkpoint, such as the models that were selected so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Beside {
    /// A description.
    pub text: String,
    /// Models by name: every float of a module, running statistics too, one after the other.
    pub models: BTreeMap<String, Vec<f32>>,
}

/// Where, how often and with what checkpoints are kept.
pub struct Keeping<'a, M> {
    /// Folder of this run's checkpoints alone.
    pub folder: PathBuf,
    /// Steps between two of them, at least 1.
    pub every: usize,
    /// How many stay, at least 1.
    pub keep: usize,
    /// A checkpoint is used only by a run with the same one.
    pub fingerprint: String,
    /// What is kept beside the run's own state.
    pub beside: &'a dyn Fn() -> Beside,
    /// Takes it back; the model is the restored one, off the tape.
    pub restore: &'a dyn Fn(&M, Beside) -> Result<(), Error>,
}

impl<M> std::fmt::Debug for Keeping<'_, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeping").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// The description of a checkpoint. TOML and not JSON: its numbers read back as they were written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    fingerprint: String,
    beside: String,
    objective: Vec<f64>,
    progress: Progress,
}

/// A checkpoint in memory.
pub(super) struct Found {
    path: PathBuf,
    description: Description,
    ids: Vec<u64>,
    model: Vec<f32>,
    average: Vec<f32>,
    optimiser: Vec<u8>,
    beside: BTreeMap<String, Vec<f32>>,
}

impl<M: Module> Keeping<'_, M> {
    /// The newest checkpoint of this very run that can be read.
    pub(super) fn newest(&self, context: &Context<'_>, stage: &str) -> Option<Found> {
        let mut notes = Vec::new();
        let found = self.files().into_iter().rev().find_map(|path| match Found::read(&path) {
            Ok(found) if found.description.fingerprint == self.fingerprint => Some(found),
            Ok(_) => {
                notes.push(format!("{} is of other settings or another version and is not used", path.display()));
                None
            }
            Err(error) => {
                notes.push(format!("{error}"));
                None
            }
        });
        if let Some(found) = &found {
            notes.push(format!("{stage}: going on after step {} of training", found.description.progress.step));
        }
        notes.into_iter().for_each(|text| (context.report)(Event::Notice { text }));
        found
    }

    /// Writes a checkpoint and removes those that are too many.
    pub(super) fn save(
        &self,
        at: &Progress,
        model: &M,
        optimiser: &ModuleOptimizer,
        average: Option<&Average<M>>,
        objective: &dyn Objective,
    ) -> Result<(), Error> {
        let beside = (self.beside)();
        let description = Description {
            fingerprint: self.fingerprint.clone(),
            beside: beside.text,
            objective: objective.memory(),
            progress: at.clone(),
        };
        let path = self.folder.join(format!("step-{:09}.safetensors", at.step));
        let optimiser = optimiser.into_bytes().map_err(|e| run_folder::table_error(&path, &e))?;
        // `valid` also settles running statistics that wait for their thread.
        let plain = model.valid();
        let averaged = average.map(|average| numbers_of(&average.module(model))).unwrap_or_default();
        let mut tensors = vec![
            ("average".to_owned(), Dtype::F32, bytes(&averaged)),
            ("ids".to_owned(), Dtype::U64, ids_of(&plain).iter().flat_map(|id| id.to_le_bytes()).collect()),
            ("model".to_owned(), Dtype::F32, bytes(&numbers_of(&plain))),
            ("optimiser".to_owned(), Dtype::U8, optimiser.to_vec()),
        ];
        tensors.extend(beside.models.iter().map(|(name, list)| (format!("{BESIDE}{name}"), Dtype::F32, bytes(list))));
        let views = tensors.iter().map(|(name, kind, bytes)| {
            let size = match kind {
                Dtype::U8 => 1,
                Dtype::U64 => 8,
                _ => 4,
            };
            let view = TensorView::new(*kind, vec![bytes.len() / size], bytes);
            (name.as_str(), view.expect("as many bytes as the list has elements"))
        });
        let text = toml::to_string(&description).map_err(|e| run_folder::table_error(&path, &e))?;
        let bytes = safetensors::serialize(views, Some([(KEY.to_owned(), text)].into()))
            .map_err(|e| run_folder::table_error(&path, &e))?;
        fs_err::create_dir_all(&self.folder)?;
        atomic::write(&path, bytes)?;
        let files = self.files();
        for old in &files[..files.len().saturating_sub(self.keep)] {
            fs_err::remove_file(old)?;
        }
        Ok(())
    }

    /// The checkpoints that are there, oldest first.
    fn files(&self) -> Vec<PathBuf> {
        let entries = fs_err::read_dir(&self.folder).into_iter().flatten();
        let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        files.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("step-")));
        files.sort();
        files
    }
}

impl Found {
    fn read(path: &Path) -> Result<Self, Error> {
        let error = |e: &dyn std::fmt::Display| run_folder::table_error(path, e);
        let bytes = fs_err::read(path)?;
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| error(&e))?;
        let text = header.metadata().as_ref().and_then(|entries| entries.get(KEY));
        let text = text.ok_or_else(|| error(&"is no checkpoint of a training"))?;
        let description = toml::from_str(text).map_err(|e| error(&e))?;
        let file = SafeTensors::deserialize(&bytes).map_err(|e| error(&e))?;
        let data = |name: &str| Ok::<_, Error>(file.tensor(name).map_err(|e| error(&e))?.data().to_vec());
        let beside = file.names().into_iter().filter_map(|name| Some((name, name.strip_prefix(BESIDE)?.to_owned())));
        let beside: Result<_, Error> = beside.map(|(name, short)| Ok((short, floats(&data(name)?)))).collect();
        Ok(Self {
            description,
            ids: data("ids")?.as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b)).collect(),
            model: floats(&data("model")?),
            average: floats(&data("average")?),
            optimiser: data("optimiser")?,
            beside: beside?,
            path: path.to_owned(),
        })
    }

    /// The module with the ids under which the optimiser's state was kept.
    pub(super) fn with_ids<M: Module>(&self, module: M) -> M {
        module.map(&mut SetIds(self.ids.iter()))
    }

    /// Puts everything back; `model` has the right ids.
    pub(super) fn restore<M: Module>(
        self,
        model: M,
        optimiser: ModuleOptimizer,
        average: Option<&mut Average<M>>,
        objective: &mut dyn Objective,
        keeping: &Keeping<'_, M>,
    ) -> Result<(Progress, M, ModuleOptimizer), Error> {
        let expected = numbers_of(&model.valid()).len();
        if self.model.len() != expected || self.ids.len() != ids_of(&model).len() {
            let message = format!("holds {} numbers, the model has {expected}", self.model.len());
            return Err(run_folder::table_error(&self.path, &message));
        }
        let optimiser = optimiser
            .from_bytes(Bytes::from_bytes_vec(self.optimiser))
            .map_err(|e| run_folder::table_error(&self.path, &e))?;
        if let Some(average) = average {
            average.set(&with_numbers(model.valid(), &self.average));
        }
        let model = with_numbers(model, &self.model);
        objective.remember(&self.description.objective);
        (keeping.restore)(&model.valid(), Beside { text: self.description.beside, models: self.beside })?;
        let progress = self.description.progress;
        Ok((Progress { finished_before: progress.finished, ..progress }, model, optimiser))
    }
}

/// Every float of a module, running statistics too, one after the other.
pub(crate) fn numbers_of<M: Module>(module: &M) -> Vec<f32> {
    struct Walk(Vec<f32>);
    impl ModuleVisitor for Walk {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let values = param.val().into_data().convert::<f32>().try_into_vec::<f32>();
            self.0.extend(values.expect("converted to f32"));
        }
    }
    let mut walk = Walk(Vec::new());
    module.visit(&mut walk);
    walk.0
}

/// The module with its floats from `values`. A parameter keeps whether it is trained.
///
/// # Panics
/// If there are too few values.
pub(crate) fn with_numbers<M: Module>(module: M, values: &[f32]) -> M {
    struct Walk<'a>(&'a [f32]);
    impl ModuleMapper for Walk<'_> {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|old| {
                let (now, later) = self.0.split_at(old.shape().num_elements());
                self.0 = later;
                let tensor = Tensor::from_data(TensorData::new(now.to_vec(), old.shape()), &old.device());
                if old.is_require_grad() { tensor.require_grad() } else { tensor }
            })
        }
    }
    module.map(&mut Walk(values))
}

fn ids_of<M: Module>(module: &M) -> Vec<u64> {
    struct Walk(Vec<u64>);
    impl ModuleVisitor for Walk {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.push(param.id.val());
        }
    }
    let mut walk = Walk(Vec::new());
    module.visit(&mut walk);
    walk.0
}

struct SetIds<'a>(std::slice::Iter<'a, u64>);

impl ModuleMapper for SetIds<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, value, mapper) = param.consume();
        // A checkpoint of another model is refused afterwards, by its length.
        let id = self.0.next().map_or(id, |&kept| ParamId::from(kept));
        Param::from_mapped_value(id, value, mapper)
    }
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

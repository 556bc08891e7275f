//! The stages of a run, in order. Each reads what earlier ones wrote, writes one folder, and can be called alone.

pub mod chain;
pub mod clusters;
pub mod diffusion;
pub mod erm;
pub mod errors;
pub mod evaluate;
mod filter;
pub mod masks;
pub mod objects;
mod painter;
pub mod pictures;
pub mod retrain;
pub mod sources;
pub mod synthesis;
pub mod training_set;

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use scgs_data::{Index, Sample, Split};
use scgs_models::{HeadPolicy, Network};

use crate::{Context, Error, RunFolder, Settings, features::Input, memory::Share};

/// What every stage works on. There is no group attribute in here: nothing downstream of it can use one.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The pictures.
    pub index: &'a Index,
    /// Checked settings.
    pub settings: &'a Settings,
    /// Where results go.
    pub folder: &'a RunFolder,
    /// The weights file; `None` starts from random weights.
    pub weights: Option<&'a Path>,
    /// A folder of pictures without objects, for the classical fill.
    pub backgrounds: Option<&'a Path>,
    /// The weights of the small diffusion model, where the settings ask for it.
    pub small_model: Option<&'a Path>,
    /// What to paint, per class: one prompt or several, which are used in turn.
    pub prompts: &'a [Vec<String>],
    /// What is made ahead and painted together.
    pub memory: Share,
}

impl<'a> Inputs<'a> {
    /// What reading a finished run's files takes: no stage can be run from it.
    pub(crate) fn for_reading(index: &'a Index, settings: &'a Settings, folder: &'a RunFolder) -> Self {
        let memory = Share::default();
        Self { index, settings, folder, weights: None, backgrounds: None, small_model: None, prompts: &[], memory }
    }

    /// How pictures enter the network.
    pub fn input(&self) -> Input {
        let backbone = &self.settings.backbone;
        Input { architecture: backbone.architecture, size: backbone.input_size, memory: self.memory }
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.index.classes.len()
    }

    /// The pictures of a split that were readable when the run started, in the order of the index.
    ///
    /// # Errors
    /// If the table of unreadable pictures is missing or damaged.
    pub fn usable(&self, split: Split) -> Result<Vec<&'a Sample>, Error> {
        let bad = pictures::unreadable(self.folder)?;
        Ok(self.index.of(split).into_iter().filter(|s| !bad.contains(&s.id)).collect())
    }

    /// Ids and files of samples.
    pub fn files(&self, samples: &[&Sample]) -> Vec<(u64, PathBuf)> {
        samples.iter().map(|s| (s.id, self.index.absolute(s))).collect()
    }

    /// A network to start training from: pretrained or random, with a fresh last layer for the data set's classes.
    ///
    /// # Errors
    /// Those of the weights file.
    pub fn fresh_network(&self, device: &Device) -> Result<Network, Error> {
        let architecture = self.settings.backbone.architecture;
        let seed = self.folder.seed;
        Ok(match self.weights {
            Some(path) => {
                scgs_models::load(architecture, path, Some(self.classes()), HeadPolicy::Replace { seed }, device)?
            }
            None => architecture.init_seeded(self.classes(), seed, false, device),
        })
    }

    /// The trained ERM classifier, batch norms folded.
    ///
    /// # Errors
    /// Those of the weights file.
    pub fn erm_network(&self, context: &Context<'_>) -> Result<Network, Error> {
        let path = self.folder.path(erm::STAGE, "model.safetensors");
        let architecture = self.settings.backbone.architecture;
        let network = scgs_models::load(architecture, &path, Some(self.classes()), HeadPolicy::Keep, &context.device)?;
        Ok(network.fold_batch_norm())
    }
}

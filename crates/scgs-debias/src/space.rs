//! Disk space: what a stage is going to write, and whether there is room for it.
//!
//! Estimates are on the high side: a new picture counts as many bytes as it has values, which no PNG exceeds by much.

use std::path::Path;

use crate::{Error, Settings, memory, settings::TrainMode, stages::Inputs};
use scgs_data::Split;

/// Pictures whose size is looked at.
const SAMPLE: usize = 16;
/// Left over for logs, tables and what others write meanwhile.
const RESERVE: f64 = 64e6;
/// Bytes of a network's weights when there is no file to ask.
const MODEL: f64 = 100e6;

/// Bytes per stage of one run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Needs {
    /// Of a picture of the data set as PNG.
    picture: f64,
    model: f64,
    /// Of the features of one picture.
    features: f64,
    train: f64,
    val: f64,
    test: f64,
    /// New pictures of an arm.
    added: f64,
    /// Sources of new pictures.
    sources: f64,
    /// Checkpoints that lie there at once, with the optimiser's state and the selected models; 0 in mode `head`.
    checkpoints: f64,
}

impl Needs {
    /// Looks at a few pictures and counts the rest.
    pub(crate) fn of(inputs: Inputs<'_>) -> Self {
        let settings = inputs.settings;
        let of = |split| inputs.index.of(split).len() as f64;
        let (train, samples) = (of(Split::Train), &inputs.index.samples);
        let step = (samples.len() / SAMPLE).max(1);
        let sizes: Vec<f64> = samples
            .iter()
            .step_by(step)
            .take(SAMPLE)
            .filter_map(|sample| image::image_dimensions(inputs.index.absolute(sample)).ok())
            .map(|(width, height)| f64::from(width) * f64::from(height) * 3.0)
            .collect();
        let model = inputs.weights.and_then(|path| fs_err::metadata(path).ok()).map_or(MODEL, |file| file.len() as f64);
        let full = settings.train.mode == TrainMode::Full;
        Self {
            picture: sizes.iter().sum::<f64>() / (sizes.len() as f64).max(1.0),
            model,
            features: settings.backbone.architecture.feature_width() as f64 * 8.0,
            train,
            val: of(Split::Val),
            test: of(Split::Test),
            added: (settings.synthesis.share * train).ceil(),
            sources: (settings.synthesis.sources * inputs.classes()).min(train as usize) as f64,
            // Weights, optimiser, average, and up to four selected models; one more while the newest is written.
            checkpoints: if full { (settings.checkpoint.keep + 1) as f64 * 7.0 } else { 0.0 },
        }
    }

    /// What decides the memory of the run.
    pub(crate) fn memory(&self, settings: &Settings) -> memory::Needs {
        let count = |n: f64| n as usize;
        memory::Needs::of(settings, count(self.train + self.val), count(self.added), self.model, self.picture)
    }

    /// What a stage writes at most, in bytes.
    fn stage(&self, stage: &str) -> f64 {
        let trained = self.model * (1.0 + self.checkpoints);
        let number = stage.split('-').next().unwrap_or_default();
        match (number, stage) {
            ("1", _) => trained + 2.0 * (self.train + self.val) * self.features,
            ("3", "3-clusters") => self.train.min(self.sources.max(self.added)) * self.picture,
            // The picture, its attention and its mask.
            ("4", _) => self.sources * self.picture * 5.0 / 3.0,
            ("5", _) => self.added * (self.picture + 2.0 * self.features),
            ("6", "6-test") => 2.0 * self.test * self.features,
            ("6", "6-balanced") => 2.0 * self.train * self.features,
            ("6", _) => trained,
            _ => 0.0,
        }
    }

    /// Refuses to begin a stage for which `folder` has no room.
    ///
    /// # Errors
    /// [`Error::NoSpace`].
    pub(crate) fn check(&self, folder: &Path, stage: &str) -> Result<(), Error> {
        self.check_against(folder, stage, free(folder))
    }

    fn check_against(&self, folder: &Path, stage: &str, free: Option<u64>) -> Result<(), Error> {
        let needed = self.stage(stage);
        match free {
            Some(free) if needed > 0.0 && (free as f64) < needed + RESERVE => Err(Error::NoSpace {
                stage: stage.to_owned(),
                folder: folder.to_owned(),
                needed: needed + RESERVE,
                free: free as f64,
            }),
            _ => Ok(()),
        }
    }
}

/// Bytes that an ordinary user may still write to the file system of `folder`; `None` where the system does not say.
fn free(folder: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let stat = rustix::fs::statvfs(folder).ok()?;
        stat.f_bavail.checked_mul(stat.f_frsize)
    }
    #[cfg(not(unix))]
    {
        let _ = folder;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs() -> Needs {
        Needs {
            picture: 150e3,
            model: 50e6,
            features: 16e3,
            train: 1000.0,
            val: 100.0,
            test: 200.0,
            added: 500.0,
            sources: 300.0,
            checkpoints: 0.0,
        }
    }

    #[test]
    fn a_stage_without_room_is_refused_before_it_begins() {
        let folder = Path::new("runs");
        let needed = needs().stage("5-synthesis-random-mask");
        assert_eq!(needed, 500.0 * (150e3 + 32e3));
        let enough = (needed + RESERVE) as u64 + 1;
        needs().check_against(folder, "5-synthesis", Some(enough)).unwrap();
        needs().check_against(folder, "5-synthesis", None).unwrap();
        let text = needs().check_against(folder, "5-synthesis", Some(80_000_000)).unwrap_err().to_string();
        assert!(text.contains("5-synthesis writes about 155 MB, 80 MB are free"), "{text}");
        needs().check_against(folder, "2-errors", Some(0)).unwrap();
    }

    #[test]
    fn training_every_layer_counts_its_checkpoints() {
        let full = Needs { checkpoints: 21.0, ..needs() };
        assert_eq!(full.stage("6-scgs+jtt"), 22.0 * 50e6);
        assert!(full.stage("1-erm") > needs().stage("1-erm"));
    }
}

//! The folder of one run: a sub-folder per stage, each with a `done` marker when it is finished.

use std::path::{Path, PathBuf};

use scgs_data::atomic;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Context, Error, Event,
    shared::{self, Shared},
};

/// `runs/<dataset>/<config-hash>/seed-<n>/`
#[derive(Debug, Clone)]
pub struct RunFolder {
    root: PathBuf,
    /// The seed from which every random stream of the run derives.
    pub seed: u64,
    shared: Option<Shared>,
}

impl RunFolder {
    /// Opens (creates) the folder of `seed` below `parent`.
    ///
    /// # Errors
    /// If the folder cannot be created.
    pub fn open(parent: &Path, seed: u64) -> Result<Self, Error> {
        let root = parent.join(format!("seed-{seed}"));
        fs_err::create_dir_all(&root)?;
        Ok(Self { root, seed, shared: None })
    }

    /// Takes finished stages of other configurations over, and lets them take this run's.
    pub(crate) fn sharing(self, shared: Shared) -> Self {
        Self { shared: Some(shared), ..self }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path inside a stage's folder.
    pub fn path(&self, stage: &str, file: &str) -> PathBuf {
        self.root.join(stage).join(file)
    }

    /// True if the stage was finished by this or an earlier process.
    pub fn is_done(&self, stage: &str) -> bool {
        self.path(stage, "done").is_file()
    }

    /// Runs a stage unless it is finished here, or by another configuration that agrees in all that concerns it, and marks it
    /// finished. `work` writes into the given folder (it may find
    /// files of an interrupted attempt there) and returns a line of facts, which the marker keeps.
    ///
    /// # Errors
    /// Those of `work`, and of the marker.
    pub fn stage(
        &self,
        context: &Context<'_>,
        stage: &str,
        total: usize,
        work: impl FnOnce(&Path) -> Result<String, Error>,
    ) -> Result<(), Error> {
        let folder = self.root.join(stage);
        let marker = folder.join("done");
        let other = || self.shared.as_ref().and_then(|s| s.find(stage, self.seed, &folder));
        if let Some(other) = (!marker.is_file()).then(other).flatten() {
            shared::take_over(&other, &folder)?;
        }
        if marker.is_file() {
            let summary = fs_err::read_to_string(&marker)?.trim_end().to_owned();
            (context.report)(Event::Finished { stage: stage.to_owned(), summary, seconds: 0.0, reused: true });
            return Ok(());
        }
        fs_err::create_dir_all(&folder)?;
        let clock = context.start(stage, total);
        let summary = work(&folder)?;
        atomic::write(&marker, format!("{summary}\n").as_bytes())?;
        if let Some(shared) = &self.shared {
            shared.announce(stage, self.seed, &self.root)?;
        }
        let seconds = clock.elapsed().as_secs_f64();
        (context.report)(Event::Finished { stage: stage.to_owned(), summary, seconds, reused: false });
        Ok(())
    }
}

/// Writes rows with a header made of their field names.
pub(crate) fn write_csv<T: Serialize>(path: &Path, rows: &[T]) -> Result<(), Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.serialize(row).map_err(|e| table_error(path, &e))?;
    }
    let bytes = writer.into_inner().map_err(|e| table_error(path, &e))?;
    Ok(atomic::write(path, &bytes)?)
}

/// Reads rows written by [`write_csv`].
pub(crate) fn read_csv<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, Error> {
    let bytes = fs_err::read(path)?;
    csv::Reader::from_reader(bytes.as_slice())
        .deserialize()
        .collect::<Result<_, _>>()
        .map_err(|e| table_error(path, &e))
}

/// Writes pretty JSON with a final line end.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    let mut text = serde_json::to_string_pretty(value).map_err(|e| table_error(path, &e))?;
    text.push('\n');
    Ok(atomic::write(path, text.as_bytes())?)
}

/// Reads JSON.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    serde_json::from_slice(&fs_err::read(path)?).map_err(|e| table_error(path, &e))
}

pub(crate) fn table_error(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::RunFolder { path: path.to_owned(), message: error.to_string() }
}

//! The folder of one run: a sub-folder per stage, each with a `done` marker when it is finished.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use scgs_data::atomic;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Context, Error, Event,
    lock::Lock,
    shared::{self, Shared},
    space::Needs,
};

/// Folder in a stage's folder from which an interrupted training goes on.
pub(crate) const CHECKPOINTS: &str = "checkpoints";
/// Folders that a finished stage does not have.
pub(crate) const UNFINISHED: [&str; 2] = [CHECKPOINTS, crate::stages::synthesis::shard::FOLDER];
/// End of the names of files from which an interrupted stage goes on.
pub(crate) const PARTIAL: &str = ".partial";

/// `runs/<dataset>/<config-hash>/seed-<n>/`
#[derive(Debug, Clone)]
pub struct RunFolder {
    root: PathBuf,
    /// The seed from which every random stream of the run derives.
    pub seed: u64,
    shared: Option<Shared>,
    lock: Option<Arc<Lock>>,
    needs: Option<Needs>,
}

impl RunFolder {
    /// Opens (creates) the folder of `seed` below `parent`.
    ///
    /// # Errors
    /// If the folder cannot be created.
    pub fn open(parent: &Path, seed: u64) -> Result<Self, Error> {
        let root = parent.join(format!("seed-{seed}"));
        fs_err::create_dir_all(&root)?;
        Ok(Self { root, seed, shared: None, lock: None, needs: None })
    }

    /// Writes only as long as `lock` is held.
    pub(crate) fn held(self, lock: Lock) -> Self {
        Self { lock: Some(Arc::new(lock)), ..self }
    }

    /// Looks for room before each stage.
    pub(crate) fn needing(self, needs: Needs) -> Self {
        Self { needs: Some(needs), ..self }
    }

    /// Removes files of the seed itself that a killed process was writing; only who holds the lock may.
    pub(crate) fn tidied(self) -> Result<Self, Error> {
        remove_torn(&self.root, false)?;
        Ok(self)
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
        // Held while the stage is computed: whoever agrees in it waits, and then finds it finished.
        let mut turn = None;
        if let Some(shared) = self.shared.as_ref().filter(|_| !marker.is_file()) {
            turn = Some(shared.turn(stage, self.seed, context)?);
            if let Some(other) = shared.find(stage, self.seed, &folder) {
                shared::take_over(&other, &folder)?;
            }
        }
        if marker.is_file() {
            remove_unfinished(&folder)?;
            if let Some(shared) = &self.shared {
                // A process that was killed just after the marker has told nobody.
                shared.announce_once(stage, self.seed, &self.root)?;
            }
            let summary = fs_err::read_to_string(&marker)?.trim_end().to_owned();
            (context.report)(Event::Finished { stage: stage.to_owned(), summary, seconds: 0.0, reused: true });
            return Ok(());
        }
        if let Some(needs) = &self.needs {
            needs.check(&self.root, stage)?;
        }
        fs_err::create_dir_all(&folder)?;
        let clock = context.start(stage, total);
        let summary = work(&folder)?;
        if let Some(lock) = &self.lock {
            lock.check()?;
            remove_torn(&folder, true)?;
        }
        atomic::write(&marker, format!("{summary}\n").as_bytes())?;
        remove_unfinished(&folder)?;
        if let Some(shared) = &self.shared {
            shared.announce(stage, self.seed, &self.root)?;
        }
        drop(turn);
        let seconds = clock.elapsed().as_secs_f64();
        (context.report)(Event::Finished { stage: stage.to_owned(), summary, seconds, reused: false });
        Ok(())
    }
}

/// Removes from a finished stage what only an unfinished one needs.
fn remove_unfinished(folder: &Path) -> Result<(), Error> {
    for name in UNFINISHED {
        if folder.join(name).is_dir() {
            fs_err::remove_dir_all(folder.join(name))?;
        }
    }
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        if is_unfinished(&path) && path.is_file() {
            fs_err::remove_file(path)?;
        }
    }
    Ok(())
}

/// Removes what processes that were killed were writing, in `folder` and below it as far as `deep`.
fn remove_torn(folder: &Path, deep: bool) -> Result<(), Error> {
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        let (path, is_folder) = (entry.path(), entry.file_type()?.is_dir());
        let torn = entry.file_name().to_string_lossy().starts_with(atomic::TEMPORARY_PREFIX);
        match (torn, is_folder) {
            (true, true) => fs_err::remove_dir_all(path)?,
            (true, false) => fs_err::remove_file(path)?,
            (false, true) if deep => remove_torn(&path, deep)?,
            (false, _) => {}
        }
    }
    Ok(())
}

/// Whether a file is what an interrupted attempt goes on from, or was writing when it was killed.
pub(crate) fn is_unfinished(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(PARTIAL) || name.starts_with(atomic::TEMPORARY_PREFIX)
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

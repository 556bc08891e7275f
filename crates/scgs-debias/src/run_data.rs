//! `data.toml`: which data a run saw, so that its folder can be read without the command line that made it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path, PathBuf},
};

use scgs_data::{Definition, Index};
use serde::{Deserialize, Serialize};

use crate::{
    Error, RunFolder, Settings, run_folder,
    stages::{
        Inputs, clusters, pictures,
        sources::{Added, Variant},
        synthesis::{self, Synthetic},
    },
};

/// The file, in the folder of a seed.
const FILE: &str = "data.toml";

/// The data set of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunData {
    /// The folder of the pictures: relative to the seed's folder where it lies among the runs, else absolute.
    pub root: PathBuf,
    /// Whether group counts that differ from the published ones were accepted.
    pub accept_counts: bool,
    /// Changes with every id, file name, label and split.
    pub digest: String,
    /// The definition.
    pub definition: Definition,
}

/// The new pictures of a finished run, and what belongs to them.
#[derive(Debug)]
pub struct Additions {
    /// The rows of `metadata.csv`; files are below [`Self::folder`].
    pub pictures: Vec<Synthetic>,
    /// The folder of the stage.
    pub folder: PathBuf,
    /// How often a mistake is repeated beside its own place in training, by id.
    pub repeats: BTreeMap<u64, usize>,
    /// Pictures that the run left out as unreadable.
    pub unreadable: BTreeSet<u64>,
}

impl RunData {
    /// Writes the file. `runs` is the folder of all runs.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(
        folder: &RunFolder,
        runs: &Path,
        definition: &Definition,
        index: &Index,
        accept_counts: bool,
        digest: String,
    ) -> Result<(), Error> {
        let (seed, runs) = (fs_err::canonicalize(folder.root())?, fs_err::canonicalize(runs)?);
        let root = fs_err::canonicalize(&index.root)?;
        let root = if root.starts_with(&runs) { relative(&seed, &root) } else { root };
        let data = Self { root, accept_counts, digest, definition: definition.clone() };
        let path = folder.root().join(FILE);
        let text = toml::to_string(&data).map_err(|e| run_folder::table_error(&path, &e))?;
        Ok(scgs_data::atomic::write(path, text)?)
    }

    /// Reads the file from the folder of a seed; `root` becomes a path from the current folder.
    ///
    /// # Errors
    /// [`Error::RunFolder`] when it is missing, as in a run of an earlier version, or damaged.
    pub fn read(seed_folder: &Path) -> Result<Self, Error> {
        let path = seed_folder.join(FILE);
        let refuse = |message: String| Error::RunFolder { path: path.clone(), message };
        if !path.is_file() {
            return Err(refuse("is missing: no folder of a seed, or of a run by an earlier version".to_owned()));
        }
        let mut data: Self = toml::from_str(&fs_err::read_to_string(&path)?).map_err(|e| refuse(e.to_string()))?;
        data.root = seed_folder.join(&data.root);
        Ok(data)
    }
}

impl Additions {
    /// What the arm of `variant` adds to the training pictures, from the folder of a finished seed.
    ///
    /// # Errors
    /// [`Error::RunFolder`] when the run has no such pictures or files of it are damaged.
    pub fn read(seed_folder: &Path, seed: u64, index: &Index, variant: Variant) -> Result<Self, Error> {
        let parent = seed_folder.parent().unwrap_or(Path::new(""));
        let folder = RunFolder::open(parent, seed)?;
        let stage = synthesis::stage_name(variant);
        if !folder.is_done(&stage) {
            let path = folder.root().join(&stage);
            let message = format!("no finished pictures of `{}` in this run", variant.arm());
            return Err(Error::RunFolder { path, message });
        }
        let path = folder.root().join("config.toml");
        let settings: Settings =
            toml::from_str(&fs_err::read_to_string(&path)?).map_err(|e| run_folder::table_error(&path, &e))?;
        let inputs = Inputs::for_reading(index, &settings, &folder);
        let mut repeats = BTreeMap::new();
        for pick in clusters::repeats(inputs, Added::per_class(inputs)?.repeated)? {
            *repeats.entry(pick.id).or_insert(0) += 1;
        }
        Ok(Self {
            pictures: synthesis::read(&folder, &stage)?,
            folder: folder.root().join(&stage),
            repeats,
            unreadable: pictures::unreadable(&folder)?,
        })
    }
}

/// `to` as seen from `from`; both are absolute and without `..`.
fn relative(from: &Path, to: &Path) -> PathBuf {
    let shared = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(shared).map(|_| Component::ParentDir);
    up.chain(to.components().skip(shared)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_leads_up_and_down_again() {
        let way = relative(Path::new("/r/runs/a/b/seed-0"), Path::new("/r/runs/a/data/seed-0"));
        assert_eq!(way, Path::new("../../data/seed-0"));
        assert_eq!(relative(Path::new("/r"), Path::new("/r")), Path::new(""));
    }

    #[test]
    fn what_is_written_reads_back_and_a_missing_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let datasets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets");
        let definition = Definition::read(datasets.join("habitat.toml")).unwrap();
        let runs = dir.path().join("runs");
        let folder = RunFolder::open(&runs.join("habitat/0"), 3).unwrap();
        let root = runs.join("habitat/data");
        fs_err::create_dir_all(&root).unwrap();
        let index = Index { root: root.clone(), classes: definition.classes.clone(), samples: Vec::new() };
        let message = RunData::read(folder.root()).unwrap_err().to_string();
        assert!(message.contains("data.toml: is missing"), "{message}");
        RunData::write(&folder, &runs, &definition, &index, true, "d".into()).unwrap();
        let read = RunData::read(folder.root()).unwrap();
        assert_eq!((read.definition, read.accept_counts, read.digest), (definition, true, "d".to_owned()));
        // It moves with the runs.
        assert_eq!(read.root, folder.root().join("../../data"));
    }
}

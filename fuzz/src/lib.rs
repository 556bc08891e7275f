//! What the fuzz targets share: the readers take paths, so each input is written to a folder first.

use std::{
    fs,
    path::{Component, Path},
};

use scgs_data::Grouped;
use tempfile::TempDir;

/// Between the files of a target that reads several: a line of its own.
const SEPARATOR: &[u8] = b"\n====\n";

/// A folder for the files of one target. `cargo xtask fuzz` removes it: a fuzzer never returns from `main`.
pub struct Scratch(TempDir);

impl Scratch {
    /// An empty folder.
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder can be made"))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Puts a file there, in the place of the one before.
    pub fn write(&self, name: &str, content: &[u8]) -> std::path::PathBuf {
        let path = self.path().join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).expect("a folder below the temporary one can be made");
        }
        fs::write(&path, content).expect("the temporary folder has room");
        path
    }

    /// Takes a file away.
    pub fn remove(&self, name: &str) {
        // It is not there before the first input.
        let _ = fs::remove_file(self.path().join(name));
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

/// Cuts an input into the contents of `N` files; those that it has no text for are empty.
pub fn parts<const N: usize>(mut data: &[u8]) -> [&[u8]; N] {
    std::array::from_fn(|i| {
        let cut = data.windows(SEPARATOR.len()).position(|window| window == SEPARATOR).filter(|_| i + 1 < N);
        match cut {
            Some(at) => {
                let part = &data[..at];
                data = &data[at + SEPARATOR.len()..];
                part
            }
            None => std::mem::take(&mut data),
        }
    })
}

/// A table decides which files are read, so none may lead out of the data folder.
///
/// # Panics
/// When one does.
pub fn assert_inside(grouped: &Grouped) {
    for sample in &grouped.index().samples {
        let inside = sample.path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        assert!(inside, "`{}` leads out of the data folder", sample.path.display());
    }
}

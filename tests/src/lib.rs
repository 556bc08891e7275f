//! Runs the `scgs` binary as a person would and looks at everything it leaves: exit code, both outputs, files.

#[cfg(unix)]
pub mod browser;
pub mod chaos;
pub mod documented;
pub mod mock_run;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use sha2::{Digest, Sha256};

/// Settings of a loop that takes seconds: tiny pictures, few of them, a small input.
pub const TINY: &[&str] = &[
    "habitat.size=48",
    "habitat.train=160",
    "habitat.val=16",
    "habitat.test=40",
    "backbone.input_size=64",
    "attention.input_size=64",
    "synthesis.share=0.25",
];

/// The root of the project.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

/// The binary, built beside the test that runs.
///
/// # Panics
/// If it has not been built: cargo builds no binaries of other packages for a test.
pub fn binary() -> PathBuf {
    let test = std::env::current_exe().unwrap_or_default();
    let folder = test.parent().and_then(Path::parent).map(Path::to_owned).unwrap_or_default();
    let path = folder.join(format!("scgs{}", std::env::consts::EXE_SUFFIX));
    assert!(
        path.is_file(),
        "{} is not built: run `cargo build --workspace --bins` with the profile of the tests, or `cargo xtask test`",
        path.display()
    );
    path
}

/// `scgs` with the given words, in `folder`, with the project's data set definitions.
pub fn scgs(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.current_dir(folder).env("SCGS_DATASETS", root().join("datasets")).args(words);
    command
}

/// The words of a tiny run on Habitat, before further ones.
pub fn tiny_run<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let mut words = vec!["run", "--dataset", "habitat"];
    for set in TINY {
        words.extend(["--set", set]);
    }
    words.extend(more);
    words
}

/// What a finished command said.
#[derive(Debug)]
pub struct Said {
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Said {
    /// Fails unless the exit code is `code` and standard error has every part.
    ///
    /// # Panics
    /// With everything that was said.
    pub fn expect(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        for part in parts {
            assert!(self.stderr.contains(part), "`{part}` is missing in:\n{}", self.stderr);
        }
    }
}

/// Runs a command to its end.
///
/// # Panics
/// If it cannot be started.
pub fn finish(command: &mut Command) -> Said {
    command.output().expect("the binary exists and can be started").into()
}

/// sha256 of every file below a folder, by relative path.
///
/// # Errors
/// If a file cannot be read.
pub fn hashes(folder: &Path) -> std::io::Result<BTreeMap<PathBuf, String>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs_err::read_dir(next)? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else {
                let hash = Sha256::digest(fs_err::read(&path)?);
                let name = path.strip_prefix(folder).unwrap_or(&path).to_owned();
                found.insert(name, hash.iter().map(|b| format!("{b:02x}")).collect());
            }
        }
    }
    Ok(found)
}

//! `scgs-lock.toml`: the sha256 of what was downloaded, so that a later download is the same.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::verify::Fingerprint;

/// Name of the file in the data folder.
pub(super) const NAME: &str = "scgs-lock.toml";

const HEADER: &str = "\
# What `cargo xtask download` found behind each name at the first download. Later downloads must equal it; commit this
# file to share that. Remove an entry to accept new contents.
";

/// What is known from earlier downloads into one data folder.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    table: Table,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(default)]
    files: BTreeMap<String, Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    bytes: u64,
    sha256: String,
    source: String,
}

impl Lock {
    /// Reads the lock file of a data folder; a folder without one is new.
    ///
    /// # Errors
    /// When the file is there but cannot be read or is not of this form.
    pub(super) fn read(data_dir: &Path) -> anyhow::Result<Self> {
        let path = data_dir.join(NAME);
        let table = if path.exists() {
            toml::from_str(&fs_err::read_to_string(&path)?)
                .with_context(|| format!("{} is damaged; restore or remove it", path.display()))?
        } else {
            Table::default()
        };
        Ok(Self { path, table })
    }

    /// The sha256 recorded for a file of this name.
    pub(super) fn sha256(&self, name: &str) -> Option<String> {
        self.table.files.get(name).map(|entry| entry.sha256.clone())
    }

    /// Records a file unless one of its name is recorded, and writes the lock file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn record(&mut self, name: &str, found: &Fingerprint, source: &str) -> anyhow::Result<()> {
        if self.table.files.contains_key(name) {
            return Ok(());
        }
        let entry = Entry { bytes: found.bytes, sha256: found.sha256.clone(), source: source.to_owned() };
        self.table.files.insert(name.to_owned(), entry);
        let text = format!("{HEADER}\n{}", toml::to_string(&self.table)?);
        write_whole(&self.path, text.as_bytes())
    }
}

/// Writes a small file so that it has its old or its new contents, whatever happens.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write_whole(path: &Path, contents: &[u8]) -> anyhow::Result<()> {
    let mut name = path.file_name().context("a file has a name")?.to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let mut file = fs_err::File::create(&new)?;
    file.write_all(contents)?;
    file.sync_all()?;
    fs_err::rename(&new, path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_record_stays() {
        let folder = tempfile::tempdir().unwrap();
        let print = |c: &str| Fingerprint { bytes: 3, sha256: c.repeat(64) };
        let mut lock = Lock::read(folder.path()).unwrap();
        assert_eq!(lock.sha256("a.zip"), None);
        lock.record("a.zip", &print("1"), "https://one/a.zip").unwrap();
        lock.record("a.zip", &print("2"), "https://two/a.zip").unwrap();
        assert_eq!(Lock::read(folder.path()).unwrap().sha256("a.zip"), Some("1".repeat(64)));
        let text = fs_err::read_to_string(folder.path().join(NAME)).unwrap();
        assert!(text.contains("[files.\"a.zip\"]") && text.contains("source = \"https://one/a.zip\""), "{text}");
    }

    #[test]
    fn a_damaged_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        fs_err::write(folder.path().join(NAME), "files = 3").unwrap();
        let error = Lock::read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("scgs-lock.toml is damaged"), "{error}");
    }
}

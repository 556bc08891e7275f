//! The file that grows while a download runs, and what allows to continue it after an interruption.
//!
//! Beside `NAME.part` lies `NAME.part.toml` with the URL and version of what is in it. It is written before the first
//! byte, so bytes without it, or with that of something else, are never continued.

use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A download that is not complete, or not known to be.
#[derive(Debug)]
pub(super) struct Part {
    path: PathBuf,
}

/// Where the bytes of a part come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Origin {
    /// What was asked for.
    pub(super) url: String,
    /// The version of the file, from its `ETag` or `Last-Modified`.
    pub(super) validator: Option<String>,
    /// Length of the whole file, where the server said it.
    pub(super) total: Option<u64>,
}

impl Part {
    /// The part at `path`, which need not exist.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Its file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that are there.
    pub(super) fn len(&self) -> u64 {
        fs_err::metadata(&self.path).map_or(0, |metadata| metadata.len())
    }

    /// Where its bytes come from; `None` when nothing is there or that is not known.
    pub(super) fn origin(&self) -> Option<Origin> {
        if self.len() == 0 {
            return None;
        }
        toml::from_str(&fs_err::read_to_string(self.origin_path()).ok()?).ok()
    }

    /// Opens it empty for a file of this origin.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(super) fn begin(&self, origin: &Origin) -> io::Result<fs_err::File> {
        // In this order: at no moment are there bytes with the origin of others.
        let file = fs_err::File::create(&self.path)?;
        let text = toml::to_string(origin).map_err(io::Error::other)?;
        let mut note = fs_err::File::create(self.origin_path())?;
        note.write_all(text.as_bytes())?;
        note.sync_all()?;
        Ok(file)
    }

    /// Opens it at its end, which must be at `offset`.
    ///
    /// # Errors
    /// When the file cannot be opened or has another length.
    pub(super) fn go_on(&self, offset: u64) -> io::Result<fs_err::File> {
        let mut file = fs_err::OpenOptions::new().write(true).open(&self.path)?;
        let end = file.seek(SeekFrom::End(0))?;
        if end != offset {
            let message = format!("{} has changed meanwhile: another program writes it", self.path.display());
            return Err(io::Error::other(message));
        }
        Ok(file)
    }

    /// Removes it.
    ///
    /// # Errors
    /// When a file is there and cannot be removed.
    pub(super) fn discard(&self) -> io::Result<()> {
        for path in [&self.path, &self.origin_path()] {
            if path.exists() {
                fs_err::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Gives it its final name.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub(super) fn finish(&self, path: &Path) -> io::Result<()> {
        fs_err::rename(&self.path, path)?;
        self.discard()
    }

    fn origin_path(&self) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(".toml");
        path.into()
    }
}

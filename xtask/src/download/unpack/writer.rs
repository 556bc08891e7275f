//! The only way from an archive to the disk.

use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use super::UnpackError;
use crate::download::sources::Unpack;

/// The longest path that is taken, in bytes; file systems end near it.
pub(super) const LONGEST_PATH: usize = 4096;

/// Writes files and folders below one folder and counts them.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    root: &'a Path,
    limits: &'a Unpack,
    entries: u64,
    bytes: u64,
}

impl<'a> Writer<'a> {
    /// Writes below `root`, which must be new: what is there could be a link.
    pub(super) fn new(root: &'a Path, limits: &'a Unpack) -> Self {
        Self { root, limits, entries: 0, bytes: 0 }
    }

    /// Counts an entry of any kind.
    ///
    /// # Errors
    /// [`UnpackError::TooMany`].
    pub(super) fn count(&mut self) -> Result<(), UnpackError> {
        self.entries += 1;
        if self.entries > self.limits.max_entries {
            return Err(UnpackError::TooMany(self.limits.max_entries));
        }
        Ok(())
    }

    /// Makes a folder and those above it.
    ///
    /// # Errors
    /// When the name is refused or the folder cannot be made.
    pub(super) fn folder(&self, name: &[u8]) -> Result<(), UnpackError> {
        Ok(fs_err::create_dir_all(self.path(name)?)?)
    }

    /// Writes a file with everything `contents` has.
    ///
    /// # Errors
    /// When the name is refused, is there already, or the limit or the disk is exceeded.
    pub(super) fn file(&mut self, name: &[u8], contents: &mut impl Read) -> Result<(), UnpackError> {
        let path = self.path(name)?;
        if path == self.root {
            return Err(refused(name, "it is a file without a name"));
        }
        fs_err::create_dir_all(path.parent().expect("it is below the root"))?;
        let mut file =
            fs_err::OpenOptions::new().write(true).create_new(true).open(&path).map_err(|error| {
                match error.kind() {
                    ErrorKind::AlreadyExists => refused(name, "the name comes twice"),
                    _ => error.into(),
                }
            })?;
        let mut buffer = [0; 1 << 14];
        loop {
            let n = contents.read(&mut buffer)?;
            if n == 0 {
                return Ok(());
            }
            // Counted as it comes: what the archive says of its sizes may be a lie.
            self.bytes += n as u64;
            if self.bytes > self.limits.max_bytes {
                return Err(UnpackError::TooLarge(self.limits.max_bytes));
            }
            file.write_all(&buffer[..n])?;
        }
    }

    /// Where an entry belongs.
    fn path(&self, name: &[u8]) -> Result<PathBuf, UnpackError> {
        let text = std::str::from_utf8(name).map_err(|_| refused(name, "its name is not UTF-8"))?;
        if text.len() > LONGEST_PATH {
            return Err(refused(name, "its name is too long"));
        }
        if text.starts_with('/') {
            return Err(refused(name, "its path is absolute"));
        }
        let mut path = self.root.to_path_buf();
        for part in text.split('/') {
            match part {
                "" | "." => {}
                ".." => return Err(refused(name, "its path leads outside of the folder")),
                // On Windows these divide paths, name drives and streams, or end strings.
                _ if part.contains(['\\', ':', '\0']) => {
                    return Err(refused(name, "its name has a character of paths"));
                }
                _ => path.push(part),
            }
        }
        Ok(path)
    }
}

/// The refusal of an entry, its name cut to what a terminal can take.
pub(super) fn refused(name: &[u8], why: &'static str) -> UnpackError {
    let name: String = String::from_utf8_lossy(name).chars().take(120).flat_map(char::escape_debug).collect();
    UnpackError::Refused(name, why)
}

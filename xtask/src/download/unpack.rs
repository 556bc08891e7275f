//! Archives into folders, without trust in what they say.
//!
//! Only ordinary files and folders are written, each inside of a fresh folder, and at most as many and as large as the
//! data set can be. A link of any kind ends it: none of the data sets has one, and links are how an archive writes
//! outside of its folder.

mod tar;
mod writer;
mod zip;

#[cfg(test)]
mod tests;

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::sources::Unpack;
use writer::Writer;

/// How deep the data set's folder may lie in an archive.
const DEPTH: usize = 3;

/// Why an archive is not unpacked.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnpackError {
    /// Occurs when a file cannot be read or written, and when the archive is cut off or damaged.
    #[error("{0}; the archive is damaged or the disk is full: check both and call again")]
    Io(#[from] io::Error),
    /// Occurs when a zip file does not follow its format.
    #[error("not a whole zip file: {0}; get it again")]
    Zip(#[from] ::zip::result::ZipError),
    /// Occurs when the file is no archive of a known kind.
    #[error("neither a tar.gz nor a zip file (it begins with {0:02x?}); get it again from another source")]
    UnknownKind(Vec<u8>),
    /// Occurs when an entry would be written outside of the folder, or not as it is called.
    #[error("the entry `{0}` is refused: {1}; do not use this archive")]
    Refused(String, &'static str),
    /// Occurs when there are more entries than the data set can have.
    #[error("more than {0} files and folders; do not use this archive")]
    TooMany(u64),
    /// Occurs when there are more bytes than the data set can have.
    #[error("more than {0} bytes when unpacked; do not use this archive")]
    TooLarge(u64),
    /// Occurs when the data set is not in the archive.
    #[error("no folder in it has {}; it is another archive: take another source", .0.join(" and "))]
    Contents(Vec<String>),
}

/// Unpacks `archive` into the new folder `into`, and gives the folder therein that is the data set's.
///
/// # Errors
/// [`UnpackError`]; `into` is then incomplete and good for nothing.
pub(super) fn unpack(archive: &Path, into: &Path, limits: &Unpack) -> Result<PathBuf, UnpackError> {
    fs_err::create_dir(into)?;
    let mut file = fs_err::File::open(archive)?;
    let mut magic = Vec::new();
    file.by_ref().take(4).read_to_end(&mut magic)?;
    let file = fs_err::File::open(archive)?;
    let mut writer = Writer::new(into, limits);
    match magic[..] {
        [0x1f, 0x8b, ..] => tar::unpack(file, &mut writer, limits)?,
        [b'P', b'K', 3, 4] => zip::unpack(file, &mut writer)?,
        _ => return Err(UnpackError::UnknownKind(magic)),
    }
    root(into, &limits.contents, DEPTH)?.ok_or_else(|| UnpackError::Contents(limits.contents.clone()))
}

/// The first folder, level by level and by name, that has everything in `contents`.
fn root(folder: &Path, contents: &[String], depth: usize) -> io::Result<Option<PathBuf>> {
    let mut level = vec![folder.to_path_buf()];
    for _ in 0..=depth {
        if let Some(found) = level.iter().find(|folder| holds(folder, contents)) {
            return Ok(Some(found.clone()));
        }
        let mut next = Vec::new();
        for folder in &level {
            for entry in fs_err::read_dir(folder)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    next.push(entry.path());
                }
            }
        }
        next.sort();
        level = next;
    }
    Ok(None)
}

/// Whether a folder has everything in `contents`.
pub(super) fn holds(folder: &Path, contents: &[String]) -> bool {
    contents.iter().all(|path| folder.join(path).exists())
}

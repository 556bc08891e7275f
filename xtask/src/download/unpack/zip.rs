//! zip files.

use zip::ZipArchive;

use super::UnpackError;
use super::writer::{Writer, refused};

/// The bits of a Unix mode that say what kind of file it is, and the kinds that are taken.
const KIND: u32 = 0o170_000;
const FILE: u32 = 0o100_000;
const FOLDER: u32 = 0o040_000;

/// Unpacks a zip.
///
/// # Errors
/// [`UnpackError`].
pub(super) fn unpack(file: fs_err::File, writer: &mut Writer<'_>) -> Result<(), UnpackError> {
    let mut archive = ZipArchive::new(std::io::BufReader::new(file))?;
    for index in 0..archive.len() {
        writer.count()?;
        let mut entry = archive.by_index(index)?;
        let name = entry.name_raw().to_vec();
        match entry.unix_mode().map_or(0, |mode| mode & KIND) {
            0 | FILE | FOLDER => {}
            _ if entry.is_symlink() => return Err(refused(&name, "it is a link")),
            _ => return Err(refused(&name, "it is neither a file nor a folder")),
        }
        if entry.is_dir() {
            writer.folder(&name)?;
        } else {
            // The check sum is compared when the last byte is read.
            writer.file(&name, &mut entry)?;
        }
    }
    Ok(())
}

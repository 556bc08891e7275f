//! Files that appear whole or not at all.
//!
//! Everything is written to a temporary file in the same folder, flushed to the disk and renamed. A reader sees the old
//! content or the new, also after a crash or with a full disk; a failed write leaves the old file and no temporary one.

use std::{
    io::{self, BufWriter, Write},
    path::Path,
};

use image::{DynamicImage, codecs::png::PngEncoder};

use crate::DataError;

/// How the names of temporary files begin; one is left behind only when the process is killed while it writes.
pub const TEMPORARY_PREFIX: &str = ".writing-";

/// Writes `bytes` to `path`, replacing what is there.
///
/// # Errors
/// What the system says, with the path in front; the old file is left as it was.
pub fn write(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> io::Result<()> {
    write_with(path, |file| file.write_all(bytes.as_ref()))
}

/// Writes to `path` what `fill` writes, replacing what is there once `fill` has returned without an error.
///
/// # Errors
/// The error of `fill` or what the system says, with the path in front; the old file is left as it was.
pub fn write_with(path: impl AsRef<Path>, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let path = path.as_ref();
    replace(path, fill)
        .map_err(|error| io::Error::new(error.kind(), format!("failed to write `{}`: {error}", path.display())))
}

/// Makes the folder `path` of what `fill` writes into the empty folder it is given. `path` must not exist or be empty.
///
/// The folder is filled beside its place and renamed, so it appears whole or not at all.
///
/// # Errors
/// [`DataError::Occupied`], the error of `fill`, or what the system says; nothing is left behind.
pub fn write_folder(path: &Path, fill: impl FnOnce(&Path) -> Result<(), DataError>) -> Result<(), DataError> {
    if path.exists() && !(path.is_dir() && fs_err::read_dir(path)?.next().is_none()) {
        let message = "is not empty".to_owned();
        return Err(DataError::Occupied { path: path.to_owned(), message });
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs_err::create_dir_all(parent)?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY_PREFIX);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    let temporary = builder.tempdir_in(parent)?;
    fill(temporary.path())?;
    if path.is_dir() {
        fs_err::remove_dir(path)?;
    }
    fs_err::rename(temporary.path(), path)?;
    // It is no longer under its temporary name.
    let _ = temporary.keep();
    Ok(())
}

/// Writes a picture as PNG in its own colour type, without time stamps or text, so equal pixels are equal bytes.
///
/// # Errors
/// As [`write()`].
pub fn save_png(path: impl AsRef<Path>, picture: &DynamicImage) -> io::Result<()> {
    write_with(path, |file| picture.write_with_encoder(PngEncoder::new(file)).map_err(io::Error::other))
}

fn replace(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY_PREFIX);
    // The default is readable for the owner only; a data folder is often shared. The umask still applies.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder)?;
    let mut buffer = BufWriter::new(file.as_file_mut());
    fill(&mut buffer)?;
    buffer.flush()?;
    drop(buffer);
    file.as_file().sync_all()?;
    file.persist(path).map_err(|refused| refused.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, Luma};

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs_err::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn replaces_and_leaves_no_other_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write(&path, "old").unwrap();
        write(&path, "new").unwrap();
        assert_eq!(fs_err::read_to_string(&path).unwrap(), "new");
        assert_eq!(names(folder.path()), ["a.txt"]);
    }

    #[test]
    fn a_failed_write_keeps_the_old_file_and_names_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write(&path, "old").unwrap();
        let error = write_with(&path, |file| {
            file.write_all(&[b'x'; 100_000])?;
            Err(io::Error::new(io::ErrorKind::StorageFull, "no space left"))
        })
        .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(error.to_string(), format!("failed to write `{}`: no space left", path.display()));
        assert_eq!(fs_err::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(folder.path()), ["a.txt"]);
    }

    #[test]
    fn a_missing_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = write(folder.path().join("none/a.txt"), "x").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains("none/a.txt"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn others_may_read_what_the_umask_lets_them() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let ours = folder.path().join("ours");
        let plain = folder.path().join("plain");
        write(&ours, "x").unwrap();
        fs_err::write(&plain, "x").unwrap();
        let mode = |path| fs_err::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(ours), mode(plain));
    }

    #[test]
    fn a_saved_picture_reads_back_equal() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mask.png");
        let picture = GrayImage::from_fn(5, 3, |x, y| Luma([(x * 50 + y) as u8]));
        save_png(&path, &picture.clone().into()).unwrap();
        assert_eq!(image::open(&path).unwrap().into_luma8(), picture);
    }
}

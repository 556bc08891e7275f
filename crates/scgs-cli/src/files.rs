//! Files of the tools: pictures in, tensors and tables out.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};
use safetensors::{Dtype, tensor::TensorView};
use scgs_data::{PictureError, atomic};

/// What makes a file a picture by name, in lower case. Those that cannot be decoded are here too: a picture that is
/// left out in silence shifts every row after it.
const PICTURE_EXTENSIONS: [&str; 11] =
    ["jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "gif", "tif", "tiff", "avif"];

/// Bad pictures that a message lists.
const LISTED: usize = 10;

/// A picture in a folder.
#[derive(Debug, Clone)]
pub(crate) struct Picture {
    /// The file name with its extension.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
}

/// The pictures of a folder, not of the folders in it, sorted by file name.
pub(crate) fn pictures(folder: &Path) -> anyhow::Result<Vec<Picture>> {
    let advice = || format!("--images {}: expected a folder of pictures", folder.display());
    ensure!(!folder.is_file(), "{}, this is a file; give the folder it lies in", advice());
    let mut found = Vec::new();
    let mut others = 0;
    for entry in fs_err::read_dir(folder).with_context(advice)? {
        let path = entry?.path();
        if path.is_dir() {
            continue;
        }
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        if !PICTURE_EXTENSIONS.contains(&extension.as_str()) {
            others += 1;
            continue;
        }
        let Some(name) = path.file_name().and_then(OsStr::to_str).map(str::to_owned) else {
            bail!("{}: the file name is not UTF-8 and cannot stand in a table; rename the file", path.display());
        };
        found.push(Picture { name, path });
    }
    if found.is_empty() {
        bail!(
            "{}, found no picture in it ({others} other file(s)); pictures are recognised by .jpg, .jpeg, .png or .webp \
             and are not looked for in folders inside",
            advice()
        );
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// The error for pictures that cannot be read; nothing where there are none.
pub(crate) fn refuse(bad: &[PictureError], total: usize) -> anyhow::Result<()> {
    if bad.is_empty() {
        return Ok(());
    }
    let mut lines: Vec<String> = bad.iter().take(LISTED).map(|error| format!("  {error}")).collect();
    if bad.len() > LISTED {
        lines.push(format!("  and {} more", bad.len() - LISTED));
    }
    bail!(
        "{} of {total} picture(s) cannot be used; repair them or take them out of the folder:\n{}",
        bad.len(),
        lines.join("\n")
    );
}

/// Finds out before any work whether `path` can be written, so that hours of it are not lost at the end. Leaves nothing
/// behind. `inputs` are files that must not be replaced.
pub(crate) fn check_output_file(path: &Path, inputs: &[&Path]) -> anyhow::Result<()> {
    ensure!(!path.is_dir(), "--out {} is a folder; give the name of a file in it", path.display());
    for input in inputs {
        if same(path, input) {
            bail!("--out {} would replace the input {}; choose another name", path.display(), input.display());
        }
    }
    check_output_folder(path.parent().unwrap_or(Path::new(".")))
}

/// As [`check_output_file`], for a folder that may not exist yet.
pub(crate) fn check_output_folder(folder: &Path) -> anyhow::Result<()> {
    let existing = folder.ancestors().find(|a| !a.as_os_str().is_empty() && a.exists()).unwrap_or(Path::new("."));
    ensure!(
        existing.is_dir(),
        "--out: {} is a file, so nothing can be written below it; choose another place",
        existing.display()
    );
    tempfile::Builder::new().prefix(atomic::TEMPORARY_PREFIX).tempfile_in(existing).map(drop).with_context(|| {
        format!("--out: cannot write in {}; check its permissions and the free disk space", existing.display())
    })
}

/// Whether both paths lead to one existing file or folder.
pub(crate) fn same(a: &Path, b: &Path) -> bool {
    matches!((fs_err::canonicalize(a), fs_err::canonicalize(b)), (Ok(a), Ok(b)) if a == b)
}

/// Makes the folder that `path` lies in.
pub(crate) fn make_parent(path: &Path) -> anyhow::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => Ok(fs_err::create_dir_all(folder)?),
        _ => Ok(()),
    }
}

/// Writes one tensor of f32, `values` row by row, as safetensors. The file appears whole or not at all.
pub(crate) fn save_tensor(path: &Path, name: &str, shape: [usize; 2], values: &[f32]) -> anyhow::Result<()> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F32, shape.to_vec(), &bytes).context("the values fill the shape")?;
    let file = safetensors::serialize([(name, view)], None).context("one tensor has no equal names")?;
    Ok(atomic::write(path, file)?)
}

/// Writes a table. The file appears whole or not at all.
pub(crate) fn save_csv(path: &Path, header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> anyhow::Result<()> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(header)?;
    for row in rows {
        writer.write_record(row)?;
    }
    Ok(atomic::write(path, writer.into_inner().context("a table in memory cannot fail")?)?)
}

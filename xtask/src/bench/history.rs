//! The rows of earlier commits: a folder with one file each, in the order of their names.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use xshell::{Shell, cmd};

/// The newest file; none where nothing was measured yet.
pub(super) fn newest(folder: &Path) -> anyhow::Result<Option<PathBuf>> {
    if !folder.is_dir() {
        return Ok(None);
    }
    let mut files = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    Ok(files.into_iter().max())
}

/// Adds the rows of the commit that is checked out, as `<seconds since 1970>-<commit>.json`.
pub(super) fn add(shell: &Shell, folder: &Path, rows: &str) -> anyhow::Result<()> {
    let commit =
        cmd!(shell, "git rev-parse --short=12 HEAD").quiet().read().context("the history is one of commits")?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?.as_secs();
    fs_err::create_dir_all(folder)?;
    // Twelve digits, so that the order of names is that of time.
    Ok(fs_err::write(folder.join(format!("{now:012}-{commit}.json")), rows)?)
}

#[cfg(test)]
mod tests {
    use super::newest;

    #[test]
    fn the_newest_is_the_last_name() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(newest(&folder.path().join("none")).unwrap(), None);
        assert_eq!(newest(folder.path()).unwrap(), None);
        for name in ["001700000002-b.json", "001700000010-a.json", "table.md"] {
            fs_err::write(folder.path().join(name), "").unwrap();
        }
        assert!(newest(folder.path()).unwrap().unwrap().ends_with("001700000010-a.json"));
    }
}

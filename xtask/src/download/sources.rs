//! `datasets/sources/NAME.toml`: what a download consists of and where it can be had.

use std::path::{Component, Path};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

/// Everything one name of `cargo xtask download` stands for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sources {
    /// One line for people.
    pub(super) title: String,
    /// The terms it is under.
    pub(super) licence: String,
    /// How to get it when no source works, or none can work without a login.
    pub(super) by_hand: String,
    /// The command that uses it; `{path}` stands for where the first file ended up, `{folder}` for the folder around it.
    pub(super) usage: String,
    /// The files, each independent of the others.
    #[serde(rename = "file")]
    pub(super) files: Vec<Item>,
}

/// One file, or one archive that becomes a folder.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Item {
    /// Where it ends up, relative to the data folder.
    pub(super) path: String,
    /// For an archive: what must be in it and how large it may get.
    pub(super) unpack: Option<Unpack>,
    /// Where it can be had, in the order of trying.
    #[serde(rename = "source")]
    pub(super) sources: Vec<Source>,
}

/// What is known about the inside of an archive.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Unpack {
    /// Paths below the data set's folder that a whole data set has. They also show which folder of the archive is the
    /// data set's: mirrors wrap it differently.
    pub(super) contents: Vec<String>,
    /// About how many bytes the files have together; for the check of the disk space.
    pub(super) about_bytes: u64,
    /// More bytes than this are refused.
    pub(super) max_bytes: u64,
    /// More files and folders than this are refused.
    pub(super) max_entries: u64,
}

/// One place a file can be had from.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Source {
    /// Absolute URL.
    pub(super) url: String,
    /// Name of the file that arrives. Sources with the same name hand out the same bytes.
    pub(super) name: String,
    /// Exact length, where it is known.
    pub(super) bytes: Option<u64>,
    /// About the length, for the check of the disk space when neither the exact one is known nor the server says it.
    pub(super) about_bytes: Option<u64>,
    /// In small hexadecimal digits: all 64, or the leading ones (at least 8) where only these are published.
    pub(super) sha256: Option<String>,
}

impl Sources {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// When it cannot be read, is not of this form, or names a path outside of the data folder.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        Self::parse(&fs_err::read_to_string(path)?).with_context(|| format!("in {}", path.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let sources: Self = toml::from_str(text)?;
        ensure!(!sources.files.is_empty(), "there is no [[file]]");
        for item in &sources.files {
            item.check().with_context(|| format!("file `{}`", item.path))?;
        }
        Ok(sources)
    }
}

impl Item {
    fn check(&self) -> anyhow::Result<()> {
        inside(&self.path)?;
        for path in self.unpack.iter().flat_map(|unpack| &unpack.contents) {
            inside(path)?;
        }
        ensure!(self.unpack.as_ref().is_none_or(|unpack| !unpack.contents.is_empty()), "unpack.contents is empty");
        ensure!(!self.sources.is_empty(), "there is no [[file.source]]");
        for source in &self.sources {
            ensure!(source.url.starts_with("https://"), "`{}` is not https", source.url);
            ensure!(plain_name(&source.name), "`{}` is not the name of a file", source.name);
            if let Some(sha256) = &source.sha256 {
                let digits = sha256.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
                ensure!(digits && (8..=64).contains(&sha256.len()), "`{sha256}` is no sha256 or beginning of one");
            }
        }
        Ok(())
    }
}

/// Whether `name` is one component of a path.
pub(super) fn plain_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) && !name.contains(['/', '\\', ':'])
}

/// That `path` stays below the folder it is joined to.
fn inside(path: &str) -> anyhow::Result<()> {
    if path.is_empty() || !path.split('/').all(plain_name) {
        bail!("`{path}` does not stay inside of the data folder");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        title = "T"
        licence = "L"
        by_hand = "H"
        usage = "U"
        [[file]]
        path = "weights/x.pth"
        [[file.source]]
        url = "https://host/x.pth"
        name = "x.pth"
        sha256 = "0123abcd"
    "#;

    #[test]
    fn a_good_file_is_read() {
        let sources = Sources::parse(GOOD).unwrap();
        assert_eq!(sources.files[0].path, "weights/x.pth");
        assert_eq!(sources.files[0].sources[0].sha256.as_deref(), Some("0123abcd"));
    }

    #[test]
    fn what_leaves_the_folder_or_cannot_be_checked_is_refused() {
        for (from, to, message) in [
            ("weights/x.pth", "../x.pth", "does not stay inside"),
            ("weights/x.pth", "/x.pth", "does not stay inside"),
            ("name = \"x.pth\"", "name = \"a/x.pth\"", "not the name of a file"),
            ("https://", "http://", "is not https"),
            ("0123abcd", "0123", "no sha256"),
            ("0123abcd", "0123ABCD", "no sha256"),
            ("title", "titel", "unknown field"),
        ] {
            let error = format!("{:#}", Sources::parse(&GOOD.replace(from, to)).unwrap_err());
            assert!(error.contains(message), "{to}: {error}");
        }
    }
}

//! Downloads from a server on this computer that misbehaves: the file arrives whole, or the error says why not.

mod faults;
mod hub;
mod places;
mod resume;
mod server;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::hub::Hub;
use super::sources::{Item, Source, Sources, Unpack};
use super::verify::fingerprint;
use super::{Policy, download};

/// A policy whose times are those of a test.
fn policy() -> Policy {
    Policy {
        tries_in_vain: 3,
        tries: 40,
        wait_first: Duration::from_millis(2),
        wait_max: Duration::from_millis(8),
        retry_after_max: Duration::from_secs(2),
        stall: Duration::from_millis(400),
        least_bytes: 1000,
        proxy_from_environment: false,
        hub: Hub::default(),
        free_space: |_| Some(u64::MAX),
    }
}

/// A file of this length without a repetition that a wrong offset could hide in.
fn contents(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    (0..length).map(step).collect()
}

/// A folder, and what is downloaded into it.
struct Case {
    folder: tempfile::TempDir,
    sources: Sources,
}

impl Case {
    /// A single file with these URLs as its sources and nothing known of it.
    fn new(urls: &[&str]) -> Self {
        let source = |url: &&str| Source {
            url: (*url).to_owned(),
            name: "file.bin".to_owned(),
            bytes: None,
            about_bytes: Some(1 << 20),
            sha256: None,
        };
        let item = Item { path: "sub/file.bin".to_owned(), unpack: None, sources: urls.iter().map(source).collect() };
        let text = String::new;
        let sources = Sources {
            title: text(),
            licence: text(),
            by_hand: "Get it by hand.".to_owned(),
            usage: text(),
            files: vec![item],
        };
        Self { folder: tempfile::tempdir().unwrap(), sources }
    }

    /// The same, with the sha256 of `file` published.
    fn with_hash(mut self, file: &[u8]) -> Self {
        for source in &mut self.sources.files[0].sources {
            source.sha256 = Some(hash_of(file));
        }
        self
    }

    /// An archive with `metadata.csv` in it.
    fn with_archive(mut self) -> Self {
        let contents = vec!["metadata.csv".to_owned()];
        self.sources.files[0].path = "birds".to_owned();
        self.sources.files[0].unpack =
            Some(Unpack { contents, about_bytes: 1000, max_bytes: 100_000, max_entries: 20 });
        self
    }

    fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn part(&self) -> PathBuf {
        self.data_dir().join(".download/file.bin.part")
    }

    fn target(&self) -> PathBuf {
        self.data_dir().join(&self.sources.files[0].path)
    }

    fn run(&self) -> anyhow::Result<PathBuf> {
        self.run_with(None, &policy())
    }

    fn run_with(&self, from: Option<&str>, policy: &Policy) -> anyhow::Result<PathBuf> {
        download(&self.sources, &self.data_dir(), from, policy)
    }

    /// Runs and expects exactly `file` in its place and nothing besides the lock files.
    fn arrives(&self, file: &[u8]) {
        assert_eq!(self.run().unwrap(), self.target());
        assert_eq!(fs_err::read(self.target()).unwrap(), file);
        assert_eq!(names(&self.data_dir().join(".download")), ["lock"]);
    }

    /// Runs and expects an error with all of these words, and nothing in the file's place.
    fn fails(&self, words: &[&str]) -> String {
        let message = format!("{:#}", self.run().unwrap_err());
        for word in words {
            assert!(message.contains(word), "`{word}` is not in: {message}");
        }
        assert!(!self.target().exists(), "a failed download left {}", self.target().display());
        message
    }
}

fn hash_of(file: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs_err::write(&path, file).unwrap();
    fingerprint(&path).unwrap().sha256
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs_err::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

//! Stages that two configurations share: a finished stage of a sister run is taken over when everything it depends on is
//! the same. So a sweep over a method's parameter trains the first classifier once.
//!
//! `stages.json` in a seed's folder has a key per kind of stage: the hash of the run's identity and of the settings that
//! kind depends on. Arms (`6-<method>`) are never taken over.

use std::{collections::BTreeMap, path::Path};

use scgs_data::atomic;

use crate::{
    Error, RunFolder, Settings, run_folder,
    settings::{TrainMode, TrainSettings},
};

/// The file of keys.
const FILE: &str = "stages.json";

/// Kinds of stages by the beginning of their folders' names.
const KINDS: [(&str, &[&str]); 4] = [
    ("pictures", &["0-"]),
    ("classifier", &["1-", "6-test", "6-balanced-data"]),
    ("errors", &["2-"]),
    ("synthesis", &["3-", "4-", "5-"]),
];

/// The settings a kind depends on; all others are set to their defaults. What is not known to be without effect stays.
fn relevant(kind: &str, s: &Settings) -> Settings {
    let none = Settings::default();
    let pictures = Settings { data: s.data.clone(), habitat: s.habitat.clone(), ..none };
    let train = match s.train.mode {
        // The first classifier's last layer is solved for.
        TrainMode::Head => TrainSettings { mode: s.train.mode, c: s.train.c, ..TrainSettings::default() },
        TrainMode::Full => {
            let of = TrainSettings::default();
            TrainSettings { long: of.long, head: of.head, ..s.train.clone() }
        }
    };
    let classifier = Settings { backbone: s.backbone.clone(), train, ..pictures.clone() };
    match kind {
        "pictures" => pictures,
        "classifier" => classifier,
        "errors" => Settings { identify: s.identify.clone(), ..classifier },
        _ => Settings {
            identify: s.identify.clone(),
            cluster: s.cluster.clone(),
            attention: s.attention.clone(),
            mask: s.mask.clone(),
            synthesis: s.synthesis.clone(),
            ..classifier
        },
    }
}

/// The key of every kind. `identity` is what the run's hash has beside the settings.
fn keys(settings: &Settings, identity: &[&str]) -> BTreeMap<String, String> {
    KINDS.iter().map(|(kind, _)| ((*kind).to_owned(), relevant(kind, settings).hash(identity))).collect()
}

/// Notes the keys of a run and takes over what sister runs have finished. `parent` is the folder of the configuration;
/// its sisters lie beside it.
///
/// # Errors
/// If a file cannot be read, linked or written.
pub(crate) fn adopt(folder: &RunFolder, parent: &Path, settings: &Settings, identity: &[&str]) -> Result<(), Error> {
    let own = keys(settings, identity);
    run_folder::write_json(&folder.root().join(FILE), &own)?;
    let Some(all) = parent.parent() else { return Ok(()) };
    let mut sisters: Vec<_> = fs_err::read_dir(all)?.collect::<Result<_, _>>()?;
    sisters.sort_by_key(fs_err::DirEntry::file_name);
    for sister in sisters {
        let root = sister.path().join(format!("seed-{}", folder.seed));
        if sister.path() == parent || !root.join(FILE).is_file() {
            continue;
        }
        let theirs: BTreeMap<String, String> = run_folder::read_json(&root.join(FILE))?;
        let mut stages: Vec<_> = fs_err::read_dir(&root)?.collect::<Result<_, _>>()?;
        stages.sort_by_key(fs_err::DirEntry::file_name);
        for stage in stages {
            let name = stage.file_name().to_string_lossy().into_owned();
            let kind = KINDS.iter().find(|(_, starts)| starts.iter().any(|s| name.starts_with(s))).map(|k| k.0);
            let same = kind.is_some_and(|kind| own.get(kind) == theirs.get(kind));
            if same && stage.path().join("done").is_file() && !folder.is_done(&name) {
                take(&stage.path(), &folder.root().join(&name))?;
            }
        }
    }
    Ok(())
}

/// Links a finished stage's files into this run; the folder appears whole or not at all.
fn take(from: &Path, to: &Path) -> Result<(), Error> {
    if to.exists() {
        // An interrupted attempt at what is finished elsewhere.
        fs_err::remove_dir_all(to)?;
    }
    let folder = to.parent().unwrap_or(to);
    let mut builder = tempfile::Builder::new();
    builder.prefix(atomic::TEMPORARY_PREFIX);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    let temporary = builder.tempdir_in(folder)?;
    link_all(from, temporary.path())?;
    fs_err::rename(temporary.keep(), to)?;
    Ok(())
}

/// Files are only ever replaced, never changed, so two runs can share them; where links are impossible they are copied.
fn link_all(from: &Path, to: &Path) -> Result<(), Error> {
    for entry in fs_err::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs_err::create_dir(&target)?;
            link_all(&entry.path(), &target)?;
        } else if fs_err::hard_link(entry.path(), &target).is_err() {
            fs_err::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(runs: &Path, settings: &Settings, seed: u64) -> RunFolder {
        let parent = runs.join(settings.hash(&["i"]));
        let folder = RunFolder::open(&parent, seed).unwrap();
        adopt(&folder, &parent, settings, &["i"]).unwrap();
        folder
    }

    fn finish(folder: &RunFolder, stage: &str, text: &str) {
        fs_err::create_dir_all(folder.path(stage, "deep")).unwrap();
        fs_err::write(folder.path(stage, "deep/a.txt"), text).unwrap();
        fs_err::write(folder.path(stage, "done"), "facts\n").unwrap();
    }

    const STAGES: [&str; 5] = ["0-pictures", "1-erm", "2-errors", "4-masks", "6-jtt"];

    /// Which of a finished run's stages a run with other settings takes over.
    fn taken(change: impl FnOnce(&mut Settings)) -> Vec<&'static str> {
        let dir = tempfile::tempdir().unwrap();
        let first = run(dir.path(), &Settings::default(), 0);
        STAGES.iter().for_each(|stage| finish(&first, stage, stage));
        let mut other = Settings::default();
        change(&mut other);
        assert!(STAGES.iter().all(|stage| !run(dir.path(), &other, 1).is_done(stage)), "another seed");
        let second = run(dir.path(), &other, 0);
        let taken: Vec<&str> = STAGES.into_iter().filter(|stage| second.is_done(stage)).collect();
        for stage in &taken {
            assert_eq!(fs_err::read_to_string(second.path(stage, "deep/a.txt")).unwrap(), *stage);
        }
        taken
    }

    #[test]
    fn a_stage_is_shared_by_what_it_depends_on_and_nothing_else() {
        let before_arms = &STAGES[..4];
        assert_eq!(taken(|s| s.jtt.upweight = 7), before_arms);
        assert_eq!(taken(|s| s.train.head.learning_rate = 0.5), before_arms);
        assert_eq!(taken(|s| s.synthesis.share = 1.0), STAGES[..3]);
        assert_eq!(taken(|s| s.identify.folds = 7), STAGES[..2]);
        assert_eq!(taken(|s| s.train.c = 0.5), STAGES[..1]);
        assert_eq!(taken(|s| s.habitat.train = 80), STAGES[..0]);
        // In mode full every training setting counts, and the classifier of mode head is another.
        assert_eq!(taken(|s| s.train.mode = TrainMode::Full), STAGES[..1]);
    }

    #[test]
    fn unfinished_and_foreign_stages_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let first = run(dir.path(), &Settings::default(), 0);
        fs_err::create_dir_all(first.path("1-erm", "")).unwrap();
        let mut other = Settings::default();
        other.jtt.upweight = 7;
        assert!(!run(dir.path(), &other, 0).path("1-erm", "").exists(), "not finished");
        finish(&first, "1-erm", "theirs");
        let second = run(dir.path(), &other, 0);
        fs_err::write(second.path("1-erm", "deep/b.txt"), "mine").unwrap();
        run(dir.path(), &other, 0);
        assert!(second.path("1-erm", "deep/b.txt").is_file(), "what is finished here is kept");
        assert!(!first.path("1-erm", "deep/b.txt").exists());
    }
}

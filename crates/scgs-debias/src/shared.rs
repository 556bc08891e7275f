//! Finished stages that other configurations of the same data set can use.
//!
//! A stage is a function of its inputs, of the settings that concern it and of the seed. A run that is about to start a stage
//! looks whether another configuration has finished the same one, and then links its files instead of computing them
//! again. Files of a run are never changed in place, so that sharing them is safe; a deleted run takes nothing from others.
//! Two that start the same stage at once take turns: see [`Shared::turn`].
//!
//! `runs/<dataset>/stages/<stage>-<key>` holds the seed folder, relative to `runs/<dataset>`, that has finished the stage.

use std::path::{Component, Path, PathBuf};

use scgs_data::atomic;

use crate::{Context, Error, Settings, lock, run_folder};

/// Where a run looks for finished stages of others.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    /// `runs/<dataset>`
    folder: PathBuf,
    /// What else than settings and seed decides what a stage writes.
    identity: Vec<String>,
    settings: Settings,
}

impl Shared {
    pub(crate) fn new(folder: &Path, identity: &[&str], settings: &Settings) -> Self {
        Self {
            folder: folder.to_owned(),
            identity: identity.iter().map(|&s| s.to_owned()).collect(),
            settings: settings.clone(),
        }
    }

    fn pointer(&self, stage: &str, seed: u64) -> PathBuf {
        let seed = seed.to_string();
        let identity: Vec<&str> = self.identity.iter().map(String::as_str).chain([stage, &seed]).collect();
        let key = self.settings.relevant_to(stage).hash(&identity);
        self.folder.join("stages").join(format!("{stage}-{key}"))
    }

    /// The right to compute a stage, after whoever computes the same for another configuration.
    pub(crate) fn turn(&self, stage: &str, seed: u64, context: &Context<'_>) -> Result<fs_err::File, Error> {
        let mut path = self.pointer(stage, seed).into_os_string();
        path.push(".lock");
        lock::wait_for(Path::new(&path), stage, context)
    }

    /// The folder of a finished stage like this one, in another run.
    pub(crate) fn find(&self, stage: &str, seed: u64, own: &Path) -> Option<PathBuf> {
        let text = fs_err::read_to_string(self.pointer(stage, seed)).ok()?;
        let relative = Path::new(text.trim_end());
        // A pointer leads nowhere else, whoever wrote it.
        if !relative.components().all(|c| matches!(c, Component::Normal(_))) {
            return None;
        }
        let found = self.folder.join(relative).join(stage);
        (found != own && found.join("done").is_file()).then_some(found)
    }

    /// [`Self::announce`] unless somebody has.
    pub(crate) fn announce_once(&self, stage: &str, seed: u64, root: &Path) -> Result<(), Error> {
        if self.pointer(stage, seed).is_file() { Ok(()) } else { self.announce(stage, seed, root) }
    }

    /// Lets others find a finished stage below `root`, the run's seed folder.
    pub(crate) fn announce(&self, stage: &str, seed: u64, root: &Path) -> Result<(), Error> {
        let Ok(relative) = root.strip_prefix(&self.folder) else { return Ok(()) };
        let pointer = self.pointer(stage, seed);
        fs_err::create_dir_all(self.folder.join("stages"))?;
        Ok(atomic::write(pointer, format!("{}\n", relative.display()).as_bytes())?)
    }
}

/// Gives `to` the files of the finished stage `from`, the marker last. Whatever an interrupted attempt left there goes.
pub(crate) fn take_over(from: &Path, to: &Path) -> Result<(), Error> {
    if to.exists() {
        fs_err::remove_dir_all(to)?;
    }
    link(from, to)?;
    Ok(atomic::write(to.join("done"), fs_err::read(from.join("done"))?)?)
}

fn link(from: &Path, to: &Path) -> Result<(), Error> {
    fs_err::create_dir_all(to)?;
    for entry in fs_err::read_dir(from)? {
        let entry = entry?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let name = entry.file_name();
        if run_folder::UNFINISHED.iter().any(|part| name == *part) || run_folder::is_unfinished(&path) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            link(&path, &target)?;
        } else if entry.file_name() != "done" && fs_err::hard_link(&path, &target).is_err() {
            // Not every file system has links.
            fs_err::copy(&path, &target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use burn::tensor::Device;

    use super::*;
    use crate::{Context, RunFolder};

    #[test]
    fn a_stage_is_computed_once_for_all_configurations_that_agree_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let runs = dir.path().join("habitat");
        let mut settings = Settings::default();
        let open = |name: &str, seed, settings: &Settings| {
            RunFolder::open(&runs.join(name), seed).unwrap().sharing(Shared::new(&runs, &["v1"], settings))
        };
        let never = AtomicBool::new(false);
        let context = Context::new(Device::flex(), &never, &|_| {});
        {
            let count = std::cell::Cell::new(0);
            let make = |folder: &RunFolder, stage: &str| {
                folder
                    .stage(&context, stage, 0, |at| {
                        count.set(count.get() + 1);
                        fs_err::create_dir_all(at.join("deep"))?;
                        fs_err::write(at.join("deep").join("file"), format!("{}", count.get()))?;
                        Ok("made".into())
                    })
                    .unwrap();
                fs_err::read_to_string(folder.path(stage, "deep/file")).unwrap()
            };
            let first = open("a", 0, &settings);
            assert_eq!(make(&first, "5-synthesis"), "1");
            settings.jtt.upweight = 3;
            let second = open("b", 0, &settings);
            fs_err::create_dir_all(second.path("5-synthesis", "left-over")).unwrap();
            assert_eq!(make(&second, "5-synthesis"), "1");
            assert!(second.is_done("5-synthesis") && !second.path("5-synthesis", "left-over").exists());
            assert_eq!(make(&open("b", 1, &settings), "5-synthesis"), "2", "another seed");
            settings.synthesis.share = 0.25;
            assert_eq!(make(&open("c", 0, &settings), "5-synthesis"), "3", "another setting that matters");
            // What the first run leaves behind when it is deleted is a pointer to nothing.
            fs_err::remove_dir_all(runs.join("a")).unwrap();
            assert_eq!(make(&second, "5-synthesis"), "1");
            settings = Settings::default();
            assert_eq!(make(&open("d", 0, &settings), "5-synthesis"), "4");
        }
    }
}

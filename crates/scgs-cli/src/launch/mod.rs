//! Runs in parts: the masks, shards of the new pictures at once, the check of the shards, the arms, the page.
//!
//! Every part is a command that can be called by hand and goes on where it was stopped, so that a launcher only starts
//! commands in an order: processes of this machine ([`local`]) or jobs of a cluster ([`slurm`]).

mod local;
mod slurm;

use std::path::PathBuf;

use crate::{
    args::RunArgs,
    args_runs::{LaunchArgs, LauncherKind},
};

/// What is to be started.
#[derive(Debug)]
pub(crate) struct Job {
    /// The program.
    pub(crate) scgs: PathBuf,
    /// Words that `scgs run` and `scgs synthesize` share: the data, the settings, the methods, where runs lie, the device.
    pub(crate) words: Vec<String>,
    /// Words that only `scgs run` knows.
    pub(crate) run_words: Vec<String>,
    /// Name of the data set, for names.
    pub(crate) dataset: String,
    /// One chain of parts for each.
    pub(crate) seeds: Vec<u64>,
    /// Shards of the new pictures.
    pub(crate) shards: u32,
    /// Device names of the local launcher.
    pub(crate) devices: Vec<String>,
    /// Scripts and logs.
    pub(crate) folder: PathBuf,
    /// Slurm's time limit.
    pub(crate) time_limit: String,
    /// Further options of Slurm.
    pub(crate) options: Vec<String>,
}

/// Starts the parts of a run.
pub(crate) trait Launcher {
    /// What would be started, as text for people and for a look before it happens.
    fn plan(&self, job: &Job) -> String;

    /// Starts it: returns when it is done, or where a queue has taken it, what to look at.
    fn launch(&self, job: &Job) -> anyhow::Result<String>;
}

/// The launcher of a name.
pub(crate) fn of(kind: LauncherKind) -> Box<dyn Launcher> {
    match kind {
        LauncherKind::Local => Box::new(local::Local),
        LauncherKind::Slurm => Box::new(slurm::Slurm),
    }
}

impl Job {
    /// The parts of `scgs run` with these arguments.
    pub(crate) fn of(args: &RunArgs, launch: &LaunchArgs, dataset: &str) -> anyhow::Result<Self> {
        let data = &args.data;
        let mut words = Vec::new();
        let mut add = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                words.extend([name.to_owned(), value]);
            }
        };
        let path = |path: &std::path::Path| path.display().to_string();
        add("--dataset", Some(dataset.to_owned()));
        add("--datasets", Some(path(&data.datasets)));
        add("--data-dir", data.data_dir.as_deref().map(path));
        add("--profile", data.profile.clone());
        add("--config", data.config.as_deref().map(path));
        data.sets.iter().for_each(|set| add("--set", Some(set.clone())));
        add("--methods", Some(args.methods.clone()));
        add("--runs", Some(path(&args.runs)));
        add("--backgrounds", args.backgrounds.as_deref().map(path));
        add("--device", Some(args.device.device.clone()));
        add("--max-memory", args.max_memory.map(|budget| budget.words()));
        if data.accept_counts {
            words.push("--accept-counts".to_owned());
        }
        let cache = args.cache.as_deref().map(|folder| ["--cache".to_owned(), path(folder)]);
        let parallel = (!args.parallel.data_parallel.is_empty())
            .then(|| ["--data-parallel".into(), args.parallel.data_parallel.join(",")]);
        Ok(Self {
            scgs: std::env::current_exe()?,
            words,
            run_words: cache.into_iter().chain(parallel).flatten().collect(),
            dataset: dataset.to_owned(),
            seeds: (args.seed..args.seed + args.seeds).collect(),
            shards: launch.shards,
            devices: if launch.devices.is_empty() { vec![args.device.device.clone()] } else { launch.devices.clone() },
            folder: launch.launch_dir.clone(),
            time_limit: launch.time_limit.clone(),
            options: launch.slurm.clone(),
        })
    }

    /// The words of `scgs run` for a seed.
    pub(crate) fn run(&self, seed: &str, more: &[&str]) -> Vec<String> {
        let own = ["run".to_owned()].into_iter().chain(self.words.clone()).chain(self.run_words.clone());
        own.chain(["--seed".to_owned(), seed.to_owned()]).chain(more.iter().map(|&word| word.to_owned())).collect()
    }

    /// The words of `scgs synthesize` for a seed.
    pub(crate) fn synthesize(&self, seed: &str, shard: &str, more: &[&str]) -> Vec<String> {
        let own = ["synthesize".to_owned()].into_iter().chain(self.words.clone());
        let ends = ["--seed", seed, "--shard", shard].into_iter().chain(more.iter().copied());
        own.chain(ends.map(str::to_owned)).collect()
    }
}

/// A word as a shell takes it, whole.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./,:+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

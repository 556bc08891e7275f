//! The command lines of runs in parts: shards, their check, launchers.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use scgs_debias::stages::synthesis::shard::Shard;

use crate::args::{Common, DataArgs, DeviceArgs};

/// `scgs synthesize`
#[derive(Debug, Args)]
pub(crate) struct SynthesizeArgs {
    /// Which data, and with which settings.
    #[command(flatten)]
    pub data: DataArgs,
    /// The rows of the run, as for `scgs run`: those with new pictures are painted for
    #[arg(long, default_value = "core")]
    pub methods: String,
    /// Which part to paint: i/n is every n-th picture; any n gives the same pictures
    #[arg(long, value_name = "I/N", default_value = "1/1")]
    pub shard: Shard,
    /// The seed of the run
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Where runs are kept
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub runs: PathBuf,
    /// Pictures without objects for the classical fill (composed data sets bring their own)
    #[arg(long, value_name = "DIR")]
    pub backgrounds: Option<PathBuf>,
    /// Stay within this memory, such as 4GiB: fewer pictures are painted together, and they are the same
    #[arg(long, value_name = "SIZE")]
    pub max_memory: Option<scgs_debias::memory::MemoryBudget>,
    /// Compute on this device of the same kind; the run keeps the name of --device
    #[arg(long, value_name = "DEVICE")]
    pub on: Option<String>,
    /// Where computations happen.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Options of every command.
    #[command(flatten)]
    pub common: Common,
}

/// `scgs merge`
#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    /// A folder runs/DATASET/CONFIG-HASH/seed-N, or the one above it where it has one seed
    pub run_dir: PathBuf,
    /// Folder of the data set's pictures where it has moved since the run
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where to compute; by default the run's own device
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
    /// Options of every command.
    #[command(flatten)]
    pub common: Common,
}

/// `scgs simulate`, for docs/scale.md
#[derive(Debug, Args)]
pub(crate) struct SimulateArgs {
    /// How many pictures
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(100..=10_000_000))]
    pub items: usize,
    /// Into how many shards they are divided
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1000))]
    pub shards: usize,
    /// Where the pictures are written for the time being
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub folder: PathBuf,
    /// Name of the files to write, .json and .svg
    #[arg(long, value_name = "FILE", default_value = "docs/experiments/scale")]
    pub out: PathBuf,
    /// Options of every command.
    #[command(flatten)]
    pub common: Common,
}

/// `scgs serve`
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Address and port to listen on. The traffic is not encrypted: beyond this machine, use a network that you trust or a tunnel
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7341")]
    pub listen: std::net::SocketAddr,
    /// What is lent.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Options of every command.
    #[command(flatten)]
    pub common: Common,
}

/// Where `scgs run` stops early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Until {
    /// Before the new pictures: what `scgs synthesize` starts from
    Masks,
}

/// Who starts the processes of a run in parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LauncherKind {
    /// Processes of this machine, one per device of --devices
    Local,
    /// Jobs of a Slurm cluster
    Slurm,
}

/// What is watched while a run goes on.
#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// Name a stage in which nothing was finished for so many minutes; 0 never does
    #[arg(long, value_name = "MINUTES", default_value_t = 30.0)]
    pub watchdog: f64,
    /// What an hour of the device costs: run.json then has the cost beside the hours
    #[arg(long, value_name = "PER_HOUR")]
    pub price: Option<f64>,
}

/// How a run is spread over processes.
#[derive(Debug, Args)]
pub(crate) struct LaunchArgs {
    /// Run in parts (masks, shards of the new pictures at once, their check, the rest): local (processes, one per device of
    /// --devices) or slurm (jobs of a cluster); with --dry-run, print what would be started
    #[arg(long, value_name = "NAME", conflicts_with = "until", hide_possible_values = true)]
    pub launcher: Option<LauncherKind>,
    /// Into how many shards the new pictures are divided
    #[arg(long, value_name = "N", default_value_t = 4, requires = "launcher", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub shards: u32,
    /// Devices of the local launcher, separated by commas; as many shards are painted at once
    #[arg(long, value_name = "A,B", value_delimiter = ',', requires = "launcher")]
    pub devices: Vec<String>,
    /// Folder for the scripts and logs of a launcher
    #[arg(long, value_name = "DIR", default_value = "launch", requires = "launcher")]
    pub launch_dir: PathBuf,
    /// Time limit of each Slurm job, as Slurm writes it
    #[arg(long, value_name = "D-HH:MM:SS", default_value = "1-00:00:00", requires = "launcher")]
    pub time_limit: String,
    /// A further line for every Slurm job, such as --slurm=--gres=gpu:1; may be repeated
    #[arg(long = "slurm", value_name = "OPTION", requires = "launcher", allow_hyphen_values = true)]
    pub slurm: Vec<String>,
}

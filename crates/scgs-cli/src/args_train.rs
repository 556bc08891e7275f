//! The command lines of `scgs train` and `scgs sweep`.

use std::path::PathBuf;

use clap::Args;
use scgs_debias::{selection::Criterion, sweep::Axis};
use scgs_models::Architecture;

use crate::args::{Common, DataArgs, DataParallelArgs, DeviceArgs};

/// `scgs train`
#[derive(Debug, Args)]
pub(crate) struct TrainArgs {
    /// What to train: a method such as groupdro, or pictures and method such as scgs+jtt (then the stages before it run)
    #[arg(long, value_name = "NAME")]
    pub method: String,
    /// Architecture of the classifier
    #[arg(long, value_name = "NAME")]
    pub arch: Architecture,
    /// Starting weights: imagenet, none (random) or a .safetensors or .pth file [default: backbone.weights]
    #[arg(long, value_name = "FILE")]
    pub weights: Option<String>,
    /// Folder to write: model.safetensors (torchvision's names), metrics.jsonl, metrics.csv, a TensorBoard event file,
    /// groups.json, predictions.csv, config.toml, train.json
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Which data, and with which settings.
    #[command(flatten)]
    pub data: DataArgs,
    /// Decides every random draw
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Where runs are kept; finished stages are taken from there
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub runs: PathBuf,
    /// Pictures without objects for the classical fill (composed data sets bring their own)
    #[arg(long, value_name = "DIR")]
    pub backgrounds: Option<PathBuf>,
    /// Where trainings happen too.
    #[command(flatten)]
    pub parallel: DataParallelArgs,
    /// Where computations happen.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Options of every command.
    #[command(flatten)]
    pub common: Common,
}

/// `scgs sweep`
#[derive(Debug, Args)]
pub(crate) struct SweepArgs {
    /// Which data, and with which settings.
    #[command(flatten)]
    pub data: DataArgs,
    /// The methods to run at every point, separated by commas; each gets its own best point
    #[arg(long, value_name = "A,B")]
    pub methods: String,
    /// A setting and its values: KEY=A,B,C, or with --random also KEY=LOW..HIGH or KEY=log:LOW..HIGH; may be repeated
    #[arg(long = "axis", value_name = "SECTION.KEY=VALUES", required = true)]
    pub axes: Vec<Axis>,
    /// Draw so many points instead of taking every combination
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub random: Option<u64>,
    /// What ranks the points on the validation split: average, worst-class, or worst-group (sees group labels)
    #[arg(long, value_name = "CRITERION", default_value = "worst-class", value_parser = criterion)]
    pub by: Criterion,
    /// How many seeds to run at every point: --seed, --seed + 1, ...
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub seeds: u64,
    /// The first seed; decides the points of --random, too
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Where runs are kept
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub runs: PathBuf,
    /// Pictures without objects for the classical fill (composed data sets bring their own)
    #[arg(long, value_name = "DIR")]
    pub backgrounds: Option<PathBuf>,
    /// Print the points and stop
    #[arg(long)]
    pub dry_run: bool,
    /// Where computations happen.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Options of every command.
    #[command(flatten)]
    pub common: Common,
}

/// A criterion that compares runs; the last epoch is none.
fn criterion(text: &str) -> Result<Criterion, String> {
    let known = [Criterion::Average, Criterion::WorstClass, Criterion::WorstGroup];
    let names = known.map(Criterion::name).join(", ");
    known.into_iter().find(|c| c.name() == text).ok_or_else(|| format!("expected one of {names}"))
}

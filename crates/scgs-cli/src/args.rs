//! The command line, as clap reads it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::{
    args_tools::{CamArgs, ClusterArgs, PredictArgs},
    args_train::{SweepArgs, TrainArgs},
};

/// Find what an image classifier wrongly looks at, and repair it with generated training pictures.
#[derive(Debug, Parser)]
#[command(name = "scgs", version, about, max_term_width = 110, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  scgs run --dataset habitat                         the whole loop on the embedded pictures
  scgs run --dataset habitat --methods erm,scgs --seeds 3 --set synthesis.share=1.0
  scgs train --method groupdro --arch efficientnet-lite0 --dataset habitat --out groupdro
  scgs sweep --dataset habitat --methods jtt --axis jtt.upweight=5,20,100
  scgs report runs/habitat/<hash>                    write the HTML report again
  scgs doctor                                        what is compiled in, what is on this machine
  scgs run --help                                    every command has its own examples

NO_COLOR=1 turns colours off, SCGS_LOG=debug shows more on standard error, SCGS_DATASETS names the folder of --datasets.
Exit codes: 0 done, 1 a comparison or check failed, 2 bad input or missing data, 130 interrupted";

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the loop: ERM, error set, clusters, masks, new pictures, retraining, report
    Run(RunArgs),
    /// Run many configurations with the same seeds and put them on one page
    Suite(SuiteArgs),
    /// Paint a part of a run's new pictures: many processes may paint at once
    Synthesize(crate::args_runs::SynthesizeArgs),
    /// Check what the parts painted, and finish the stage
    Merge(crate::args_runs::MergeArgs),
    /// Train one method alone and report its accuracy per group
    Train(TrainArgs),
    /// Search settings, and rank them by accuracy on the validation split
    Sweep(SweepArgs),
    /// Accuracy per group of a trained classifier
    Eval(EvalArgs),
    /// Write the HTML report of a finished run
    Report(ReportArgs),
    /// Compose the embedded data set into a folder in the Waterbirds layout
    Compose(ComposeArgs),
    /// Measure how well attention masks find the object, against true object masks (evaluation only)
    MaskQuality(crate::args_masks::MaskQualityArgs),
    /// Repaint the masked part of a picture with Stable Diffusion
    Inpaint(Box<crate::args_inpaint::InpaintArgs>),
    /// Measure what inpainters paint against real pictures (evaluation only)
    InpaintQuality(crate::args_inpainter::InpaintQualityArgs),
    /// Train the small diffusion model that repaints pictures
    TrainInpainter(crate::args_inpainter::TrainInpainterArgs),
    /// Logits of the pictures in a folder
    Predict(PredictArgs),
    /// Where a classifier looks in the pictures of a folder
    Cam(CamArgs),
    /// Lend a device to `--device remote:ws://HOST:PORT` on other machines, to who knows the token in SCGS_REMOTE_TOKEN
    Serve(crate::args_runs::ServeArgs),
    /// k-means clusters of the rows of a feature matrix
    Cluster(ClusterArgs),
    /// Write real and new pictures of a run as a data set: Waterbirds layout, image folder, metadata.jsonl
    Export(crate::args_data::ExportArgs),
    /// Make a look-alike of a published data set (`cargo xtask fixtures`)
    #[command(hide = true)]
    Fixtures(crate::args_data::FixturesArgs),
    /// Text for the reference in docs (`cargo xtask reference`)
    #[command(hide = true)]
    Reference(ReferenceArgs),
    /// Many small pictures through the run folder: does the time per picture grow?
    #[command(hide = true)]
    Simulate(crate::args_runs::SimulateArgs),
    /// Time one computation on one device, a call for each line of standard input (`cargo xtask bench`)
    #[command(hide = true)]
    Bench(crate::args_tools::BenchArgs),
    /// What is compiled in, what is on this machine, and what is missing
    Doctor(crate::args_tools::DoctorArgs),
    /// Completions for a shell, on standard output
    Completions(CompletionsArgs),
    /// Manual pages
    Man(ManArgs),
}

/// Options of every command.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Print results as JSON on standard output
    #[arg(long)]
    pub json: bool,
    /// No progress and no notices on standard error; errors are still printed
    #[arg(long)]
    pub quiet: bool,
}

/// Where computations happen.
#[derive(Debug, Args)]
pub(crate) struct DeviceArgs {
    /// Where to compute: flex, tch, tch:cuda:N, wgpu, vulkan, cuda:N, remote:ws://HOST:PORT; `scgs doctor` lists what this build has
    #[arg(long, default_value = "flex")]
    pub device: String,
}

/// Devices that train beside --device.
#[derive(Debug, Args)]
pub(crate) struct DataParallelArgs {
    /// More devices of --device's kind, separated by commas, which take their part of the train.accumulate batches of each
    /// training step (train.mode full); the results are the same to rounding
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub data_parallel: Vec<String>,
}

/// Which data, and with which settings.
#[derive(Debug, Args)]
pub(crate) struct DataArgs {
    /// Name of a data set: a file NAME.toml in the --datasets folder
    #[arg(long, value_name = "NAME")]
    pub dataset: Option<String>,
    /// Folder of data set definitions, the picture pack and weights
    #[arg(long, value_name = "DIR", default_value = "datasets", env = "SCGS_DATASETS")]
    pub datasets: PathBuf,
    /// Folder of the data set's pictures (habitat: composed pictures; without it they are composed)
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Go on when the group counts differ from the published ones
    #[arg(long)]
    pub accept_counts: bool,
    /// Settings for a purpose: quick (under two minutes) or paper (the literal recipe)
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// A TOML file of settings, laid over those of the data set and the profile
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// One setting, such as identify.rule=held-out; may be repeated
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub sets: Vec<String>,
}

/// `scgs run`
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Which data, and with which settings.
    #[command(flatten)]
    pub data: DataArgs,
    /// Rows of the table: `core`, `all`, or a comma-separated list such as erm,duplicate,scgs+jtt
    #[arg(long, default_value = "core")]
    pub methods: String,
    /// How many seeds to run: --seed, --seed + 1, ...
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Where runs are kept
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub runs: PathBuf,
    /// Pictures without objects for the classical fill (composed data sets bring their own)
    #[arg(long, value_name = "DIR")]
    pub backgrounds: Option<PathBuf>,
    /// Folder for transformed pictures: a later run on the same data decodes none; the results are the same
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
    /// Stay within this memory, such as 4GiB: less is made ahead and painted together, and the results are the same
    #[arg(long, value_name = "SIZE")]
    pub max_memory: Option<scgs_debias::memory::MemoryBudget>,
    /// Where trainings happen too.
    #[command(flatten)]
    pub parallel: DataParallelArgs,
    /// Print the plan, with time and disk estimates from a short calibration, and stop
    #[arg(long)]
    pub dry_run: bool,
    /// Stop before the new pictures (masks), from where `scgs synthesize` starts, and print the folder
    #[arg(long, value_name = "STAGE", hide_possible_values = true)]
    pub until: Option<crate::args_runs::Until>,
    /// What is watched.
    #[command(flatten)]
    pub watch: crate::args_runs::WatchArgs,
    /// How the run is spread over processes.
    #[command(flatten)]
    pub launch: crate::args_runs::LaunchArgs,
    /// Where computations happen.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Options of every command.
    #[command(flatten)]
    pub common: Common,
}

/// `scgs suite`
#[derive(Debug, Args)]
pub(crate) struct SuiteArgs {
    /// What to run: a file of datasets/suites
    pub suite: PathBuf,
    /// The page to write, Markdown; a figure, examples and the results as JSON are written beside it
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// How many seeds to run: --seed, --seed + 1, ...; a cell may have fewer
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Where runs are kept; what is finished there is not computed again
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub runs: PathBuf,
    /// Folder of data set definitions, the picture pack and weights
    #[arg(long, value_name = "DIR", default_value = "datasets", env = "SCGS_DATASETS")]
    pub datasets: PathBuf,
    /// Folder of the data set's pictures (habitat: without it they are composed)
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Go on when the group counts differ from the published ones
    #[arg(long)]
    pub accept_counts: bool,
    /// Pictures without objects for the classical fill (composed data sets bring their own)
    #[arg(long, value_name = "DIR")]
    pub backgrounds: Option<PathBuf>,
    /// Settings for a purpose, under those of every cell
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// One setting for every cell, such as habitat.train=300; may be repeated
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub sets: Vec<String>,
    /// The command that the page names as its origin
    #[arg(long, value_name = "TEXT", hide = true, default_value = "scgs suite")]
    pub command: String,
    /// Where computations happen.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Options of every command.
    #[command(flatten)]
    pub common: Common,
}

/// `scgs eval`
#[derive(Debug, Args)]
pub(crate) struct EvalArgs {
    /// Which data, and with which settings.
    #[command(flatten)]
    pub data: DataArgs,
    /// Architecture of the classifier
    #[arg(long, value_name = "NAME")]
    pub arch: scgs_models::Architecture,
    /// Its weights: .safetensors or .pth
    #[arg(long, value_name = "FILE")]
    pub weights: PathBuf,
    /// The split: train, val or test
    #[arg(long, default_value = "test", value_parser = ["train", "val", "test"])]
    pub split: String,
    /// Where computations happen.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Options of every command.
    #[command(flatten)]
    pub common: Common,
}

/// `scgs report`
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// A folder runs/DATASET/CONFIG-HASH, or one seed-N below it; several are compared on one page
    #[arg(required = true, value_name = "RUN_DIR")]
    pub run_dirs: Vec<PathBuf>,
    /// Page of a comparison to write; the page of one run is always RUN_DIR/report/index.html
    #[arg(long, value_name = "FILE.html", default_value = "comparison.html")]
    pub out: PathBuf,
    /// Also draw how new pictures of the first run came to be: source, attention, mask, new picture (.png or .jpg)
    #[arg(long, value_name = "PICTURE")]
    pub examples: Option<PathBuf>,
    /// Options of every command.
    #[command(flatten)]
    pub common: Common,
}

/// `scgs compose`
#[derive(Debug, Args)]
pub(crate) struct ComposeArgs {
    /// Folder to write
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Decides the split of the source pictures and every composition
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Folder of data set definitions and the picture pack
    #[arg(long, value_name = "DIR", default_value = "datasets", env = "SCGS_DATASETS")]
    pub datasets: PathBuf,
    /// One setting, such as habitat.size=64; may be repeated
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub sets: Vec<String>,
    /// Options of every command.
    #[command(flatten)]
    pub common: Common,
}

/// `scgs reference`, for `cargo xtask reference`
#[derive(Debug, Args)]
pub(crate) struct ReferenceArgs {
    /// Folder to write commands.md and defaults.toml into
    pub dir: PathBuf,
    /// Options of every command.
    #[command(flatten)]
    pub common: Common,
}

/// `scgs completions`
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub shell: clap_complete::Shell,
    /// Options of every command.
    #[command(flatten)]
    pub common: Common,
}

/// `scgs man`
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Folder to write scgs.1, scgs-run.1, ... into
    pub dir: PathBuf,
    /// Options of every command.
    #[command(flatten)]
    pub common: Common,
}

impl Cli {
    /// Whether progress and notices are wanted.
    pub(crate) fn quiet(&self) -> bool {
        match &self.command {
            Command::Run(a) => a.common.quiet,
            Command::Suite(a) => a.common.quiet,
            Command::Synthesize(a) => a.common.quiet,
            Command::Merge(a) => a.common.quiet,
            Command::Train(a) => a.common.quiet,
            Command::Sweep(a) => a.common.quiet,
            Command::Eval(a) => a.common.quiet,
            Command::Report(a) => a.common.quiet,
            Command::Compose(a) => a.common.quiet,
            Command::MaskQuality(a) => a.common.quiet,
            Command::Inpaint(a) => a.common.quiet,
            Command::InpaintQuality(a) => a.common.quiet,
            Command::TrainInpainter(a) => a.common.quiet,
            Command::Predict(a) => a.common.quiet,
            Command::Cam(a) => a.common.quiet,
            Command::Serve(a) => a.common.quiet,
            Command::Cluster(a) => a.common.quiet,
            Command::Export(a) => a.common.quiet,
            Command::Fixtures(a) => a.common.quiet,
            Command::Reference(a) => a.common.quiet,
            Command::Simulate(a) => a.common.quiet,
            Command::Bench(a) => a.common.quiet,
            Command::Doctor(a) => a.common.quiet,
            Command::Completions(a) => a.common.quiet,
            Command::Man(a) => a.common.quiet,
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        crate::help::command().debug_assert();
    }
}

//! Options of `scgs mask-quality`.

use std::path::PathBuf;

use clap::Args;

use crate::args::{Common, DeviceArgs};

/// `scgs mask-quality`
#[derive(Debug, Args)]
pub(crate) struct MaskQualityArgs {
    /// How many seeds: --seed, --seed + 1, ...
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Where runs are kept; finished stages are used again
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub runs: PathBuf,
    /// Folder of data set definitions, the picture pack and weights
    #[arg(long, value_name = "DIR", default_value = "datasets", env = "SCGS_DATASETS")]
    pub datasets: PathBuf,
    /// One setting of the classifier or the error set, such as identify.rule=held-out; may be repeated
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub sets: Vec<String>,
    /// Compare this instead of the default: METHOD/LAYERS/TARGET[/flip][/INPUT SIZE], such as layercam/blocks.10/true;
    /// may be repeated
    #[arg(long, value_name = "LOOK", requires = "region")]
    pub look: Vec<String>,
    /// With each --look: a rule such as quantile:0.2, otsu or grab-cut:0.97:0.75:0.4:3, then any of +largest, +fill,
    /// +dilateN, +openN; may be repeated
    #[arg(long, value_name = "REGION", requires = "look")]
    pub region: Vec<String>,
    /// Pictures per seed for deletion and insertion of the looks that explain the label; 0 leaves them out
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub causal: usize,
    /// Markdown file to write; the same name with .json holds every figure
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Where computations happen.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Options of every command.
    #[command(flatten)]
    pub common: Common,
}

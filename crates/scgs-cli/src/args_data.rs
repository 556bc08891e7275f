//! The command lines about data sets: look-alikes and export.

use std::path::PathBuf;

use clap::Args;

use crate::args::Common;

/// `scgs fixtures`, for `cargo xtask fixtures`
#[derive(Debug, Args)]
pub(crate) struct FixturesArgs {
    /// Name of a data set with published counts: waterbirds, celeba or metashift
    pub dataset: String,
    /// Size of every group as a share of the published one, above 0, at most 1
    #[arg(long, default_value_t = 0.01)]
    pub scale: f64,
    /// Folder to write; it appears whole or not at all
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Decides every picture
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Folder of data set definitions and the picture pack
    #[arg(long, value_name = "DIR", default_value = "datasets", env = "SCGS_DATASETS")]
    pub datasets: PathBuf,
    /// Options of every command.
    #[command(flatten)]
    pub common: Common,
}

/// `scgs export`
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// A folder runs/DATASET/CONFIG-HASH/seed-N, or the one above it where it has one seed
    pub run_dir: PathBuf,
    /// Folder to write; it appears whole or not at all
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Whose new pictures: scgs, or a control of the run such as scgs-random-mask
    #[arg(long, value_name = "NAME", default_value = "scgs")]
    pub pictures: String,
    /// Folder of the data set's pictures where it has moved since the run
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Options of every command.
    #[command(flatten)]
    pub common: Common,
}

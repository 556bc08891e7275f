//! The command lines around the small diffusion inpainter.

use std::path::PathBuf;

use clap::{Args, value_parser};

use crate::args::{Common, DeviceArgs};

/// `scgs train-inpainter`
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("length").required(true).args(["steps", "minutes"]))]
pub(crate) struct TrainInpainterArgs {
    /// The data set to learn from; only the composed one has objects cut out
    #[arg(long, value_name = "NAME", value_parser = ["habitat"])]
    pub dataset: String,
    /// Folder of data set definitions and the picture pack
    #[arg(long, value_name = "DIR", default_value = "datasets", env = "SCGS_DATASETS")]
    pub datasets: PathBuf,
    /// File of weights to write. The training's state lies beside it, FILE.state.safetensors: the same command goes on
    /// from there after an interruption
    #[arg(long, value_name = "FILE.safetensors")]
    pub out: PathBuf,
    /// Train this many steps. The same steps and seed give the same bytes on the same kind of machine
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..=100_000_000))]
    pub steps: Option<u64>,
    /// Train about this long, then print the --steps that gives the same file
    #[arg(long, value_name = "M")]
    pub minutes: Option<f64>,
    /// Scenes per step
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1024))]
    pub batch: usize,
    /// The learning rate after the first steps and before the last fifth
    #[arg(long, default_value_t = 1e-3)]
    pub rate: f32,
    /// Decides fresh weights, scenes, times and noise
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Steps between two looks at the clock, the loss printed and the state written
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = value_parser!(u64).range(1..))]
    pub every: u64,
    /// Where computations happen.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Options of every command.
    #[command(flatten)]
    pub common: Common,
}

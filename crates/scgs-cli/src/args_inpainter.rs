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

/// `scgs inpaint-quality`
#[derive(Debug, Args)]
pub(crate) struct InpaintQualityArgs {
    /// The data set; only the composed one has objects cut out
    #[arg(long, value_name = "NAME", value_parser = ["habitat"], default_value = "habitat")]
    pub dataset: String,
    /// Folder of data set definitions, the picture pack and weights
    #[arg(long, value_name = "DIR", default_value = "datasets", env = "SCGS_DATASETS")]
    pub datasets: PathBuf,
    /// Weights of `scgs train-inpainter`
    #[arg(long, value_name = "FILE.safetensors", default_value = "datasets/weights/inpainter-habitat.safetensors")]
    pub weights: PathBuf,
    /// Scenes per row of the table
    #[arg(long, value_name = "N", default_value_t = 400, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(66..=100_000))]
    pub pictures: usize,
    /// Steps of the small diffusion model
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub steps: usize,
    /// How far its prediction for a class is pushed away from that for no object; 1 not at all
    #[arg(long, default_value_t = 2.0)]
    pub guidance: f32,
    /// Decides the scenes and every draw of the painters
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Table to write; .json and .png (examples) go beside it
    #[arg(long, value_name = "FILE.md", default_value = "docs/experiments/inpainter.md")]
    pub out: PathBuf,
    /// Where computations happen.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Options of every command.
    #[command(flatten)]
    pub common: Common,
}

//! The command lines of the tools: one step of the loop on somebody's own files.

use std::{path::PathBuf, str::FromStr};

use clap::{Args, builder::RangedU64ValueParser};
use scgs_cam::{CamMethod, Epsilon};
use scgs_models::Architecture;

use crate::args::{Common, DeviceArgs};

/// The largest side of a network's input: above it a mistyped number would ask for all the memory there is.
const MAX_INPUT_SIZE: u64 = 4096;

/// A trained classifier, and pictures for it.
#[derive(Debug, Args)]
pub(crate) struct NetworkArgs {
    /// Architecture of the classifier
    #[arg(long, value_name = "NAME")]
    pub arch: Architecture,
    /// Its weights: .safetensors or .pth; the number of classes is that of their last layer
    #[arg(long, value_name = "FILE")]
    pub weights: PathBuf,
    /// Folder of JPEG, PNG and WebP pictures; folders inside it and other files are not looked at
    #[arg(long, value_name = "DIR")]
    pub images: PathBuf,
    /// Side in pixels of the square that pictures are scaled to [default: the architecture's, 224]
    #[arg(long, value_name = "PIXELS", value_parser = RangedU64ValueParser::<usize>::new().range(1..=MAX_INPUT_SIZE))]
    pub input_size: Option<usize>,
    /// Accepted as by every command; nothing here is random
    #[arg(long, default_value_t = 0, hide = true)]
    pub seed: u64,
    /// Where computations happen.
    #[command(flatten)]
    pub device: DeviceArgs,
}

impl NetworkArgs {
    /// Side of the square input in pixels.
    pub(crate) fn size(&self) -> usize {
        self.input_size.unwrap_or_else(|| self.arch.input_size())
    }
}

/// `scgs predict`
#[derive(Debug, Args)]
pub(crate) struct PredictArgs {
    /// A trained classifier, and pictures for it.
    #[command(flatten)]
    pub network: NetworkArgs,
    /// File to write: tensor `logits` [N, C] of f32, one row per picture in the sorted order of the file names; these
    /// go to a .csv beside it, column `name`
    #[arg(long, value_name = "FILE.safetensors")]
    pub out: PathBuf,
    /// Options of every command.
    #[command(flatten)]
    pub common: Common,
}

/// `scgs cam`
#[derive(Debug, Args)]
pub(crate) struct CamArgs {
    /// A trained classifier, and pictures for it.
    #[command(flatten)]
    pub network: NetworkArgs,
    /// gradcam, gradcam++, xgradcam, layercam, eigencam or scorecam
    #[arg(long, value_name = "NAME")]
    pub method: CamMethod,
    /// The class whose evidence is shown: an index from 0, or `predicted`
    #[arg(long, value_name = "CLASS", default_value = "predicted", allow_negative_numbers = true)]
    pub target: Target,
    /// The layer to look at; an unknown name lists those there are [default: the last]
    #[arg(long, value_name = "NAME")]
    pub layer: Option<String>,
    /// gradcam++ only: what keeps its division finite, a number or `scale-free` [default: 1e-6]
    #[arg(long, value_name = "EPS", allow_negative_numbers = true)]
    pub eps: Option<Epsilon>,
    /// Folder to write: for each picture STEM.safetensors with the tensor `attention` [H, W] in 0..1 at the input
    /// size, and STEM.png, the attention over the picture
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Options of every command.
    #[command(flatten)]
    pub common: Common,
}

/// `scgs cluster`
#[derive(Debug, Args)]
pub(crate) struct ClusterArgs {
    /// File with the tensor `features` [N, D] of f16, bf16, f32 or f64
    #[arg(long, value_name = "FILE.safetensors")]
    pub features: PathBuf,
    /// Number of clusters, or `auto`: of 2 to 10 the one with the best silhouette
    #[arg(long, value_name = "K", allow_negative_numbers = true)]
    pub k: ClusterCount,
    /// Decides the starting centres
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Starts from other centres; the best one counts
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub n_init: usize,
    /// Scale every row to length 1 first
    #[arg(long)]
    pub l2_normalise: bool,
    /// Project the rows (after --l2-normalise) onto this many principal components first
    #[arg(long, value_name = "DIMS")]
    pub pca: Option<usize>,
    /// File to write: columns `index` and `cluster`, both from 0
    #[arg(long, value_name = "FILE.csv")]
    pub out: PathBuf,
    /// Accepted as by every command; clusters are always computed on the CPU
    #[arg(long, default_value = "flex", hide = true)]
    pub device: String,
    /// Options of every command.
    #[command(flatten)]
    pub common: Common,
}

/// Which class an attention map explains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// The one with the highest logit, picture by picture.
    Predicted,
    /// The same one everywhere, from 0.
    Index(usize),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "predicted" => Ok(Self::Predicted),
            _ => {
                text.parse().map(Self::Index).map_err(|_| "expected the index of a class, from 0, or predicted".into())
            }
        }
    }
}

/// How many clusters there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClusterCount {
    /// Chosen by silhouette.
    Auto,
    /// Given.
    Fixed(usize),
}

impl FromStr for ClusterCount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            _ => text.parse().map(Self::Fixed).map_err(|_| "expected a number of clusters or auto".into()),
        }
    }
}

/// `scgs doctor`
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Look at these devices, separated by commas [default: every device of this build]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub devices: Vec<String>,
    /// Compare what the devices compute with flex: networks, attention maps, schedulers, training steps
    #[arg(long)]
    pub equality: bool,
    /// Write the comparison as a Markdown table
    #[arg(long, value_name = "FILE", requires = "equality")]
    pub markdown: Option<PathBuf>,
    /// Folder of data set definitions, the picture pack and weights
    #[arg(long, value_name = "DIR", default_value = "datasets", env = "SCGS_DATASETS")]
    pub datasets: PathBuf,
    /// Options of every command.
    #[command(flatten)]
    pub common: Common,
}

/// `scgs bench`
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// What to time
    #[arg(value_enum)]
    pub workload: crate::commands::bench::Workload,
    /// Pictures at once, or rows of k-means, instead of as many as the name says
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=1_000_000))]
    pub batch: Option<usize>,
    /// Side of the pictures in pixels, instead of the name's; for training, inference and attention
    #[arg(long, value_name = "PIXELS", value_parser = RangedU64ValueParser::<usize>::new().range(32..=MAX_INPUT_SIZE))]
    pub side: Option<usize>,
    /// Where computations happen.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Options of every command.
    #[command(flatten)]
    pub common: Common,
}

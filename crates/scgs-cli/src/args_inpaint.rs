//! The command line of `scgs inpaint`.

use std::{path::PathBuf, str::FromStr};

use clap::{Args, ValueEnum};
use scgs_diffusion::sd::{SchedulerKind, WeightType};

use crate::args::{Common, DeviceArgs};

/// `scgs inpaint`
#[derive(Debug, Args)]
pub(crate) struct InpaintArgs {
    /// Stable Diffusion 1 or 2 in diffusers' layout: a folder with model_index.json, or the name ORG/NAME of a model in the
    /// cache of Hugging Face's programs (HF_HOME). Nothing is downloaded
    #[arg(long, value_name = "DIR")]
    pub model: String,
    /// The picture: JPEG, PNG or WebP. A side that is no multiple of 8 is padded while painting
    #[arg(long, value_name = "FILE")]
    pub image: PathBuf,
    /// What to repaint: a picture of the same size, white = repaint, black = keep
    #[arg(long, value_name = "FILE")]
    pub mask: PathBuf,
    /// What to paint
    #[arg(long, value_name = "TEXT")]
    pub prompt: String,
    /// What not to paint
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub negative_prompt: String,
    /// Steps of the scheduler
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub steps: usize,
    /// How strongly the prompt counts; 1 and below switches the negative prompt off and halves the time
    #[arg(long, value_name = "G", default_value_t = 7.5, allow_negative_numbers = true)]
    pub guidance: f64,
    /// ddim, pndm, dpmpp-2m, euler, euler-a or lcm [default: the model folder's own]
    #[arg(long, value_name = "NAME")]
    pub scheduler: Option<SchedulerKind>,
    /// Decides every random number, as torch.Generator("cpu").manual_seed(SEED) does for diffusers
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// The initial noise: the tensor `latents` [1, 4, height/8, width/8] of standard normal numbers
    #[arg(long, value_name = "FILE.safetensors")]
    pub latents: Option<PathBuf>,
    /// How much of the masked part is forgotten, above 0 up to 1
    #[arg(long, value_name = "F", default_value_t = 1.0, allow_negative_numbers = true)]
    pub strength: f64,
    /// PNG to write. How it was made is in its text chunks
    #[arg(long, value_name = "FILE.png")]
    pub out: PathBuf,
    /// Let an empty --prompt through
    #[arg(long)]
    pub unconditional: bool,
    /// A LoRA to merge, with an optional scale: FILE or FILE=0.8; may be repeated
    #[arg(long, value_name = "FILE[=SCALE]")]
    pub lora: Vec<Scaled>,
    /// A learned word (textual inversion), with the word to use for it: FILE or FILE=WORD; may be repeated
    #[arg(long, value_name = "FILE[=WORD]")]
    pub embedding: Vec<Named>,
    /// Work on the mask's box and this many pixels around it, scaled up to --size
    #[arg(long, value_name = "PIXELS")]
    pub padding_crop: Option<u32>,
    /// Let the mask grow by this many pixels to every side
    #[arg(long, value_name = "PIXELS", default_value_t = 0)]
    pub dilate: u32,
    /// Blur the mask by this radius: the painted part fades into the picture
    #[arg(long, value_name = "PIXELS", default_value_t = 0.0, allow_negative_numbers = true)]
    pub blur: f32,
    /// Size at which the model works [default: the picture's; with --padding-crop what the model was trained at]
    #[arg(long, value_name = "WIDTHxHEIGHT")]
    pub size: Option<Size>,
    /// Leave pixels outside the mask as the model gives them back, which is nearly the same
    #[arg(long)]
    pub no_paste: bool,
    /// How weights are kept in memory; f16 takes the folder's fp16 files where there are some
    #[arg(long, value_enum, default_value_t = Dtype::F32)]
    pub dtype: Dtype,
    /// Last layers of the text encoder to leave out
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub clip_skip: usize,
    /// The model predicts the velocity, whatever its folder says
    #[arg(long)]
    pub v_prediction: bool,
    /// Compute this many attention heads together, for devices short of memory [default: all]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub heads_at_once: usize,
    /// Encode and decode large pictures in overlapping tiles
    #[arg(long)]
    pub vae_tiling: bool,
    /// Keep within this much memory, weights included
    #[arg(long, value_name = "GIB", allow_negative_numbers = true)]
    pub memory: Option<f64>,
    /// Where computations happen.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Options of every command.
    #[command(flatten)]
    pub common: Common,
}

/// How weights are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Dtype {
    /// 4 bytes a number.
    F32,
    /// 2 bytes.
    F16,
    /// 2 bytes with a larger range.
    Bf16,
}

impl From<Dtype> for WeightType {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => Self::F32,
            Dtype::F16 => Self::F16,
            Dtype::Bf16 => Self::BF16,
        }
    }
}

/// `WIDTHxHEIGHT`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub u32, pub u32);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let sides = text.split_once('x').and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
        sides.map(|(width, height)| Self(width, height)).ok_or_else(|| "expected WIDTHxHEIGHT, such as 512x512".into())
    }
}

/// `FILE` or `FILE=SCALE`
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scaled(pub PathBuf, pub f64);

impl FromStr for Scaled {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.rsplit_once('=') {
            None => Ok(Self(text.into(), 1.0)),
            Some((file, scale)) => match scale.parse::<f64>() {
                Ok(scale) if scale.is_finite() => Ok(Self(file.into(), scale)),
                _ => Err(format!("expected FILE or FILE=SCALE with a number for SCALE, found `{scale}`")),
            },
        }
    }
}

/// `FILE` or `FILE=WORD`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named(pub PathBuf, pub Option<String>);

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.rsplit_once('=') {
            None => Ok(Self(text.into(), None)),
            Some((_, "")) => Err("expected FILE or FILE=WORD, found no word".into()),
            Some((file, word)) => Ok(Self(file.into(), Some(word.to_owned()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_with_two_parts_are_read_or_refused() {
        assert_eq!("512x768".parse(), Ok(Size(512, 768)));
        for text in ["512", "x", "512x", "-1x3", "5.5x3"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
        assert_eq!("a.safetensors".parse(), Ok(Scaled("a.safetensors".into(), 1.0)));
        assert_eq!("a=b.safetensors=0.5".parse(), Ok(Scaled("a=b.safetensors".into(), 0.5)));
        assert!("a=nan".parse::<Scaled>().is_err() && "a=much".parse::<Scaled>().is_err());
        assert_eq!("a.pt=<cat>".parse(), Ok(Named("a.pt".into(), Some("<cat>".into()))));
        assert_eq!("a.pt".parse(), Ok(Named("a.pt".into(), None)));
        assert!("a.pt=".parse::<Named>().is_err());
    }
}

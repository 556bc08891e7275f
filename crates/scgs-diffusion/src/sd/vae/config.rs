//! The VAE's `config.json`.

use std::path::Path;

use burn::tensor::Device;
use serde_json::{Value, json};

use super::Vae;
use crate::sd::{ConfigError, PartError, Weights, config::Fields};

/// The most channels and layers a configuration may ask for.
const MOST: usize = 1 << 14;

/// The architecture of an `AutoencoderKL` of Stable Diffusion 1 or 2.
#[derive(Clone, Debug, PartialEq)]
pub struct VaeConfig {
    /// Channels of each level, from the outermost. Each level but the last halves height and width.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks per level in the encoder; one more in the decoder.
    pub layers_per_block: usize,
    /// Channels of the latents: 4.
    pub latent_channels: usize,
    /// Groups of every group norm.
    pub norm_num_groups: usize,
    /// Height and width of pictures it was trained at; the size of tiles.
    pub sample_size: usize,
    /// Latents times this number have a standard deviation near 1.
    pub scaling_factor: f64,
}

impl VaeConfig {
    /// The VAE of Stable Diffusion 1 and 2.
    pub fn stable_diffusion() -> Self {
        Self {
            block_out_channels: vec![128, 256, 512, 512],
            layers_per_block: 2,
            latent_channels: 4,
            norm_num_groups: 32,
            sample_size: 512,
            scaling_factor: 0.18215,
        }
    }

    /// Reads a `config.json`.
    ///
    /// # Errors
    /// [`ConfigError`] for an unreadable file, another class of network, and any value that is not of Stable Diffusion 1
    /// or 2, by its name.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let fields = Fields::read(path, "AutoencoderKL")?;
        for field in ["in_channels", "out_channels"] {
            fields.only(field, &[json!(3)])?;
        }
        fields.only("act_fn", &[json!("silu"), json!("swish")])?;
        for field in ["use_quant_conv", "use_post_quant_conv", "mid_block_add_attention"] {
            fields.only(field, &[json!(true)])?;
        }
        for field in ["shift_factor", "latents_mean", "latents_std"] {
            fields.only(field, &[Value::Null])?;
        }
        let expected = "a list of channels, one for each of down_block_types";
        let channels: Vec<usize> = fields.get("block_out_channels", vec![64], expected)?;
        for (field, kind) in [("down_block_types", "DownEncoderBlock2D"), ("up_block_types", "UpDecoderBlock2D")] {
            let expected = format!("{} times `{kind}`", channels.len());
            let types: Vec<String> = fields.get(field, vec![kind.to_owned()], &expected)?;
            if types.len() != channels.len() || types.iter().any(|one| one != kind) {
                return Err(fields.refuse(field, &expected));
            }
        }
        let groups = fields.count("norm_num_groups", 32, MOST)?;
        let divisible = |n: &usize| (1..=MOST).contains(n) && n.is_multiple_of(groups);
        if !(1..=8).contains(&channels.len()) || !channels.iter().all(divisible) {
            return Err(fields.refuse("block_out_channels", &format!("up to 8 multiples of norm_num_groups, {groups}")));
        }
        let scaling_factor: f64 = fields.get("scaling_factor", 0.18215, "a positive number")?;
        if scaling_factor.is_nan() || scaling_factor <= 0.0 {
            return Err(fields.refuse("scaling_factor", "a positive number"));
        }
        Ok(Self {
            block_out_channels: channels,
            layers_per_block: fields.count("layers_per_block", 1, 64)?,
            latent_channels: fields.count("latent_channels", 4, MOST)?,
            norm_num_groups: groups,
            sample_size: fields.count("sample_size", 32, MOST)?,
            scaling_factor,
        })
    }

    /// By how much height and width of latents are smaller than those of pictures: 8.
    pub fn scale(&self) -> usize {
        1 << (self.block_out_channels.len() - 1)
    }

    /// Builds the network from its weights. The names of old files are understood.
    ///
    /// # Errors
    /// [`PartError`]: tensors that are missing, unexpected, of another shape or not finite, damaged files.
    pub fn init(&self, mut weights: Weights, device: &Device) -> Result<Vae, PartError> {
        weights.rename(new_name)?;
        weights.build(device, |part| Vae::new(self, part))
    }
}

/// The attention's names since diffusers 0.15, for those of before.
fn new_name(name: &str) -> Option<String> {
    let names = [(".query.", ".to_q."), (".key.", ".to_k."), (".value.", ".to_v."), (".proj_attn.", ".to_out.0.")];
    let (old, new) = names.into_iter().find(|(old, _)| name.contains(".attentions.") && name.contains(old))?;
    Some(name.replace(old, new))
}

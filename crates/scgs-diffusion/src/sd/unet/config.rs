//! The UNet's `config.json`.

use std::path::Path;

use burn::tensor::Device;
use serde_json::{Value, json};

use super::UNet;
use crate::sd::{ConfigError, PartError, Weights, config::Fields};

/// The most channels, heads and layers a configuration may ask for.
const MOST: usize = 1 << 14;

/// The architecture of a `UNet2DConditionModel` of Stable Diffusion 1 or 2.
#[derive(Clone, Debug, PartialEq)]
pub struct UNetConfig {
    /// 9 for inpainting (latents, mask, masked picture), 4 for text to image.
    pub in_channels: usize,
    /// Channels of the prediction: 4.
    pub out_channels: usize,
    /// Height and width of the latents it was trained at; times 8 the size of pictures.
    pub sample_size: usize,
    /// Channels of each level, from the outermost.
    pub block_out_channels: Vec<usize>,
    /// Whether the level looks at the text, on the way down.
    pub down_attention: Vec<bool>,
    /// The same on the way up, from the innermost.
    pub up_attention: Vec<bool>,
    /// Residual blocks per level on the way down; one more on the way up.
    pub layers_per_block: Vec<usize>,
    /// Attention heads per level (diffusers calls it `attention_head_dim`).
    pub heads: Vec<usize>,
    /// Transformer layers per attention block, by level.
    pub transformer_layers: Vec<usize>,
    /// Width of the text embedding.
    pub cross_attention_dim: usize,
    /// Whether the projections into a transformer are stored as linear layers (SD 2) or 1x1 convolutions (SD 1).
    pub use_linear_projection: bool,
    /// Groups of every group norm.
    pub norm_num_groups: usize,
    /// Epsilon of the group norms outside transformers.
    pub norm_eps: f64,
    /// Whether the time embedding starts with the cosines.
    pub flip_sin_to_cos: bool,
    /// Shift of the frequencies of the time embedding.
    pub freq_shift: f64,
    /// Width of the embedding of the guidance scale, for latent consistency models.
    pub time_cond_proj_dim: Option<usize>,
}

impl UNetConfig {
    /// Stable Diffusion 1.5 inpainting.
    pub fn stable_diffusion_1_5_inpainting() -> Self {
        Self {
            in_channels: 9,
            out_channels: 4,
            sample_size: 64,
            block_out_channels: vec![320, 640, 1280, 1280],
            down_attention: vec![true, true, true, false],
            up_attention: vec![false, true, true, true],
            layers_per_block: vec![2; 4],
            heads: vec![8; 4],
            transformer_layers: vec![1; 4],
            cross_attention_dim: 768,
            use_linear_projection: false,
            norm_num_groups: 32,
            norm_eps: 1e-5,
            flip_sin_to_cos: true,
            freq_shift: 0.0,
            time_cond_proj_dim: None,
        }
    }

    /// Reads a `config.json`.
    ///
    /// # Errors
    /// [`ConfigError`] for an unreadable file, another class of network, and any value that is not of Stable Diffusion 1
    /// or 2, by its name.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let fields = Fields::read(path, "UNet2DConditionModel")?;
        refuse_others(&fields)?;
        let down_attention = attention(&fields, "down_block_types", "DownBlock2D", [true, true, true, false])?;
        let blocks = down_attention.len();
        let up_attention = attention(&fields, "up_block_types", "UpBlock2D", [false, true, true, true])?;
        if up_attention.len() != blocks {
            return Err(fields.refuse("up_block_types", &format!("{blocks} blocks, as many as down_block_types")));
        }
        let channels: Vec<usize> =
            fields.get("block_out_channels", vec![320, 640, 1280, 1280], "a list of channels")?;
        let config = Self {
            in_channels: fields.count("in_channels", 4, MOST)?,
            out_channels: fields.count("out_channels", 4, MOST)?,
            sample_size: fields.count("sample_size", 64, MOST)?,
            layers_per_block: fields.counts("layers_per_block", 2, 64, blocks)?,
            heads: fields.counts("attention_head_dim", 8, MOST, blocks)?,
            transformer_layers: fields.counts("transformer_layers_per_block", 1, 64, blocks)?,
            cross_attention_dim: fields.count("cross_attention_dim", 1280, MOST)?,
            use_linear_projection: fields.get("use_linear_projection", false, "true or false")?,
            norm_num_groups: fields.count("norm_num_groups", 32, MOST)?,
            norm_eps: fields.get("norm_eps", 1e-5, "a number")?,
            flip_sin_to_cos: fields.get("flip_sin_to_cos", true, "true or false")?,
            freq_shift: fields.get("freq_shift", 0.0, "a number")?,
            time_cond_proj_dim: fields.get("time_cond_proj_dim", None, "a whole number or null")?,
            block_out_channels: channels,
            down_attention,
            up_attention,
        };
        let channels = &config.block_out_channels;
        let divisible = |n: &usize| (1..=MOST).contains(n) && n.is_multiple_of(config.norm_num_groups);
        if channels.len() != blocks || !channels.iter().all(divisible) {
            let groups = config.norm_num_groups;
            return Err(
                fields.refuse("block_out_channels", &format!("{blocks} multiples of norm_num_groups, {groups}"))
            );
        }
        if channels.iter().zip(&config.heads).any(|(channels, heads)| channels % heads != 0) {
            return Err(fields.refuse("attention_head_dim", "numbers of heads that divide block_out_channels"));
        }
        Ok(config)
    }

    /// Builds the network from its weights.
    ///
    /// # Errors
    /// [`PartError`]: tensors that are missing, unexpected, of another shape or not finite, damaged files.
    pub fn init(&self, weights: Weights, device: &Device) -> Result<UNet, PartError> {
        weights.build(device, |part| UNet::new(self, part))
    }
}

/// Which blocks have attention, from their types.
fn attention(fields: &Fields, field: &str, plain: &str, default: [bool; 4]) -> Result<Vec<bool>, ConfigError> {
    let attending = format!("CrossAttn{plain}");
    let name = |attends| if attends { attending.clone() } else { plain.to_owned() };
    let expected = format!("a list of `{attending}` and `{plain}`");
    let types: Vec<String> = fields.get(field, default.map(name).to_vec(), &expected)?;
    let blocks: Option<Vec<bool>> = types
        .iter()
        .map(|one| match one.as_str() {
            one if one == attending => Some(true),
            one if one == plain => Some(false),
            _ => None,
        })
        .collect();
    blocks.filter(|blocks| (1..=8).contains(&blocks.len())).ok_or_else(|| fields.refuse(field, &expected))
}

/// Everything that Stable Diffusion 1 and 2 leave at diffusers' default.
fn refuse_others(fields: &Fields) -> Result<(), ConfigError> {
    fields.only("mid_block_type", &[json!("UNetMidBlock2DCrossAttn")])?;
    fields.only("act_fn", &[json!("silu"), json!("swish")])?;
    fields.only("resnet_time_scale_shift", &[json!("default")])?;
    fields.only("time_embedding_type", &[json!("positional")])?;
    fields.only("attention_type", &[json!("default")])?;
    for field in ["conv_in_kernel", "conv_out_kernel"] {
        fields.only(field, &[json!(3)])?;
    }
    for field in ["mid_block_scale_factor", "downsample_padding", "resnet_out_scale_factor"] {
        fields.only(field, &[json!(1)])?;
    }
    for field in [
        "center_input_sample",
        "only_cross_attention",
        "mid_block_only_cross_attention",
        "dual_cross_attention",
        "resnet_skip_time_act",
        "class_embeddings_concat",
    ] {
        fields.only(field, &[json!(false), Value::Null])?;
    }
    for field in [
        "encoder_hid_dim",
        "encoder_hid_dim_type",
        "num_attention_heads",
        "class_embed_type",
        "addition_embed_type",
        "addition_time_embed_dim",
        "num_class_embeds",
        "projection_class_embeddings_input_dim",
        "time_embedding_dim",
        "time_embedding_act_fn",
        "timestep_post_act",
        "cross_attention_norm",
        "reverse_transformer_layers_per_block",
    ] {
        fields.only(field, &[Value::Null])?;
    }
    Ok(())
}

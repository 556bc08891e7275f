//! `UNet2DConditionModel` of Stable Diffusion 1 and 2 (Rombach et al. 2022), as in diffusers.

mod config;
mod transformer;

use burn::{
    module::Module,
    tensor::{Device, Tensor, TensorData, activation},
};

pub use self::config::UNetConfig;
use self::transformer::{Transformer, TransformerShape};
use super::{
    Part,
    layers::{Conv, GroupNorm, Linear, ResnetBlock, ResnetShape, nearest},
};

/// Predicts the noise (or the velocity) in latents at a time, given a text. Made by [`UNetConfig::init`].
#[derive(Module, Debug)]
pub struct UNet {
    conv_in: Conv,
    time_embedding: TimeEmbedding,
    down_blocks: Vec<DownBlock>,
    mid_block: MidBlock,
    up_blocks: Vec<UpBlock>,
    conv_norm_out: GroupNorm,
    conv_out: Conv,
}

/// What every block looks at besides its input.
#[derive(Debug)]
struct Guide {
    /// The text, `[N, tokens, width]`.
    text: Tensor<3>,
    /// The time embedding after its activation, `[N, T]`.
    time: Tensor<2>,
    /// Attention heads computed together, 0 for all.
    heads_at_once: usize,
}

impl UNet {
    fn new(config: &UNetConfig, part: &mut Part<'_>) -> Self {
        let channels = &config.block_out_channels;
        let (first, last) = (channels[0], channels[channels.len() - 1]);
        let time = 4 * first;
        let resnet = |input, output| ResnetShape {
            channels: [input, output],
            time: Some(time),
            groups: config.norm_num_groups,
            epsilon: config.norm_eps,
        };
        let transformer = |level: usize| TransformerShape {
            channels: channels[level],
            heads: config.heads[level],
            layers: config.transformer_layers[level],
            context: config.cross_attention_dim,
            groups: config.norm_num_groups,
            linear: config.use_linear_projection,
        };
        let levels = channels.len();
        let down_blocks = (0..levels).map(|level| {
            let mut part = part.at(format_args!("down_blocks.{level}"));
            let (input, output) = (channels[level.saturating_sub(1)], channels[level]);
            let layers = 0..config.layers_per_block[level];
            DownBlock {
                resnets: layers
                    .clone()
                    .map(|i| {
                        let shape = resnet(if i == 0 { input } else { output }, output);
                        ResnetBlock::new(part.at(format_args!("resnets.{i}")), shape)
                    })
                    .collect(),
                attentions: layers
                    .filter(|_| config.down_attention[level])
                    .map(|i| Transformer::new(part.at(format_args!("attentions.{i}")), transformer(level)))
                    .collect(),
                downsampler: (level + 1 < levels).then(|| Conv::down(part.at("downsamplers.0.conv"), output, (1, 1))),
            }
        });
        let down_blocks = down_blocks.collect();
        let up_blocks = (0..levels).map(|up| {
            let mut part = part.at(format_args!("up_blocks.{up}"));
            // From the innermost level outwards; a block takes the maps of its own level, the last from one further out.
            let level = levels - 1 - up;
            let (below, output, above) =
                (channels[(level + 1).min(levels - 1)], channels[level], channels[level.saturating_sub(1)]);
            let layers = 0..config.layers_per_block[level] + 1;
            let end = layers.end - 1;
            UpBlock {
                resnets: layers
                    .clone()
                    .map(|i| {
                        let before = if i == 0 { below } else { output };
                        let skip = if i == end { above } else { output };
                        ResnetBlock::new(part.at(format_args!("resnets.{i}")), resnet(before + skip, output))
                    })
                    .collect(),
                attentions: layers
                    .filter(|_| config.up_attention[up])
                    .map(|i| Transformer::new(part.at(format_args!("attentions.{i}")), transformer(level)))
                    .collect(),
                upsampler: (level > 0).then(|| Conv::same(part.at("upsamplers.0.conv"), [output; 2], 3)),
            }
        });
        let up_blocks = up_blocks.collect();
        Self {
            conv_in: Conv::same(part.at("conv_in"), [config.in_channels, first], 3),
            time_embedding: TimeEmbedding::new(part.at("time_embedding"), config, first, time),
            down_blocks,
            mid_block: MidBlock {
                before: ResnetBlock::new(part.at("mid_block.resnets.0"), resnet(last, last)),
                attention: Transformer::new(part.at("mid_block.attentions.0"), transformer(levels - 1)),
                after: ResnetBlock::new(part.at("mid_block.resnets.1"), resnet(last, last)),
            },
            up_blocks,
            conv_norm_out: GroupNorm::new(part.at("conv_norm_out"), first, config.norm_num_groups, config.norm_eps),
            conv_out: Conv::same(part.at("conv_out"), [first, config.out_channels], 3),
        }
    }

    /// The prediction `[N, 4, H, W]` for `latents: [N, C, H, W]` (C is 9 or 4, any H and W) at `timestep` of 1000, given
    /// `text: [N, tokens, width]`.
    ///
    /// `guidance` is the guidance scale for networks distilled to take it ([`UNetConfig::time_cond_proj_dim`]); others
    /// do not look at it. `heads_at_once` bounds the attention heads computed together, 0 for all (attention slicing).
    pub fn forward(
        &self,
        latents: Tensor<4>,
        timestep: f64,
        text: Tensor<3>,
        guidance: f64,
        heads_at_once: usize,
    ) -> Tensor<4> {
        let [batch, ..] = latents.dims();
        let time = self.time_embedding.forward(timestep, guidance, &latents.device()).expand([batch as i64, -1]);
        // Every residual block applies the activation to the embedding first; once is enough.
        let guide = Guide { text, time: activation::silu(time), heads_at_once };
        let mut x = self.conv_in.forward(latents);
        let mut skips = vec![x.clone()];
        for block in &self.down_blocks {
            x = block.forward(x, &guide, &mut skips);
        }
        x = self.mid_block.forward(x, &guide);
        for block in &self.up_blocks {
            x = block.forward(x, &guide, &mut skips);
        }
        self.conv_out.forward(self.conv_norm_out.forward_silu(x))
    }
}

/// Sinusoids of the time and two linear layers.
#[derive(Module, Debug)]
struct TimeEmbedding {
    linear_1: Linear,
    cond_proj: Option<Linear>,
    linear_2: Linear,
    width: usize,
    guidance_width: usize,
    cosines_first: bool,
    shift: f64,
}

impl TimeEmbedding {
    fn new(mut part: Part<'_>, config: &UNetConfig, width: usize, output: usize) -> Self {
        Self {
            linear_1: Linear::new(part.at("linear_1"), [width, output]),
            cond_proj: config
                .time_cond_proj_dim
                .map(|guidance| Linear::without_bias(part.at("cond_proj"), [guidance, width])),
            linear_2: Linear::new(part.at("linear_2"), [output; 2]),
            width,
            guidance_width: config.time_cond_proj_dim.unwrap_or(0),
            cosines_first: config.flip_sin_to_cos,
            shift: config.freq_shift,
        }
    }

    /// `[1, T]`.
    fn forward(&self, timestep: f64, guidance: f64, device: &Device) -> Tensor<2> {
        let row = |values: Vec<f32>| {
            let width = values.len();
            Tensor::<2>::from_data(TensorData::new(values, [1, width]), device)
        };
        let mut x = row(sinusoids(timestep as f32, self.width, self.shift, self.cosines_first));
        if let Some(projection) = &self.cond_proj {
            // diffusers' `get_guidance_scale_embedding`: 1000 (w - 1), frequencies down to exactly 1/10000.
            let w = ((guidance - 1.0) as f32) * 1000.0;
            x = x + projection.forward(row(sinusoids(w, self.guidance_width, 1.0, false)));
        }
        self.linear_2.forward(activation::silu(self.linear_1.forward(x)))
    }
}

/// `sin(t f_i)` and `cos(t f_i)` for frequencies from 1 towards 1/10000 (Vaswani et al. 2017), in f32 as diffusers.
fn sinusoids(t: f32, width: usize, shift: f64, cosines_first: bool) -> Vec<f32> {
    let half = width / 2;
    let angle = |i: usize| {
        let exponent = -(10000.0_f64.ln() as f32) * i as f32 / (half as f64 - shift) as f32;
        f64::from(t * f64::from(exponent).exp() as f32)
    };
    let sines = (0..half).map(|i| angle(i).sin() as f32);
    let cosines = (0..half).map(|i| angle(i).cos() as f32);
    let mut values: Vec<f32> =
        if cosines_first { cosines.chain(sines).collect() } else { sines.chain(cosines).collect() };
    values.resize(width, 0.0);
    values
}

/// `DownBlock2D`, or `CrossAttnDownBlock2D` where there are attentions.
#[derive(Module, Debug)]
struct DownBlock {
    resnets: Vec<ResnetBlock>,
    attentions: Vec<Transformer>,
    downsampler: Option<Conv>,
}

impl DownBlock {
    fn forward(&self, mut x: Tensor<4>, guide: &Guide, skips: &mut Vec<Tensor<4>>) -> Tensor<4> {
        for (i, resnet) in self.resnets.iter().enumerate() {
            x = resnet.forward(x, Some(&guide.time));
            if let Some(attention) = self.attentions.get(i) {
                x = attention.forward(x, guide);
            }
            skips.push(x.clone());
        }
        if let Some(downsampler) = &self.downsampler {
            x = downsampler.forward(x);
            skips.push(x.clone());
        }
        x
    }
}

/// `UNetMidBlock2DCrossAttn`.
#[derive(Module, Debug)]
struct MidBlock {
    before: ResnetBlock,
    attention: Transformer,
    after: ResnetBlock,
}

impl MidBlock {
    fn forward(&self, x: Tensor<4>, guide: &Guide) -> Tensor<4> {
        let x = self.before.forward(x, Some(&guide.time));
        self.after.forward(self.attention.forward(x, guide), Some(&guide.time))
    }
}

/// `UpBlock2D`, or `CrossAttnUpBlock2D` where there are attentions.
#[derive(Module, Debug)]
struct UpBlock {
    resnets: Vec<ResnetBlock>,
    attentions: Vec<Transformer>,
    upsampler: Option<Conv>,
}

impl UpBlock {
    fn forward(&self, mut x: Tensor<4>, guide: &Guide, skips: &mut Vec<Tensor<4>>) -> Tensor<4> {
        for (i, resnet) in self.resnets.iter().enumerate() {
            let skip = skips.pop().expect("the way down left a map for every residual block on the way up");
            x = resnet.forward(Tensor::cat(vec![x, skip], 1), Some(&guide.time));
            if let Some(attention) = self.attentions.get(i) {
                x = attention.forward(x, guide);
            }
        }
        let Some(upsampler) = &self.upsampler else { return x };
        let [_, _, height, width] = x.dims();
        // Sizes that do not halve evenly come back to the size they had on the way down.
        let size = skips.last().map_or([2 * height, 2 * width], |skip| {
            let [_, _, height, width] = skip.dims();
            [height, width]
        });
        upsampler.forward(nearest(x, size))
    }
}

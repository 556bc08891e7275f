//! `AutoencoderKL`: between pictures and latents (Kingma and Welling 2013, Esser et al. 2021), as in diffusers.

mod config;
mod tiles;

use burn::{module::Module, tensor::Tensor};

pub use self::config::VaeConfig;
use super::{
    Part,
    attention::Attention,
    layers::{Conv, GroupNorm, ResnetBlock, ResnetShape, nearest},
};

/// Epsilon of every group norm of the VAE.
const EPSILON: f64 = 1e-6;

/// Encodes pictures into latents and decodes latents into pictures. Made by [`VaeConfig::init`].
#[derive(Module, Debug)]
pub struct Vae {
    encoder: Encoder,
    decoder: Decoder,
    quant_conv: Conv,
    post_quant_conv: Conv,
    /// Side of a tile of the picture.
    tile: usize,
    /// By how much latents are smaller than pictures.
    scale: usize,
    scaling_factor: f64,
    tiling: bool,
}

/// The distribution that the encoder gives for each latent: independent normals.
#[derive(Clone, Debug)]
pub struct Posterior {
    mean: Tensor<4>,
    log_variance: Tensor<4>,
}

impl Posterior {
    /// Splits the encoder's output `[N, 2C, H, W]`.
    fn of_moments(moments: Tensor<4>) -> Self {
        let [mean, log_variance]: [Tensor<4>; 2] = moments.chunk(2, 1).try_into().expect("two halves");
        Self { mean, log_variance: log_variance.clamp(-30.0, 20.0) }
    }

    /// The most likely latents, `[N, C, H, W]`.
    pub fn mode(&self) -> Tensor<4> {
        self.mean.clone()
    }

    /// `mean + std * noise` for standard normal `noise: [N, C, H, W]`.
    pub fn sample(&self, noise: Tensor<4>) -> Tensor<4> {
        self.mean.clone() + (self.log_variance.clone() * 0.5).exp() * noise
    }

    /// The logarithm of the variance, within -30..20, `[N, C, H, W]`.
    pub fn log_variance(&self) -> Tensor<4> {
        self.log_variance.clone()
    }
}

impl Vae {
    fn new(config: &VaeConfig, part: &mut Part<'_>) -> Self {
        let latents = config.latent_channels;
        Self {
            encoder: Encoder::new(part.at("encoder"), config),
            decoder: Decoder::new(part.at("decoder"), config),
            quant_conv: Conv::same(part.at("quant_conv"), [2 * latents; 2], 1),
            post_quant_conv: Conv::same(part.at("post_quant_conv"), [latents; 2], 1),
            tile: config.sample_size,
            scale: config.scale(),
            scaling_factor: config.scaling_factor,
            tiling: false,
        }
    }

    /// Whether pictures larger than the VAE was trained at are worked on in overlapping tiles: bounded memory, and a
    /// result that differs a little (diffusers' `enable_tiling`).
    #[must_use]
    pub fn with_tiling(mut self, tiling: bool) -> Self {
        self.tiling = tiling;
        self
    }

    /// By how much height and width of latents are smaller than those of pictures.
    pub fn scale(&self) -> usize {
        self.scale
    }

    /// Latents times this number have a standard deviation near 1.
    pub fn scaling_factor(&self) -> f64 {
        self.scaling_factor
    }

    /// Pictures `[N, 3, H, W]` in -1..1, height and width multiples of [`Vae::scale`], to unscaled latents. Pictures are
    /// encoded one by one (diffusers' `enable_slicing`).
    pub fn encode(&self, pictures: Tensor<4>) -> Posterior {
        let moments = pictures.split(1, 0).into_iter().map(|picture| {
            let [_, _, height, width] = picture.dims();
            if self.tiling && height.max(width) > self.tile {
                return tiles::encode(self.tile, self.scale, picture, |tile| self.encode_whole(tile));
            }
            self.encode_whole(picture)
        });
        Posterior::of_moments(Tensor::cat(moments.collect(), 0))
    }

    /// Unscaled latents `[N, C, h, w]` to pictures `[N, 3, 8h, 8w]` around -1..1, one by one.
    pub fn decode(&self, latents: Tensor<4>) -> Tensor<4> {
        let pictures = latents.split(1, 0).into_iter().map(|latents| {
            let [_, _, height, width] = latents.dims();
            if self.tiling && height.max(width) > self.tile / self.scale {
                return tiles::decode(self.tile, self.scale, latents, |tile| self.decode_whole(tile));
            }
            self.decode_whole(latents)
        });
        Tensor::cat(pictures.collect(), 0)
    }

    fn encode_whole(&self, picture: Tensor<4>) -> Tensor<4> {
        self.quant_conv.forward(self.encoder.forward(picture))
    }

    fn decode_whole(&self, latents: Tensor<4>) -> Tensor<4> {
        self.decoder.forward(self.post_quant_conv.forward(latents))
    }
}

fn resnet(config: &VaeConfig, input: usize, output: usize) -> ResnetShape {
    ResnetShape { channels: [input, output], time: None, groups: config.norm_num_groups, epsilon: EPSILON }
}

/// Residual blocks, and a convolution after them that changes the size.
#[derive(Module, Debug)]
struct Level {
    resnets: Vec<ResnetBlock>,
    resize: Option<Conv>,
}

impl Level {
    fn resnets(
        part: &mut Part<'_>,
        config: &VaeConfig,
        [input, output]: [usize; 2],
        layers: usize,
    ) -> Vec<ResnetBlock> {
        let shape = |i: usize| resnet(config, if i == 0 { input } else { output }, output);
        (0..layers).map(|i| ResnetBlock::new(part.at(format_args!("resnets.{i}")), shape(i))).collect()
    }

    fn through(&self, x: Tensor<4>) -> Tensor<4> {
        self.resnets.iter().fold(x, |x, resnet| resnet.forward(x, None))
    }
}

/// `UNetMidBlock2D` with attention.
#[derive(Module, Debug)]
struct Mid {
    before: ResnetBlock,
    norm: GroupNorm,
    attention: Attention,
    after: ResnetBlock,
}

impl Mid {
    fn new(mut part: Part<'_>, config: &VaeConfig, channels: usize) -> Self {
        let shape = resnet(config, channels, channels);
        Self {
            before: ResnetBlock::new(part.at("resnets.0"), shape),
            norm: GroupNorm::new(part.at("attentions.0.group_norm"), channels, config.norm_num_groups, EPSILON),
            attention: Attention::single(part.at("attentions.0"), channels),
            after: ResnetBlock::new(part.at("resnets.1"), shape),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = self.before.forward(x, None);
        let [batch, channels, height, width] = x.dims();
        let tokens = self.norm.forward(x.clone()).reshape([batch, channels, height * width]).swap_dims(1, 2);
        let attended =
            self.attention.forward(tokens, None, 0).swap_dims(1, 2).reshape([batch, channels, height, width]);
        self.after.forward(attended + x, None)
    }
}

#[derive(Module, Debug)]
struct Encoder {
    conv_in: Conv,
    down_blocks: Vec<Level>,
    mid_block: Mid,
    conv_norm_out: GroupNorm,
    conv_out: Conv,
}

impl Encoder {
    fn new(mut part: Part<'_>, config: &VaeConfig) -> Self {
        let channels = &config.block_out_channels;
        let levels = channels.len();
        let last = channels[levels - 1];
        let level = |(level, output): (usize, &usize)| {
            let mut part = part.at(format_args!("down_blocks.{level}"));
            let input = channels[level.saturating_sub(1)];
            Level {
                resnets: Level::resnets(&mut part, config, [input, *output], config.layers_per_block),
                resize: (level + 1 < levels).then(|| Conv::down(part.at("downsamplers.0.conv"), *output, (0, 1))),
            }
        };
        let down_blocks = channels.iter().enumerate().map(level).collect();
        Self {
            down_blocks,
            conv_in: Conv::same(part.at("conv_in"), [3, channels[0]], 3),
            mid_block: Mid::new(part.at("mid_block"), config, last),
            conv_norm_out: GroupNorm::new(part.at("conv_norm_out"), last, config.norm_num_groups, EPSILON),
            conv_out: Conv::same(part.at("conv_out"), [last, 2 * config.latent_channels], 3),
        }
    }

    fn forward(&self, picture: Tensor<4>) -> Tensor<4> {
        let mut x = self.conv_in.forward(picture);
        for level in &self.down_blocks {
            x = level.through(x);
            if let Some(down) = &level.resize {
                x = down.forward(x);
            }
        }
        let x = self.mid_block.forward(x);
        self.conv_out.forward(self.conv_norm_out.forward_silu(x))
    }
}

#[derive(Module, Debug)]
struct Decoder {
    conv_in: Conv,
    mid_block: Mid,
    up_blocks: Vec<Level>,
    conv_norm_out: GroupNorm,
    conv_out: Conv,
}

impl Decoder {
    fn new(mut part: Part<'_>, config: &VaeConfig) -> Self {
        let channels: Vec<usize> = config.block_out_channels.iter().rev().copied().collect();
        let levels = channels.len();
        let (first, last) = (channels[0], channels[levels - 1]);
        let level = |(level, output): (usize, &usize)| {
            let mut part = part.at(format_args!("up_blocks.{level}"));
            let input = channels[level.saturating_sub(1)];
            Level {
                resnets: Level::resnets(&mut part, config, [input, *output], config.layers_per_block + 1),
                resize: (level + 1 < levels).then(|| Conv::same(part.at("upsamplers.0.conv"), [*output; 2], 3)),
            }
        };
        let up_blocks = channels.iter().enumerate().map(level).collect();
        Self {
            up_blocks,
            conv_in: Conv::same(part.at("conv_in"), [config.latent_channels, first], 3),
            mid_block: Mid::new(part.at("mid_block"), config, first),
            conv_norm_out: GroupNorm::new(part.at("conv_norm_out"), last, config.norm_num_groups, EPSILON),
            conv_out: Conv::same(part.at("conv_out"), [last, 3], 3),
        }
    }

    fn forward(&self, latents: Tensor<4>) -> Tensor<4> {
        let mut x = self.mid_block.forward(self.conv_in.forward(latents));
        for level in &self.up_blocks {
            x = level.through(x);
            if let Some(up) = &level.resize {
                let [_, _, height, width] = x.dims();
                x = up.forward(nearest(x, [2 * height, 2 * width]));
            }
        }
        self.conv_out.forward(self.conv_norm_out.forward_silu(x))
    }
}

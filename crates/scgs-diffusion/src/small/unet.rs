//! The network: a U-Net (Ronneberger et al. 2015) of three sizes with residual blocks, one attention layer in the
//! middle, and time and class in scale and shift of the normalisations (Dhariwal and Nichol 2021).

use burn::{
    module::{Module, Param},
    nn::{
        GroupNorm, GroupNormConfig, Initializer, Linear, LinearConfig, PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
    },
    tensor::{
        Device, Tensor, TensorData,
        activation::{silu, softmax},
    },
};
use scgs_models::{adaptive_group_norm, forward_conv, group_norm};
use serde::{Deserialize, Serialize};

use super::{
    layout::{COLOURS, INPUTS, MAP},
    parameters,
};

/// Groups of every normalisation.
const GROUPS: usize = 8;
/// Sines and cosines that tell the time.
const TIMES: usize = 64;
/// Channels of one attention head.
const HEAD: usize = 64;

/// The shape of a [`Unet`]. A file of weights names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnetConfig {
    /// Channels at 32 x 32, 16 x 16 and 8 x 8; multiples of 8, the last one of 64.
    pub channels: [usize; 3],
    /// Width of the vector that tells time and class.
    pub embedding: usize,
    /// Kinds of objects; class 0, no object, is not counted.
    pub classes: usize,
}

impl Default for UnetConfig {
    fn default() -> Self {
        Self { channels: [48, 96, 192], embedding: 192, classes: 2 }
    }
}

impl UnetConfig {
    /// Channels and side of the network's input: the picture with noise inside the mask, the mask, what is known, each
    /// 2 x 2 pixels as channels of one position.
    pub const INPUT: [usize; 2] = [INPUTS, MAP];

    /// A network with fresh weights that follow from `seed`; on a training device they take gradients.
    ///
    /// # Panics
    /// If the shape is impossible, see the fields.
    pub fn init_seeded(&self, seed: u64, device: &Device) -> Unet {
        let network = self.init(device);
        let fresh = parameters::fresh(&network, seed);
        parameters::with_values(network, &fresh, device.is_autodiff())
    }

    /// Whether the shape is possible; the reason if not.
    pub(super) fn problem(&self) -> Option<String> {
        let Self { channels, embedding, classes } = self;
        let possible = channels.iter().all(|c| (8..=1024).contains(c) && c % GROUPS == 0)
            && channels[2] % HEAD == 0
            && (1..=4096).contains(embedding)
            && (1..=1000).contains(classes);
        (!possible).then(|| {
            format!(
                "channels {channels:?}, embedding {embedding}, classes {classes}; expected channels that are multiples \
                 of {GROUPS} up to 1024 (the last of {HEAD}), an embedding of 1..=4096 and 1..=1000 classes"
            )
        })
    }

    /// The network with every weight zero; [`super::parameters`] fills it.
    pub(super) fn init(&self, device: &Device) -> Unet {
        let [fine, middle, coarse] = self.channels;
        let block = |from: usize, to: usize| Block::new(from, to, self.embedding, device);
        Unet {
            time: [linear(TIMES, self.embedding, device), linear(self.embedding, self.embedding, device)],
            class: Param::from_tensor(Tensor::zeros([self.classes + 1, self.embedding], device)),
            stem: conv(INPUTS, fine, 3, 1, device),
            down: [block(fine, fine), block(middle, middle)],
            halve: [conv(fine, middle, 3, 2, device), conv(middle, coarse, 3, 2, device)],
            middle: [block(coarse, coarse), block(coarse, coarse)],
            attention: Attention::new(coarse, device),
            narrow: [conv(middle, fine, 1, 1, device), conv(coarse, middle, 1, 1, device)],
            up: [block(2 * fine, fine), block(2 * middle, middle)],
            norm: norm(fine, device),
            last: conv(fine, COLOURS, 3, 1, device),
        }
    }
}

fn linear(from: usize, to: usize, device: &Device) -> Linear {
    LinearConfig::new(from, to).with_initializer(Initializer::Zeros).init(device)
}

fn conv(from: usize, to: usize, kernel: usize, stride: usize, device: &Device) -> Conv2d {
    let border = kernel / 2;
    Conv2dConfig::new([from, to], [kernel; 2])
        .with_stride([stride; 2])
        .with_padding(PaddingConfig2d::Explicit(border, border, border, border))
        .with_initializer(Initializer::Zeros)
        .init(device)
}

fn norm(channels: usize, device: &Device) -> GroupNorm {
    GroupNormConfig::new(GROUPS, channels).init(device)
}

/// Predicts the velocity at every pixel.
#[derive(Module, Debug)]
pub struct Unet {
    pub(super) time: [Linear; 2],
    /// One row per class, row 0 for "no object".
    pub(super) class: Param<Tensor<2>>,
    pub(super) stem: Conv2d,
    pub(super) down: [Block; 2],
    pub(super) halve: [Conv2d; 2],
    pub(super) middle: [Block; 2],
    pub(super) attention: Attention,
    pub(super) narrow: [Conv2d; 2],
    pub(super) up: [Block; 2],
    pub(super) norm: GroupNorm,
    pub(super) last: Conv2d,
}

impl Unet {
    /// Velocities `[N, 12, 32, 32]` from inputs `[N, 28, 32, 32]`, one time in 0..=1 and one class per picture.
    ///
    /// # Panics
    /// If the lengths differ or a class is larger than the configuration's.
    pub fn forward(&self, x: Tensor<4>, times: &[f32], classes: &[usize]) -> Tensor<4> {
        assert_eq!(x.dims()[0], times.len(), "one time per picture");
        let told = self.told(times, classes);
        let fine = self.down[0].forward(forward_conv(&self.stem, x), &told);
        let middle = self.down[1].forward(forward_conv(&self.halve[0], fine.clone()), &told);
        let coarse = self.middle[0].forward(forward_conv(&self.halve[1], middle.clone()), &told);
        let coarse = self.middle[1].forward(self.attention.forward(coarse), &told);
        // A 1 x 1 convolution and a repetition commute; in this order the convolution is four times cheaper.
        let up = doubled(forward_conv(&self.narrow[1], coarse));
        let up = self.up[1].forward(Tensor::cat(vec![up, middle], 1), &told);
        let up = doubled(forward_conv(&self.narrow[0], up));
        let up = self.up[0].forward(Tensor::cat(vec![up, fine], 1), &told);
        forward_conv(&self.last, group_norm(&self.norm, up, true))
    }

    /// What the blocks are told: `[N, embedding]` from time and class, after SiLU.
    fn told(&self, times: &[f32], classes: &[usize]) -> Tensor<2> {
        assert_eq!(times.len(), classes.len(), "one class per picture");
        let device = self.class.val().device();
        let [rows, _] = self.class.dims();
        // A product with one-hot rows, so that a single way computes the gradient on every device.
        let mut hot = vec![0.0_f32; classes.len() * rows];
        for (i, &class) in classes.iter().enumerate() {
            assert!(class < rows, "class {class} of {rows}");
            hot[i * rows + class] = 1.0;
        }
        let hot = Tensor::<2>::from_data(TensorData::new(hot, [classes.len(), rows]), &device);
        let waves: Vec<f32> = times.iter().flat_map(|&t| waves(t)).collect();
        let waves = Tensor::<2>::from_data(TensorData::new(waves, [times.len(), TIMES]), &device);
        let time = self.time[1].forward(silu(self.time[0].forward(waves)));
        silu(time + hot.matmul(self.class.val()))
    }
}

/// Sines and cosines of a time at frequencies from 1 to 1000 (Vaswani et al. 2017).
fn waves(t: f32) -> impl Iterator<Item = f32> {
    const HALF: usize = TIMES / 2;
    (0..TIMES).map(move |i| {
        let angle = t * 1000_f32.powf((i % HALF) as f32 / (HALF - 1) as f32);
        if i < HALF { angle.sin() } else { angle.cos() }
    })
}

/// Each position four times: twice the height and the width.
fn doubled(x: Tensor<4>) -> Tensor<4> {
    let [images, channels, height, width] = x.dims();
    x.reshape([images, channels, height, 1, width, 1]).expand([images, channels, height, 2, width, 2]).reshape([
        images,
        channels,
        2 * height,
        2 * width,
    ])
}

/// Two convolutions around a bypass; time and class enter between them.
#[derive(Module, Debug)]
pub(super) struct Block {
    pub(super) norm: GroupNorm,
    pub(super) first: Conv2d,
    pub(super) told: Linear,
    pub(super) second: Conv2d,
    pub(super) bypass: Option<Conv2d>,
}

impl Block {
    fn new(from: usize, to: usize, embedding: usize, device: &Device) -> Self {
        Self {
            norm: norm(from, device),
            first: conv(from, to, 3, 1, device),
            told: linear(embedding, 2 * to, device),
            second: conv(to, to, 3, 1, device),
            bypass: (from != to).then(|| conv(from, to, 1, 1, device)),
        }
    }

    fn forward(&self, x: Tensor<4>, told: &Tensor<2>) -> Tensor<4> {
        let h = forward_conv(&self.first, group_norm(&self.norm, x.clone(), true));
        let [scale, shift]: [Tensor<2>; 2] =
            self.told.forward(told.clone()).chunk(2, 1).try_into().expect("two halves of an even width");
        let h = adaptive_group_norm(h, scale + 1.0, shift, GROUPS, 1e-5, true);
        let h = forward_conv(&self.second, h);
        match &self.bypass {
            Some(bypass) => h + forward_conv(bypass, x),
            None => h + x,
        }
    }
}

/// Self-attention over all positions (Vaswani et al. 2017), with a bypass.
#[derive(Module, Debug)]
pub(super) struct Attention {
    pub(super) norm: GroupNorm,
    pub(super) query_key_value: Conv2d,
    pub(super) project: Conv2d,
}

impl Attention {
    fn new(channels: usize, device: &Device) -> Self {
        Self {
            norm: norm(channels, device),
            query_key_value: conv(channels, 3 * channels, 1, 1, device),
            project: conv(channels, channels, 1, 1, device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [images, channels, height, width] = x.dims();
        let all = forward_conv(&self.query_key_value, group_norm(&self.norm, x.clone(), false));
        // [N, 3, heads, HEAD, positions]
        let all = all.reshape([images, 3, channels / HEAD, HEAD, height * width]);
        let part = |i: usize| all.clone().slice([0..images, i..i + 1]).squeeze_dim::<4>(1);
        let (query, key, value) = (part(0), part(1), part(2));
        let scores = query.swap_dims(2, 3).matmul(key) / (HEAD as f64).sqrt();
        // value [.., HEAD, keys] times weights [.., keys, queries]
        let mixed = value.matmul(softmax(scores, 3).swap_dims(2, 3));
        x + forward_conv(&self.project, mixed.reshape([images, channels, height, width]))
    }
}

/// Height and width of the network's map.
pub(super) const fn map_shape(pictures: usize, channels: usize) -> [usize; 4] {
    [pictures, channels, MAP, MAP]
}

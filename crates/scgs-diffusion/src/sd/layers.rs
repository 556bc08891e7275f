//! The layers that UNet and VAE share, under diffusers' parameter names.

use burn::{
    module::{Module, Param},
    tensor::{
        DType, Int, Tensor, TensorData, module,
        ops::{ConvOptions, InterpolateMode, InterpolateOptions},
    },
};
use scgs_models::{adaptive_group_norm, conv2d};

use super::Part;

/// The tensor as f32, in which every layer computes.
pub(super) fn full<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    if tensor.dtype() == DType::F32 { tensor } else { tensor.cast(DType::F32) }
}

/// Every convolution of UNet and VAE: `[N, C, H, W]` to `[N, C', H', W']`.
///
/// `padding` is added as zeros before and after each row and column.
fn convolve(x: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>, stride: usize, padding: (usize, usize)) -> Tensor<4> {
    let mut options = ConvOptions::new([stride; 2], [0; 2], [1; 2], 1);
    options.padding = [padding; 2];
    conv2d(x, weight, Some(bias), options)
}

/// A convolution with bias.
#[derive(Module, Debug)]
pub(crate) struct Conv {
    weight: Param<Tensor<4>>,
    bias: Param<Tensor<1>>,
    stride: usize,
    before: usize,
    after: usize,
}

impl Conv {
    /// A square kernel that keeps height and width.
    pub(crate) fn same(mut part: Part<'_>, channels: [usize; 2], kernel: usize) -> Self {
        Self::new(&mut part, channels, kernel, 1, (kernel / 2, kernel / 2))
    }

    /// A 3x3 kernel that halves height and width, padded by zeros `(before, after)`.
    pub(crate) fn down(mut part: Part<'_>, channels: usize, padding: (usize, usize)) -> Self {
        Self::new(&mut part, [channels; 2], 3, 2, padding)
    }

    fn new(
        part: &mut Part<'_>,
        [input, output]: [usize; 2],
        kernel: usize,
        stride: usize,
        padding: (usize, usize),
    ) -> Self {
        Self {
            weight: part.tensor("weight", [output, input, kernel, kernel]),
            bias: part.tensor("bias", [output]),
            stride,
            before: padding.0,
            after: padding.1,
        }
    }

    /// `[N, C, H, W]` to `[N, C', H', W']`.
    pub(crate) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        convolve(x, full(self.weight.val()), full(self.bias.val()), self.stride, (self.before, self.after))
    }
}

/// A linear map with or without bias; the weight is `[output, input]` as in PyTorch.
#[derive(Module, Debug)]
pub(crate) struct Linear {
    weight: Param<Tensor<2>>,
    bias: Option<Param<Tensor<1>>>,
}

impl Linear {
    pub(crate) fn new(mut part: Part<'_>, [input, output]: [usize; 2]) -> Self {
        Self { weight: part.tensor("weight", [output, input]), bias: Some(part.tensor("bias", [output])) }
    }

    pub(crate) fn without_bias(mut part: Part<'_>, [input, output]: [usize; 2]) -> Self {
        Self { weight: part.tensor("weight", [output, input]), bias: None }
    }

    /// The same function as a 1x1 convolution whose weight is `[output, input, 1, 1]`.
    pub(crate) fn of_convolution(mut part: Part<'_>, [input, output]: [usize; 2]) -> Self {
        let weight = part.reshaped("weight", &[output, input, 1, 1], [output, input]);
        Self { weight, bias: Some(part.tensor("bias", [output])) }
    }

    /// `[.., input]` to `[.., output]`.
    pub(crate) fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let mut dims = x.dims();
        // Two dimensions, so that the transposed weight goes to the matrix product as it lies.
        let rows = x.reshape([-1, dims[D - 1] as i32]);
        let weight = full(self.weight.val());
        dims[D - 1] = weight.dims()[0];
        let y: Tensor<2> = rows.matmul(weight.transpose());
        let y = match &self.bias {
            Some(bias) => y + full(bias.val()).unsqueeze(),
            None => y,
        };
        y.reshape(dims)
    }
}

/// Group norm with a gain and an offset per channel (Wu and He 2018).
#[derive(Module, Debug)]
pub(crate) struct GroupNorm {
    weight: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
    groups: usize,
    epsilon: f64,
}

impl GroupNorm {
    pub(crate) fn new(mut part: Part<'_>, channels: usize, groups: usize, epsilon: f64) -> Self {
        Self { weight: part.tensor("weight", [channels]), bias: part.tensor("bias", [channels]), groups, epsilon }
    }

    /// `[N, C, H, W]` to the same shape.
    pub(crate) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.normed(x, false)
    }

    /// The same, then SiLU.
    pub(crate) fn forward_silu(&self, x: Tensor<4>) -> Tensor<4> {
        self.normed(x, true)
    }

    fn normed(&self, x: Tensor<4>, activate: bool) -> Tensor<4> {
        let [images, channels, ..] = x.dims();
        let per_image = |values: Tensor<1>| full(values).reshape([1, channels]).expand([images, channels]);
        let (scale, shift) = (per_image(self.weight.val()), per_image(self.bias.val()));
        adaptive_group_norm(x, scale, shift, self.groups, self.epsilon, activate)
    }
}

/// Layer norm over the last dimension.
#[derive(Module, Debug)]
pub(crate) struct LayerNorm {
    weight: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
    epsilon: f64,
}

impl LayerNorm {
    pub(crate) fn new(mut part: Part<'_>, width: usize, epsilon: f64) -> Self {
        Self { weight: part.tensor("weight", [width]), bias: part.tensor("bias", [width]), epsilon }
    }

    /// `[.., width]` to the same shape.
    pub(crate) fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        module::layer_norm(x, full(self.weight.val()), Some(full(self.bias.val())), self.epsilon)
    }
}

/// How a [`ResnetBlock`] is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResnetShape {
    /// Channels in and out.
    pub(crate) channels: [usize; 2],
    /// Width of the time embedding; nothing for the VAE.
    pub(crate) time: Option<usize>,
    pub(crate) groups: usize,
    pub(crate) epsilon: f64,
}

/// diffusers' `ResnetBlock2D`: two normed convolutions and a way around them.
#[derive(Module, Debug)]
pub(crate) struct ResnetBlock {
    norm1: GroupNorm,
    conv1: Conv,
    time_emb_proj: Option<Linear>,
    norm2: GroupNorm,
    conv2: Conv,
    conv_shortcut: Option<Conv>,
}

impl ResnetBlock {
    pub(crate) fn new(mut part: Part<'_>, shape: ResnetShape) -> Self {
        let [input, output] = shape.channels;
        Self {
            norm1: GroupNorm::new(part.at("norm1"), input, shape.groups, shape.epsilon),
            conv1: Conv::same(part.at("conv1"), shape.channels, 3),
            time_emb_proj: shape.time.map(|width| Linear::new(part.at("time_emb_proj"), [width, output])),
            norm2: GroupNorm::new(part.at("norm2"), output, shape.groups, shape.epsilon),
            conv2: Conv::same(part.at("conv2"), [output; 2], 3),
            conv_shortcut: (input != output).then(|| Conv::same(part.at("conv_shortcut"), shape.channels, 1)),
        }
    }

    /// `x: [N, C, H, W]` and the time embedding after its activation, `[N, T]`, to `[N, C', H, W]`.
    pub(crate) fn forward(&self, x: Tensor<4>, time: Option<&Tensor<2>>) -> Tensor<4> {
        let mut h = self.conv1.forward(self.norm1.forward_silu(x.clone()));
        if let (Some(projection), Some(time)) = (&self.time_emb_proj, time) {
            h = h + projection.forward(time.clone()).unsqueeze_dims(&[2, 3]);
        }
        let h = self.conv2.forward(self.norm2.forward_silu(h));
        match &self.conv_shortcut {
            Some(shortcut) => shortcut.forward(x) + h,
            None => x + h,
        }
    }
}

/// Nearest-neighbour interpolation as PyTorch's `interpolate(mode="nearest")`: `[N, C, H, W]` to `[N, C, *size]`.
pub(crate) fn nearest(x: Tensor<4>, size: [usize; 2]) -> Tensor<4> {
    let [_, _, height, width] = x.dims();
    if size == [height, width] {
        return x;
    }
    if size == [2 * height, 2 * width] {
        return module::interpolate(x, InterpolateOptions::new(InterpolateMode::Nearest).with_output_size(size));
    }
    // burn rounds at half pixels, PyTorch at the pixel's corner; both agree for doubling only.
    let index = |from: usize, to: usize| {
        let scale = from as f32 / to as f32;
        let index: Vec<i64> = (0..to).map(|i| ((i as f32 * scale) as usize).min(from - 1) as i64).collect();
        Tensor::<1, Int>::from_data(TensorData::new(index, [to]), &x.device())
    };
    let (rows, columns) = (index(height, size[0]), index(width, size[1]));
    x.select(2, rows).select(3, columns)
}

//! Layers that have a faster way on burn's CPU device, and burn's own everywhere else.

use burn::{
    nn::{BatchNorm, GroupNorm, PaddingConfig2d, conv::Conv2d, pool::MaxPool2d},
    tensor::{
        Tensor,
        activation::{relu, silu},
        module,
        ops::{AttentionModuleOptions, ConvOptions},
    },
};

/// What follows a convolution or a normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    None,
    /// Values below 0 become 0.
    Relu,
    /// ReLU with at most 6 (Howard et al. 2017).
    Relu6,
}

impl Activation {
    /// As an operation of its own.
    pub(crate) fn forward(self, x: Tensor<4>) -> Tensor<4> {
        match self {
            Self::None => x,
            Self::Relu => relu(x),
            Self::Relu6 => x.clamp(0.0, 6.0),
        }
    }

    /// The least and the largest value; in between it is the identity.
    #[cfg(feature = "flex")]
    pub(crate) fn range(self) -> [f32; 2] {
        match self {
            Self::None => [f32::NEG_INFINITY, f32::INFINITY],
            Self::Relu => [0.0, f32::INFINITY],
            Self::Relu6 => [0.0, 6.0],
        }
    }
}

/// The convolution of `x` `[N, C, H, W]` with `weight` `[O, C / groups, kh, kw]` plus `bias` `[O]`, with gradients for
/// all three: the function of [`burn::tensor::module::conv2d`].
///
/// On the `flex` device in f32, without dilation and with one group or a group per channel, it is a faster way of this crate's;
/// otherwise it is burn's. The two differ by rounding (below 1e-5 relative). On either way the number of threads does
/// not change the result.
///
/// # Panics
/// As burn's: if the channels of `x` and `weight` do not fit, or the kernel is larger than the padded input.
pub fn conv2d(x: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>, options: ConvOptions<2>) -> Tensor<4> {
    active_conv2d(x, weight, bias, options, Activation::None)
}

/// [`conv2d`], then `activation`.
fn active_conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    options: ConvOptions<2>,
    activation: Activation,
) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if let Some(y) = crate::fast::conv::conv2d(&x, &weight, bias.as_ref(), &options, activation) {
        return y;
    }
    activation.forward(module::conv2d(x, weight, bias, options))
}

/// [`Conv2d::forward`] through [`conv2d`].
///
/// # Panics
/// As [`conv2d`].
pub fn forward_conv(conv: &Conv2d, x: Tensor<4>) -> Tensor<4> {
    active_conv(conv, x, Activation::None)
}

/// TensorFlow's `SAME` padding of `size` pixels, before and after: as many outputs as strides begin; where the total is odd
/// the extra pixel goes to the end.
fn same(((size, kernel), stride): ((usize, usize), usize)) -> (usize, usize) {
    let total = ((size.div_ceil(stride) - 1) * stride + kernel).saturating_sub(size);
    (total / 2, total - total / 2)
}

/// [`forward_conv`], then `activation`.
pub(crate) fn active_conv(conv: &Conv2d, x: Tensor<4>, activation: Activation) -> Tensor<4> {
    let padding = match conv.padding {
        PaddingConfig2d::Valid => [(0, 0); 2],
        PaddingConfig2d::Explicit(top, left, bottom, right) => [(top, bottom), (left, right)],
        PaddingConfig2d::Same => {
            let [.., height, width] = x.dims();
            [height, width]
                .into_iter()
                .zip(conv.kernel_size)
                .zip(conv.stride)
                .map(same)
                .collect::<Vec<_>>()
                .try_into()
                .expect("height and width")
        }
    };
    let options = ConvOptions::new_with_padding(conv.stride, padding, conv.dilation, conv.groups);
    active_conv2d(x, conv.weight.val(), conv.bias.as_ref().map(|bias| bias.val()), options, activation)
}

/// Scaled dot-product attention: `softmax(q k' / sqrt(width)) v` for `query` `[N, heads, L, width]`, `key`
/// `[N, heads, M, width]` and `value` `[N, heads, M, d]`, `[N, heads, L, d]` in all; the function of
/// [`burn::tensor::module::attention`] without mask and bias.
///
/// On the `flex` device in f32, where nothing is recorded, some queries are computed at a time and the `L x M` scores are
/// never there as a whole; otherwise it is burn's.
///
/// # Panics
/// As burn's, if the shapes do not fit.
pub fn attention(query: Tensor<4>, key: Tensor<4>, value: Tensor<4>) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if let Some(y) = crate::fast::attention::attention(&query, &key, &value) {
        return y;
    }
    module::attention(query, key, value, None, None, AttentionModuleOptions::default())
}

/// [`MaxPool2d::forward`].
pub(crate) fn max_pool(pool: &MaxPool2d, x: Tensor<4>) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if let (PaddingConfig2d::Explicit(top, left, bottom, right), [1, 1], false) =
        (&pool.padding, pool.dilation, pool.ceil_mode)
        && (top, left) == (bottom, right)
        && let Some(y) = crate::fast::max_pool::max_pool(&x, pool.kernel_size, pool.stride, [*top, *left])
    {
        return y;
    }
    pool.forward(x)
}

/// Batch norm over `[N, C, H, W]` exactly as PyTorch's `BatchNorm2d`, then `activation`; differs from burn's own in two
/// points.
///
/// Batch statistics are taken only when the *parameters* live on a training device. burn asks the input, which would
/// switch a network loaded for inference to batch statistics as soon as an attention map wants a gradient.
///
/// The running variance takes the unbiased batch variance (divided by `n - 1`), as in PyTorch; burn takes the biased one.
pub fn batch_norm(norm: &BatchNorm, x: Tensor<4>, activation: Activation) -> Tensor<4> {
    let (gamma, beta) = (norm.gamma.val(), norm.beta.val());
    let device = x.device();
    if !(device.is_autodiff() && gamma.device().is_autodiff() && norm.training.is_enabled()) {
        let [mean, variance] =
            [&norm.running_mean, &norm.running_var].map(|running| running.value_sync().to_device(&device));
        return normalise(x, [gamma, beta], [mean, variance], norm.epsilon, activation);
    }
    let [batch, _, height, width] = x.dims();
    let n = (batch * height * width) as f64;
    let (y, [mean, variance]) = normalise_batch(x, [gamma, beta], norm.epsilon, activation);
    let blend = |running: Tensor<1>, new: Tensor<1>| {
        (running.to_device(&device) * (1.0 - norm.momentum) + new.detach() * norm.momentum).detach()
    };
    // One value per channel has no variance; PyTorch refuses such a batch, here it counts as variance 0.
    let unbiased = variance * (n / (n - 1.0).max(1.0));
    norm.running_mean.update(blend(norm.running_mean.value_sync(), mean));
    norm.running_var.update(blend(norm.running_var.value_sync(), unbiased));
    y
}

/// With given mean and variance.
fn normalise(
    x: Tensor<4>,
    [scale, shift]: [Tensor<1>; 2],
    [mean, variance]: [Tensor<1>; 2],
    epsilon: f64,
    activation: Activation,
) -> Tensor<4> {
    #[cfg(feature = "flex")]
    {
        let norm = crate::fast::batch_norm::Norm { shape: x.dims(), epsilon, activation, of_batch: false };
        if let Some(y) = crate::fast::batch_norm::batch_norm(&x, [&scale, &shift], [&mean, &variance], norm) {
            return y;
        }
    }
    activation.forward(module::batch_norm(x, scale, shift, mean, variance, epsilon))
}

/// With mean and variance (divided by n) of the batch, which are returned too.
fn normalise_batch(
    x: Tensor<4>,
    [scale, shift]: [Tensor<1>; 2],
    epsilon: f64,
    activation: Activation,
) -> (Tensor<4>, [Tensor<1>; 2]) {
    #[cfg(feature = "flex")]
    if let Some(statistics) = crate::fast::batch_norm::statistics(&x) {
        let [mean, variance] = statistics.map(|tensor| tensor.to_device(&x.device()));
        let norm = crate::fast::batch_norm::Norm { shape: x.dims(), epsilon, activation, of_batch: true };
        if let Some(y) = crate::fast::batch_norm::batch_norm(&x, [&scale, &shift], [&mean, &variance], norm) {
            return (y, [mean, variance]);
        }
    }
    let batch = module::batch_norm_train(x, scale, shift, epsilon);
    (activation.forward(batch.output), [batch.mean, batch.variance])
}

/// Normalises `x` `[N, C, H, W]` over each of `groups` groups of channels (Wu and He 2018), then multiplies by `scale`,
/// adds `shift`, both `[N, C]`, and applies SiLU if `activate`. A scale and shift per image is how a diffusion model is
/// told time and class (Dhariwal and Nichol 2021, "adaptive group normalization").
///
/// On the `flex` device in f32 it is one pass over the data, otherwise a composition of burn's operations.
///
/// # Panics
/// If the shapes do not fit or `groups` does not divide the channels.
pub fn adaptive_group_norm(
    x: Tensor<4>,
    scale: Tensor<2>,
    shift: Tensor<2>,
    groups: usize,
    epsilon: f64,
    activate: bool,
) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if let Some(y) = crate::fast::group_norm::group_norm(&x, &scale, &shift, groups, epsilon, activate) {
        return y;
    }
    composed_group_norm(x, scale, shift, groups, epsilon, activate)
}

/// [`GroupNorm::forward`], followed by SiLU if `activate`, through [`adaptive_group_norm`].
///
/// # Panics
/// As [`GroupNorm::forward`].
pub fn group_norm(norm: &GroupNorm, x: Tensor<4>, activate: bool) -> Tensor<4> {
    let (Some(gamma), Some(beta)) = (&norm.gamma, &norm.beta) else {
        let y = norm.forward(x);
        return if activate { silu(y) } else { y };
    };
    let [images, channels, ..] = x.dims();
    let per_image = |values: Tensor<1>| values.reshape([1, channels]).expand([images, channels]);
    adaptive_group_norm(x, per_image(gamma.val()), per_image(beta.val()), norm.num_groups, norm.epsilon, activate)
}

/// [`adaptive_group_norm`] of burn's operations.
pub(crate) fn composed_group_norm(
    x: Tensor<4>,
    scale: Tensor<2>,
    shift: Tensor<2>,
    groups: usize,
    epsilon: f64,
    activate: bool,
) -> Tensor<4> {
    let [images, channels, height, width] = x.dims();
    assert_eq!(channels % groups, 0, "{channels} channels do not fall into {groups} groups");
    let x = x.reshape([images, groups, channels / groups * height * width]);
    let centred = x.clone() - x.mean_dim(2);
    let variance = centred.clone().square().mean_dim(2);
    let normalised = (centred / (variance + epsilon).sqrt()).reshape([images, channels, height, width]);
    let spread = |values: Tensor<2>| values.reshape([images, channels, 1, 1]);
    let y = normalised * spread(scale) + spread(shift);
    if activate { silu(y) } else { y }
}

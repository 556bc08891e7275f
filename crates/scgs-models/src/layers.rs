//! Layers that have a faster way on burn's CPU device, and burn's own everywhere else.

use burn::{
    nn::{GroupNorm, PaddingConfig2d, conv::Conv2d},
    tensor::{Tensor, activation::silu, module, ops::ConvOptions},
};

/// The convolution of `x` `[N, C, H, W]` with `weight` `[O, C / groups, kh, kw]` plus `bias` `[O]`, with gradients for
/// all three: the function of [`burn::tensor::module::conv2d`].
///
/// On the `flex` device in f32, with neither groups nor dilation, it is im2col and matrix products, about twice as fast
/// as burn's; otherwise it is burn's. The two differ by rounding (below 1e-5 relative). On either way the number of
/// threads does not change the result.
///
/// # Panics
/// As burn's: if the channels of `x` and `weight` do not fit, or the kernel is larger than the padded input.
pub fn conv2d(x: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>, options: ConvOptions<2>) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if let Some(y) = crate::fast_conv::conv2d(&x, &weight, bias.as_ref(), &options) {
        return y;
    }
    module::conv2d(x, weight, bias, options)
}

/// [`Conv2d::forward`] through [`conv2d`].
///
/// # Panics
/// As [`conv2d`].
pub fn forward_conv(conv: &Conv2d, x: Tensor<4>) -> Tensor<4> {
    let padding = match conv.padding {
        PaddingConfig2d::Valid => [(0, 0); 2],
        PaddingConfig2d::Explicit(top, left, bottom, right) => [(top, bottom), (left, right)],
        // Depends on the input's size; no network here uses it.
        PaddingConfig2d::Same => return conv.forward(x),
    };
    let options = ConvOptions::new_with_padding(conv.stride, padding, conv.dilation, conv.groups);
    conv2d(x, conv.weight.val(), conv.bias.as_ref().map(|bias| bias.val()), options)
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
    if let Some(y) = crate::fast_norm::group_norm(&x, &scale, &shift, groups, epsilon, activate) {
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

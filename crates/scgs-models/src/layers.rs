//! Layers that have a faster way on burn's CPU device, and burn's own everywhere else.

use burn::{
    nn::{PaddingConfig2d, conv::Conv2d},
    tensor::{Tensor, module, ops::ConvOptions},
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

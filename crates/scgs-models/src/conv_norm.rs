//! A convolution followed by a batch norm: the unit that every backbone here is made of.

use burn::{
    module::Module,
    nn::{
        BatchNorm, BatchNormConfig, Initializer, PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
    },
    tensor::Tensor,
};

use crate::layers::{Activation, active_conv, batch_norm};

/// A convolution without bias and the batch norm behind it, or, after [`ConvNorm::folded`], one convolution with bias.
#[derive(Module, Debug)]
pub(crate) struct ConvNorm {
    pub(crate) conv: Conv2d,
    pub(crate) norm: Option<BatchNorm>,
}

/// The shape of one [`ConvNorm`].
pub(crate) struct Shape {
    /// Channels in and out.
    pub(crate) channels: [usize; 2],
    /// Height and width of the kernel.
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    /// 1, or the number of channels for a depthwise convolution.
    pub(crate) groups: usize,
    pub(crate) padding: PaddingConfig2d,
    pub(crate) norm: BatchNormConfig,
}

impl Shape {
    /// All weights zero, batch norm the identity.
    pub(crate) fn init(&self, device: &burn::tensor::Device) -> ConvNorm {
        let conv = Conv2dConfig::new(self.channels, [self.kernel; 2])
            .with_stride([self.stride; 2])
            .with_groups(self.groups)
            .with_padding(self.padding.clone())
            .with_bias(false)
            .with_initializer(Initializer::Zeros)
            .init(device);
        ConvNorm { conv, norm: Some(self.norm.init(device)) }
    }
}

impl ConvNorm {
    /// `[N, C, H, W]` to `[N, C', H', W']`, then `activation`.
    pub(crate) fn forward(&self, x: Tensor<4>, activation: Activation) -> Tensor<4> {
        match &self.norm {
            Some(norm) => batch_norm(norm, active_conv(&self.conv, x, Activation::None), activation),
            None => active_conv(&self.conv, x, activation),
        }
    }

    /// The same function in evaluation mode as one convolution (Jacob et al. 2018, section 3.2): with
    /// `s = gamma / sqrt(var + eps)` the weight becomes `s * w` and the bias `beta - s * mean`.
    pub(crate) fn folded(mut self) -> Self {
        let Some(norm) = self.norm.take() else { return self };
        let scale = norm.gamma.val() / (norm.running_var.value_sync() + norm.epsilon).sqrt();
        let shift = norm.beta.val() - norm.running_mean.value_sync() * scale.clone();
        let [channels] = scale.dims();
        self.conv.weight = self.conv.weight.map(|weight| weight * scale.reshape([channels, 1, 1, 1]));
        self.conv.bias = Some(burn::module::Param::from_tensor(shift));
        self
    }
}

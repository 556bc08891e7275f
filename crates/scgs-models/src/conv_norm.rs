//! A convolution followed by a batch norm: the unit that every backbone here is made of.

use burn::{
    module::Module,
    nn::{
        BatchNorm, BatchNormConfig, Initializer, PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
    },
    tensor::{Tensor, module},
};

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
    /// `[N, C, H, W]` to `[N, C', H', W']`, no activation.
    pub(crate) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = self.conv.forward(x);
        match &self.norm {
            Some(norm) => normalize(norm, x),
            None => x,
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

/// Batch norm over `[N, C, H, W]` exactly as PyTorch's `BatchNorm2d`; differs from burn's own in two points.
///
/// Batch statistics are taken only when the *parameters* live on a training device. burn asks the input, which would
/// switch a network loaded for inference to batch statistics as soon as an attention map wants a gradient.
///
/// The running variance takes the unbiased batch variance (divided by `n - 1`), as in PyTorch; burn takes the biased one.
fn normalize(norm: &BatchNorm, x: Tensor<4>) -> Tensor<4> {
    let (gamma, beta) = (norm.gamma.val(), norm.beta.val());
    let device = x.device();
    if !(device.is_autodiff() && gamma.device().is_autodiff() && norm.training.is_enabled()) {
        let mean = norm.running_mean.value_sync().to_device(&device);
        let variance = norm.running_var.value_sync().to_device(&device);
        return module::batch_norm(x, gamma, beta, mean, variance, norm.epsilon);
    }
    let [batch, _, height, width] = x.dims();
    let n = (batch * height * width) as f64;
    let batch = module::batch_norm_train(x, gamma, beta, norm.epsilon);
    let blend = |running: Tensor<1>, new: Tensor<1>| {
        (running.to_device(&device) * (1.0 - norm.momentum) + new.detach() * norm.momentum).detach()
    };
    // One value per channel has no variance; PyTorch refuses such a batch, here it counts as variance 0.
    let unbiased = batch.variance * (n / (n - 1.0).max(1.0));
    norm.running_mean.update(blend(norm.running_mean.value_sync(), batch.mean));
    norm.running_var.update(blend(norm.running_var.value_sync(), unbiased));
    batch.output
}

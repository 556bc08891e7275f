//! EfficientNet-Lite0 as PyPI `efficientnet-lite-pytorch` 0.1.0 builds it.
//!
//! EfficientNet-B0 (Tan and Le 2019, table 1) without squeeze-and-excitation and with ReLU6 for swish. Dropout and
//! stochastic depth of the reference are left out: they do nothing in evaluation, and fine-tuning a network this small
//! does without. The reference fixes its padding for one input size; here it follows the input (TensorFlow's `SAME`),
//! which is the same at 224 x 224 and what the reference does with `image_size=None`.

use burn::{
    module::Module,
    nn::{BatchNormConfig, Initializer, Linear, LinearConfig, PaddingConfig2d},
    tensor::{Device, Tensor},
};

use crate::{
    conv_norm::{ConvNorm, Shape},
    layers::Activation,
};

/// EfficientNet-Lite0; made by [`crate::Architecture::init`] or [`crate::load`].
#[derive(Module, Debug)]
pub struct EfficientNetLite0 {
    pub(crate) stem: ConvNorm,
    blocks: Vec<InvertedResidual>,
    head: ConvNorm,
    pub(crate) fc: Linear,
}

/// Expansion (1x1), depthwise convolution, projection (1x1); with a shortcut where the shape stays.
#[derive(Module, Debug)]
pub(crate) struct InvertedResidual {
    expand: Option<ConvNorm>,
    depthwise: ConvNorm,
    project: ConvNorm,
    shortcut: bool,
}

/// Repeats, kernel, stride of the first, expansion, channels in, channels out.
const STAGES: [[usize; 6]; 7] = [
    [1, 3, 1, 1, 32, 16],
    [2, 3, 2, 6, 16, 24],
    [2, 5, 2, 6, 24, 40],
    [3, 3, 2, 6, 40, 80],
    [3, 5, 1, 6, 80, 112],
    [4, 5, 2, 6, 112, 192],
    [1, 3, 1, 6, 192, 320],
];

/// TensorFlow's `SAME` padding: where the total is odd the extra pixel goes right and below. Batch norm eps 1e-3;
/// TensorFlow's decay 0.99 is momentum 0.01 here and in PyTorch.
fn unit(channels: [usize; 2], kernel: usize, stride: usize, groups: usize, device: &Device) -> ConvNorm {
    Shape {
        channels,
        kernel,
        stride,
        groups,
        padding: PaddingConfig2d::Same,
        norm: BatchNormConfig::new(channels[1]).with_epsilon(1e-3).with_momentum(0.01),
    }
    .init(device)
}

impl InvertedResidual {
    fn new(kernel: usize, stride: usize, expansion: usize, [input, output]: [usize; 2], device: &Device) -> Self {
        let wide = input * expansion;
        Self {
            expand: (expansion != 1).then(|| unit([input, wide], 1, 1, 1, device)),
            depthwise: unit([wide, wide], kernel, stride, wide, device),
            project: unit([wide, output], 1, 1, 1, device),
            shortcut: stride == 1 && input == output,
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let mut y = x.clone();
        if let Some(expand) = &self.expand {
            y = expand.forward(y, Activation::Relu6);
        }
        y = self.project.forward(self.depthwise.forward(y, Activation::Relu6), Activation::None);
        if self.shortcut { y + x } else { y }
    }

    fn units(&self) -> impl Iterator<Item = &ConvNorm> {
        self.expand.iter().chain([&self.depthwise, &self.project])
    }

    fn folded(self) -> Self {
        Self {
            expand: self.expand.map(ConvNorm::folded),
            depthwise: self.depthwise.folded(),
            project: self.project.folded(),
            shortcut: self.shortcut,
        }
    }
}

impl EfficientNetLite0 {
    pub(crate) fn new(classes: usize, device: &Device) -> Self {
        let mut blocks = Vec::new();
        for [repeats, kernel, stride, expansion, input, output] in STAGES {
            for i in 0..repeats {
                let (stride, input) = if i == 0 { (stride, input) } else { (1, output) };
                blocks.push(InvertedResidual::new(kernel, stride, expansion, [input, output], device));
            }
        }
        Self {
            stem: unit([3, 32], 3, 2, 1, device),
            blocks,
            head: unit([320, 1280], 1, 1, 1, device),
            fc: LinearConfig::new(1280, classes).with_initializer(Initializer::Zeros).init(device),
        }
    }

    /// Every convolution with its batch norm.
    pub(crate) fn units(&self) -> Vec<&ConvNorm> {
        let blocks = self.blocks.iter().flat_map(InvertedResidual::units);
        std::iter::once(&self.stem).chain(blocks).chain([&self.head]).collect()
    }

    pub(crate) fn layers(&self) -> Vec<String> {
        let blocks = (0..self.blocks.len()).map(|block| format!("blocks.{block}"));
        ["stem".to_owned()].into_iter().chain(blocks).chain(["head".to_owned()]).collect()
    }

    /// Step 0 is the stem, the last one the 1x1 convolution to 1280 channels, the others are the blocks.
    pub(crate) fn step(&self, step: usize, x: Tensor<4>) -> Tensor<4> {
        if step == 0 {
            return self.stem.forward(x, Activation::Relu6);
        }
        match self.blocks.get(step - 1) {
            Some(block) => block.forward(x),
            None => self.head.forward(x, Activation::Relu6),
        }
    }

    pub(crate) fn folded(self) -> Self {
        Self {
            stem: self.stem.folded(),
            blocks: self.blocks.into_iter().map(InvertedResidual::folded).collect(),
            head: self.head.folded(),
            fc: self.fc,
        }
    }
}

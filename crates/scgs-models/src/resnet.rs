//! ResNet-18/34/50/101 as torchvision 0.24 builds them (He et al. 2016, "Deep Residual Learning").

use burn::{
    module::Module,
    nn::{
        BatchNormConfig, Initializer, Linear, LinearConfig, PaddingConfig2d,
        pool::{MaxPool2d, MaxPool2dConfig},
    },
    tensor::{Device, Tensor, activation::relu},
};

use crate::{
    Architecture,
    conv_norm::{ConvNorm, Shape},
    layers::{Activation, max_pool},
};

/// A ResNet; made by [`Architecture::init`] or [`crate::load`].
#[derive(Module, Debug)]
pub struct ResNet {
    pub(crate) stem: ConvNorm,
    pool: MaxPool2d,
    layer1: Vec<Block>,
    layer2: Vec<Block>,
    layer3: Vec<Block>,
    layer4: Vec<Block>,
    pub(crate) fc: Linear,
    #[module(skip)]
    pub(crate) architecture: Architecture,
}

/// A residual block: basic with two convolutions, bottleneck with three.
#[derive(Module, Debug)]
pub(crate) struct Block {
    conv1: ConvNorm,
    conv2: ConvNorm,
    conv3: Option<ConvNorm>,
    downsample: Option<ConvNorm>,
}

/// `kernel` x `kernel` convolution with padding `kernel / 2`; torchvision's batch norm has eps 1e-5, momentum 0.1.
fn unit(channels: [usize; 2], kernel: usize, stride: usize, device: &Device) -> ConvNorm {
    let pad = kernel / 2;
    Shape {
        channels,
        kernel,
        stride,
        groups: 1,
        padding: PaddingConfig2d::Explicit(pad, pad, pad, pad),
        norm: BatchNormConfig::new(channels[1]).with_epsilon(1e-5).with_momentum(0.1),
    }
    .init(device)
}

impl Block {
    fn new(input: usize, width: usize, stride: usize, bottleneck: bool, device: &Device) -> Self {
        let output = if bottleneck { 4 * width } else { width };
        let downsample = (stride != 1 || input != output).then(|| unit([input, output], 1, stride, device));
        if bottleneck {
            Self {
                conv1: unit([input, width], 1, 1, device),
                conv2: unit([width, width], 3, stride, device),
                conv3: Some(unit([width, output], 1, 1, device)),
                downsample,
            }
        } else {
            Self {
                conv1: unit([input, width], 3, stride, device),
                conv2: unit([width, width], 3, 1, device),
                conv3: None,
                downsample,
            }
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let first = self.conv1.forward(x.clone(), Activation::Relu);
        let y = match &self.conv3 {
            Some(conv3) => conv3.forward(self.conv2.forward(first, Activation::Relu), Activation::None),
            None => self.conv2.forward(first, Activation::None),
        };
        let shortcut = match &self.downsample {
            Some(downsample) => downsample.forward(x, Activation::None),
            None => x,
        };
        relu(y + shortcut)
    }

    fn units(&self) -> impl Iterator<Item = &ConvNorm> {
        [&self.conv1, &self.conv2].into_iter().chain(&self.conv3).chain(&self.downsample)
    }

    fn folded(self) -> Self {
        Self {
            conv1: self.conv1.folded(),
            conv2: self.conv2.folded(),
            conv3: self.conv3.map(ConvNorm::folded),
            downsample: self.downsample.map(ConvNorm::folded),
        }
    }
}

impl ResNet {
    pub(crate) fn new(architecture: Architecture, classes: usize, device: &Device) -> Self {
        let depths = match architecture {
            Architecture::ResNet34 | Architecture::ResNet50 => [3, 4, 6, 3],
            Architecture::ResNet101 => [3, 4, 23, 3],
            _ => [2, 2, 2, 2],
        };
        let bottleneck = architecture.feature_width() == 2048;
        let mut input = 64;
        let mut stage = |depth: usize, width: usize, stride: usize| -> Vec<Block> {
            (0..depth)
                .map(|i| {
                    let block = Block::new(input, width, if i == 0 { stride } else { 1 }, bottleneck, device);
                    input = if bottleneck { 4 * width } else { width };
                    block
                })
                .collect()
        };
        Self {
            stem: unit([3, 64], 7, 2, device),
            pool: MaxPool2dConfig::new([3, 3])
                .with_strides([2, 2])
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                .init(),
            layer1: stage(depths[0], 64, 1),
            layer2: stage(depths[1], 128, 2),
            layer3: stage(depths[2], 256, 2),
            layer4: stage(depths[3], 512, 2),
            fc: LinearConfig::new(architecture.feature_width(), classes)
                .with_initializer(Initializer::Zeros)
                .init(device),
            architecture,
        }
    }

    fn stages(&self) -> [&Vec<Block>; 4] {
        [&self.layer1, &self.layer2, &self.layer3, &self.layer4]
    }

    /// Every convolution with its batch norm.
    pub(crate) fn units(&self) -> Vec<&ConvNorm> {
        let blocks = self.stages().into_iter().flatten().flat_map(Block::units);
        std::iter::once(&self.stem).chain(blocks).collect()
    }

    /// One name per step; the last block of a stage has the stage's name.
    pub(crate) fn layers(&self) -> Vec<String> {
        let mut names = vec!["stem".to_owned()];
        for (stage, blocks) in (1..).zip(self.stages()) {
            names.extend((0..blocks.len() - 1).map(|block| format!("layer{stage}.{block}")));
            names.push(format!("layer{stage}"));
        }
        names
    }

    /// The long name of the last block of a stage, as in `layer4.1` of ResNet-18, is understood as well.
    pub(crate) fn alias(&self, layer: &str) -> Option<String> {
        let (stage, block) = layer.strip_prefix("layer")?.split_once('.')?;
        let (stage, block): (usize, usize) = (stage.parse().ok()?, block.parse().ok()?);
        let blocks = self.stages().get(stage.checked_sub(1)?)?.len();
        (block + 1 == blocks).then(|| format!("layer{stage}"))
    }

    /// Step 0 is the stem with its pooling, the others are the residual blocks.
    pub(crate) fn step(&self, step: usize, x: Tensor<4>) -> Tensor<4> {
        if step == 0 {
            return max_pool(&self.pool, self.stem.forward(x, Activation::Relu));
        }
        let block = self.stages().into_iter().flatten().nth(step - 1);
        block.expect("steps are counted by `layers`").forward(x)
    }

    pub(crate) fn folded(self) -> Self {
        let fold = |blocks: Vec<Block>| blocks.into_iter().map(Block::folded).collect();
        Self {
            stem: self.stem.folded(),
            layer1: fold(self.layer1),
            layer2: fold(self.layer2),
            layer3: fold(self.layer3),
            layer4: fold(self.layer4),
            ..self
        }
    }
}

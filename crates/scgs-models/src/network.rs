//! One type for every backbone: forward passes, cut at any layer, and changes of the last layer.

use std::ops::Range;

use burn::{
    module::Module,
    nn::{Initializer, Linear, LinearConfig},
    tensor::{Tensor, TensorData},
};

use crate::{Architecture, efficientnet_lite::EfficientNetLite0, resnet::ResNet};

/// An image classifier: convolutions, global average pooling, one linear layer.
///
/// On a training device (`device.autodiff()`) batch norms use and update batch statistics; on a plain one, which
/// [`Module::valid`] moves to, they use the running statistics. Clones share their running statistics (burn keeps them
/// behind a shared pointer): train one clone at a time, or take a copy that stands alone with [`Module::valid`].
#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "a program has a handful of networks, and their tensors lie elsewhere")]
pub enum Network {
    /// See [`Architecture::EfficientNetLite0`].
    EfficientNetLite0(EfficientNetLite0),
    /// See [`Architecture::ResNet18`] and its larger sisters.
    ResNet(ResNet),
}

/// A layer name that the network does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the network has no layer `{layer}`; its layers, from input to output: {}", known.join(", "))]
pub struct UnknownLayer {
    /// The name that was asked for.
    pub layer: String,
    /// The names that exist.
    pub known: Vec<String>,
}

impl Network {
    /// Which architecture this is.
    pub fn architecture(&self) -> Architecture {
        match self {
            Self::EfficientNetLite0(_) => Architecture::EfficientNetLite0,
            Self::ResNet(network) => network.architecture,
        }
    }

    /// The names [`Self::until`] and [`Self::after`] take, from input to output.
    ///
    /// EfficientNet-Lite0: `stem`, `blocks.0` to `blocks.15`, `head`. ResNet: `stem` (after the pooling), then every
    /// residual block, where the last one of a stage has the stage's name: ResNet-18 has `layer1.0`, `layer1`, .., `layer4.0`,
    /// `layer4`. For a stage's last block the long name (`layer4.1`) is understood too.
    pub fn layers(&self) -> Vec<String> {
        match self {
            Self::EfficientNetLite0(network) => network.layers(),
            Self::ResNet(network) => network.layers(),
        }
    }

    /// Logits `[N, classes]` of pictures `[N, 3, H, W]`, normalized with [`Architecture::mean`] and [`Architecture::std`].
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        self.head(self.features(x))
    }

    /// The last map `[N, feature_width, h, w]` of pictures `[N, 3, H, W]`, after its activation function.
    pub fn features(&self, x: Tensor<4>) -> Tensor<4> {
        self.run(0..self.layers().len(), x)
    }

    /// The activation `[N, C, h, w]` after `layer` for pictures `[N, 3, H, W]`.
    ///
    /// # Errors
    /// [`UnknownLayer`] with the names that exist.
    pub fn until(&self, layer: &str, x: Tensor<4>) -> Result<Tensor<4>, UnknownLayer> {
        Ok(self.run(0..self.position(layer)? + 1, x))
    }

    /// [`Self::until`] for several layers in one pass, in their order.
    ///
    /// # Errors
    /// [`UnknownLayer`] with the names that exist.
    pub fn until_each(&self, layers: &[&str], x: Tensor<4>) -> Result<Vec<Tensor<4>>, UnknownLayer> {
        let ends: Vec<usize> = layers.iter().map(|layer| Ok(self.position(layer)? + 1)).collect::<Result<_, _>>()?;
        let mut order: Vec<usize> = (0..ends.len()).collect();
        order.sort_by_key(|&i| ends[i]);
        let (mut found, mut done, mut map) = (vec![None; ends.len()], 0, x);
        for i in order {
            map = self.run(done..ends[i], map);
            done = ends[i];
            found[i] = Some(map.clone());
        }
        Ok(found.into_iter().flatten().collect())
    }

    /// The logits `[N, classes]` from the activation `[N, C, h, w]` after `layer`, so that
    /// `after(layer, until(layer, x)?)? == forward(x)`.
    ///
    /// A network on a plain device accepts an activation on a training device: gradients with respect to the activation
    /// are then recorded from here on only, with the network in evaluation mode.
    ///
    /// # Errors
    /// [`UnknownLayer`] with the names that exist.
    pub fn after(&self, layer: &str, activation: Tensor<4>) -> Result<Tensor<2>, UnknownLayer> {
        let steps = self.layers().len();
        Ok(self.head(self.run(self.position(layer)? + 1..steps, activation)))
    }

    /// Logits `[N, classes]` from the last map `[N, feature_width, h, w]`: global average pooling and the last layer.
    pub fn head(&self, map: Tensor<4>) -> Tensor<2> {
        self.linear().forward(pooled(map))
    }

    /// Whether [`Self::head`] is pooling and one linear layer, so that the gradient of a logit with respect to the last
    /// map has the closed form `weight[class, channel] / (h * w)`. True for every architecture here.
    pub fn head_is_linear(&self) -> bool {
        match self {
            Self::EfficientNetLite0(_) | Self::ResNet(_) => true,
        }
    }

    /// The last layer; burn keeps its weight as `[features, classes]`.
    pub fn linear(&self) -> &Linear {
        match self {
            Self::EfficientNetLite0(network) => &network.fc,
            Self::ResNet(network) => &network.fc,
        }
    }

    /// The number of classes.
    pub fn classes(&self) -> usize {
        let [_, classes] = self.linear().weight.dims();
        classes
    }

    /// The network with another last layer: `weight` is `[classes, features]` row by row, `bias` has one value per
    /// class. The number of classes may differ from the present one.
    ///
    /// # Panics
    /// If `weight.len() != bias.len() * feature_width`.
    pub fn with_linear(mut self, weight: Vec<f32>, bias: Vec<f32>) -> Self {
        let [features, _] = self.linear().weight.dims();
        let classes = bias.len();
        assert_eq!(weight.len(), classes * features, "the weight is [classes = {classes}, features = {features}]");
        let device = self.linear().weight.val().device();
        let mut linear = LinearConfig::new(features, classes).with_initializer(Initializer::Zeros).init(&device);
        let weight = Tensor::<2>::from_data(TensorData::new(weight, [classes, features]), &device).transpose();
        linear.weight = burn::module::Param::from_tensor(weight);
        linear.bias =
            Some(burn::module::Param::from_tensor(Tensor::from_data(TensorData::new(bias, [classes]), &device)));
        match &mut self {
            Self::EfficientNetLite0(network) => network.fc = linear,
            Self::ResNet(network) => network.fc = linear,
        }
        self
    }

    /// The same function in evaluation mode with every batch norm folded into its convolution, on a plain device: for
    /// inference only. Logits differ by rounding (below 1e-4 on the tested networks). [`crate::save`] refuses the result.
    pub fn fold_batch_norm(self) -> Self {
        match self.valid() {
            Self::EfficientNetLite0(network) => Self::EfficientNetLite0(network.folded()),
            Self::ResNet(network) => Self::ResNet(network.folded()),
        }
    }

    /// Whether [`Self::fold_batch_norm`] was called.
    pub fn is_folded(&self) -> bool {
        match self {
            Self::EfficientNetLite0(network) => network.stem.norm.is_none(),
            Self::ResNet(network) => network.stem.norm.is_none(),
        }
    }

    fn position(&self, layer: &str) -> Result<usize, UnknownLayer> {
        let alias = match self {
            Self::EfficientNetLite0(_) => None,
            Self::ResNet(network) => network.alias(layer),
        };
        let known = self.layers();
        let wanted = alias.as_deref().unwrap_or(layer);
        match known.iter().position(|name| name == wanted) {
            Some(position) => Ok(position),
            None => Err(UnknownLayer { layer: layer.to_owned(), known }),
        }
    }

    fn run(&self, steps: Range<usize>, x: Tensor<4>) -> Tensor<4> {
        steps.fold(x, |x, step| match self {
            Self::EfficientNetLite0(network) => network.step(step, x),
            Self::ResNet(network) => network.step(step, x),
        })
    }
}

/// Mean over the positions of each channel: `[N, C, h, w]` to `[N, C]`.
pub fn pooled(map: Tensor<4>) -> Tensor<2> {
    let [n, channels, height, width] = map.dims();
    map.reshape([n, channels, height * width]).mean_dim(2).reshape([n, channels])
}

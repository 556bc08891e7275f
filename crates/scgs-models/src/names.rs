//! The reference implementations' names of every tensor, and walks over a network by these names.

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    tensor::{Tensor, TensorData},
};

use crate::Network;

/// One tensor of a network under its reference's name.
pub(crate) struct Named {
    pub(crate) name: String,
    /// In the reference's layout: the last layer's weight is `[classes, features]`.
    pub(crate) shape: Vec<usize>,
    /// Row by row in the reference's layout.
    pub(crate) values: Vec<f32>,
}

/// Every tensor, batch-norm statistics included, in the order of the modules.
pub(crate) fn tensors(network: &Network) -> Vec<Named> {
    let mut walk = Collect { path: Path::default(), found: Vec::new() };
    // Running statistics wait for the next forward pass to take their last update; `valid` brings it in.
    network.valid().visit(&mut walk);
    walk.found
}

/// Name and shape of every tensor, without reading values.
pub(crate) fn shapes(network: &Network) -> Vec<(String, Vec<usize>)> {
    let mut walk = Shapes { path: Path::default(), found: Vec::new() };
    network.visit(&mut walk);
    walk.found
}

/// The network with each tensor replaced by what `values(name, shape)` gives, row by row in the reference's layout.
pub(crate) fn replace(network: Network, values: impl FnMut(&str, &[usize]) -> Vec<f32>) -> Network {
    network.map(&mut Replace { path: Path::default(), values })
}

/// Where a walk over a network is.
#[derive(Default)]
pub(crate) struct Path(Vec<String>);

impl Path {
    pub(crate) fn enter(&mut self, name: &str) {
        self.0.push(name.to_owned());
    }

    pub(crate) fn exit(&mut self) {
        self.0.pop();
    }

    /// The reference's name of the tensor at this path.
    pub(crate) fn name(&self) -> String {
        let path: Vec<&str> = self.0.iter().map(String::as_str).collect();
        let (module, leaf) = match path.as_slice() {
            ["ResNet", rest @ ..] => resnet(rest),
            ["EfficientNetLite0", rest @ ..] => efficientnet_lite(rest),
            other => unreachable!("a network is one of its variants, not {other:?}"),
        };
        let leaf = match leaf {
            "gamma" => "weight",
            "beta" => "bias",
            other => other,
        };
        format!("{module}.{leaf}")
    }
}

fn resnet<'a>(path: &[&'a str]) -> (String, &'a str) {
    match *path {
        ["stem", "conv", leaf] => ("conv1".to_owned(), leaf),
        ["stem", "norm", leaf] => ("bn1".to_owned(), leaf),
        [layer, block, "downsample", "conv", leaf] => (format!("{layer}.{block}.downsample.0"), leaf),
        [layer, block, "downsample", "norm", leaf] => (format!("{layer}.{block}.downsample.1"), leaf),
        [layer, block, conv, "conv", leaf] => (format!("{layer}.{block}.{conv}"), leaf),
        [layer, block, conv, "norm", leaf] => (format!("{layer}.{block}.{}", conv.replace("conv", "bn")), leaf),
        ["fc", leaf] => ("fc".to_owned(), leaf),
        ref other => unreachable!("ResNet has no tensor {other:?}"),
    }
}

fn efficientnet_lite<'a>(path: &[&'a str]) -> (String, &'a str) {
    match *path {
        ["stem", "conv", leaf] => ("_conv_stem".to_owned(), leaf),
        ["stem", "norm", leaf] => ("_bn0".to_owned(), leaf),
        ["head", "conv", leaf] => ("_conv_head".to_owned(), leaf),
        ["head", "norm", leaf] => ("_bn1".to_owned(), leaf),
        ["blocks", block, unit, "conv", leaf] => (format!("_blocks.{block}._{unit}_conv"), leaf),
        ["blocks", block, "expand", "norm", leaf] => (format!("_blocks.{block}._bn0"), leaf),
        ["blocks", block, "depthwise", "norm", leaf] => (format!("_blocks.{block}._bn1"), leaf),
        ["blocks", block, "project", "norm", leaf] => (format!("_blocks.{block}._bn2"), leaf),
        ["fc", leaf] => ("_fc".to_owned(), leaf),
        ref other => unreachable!("EfficientNet-Lite0 has no tensor {other:?}"),
    }
}

/// burn keeps a linear weight as `[features, classes]`, the references as `[classes, features]`; nothing else has rank 2.
fn reference_shape<const D: usize>(param: &Param<Tensor<D>>) -> Vec<usize> {
    let mut shape = param.lazy_shape().to_vec();
    if D == 2 {
        shape.reverse();
    }
    shape
}

struct Collect {
    path: Path,
    found: Vec<Named>,
}

impl ModuleVisitor for Collect {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let mut tensor = param.val();
        if D == 2 {
            tensor = tensor.swap_dims(0, 1);
        }
        let values = tensor.into_data().try_into_vec().expect("parameters are f32");
        self.found.push(Named { name: self.path.name(), shape: reference_shape(param), values });
    }
}

struct Shapes {
    path: Path,
    found: Vec<(String, Vec<usize>)>,
}

impl ModuleVisitor for Shapes {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.found.push((self.path.name(), reference_shape(param)));
    }
}

struct Replace<F> {
    path: Path,
    values: F,
}

impl<F: FnMut(&str, &[usize]) -> Vec<f32>> ModuleMapper for Replace<F> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let shape = reference_shape(&param);
        let values = (self.values)(&self.path.name(), &shape);
        param.map(|old| {
            let mut new = Tensor::from_data(TensorData::new(values, shape), &old.device());
            if D == 2 {
                new = new.swap_dims(0, 1);
            }
            new.set_require_grad(old.is_require_grad())
        })
    }
}

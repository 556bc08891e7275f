//! The weights of the network as one list of numbers, in the order of its modules.

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    tensor::{Gradients, Tensor, TensorData},
};
use rand::RngExt;
use scgs_data::stream;

use super::unet::Unet;

/// Name and shape of every tensor.
pub(super) fn shapes(network: &Unet) -> Vec<(String, Vec<usize>)> {
    struct Walk(Vec<String>, Vec<(String, Vec<usize>)>);
    impl ModuleVisitor for Walk {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.0.push(name.to_owned());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.0.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.1.push((self.0.join("."), param.dims().to_vec()));
        }
    }
    let mut walk = Walk(Vec::new(), Vec::new());
    network.visit(&mut walk);
    walk.1
}

/// The network with its weights from `values`, one after the other, each ready for gradients if `recorded`.
///
/// # Panics
/// If there are too few values.
pub(super) fn with_values(network: Unet, values: &[f32], recorded: bool) -> Unet {
    struct Walk<'a>(&'a [f32], bool);
    impl ModuleMapper for Walk<'_> {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|old| {
                let (now, later) = self.0.split_at(old.shape().num_elements());
                self.0 = later;
                let tensor = Tensor::from_data(TensorData::new(now.to_vec(), old.shape()), &old.device());
                if self.1 { tensor.require_grad() } else { tensor }
            })
        }
    }
    network.map(&mut Walk(values, recorded))
}

/// The gradients of every weight, one after the other; 0 where a weight had no part in the loss.
pub(super) fn gradients(network: &Unet, gradients: &Gradients) -> Vec<f32> {
    struct Walk<'a>(&'a Gradients, Vec<f32>);
    impl ModuleVisitor for Walk<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            match param.val().grad(self.0) {
                Some(gradient) => {
                    let values: Vec<f32> = gradient.into_data().try_into_vec().expect("gradients are f32");
                    self.1.extend(values);
                }
                None => self.1.resize(self.1.len() + param.shape().num_elements(), 0.0),
            }
        }
    }
    let mut walk = Walk(gradients, Vec::new());
    network.visit(&mut walk);
    walk.1
}

/// Fresh weights: uniform in `±1 / sqrt(inputs)` for convolutions and linear layers, as PyTorch's default; zero for what
/// ends a block, so that every block starts as its bypass (Goyal et al. 2017), and the network as the constant 0.
pub(super) fn fresh(network: &Unet, seed: u64) -> Vec<f32> {
    let mut values = Vec::new();
    for (i, (name, shape)) in shapes(network).into_iter().enumerate() {
        let count: usize = shape.iter().product();
        let mut rng = stream(seed, "small/initial", i as u64);
        let ends_a_block = ["second.", "project.", "last."].iter().any(|end| name.contains(end));
        let bound = match shape.as_slice() {
            _ if ends_a_block || name.ends_with("bias") || name.ends_with("beta") => 0.0,
            [_, inputs, height, width] => 1.0 / ((inputs * height * width) as f32).sqrt(),
            // A row of the class table is an input of its own.
            [_, _] if name == "class" => 1.0,
            [inputs, _] => 1.0 / (*inputs as f32).sqrt(),
            // The scale of a normalisation.
            _ => {
                values.resize(values.len() + count, 1.0);
                continue;
            }
        };
        values.extend((0..count).map(|_| bound * (2.0 * rng.random::<f32>() - 1.0)));
    }
    values
}

//! Copies of a network for training, and what those on other devices bring back beside gradients.

use burn::{
    module::{Module, ModuleMapper, Param},
    nn::BatchNorm,
    tensor::{Device, Tensor},
};

use crate::Network;

impl Network {
    /// A copy for training on `device`, a training device: parameters are equal and have the same ids, and nothing is shared.
    ///
    /// burn's [`Module::train`] goes to a device that keeps activations, whose tensors do not meet those of one that recomputes
    /// them (`Device::gradient_checkpointing`).
    pub fn for_training(&self, device: &Device) -> Self {
        let copy = self.valid().to_device(&device.clone().without_autodiff()).train();
        let has = copy.linear().weight.val().gradient_checkpointing_strategy();
        if device.gradient_checkpointing_strategy() == has { copy } else { copy.map(&mut Moved { device }) }
    }

    /// [`Self::for_training`], with running statistics that begin at zero, for [`Self::take_statistics`].
    pub fn replica(&self, device: &Device) -> Self {
        let replica = self.for_training(device);
        replica.norms().for_each(begin_at_zero);
        replica
    }

    /// Goes on with the running statistics as if the batch that a [`Self::replica`] has seen since its last call had come
    /// here: with equal digits where both devices round alike. The replica begins at zero again.
    ///
    /// With momentum `m` a batch `b` makes `r (1 - m) + b m` of the statistics `r`, and `b m` of zero.
    pub fn take_statistics(&self, replica: &Self) {
        for (own, other) in self.norms().zip(replica.norms()) {
            for (running, seen) in [(&own.running_mean, &other.running_mean), (&own.running_var, &other.running_var)] {
                let before = running.value_sync();
                let seen = seen.value_sync().to_device(&before.device());
                running.update((before * (1.0 - own.momentum) + seen).detach());
            }
            begin_at_zero(other);
        }
    }

    /// The batch norms that take in batches.
    fn norms(&self) -> impl Iterator<Item = &BatchNorm> {
        let units = match self {
            Self::EfficientNetLite0(network) => network.units(),
            Self::ResNet(network) => network.units(),
        };
        units.into_iter().filter_map(|unit| unit.norm.as_ref()).filter(|norm| norm.training.is_enabled())
    }
}

fn begin_at_zero(norm: &BatchNorm) {
    for running in [&norm.running_mean, &norm.running_var] {
        running.update(running.value_sync().zeros_like());
    }
}

/// burn moves no tensor to a device of another strategy, but an operation with one that is there has its result there: times 1.
struct Moved<'a> {
    device: &'a Device,
}

impl ModuleMapper for Moved<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let learns = param.val().is_require_grad();
        param.map(|tensor| {
            let ones = Tensor::<D>::ones(tensor.shape(), self.device);
            (ones * tensor.inner()).detach().set_require_grad(learns)
        })
    }
}

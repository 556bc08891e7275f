//! Copies of a network that train one batch each on other devices, and what comes back from them beside gradients.

use burn::{module::Module as _, nn::BatchNorm, tensor::Device};

use crate::Network;

impl Network {
    /// A copy for training on `device`, a plain one: its parameters are equal and have the same ids, and nothing is shared.
    /// Its running statistics begin at zero, for [`Self::take_statistics`].
    pub fn replica(&self, device: &Device) -> Self {
        let replica = self.valid().to_device(device).train();
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

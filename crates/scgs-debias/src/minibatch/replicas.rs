//! Data parallelism: the batches of one step on several devices.

use burn::{module::Module, tensor::Device};

/// Devices that take batches of a step beside the model's own, by the strategy that `burn-train` calls
/// `MultiDeviceOptim::OptimMainDevice`: every step copies the model to them, and their gradients come back to it, where
/// they are added in the order of the batches. A step of so many batches is the same on any number of devices, to
/// rounding: a copy may lie otherwise in memory than the model.
pub struct Replicas<'a, M> {
    /// Plain devices.
    pub devices: &'a [Device],
    /// A copy on one of the devices, for training; its parameters have the ids of the model's.
    pub copy: &'a dyn Fn(&M, &Device) -> M,
    /// Moves from a copy (the second) to the model what a batch changed beside gradients, such as running statistics.
    pub join: &'a dyn Fn(&M, &M),
}

impl<M: Module> Replicas<'_, M> {
    /// Copies for a step of so many batches, one of which stays with the model.
    pub(super) fn copies(&self, model: &M, batches: usize) -> Vec<M> {
        self.devices.iter().take(batches - 1).map(|device| (self.copy)(model, device)).collect()
    }
}

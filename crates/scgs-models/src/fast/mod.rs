//! Faster ways on burn's CPU device: convolution, pooling, batch and group normalisation with their gradients, and attention.
//!
//! Everything here is an alternative to a composition of burn's operations, which [`crate::layers`] takes on every other
//! device, in every other precision and for every shape that is not covered; tests compare the two. Nothing else in the
//! project knows of it.

pub(crate) mod attention;
pub(crate) mod batch_norm;
#[cfg(test)]
mod compare;
pub(crate) mod conv;
pub(crate) mod group_norm;
pub(crate) mod max_pool;
mod product;
mod simd;

use burn::{
    backend::flex::FlexTensor,
    tensor::{DType, Device, GradientCheckpointingStrategy, Shape, Tensor, TensorData},
};

/// Whether a tensor is one of f32 on burn-flex, with gradients or without.
fn covers<const D: usize>(tensor: &Tensor<D>) -> bool {
    // Devices compare by hardware: the same one with and without gradients is equal.
    tensor.dtype() == DType::F32 && tensor.device() == Device::flex()
}

/// The numbers of a contiguous f32 tensor; its storage may be longer than the tensor.
fn values(tensor: &FlexTensor) -> &[f32] {
    let start = tensor.layout().start_offset();
    &tensor.storage::<f32>()[start..start + tensor.layout().num_elements()]
}

/// A tensor of its own of these values.
fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, Shape::from(shape)))
}

/// The tensor on the training device if others of the same operation are recorded, with their strategy of recording; as a
/// constant if it was not there.
fn on_side<const D: usize>(tensor: Tensor<D>, recorded: Option<GradientCheckpointingStrategy>) -> Tensor<D> {
    match recorded {
        Some(strategy) if !tensor.is_autodiff() => tensor.autodiff().with_gradient_checkpointing_strategy(strategy),
        _ => tensor,
    }
}

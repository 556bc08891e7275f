//! Batch normalisation over `[N, C, H, W]` and an activation function in one pass, with gradients (Ioffe and Szegedy 2015).
//!
//! burn composes it of elementwise operations, each of which reads and writes the whole map. Sums are made channel by
//! channel, picture after picture, so the number of threads does not change a bit of the result.

use burn::{
    backend::{
        Autodiff, AutodiffBackend, Backend, Dispatch, Flex,
        autodiff::{
            NodeId,
            checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
            grads::Gradients,
            ops::{Backward, Ops, OpsKind},
        },
        backend_extension,
        flex::FlexTensor,
        tensor::FloatTensor,
    },
    tensor::Tensor,
};
use rayon::prelude::*;

use super::{
    covers,
    simd::{self, Line},
    tensor, values,
};
use crate::layers::Activation;

/// What is computed, besides the shapes of the tensors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Norm {
    pub(crate) shape: [usize; 4],
    pub(crate) epsilon: f64,
    pub(crate) activation: Activation,
    /// Whether mean and variance are those of the input, so that gradients go through them too.
    pub(crate) of_batch: bool,
}

/// Mean and variance (divided by n) of each channel, each `[C]` and not recorded, if the fast way covers `x`.
pub(crate) fn statistics(x: &Tensor<4>) -> Option<[Tensor<1>; 2]> {
    let shape = x.dims();
    if !covers(x) || shape.contains(&0) {
        return None;
    }
    let x = if x.device().is_autodiff() { x.clone().inner() } else { x.clone() };
    let both: Tensor<2> =
        Tensor::from_dispatch(<Dispatch as FastBatchNorm>::channel_statistics(x.into_dispatch(), shape));
    let row = |i: usize| both.clone().narrow(0, i, 1).reshape([shape[1]]);
    Some([row(0), row(1)])
}

/// The fast way, if it covers this. `scale`, `shift` and the statistics are `[C]`.
pub(crate) fn batch_norm(
    x: &Tensor<4>,
    [scale, shift]: [&Tensor<1>; 2],
    [mean, variance]: [&Tensor<1>; 2],
    norm: Norm,
) -> Option<Tensor<4>> {
    let per_channel = [scale, shift, mean, variance];
    let fits = per_channel.iter().all(|tensor| covers(*tensor) && tensor.dims() == [norm.shape[1]]);
    // What does not fit is left to burn's own checks.
    if !covers(x) || !fits || norm.shape.contains(&0) {
        return None;
    }
    let recorded = x
        .gradient_checkpointing_strategy()
        .or_else(|| per_channel.iter().find_map(|tensor| tensor.gradient_checkpointing_strategy()));
    let [scale, shift, mean, variance] =
        per_channel.map(|tensor| super::on_side(tensor.clone(), recorded).into_dispatch());
    let x = super::on_side(x.clone(), recorded).into_dispatch();
    let y = <Dispatch as FastBatchNorm>::fast_batch_norm(x, scale, shift, mean, variance, norm);
    Some(Tensor::from_dispatch(y))
}

/// What a device must bring; the macro writes the choice between the devices.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait FastBatchNorm: Backend {
    /// Mean and variance of each channel, `[2, C]`.
    fn channel_statistics(x: FloatTensor<Self>, shape: [usize; 4]) -> FloatTensor<Self>;
    /// Forward.
    fn fast_batch_norm(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        norm: Norm,
    ) -> FloatTensor<Self>;
}

/// The gradients, which only a device without recorded operations has to know.
pub(crate) trait BatchNormGradients: Backend {
    /// With respect to input, scale and shift. `inputs` are those of the forward pass.
    fn batch_norm_gradients(
        dy: FloatTensor<Self>,
        inputs: [FloatTensor<Self>; 5],
        norm: Norm,
    ) -> [FloatTensor<Self>; 3];
}

/// One channel's numbers.
struct Channel {
    mean: f32,
    /// 1 / standard deviation.
    inverse: f32,
    line: Line,
}

impl Channel {
    /// `inputs`: scale, shift, mean, variance.
    fn new(channel: usize, [scale, shift, mean, variance]: [&[f32]; 4], norm: Norm) -> Self {
        let inverse = 1.0 / (f64::from(variance[channel]) + norm.epsilon).sqrt();
        let slope = f64::from(scale[channel]) * inverse;
        let offset = f64::from(shift[channel]) - f64::from(mean[channel]) * slope;
        let line = Line { slope: slope as f32, offset: offset as f32 };
        Self { mean: mean[channel], inverse: inverse as f32, line }
    }
}

/// The runs of a channel in each picture.
fn runs(all: &[f32], channel: usize, [_, channels, height, width]: [usize; 4]) -> impl Iterator<Item = &[f32]> {
    let positions = height * width;
    all.chunks_exact(channels * positions).map(move |image| &image[channel * positions..][..positions])
}

impl FastBatchNorm for Flex {
    fn channel_statistics(x: FlexTensor, shape: [usize; 4]) -> FlexTensor {
        let x = x.to_contiguous();
        let x = values(&x);
        let [images, channels, height, width] = shape;
        let count = (images * height * width) as f64;
        let of = |channel: usize| {
            // Squares of distances from some value of the channel lose no digits to a mean far from zero.
            let pivot = x[channel * height * width];
            let mut sums = [0.0; 2];
            for run in runs(x, channel, shape) {
                let [sum, squares] = simd::moments(run, pivot);
                sums = [sums[0] + sum, sums[1] + squares];
            }
            let distance = sums[0] / count;
            let variance = (sums[1] / count - distance * distance).max(0.0);
            [(f64::from(pivot) + distance) as f32, variance as f32]
        };
        let found: Vec<[f32; 2]> = (0..channels).into_par_iter().map(of).collect();
        let both = [0, 1].into_iter().flat_map(|i| found.iter().map(move |both| both[i]));
        tensor(both.collect(), [2, channels])
    }

    fn fast_batch_norm(
        x: FlexTensor,
        scale: FlexTensor,
        shift: FlexTensor,
        mean: FlexTensor,
        variance: FlexTensor,
        norm: Norm,
    ) -> FlexTensor {
        let x = x.to_contiguous();
        let per_channel = [scale, shift, mean, variance].map(|tensor| tensor.to_contiguous());
        let per_channel = per_channel.each_ref().map(values);
        let x = values(&x);
        let [_, channels, height, width] = norm.shape;
        let (positions, range) = (height * width, norm.activation.range());
        let known: Vec<Channel> = (0..channels).map(|channel| Channel::new(channel, per_channel, norm)).collect();
        let mut y = vec![0.0; x.len()];
        y.par_chunks_mut(channels * positions).zip(x.par_chunks(channels * positions)).for_each(|(y, x)| {
            let planes = y.chunks_exact_mut(positions).zip(x.chunks_exact(positions));
            planes.zip(&known).for_each(|((y, x), channel)| simd::line_and_clamp(x, channel.line, range, y));
        });
        tensor(y, norm.shape)
    }
}

impl BatchNormGradients for Flex {
    fn batch_norm_gradients(dy: FlexTensor, inputs: [FlexTensor; 5], norm: Norm) -> [FlexTensor; 3] {
        let (dy, inputs) = (dy.to_contiguous(), inputs.map(|tensor| tensor.to_contiguous()));
        let dy = values(&dy);
        let [x, per_channel @ ..] = inputs.each_ref().map(values);
        let [images, channels, height, width] = norm.shape;
        let (positions, range) = (height * width, norm.activation.range());
        let count = (images * positions) as f64;
        let known: Vec<(Channel, [f64; 2])> = (0..channels)
            .into_par_iter()
            .map(|i| {
                let channel = Channel::new(i, per_channel, norm);
                let mut sums = [0.0; 2];
                for (dy, x) in runs(dy, i, norm.shape).zip(runs(x, i, norm.shape)) {
                    let [a, b] = simd::gradient_sums(dy, x, channel.line, range, channel.mean);
                    sums = [sums[0] + a, sums[1] + b];
                }
                (channel, sums)
            })
            .collect();
        let mut dx = vec![0.0; x.len()];
        let image = channels * positions;
        dx.par_chunks_mut(image).zip(dy.par_chunks(image)).zip(x.par_chunks(image)).for_each(|((dx, dy), x)| {
            let planes = dx.chunks_exact_mut(positions).zip(dy.chunks_exact(positions)).zip(x.chunks_exact(positions));
            for (((dx, dy), x), (channel, sums)) in planes.zip(&known) {
                let (slope, inverse) = (f64::from(channel.line.slope), f64::from(channel.inverse));
                // The gradient through mean and variance, which are constants otherwise.
                let through = if norm.of_batch {
                    [-slope * sums[0] / count, -slope * inverse * inverse * sums[1] / count]
                } else {
                    [0.0; 2]
                };
                let factors = [slope, through[0], through[1]].map(|factor| factor as f32);
                simd::gradient(dy, x, channel.line, range, channel.mean, factors, dx);
            }
        });
        let dscale = known.iter().map(|(channel, sums)| (sums[1] * f64::from(channel.inverse)) as f32).collect();
        let dshift = known.iter().map(|(_, sums)| sums[0] as f32).collect();
        [tensor(dx, norm.shape), tensor(dscale, [channels]), tensor(dshift, [channels])]
    }
}

impl<B: Backend + FastBatchNorm + BatchNormGradients, C: CheckpointStrategy> FastBatchNorm for Autodiff<B, C> {
    fn channel_statistics(x: FloatTensor<Self>, shape: [usize; 4]) -> FloatTensor<Self> {
        Self::from_inner(B::channel_statistics(Self::inner(x), shape))
    }

    fn fast_batch_norm(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        norm: Norm,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Step;

        impl<B: Backend + BatchNormGradients> Backward<B, 3> for Step {
            type State = ([NodeId; 5], Norm);

            fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, checkpointer: &mut Checkpointer) {
                let (states, norm) = ops.state;
                let dy = gradients.consume::<B>(&ops.node);
                let inputs = states.map(|state| checkpointer.retrieve_node_output::<B::FloatTensorPrimitive>(state));
                let found = B::batch_norm_gradients(dy, inputs, norm);
                for (node, gradient) in ops.parents.into_iter().zip(found) {
                    if let Some(node) = node {
                        gradients.register::<B>(node.id, gradient);
                    }
                }
            }
        }

        match Step.prepare::<C>([x.node(), scale.node(), shift.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut prepared) => {
                let state = [&x, &scale, &shift, &mean, &variance].map(|tensor| prepared.checkpoint(tensor));
                let inputs = [x, scale, shift, mean, variance].map(|tensor| tensor.into_primitive());
                let [x, scale, shift, mean, variance] = inputs;
                prepared.finish((state, norm), B::fast_batch_norm(x, scale, shift, mean, variance, norm))
            }
            OpsKind::UnTracked(prepared) => {
                let inputs = [x, scale, shift, mean, variance].map(|tensor| tensor.into_primitive());
                let [x, scale, shift, mean, variance] = inputs;
                prepared.finish(B::fast_batch_norm(x, scale, shift, mean, variance, norm))
            }
        }
    }
}

#[cfg(test)]
#[path = "batch_norm_tests.rs"]
mod tests;

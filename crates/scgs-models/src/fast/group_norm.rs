//! Group normalisation, scale, shift and SiLU in one pass over the data, with gradients; see
//! [`crate::adaptive_group_norm`].
//!
//! burn composes it of a dozen elementwise operations, each of which reads and writes the whole map. Every image and
//! group is one job and its sums are made in one order, so the number of threads does not change a bit of the result.

use burn::{
    backend::{
        Autodiff, Backend, Dispatch, Flex,
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
    simd::{exp, for_each_processor},
    tensor, values,
};

/// What is computed, besides the shapes of the tensors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Norm {
    pub(crate) shape: [usize; 4],
    pub(crate) groups: usize,
    pub(crate) epsilon: f32,
    pub(crate) silu: bool,
}

/// The fast way, if it covers this. `scale` and `shift` are `[N, C]`.
pub(crate) fn group_norm(
    x: &Tensor<4>,
    scale: &Tensor<2>,
    shift: &Tensor<2>,
    groups: usize,
    epsilon: f64,
    silu: bool,
) -> Option<Tensor<4>> {
    let shape = x.dims();
    let [images, channels, ..] = shape;
    let here = covers(x) && covers(scale) && covers(shift);
    // What does not fit is left to burn's own checks.
    let fits = scale.dims() == [images, channels] && shift.dims() == [images, channels];
    if !here || !fits || shape.contains(&0) || groups == 0 || channels % groups != 0 {
        return None;
    }
    let norm = Norm { shape, groups, epsilon: epsilon as f32, silu };
    let y = <Dispatch as FastNorm>::fast_group_norm(
        x.clone().into_dispatch(),
        scale.clone().into_dispatch(),
        shift.clone().into_dispatch(),
        norm,
    );
    Some(Tensor::from_dispatch(y))
}

/// What a device must bring; the macro writes the choice between the devices.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait FastNorm: Backend {
    /// Forward.
    fn fast_group_norm(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        norm: Norm,
    ) -> FloatTensor<Self>;
}

/// The gradients, which only a device without recorded operations has to know.
pub(crate) trait NormGradients: Backend {
    /// With respect to input, scale and shift.
    fn group_norm_gradients(
        dy: FloatTensor<Self>,
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        norm: Norm,
    ) -> [FloatTensor<Self>; 3];
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// A sum in f32 lanes of fixed number, then in f64: fast, accurate, and the same everywhere.
#[inline(always)]
fn sum(values: &[f32], term: impl Fn(usize, f32) -> f32) -> f64 {
    const LANES: usize = 16;
    let mut total = 0.0;
    // Lanes are emptied now and then, so that they do not lose digits.
    for (block, chunk) in values.chunks(64 * LANES).enumerate() {
        let mut lanes = [0.0_f32; LANES];
        let start = block * 64 * LANES;
        let mut parts = chunk.chunks_exact(LANES);
        for (i, part) in parts.by_ref().enumerate() {
            for lane in 0..LANES {
                lanes[lane] += term(start + i * LANES + lane, part[lane]);
            }
        }
        let rest = chunk.len() / LANES * LANES;
        for (i, &value) in parts.remainder().iter().enumerate() {
            total += f64::from(term(start + rest + i, value));
        }
        total += lanes.iter().map(|&lane| f64::from(lane)).sum::<f64>();
    }
    total
}

impl Norm {
    fn channels_per_group(&self) -> usize {
        self.shape[1] / self.groups
    }

    fn positions(&self) -> usize {
        self.shape[2] * self.shape[3]
    }

    /// Mean and 1 / standard deviation of the values of one image and group.
    #[inline(always)]
    fn statistics(&self, x: &[f32]) -> (f32, f32) {
        let count = x.len() as f64;
        let mean = (sum(x, |_, v| v) / count) as f32;
        let variance = sum(x, |_, v| (v - mean) * (v - mean)) / count;
        (mean, (1.0 / (variance + f64::from(self.epsilon)).sqrt()) as f32)
    }
}

for_each_processor! {
    /// One image and group. `told` is scale and shift of its channels.
    fn normalise(norm: Norm, x: &[f32], told: [&[f32]; 2], y: &mut [f32]) = normalise_body
}

for_each_processor! {
    /// The gradients of one image and group: `found` takes those of input, scale and shift.
    fn gradients_of(norm: Norm, dy: &[f32], x: &[f32], told: [&[f32]; 2], found: [&mut [f32]; 3]) = gradients_body
}

/// No product is fused with a sum, so that all processors compute the same digits.
#[inline(always)]
fn normalise_body<const FUSED: bool>(norm: Norm, x: &[f32], [scale, shift]: [&[f32]; 2], y: &mut [f32]) {
    let (mean, inverse) = norm.statistics(x);
    let positions = norm.positions();
    for (c, (y, x)) in y.chunks_exact_mut(positions).zip(x.chunks_exact(positions)).enumerate() {
        let a = scale[c] * inverse;
        let b = shift[c] - mean * a;
        if norm.silu {
            y.iter_mut().zip(x).for_each(|(y, &x)| {
                let z = a * x + b;
                *y = z * sigmoid(z);
            });
        } else {
            y.iter_mut().zip(x).for_each(|(y, &x)| *y = a * x + b);
        }
    }
}

#[inline(always)]
fn gradients_body<const FUSED: bool>(
    norm: Norm,
    dy: &[f32],
    x: &[f32],
    [scale, shift]: [&[f32]; 2],
    [dx, dscale, dshift]: [&mut [f32]; 3],
) {
    let (length, positions) = (x.len(), norm.positions());
    let (mean, inverse) = norm.statistics(x);
    // With z = scale * n + shift and n the normalised value: first dz, kept in dx, and its sums.
    let (mut sum_dn, mut sum_dn_n) = (0.0, 0.0);
    for c in 0..scale.len() {
        let (s, b) = (scale[c], shift[c]);
        let range = c * positions..(c + 1) * positions;
        let (x, dz) = (&x[range.clone()], &mut dx[range.clone()]);
        dz.copy_from_slice(&dy[range]);
        if norm.silu {
            dz.iter_mut().zip(x).for_each(|(dz, &x)| {
                let z = (x - mean) * inverse * s + b;
                let q = sigmoid(z);
                *dz *= q * (1.0 + z * (1.0 - q));
            });
        }
        let total = sum(dz, |_, dz| dz);
        let weighted = sum(dz, |i, dz| dz * (x[i] - mean) * inverse);
        dshift[c] = total as f32;
        dscale[c] = weighted as f32;
        sum_dn += f64::from(s) * total;
        sum_dn_n += f64::from(s) * weighted;
    }
    // Then the gradient through mean and variance (Wu and He 2018).
    let (mean_dn, mean_dn_n) = ((sum_dn / length as f64) as f32, (sum_dn_n / length as f64) as f32);
    for (c, &s) in scale.iter().enumerate() {
        let range = c * positions..(c + 1) * positions;
        dx[range.clone()].iter_mut().zip(&x[range]).for_each(|(dx, &x)| {
            let n = (x - mean) * inverse;
            *dx = inverse * (s * *dx - mean_dn - n * mean_dn_n);
        });
    }
}

impl FastNorm for Flex {
    fn fast_group_norm(x: FlexTensor, scale: FlexTensor, shift: FlexTensor, norm: Norm) -> FlexTensor {
        let (x, scale, shift) = (x.to_contiguous(), scale.to_contiguous(), shift.to_contiguous());
        let (x, scale, shift) = (values(&x), values(&scale), values(&shift));
        let (channels, positions) = (norm.channels_per_group(), norm.positions());
        let mut y = vec![0.0; x.len()];
        let jobs = y.par_chunks_mut(channels * positions).zip(x.par_chunks(channels * positions));
        jobs.enumerate().for_each(|(job, (y, x))| {
            let of_job = job * channels..(job + 1) * channels;
            normalise(norm, x, [&scale[of_job.clone()], &shift[of_job]], y);
        });
        tensor(y, norm.shape)
    }
}

impl NormGradients for Flex {
    fn group_norm_gradients(
        dy: FlexTensor,
        x: FlexTensor,
        scale: FlexTensor,
        shift: FlexTensor,
        norm: Norm,
    ) -> [FlexTensor; 3] {
        let (dy, x) = (dy.to_contiguous(), x.to_contiguous());
        let (scale, shift) = (scale.to_contiguous(), shift.to_contiguous());
        let (dy, x, scale, shift) = (values(&dy), values(&x), values(&scale), values(&shift));
        let (channels, positions) = (norm.channels_per_group(), norm.positions());
        let length = channels * positions;
        let mut dx = vec![0.0; x.len()];
        let mut dscale = vec![0.0; scale.len()];
        let mut dshift = vec![0.0; shift.len()];
        let jobs = dx.par_chunks_mut(length).zip(dscale.par_chunks_mut(channels)).zip(dshift.par_chunks_mut(channels));
        jobs.enumerate().for_each(|(job, ((dx, dscale), dshift))| {
            let of_job = job * channels..(job + 1) * channels;
            let told = [&scale[of_job.clone()], &shift[of_job]];
            gradients_of(norm, &dy[job * length..][..length], &x[job * length..][..length], told, [dx, dscale, dshift]);
        });
        let [images, c, ..] = norm.shape;
        [tensor(dx, norm.shape), tensor(dscale, [images, c]), tensor(dshift, [images, c])]
    }
}

impl<B: Backend + FastNorm + NormGradients, C: CheckpointStrategy> FastNorm for Autodiff<B, C> {
    fn fast_group_norm(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        norm: Norm,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Step;

        impl<B: Backend + NormGradients> Backward<B, 3> for Step {
            type State = ([NodeId; 3], Norm);

            fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, checkpointer: &mut Checkpointer) {
                let (states, norm) = ops.state;
                let dy = gradients.consume::<B>(&ops.node);
                let [x, scale, shift] =
                    states.map(|state| checkpointer.retrieve_node_output::<B::FloatTensorPrimitive>(state));
                let found = B::group_norm_gradients(dy, x, scale, shift, norm);
                for (node, gradient) in ops.parents.into_iter().zip(found) {
                    if let Some(node) = node {
                        gradients.register::<B>(node.id, gradient);
                    }
                }
            }
        }

        match Step.prepare::<C>([x.node(), scale.node(), shift.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut prepared) => {
                let state = [prepared.checkpoint(&x), prepared.checkpoint(&scale), prepared.checkpoint(&shift)];
                let y = B::fast_group_norm(x.into_primitive(), scale.into_primitive(), shift.into_primitive(), norm);
                prepared.finish((state, norm), y)
            }
            OpsKind::UnTracked(prepared) => {
                let y = B::fast_group_norm(x.into_primitive(), scale.into_primitive(), shift.into_primitive(), norm);
                prepared.finish(y)
            }
        }
    }
}

#[cfg(test)]
#[path = "group_norm_tests.rs"]
mod tests;

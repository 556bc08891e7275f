//! Maximum over windows of `[N, C, H, W]`, with its gradient.
//!
//! burn-flex 0.22.1 asks every number of a window whether it is padding or NaN. Here a row is the elementwise maximum of the
//! rows under it first, then every output the maximum of a few neighbours. The gradient finds the first place of the maximum
//! again, as PyTorch does, instead of keeping it.

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

use super::{covers, simd, tensor, values};

/// Shapes of one pooling; windows may reach over the border by `padding`, where there is nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pool {
    shape: [usize; 4],
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    output: [usize; 2],
}

/// The fast way, if it covers this: every window has something in it.
pub(crate) fn max_pool(
    x: &Tensor<4>,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
) -> Option<Tensor<4>> {
    let shape = x.dims();
    let reach = [shape[2] + 2 * padding[0], shape[3] + 2 * padding[1]];
    let fits = (0..2).all(|axis| padding[axis] < kernel[axis] && reach[axis] >= kernel[axis] && stride[axis] > 0);
    if !covers(x) || !fits || shape.contains(&0) {
        return None;
    }
    let size = |axis: usize| (reach[axis] - kernel[axis]) / stride[axis] + 1;
    let pool = Pool { shape, kernel, stride, padding, output: [size(0), size(1)] };
    // A window that begins behind the last pixel has only padding in it.
    let inside = (0..2).all(|axis| (pool.output[axis] - 1) * stride[axis] < shape[2 + axis] + padding[axis]);
    inside.then(|| Tensor::from_dispatch(<Dispatch as FastMaxPool>::fast_max_pool(x.clone().into_dispatch(), pool)))
}

/// What a device must bring; the macro writes the choice between the devices.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait FastMaxPool: Backend {
    /// Forward.
    fn fast_max_pool(x: FloatTensor<Self>, pool: Pool) -> FloatTensor<Self>;
}

/// The gradient, which only a device without recorded operations has to know.
pub(crate) trait MaxPoolGradient: Backend {
    /// With respect to the input.
    fn max_pool_gradient(dy: FloatTensor<Self>, x: FloatTensor<Self>, pool: Pool) -> FloatTensor<Self>;
}

impl Pool {
    fn window(&self, axis: usize, output: usize) -> std::ops::Range<usize> {
        let start = output * self.stride[axis];
        let end = (start + self.kernel[axis]).saturating_sub(self.padding[axis]).min(self.shape[2 + axis]);
        start.saturating_sub(self.padding[axis])..end
    }

    fn plane(&self) -> usize {
        self.shape[2] * self.shape[3]
    }

    fn positions(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// One channel of one picture.
    fn forward(&self, x: &[f32], y: &mut [f32]) {
        let width = self.shape[3];
        let mut row = vec![0.0; width];
        for (top, y) in y.chunks_exact_mut(self.output[1]).enumerate() {
            let rows = self.window(0, top);
            row.copy_from_slice(&x[rows.start * width..][..width]);
            for below in rows.skip(1) {
                simd::raise(&mut row, &x[below * width..][..width]);
            }
            for (left, y) in y.iter_mut().enumerate() {
                *y = row[self.window(1, left)].iter().fold(f32::NEG_INFINITY, |most, &value| simd::larger(most, value));
            }
        }
    }

    /// One channel of one picture; `dx` is 0 before.
    fn gradient(&self, dy: &[f32], x: &[f32], dx: &mut [f32]) {
        let width = self.shape[3];
        for (output, &dy) in dy.iter().enumerate() {
            let columns = self.window(1, output % self.output[1]);
            let (mut most, mut place) = (f32::NEG_INFINITY, None);
            for row in self.window(0, output / self.output[1]) {
                let start = row * width + columns.start;
                for (i, &value) in x[start..][..columns.len()].iter().enumerate() {
                    if value > most || value.is_nan() || place.is_none() {
                        (most, place) = (value, Some(start + i));
                    }
                }
            }
            dx[place.expect("every window has something in it")] += dy;
        }
    }
}

impl FastMaxPool for Flex {
    fn fast_max_pool(x: FlexTensor, pool: Pool) -> FlexTensor {
        let x = x.to_contiguous();
        let [images, channels, ..] = pool.shape;
        let mut y = vec![0.0; images * channels * pool.positions()];
        y.par_chunks_mut(pool.positions())
            .zip(values(&x).par_chunks(pool.plane()))
            .for_each(|(y, x)| pool.forward(x, y));
        tensor(y, [images, channels, pool.output[0], pool.output[1]])
    }
}

impl MaxPoolGradient for Flex {
    fn max_pool_gradient(dy: FlexTensor, x: FlexTensor, pool: Pool) -> FlexTensor {
        let (dy, x) = (dy.to_contiguous(), x.to_contiguous());
        let mut dx = vec![0.0; pool.shape.iter().product()];
        let planes = values(&dy).par_chunks(pool.positions()).zip(values(&x).par_chunks(pool.plane()));
        dx.par_chunks_mut(pool.plane()).zip(planes).for_each(|(dx, (dy, x))| pool.gradient(dy, x, dx));
        tensor(dx, pool.shape)
    }
}

impl<B: Backend + FastMaxPool + MaxPoolGradient, C: CheckpointStrategy> FastMaxPool for Autodiff<B, C> {
    fn fast_max_pool(x: FloatTensor<Self>, pool: Pool) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Step;

        impl<B: Backend + MaxPoolGradient> Backward<B, 1> for Step {
            type State = (NodeId, Pool);

            fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, checkpointer: &mut Checkpointer) {
                let [to_x] = ops.parents;
                let (x, pool) = ops.state;
                let dy = gradients.consume::<B>(&ops.node);
                let x = checkpointer.retrieve_node_output::<B::FloatTensorPrimitive>(x);
                if let Some(node) = to_x {
                    gradients.register::<B>(node.id, B::max_pool_gradient(dy, x, pool));
                }
            }
        }

        match Step.prepare::<C>([x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut prepared) => {
                let state = (prepared.checkpoint(&x), pool);
                prepared.finish(state, B::fast_max_pool(x.into_primitive(), pool))
            }
            OpsKind::UnTracked(prepared) => prepared.finish(B::fast_max_pool(x.into_primitive(), pool)),
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData, module, ops::MaxPoolOptions};

    use super::*;

    /// Few different numbers, so that windows have several equal largest ones.
    fn numbers(shape: [usize; 4], device: &Device) -> Tensor<4> {
        let count = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|i: usize| ((i * 7919 + i / 13) % 11) as f32 - 5.0).collect();
        Tensor::from_data(TensorData::new(values, shape), device)
    }

    fn vec(tensor: Tensor<4>) -> Vec<f32> {
        tensor.into_data().try_into_vec().unwrap()
    }

    #[test]
    fn values_and_gradients_equal_burns() {
        let device = Device::flex().autodiff();
        let cases = [
            ([2, 3, 16, 16], [3, 3], [2, 2], [1, 1]),
            ([1, 2, 7, 5], [2, 3], [1, 2], [0, 1]),
            ([3, 1, 1, 1], [3, 3], [2, 2], [1, 1]),
            ([1, 1, 9, 33], [3, 3], [3, 1], [0, 0]),
        ];
        for (shape, kernel, stride, padding) in cases {
            let pass = |pool: &dyn Fn(Tensor<4>) -> Tensor<4>| {
                let x = numbers(shape, &device).require_grad();
                let y = pool(x.clone());
                let gradients = (y.clone() * (numbers(y.dims(), &device) + 0.5)).sum().backward();
                (vec(y), vec(x.grad(&gradients).unwrap()))
            };
            let options = MaxPoolOptions::new(kernel).with_stride(stride).with_padding(padding);
            let fast = pass(&|x| max_pool(&x, kernel, stride, padding).unwrap());
            let slow = pass(&|x| module::max_pool2d(x, options.clone()));
            assert_eq!(fast, slow, "{shape:?}");
        }
    }

    #[test]
    fn nan_stays_and_windows_of_padding_alone_are_left_to_burn() {
        let x = TensorData::new(vec![1.0, f32::NAN, 2.0, 3.0], [1, 1, 1, 4]);
        let x = Tensor::<4>::from_data(x, &Device::flex());
        let y = vec(max_pool(&x, [1, 2], [1, 2], [0, 0]).unwrap());
        assert!(y[0].is_nan() && y[1] == 3.0, "{y:?}");
        let narrow = numbers([1, 1, 1, 1], &Device::flex());
        assert!(max_pool(&narrow, [2, 2], [1, 1], [2, 2]).is_none());
    }
}

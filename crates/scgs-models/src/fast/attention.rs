//! Scaled dot-product attention (Vaswani et al. 2017, equation 1) for some queries at a time, so that the matrix of all
//! scores is never there; without gradients.

use burn::{
    backend::{Backend, Dispatch, Flex, backend_extension, flex::FlexTensor, tensor::FloatTensor},
    tensor::Tensor,
};
use rayon::prelude::*;

use super::{
    covers,
    product::{Matrix, product_into, with_buffer},
    simd, tensor, values,
};

/// Scores in a buffer: 1 MiB.
const SCORES: usize = 1 << 18;
/// Most queries at a time.
const QUERIES: usize = 64;

/// Sizes of one call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Pictures and heads.
    of: [usize; 2],
    queries: usize,
    keys: usize,
    /// Of queries and keys, and of values.
    width: [usize; 2],
}

/// The fast way, if it covers this: nothing is recorded.
pub(crate) fn attention(query: &Tensor<4>, key: &Tensor<4>, value: &Tensor<4>) -> Option<Tensor<4>> {
    let [batch, heads, queries, width] = query.dims();
    let [.., keys, value_width] = value.dims();
    let sizes = Sizes { of: [batch, heads], queries, keys, width: [width, value_width] };
    let fits = key.dims() == [batch, heads, keys, width] && value.dims()[..2] == [batch, heads];
    let covered = [query, key, value].iter().all(|&x| covers(x) && !x.device().is_autodiff());
    if !fits || !covered || [batch, heads, queries, keys, width, value_width].contains(&0) {
        return None;
    }
    let [q, k, v] = [query, key, value].map(|x| x.clone().into_dispatch());
    Some(Tensor::from_dispatch(<Dispatch as FastAttention>::fast_attention(q, k, v, sizes)))
}

/// What a device must bring; the macro writes the choice between the devices.
#[backend_extension(Flex)]
pub(crate) trait FastAttention: Backend {
    /// Forward.
    fn fast_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        sizes: Sizes,
    ) -> FloatTensor<Self>;
}

impl FastAttention for Flex {
    fn fast_attention(query: FlexTensor, key: FlexTensor, value: FlexTensor, sizes: Sizes) -> FlexTensor {
        let [query, key, value] = [query, key, value].map(|x| x.to_contiguous());
        let Sizes { of: [batch, heads], queries, keys, width: [width, value_width] } = sizes;
        let scale = 1.0 / (width as f32).sqrt();
        let together = (SCORES / keys).clamp(1, QUERIES);
        let mut y = vec![0.0; batch * heads * queries * value_width];
        let parts: Vec<(usize, usize, &mut [f32])> = y
            .chunks_exact_mut(queries * value_width)
            .enumerate()
            .flat_map(|(head, y)| {
                y.chunks_mut(together * value_width).enumerate().map(move |(i, y)| (head, i * together, y))
            })
            .collect();
        parts.into_par_iter().for_each(|(head, first, y)| {
            let count = y.len() / value_width;
            let queries = &values(&query)[(head * queries + first) * width..][..count * width];
            let key = &values(&key)[head * keys * width..][..keys * width];
            let value = &values(&value)[head * keys * value_width..][..keys * value_width];
            with_buffer(0, count * keys, |scores| {
                let key = Matrix::rows(key, width).transposed();
                product_into([count, keys, width], (scores, keys), false, Matrix::rows(queries, width), key);
                let sums: Vec<f32> = scores.chunks_exact_mut(keys).map(|row| simd::exponentials(row, scale)).collect();
                let value = Matrix::rows(value, value_width);
                product_into([count, value_width, keys], (y, value_width), false, Matrix::rows(scores, keys), value);
                for (y, sum) in y.chunks_exact_mut(value_width).zip(sums) {
                    y.iter_mut().for_each(|value| *value /= sum);
                }
            });
        });
        tensor(y, [batch, heads, queries, value_width])
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData, module};

    use super::*;
    use crate::fast::compare::relative;

    fn numbers(shape: [usize; 4], salt: usize) -> Tensor<4> {
        let count = shape.iter().product();
        let values: Vec<f32> =
            (0..count).map(|i: usize| ((i * 7919 + salt * 131) % 1009) as f32 / 200.0 - 2.5).collect();
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    }

    #[test]
    fn values_equal_burns() {
        let cases = [([1, 2, 5, 8], 7, 8), ([2, 3, 200, 40], 77, 40), ([1, 1, 70, 16], 5000, 24), ([2, 1, 1, 4], 1, 3)];
        for (shape @ [batch, heads, _, width], keys, value_width) in cases {
            let (q, k) = (numbers(shape, 1), numbers([batch, heads, keys, width], 2));
            let v = numbers([batch, heads, keys, value_width], 3);
            let fast: Vec<f32> = attention(&q, &k, &v).unwrap().into_data().try_into_vec().unwrap();
            let slow = module::attention(q, k, v, None, None, Default::default());
            let slow: Vec<f32> = slow.into_data().try_into_vec().unwrap();
            let difference = relative(&fast, &slow);
            assert!(difference < 1e-5, "{shape:?}: differs by {difference:e}");
        }
    }

    #[test]
    fn what_is_recorded_is_left_to_burn() {
        let q = numbers([1, 1, 4, 4], 1);
        assert!(attention(&q.clone().autodiff(), &q, &q).is_none());
    }
}

//! Against burn's composition, and the same bytes for any number of threads.

use burn::tensor::{Device, Tensor, TensorData, module};

use super::*;
use crate::fast::compare::{on_threads, relative};

fn numbers<const D: usize>(shape: [usize; D], salt: usize, device: &Device) -> Tensor<D> {
    let count = shape.iter().product();
    let values: Vec<f32> =
        (0..count).map(|i: usize| ((i * 7919 + salt * 104_729) % 2003) as f32 / 250.0 - 4.0).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Values, and gradients with respect to input, scale and shift.
type Pass = [Vec<f32>; 4];

fn pass(shape: [usize; 4], normalise: impl Fn(Tensor<4>, Tensor<1>, Tensor<1>) -> Tensor<4>) -> Pass {
    let device = Device::flex().autodiff();
    let x = numbers(shape, 1, &device).require_grad();
    let scale = numbers([shape[1]], 2, &device).require_grad();
    let shift = numbers([shape[1]], 3, &device).require_grad();
    let y = normalise(x.clone(), scale.clone(), shift.clone());
    let gradients = (y.clone() * numbers(shape, 4, &device)).sum().backward();
    let vec = |data: TensorData| data.try_into_vec::<f32>().unwrap();
    [
        vec(y.into_data()),
        vec(x.grad(&gradients).unwrap().into_data()),
        vec(scale.grad(&gradients).unwrap().into_data()),
        vec(shift.grad(&gradients).unwrap().into_data()),
    ]
}

fn fast(shape: [usize; 4], of_batch: bool, activation: Activation) -> Pass {
    let norm = Norm { shape, epsilon: 1e-3, activation, of_batch };
    let fixed = [numbers([shape[1]], 5, &Device::flex()), numbers([shape[1]], 6, &Device::flex()).abs() + 0.1];
    pass(shape, |x, scale, shift| {
        let [mean, variance] = if of_batch { statistics(&x).unwrap() } else { fixed.clone() };
        batch_norm(&x, [&scale, &shift], [&mean, &variance], norm).unwrap()
    })
}

fn burns(shape: [usize; 4], of_batch: bool, activation: Activation) -> Pass {
    pass(shape, |x, scale, shift| {
        activation.forward(if of_batch {
            module::batch_norm_train(x, scale, shift, 1e-3).output
        } else {
            let device = x.device();
            let mean = numbers([shape[1]], 5, &device);
            module::batch_norm(x, scale, shift, mean, numbers([shape[1]], 6, &device).abs() + 0.1, 1e-3)
        })
    })
}

const SHAPES: [[usize; 4]; 4] = [[2, 6, 5, 7], [3, 8, 16, 16], [5, 40, 1, 1], [2, 3, 40, 41]];
const ACTIVATIONS: [Activation; 3] = [Activation::None, Activation::Relu, Activation::Relu6];

#[test]
fn values_and_gradients_equal_burns() {
    for shape in SHAPES {
        for (of_batch, activation) in [true, false].into_iter().flat_map(|b| ACTIVATIONS.map(|a| (b, a))) {
            let (fast, slow) = (fast(shape, of_batch, activation), burns(shape, of_batch, activation));
            for (name, (a, b)) in ["y", "x", "scale", "shift"].iter().zip(fast.iter().zip(&slow)) {
                let difference = relative(a, b);
                assert!(difference < 2e-5, "{shape:?} {of_batch} {activation:?}: {name} differs by {difference:e}");
            }
        }
    }
}

#[test]
fn a_mean_far_from_zero_costs_no_digits_of_the_variance() {
    let shape = [4, 1, 16, 16];
    let x = numbers(shape, 1, &Device::flex());
    let [_, near] = statistics(&x).unwrap();
    let [mean, far] = statistics(&(x + 1000.0)).unwrap();
    let (near, far) = (near.into_scalar::<f32>(), far.into_scalar::<f32>());
    assert!((near / far - 1.0).abs() < 1e-4, "{near} and {far}");
    assert!((mean.into_scalar::<f32>() - 1000.0).abs() < 0.1);
}

#[test]
fn not_a_number_stays_one() {
    let values = Tensor::<4>::from_data(TensorData::new(vec![f32::NAN, 1.0, 2.0, 3.0], [1, 1, 2, 2]), &Device::flex());
    let one = Tensor::<1>::ones([1], &Device::flex());
    let norm = Norm { shape: [1, 1, 2, 2], epsilon: 1e-3, activation: Activation::Relu6, of_batch: false };
    let y = batch_norm(&values, [&one, &one], [&one, &one], norm).unwrap();
    assert!(y.into_data().try_into_vec::<f32>().unwrap()[0].is_nan());
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for shape in SHAPES {
        let run = |threads| on_threads(threads, || fast(shape, true, Activation::Relu));
        assert!(run(1) == run(3), "{shape:?}");
    }
}

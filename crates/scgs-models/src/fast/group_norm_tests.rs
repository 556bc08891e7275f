//! Against burn's composition, and the same bytes for any number of threads.

use burn::{
    nn::GroupNormConfig,
    tensor::{Device, TensorData, activation::silu},
};

use super::*;
use crate::fast::compare::{on_threads, relative};
use crate::layers::{adaptive_group_norm, composed_group_norm};

fn numbers<const D: usize>(shape: [usize; D], salt: usize, device: &Device) -> Tensor<D> {
    let count = shape.iter().product();
    let values: Vec<f32> =
        (0..count).map(|i: usize| ((i * 7919 + salt * 104_729) % 2003) as f32 / 1000.0 - 1.0).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

type Normalise = fn(Tensor<4>, Tensor<2>, Tensor<2>, usize, f64, bool) -> Tensor<4>;

/// Values, and gradients with respect to input, scale and shift.
fn pass(normalise: Normalise, shape: [usize; 4], groups: usize, activate: bool) -> [Vec<f32>; 4] {
    let device = Device::flex().autodiff();
    let x = (numbers(shape, 1, &device) * 3.0 + 0.7).require_grad_leaf();
    let scale = numbers([shape[0], shape[1]], 2, &device).require_grad();
    let shift = numbers([shape[0], shape[1]], 3, &device).require_grad();
    let y = normalise(x.clone(), scale.clone(), shift.clone(), groups, 1e-5, activate);
    let gradients = (y.clone() * numbers(shape, 4, &device)).sum().backward();
    let vec = |data: TensorData| data.try_into_vec::<f32>().unwrap();
    [
        vec(y.into_data()),
        vec(x.grad(&gradients).unwrap().into_data()),
        vec(scale.grad(&gradients).unwrap().into_data()),
        vec(shift.grad(&gradients).unwrap().into_data()),
    ]
}

trait Leaf {
    /// A computed tensor as a leaf, so that it may ask for gradients.
    fn require_grad_leaf(self) -> Self;
}

impl Leaf for Tensor<4> {
    fn require_grad_leaf(self) -> Self {
        let device = self.device();
        Tensor::from_data(self.into_data(), &device).require_grad()
    }
}

const CASES: [([usize; 4], usize); 4] =
    [([2, 6, 5, 7], 3), ([3, 8, 16, 16], 2), ([1, 4, 1, 1], 1), ([2, 48, 32, 32], 8)];

#[test]
fn values_and_gradients_equal_the_composition() {
    for (shape, groups) in CASES {
        for activate in [false, true] {
            let fast = pass(adaptive_group_norm, shape, groups, activate);
            let slow = pass(composed_group_norm, shape, groups, activate);
            for (name, (a, b)) in ["y", "x", "scale", "shift"].iter().zip(fast.iter().zip(&slow)) {
                let difference = relative(a, b);
                assert!(difference < 1e-5, "{shape:?} in {groups} groups: {name} differs by {difference:e}");
            }
        }
    }
}

#[test]
fn equals_burns_group_norm_with_silu_behind_it() {
    let device = Device::flex();
    let x = numbers([2, 8, 9, 5], 6, &device);
    let norm = GroupNormConfig::new(4, 8).init(&device);
    let ours = crate::group_norm(&norm, x.clone(), true);
    let difference = (ours - silu(norm.forward(x))).abs().max().into_scalar::<f32>();
    assert!(difference < 2e-6, "{difference:e}");
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for (shape, groups) in CASES {
        let run = |threads| on_threads(threads, || pass(adaptive_group_norm, shape, groups, true));
        assert!(run(1) == run(3), "{shape:?}");
    }
}

#[test]
fn the_exponential_is_accurate_everywhere() {
    for i in -8700..=8800 {
        let x = i as f32 / 100.0;
        let wanted = f64::from(x).exp();
        assert!((f64::from(exp(x)) / wanted - 1.0).abs() < 2e-7, "exp({x}) = {} instead of {wanted}", exp(x));
    }
    assert!(exp(f32::MAX).is_finite() && exp(f32::MIN) >= 0.0);
    assert_eq!(sigmoid(f32::MAX), 1.0);
}

//! Against burn's own convolution, and the same bytes for any number of threads.

use burn::{
    nn::PaddingConfig2d,
    tensor::{Distribution, TensorData, module},
};

use super::Geometry;
use crate::{
    conv2d,
    fast::compare::{on_threads, relative},
    forward_conv,
    layers::Activation,
};
use burn::tensor::{Device, Tensor, ops::ConvOptions};

/// Values, then gradients with respect to input, weight and bias.
struct Pass {
    y: Vec<f32>,
    gradients: [Vec<f32>; 3],
}

type Conv = fn(Tensor<4>, Tensor<4>, Option<Tensor<1>>, ConvOptions<2>) -> Tensor<4>;

/// Reproducible numbers without the global generator, which other tests use at the same time.
fn numbers<const D: usize>(shape: [usize; D], salt: u32, device: &Device) -> Tensor<D> {
    let mut state = 0x9E37_79B9_u32.wrapping_mul(salt + 1);
    let count = shape.iter().product();
    let values: Vec<f32> = (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn pass(conv: Conv, x: [usize; 4], w: [usize; 4], options: &ConvOptions<2>) -> Pass {
    let device = Device::flex().autodiff();
    let x = numbers(x, 1, &device).require_grad();
    let weight = numbers(w, 2, &device).require_grad();
    let bias = numbers([w[0]], 3, &device).require_grad();
    let y = conv(x.clone(), weight.clone(), Some(bias.clone()), options.clone());
    let upstream = numbers(y.dims(), 4, &device);
    let gradients = (y.clone() * upstream).sum().backward();
    let vec = |data: TensorData| data.try_into_vec::<f32>().unwrap();
    Pass {
        y: vec(y.into_data()),
        gradients: [
            vec(x.grad(&gradients).unwrap().into_data()),
            vec(weight.grad(&gradients).unwrap().into_data()),
            vec(bias.grad(&gradients).unwrap().into_data()),
        ],
    }
}

/// Input, weight, stride, padding (top, bottom), (left, right).
type Case = ([usize; 4], [usize; 4], [usize; 2], [(usize, usize); 2]);

const CASES: [Case; 36] = [
    ([2, 5, 11, 13], [7, 5, 3, 3], [1, 1], [(1, 1), (1, 1)]),
    ([3, 6, 9, 9], [4, 6, 1, 1], [1, 1], [(0, 0), (0, 0)]),
    ([2, 6, 9, 8], [4, 6, 1, 1], [2, 2], [(0, 0), (0, 0)]),
    ([1, 3, 31, 29], [8, 3, 7, 7], [2, 2], [(3, 3), (3, 3)]),
    ([2, 3, 17, 17], [5, 3, 7, 7], [1, 1], [(3, 3), (3, 3)]),
    ([5, 9, 1, 1], [3, 9, 1, 1], [1, 1], [(0, 0), (0, 0)]),
    ([5, 9, 1, 1], [3, 9, 3, 3], [1, 1], [(1, 1), (1, 1)]),
    // Stable Diffusion's downsampling: a row and a column of zeros at the end only.
    ([2, 4, 8, 10], [6, 4, 3, 3], [2, 2], [(0, 1), (0, 1)]),
    // Not square in anything.
    ([2, 3, 7, 12], [4, 3, 2, 5], [3, 1], [(1, 0), (2, 2)]),
    // Padding wider than the kernel: whole output columns see zeros only.
    ([1, 2, 4, 4], [3, 2, 2, 2], [2, 2], [(3, 3), (3, 3)]),
    // Several tiles of rows, and many tiles.
    ([2, 64, 40, 40], [24, 64, 3, 3], [1, 1], [(1, 1), (1, 1)]),
    ([20, 40, 24, 24], [8, 40, 3, 3], [1, 1], [(1, 1), (1, 1)]),
    // Several images in one product, the last product with fewer.
    ([19, 32, 8, 8], [40, 32, 3, 3], [1, 1], [(1, 1), (1, 1)]),
    // Images side by side in the planes: a few, sixteen with some to spare, steps over columns.
    ([8, 16, 16, 16], [12, 16, 3, 3], [1, 1], [(1, 1), (1, 1)]),
    ([8, 40, 4, 4], [14, 40, 3, 3], [1, 1], [(1, 1), (1, 1)]),
    ([37, 7, 2, 2], [5, 7, 3, 3], [1, 1], [(1, 1), (1, 1)]),
    ([19, 3, 32, 32], [10, 3, 7, 7], [2, 2], [(3, 3), (3, 3)]),
    ([16, 6, 14, 14], [9, 6, 5, 3], [2, 2], [(2, 1), (1, 0)]),
    // No padding: the gradient's convolution has more of it.
    ([3, 6, 20, 18], [7, 6, 3, 3], [1, 1], [(0, 0), (0, 0)]),
    // Tiles of Winograd's: odd maps, rows of many vectors, several images in a vector, few and many pieces, the last with
    // fewer vectors; many kernels with few tiles are not done this way.
    ([3, 16, 7, 7], [18, 16, 3, 3], [1, 1], [(1, 1), (1, 1)]),
    ([2, 17, 5, 83], [16, 17, 3, 3], [1, 1], [(1, 1), (1, 1)]),
    ([11, 24, 3, 4], [31, 24, 3, 3], [1, 1], [(1, 1), (1, 1)]),
    ([70, 16, 8, 8], [16, 16, 3, 3], [1, 1], [(1, 1), (1, 1)]),
    ([19, 20, 15, 14], [20, 20, 3, 3], [1, 1], [(1, 1), (1, 1)]),
    ([1, 520, 4, 4], [520, 520, 3, 3], [1, 1], [(1, 1), (1, 1)]),
    // A kernel per channel: as in EfficientNet, then with odd strides, paddings and maps.
    ([3, 6, 16, 16], [6, 1, 3, 3], [1, 1], [(1, 1), (1, 1)]),
    ([2, 5, 17, 15], [5, 1, 5, 5], [2, 2], [(2, 2), (2, 2)]),
    ([2, 5, 4, 4], [5, 1, 5, 5], [1, 1], [(2, 2), (2, 2)]),
    ([2, 3, 41, 37], [3, 1, 3, 3], [1, 1], [(1, 1), (1, 1)]),
    ([2, 3, 33, 70], [3, 1, 3, 3], [2, 2], [(0, 1), (0, 1)]),
    ([1, 4, 19, 21], [4, 1, 5, 5], [1, 1], [(3, 1), (0, 4)]),
    ([2, 3, 40, 36], [3, 1, 5, 5], [2, 2], [(1, 2), (1, 2)]),
    ([2, 4, 30, 33], [4, 1, 2, 5], [3, 2], [(1, 0), (2, 3)]),
    ([1, 3, 9, 7], [3, 1, 1, 1], [2, 3], [(0, 0), (0, 0)]),
    ([2, 3, 5, 5], [3, 1, 2, 2], [2, 2], [(3, 3), (3, 3)]),
    ([1, 2, 70, 90], [2, 1, 7, 7], [1, 1], [(3, 3), (3, 3)]),
];

fn options((x, w, stride, padding): Case) -> ConvOptions<2> {
    ConvOptions::new_with_padding(stride, padding, [1, 1], x[1] / w[1])
}

#[test]
fn values_and_gradients_equal_burns() {
    for case @ (x, w, stride, padding) in CASES {
        let options = options(case);
        let (fast, slow) = (pass(conv2d, x, w, &options), pass(module::conv2d, x, w, &options));
        let case = format!("x {x:?} w {w:?} stride {stride:?} padding {padding:?}");
        let difference = relative(&fast.y, &slow.y);
        assert!(difference < 1e-5, "{case}: values differ by {difference:e}");
        for (name, (a, b)) in ["x", "weight", "bias"].iter().zip(fast.gradients.iter().zip(&slow.gradients)) {
            let difference = relative(a, b);
            assert!(difference < 1e-5, "{case}: the gradient of {name} differs by {difference:e}");
        }
    }
}

#[test]
fn a_picture_is_the_same_in_a_batch_of_any_size() {
    for case @ (x, w, stride, padding) in CASES {
        // A matrix product with a single column, of one picture and one position, rounds differently.
        if x[0] == 1 || w[2..] == [1, 1] || x[2..] == [1, 1] {
            continue;
        }
        let (device, options) = (Device::flex(), options(case));
        let (pictures, weight) = (numbers(x, 1, &device), numbers(w, 2, &device));
        let convolve = |x: Tensor<4>| -> Vec<f32> {
            conv2d(x, weight.clone(), None, options.clone()).into_data().try_into_vec().unwrap()
        };
        let together = convolve(pictures.clone());
        let alone: Vec<f32> = (0..x[0]).flat_map(|i| convolve(pictures.clone().narrow(0, i, 1))).collect();
        assert_eq!(together, alone, "x {x:?} w {w:?} stride {stride:?} padding {padding:?}");
    }
}

#[test]
fn the_fast_way_is_taken_where_it_should_be() {
    let device = Device::flex();
    let (x, w) = (numbers([1, 4, 6, 6], 1, &device), numbers([8, 4, 3, 3], 2, &device));
    let plain = ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
    assert!(Geometry::covered(&x, &w, &plain).is_some());
    let autodiff = Device::flex().autodiff();
    assert!(Geometry::covered(&numbers([1, 4, 6, 6], 1, &autodiff), &w, &plain).is_some());
    assert!(Geometry::covered(&x, &w, &ConvOptions::new([1, 1], [1, 1], [2, 2], 1)).is_none(), "dilation");
    assert!(
        Geometry::covered(&x, &w.clone().slice([0..8, 0..2]), &ConvOptions::new([1, 1], [1, 1], [1, 1], 2)).is_none()
    );
    let half = x.clone().cast(burn::tensor::FloatDType::F16);
    assert!(Geometry::covered(&half, &w, &plain).is_none(), "half precision");
}

#[test]
fn what_is_not_covered_is_burns() {
    for (w, options) in [
        ([8, 2, 3, 3], ConvOptions::new([1, 1], [1, 1], [1, 1], 2)),
        ([8, 4, 3, 3], ConvOptions::new([1, 1], [2, 2], [2, 2], 1)),
    ] {
        let (ours, burns) = (pass(conv2d, [2, 4, 9, 7], w, &options), pass(module::conv2d, [2, 4, 9, 7], w, &options));
        assert_eq!(ours.y, burns.y);
        assert_eq!(ours.gradients, burns.gradients);
    }
}

#[test]
fn a_view_into_a_larger_tensor_is_read_at_its_place() {
    let device = Device::flex();
    let large = numbers([3, 8, 9, 9], 5, &device);
    let part = large.clone().slice([1..3, 2..6, 0..9, 3..8]);
    let copied = Tensor::<4>::from_data(part.to_data(), &device);
    let weight = numbers([5, 3, 3, 4], 6, &device).permute([0, 3, 1, 2]);
    let options = ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
    let bias = Some(numbers([5], 7, &device));
    let viewed = conv2d(part, weight.clone(), bias.clone(), options.clone());
    let burns = module::conv2d(copied, weight, bias, options);
    let vec = |tensor: Tensor<4>| tensor.into_data().try_into_vec::<f32>().unwrap();
    assert!(relative(&vec(viewed), &vec(burns)) < 1e-5);
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for case @ (x, w, ..) in CASES {
        let options = options(case);
        let run = |threads| on_threads(threads, || pass(conv2d, x, w, &options));
        let (one, three) = (run(1), run(3));
        assert!(one.y == three.y && one.gradients == three.gradients, "x {x:?} w {w:?}");
    }
}

/// A convolution is linear in input and weight, so its product with the upstream gradient is that of each with its own gradient:
/// for shapes that nobody chose.
#[test]
fn products_with_gradients_agree_for_any_shape() {
    let mut state = 7_u32;
    let mut draw = |from: usize, to: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        from + (state >> 8) as usize % (to - from + 1)
    };
    let product = |a: &[f32], b: &[f32]| {
        let products = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b));
        products.fold((0.0, 0.0), |(sum, size), product| (sum + product, size + product.abs()))
    };
    for _ in 0..300 {
        let kernel = [[1, 1], [3, 3], [3, 3], [5, 5], [7, 7], [2, 3]][draw(0, 5)];
        let channels = draw(1, 33);
        let depthwise = draw(0, 1) == 1;
        let (outputs, depth) = if depthwise { (channels, 1) } else { (draw(1, 33), channels) };
        let x = [draw(1, 18), channels, draw(kernel[0], 24), draw(kernel[1], 40)];
        let w = [outputs, depth, kernel[0], kernel[1]];
        let (stride, usual) = (draw(1, 2), draw(0, 1) == 1);
        let half = kernel.map(|length| (length / 2, length / 2));
        let padding = if usual { half } else { [(draw(0, 3), draw(0, 3)), (draw(0, 3), draw(0, 3))] };
        let case = (x, w, [stride; 2], padding);
        let device = Device::flex().autodiff();
        let input = numbers(x, 1, &device).require_grad();
        let weight = numbers(w, 2, &device).require_grad();
        let y = conv2d(input.clone(), weight.clone(), None, options(case));
        let upstream = numbers(y.dims(), 4, &device);
        let gradients = (y.clone() * upstream.clone()).sum().backward();
        let vec = |tensor: Tensor<4>| tensor.into_data().try_into_vec::<f32>().unwrap();
        let (sum, size) = product(&vec(y), &vec(upstream));
        for (value, gradient) in [(&input, input.grad(&gradients)), (&weight, weight.grad(&gradients))] {
            let (other, _) = product(&vec(value.clone()), &vec(gradient.unwrap()));
            assert!((sum - other).abs() <= 1e-6 * size, "{case:?}: {sum} and {other} of {size}");
        }
    }
}

#[test]
fn a_module_convolves_as_its_own_forward() {
    let device = Device::flex();
    let x = Tensor::<4>::random([2, 3, 10, 10], Distribution::Normal(0.0, 1.0), &device);
    for padding in [PaddingConfig2d::Valid, PaddingConfig2d::Same, PaddingConfig2d::Explicit(1, 2, 0, 1)] {
        let conv = burn::nn::conv::Conv2dConfig::new([3, 4], [3, 3]).with_padding(padding).init(&device);
        let vec = |tensor: Tensor<4>| tensor.into_data().try_into_vec::<f32>().unwrap();
        assert!(relative(&vec(forward_conv(&conv, x.clone())), &vec(conv.forward(x.clone()))) < 1e-5);
    }
}

#[test]
fn an_activation_is_the_same_inside_and_behind() {
    let device = Device::flex();
    for case @ (x, w, ..) in CASES {
        let (x, w) = (numbers(x, 1, &device) * 9.0, numbers(w, 2, &device));
        let bias = numbers([w.dims()[0]], 3, &device);
        let plain = conv2d(x.clone(), w.clone(), Some(bias.clone()), options(case));
        for activation in [Activation::Relu, Activation::Relu6] {
            let inside = super::conv2d(&x, &w, Some(&bias), &options(case), activation).unwrap();
            assert_eq!(inside.into_data(), activation.forward(plain.clone()).into_data(), "{case:?} {activation:?}");
        }
    }
}

#[test]
fn gradients_through_an_activation_are_the_same_inside_and_behind() {
    let device = Device::flex().autodiff();
    for case @ (x, w, ..) in CASES {
        for activation in [Activation::Relu, Activation::Relu6] {
            let pass = |inside: bool| {
                let x = (numbers(x, 1, &device) * 9.0).require_grad();
                let (w, bias) = (numbers(w, 2, &device), numbers([w[0]], 3, &device).require_grad());
                let after = if inside { activation } else { Activation::None };
                let y = super::conv2d(&x, &w, Some(&bias), &options(case), after).unwrap();
                let y = if inside { y } else { activation.forward(y) };
                let gradients = (y.clone() * numbers(y.dims(), 4, &device)).sum().backward();
                [x.grad(&gradients).unwrap().into_data(), bias.grad(&gradients).unwrap().into_data()]
            };
            assert_eq!(pass(true), pass(false), "{case:?} {activation:?}");
        }
    }
}

#[test]
fn constants_on_the_plain_device_may_meet_recorded_inputs() {
    let (plain, recorded) = (Device::flex(), Device::flex().autodiff());
    let options = ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
    let x = numbers([1, 2, 5, 5], 1, &recorded).require_grad();
    let y = conv2d(x.clone(), numbers([3, 2, 3, 3], 2, &plain), Some(numbers([3], 3, &plain)), options);
    assert!(x.grad(&y.sum().backward()).is_some());
}

/// Winograd's filters, against sums in f64: no worse than plain sums in f32 in the order of the weights.
#[test]
fn rounding_errors_are_no_larger_than_those_of_plain_sums() {
    let device = Device::flex();
    let (channels, side) = (64, 12);
    let (x, w) = (numbers([1, channels, side, side], 1, &device), numbers([16, channels, 3, 3], 2, &device));
    let options = ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
    let fast: Vec<f32> = conv2d(x.clone(), w.clone(), None, options).into_data().try_into_vec().unwrap();
    let [x, w] = [x, w].map(|t| t.into_data().try_into_vec::<f32>().unwrap());
    let (mut ours, mut plain) = (0.0, 0.0);
    for (place, &found) in fast.iter().enumerate() {
        let (o, y, column) = (place / (side * side), place / side % side, place % side);
        let (mut exact, mut summed) = (0.0_f64, 0.0_f32);
        for tap in 0..channels * 9 {
            let (row, col) = (y + tap / 3 % 3, column + tap % 3);
            if (1..=side).contains(&row) && (1..=side).contains(&col) {
                let (a, b) = (x[(tap / 9 * side + row - 1) * side + col - 1], w[o * channels * 9 + tap]);
                exact += f64::from(a) * f64::from(b);
                summed += a * b;
            }
        }
        ours += (f64::from(found) - exact).powi(2);
        plain += (f64::from(summed) - exact).powi(2);
    }
    assert!(ours > 0.0 && ours <= plain, "squared errors: {ours:e}, of plain sums {plain:e}");
}

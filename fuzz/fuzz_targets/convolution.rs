//! Convolutions of any shape with their gradients, whose sums are taken by code that checks no bounds while it runs. No file is
//! read: the bytes are shapes and numbers.
#![no_main]

use burn::tensor::{Device, Tensor, TensorData, ops::ConvOptions};
use libfuzzer_sys::fuzz_target;
use scgs_models::conv2d;

/// Products that one input may take.
const LARGEST: usize = 1 << 20;

/// Reproducible numbers between -1 and 1.
fn numbers(count: usize, state: &mut u32) -> Vec<f32> {
    let next = |state: &mut u32| {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (*state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next(state)).collect()
}

fn values(data: TensorData) -> Vec<f32> {
    data.try_into_vec().expect("the device computes in f32")
}

/// The sum of the products, and that of their absolute values.
fn product(a: &[f32], b: &[f32]) -> (f64, f64) {
    let products = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b));
    products.fold((0.0, 0.0), |(sum, size), product| (sum + product, size + product.abs()))
}

fuzz_target!(|data: &[u8]| {
    let &[images, kind, channels, outputs, height, width, kernel, strides, above, beside, salt, ..] = data else { return };
    let part = |byte: u8, most: usize| 1 + usize::from(byte) % most;
    let depthwise = kind % 2 == 1;
    let (images, channels) = (part(images, 20), part(channels, 48));
    let outputs = if depthwise { channels } else { part(outputs, 48) };
    let (height, width) = (part(height, 70), part(width, 100));
    let [kh, kw] = match kernel % 8 {
        0 | 1 => [1, 1],
        2 | 3 => [3, 3],
        4 | 5 => [5, 5],
        6 => [7, 7],
        _ => [2, 3],
    };
    let stride = [part(strides, 3), part(strides / 3, 3)];
    let stride = if kind & 2 == 0 { [stride[0]; 2] } else { stride };
    let pads = |byte: u8| (usize::from(byte) % 5, usize::from(byte) / 5 % 5);
    // The usual padding is half of the inputs.
    let padding = if kind & 4 == 0 { [(kh / 2, kh / 2), (kw / 2, kw / 2)] } else { [pads(above), pads(beside)] };
    let reach = [height + padding[0].0 + padding[0].1, width + padding[1].0 + padding[1].1];
    let depth = if depthwise { 1 } else { channels };
    let work = images * outputs * depth * kh * kw * (height / stride[0] + 1) * (width / stride[1] + 1);
    if reach[0] < kh || reach[1] < kw || work > LARGEST {
        return;
    }
    let mut state = u32::from(salt);
    let device = Device::flex().autodiff();
    let shapes = ([images, channels, height, width], [outputs, depth, kh, kw]);
    let x = numbers(shapes.0.iter().product(), &mut state);
    let weight = numbers(shapes.1.iter().product(), &mut state);
    let x_tensor = Tensor::<4>::from_data(TensorData::new(x.clone(), shapes.0), &device).require_grad();
    let weight_tensor = Tensor::<4>::from_data(TensorData::new(weight.clone(), shapes.1), &device).require_grad();
    let options = ConvOptions::new_with_padding(stride, padding, [1, 1], if depthwise { channels } else { 1 });
    let y = conv2d(x_tensor.clone(), weight_tensor.clone(), None, options);
    let dy = numbers(y.dims().iter().product(), &mut state);
    let upstream = Tensor::<4>::from_data(TensorData::new(dy.clone(), y.dims()), &device);
    let gradients = (y.clone() * upstream).sum().backward();
    let dx = values(x_tensor.grad(&gradients).expect("the input takes gradients").into_data());
    let dweight = values(weight_tensor.grad(&gradients).expect("the weight takes gradients").into_data());
    // A convolution is linear in each: the three products are one number.
    let (sum, size) = product(&values(y.into_data()), &dy);
    for (other, of) in [(product(&x, &dx).0, "input"), (product(&weight, &dweight).0, "weight")] {
        assert!((sum - other).abs() <= 1e-4 * size + 1e-4, "{shapes:?} {stride:?} {padding:?}, {of}: {sum} and {other}");
    }
});

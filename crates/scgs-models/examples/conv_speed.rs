//! Seconds of the convolutions of a small UNet, forward and with gradients: this crate's way and burn's, in turns.
//!
//! `cargo run --release -p scgs-models --features flex --example conv_speed` prints one line per shape; ratio = burn's time over ours.

#![expect(clippy::print_stdout, reason = "a program of its own")]

use std::time::Instant;

use burn::tensor::{Device, Tensor, TensorData, module, ops::ConvOptions};

type Conv = fn(Tensor<4>, Tensor<4>, Option<Tensor<1>>, ConvOptions<2>) -> Tensor<4>;

fn tensor(shape: [usize; 4], device: &Device) -> Tensor<4> {
    let count = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|i: usize| ((i * 7919) % 1000) as f32 / 500.0 - 1.0).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn forward(conv: Conv, x: &Tensor<4>, w: &Tensor<4>, options: &ConvOptions<2>) -> f64 {
    let start = Instant::now();
    let y = conv(x.clone(), w.clone(), None, options.clone());
    let _ = y.into_data();
    start.elapsed().as_secs_f64()
}

fn training(conv: Conv, x: &Tensor<4>, w: &Tensor<4>, options: &ConvOptions<2>) -> f64 {
    let start = Instant::now();
    let y = conv(x.clone().require_grad(), w.clone().require_grad(), None, options.clone());
    let _ = y.sum().backward();
    start.elapsed().as_secs_f64()
}

fn main() {
    let shapes: [([usize; 4], [usize; 4]); 7] = [
        ([16, 64, 56, 56], [64, 64, 3, 3]),
        ([16, 256, 56, 56], [64, 256, 1, 1]),
        ([32, 64, 32, 32], [64, 64, 3, 3]),
        ([32, 128, 16, 16], [128, 128, 3, 3]),
        ([32, 192, 8, 8], [192, 192, 3, 3]),
        ([1, 320, 64, 64], [320, 320, 3, 3]),
        ([1, 1280, 8, 8], [1280, 1280, 3, 3]),
    ];
    for (x, w) in shapes {
        let padding = w[2] / 2;
        let options = ConvOptions::new([1, 1], [padding, padding], [1, 1], 1);
        let plain = (tensor(x, &Device::flex()), tensor(w, &Device::flex()));
        let recorded = (tensor(x, &Device::flex().autodiff()), tensor(w, &Device::flex().autodiff()));
        let mut best = [f64::INFINITY; 4];
        for _ in 0..5 {
            for (i, conv) in [scgs_models::conv2d as Conv, module::conv2d].into_iter().enumerate() {
                best[i] = best[i].min(forward(conv, &plain.0, &plain.1, &options));
                best[2 + i] = best[2 + i].min(training(conv, &recorded.0, &recorded.1, &options));
            }
        }
        let multiplications = (x[0] * w[0] * w[1] * w[2] * w[3] * x[2] * x[3]) as f64;
        println!(
            "x {x:?} w {w:?}: forward {:.1} ms ({:.0} G multiply-adds/s, ratio {:.2}), with gradients {:.1} ms (ratio {:.2})",
            best[0] * 1e3,
            multiplications / best[0] / 1e9,
            best[1] / best[0],
            best[2] * 1e3,
            best[3] / best[2]
        );
    }
}

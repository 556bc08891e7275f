//! Milliseconds per picture of a forward pass, plain and with batch norms folded, on the CPU device:
//! `cargo run --release -p scgs-models --example forward_speed`

#![expect(clippy::print_stdout, reason = "a program of its own")]

use std::time::Instant;

use burn::tensor::{Device, Tensor};
use scgs_models::{Architecture, Network};

fn main() {
    let device = Device::flex();
    for (architecture, n, size) in [(Architecture::EfficientNetLite0, 32, 224), (Architecture::ResNet18, 64, 64)] {
        let plain = architecture.init(1000, &device);
        let folded = plain.clone().fold_batch_norm();
        let x = Tensor::<4>::ones([n, 3, size, size], &device);
        let [plain, folded] = [plain, folded].map(|network| median(&network, &x) / n as f64);
        println!("{architecture} {n}x3x{size}x{size}: {plain:.2} ms per picture, folded {folded:.2} ms");
    }
}

/// Milliseconds of one pass: the median of five after one to warm up.
fn median(network: &Network, x: &Tensor<4>) -> f64 {
    let mut times: Vec<f64> = (0..6)
        .map(|_| {
            let start = Instant::now();
            let _ = network.forward(x.clone()).into_data();
            start.elapsed().as_secs_f64() * 1e3
        })
        .skip(1)
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

//! Layers on the CPU device, this crate's way beside burn's, forward and with gradients.
//!
//! `cargo bench --profile release --workspace --bench layers -- conv2d` runs those whose name contains `conv2d`.

use std::time::Duration;

use burn::{
    nn::{BatchNorm, BatchNormConfig, GroupNorm, GroupNormConfig},
    tensor::{
        Device, Tensor, TensorData,
        activation::silu,
        module,
        ops::{AttentionModuleOptions, ConvOptions},
    },
};
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};
use scgs_models::Activation;

fn tensor(shape: [usize; 4], device: &Device) -> Tensor<4> {
    let count = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|i: usize| ((i * 7919) % 1000) as f32 / 500.0 - 1.0).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Short enough to run them all in a few minutes; ratios are what counts.
fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    group
}

/// Waits for the device: the values are asked for.
fn wait(y: Tensor<4>) -> TensorData {
    y.into_data()
}

fn convolutions(criterion: &mut Criterion) {
    type Conv = fn(Tensor<4>, Tensor<4>, Option<Tensor<1>>, ConvOptions<2>) -> Tensor<4>;
    let ways: [(&str, Conv); 2] = [("scgs", scgs_models::conv2d), ("burn", module::conv2d)];
    // The last three are EfficientNet-Lite0's: depthwise, and a 1 x 1 kernel around it.
    let shapes: [(&str, [usize; 4], [usize; 4]); 10] = [
        ("3x3-resnet-56", [16, 64, 56, 56], [64, 64, 3, 3]),
        ("1x1-resnet-56", [16, 256, 56, 56], [64, 256, 1, 1]),
        ("3x3-unet-32", [32, 64, 32, 32], [64, 64, 3, 3]),
        ("3x3-unet-8", [32, 192, 8, 8], [192, 192, 3, 3]),
        ("3x3-sd-64", [1, 320, 64, 64], [320, 320, 3, 3]),
        ("3x3-one-picture-4", [1, 256, 4, 4], [256, 256, 3, 3]),
        ("3x3-sd-8", [1, 1280, 8, 8], [1280, 1280, 3, 3]),
        ("1x1-lite0-28", [16, 40, 28, 28], [240, 40, 1, 1]),
        ("depthwise3x3-lite0-56", [16, 144, 56, 56], [144, 1, 3, 3]),
        ("depthwise5x5-lite0-14", [16, 672, 14, 14], [672, 1, 5, 5]),
    ];
    for (name, x, w) in shapes {
        let groups = x[1] / w[1];
        let options = ConvOptions::new([1, 1], [w[2] / 2; 2], [1, 1], groups);
        let mut group = group(criterion, &format!("conv2d/{name}"));
        // Elements are multiply-adds.
        group.throughput(Throughput::Elements((x[0] * x[2] * x[3] * w.iter().product::<usize>()) as u64));
        for (way, conv) in ways {
            let device = Device::flex();
            let (input, weight) = (tensor(x, &device), tensor(w, &device));
            group.bench_function(format!("forward/{way}"), |b| {
                b.iter(|| wait(conv(input.clone(), weight.clone(), None, options.clone())));
            });
            let device = device.autodiff();
            let (input, weight) = (tensor(x, &device), tensor(w, &device));
            group.bench_function(format!("with-gradients/{way}"), |b| {
                b.iter(|| {
                    let y = conv(input.clone().require_grad(), weight.clone().require_grad(), None, options.clone());
                    y.sum().backward()
                });
            });
        }
        group.finish();
    }
}

type Normalise<N> = fn(&N, Tensor<4>) -> Tensor<4>;

/// A normalisation both ways, forward and with gradients; `make` gives the layer on a device.
fn normalisation<N>(
    criterion: &mut Criterion,
    name: &str,
    shape: [usize; 4],
    make: impl Fn(&Device) -> N,
    ways: [(&str, Normalise<N>); 2],
) {
    let mut group = group(criterion, name);
    group.throughput(Throughput::Elements(shape.iter().product::<usize>() as u64));
    for (way, forward) in ways {
        let device = Device::flex();
        let (norm, x) = (make(&device), tensor(shape, &device));
        group.bench_function(format!("forward/{way}"), |b| b.iter(|| wait(forward(&norm, x.clone()))));
        let device = device.autodiff();
        let (norm, x) = (make(&device), tensor(shape, &device));
        group.bench_function(format!("with-gradients/{way}"), |b| {
            b.iter(|| forward(&norm, x.clone().require_grad()).sum().backward());
        });
    }
    group.finish();
}

fn normalisations(criterion: &mut Criterion) {
    normalisation(
        criterion,
        "batch-norm-relu/resnet-56",
        [16, 64, 56, 56],
        |device| BatchNormConfig::new(64).init(device),
        [
            ("scgs", |norm: &BatchNorm, x| scgs_models::batch_norm(norm, x, Activation::Relu)),
            ("burn", |norm, x| burn::tensor::activation::relu(norm.forward(x))),
        ],
    );
    normalisation(
        criterion,
        "group-norm-silu/unet-32",
        [16, 48, 32, 32],
        |device| GroupNormConfig::new(8, 48).init(device),
        [
            ("scgs", |norm: &GroupNorm, x| scgs_models::group_norm(norm, x, true)),
            ("burn", |norm, x| silu(norm.forward(x))),
        ],
    );
}

/// As in Stable Diffusion's UNet at 32 x 32; inference only, as the faster way is.
fn attention(criterion: &mut Criterion) {
    let shape = [1, 8, 1024, 80];
    let device = Device::flex();
    let x = tensor(shape, &device);
    let mut group = group(criterion, "attention/sd-32");
    group.throughput(Throughput::Elements((2 * shape[1] * shape[2] * shape[2] * shape[3]) as u64));
    group.bench_function("forward/scgs", |b| {
        b.iter(|| wait(scgs_models::attention(x.clone(), x.clone(), x.clone())));
    });
    group.bench_function("forward/burn", |b| {
        let options = AttentionModuleOptions::default;
        b.iter(|| wait(module::attention(x.clone(), x.clone(), x.clone(), None, None, options())));
    });
    group.finish();
}

criterion_group!(layers, convolutions, normalisations, attention);
criterion_main!(layers);

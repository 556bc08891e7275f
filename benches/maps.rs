//! Attention maps of a batch from its last activation, without the network's own passes.
//!
//! `cargo bench --profile release --workspace --bench maps` runs it.

use std::time::Duration;

use burn::tensor::{Device, Tensor, TensorData};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use scgs_cam::{CamMethod, Epsilon, Score, attention_linear_head};

const PICTURES: usize = 16;
const CHANNELS: usize = 1280;
const SIDE: usize = 7;

fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919) % 1000) as f32 / 1000.0 - 0.2).collect()
}

fn maps(criterion: &mut Criterion) {
    let shape = [PICTURES, CHANNELS, SIDE, SIDE];
    let values = numbers(shape.iter().product()).into_iter().map(|v| v.max(0.0)).collect::<Vec<_>>();
    let activation = Tensor::<4>::from_data(TensorData::new(values, shape), &Device::flex());
    let weight = numbers(2 * CHANNELS);
    let scores = vec![Score::Class(1); PICTURES];
    let mut group = criterion.benchmark_group("maps-16x1280x7x7");
    group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    group.throughput(Throughput::Elements(PICTURES as u64));
    let plus_plus = CamMethod::GradCamPlusPlus { epsilon: Epsilon::default() };
    for (name, method) in [("gradcam", CamMethod::GradCam), ("gradcam++", plus_plus), ("layercam", CamMethod::LayerCam)]
    {
        group.bench_function(name, |b| {
            b.iter(|| {
                attention_linear_head(&method, activation.clone(), &weight, &scores, (224, 224))
                    .expect("shapes and scores fit")
            });
        });
    }
    group.finish();
}

criterion_group!(attention, maps);
criterion_main!(attention);

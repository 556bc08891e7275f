//! One restart of k-means: seeding and a few passes over the rows.
//!
//! `cargo bench --profile release --workspace --bench kmeans` runs it.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use scgs_cluster::{Engine, KMeansConfig, Matrix, kmeans};

const WIDTH: usize = 1280;
const PASSES: usize = 3;

/// Rows around eight centres, without a random number.
fn rows(count: usize) -> Vec<f32> {
    let value = |i: usize| ((i * 7919 + i / 13) % 1000) as f32 / 500.0 - 1.0;
    (0..count * WIDTH).map(|i| value(i) + 3.0 * value(i / WIDTH % 8 * WIDTH + i % WIDTH + 17)).collect()
}

fn restart(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("kmeans-restart");
    group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    for count in [1_000, 4_000] {
        let values = rows(count);
        let matrix = Matrix::new(&values, count, WIDTH).expect("as many values as rows times columns");
        let config = KMeansConfig { n_init: 1, max_iter: PASSES, engine: Engine::Stable, ..KMeansConfig::new(8) };
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::from_parameter(format!("{count}x{WIDTH}")), |b| {
            b.iter(|| kmeans(&matrix, &config).expect("the settings are possible"));
        });
    }
    group.finish();
}

criterion_group!(clustering, restart);
criterion_main!(clustering);

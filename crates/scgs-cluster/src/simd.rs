//! The `kmeans` crate as the engine of Lloyd's iterations.
//!
//! Version 2.0.2 computes each row's distances by itself and sums centroids, frequencies and the total in row order on one
//! thread (`variants/lloyd.rs`), so its result does not depend on the number of threads; the tests hold it to that.
//! Its own seeding is not used: it draws from another generator, and without greedy trials.

use std::cell::Cell;

use kmeans::{AbortStrategy, EuclideanDistance, KMeans};

use crate::kmeans::{KMeansConfig, gather};
use crate::lloyd::Run;
use crate::prepare::Prepared;
use crate::seeding::seeds;

/// Values of one vector. 16 lanes keep four independent sums even where the processor has vectors of four.
const LANES: usize = 16;

/// The restart with the lowest inertia, at its last centres; the first of equal ones.
pub(crate) fn best_run(data: &Prepared, config: &KMeansConfig) -> Run {
    let engine: KMeans<f32, LANES, _> = KMeans::new(&data.x, data.rows, data.cols, EuclideanDistance);
    let mut best: Option<(f64, Run)> = None;
    for rows in seeds(data, config.k, 0..config.n_init, config.seed) {
        let passes = Cell::new(0);
        let count = |_: &kmeans::KMeansState<f32>, pass: usize, _: f32| passes.set(pass);
        // The crate knows a threshold on inertia but not on the centres' movement: it runs until inertia, an f32 sum,
        // no longer falls. The shared finish goes on from there.
        let settings = kmeans::KMeansConfig::build()
            .abort_strategy(AbortStrategy::NoImprovement { threshold: 0.0 })
            .iteration_done(&count)
            .build();
        let start = KMeans::init_precomputed(gather(data, &rows).collect());
        let state = engine.kmeans_lloyd(config.k, config.max_iter, start, &settings);
        let inertia: f64 = state.centroid_distances.iter().map(|&d| f64::from(d)).sum();
        if best.as_ref().is_none_or(|(lowest, _)| inertia < *lowest) {
            let mut run = Run::from_centres(data, state.centroids.iter().flatten().copied());
            run.iterations = passes.get();
            best = Some((inertia, run));
        }
    }
    best.expect("n_init is at least 1").1
}

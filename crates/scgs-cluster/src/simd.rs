//! The `kmeans` crate as the engine of Lloyd's iterations.
//!
//! Version 2.0.2 computes each row's distances by itself and sums centroids, frequencies and the total in row order on one
//! thread (`variants/lloyd.rs`), so its result does not depend on the number of threads; the tests hold it to that.
//! Its own seeding is not used: it draws from another generator, and without greedy trials.

use std::cell::Cell;

use kmeans::{AbortStrategy, EuclideanDistance, KMeans};

use crate::kmeans::{KMeansConfig, gather, keep};
use crate::lloyd::{Run, Stop, iterate};
use crate::prepare::Prepared;
use crate::seeding::seeds;

/// Values of one vector. 16 lanes keep four independent sums even where the processor has vectors of four.
const LANES: usize = 16;

/// The best restarts, as [`keep`] chooses them.
pub(crate) fn best_runs(data: &Prepared, config: &KMeansConfig) -> Vec<Run> {
    let engine: KMeans<f32, LANES, _> = KMeans::new(&data.x, data.rows, data.cols, EuclideanDistance);
    let mut kept = Vec::new();
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
        keep(&mut kept, inertia, (passes.get(), state.centroids.to_vec()));
    }
    let finish = |(_, (passes, centres)): (f64, (usize, Vec<f32>))| {
        // The crate hands over centres; labels, and sums in f64, come with a pass of our own.
        let mut run = Run::from_centres(data, centres.into_iter());
        iterate(data, std::slice::from_mut(&mut run), Stop { max_iter: 1, tolerance: 0.0, exact: false });
        run.iterations += passes;
        run
    };
    kept.into_iter().map(finish).collect()
}

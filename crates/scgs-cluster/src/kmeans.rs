//! k-means: settings, the choice of the engine, and the exact finish both engines share.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::breathe::breathe;
use crate::error::ClusterError;
use crate::evaluate::{inertia, squared_row_distance};
use crate::lloyd::{Run, Stop, iterate};
use crate::matrix::Matrix;
use crate::prepare::Prepared;
use crate::product::add_row;
use crate::seeding::seeds;

/// Columns of one matrix product: as many restarts run side by side as fit, at least one.
const PRODUCT_COLUMNS: usize = 256;

/// Restarts that are improved further.
const KEPT: usize = 3;

/// Inertias that differ by less than this share belong to the same optimum.
const SAME: f64 = 1e-5;

/// Who runs Lloyd's iterations. Seeds, the last iterations and the result's figures are computed by the same code for
/// both, and neither depends on the number of threads; on data with one clear optimum both give the same result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// [`Engine::Simd`] where the feature `simd` is compiled in, else [`Engine::Stable`].
    #[default]
    Auto,
    /// The `kmeans` crate (feature `simd`): one restart after another, distances by subtraction.
    Simd,
    /// This crate's own engine: all restarts side by side, distances by matrix products.
    Stable,
}

/// Settings of [`kmeans()`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KMeansConfig {
    /// Number of clusters, at least 1.
    pub k: usize,
    /// Restarts from other seeds, 1 to 1000; the one with the lowest inertia is kept.
    pub n_init: usize,
    /// Passes over the rows for each restart, at least 1. The finish takes what the kept restart left over, at least 1.
    pub max_iter: usize,
    /// A restart ends when the squared distance that its centres moved, summed, is at most `tol` times the mean variance of the
    /// features (scikit-learn's definition); finite, at least 0.
    pub tol: f64,
    /// Seed of the starting centres.
    pub seed: u64,
    /// Who runs the iterations.
    pub engine: Engine,
}

impl KMeansConfig {
    /// scikit-learn's settings with 10 restarts: `max_iter` 300, `tol` 1e-4; seed 0, engine [`Engine::Auto`].
    #[must_use]
    pub fn new(k: usize) -> Self {
        Self { k, n_init: 10, max_iter: 300, tol: 1e-4, seed: 0, engine: Engine::Auto }
    }

    /// Checks every setting that can be checked without features.
    ///
    /// # Errors
    /// [`ClusterError::Setting`] with the first setting outside its range; [`ClusterError::EngineMissing`] when the engine
    /// was not compiled in.
    pub fn check(&self) -> Result<(), ClusterError> {
        let setting = |ok: bool, name, value: &dyn ToString, expected| {
            if ok { Ok(()) } else { Err(ClusterError::Setting { name, value: value.to_string(), expected }) }
        };
        setting(self.k >= 1, "k", &self.k, "at least 1")?;
        setting((1..=1000).contains(&self.n_init), "n_init", &self.n_init, "1 to 1000")?;
        setting(self.max_iter >= 1, "max_iter", &self.max_iter, "at least 1")?;
        setting(self.tol.is_finite() && self.tol >= 0.0, "tol", &self.tol, "a finite number of at least 0")?;
        if self.engine == Engine::Simd && !cfg!(feature = "simd") {
            return Err(ClusterError::EngineMissing);
        }
        Ok(())
    }
}

impl Default for KMeansConfig {
    /// [`KMeansConfig::new`] with scikit-learn's default of 8 clusters.
    fn default() -> Self {
        Self::new(8)
    }
}

/// What [`kmeans()`] found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Clustering {
    /// Cluster of each row, `0..k`. Where [`Clustering::converged`], the nearest centroid of each row.
    pub assignments: Vec<usize>,
    /// Means of the clusters' rows (summed in f64), `k * cols`, one after another.
    pub centroids: Vec<f32>,
    /// Number of centroids.
    pub k: usize,
    /// Sum over the rows of the squared Euclidean distance to their centroid, in f64.
    pub inertia: f64,
    /// Passes over the rows of the kept restart, with the finish; 0 when no pass was needed.
    pub iterations: usize,
    /// Whether the last pass changed no assignment.
    pub converged: bool,
    /// Distinct rows among the features. Below [`Clustering::k`] it deserves a warning: only as many clusters have rows, the
    /// centroids after them repeat the last one.
    pub distinct: usize,
}

impl Clustering {
    /// Number of rows in each cluster.
    #[must_use]
    pub fn sizes(&self) -> Vec<usize> {
        let mut sizes = vec![0; self.k];
        for &cluster in &self.assignments {
            sizes[cluster] += 1;
        }
        sizes
    }

    /// Euclidean distance of each row of the clustered features to its centroid.
    ///
    /// # Errors
    /// [`ClusterError::LengthMismatch`] when `matrix` has another number of rows or columns than the clustered features.
    pub fn distances(&self, matrix: &Matrix<'_>) -> Result<Vec<f64>, ClusterError> {
        let squared = squared_row_distance(matrix, &self.centroids, &self.assignments)?;
        Ok(squared.into_iter().map(f64::sqrt).collect())
    }
}

/// Finds `k` clusters with a low sum of squared distances to their means.
///
/// Greedy k-means++ starts `n_init` runs of Lloyd's algorithm. The best three that differ are improved by moving centres from where they matter
/// least to where the error is largest (breathing k-means, Fritzke 2020), each in
/// about as many passes as the restarts took at most; then the best is iterated until no row changes its cluster, with f64 deciding between centres that f32 cannot tell apart.
/// Equals `sklearn.cluster.KMeans(init="k-means++")` in
/// meaning, with an inertia at most as high but for the luck of the draws. The result depends on the features and the settings only, not on the number
/// of threads.
///
/// With at most `k` distinct rows the answer is known: each distinct row, in order of appearance, is a cluster of its own.
///
/// # Errors
/// [`ClusterError::TooFewRows`] when there are fewer rows than `k`; what [`KMeansConfig::check`] finds.
pub fn kmeans(matrix: &Matrix<'_>, config: &KMeansConfig) -> Result<Clustering, ClusterError> {
    config.check()?;
    let k = config.k;
    if matrix.rows() < k {
        return Err(ClusterError::TooFewRows { rows: matrix.rows(), k });
    }
    let (number, distinct) = matrix.distinct();
    if distinct <= k {
        return Ok(one_cluster_per_value(matrix, number, distinct, k));
    }
    let data = Prepared::new(matrix);
    let tolerance = config.tol * data.mean_variance;
    let kept = match config.engine {
        #[cfg(feature = "simd")]
        Engine::Simd | Engine::Auto => crate::simd::best_runs(&data, config),
        _ => best_runs(&data, config, tolerance),
    };
    let stop = Stop { max_iter: config.max_iter, tolerance, exact: false };
    let improved = kept.into_iter().map(|run| {
        let passes = if k > 1 { config.n_init * run.iterations } else { 0 };
        breathe(&data, run, passes, stop)
    });
    // The first of equal ones.
    let best = improved.reduce(|best, run| if run.score() < best.score() { run } else { best });
    let mut best = best.expect("n_init is at least 1");
    let max_iter = config.max_iter.max(best.iterations + 1);
    iterate(&data, std::slice::from_mut(&mut best), Stop { max_iter, tolerance: -1.0, exact: true });

    let assignments: Vec<usize> = best.labels.iter().map(|&label| label as usize).collect();
    let centroids = means(matrix, &assignments, k);
    let inertia = inertia(matrix, &centroids, &assignments)?;
    let (iterations, converged) = (best.iterations, best.converged);
    Ok(Clustering { assignments, centroids, k, inertia, iterations, converged, distinct })
}

/// The best restarts by the stable engine, as [`keep`] chooses them.
fn best_runs(data: &Prepared, config: &KMeansConfig, tolerance: f64) -> Vec<Run> {
    let mut kept: Vec<(f64, Run)> = Vec::with_capacity(KEPT + 1);
    let together = (PRODUCT_COLUMNS / config.k).clamp(1, config.n_init);
    for first in (0..config.n_init).step_by(together) {
        let restarts = first..(first + together).min(config.n_init);
        let mut runs: Vec<Run> = seeds(data, config.k, restarts, config.seed)
            .iter()
            .map(|rows| Run::from_centres(data, gather(data, rows)))
            .collect();
        iterate(data, &mut runs, Stop { max_iter: config.max_iter, tolerance, exact: false });
        for run in runs {
            keep(&mut kept, data.total() + run.score(), run);
        }
    }
    kept.into_iter().map(|(_, run)| run).collect()
}

/// Keeps the [`KEPT`] lowest inertias in ascending order; of nearly equal ones, which are the same optimum, the first.
pub(crate) fn keep<T>(kept: &mut Vec<(f64, T)>, inertia: f64, run: T) {
    if kept.iter().any(|(other, _)| (other - inertia).abs() <= SAME * inertia.abs()) {
        return;
    }
    let at = kept.partition_point(|(other, _)| *other <= inertia);
    kept.insert(at, (inertia, run));
    kept.truncate(KEPT);
}

/// The values of some prepared rows, one after another.
pub(crate) fn gather<'a>(data: &'a Prepared, rows: &'a [usize]) -> impl Iterator<Item = f32> + 'a {
    rows.iter().flat_map(|&row| data.row(row).iter().copied())
}

fn one_cluster_per_value(matrix: &Matrix<'_>, number: Vec<usize>, distinct: usize, k: usize) -> Clustering {
    let mut first: Vec<usize> = Vec::with_capacity(k);
    for (row, &value) in number.iter().enumerate() {
        if value == first.len() {
            first.push(row);
        }
    }
    let last = first[first.len() - 1];
    first.resize(k, last);
    let centroids = matrix.gather(&first);
    Clustering { assignments: number, centroids, k, inertia: 0.0, iterations: 0, converged: true, distinct }
}

/// Means of the clusters' rows, each column summed in f64 in row order.
fn means(matrix: &Matrix<'_>, assignments: &[usize], k: usize) -> Vec<f32> {
    const COLUMNS: usize = 128;
    let cols = matrix.cols();
    let mut counts = vec![0_usize; k];
    assignments.iter().for_each(|&cluster| counts[cluster] += 1);
    let starts: Vec<usize> = (0..cols).step_by(COLUMNS).collect();
    let blocks: Vec<Vec<f64>> = starts
        .par_iter()
        .map(|&start| {
            let width = COLUMNS.min(cols - start);
            let mut sums = vec![0.0_f64; k * width];
            for (row, &cluster) in assignments.iter().enumerate() {
                add_row(&mut sums[cluster * width..][..width], &matrix.row(row)[start..start + width], 1.0);
            }
            sums
        })
        .collect();
    let mut out = vec![0.0; k * cols];
    for (&start, sums) in starts.iter().zip(&blocks) {
        let width = COLUMNS.min(cols - start);
        for (j, line) in sums.chunks_exact(width).enumerate() {
            for (c, &sum) in line.iter().enumerate() {
                out[j * cols + start + c] = (sum / counts[j] as f64) as f32;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_rows_than_clusters_names_both() {
        let error = kmeans(&Matrix::new(&[1.0, 2.0, 3.0], 3, 1).unwrap(), &KMeansConfig::new(5)).unwrap_err();
        assert_eq!(error, ClusterError::TooFewRows { rows: 3, k: 5 });
        assert_eq!(error.to_string(), "5 clusters need at least 5 rows, got 3; lower k or give more rows");
    }

    #[test]
    fn impossible_settings_are_named() {
        let good = KMeansConfig::new(2);
        let cases = [
            (KMeansConfig { k: 0, ..good.clone() }, "k is 0, expected at least 1"),
            (KMeansConfig { n_init: 0, ..good.clone() }, "n_init is 0, expected 1 to 1000"),
            (KMeansConfig { max_iter: 0, ..good.clone() }, "max_iter is 0, expected at least 1"),
            (KMeansConfig { tol: f64::NAN, ..good.clone() }, "tol is NaN, expected a finite number of at least 0"),
        ];
        for (config, message) in cases {
            assert_eq!(config.check().unwrap_err().to_string(), message);
        }
        assert_eq!(good.check(), Ok(()));
    }

    #[test]
    fn as_many_values_as_clusters_or_fewer_is_exact() {
        let data = [7.0, 3.0, 7.0, 3.0, 7.0];
        let matrix = Matrix::new(&data, 5, 1).unwrap();
        let two = kmeans(&matrix, &KMeansConfig::new(2)).unwrap();
        assert_eq!(
            (two.assignments, two.centroids, two.inertia, two.distinct),
            (vec![0, 1, 0, 1, 0], vec![7.0, 3.0], 0.0, 2)
        );
        let four = kmeans(&matrix, &KMeansConfig::new(4)).unwrap();
        assert_eq!(four.sizes(), [3, 2, 0, 0]);
        assert_eq!((four.centroids, four.distinct, four.inertia), (vec![7.0, 3.0, 3.0, 3.0], 2, 0.0));
    }

    #[test]
    fn the_three_lowest_distinct_inertias_are_kept() {
        let mut kept = Vec::new();
        for (restart, inertia) in [5.0, 3.0, 3.000001, 9.0, 4.0, 2.0, 8.0].into_iter().enumerate() {
            keep(&mut kept, inertia, restart);
        }
        assert_eq!(kept, [(2.0, 5), (3.0, 1), (4.0, 4)]);
    }

    #[test]
    fn one_cluster_is_the_mean() {
        let data = [1.0, 10.0, 2.0, 20.0, 6.0, 30.0];
        let one = kmeans(&Matrix::new(&data, 3, 2).unwrap(), &KMeansConfig::new(1)).unwrap();
        assert_eq!((one.centroids, one.inertia), (vec![3.0, 20.0], 4.0 + 1.0 + 9.0 + 200.0));
    }

    #[test]
    fn distances_are_euclidean() {
        let data = [0.0, 0.0, 6.0, 8.0, 100.0, 100.0];
        let matrix = Matrix::new(&data, 3, 2).unwrap();
        let two = kmeans(&matrix, &KMeansConfig::new(2)).unwrap();
        assert_eq!(two.distances(&matrix).unwrap(), [5.0, 5.0, 0.0]);
        let other = Matrix::new(&data, 2, 3).unwrap();
        assert!(matches!(two.distances(&other), Err(ClusterError::LengthMismatch { .. })));
    }
}

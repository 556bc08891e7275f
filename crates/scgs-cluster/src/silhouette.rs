//! The silhouette coefficient, and the choice of k by it.
//!
//! P. Rousseeuw, "Silhouettes: a graphical aid to the interpretation and validation of cluster analysis", Journal of
//! Computational and Applied Mathematics 20, 1987.

use rand::SeedableRng;
use rand::seq::index;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::ClusterError;
use crate::kmeans::{Clustering, KMeansConfig, kmeans};
use crate::matrix::Matrix;
use crate::product::dots_f64;

/// Most rows that [`silhouette`] scores; of more it takes a sample of this size.
pub const SILHOUETTE_ROWS: usize = 5_000;

/// Rows whose distances to all others are held at a time.
const BLOCK: usize = 128;

/// The mean silhouette coefficient, -1 to 1: how much nearer rows lie to their own cluster than to the next one.
///
/// `s = (b - a) / max(a, b)` with `a` the mean Euclidean distance to the other rows of the own cluster and `b` the smallest mean
/// distance to the rows of another; 0 for the only row of a cluster (Rousseeuw 1987, equations 2 and 3). Equals
/// `sklearn.metrics.silhouette_score`. Above [`SILHOUETTE_ROWS`] rows that many are drawn with `seed` and scored among
/// themselves. `assignments` has one entry for each row, of any values. Takes `rows^2 * cols` operations.
///
/// # Errors
/// [`ClusterError::LengthMismatch`] when `assignments` has another length than `matrix` has rows,
/// [`ClusterError::Silhouette`] for fewer than 2 clusters or as many clusters as rows, among the rows scored.
pub fn silhouette(matrix: &Matrix<'_>, assignments: &[usize], seed: u64) -> Result<f64, ClusterError> {
    if assignments.len() != matrix.rows() {
        return Err(ClusterError::LengthMismatch {
            what: "assignments",
            found: assignments.len(),
            expected: matrix.rows(),
        });
    }
    if matrix.rows() <= SILHOUETTE_ROWS {
        return exact(matrix, assignments);
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut rows = index::sample(&mut rng, matrix.rows(), SILHOUETTE_ROWS).into_vec();
    rows.sort_unstable();
    let data = matrix.gather(&rows);
    let own: Vec<usize> = rows.iter().map(|&row| assignments[row]).collect();
    exact(&Matrix::new(&data, rows.len(), matrix.cols())?, &own)
}

fn exact(matrix: &Matrix<'_>, assignments: &[usize]) -> Result<f64, ClusterError> {
    let (rows, cols) = (matrix.rows(), matrix.cols());
    let mut names = assignments.to_vec();
    names.sort_unstable();
    names.dedup();
    let clusters = names.len();
    if clusters < 2 || clusters >= rows {
        return Err(ClusterError::Silhouette { rows, clusters });
    }
    let cluster: Vec<usize> =
        assignments.iter().map(|name| names.binary_search(name).expect("every name was listed")).collect();
    let mut sizes = vec![0_usize; clusters];
    cluster.iter().for_each(|&c| sizes[c] += 1);

    // Distances come from products, |x|^2 + |y|^2 - 2 x.y: in f64 and about the mean, so that little cancels.
    let mean = matrix.column_means();
    let mut x = vec![0.0_f64; rows * cols];
    x.par_chunks_exact_mut(cols).zip(matrix.data().par_chunks_exact(cols)).for_each(|(out, row)| {
        for ((o, &v), m) in out.iter_mut().zip(row).zip(&mean) {
            *o = f64::from(v) - m;
        }
    });
    let norms: Vec<f64> = x.par_chunks_exact(cols).map(|row| row.iter().map(|v| v * v).sum()).collect();
    let scores: Vec<Vec<f64>> = x
        .par_chunks(BLOCK * cols)
        .enumerate()
        .map(|(b, block)| {
            let mut products = vec![0.0; block.len() / cols * rows];
            dots_f64(block, &x, cols, &mut products);
            let lines = products.chunks_exact(rows).enumerate();
            lines.map(|(i, line)| coefficient(b * BLOCK + i, line, &norms, &cluster, &sizes)).collect()
        })
        .collect();
    Ok(scores.iter().flatten().sum::<f64>() / rows as f64)
}

/// The coefficient of `row` from its products with all rows.
fn coefficient(row: usize, products: &[f64], norms: &[f64], cluster: &[usize], sizes: &[usize]) -> f64 {
    let own = cluster[row];
    if sizes[own] == 1 {
        return 0.0;
    }
    let mut sums = vec![0.0; sizes.len()];
    for (other, &product) in products.iter().enumerate() {
        if other != row {
            sums[cluster[other]] += (norms[row] + norms[other] - 2.0 * product).max(0.0).sqrt();
        }
    }
    let a = sums[own] / (sizes[own] - 1) as f64;
    let others = sums.iter().zip(sizes).enumerate().filter(|&(c, _)| c != own);
    let b = others.map(|(_, (sum, &n))| sum / n as f64).fold(f64::INFINITY, f64::min);
    let longer = a.max(b);
    if longer > 0.0 { (b - a) / longer } else { 0.0 }
}

/// What [`choose_k`] found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChosenK {
    /// The clustering with the highest silhouette.
    pub clustering: Clustering,
    /// (k, mean silhouette) of every k that could be scored, ascending by k.
    pub scores: Vec<(usize, f64)>,
}

/// Clusters with every k of `ks` and keeps the one with the highest [`silhouette`]; of equal ones the smallest.
///
/// `config` gives everything but k. A k that cannot be scored is left out: below 2, or not below the number of rows, or above
/// the number of distinct rows.
///
/// # Errors
/// [`ClusterError::NoUsableK`] when no k can be scored; the errors of [`kmeans()`] and [`silhouette`].
pub fn choose_k(matrix: &Matrix<'_>, ks: &[usize], config: &KMeansConfig) -> Result<ChosenK, ClusterError> {
    let (_, distinct) = matrix.distinct();
    let rows = matrix.rows();
    let mut usable: Vec<usize> = ks.iter().copied().filter(|&k| k >= 2 && k < rows && k <= distinct).collect();
    usable.sort_unstable();
    usable.dedup();
    let mut scores = Vec::with_capacity(usable.len());
    let mut best: Option<(f64, Clustering)> = None;
    for k in usable {
        let clustering = kmeans(matrix, &KMeansConfig { k, ..config.clone() })?;
        let score = silhouette(matrix, &clustering.assignments, config.seed)?;
        scores.push((k, score));
        if best.as_ref().is_none_or(|(highest, _)| score > *highest) {
            best = Some((score, clustering));
        }
    }
    match best {
        Some((_, clustering)) => Ok(ChosenK { clustering, scores }),
        None => Err(ClusterError::NoUsableK { ks: ks.to_vec(), rows, distinct }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silhouette_by_hand() {
        let data = [0.0, 2.0, 10.0];
        let matrix = Matrix::new(&data, 3, 1).unwrap();
        // Row 0: a 2, b 10; row 1: a 2, b 8; row 2 is alone.
        let score = silhouette(&matrix, &[4, 4, 9], 0).unwrap();
        assert!((score - (0.8 + 0.75 + 0.0) / 3.0).abs() < 1e-12);
    }

    #[test]
    fn one_cluster_or_one_each_is_refused() {
        let matrix = Matrix::new(&[0.0, 2.0, 10.0], 3, 1).unwrap();
        let error = silhouette(&matrix, &[0, 0, 0], 0).unwrap_err();
        assert_eq!(error.to_string(), "a silhouette needs 2 to 2 non-empty clusters for 3 row(s), got 1; change k");
        assert_eq!(silhouette(&matrix, &[0, 1, 2], 0).unwrap_err(), ClusterError::Silhouette { rows: 3, clusters: 3 });
        assert!(matches!(silhouette(&matrix, &[0, 1], 0), Err(ClusterError::LengthMismatch { .. })));
    }

    #[test]
    fn a_sample_of_many_rows_is_near_the_whole_and_seeded() {
        let data: Vec<f32> = (0..12_000).map(|i| (i % 3) as f32 * 10.0 + ((i * 7919) % 1009) as f32 / 300.0).collect();
        let labels: Vec<usize> = (0..12_000).map(|i| i % 3).collect();
        let matrix = Matrix::new(&data, 12_000, 1).unwrap();
        let sampled = silhouette(&matrix, &labels, 5).unwrap();
        assert!((sampled - exact(&matrix, &labels).unwrap()).abs() < 0.005);
        assert_eq!(sampled, silhouette(&matrix, &labels, 5).unwrap());
        assert_ne!(sampled, silhouette(&matrix, &labels, 6).unwrap());
    }

    #[test]
    fn the_true_number_of_groups_is_chosen() {
        let data: Vec<f32> = (0..200).map(|i| (i % 4) as f32 * 10.0 + ((i * 7919) % 101) as f32 / 50.0).collect();
        let matrix = Matrix::new(&data, 200, 1).unwrap();
        let chosen = choose_k(&matrix, &[7, 4, 1, 3, 2, 4, 500], &KMeansConfig::new(1)).unwrap();
        assert_eq!(chosen.clustering.k, 4);
        assert_eq!(chosen.scores.iter().map(|s| s.0).collect::<Vec<_>>(), [2, 3, 4, 7]);
        let error = choose_k(&matrix, &[0, 1, 200], &KMeansConfig::new(1)).unwrap_err();
        assert!(matches!(error, ClusterError::NoUsableK { rows: 200, .. }), "{error}");
    }
}

//! Features as the engines see them: centred and scaled, so that f32 distances are as exact as f32 allows.

use rayon::prelude::*;

use crate::matrix::Matrix;
use crate::product::BLOCK_ROWS;

/// Features minus their column means, times one power of two that brings the largest magnitude to 0.5..1.
///
/// Neither changes a cluster: k-means does not see a shift, and a power of two is exact. Centring is what scikit-learn
/// does to keep `|x|^2 - 2 x.c + |c|^2` accurate; scaling keeps squares of tiny or huge features in range.
pub(crate) struct Prepared {
    /// `rows * cols` values.
    pub(crate) x: Vec<f32>,
    /// Squared length of each row.
    pub(crate) norms: Vec<f32>,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    /// Mean over the columns of their population variance, in the scaled unit.
    pub(crate) mean_variance: f64,
}

impl Prepared {
    pub(crate) fn new(matrix: &Matrix<'_>) -> Self {
        let (rows, cols) = (matrix.rows(), matrix.cols());
        let mean = matrix.column_means();
        let centred = |row: &[f32], c: usize| f64::from(row[c]) - mean[c];
        let largest = matrix
            .data()
            .par_chunks_exact(cols)
            .map(|row| (0..cols).map(|c| centred(row, c).abs()).fold(0.0, f64::max))
            .reduce(|| 0.0, f64::max);
        let scale = power_of_two_for(largest);
        let mut x = vec![0.0_f32; rows * cols];
        x.par_chunks_exact_mut(cols).zip(matrix.data().par_chunks_exact(cols)).for_each(|(out, row)| {
            for (c, v) in out.iter_mut().enumerate() {
                *v = (centred(row, c) * scale) as f32;
            }
        });
        let lengths: Vec<f64> = x.par_chunks_exact(cols).map(squared_length).collect();
        // The columns have mean 0, so their summed variance is the mean squared length of the rows.
        let mean_variance = lengths.iter().sum::<f64>() / (rows as f64 * cols as f64);
        let norms = lengths.into_iter().map(|v| v as f32).collect();
        Self { x, norms, rows, cols, mean_variance }
    }

    /// Sum of squared distances of the rows to their mean.
    pub(crate) fn total(&self) -> f64 {
        self.mean_variance * (self.rows * self.cols) as f64
    }

    pub(crate) fn row(&self, index: usize) -> &[f32] {
        &self.x[index * self.cols..(index + 1) * self.cols]
    }

    /// The fixed blocks of rows as (first row, values). Work is shared out by block; sums go in the order of the blocks.
    pub(crate) fn blocks(&self) -> impl IndexedParallelIterator<Item = (usize, &[f32])> {
        self.x.par_chunks(BLOCK_ROWS * self.cols).enumerate().map(|(b, values)| (b * BLOCK_ROWS, values))
    }
}

/// The exact power of two that scales `largest` into 0.5..1; 1 for 0.
fn power_of_two_for(largest: f64) -> f64 {
    if largest > 0.0 { (-largest.log2().floor() - 1.0).exp2() } else { 1.0 }
}

/// Four interleaved f64 sums: a fixed order, yet not one long chain of additions.
pub(crate) fn squared_length(row: &[f32]) -> f64 {
    let mut sums = [0.0_f64; 4];
    let quads = row.chunks_exact(4);
    let rest: f64 = quads.remainder().iter().map(|&v| f64::from(v) * f64::from(v)).sum();
    for quad in quads {
        for (sum, &v) in sums.iter_mut().zip(quad) {
            *sum += f64::from(v) * f64::from(v);
        }
    }
    (sums[0] + sums[1]) + (sums[2] + sums[3]) + rest
}

/// Squared Euclidean distance of a row to an f64 point.
pub(crate) fn squared_distance(row: &[f32], point: &[f64]) -> f64 {
    row.iter().zip(point).map(|(&v, &p)| (f64::from(v) - p) * (f64::from(v) - p)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_centred_and_scaled_by_a_power_of_two() {
        let p = Prepared::new(&Matrix::new(&[10.0, 5.0, 16.0, 5.0], 2, 2).unwrap());
        assert_eq!(p.x, [-0.75, 0.0, 0.75, 0.0]);
        assert_eq!(p.norms, [0.5625, 0.5625]);
        assert_eq!(p.mean_variance, 0.28125);
    }

    #[test]
    fn the_scale_reaches_huge_tiny_and_zero_features() {
        for v in [f32::MAX, 1e-40, 0.0] {
            let p = Prepared::new(&Matrix::new(&[-v, v], 2, 1).unwrap());
            let range = if v > 0.0 { 0.5..=1.0 } else { 0.0..=0.0 };
            assert!(range.contains(&p.x[1]), "{v}: {:?}", p.x);
            assert!(p.norms.iter().all(|n| n.is_finite()));
        }
    }
}

//! Principal component analysis: fewer features before clustering, and the two coordinates of a picture of the clusters.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::eigen::largest;
use crate::error::ClusterError;
use crate::matrix::Matrix;
use crate::product::dots_f64;

/// Rows of the products that one task computes.
const BLOCK: usize = 128;

/// Below this share of the largest variance a direction is rounding error, and projects to 0.
const NOISE: f64 = 1e-12;

/// What [`pca`] found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Projection {
    /// Coordinates of the rows, `rows * dims`, row after row.
    pub values: Vec<f32>,
    /// Number of coordinates of each row.
    pub dims: usize,
    /// Mean of each feature, `cols` values.
    pub mean: Vec<f64>,
    /// Unit directions by falling variance, `dims * cols`, one after another; 0 where no variance is left.
    pub components: Vec<f64>,
    /// Sample variance (divided by `rows - 1`) along each direction, descending.
    pub variance: Vec<f64>,
}

/// Projects the rows onto their `dims` directions of largest variance.
///
/// Exact, by the eigenvectors of the smaller of the covariance (`cols x cols`) and the Gram matrix (`rows x rows`) in f64. Each
/// direction has the sign that makes its entry of largest magnitude positive, as scikit-learn's
/// `svd_flip(u_based_decision=False)` in `sklearn.decomposition.PCA(svd_solver="full")`, which this equals. Where two
/// variances are equal their directions are arbitrary within their plane. Takes `rows * cols * min(rows, cols)` operations.
///
/// # Errors
/// [`ClusterError::Setting`] when `dims` is not from 1 to the smaller of `rows` and `cols`.
pub fn pca(matrix: &Matrix<'_>, dims: usize) -> Result<Projection, ClusterError> {
    let (rows, cols) = (matrix.rows(), matrix.cols());
    if dims == 0 || dims > rows.min(cols) {
        let expected = "1 to the smaller number of rows and columns";
        let value = format!("{dims} for {rows} row(s) x {cols} column(s)");
        return Err(ClusterError::Setting { name: "dims", value, expected });
    }
    let mean = matrix.column_means();
    let centred = |r: usize, c: usize| f64::from(matrix.data()[r * cols + c]) - mean[c];
    let by_row: Vec<f64> = (0..rows * cols).into_par_iter().map(|i| centred(i / cols, i % cols)).collect();
    let (squares, mut components) = if cols <= rows {
        let by_column: Vec<f64> = (0..rows * cols).into_par_iter().map(|i| centred(i % rows, i / rows)).collect();
        largest(products(&by_column, &by_column, rows), cols, dims)
    } else {
        let (squares, u) = largest(products(&by_row, &by_row, cols), rows, dims);
        let directions = u.into_par_iter().map(|u| combine(&by_row, &u, cols)).collect();
        (squares, directions)
    };
    let floor = squares[0].max(0.0) * NOISE;
    for (direction, &square) in components.iter_mut().zip(&squares) {
        orient(direction, square > floor);
    }
    let components: Vec<f64> = components.into_iter().flatten().collect();
    let values = products(&by_row, &components, cols).into_iter().map(|v| v as f32).collect();
    let degrees = rows.saturating_sub(1).max(1) as f64;
    let variance = squares.into_iter().map(|s| if s > floor { s / degrees } else { 0.0 }).collect();
    Ok(Projection { values, dims, mean, components, variance })
}

/// `a_i . b_j` for all rows of `d` values, row-major.
fn products(a: &[f64], b: &[f64], d: usize) -> Vec<f64> {
    let n = b.len() / d;
    let mut out = vec![0.0; a.len() / d * n];
    out.par_chunks_mut(BLOCK * n).zip(a.par_chunks(BLOCK * d)).for_each(|(out, a)| dots_f64(a, b, d, out));
    out
}

/// The sum of the rows of `x`, weighted.
fn combine(x: &[f64], weights: &[f64], cols: usize) -> Vec<f64> {
    let mut out = vec![0.0; cols];
    for (row, w) in x.chunks_exact(cols).zip(weights) {
        out.iter_mut().zip(row).for_each(|(o, v)| *o += w * v);
    }
    out
}

/// Scales to length 1 with the first entry of largest magnitude positive; to 0 when there is nothing in this direction.
fn orient(direction: &mut [f64], used: bool) {
    if !used {
        direction.fill(0.0);
        return;
    }
    // Entries equal but for rounding count as equal, so that rounding does not decide the sign; the first of them does.
    let highest = direction.iter().fold(0.0_f64, |best, v| best.max(v.abs()));
    let strongest = direction.iter().copied().find(|v| v.abs() >= highest * (1.0 - 1e-9)).unwrap_or(highest);
    // Divided by the strongest entry first, so that no square is lost; this also sets the sign.
    direction.iter_mut().for_each(|v| *v /= strongest);
    let length = direction.iter().map(|v| v * v).sum::<f64>().sqrt();
    direction.iter_mut().for_each(|v| *v /= length);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_on_a_line_need_one_direction() {
        let data = [0.0, 1.0, -3.0, -3.0, 6.0, 9.0];
        // (0, 1), (-3, -3), (6, 9) lie on y = 4 x / 3 + 1.
        let p = pca(&Matrix::new(&data, 3, 2).unwrap(), 2).unwrap();
        assert_eq!(p.values, [-5.0 / 3.0, 0.0, -20.0 / 3.0, 0.0, 25.0 / 3.0, 0.0].map(|v: f64| v as f32));
        assert!((p.components[0] - 0.6).abs() < 1e-12 && (p.components[1] - 0.8).abs() < 1e-12);
        assert_eq!((p.components[2], p.components[3], p.variance[1]), (0.0, 0.0, 0.0));
    }

    #[test]
    fn both_sides_of_the_matrix_agree() {
        // 6 x 5 goes by the covariance; with two zero columns more it goes by the Gram matrix.
        let value = |r: usize, c: usize| ((r * 31 + c * 17) % 23) as f32 - 11.0;
        let tall: Vec<f32> = (0..30).map(|i| value(i / 5, i % 5)).collect();
        let wide: Vec<f32> = (0..42).map(|i| if i % 7 < 5 { value(i / 7, i % 7) } else { 4.0 }).collect();
        let tall = pca(&Matrix::new(&tall, 6, 5).unwrap(), 3).unwrap();
        let wide = pca(&Matrix::new(&wide, 6, 7).unwrap(), 3).unwrap();
        for (a, b) in tall.values.iter().zip(&wide.values) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
    }

    #[test]
    fn constant_features_project_to_zero_and_too_many_dims_are_refused() {
        let matrix = Matrix::new(&[5.0; 12], 4, 3).unwrap();
        let p = pca(&matrix, 2).unwrap();
        assert_eq!((p.values, p.variance, p.mean), (vec![0.0; 8], vec![0.0; 2], vec![5.0; 3]));
        let error = pca(&matrix, 4).unwrap_err().to_string();
        assert_eq!(error, "dims is 4 for 4 row(s) x 3 column(s), expected 1 to the smaller number of rows and columns");
    }
}

//! The feature matrix every function takes: a checked view of `rows x cols` values.

use std::cmp::Ordering;

use rayon::prelude::*;

use crate::error::ClusterError;

/// How many bad rows an error lists.
const LISTED: usize = 10;

/// Features of `rows` samples, `cols` values each, row after row. All values are finite.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
}

impl<'a> Matrix<'a> {
    /// Looks at `data` as `rows` x `cols` values, row after row.
    ///
    /// # Errors
    /// [`ClusterError::Empty`] for no rows or no columns, [`ClusterError::WrongLength`] when `data` has another length,
    /// [`ClusterError::NotFinite`] with the first ten rows that hold a NaN or an infinity.
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Result<Self, ClusterError> {
        if rows == 0 || cols == 0 {
            return Err(ClusterError::Empty { rows, cols });
        }
        if rows.checked_mul(cols) != Some(data.len()) {
            return Err(ClusterError::WrongLength { rows, cols, len: data.len() });
        }
        let bad: Vec<usize> = data
            .par_chunks_exact(cols)
            .enumerate()
            .filter(|(_, row)| row.iter().any(|v| !v.is_finite()))
            .map(|(i, _)| i)
            .collect();
        if !bad.is_empty() {
            let count = bad.len();
            return Err(ClusterError::NotFinite { count, rows, listed: bad.into_iter().take(LISTED).collect() });
        }
        Ok(Self { data, rows, cols })
    }

    /// Number of samples, at least 1.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Features of each sample, at least 1.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// All values, row after row.
    #[must_use]
    pub fn data(&self) -> &'a [f32] {
        self.data
    }

    /// The features of sample `index`, `cols` values.
    ///
    /// # Panics
    /// When `index` is not below [`Matrix::rows`], like a slice.
    #[must_use]
    pub fn row(&self, index: usize) -> &'a [f32] {
        &self.data[index * self.cols..(index + 1) * self.cols]
    }

    /// Copies the rows `indices`, in that order, one after another.
    ///
    /// # Panics
    /// When an index is not below [`Matrix::rows`], like a slice.
    #[must_use]
    pub fn gather(&self, indices: &[usize]) -> Vec<f32> {
        indices.iter().flat_map(|&i| self.row(i).iter().copied()).collect()
    }

    /// For each row the number of its value in order of first appearance, and how many distinct values there are.
    /// Rows are equal when all their values compare equal (so 0 and -0 are).
    pub(crate) fn distinct(&self) -> (Vec<usize>, usize) {
        let mut order: Vec<usize> = (0..self.rows).collect();
        // Ties by index make the order, and with it the first appearance, unique.
        order.sort_unstable_by(|&a, &b| compare(self.row(a), self.row(b)).then(a.cmp(&b)));
        let mut first = vec![0; self.rows];
        for pair in 0..order.len() {
            let row = order[pair];
            let same = pair > 0 && compare(self.row(order[pair - 1]), self.row(row)) == Ordering::Equal;
            first[row] = if same { first[order[pair - 1]] } else { row };
        }
        let mut number = vec![0; self.rows];
        let mut count = 0;
        for row in 0..self.rows {
            if first[row] == row {
                number[row] = count;
                count += 1;
            } else {
                number[row] = number[first[row]];
            }
        }
        (number, count)
    }

    /// The mean of every column in f64, summed in row order within blocks and then over the blocks.
    pub(crate) fn column_means(&self) -> Vec<f64> {
        let partial: Vec<Vec<f64>> = self
            .data
            .par_chunks(self.cols * crate::product::BLOCK_ROWS)
            .map(|block| {
                let mut sums = vec![0.0; self.cols];
                for row in block.chunks_exact(self.cols) {
                    for (sum, &v) in sums.iter_mut().zip(row) {
                        *sum += f64::from(v);
                    }
                }
                sums
            })
            .collect();
        let mut mean = vec![0.0; self.cols];
        for sums in partial {
            for (m, s) in mean.iter_mut().zip(sums) {
                *m += s;
            }
        }
        let n = self.rows as f64;
        mean.iter_mut().for_each(|m| *m /= n);
        mean
    }
}

fn compare(a: &[f32], b: &[f32]) -> Ordering {
    a.partial_cmp(b).expect("a checked matrix has no NaN")
}

/// Divides every row by its Euclidean length (computed in f64). A row of zeros stays as it is.
///
/// Equals `sklearn.preprocessing.normalize(x, norm="l2")`. Returns `rows * cols` values, row after row.
#[must_use]
pub fn l2_normalise(matrix: &Matrix<'_>) -> Vec<f32> {
    let mut out = matrix.data.to_vec();
    out.par_chunks_exact_mut(matrix.cols).for_each(|row| {
        let length = row.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt();
        if length > 0.0 {
            row.iter_mut().for_each(|v| *v = (f64::from(*v) / length) as f32);
        }
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_length_names_both_lengths() {
        let message = Matrix::new(&[1.0; 5], 2, 3).unwrap_err().to_string();
        assert!(message.contains("2 x 3 needs 6 values, got 5"), "{message}");
        assert_eq!(Matrix::new(&[], 0, 3).unwrap_err(), ClusterError::Empty { rows: 0, cols: 3 });
        assert!(matches!(Matrix::new(&[1.0], usize::MAX, 2), Err(ClusterError::WrongLength { .. })));
    }

    #[test]
    fn bad_rows_are_listed_up_to_ten() {
        let mut data = vec![0.0_f32; 40];
        for row in 3..15 {
            data[row * 2 + 1] = if row % 2 == 0 { f32::NAN } else { f32::NEG_INFINITY };
        }
        let expected = ClusterError::NotFinite { count: 12, rows: 20, listed: (3..13).collect() };
        assert_eq!(Matrix::new(&data, 20, 2).unwrap_err(), expected);
    }

    #[test]
    fn distinct_rows_are_numbered_by_first_appearance() {
        let data = [5.0, 1.0, 0.0, 2.0, 5.0, 1.0, -0.0, 2.0, 4.0, 4.0];
        let (number, count) = Matrix::new(&data, 5, 2).unwrap().distinct();
        assert_eq!((number, count), (vec![0, 1, 0, 1, 2], 3));
    }

    #[test]
    fn normalising_gives_length_one_and_keeps_zero_rows() {
        let data = [3.0, 4.0, 0.0, 0.0, 1e30, 0.0];
        let out = l2_normalise(&Matrix::new(&data, 3, 2).unwrap());
        assert_eq!(out, [0.6, 0.8, 0.0, 0.0, 1.0, 0.0]);
    }

    #[test]
    fn gather_copies_rows_in_the_order_asked_for() {
        let data = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
        assert_eq!(Matrix::new(&data, 3, 2).unwrap().gather(&[2, 0, 2]), [4.0, 5.0, 0.0, 1.0, 4.0, 5.0]);
    }
}

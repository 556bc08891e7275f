//! How far apart two sets of pictures are, by features of a network: for measuring generators.
//!
//! Both distances compare sets, not pairs, and need features of one and the same network. They are for evaluation only.

use nalgebra::{DMatrix, DVector, SymmetricEigen};

/// Features of one set of pictures, one row per picture.
#[derive(Debug, Clone, Copy)]
pub struct FeatureSet<'a> {
    values: &'a [f32],
    width: usize,
}

/// Why two sets cannot be compared.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum QualityError {
    /// Occurs when the numbers do not make whole rows, or too few of them.
    #[error("{count} numbers in rows of {width}: expected at least two whole rows of finite numbers")]
    Rows {
        /// Numbers given.
        count: usize,
        /// Numbers per row.
        width: usize,
    },
    /// Occurs when two sets come from different networks.
    #[error("sets with {0} and {1} features per picture: take both from one network")]
    Widths(usize, usize),
    /// Occurs when more components are asked for than the reference has.
    #[error(
        "{dims} components of {rows} pictures with {width} features: expected 1 to fewer than pictures, at most the features"
    )]
    Components {
        /// Components asked for.
        dims: usize,
        /// Pictures of the reference.
        rows: usize,
        /// Features per picture.
        width: usize,
    },
}

impl<'a> FeatureSet<'a> {
    /// From `rows * width` numbers, row by row.
    ///
    /// # Errors
    /// [`QualityError::Rows`].
    pub fn new(values: &'a [f32], width: usize) -> Result<Self, QualityError> {
        let whole = width > 0 && values.len().is_multiple_of(width) && values.len() / width >= 2;
        if !whole || values.iter().any(|value| !value.is_finite()) {
            return Err(QualityError::Rows { count: values.len(), width });
        }
        Ok(Self { values, width })
    }

    fn rows(&self) -> usize {
        self.values.len() / self.width
    }

    fn matrix(&self) -> DMatrix<f64> {
        DMatrix::from_row_iterator(self.rows(), self.width, self.values.iter().map(|&value| f64::from(value)))
    }

    fn same_width(&self, other: &Self) -> Result<(), QualityError> {
        if self.width == other.width { Ok(()) } else { Err(QualityError::Widths(self.width, other.width)) }
    }
}

/// The Frechet distance between Gaussians fitted to the two sets (Heusel et al. 2017), on the `dims` leading principal
/// components of `reference`: `|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))`.
///
/// A covariance of all 1280 features needs several thousand pictures; a few hundred determine a few dozen components.
/// Figures can therefore be compared with each other, for equal sets of equal size, and not with published FIDs.
///
/// # Errors
/// [`QualityError::Widths`], [`QualityError::Components`].
pub fn frechet_distance(
    reference: FeatureSet<'_>,
    candidate: FeatureSet<'_>,
    dims: usize,
) -> Result<f64, QualityError> {
    reference.same_width(&candidate)?;
    let (rows, width) = (reference.rows(), reference.width);
    if dims == 0 || dims >= rows || dims > width {
        return Err(QualityError::Components { dims, rows, width });
    }
    let mean = reference.matrix().row_mean();
    let centred = |set: FeatureSet<'_>| {
        let mut matrix = set.matrix();
        matrix.row_iter_mut().for_each(|mut row| row -= &mean);
        matrix
    };
    let (a, b) = (centred(reference), centred(candidate));
    let components = leading_components(&a, dims);
    let (a, b) = (a * &components, b * &components);
    let difference = b.row_mean() - a.row_mean();
    let (first, second) = (covariance(&a), covariance(&b));
    // tr((S1 S2)^(1/2)) through the symmetric S1^(1/2) S2 S1^(1/2), which has the same eigenvalues.
    let root = symmetric_root(&first);
    let middle = &root * &second * &root;
    let shared: f64 = SymmetricEigen::new(symmetric(middle)).eigenvalues.iter().map(|v| v.max(0.0).sqrt()).sum();
    Ok(difference.norm_squared() + first.trace() + second.trace() - 2.0 * shared)
}

/// The unbiased squared maximum mean discrepancy with the kernel `(x.y / width + 1)^3` ("KID", Binkowski et al. 2018). It
/// needs no covariance, so few pictures do, and it can come out a little below 0 for equal sets.
///
/// # Errors
/// [`QualityError::Widths`].
pub fn kernel_distance(reference: FeatureSet<'_>, candidate: FeatureSet<'_>) -> Result<f64, QualityError> {
    reference.same_width(&candidate)?;
    let (a, b) = (reference.matrix(), candidate.matrix());
    let kernel = |x: &DMatrix<f64>, y: &DMatrix<f64>| {
        (x * y.transpose()).map(|product| (product / reference.width as f64 + 1.0).powi(3))
    };
    let within = |x: &DMatrix<f64>| {
        let (k, n) = (kernel(x, x), x.nrows() as f64);
        (k.sum() - k.trace()) / (n * (n - 1.0))
    };
    Ok(within(&a) + within(&b) - 2.0 * kernel(&a, &b).mean())
}

/// The `dims` directions of largest variance of centred rows, as columns; by the Gram matrix where rows are fewer than
/// columns, which has the same eigenvalues.
fn leading_components(rows: &DMatrix<f64>, dims: usize) -> DMatrix<f64> {
    let few = rows.nrows() < rows.ncols();
    let products = if few { rows * rows.transpose() } else { rows.transpose() * rows };
    let eigen = SymmetricEigen::new(symmetric(products));
    let mut order: Vec<usize> = (0..eigen.eigenvalues.len()).collect();
    order.sort_by(|&i, &j| eigen.eigenvalues[j].total_cmp(&eigen.eigenvalues[i]));
    let direction = |&i: &usize| -> DVector<f64> {
        let vector = eigen.eigenvectors.column(i).into_owned();
        let vector = if few { rows.transpose() * vector } else { vector };
        let length = vector.norm();
        if length > 0.0 { vector / length } else { vector }
    };
    DMatrix::from_columns(&order.iter().take(dims).map(direction).collect::<Vec<_>>())
}

/// Rounding makes a product of symmetric matrices a little lopsided.
fn symmetric(matrix: DMatrix<f64>) -> DMatrix<f64> {
    (&matrix + matrix.transpose()) * 0.5
}

/// Divided by `rows - 1`, as `numpy.cov`.
fn covariance(rows: &DMatrix<f64>) -> DMatrix<f64> {
    let mean = rows.row_mean();
    let mut centred = rows.clone();
    centred.row_iter_mut().for_each(|mut row| row -= &mean);
    centred.transpose() * &centred / (rows.nrows() as f64 - 1.0)
}

fn symmetric_root(matrix: &DMatrix<f64>) -> DMatrix<f64> {
    let eigen = SymmetricEigen::new(symmetric(matrix.clone()));
    let roots = DMatrix::from_diagonal(&eigen.eigenvalues.map(|value| value.max(0.0).sqrt()));
    &eigen.eigenvectors * roots * eigen.eigenvectors.transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(value: &serde_json::Value) -> Vec<f32> {
        value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
    }

    #[test]
    fn distances_equal_numpy_and_scipy() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/inpaint/reference.json");
        let reference: serde_json::Value = serde_json::from_slice(&fs_err::read(path).unwrap()).unwrap();
        for case in reference["distances"].as_array().unwrap() {
            let (a, b) = (numbers(&case["a"]), numbers(&case["b"]));
            let width = case["width"].as_u64().unwrap() as usize;
            let (a, b) = (FeatureSet::new(&a, width).unwrap(), FeatureSet::new(&b, width).unwrap());
            let frechet = frechet_distance(a, b, case["dims"].as_u64().unwrap() as usize).unwrap();
            let kernel = kernel_distance(a, b).unwrap();
            let (wanted_frechet, wanted_kernel) = (case["frechet"].as_f64().unwrap(), case["kid"].as_f64().unwrap());
            assert!((frechet / wanted_frechet - 1.0).abs() < 1e-4, "width {width}: {frechet}, not {wanted_frechet}");
            assert!((kernel / wanted_kernel - 1.0).abs() < 1e-4, "width {width}: {kernel}, not {wanted_kernel}");
        }
    }

    #[test]
    fn a_set_is_no_distance_from_itself() {
        let values: Vec<f32> = (0..300).map(|i| ((i * 7919) % 101) as f32 / 50.0).collect();
        let set = FeatureSet::new(&values, 10).unwrap();
        assert!(frechet_distance(set, set, 5).unwrap().abs() < 1e-9);
        assert!(kernel_distance(set, set).unwrap() < 0.0, "the diagonal is left out within and counted between");
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        assert!(matches!(FeatureSet::new(&[1.0; 7], 3), Err(QualityError::Rows { .. })));
        assert!(matches!(FeatureSet::new(&[1.0, f32::NAN], 1), Err(QualityError::Rows { .. })));
        let (a, b) = (FeatureSet::new(&[1.0; 8], 2).unwrap(), FeatureSet::new(&[1.0; 8], 4).unwrap());
        assert_eq!(kernel_distance(a, b), Err(QualityError::Widths(2, 4)));
        for dims in [0, 3, 4] {
            assert!(matches!(frechet_distance(a, a, dims), Err(QualityError::Components { .. })));
        }
    }
}

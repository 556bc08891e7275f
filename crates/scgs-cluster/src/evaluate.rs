//! Measures of a clustering: inertia, and agreement with known groups (for evaluation only).

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::error::ClusterError;
use crate::matrix::Matrix;

/// Squared Euclidean distance of each row to the centroid it is assigned to, in f64.
pub(crate) fn squared_row_distance(
    matrix: &Matrix<'_>,
    centroids: &[f32],
    assignments: &[usize],
) -> Result<Vec<f64>, ClusterError> {
    let cols = matrix.cols();
    if assignments.len() != matrix.rows() {
        return Err(ClusterError::LengthMismatch {
            what: "assignments",
            found: assignments.len(),
            expected: matrix.rows(),
        });
    }
    let k = centroids.len() / cols;
    if centroids.len() != k * cols {
        let expected = (k + 1) * cols;
        return Err(ClusterError::LengthMismatch { what: "centroids", found: centroids.len(), expected });
    }
    if let Some(row) = assignments.iter().position(|&cluster| cluster >= k) {
        return Err(ClusterError::UnknownCluster { row, cluster: assignments[row], k });
    }
    Ok(assignments
        .par_iter()
        .enumerate()
        .map(|(row, &cluster)| {
            let centroid = &centroids[cluster * cols..(cluster + 1) * cols];
            let differences = matrix.row(row).iter().zip(centroid).map(|(&x, &c)| f64::from(x) - f64::from(c));
            differences.map(|d| d * d).sum()
        })
        .collect())
}

/// Sum over the rows of the squared Euclidean distance to their centroid, in f64 and in row order.
///
/// `centroids` has `k * cols` values, `assignments` one entry of `0..k` for each row.
///
/// # Errors
/// [`ClusterError::LengthMismatch`] when a list has the wrong length, [`ClusterError::UnknownCluster`] when an assignment is
/// not below `k`.
pub fn inertia(matrix: &Matrix<'_>, centroids: &[f32], assignments: &[usize]) -> Result<f64, ClusterError> {
    Ok(squared_row_distance(matrix, centroids, assignments)?.iter().sum())
}

/// Counts of (cluster, group) pairs, of clusters and of groups.
struct Contingency {
    pairs: BTreeMap<(usize, usize), usize>,
    rows: BTreeMap<usize, usize>,
    columns: BTreeMap<usize, usize>,
}

impl Contingency {
    fn new(a: &[usize], b: &[usize]) -> Result<Self, ClusterError> {
        if a.len() != b.len() {
            return Err(ClusterError::LengthMismatch {
                what: "the second labelling",
                found: b.len(),
                expected: a.len(),
            });
        }
        if a.is_empty() {
            return Err(ClusterError::Empty { rows: 0, cols: 1 });
        }
        let mut table = Self { pairs: BTreeMap::new(), rows: BTreeMap::new(), columns: BTreeMap::new() };
        for (&x, &y) in a.iter().zip(b) {
            *table.pairs.entry((x, y)).or_default() += 1;
            *table.rows.entry(x).or_default() += 1;
            *table.columns.entry(y).or_default() += 1;
        }
        Ok(table)
    }
}

/// Share of rows that belong to the commonest group of their cluster, above 0 and at most 1.
///
/// `sum_j max_g |cluster_j and group_g| / n` (C. Manning, P. Raghavan, H. Schuetze, "Introduction to Information Retrieval",
/// 2008, section 16.3). One cluster for each row has purity 1: compare only at equal numbers of clusters.
///
/// # Errors
/// [`ClusterError::LengthMismatch`] when the lists differ in length, [`ClusterError::Empty`] when they are empty.
pub fn purity(assignments: &[usize], groups: &[usize]) -> Result<f64, ClusterError> {
    let table = Contingency::new(assignments, groups)?;
    let mut largest: BTreeMap<usize, usize> = BTreeMap::new();
    for (&(cluster, _), &n) in &table.pairs {
        let most = largest.entry(cluster).or_default();
        *most = (*most).max(n);
    }
    Ok(largest.values().sum::<usize>() as f64 / assignments.len() as f64)
}

/// Agreement of two labellings, corrected for chance: 1 when they are equal up to names, about 0 for independent ones, down to
/// -0.5.
///
/// L. Hubert and P. Arabie, "Comparing partitions", Journal of Classification 2, 1985, equation 5. Equals
/// `sklearn.metrics.adjusted_rand_score`, with 1 for two trivial labellings.
///
/// # Errors
/// [`ClusterError::LengthMismatch`] when the lists differ in length, [`ClusterError::Empty`] when they are empty.
pub fn adjusted_rand_index(a: &[usize], b: &[usize]) -> Result<f64, ClusterError> {
    let table = Contingency::new(a, b)?;
    let pairs = |n: usize| n as f64 * (n as f64 - 1.0) / 2.0;
    let both: f64 = table.pairs.values().map(|&n| pairs(n)).sum();
    let first: f64 = table.rows.values().map(|&n| pairs(n)).sum();
    let second: f64 = table.columns.values().map(|&n| pairs(n)).sum();
    if both == first && both == second {
        return Ok(1.0);
    }
    let expected = first * second / pairs(a.len());
    Ok((both - expected) / ((first + second) / 2.0 - expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purity_counts_the_commonest_group() {
        // The example of the book: clusters of 6, 6 and 5 with majorities of 5, 4 and 3.
        let clusters = [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2];
        let groups = [0, 0, 0, 0, 0, 1, 0, 1, 1, 1, 1, 2, 0, 0, 2, 2, 2];
        assert_eq!(purity(&clusters, &groups).unwrap(), 12.0 / 17.0);
    }

    #[test]
    fn the_rand_index_ignores_names_and_corrects_for_chance() {
        assert_eq!(adjusted_rand_index(&[0, 0, 1, 1], &[5, 5, 2, 2]).unwrap(), 1.0);
        let crossed = adjusted_rand_index(&[0, 0, 1, 1], &[0, 1, 0, 1]).unwrap();
        assert!((crossed + 0.5).abs() < 1e-15, "{crossed}");
        assert_eq!(adjusted_rand_index(&[0, 0, 0], &[0, 0, 0]).unwrap(), 1.0);
        assert_eq!(adjusted_rand_index(&[0], &[3]).unwrap(), 1.0);
        assert!(matches!(adjusted_rand_index(&[0], &[]), Err(ClusterError::LengthMismatch { .. })));
        assert!(matches!(purity(&[], &[]), Err(ClusterError::Empty { .. })));
    }

    #[test]
    fn inertia_names_what_is_wrong() {
        let data = [0.0, 3.0, 10.0];
        let matrix = Matrix::new(&data, 3, 1).unwrap();
        assert_eq!(inertia(&matrix, &[1.0, 10.0], &[0, 0, 1]).unwrap(), 5.0);
        let error = inertia(&matrix, &[1.0, 10.0], &[0, 2, 1]).unwrap_err();
        assert_eq!(error.to_string(), "row 1 is assigned to cluster 2, but there are only 2 centroids (0 to 1)");
        assert!(matches!(inertia(&matrix, &[1.0], &[0]), Err(ClusterError::LengthMismatch { .. })));
    }
}

//! Clusters inside each class: mistakes of one class look alike for reasons that another class does not share.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::ClusterError;
use crate::kmeans::{Clustering, KMeansConfig, kmeans};
use crate::matrix::Matrix;
use crate::silhouette::choose_k;

/// The number of clusters of every class.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClassK {
    /// [`KMeansConfig::k`]; a class with fewer rows gets as many clusters as it has rows.
    #[default]
    Fixed,
    /// The one of these with the highest silhouette; one cluster for a class where none can be scored.
    Silhouette(Vec<usize>),
}

/// The clusters of one class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassClusters {
    /// The class.
    pub class: usize,
    /// Rows of the matrix that belong to it, ascending.
    pub rows: Vec<usize>,
    /// Its clusters; `assignments[i]` is the cluster of row `rows[i]`.
    pub clustering: Clustering,
    /// Euclidean distance of each of `rows` to its centroid.
    pub distances: Vec<f64>,
    /// (k, mean silhouette) where k was chosen, else empty.
    pub scores: Vec<(usize, f64)>,
}

/// Clusters the rows of each class by themselves, ascending by class.
///
/// `labels` has the class of each row. Every class is clustered with the settings of `config` (its seed too, so that a class's
/// clusters do not depend on which other classes there are).
///
/// # Errors
/// [`ClusterError::LengthMismatch`] when `labels` has another length than `matrix` has rows; the errors of [`kmeans()`] and
/// [`choose_k`].
pub fn per_class(
    matrix: &Matrix<'_>,
    labels: &[usize],
    config: &KMeansConfig,
    choice: &ClassK,
) -> Result<Vec<ClassClusters>, ClusterError> {
    config.check()?;
    if labels.len() != matrix.rows() {
        return Err(ClusterError::LengthMismatch { what: "labels", found: labels.len(), expected: matrix.rows() });
    }
    let mut classes: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (row, &class) in labels.iter().enumerate() {
        classes.entry(class).or_default().push(row);
    }
    classes
        .into_iter()
        .map(|(class, rows)| {
            let data = matrix.gather(&rows);
            let own = Matrix::new(&data, rows.len(), matrix.cols())?;
            let fixed = |k: usize| kmeans(&own, &KMeansConfig { k, ..config.clone() });
            let (clustering, scores) = match choice {
                ClassK::Fixed => (fixed(config.k.min(rows.len()))?, Vec::new()),
                ClassK::Silhouette(ks) => match choose_k(&own, ks, config) {
                    Ok(chosen) => (chosen.clustering, chosen.scores),
                    Err(ClusterError::NoUsableK { .. }) => (fixed(1)?, Vec::new()),
                    Err(error) => return Err(error),
                },
            };
            let distances = clustering.distances(&own)?;
            Ok(ClassClusters { class, rows, clustering, distances, scores })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_has_its_own_clusters() {
        let data = [0.0, 50.0, 1.0, 51.0, 100.0, 7.0, 101.0];
        let labels = [3, 1, 3, 1, 3, 9, 3];
        let matrix = Matrix::new(&data, 7, 1).unwrap();
        let classes = per_class(&matrix, &labels, &KMeansConfig::new(2), &ClassK::Fixed).unwrap();
        assert_eq!(classes.iter().map(|c| c.class).collect::<Vec<_>>(), [1, 3, 9]);
        assert_eq!(classes[1].rows, [0, 2, 4, 6]);
        let a = &classes[1].clustering.assignments;
        assert!(a[0] == a[1] && a[2] == a[3] && a[0] != a[2]);
        assert_eq!(classes[1].distances, [0.5; 4]);
        // One row, two clusters asked for.
        assert_eq!((classes[2].clustering.k, classes[2].clustering.centroids.as_slice()), (1, [7.0].as_slice()));
    }

    #[test]
    fn k_is_chosen_for_each_class() {
        let groups = [2, 4, 1];
        let mut data = Vec::new();
        let mut labels = Vec::new();
        for (class, &n) in groups.iter().enumerate() {
            for i in 0..if n == 1 { 2 } else { 40 } {
                data.push((i % n) as f32 * 10.0 + ((i * 7) % 5) as f32 * 0.1);
                labels.push(class);
            }
        }
        let matrix = Matrix::new(&data, data.len(), 1).unwrap();
        let choice = ClassK::Silhouette(vec![2, 3, 4, 5]);
        let classes = per_class(&matrix, &labels, &KMeansConfig::new(1), &choice).unwrap();
        assert_eq!(classes.iter().map(|c| c.clustering.k).collect::<Vec<_>>(), groups);
        assert_eq!(classes[0].scores.len(), 4);
        assert!(matches!(
            per_class(&matrix, &[0], &KMeansConfig::new(1), &choice),
            Err(ClusterError::LengthMismatch { .. })
        ));
    }
}

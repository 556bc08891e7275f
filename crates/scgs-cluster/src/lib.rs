//! Which mistakes look alike: k-means on features, the choice of k, projections, and balanced picks of sources.
//!
//! Knows nothing of pictures, models, files or the network: features come in as a [`Matrix`].
//!
//! ```
//! use scgs_cluster::{Candidate, KMeansConfig, Matrix, PickOrder, balanced_pick, kmeans};
//!
//! // Six samples with two features each: two clear groups.
//! let features = [0.0, 0.1, 0.2, 0.0, 0.1, 0.2, 5.0, 5.1, 5.2, 5.0, 5.1, 5.2];
//! let matrix = Matrix::new(&features, 6, 2)?;
//! let found = kmeans(&matrix, &KMeansConfig::new(2))?;
//! assert_eq!(found.sizes(), [3, 3]);
//! assert!(found.inertia < 0.1);
//!
//! // Two sources, one from each cluster, nearest to its centre.
//! let distances = found.distances(&matrix)?;
//! let candidates: Vec<Candidate> = (0..6)
//!     .map(|i| Candidate { id: i as u64, class: 0, cluster: found.assignments[i], distance: distances[i] })
//!     .collect();
//! let picks = balanced_pick(&candidates, 2, PickOrder::NearestToCentre, 0)?;
//! assert_ne!(picks[0].cluster, picks[1].cluster);
//! # Ok::<(), scgs_cluster::ClusterError>(())
//! ```
//!
//! Every result depends on the input, the settings and the seed alone, never on the number of threads.
//!
//! # Features
//! `simd` adds the engine [`Engine::Simd`], the `kmeans` crate. It uses two unstable library features, so it builds on a nightly
//! compiler, or on a stable one with `RUSTC_BOOTSTRAP=kmeans` in the environment. Without it everything works on stable.

mod breathe;
mod eigen;
mod error;
mod evaluate;
mod kmeans;
mod lloyd;
mod matrix;
mod pca;
mod per_class;
mod pick;
mod prepare;
mod product;
mod seeding;
mod silhouette;
#[cfg(feature = "simd")]
mod simd;

pub use error::ClusterError;
pub use evaluate::{adjusted_rand_index, inertia, purity};
pub use kmeans::{Clustering, Engine, KMeansConfig, kmeans};
pub use matrix::{Matrix, l2_normalise};
pub use pca::{Projection, pca};
pub use per_class::{ClassClusters, ClassK, per_class};
pub use pick::{Candidate, Pick, PickOrder, balanced_pick};
pub use silhouette::{ChosenK, SILHOUETTE_ROWS, choose_k, silhouette};

/// The example of the README is tested too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

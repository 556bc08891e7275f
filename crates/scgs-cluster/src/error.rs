//! The error of every function of this crate.

/// Why a clustering, projection, measure or pick could not be made.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ClusterError {
    /// Occurs when a matrix has no rows or no columns.
    #[error(
        "a feature matrix of {rows} row(s) x {cols} column(s) has nothing to cluster; give at least one row and one column"
    )]
    Empty {
        /// Rows asked for.
        rows: usize,
        /// Columns asked for.
        cols: usize,
    },
    /// Occurs when a slice does not hold rows x columns values.
    #[error("a feature matrix of {rows} x {cols} needs {} values, got {len}; pass the rows one after another, without padding", rows.saturating_mul(*cols))]
    WrongLength {
        /// Rows asked for.
        rows: usize,
        /// Columns asked for.
        cols: usize,
        /// Values given.
        len: usize,
    },
    /// Occurs when features are NaN or infinite. At most the first ten rows are listed.
    #[error(
        "{count} of {rows} feature row(s) have a NaN or infinite value, the first: {listed:?}; look for damaged pictures or a diverged model, and leave these rows out"
    )]
    NotFinite {
        /// Number of bad rows.
        count: usize,
        /// Rows in all.
        rows: usize,
        /// The first ten bad rows, ascending.
        listed: Vec<usize>,
    },
    /// Occurs when a setting is outside its range.
    #[error("{name} is {value}, expected {expected}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: String,
        /// The allowed range.
        expected: &'static str,
    },
    /// Occurs when there are fewer rows than clusters.
    #[error("{k} clusters need at least {k} rows, got {rows}; lower k or give more rows")]
    TooFewRows {
        /// Rows given.
        rows: usize,
        /// Clusters asked for.
        k: usize,
    },
    /// Occurs when two lists that go together have different lengths.
    #[error("{what} has {found} entries, expected {expected}: one for each row")]
    LengthMismatch {
        /// The list.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The length of its partner.
        expected: usize,
    },
    /// Occurs when an assignment names a cluster that does not exist.
    #[error("row {row} is assigned to cluster {cluster}, but there are only {k} centroids (0 to {})", k.saturating_sub(1))]
    UnknownCluster {
        /// The row.
        row: usize,
        /// The cluster it names.
        cluster: usize,
        /// Number of centroids.
        k: usize,
    },
    /// Occurs when a silhouette is asked for fewer than 2 clusters, or for as many clusters as rows.
    #[error("a silhouette needs 2 to {} non-empty clusters for {rows} row(s), got {clusters}; change k", rows.saturating_sub(1))]
    Silhouette {
        /// Rows scored.
        rows: usize,
        /// Non-empty clusters among them.
        clusters: usize,
    },
    /// Occurs when none of several k can be scored.
    #[error("none of k = {ks:?} can be scored on {rows} row(s) with {distinct} distinct value(s); give a k from 2 to {}", (*distinct).min(rows.saturating_sub(1)))]
    NoUsableK {
        /// The k offered.
        ks: Vec<usize>,
        /// Rows given.
        rows: usize,
        /// Distinct rows among them.
        distinct: usize,
    },
    /// Occurs when an engine is asked for that was not compiled in.
    #[error(
        "the engine `simd` is not compiled in; enable the feature `simd` of scgs-cluster, or choose the engine `stable` or `auto`"
    )]
    EngineMissing,
    /// Occurs when a candidate of a pick has a distance that cannot be ordered.
    #[error("candidate {id} has the distance {distance}, expected a finite number of at least 0")]
    BadDistance {
        /// The candidate.
        id: u64,
        /// Its distance.
        distance: f64,
    },
    /// Occurs when two candidates of a pick have the same id.
    #[error("candidate {id} is listed twice; ids name one picture each")]
    DuplicateId {
        /// The id.
        id: u64,
    },
    /// Occurs when there is nothing to pick from.
    #[error("there are no candidates to pick from; the error set is empty")]
    NoCandidates,
}

//! Stage `3-clusters`: mistakes that look alike to the classifier, and a balanced pick among them.

use std::collections::BTreeMap;

use rand::RngExt;
use scgs_cluster::{Candidate, ClassK, KMeansConfig, Matrix, balanced_pick, l2_normalise, pca, per_class, silhouette};
use scgs_data::{atomic, stream};
use serde::{Deserialize, Serialize};

use super::{Inputs, erm, errors, masks, sources::Added};
use crate::{
    Context, Error, RunFolder, run_folder,
    settings::{Auto, ClusterCount, ClusterSettings},
};

/// Folder name.
pub const STAGE: &str = "3-clusters";
/// The largest number of clusters per class that `cluster.k = "auto"` tries.
const LARGEST_K: usize = 8;

/// A row of `clusters.csv`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// The picture.
    pub id: u64,
    /// Its class.
    pub label: usize,
    /// Cluster inside the class, counted from 0.
    pub cluster: usize,
    /// Euclidean distance to the cluster's centre in the space of the clustered features.
    pub distance: f64,
    /// First principal component of the error set's features, for a map.
    pub x: f32,
    /// Second principal component.
    pub y: f32,
}

/// A row of `pick.csv`: one new picture to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pick {
    /// The source picture.
    pub id: u64,
    /// Its class.
    pub label: usize,
    /// How often the same source was picked before.
    pub repeat: usize,
}

/// A class in `summary.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassSummary {
    /// Class index.
    pub label: usize,
    /// Mistakes per cluster.
    pub sizes: Vec<usize>,
    /// Sum of squared distances to the centres.
    pub inertia: f64,
    /// Mean silhouette, -1..=1; absent for a single cluster.
    pub silhouette: Option<f64>,
}

/// Clusters the ERM features of the error set within each class, and picks as many sources as new pictures are wanted:
/// equally many per class, within a class equally many per cluster. Writes `clusters.csv`, `summary.json`,
/// `pick.csv` and `<id>-picture.png` (the mistakes).
///
/// # Errors
/// Those of the clustering.
pub fn run(inputs: Inputs<'_>, context: &Context<'_>) -> Result<(), Error> {
    inputs.folder.stage(context, STAGE, 0, |folder| {
        let settings = &inputs.settings.cluster;
        let errors = errors::read(inputs.folder)?;
        let features = erm::train_features(inputs.folder)?;
        let row_of: BTreeMap<u64, usize> = features.ids.iter().enumerate().map(|(row, &id)| (id, row)).collect();
        let raw: Vec<f32> =
            errors.iter().filter_map(|e| row_of.get(&e.id)).flat_map(|&r| features.row(r).iter().copied()).collect();
        let (data, width) = prepare(raw, errors.len(), features.width, settings)?;
        let matrix = Matrix::new(&data, errors.len(), width)?;
        let labels: Vec<usize> = errors.iter().map(|e| e.label).collect();
        let seed = stream(inputs.folder.seed, STAGE, 0).random();
        let (k, choice) = match settings.k {
            ClusterCount::Fixed(k) => (k, ClassK::Fixed),
            ClusterCount::Chosen(Auto::Auto) => (1, ClassK::Silhouette((2..=LARGEST_K).collect())),
        };
        let config = KMeansConfig { n_init: settings.n_init, seed, ..KMeansConfig::new(k) };
        let classes = per_class(&matrix, &labels, &config, &choice)?;
        let map = pca(&matrix, 2.min(errors.len()).min(width))?;
        let mut members = Vec::new();
        let mut summaries = Vec::new();
        for class in classes {
            for (i, &row) in class.rows.iter().enumerate() {
                members.push(Member {
                    id: errors[row].id,
                    label: class.class,
                    cluster: class.clustering.assignments[i],
                    distance: class.distances[i],
                    x: map.values[row * map.dims],
                    y: if map.dims > 1 { map.values[row * map.dims + 1] } else { 0.0 },
                });
            }
            let of_class = matrix.gather(&class.rows);
            let of_class = Matrix::new(&of_class, class.rows.len(), width)?;
            summaries.push(ClassSummary {
                label: class.class,
                sizes: class.clustering.sizes(),
                inertia: class.clustering.inertia,
                // Not defined for one cluster, nor where every mistake is its own.
                silhouette: silhouette(&of_class, &class.clustering.assignments, seed).ok(),
            });
        }
        let samples = masks::samples(inputs);
        let picks = pick(inputs, &members, Added::per_class(inputs)?.total())?;
        for member in &members {
            // A copy beside the table, so that a report needs nothing but the run's folder.
            let sample = samples.get(&member.id).expect("mistakes are training pictures");
            let picture = masks::picture(inputs, sample)?;
            atomic::save_png(folder.join(format!("{}-picture.png", member.id)), &picture.into())?;
        }
        run_folder::write_csv(&folder.join("clusters.csv"), &members)?;
        run_folder::write_json(&folder.join("summary.json"), &summaries)?;
        run_folder::write_csv(&folder.join("pick.csv"), &picks)?;
        let sizes = |s: &ClassSummary| s.sizes.iter().map(usize::to_string).collect::<Vec<_>>().join("+");
        let named: Vec<String> =
            summaries.iter().map(|s| format!("{} {}", inputs.index.classes[s.label], sizes(s))).collect();
        Ok(format!("cluster sizes {}; {} sources picked", named.join(", "), picks.len()))
    })
}

/// Features as they are clustered: optionally of length 1, optionally reduced. Returns them and their width.
fn prepare(raw: Vec<f32>, rows: usize, width: usize, settings: &ClusterSettings) -> Result<(Vec<f32>, usize), Error> {
    let data = if settings.l2_normalise { l2_normalise(&Matrix::new(&raw, rows, width)?) } else { raw };
    if settings.pca == 0 {
        return Ok((data, width));
    }
    let dims = settings.pca.min(rows).min(width);
    Ok((pca(&Matrix::new(&data, rows, width)?, dims)?.values, dims))
}

/// A balanced pick among `members`.
fn pick(inputs: Inputs<'_>, members: &[Member], per_class: usize) -> Result<Vec<Pick>, Error> {
    let candidates: Vec<Candidate> = members
        .iter()
        .map(|m| Candidate { id: m.id, class: m.label, cluster: m.cluster, distance: m.distance })
        .collect();
    let picks = balanced_pick(&candidates, per_class, inputs.settings.cluster.order, inputs.folder.seed)?;
    Ok(picks.into_iter().map(|p| Pick { id: p.id, label: p.class, repeat: p.repeat }).collect())
}

/// The clustered error set.
///
/// # Errors
/// If the stage's file is missing or damaged.
pub fn members(folder: &RunFolder) -> Result<Vec<Member>, Error> {
    run_folder::read_csv(&folder.path(STAGE, "clusters.csv"))
}

/// The mistakes that `repeated` copies per class are made of: as many per cluster.
///
/// # Errors
/// If the stage's files are missing or damaged.
pub(crate) fn repeats(inputs: Inputs<'_>, repeated: usize) -> Result<Vec<Pick>, Error> {
    if repeated == 0 {
        return Ok(Vec::new());
    }
    pick(inputs, &members(inputs.folder)?, repeated)
}

/// The picked mistakes.
///
/// # Errors
/// If the stage's file is missing or damaged.
pub fn picks(folder: &RunFolder) -> Result<Vec<Pick>, Error> {
    run_folder::read_csv(&folder.path(STAGE, "pick.csv"))
}

//! Stage `3-clusters`: mistakes that look alike to the classifier, and a balanced pick among them.

use rand::RngExt;
use scgs_cluster::{Candidate, KMeansConfig, Matrix, PickOrder, balanced_pick, kmeans};
use scgs_data::stream;
use serde::{Deserialize, Serialize};

use super::{Inputs, erm, errors};
use crate::{Context, Error, RunFolder, run_folder};

/// Folder name.
pub const STAGE: &str = "3-clusters";

/// A row of `clusters.csv`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// The picture.
    pub id: u64,
    /// Its class.
    pub label: usize,
    /// Cluster inside the class, counted from 0.
    pub cluster: usize,
    /// Euclidean distance to the cluster's centre in feature space.
    pub distance: f64,
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

/// Clusters the ERM features of the error set within each class, and picks as many sources as new pictures are wanted:
/// equally many per class, within a class equally many per cluster. Writes `clusters.csv` and `pick.csv`.
///
/// # Errors
/// Those of the clustering.
pub fn run(inputs: Inputs<'_>, context: &Context<'_>) -> Result<(), Error> {
    inputs.folder.stage(context, STAGE, inputs.classes(), |folder| {
        let errors = errors::read(inputs.folder)?;
        let features = erm::train_features(inputs.folder)?;
        let mut members = Vec::new();
        let mut sizes = Vec::new();
        for class in 0..inputs.classes() {
            let rows: Vec<usize> = errors
                .iter()
                .filter(|e| e.label == class)
                .filter_map(|e| features.ids.iter().position(|&id| id == e.id))
                .collect();
            let data: Vec<f32> = rows.iter().flat_map(|&r| features.row(r).iter().copied()).collect();
            let config = KMeansConfig {
                n_init: inputs.settings.cluster.n_init,
                seed: stream(inputs.folder.seed, STAGE, class as u64).random(),
                ..KMeansConfig::new(inputs.settings.cluster.k.min(rows.len()))
            };
            let matrix = Matrix::new(&data, rows.len(), features.width)?;
            let clustering = kmeans(&matrix, &config)?;
            let distances = clustering.distances(&matrix)?;
            for (i, &row) in rows.iter().enumerate() {
                let (cluster, distance) = (clustering.assignments[i], distances[i]);
                members.push(Member { id: features.ids[row], label: class, cluster, distance });
            }
            let of_class: Vec<String> = clustering.sizes().iter().map(usize::to_string).collect();
            sizes.push(format!("{} {}", inputs.index.classes[class], of_class.join("+")));
            context.advance(STAGE, class + 1)?;
        }
        let picks = pick(inputs, &members, features.ids.len())?;
        run_folder::write_csv(&folder.join("clusters.csv"), &members)?;
        run_folder::write_csv(&folder.join("pick.csv"), &picks)?;
        Ok(format!("cluster sizes {}; {} sources picked", sizes.join(", "), picks.len()))
    })
}

/// A balanced pick among `members` for a training split of `real` pictures.
///
/// # Errors
/// If there are no members.
pub fn pick(inputs: Inputs<'_>, members: &[Member], real: usize) -> Result<Vec<Pick>, Error> {
    let wanted = (inputs.settings.synthesis.share * real as f64).round() as usize;
    let per_class = wanted.div_ceil(inputs.classes());
    let candidates: Vec<Candidate> = members
        .iter()
        .map(|m| Candidate { id: m.id, class: m.label, cluster: m.cluster, distance: m.distance })
        .collect();
    let picks = balanced_pick(&candidates, per_class, PickOrder::Uniform, inputs.folder.seed)?;
    Ok(picks.into_iter().map(|p| Pick { id: p.id, label: p.class, repeat: p.repeat }).collect())
}

/// The clustered error set.
///
/// # Errors
/// If the stage's file is missing or damaged.
pub fn members(folder: &RunFolder) -> Result<Vec<Member>, Error> {
    run_folder::read_csv(&folder.path(STAGE, "clusters.csv"))
}

/// The picked sources.
///
/// # Errors
/// If the stage's file is missing or damaged.
pub fn picks(folder: &RunFolder) -> Result<Vec<Pick>, Error> {
    run_folder::read_csv(&folder.path(STAGE, "pick.csv"))
}

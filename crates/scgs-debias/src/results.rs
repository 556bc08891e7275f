//! `results.json`: one row per arm and seed.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    Error, GroupReport, RunFolder,
    arms::{Arm, SeesGroups},
    groups::{Group, Spread},
    run_folder,
    stages::evaluate::{self, Validation},
};

/// The version of the schema; raised when a field changes its meaning.
pub const SCHEMA: u32 = 1;

/// The file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Name of the data set.
    pub dataset: String,
    /// Names of the classes, in the order of `label`.
    pub classes: Vec<String>,
    /// Names of the spurious attribute's values, in the order of `attribute`.
    pub attributes: Vec<String>,
    /// Ordered by seed, then as the table.
    pub rows: Vec<Row>,
}

/// The result of one arm with one seed. All accuracies are fractions on the test split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Name of the arm.
    pub method: String,
    /// Seed of the run.
    pub seed: u64,
    /// Counts per group.
    pub groups: Vec<Group>,
    /// Share of correct pictures.
    pub plain: f64,
    /// Group accuracies weighted by the groups' shares of the training split.
    pub train_weighted: f64,
    /// Unweighted mean of the group accuracies.
    pub group_mean: f64,
    /// Lowest group accuracy.
    pub worst_group: f64,
    /// Accuracy on the validation split, without group labels.
    pub validation: Validation,
    /// Whether group labels were used.
    pub sees_groups: SeesGroups,
}

impl Row {
    /// Derives every average from the counts. `train_counts` is in group order.
    pub fn new(arm: Arm, seed: u64, report: &GroupReport, validation: Validation, train_counts: &[usize]) -> Self {
        Self {
            method: arm.name().to_owned(),
            seed,
            groups: report.groups().to_vec(),
            plain: report.plain(),
            train_weighted: report.train_weighted(train_counts),
            group_mean: report.group_mean(),
            worst_group: report.worst_group(),
            validation,
            sees_groups: arm.sees_groups(),
        }
    }
}

/// Mean over seeds of one arm.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Name of the arm.
    pub method: String,
    /// Whether it used group labels.
    pub oracle: bool,
    /// Worst-group accuracy.
    pub worst_group: Spread,
    /// Plain average.
    pub plain: Spread,
    /// Training-weighted average.
    pub train_weighted: Spread,
    /// Mean of the group accuracies.
    pub group_mean: Spread,
    /// Accuracy per group.
    pub groups: Vec<Spread>,
}

impl Results {
    /// Collects the finished arms of a seed.
    ///
    /// # Errors
    /// If a finished arm's files are missing or damaged.
    pub fn rows_of_seed(folder: &RunFolder, arms: &[Arm], train_counts: &[usize]) -> Result<Vec<Row>, Error> {
        arms.iter()
            .map(|&arm| {
                let validation = evaluate::read_validation(folder, arm)?;
                Ok(Row::new(arm, folder.seed, &evaluate::read(folder, arm)?, validation, train_counts))
            })
            .collect()
    }

    /// Writes the file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        run_folder::write_json(path, self)
    }

    /// Reads the file.
    ///
    /// # Errors
    /// If it is missing, damaged or of another schema.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let results: Self = run_folder::read_json(path)?;
        if results.schema == SCHEMA {
            Ok(results)
        } else {
            Err(run_folder::table_error(path, &format!("schema {}, expected {SCHEMA}", results.schema)))
        }
    }

    /// The seeds, ascending.
    pub fn seeds(&self) -> Vec<u64> {
        let mut seeds: Vec<u64> = self.rows.iter().map(|r| r.seed).collect();
        seeds.sort_unstable();
        seeds.dedup();
        seeds
    }

    /// One summary per arm, in the order of the table.
    pub fn summaries(&self) -> Vec<Summary> {
        Arm::ALL
            .iter()
            .filter_map(|arm| {
                let rows: Vec<&Row> = self.rows.iter().filter(|r| r.method == arm.name()).collect();
                let spread = |f: &dyn Fn(&Row) -> f64| Spread::of(&rows.iter().map(|r| f(r)).collect::<Vec<_>>());
                let sees = arm.sees_groups();
                Some(Summary {
                    method: arm.name().to_owned(),
                    oracle: sees.training || sees.selection,
                    worst_group: spread(&|r| r.worst_group)?,
                    plain: spread(&|r| r.plain)?,
                    train_weighted: spread(&|r| r.train_weighted)?,
                    group_mean: spread(&|r| r.group_mean)?,
                    groups: (0..rows[0].groups.len()).filter_map(|g| spread(&|r| r.groups[g].accuracy())).collect(),
                })
            })
            .collect()
    }

    /// `<label> on <attribute>`, such as `bird on land`.
    pub fn group_name(&self, group: &Group) -> String {
        let name = |names: &[String], i: usize| names.get(i).cloned().unwrap_or_else(|| i.to_string());
        format!("{} on {}", name(&self.classes, group.label), name(&self.attributes, group.attribute))
    }
}

/// The seed folders below a run's configuration folder, ascending by seed.
///
/// # Errors
/// If the folder cannot be listed.
pub fn seed_folders(parent: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found: Vec<(u64, PathBuf)> = Vec::new();
    for entry in fs_err::read_dir(parent)? {
        let path = entry?.path();
        let seed = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_prefix("seed-")?.parse().ok());
        found.extend(seed.map(|s| (s, path)));
    }
    found.sort();
    Ok(found.into_iter().map(|f| f.1).collect())
}

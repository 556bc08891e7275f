//! `results.json`: one row per arm and seed; `results.csv` beside it: one line per value.

mod table;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    Error, GroupReport, RunFolder,
    arms::{Arm, SeesGroups},
    groups::{Group, Spread},
    measures::{Measures, Paired, agreement},
    run_folder,
    selection::Criterion,
    stages::evaluate::{self, Selected, Validation},
};

pub use table::Line;

/// The version of the schema of `results.json` and `results.csv`; raised when a field changes its meaning.
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
    /// Every arm against ERM over the seeds; empty for one seed's file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub comparisons: Vec<Paired>,
}

/// What came of one selection criterion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SelectedRow {
    /// By what the model was chosen.
    pub criterion: Criterion,
    /// Whether the choice looked at group labels of the validation split.
    pub sees_groups: bool,
    /// The epoch it chose.
    pub epoch: usize,
    /// Share of correct test pictures.
    pub plain: f64,
    /// Lowest group accuracy on the test split.
    pub worst_group: f64,
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
    /// Group accuracies weighted by the groups' shares of the training split; absent where the test split lacks one of
    /// these groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_weighted: Option<f64>,
    /// Unweighted mean of the group accuracies.
    pub group_mean: f64,
    /// Lowest group accuracy.
    pub worst_group: f64,
    /// Accuracy on the validation split, without group labels.
    pub validation: Validation,
    /// Whether group labels were used.
    pub sees_groups: SeesGroups,
    /// The criterion by which the reported model was chosen.
    pub selection: Criterion,
    /// What every criterion chose in the same run.
    pub selected: Vec<SelectedRow>,
    /// Ranking, calibration and intervals.
    pub measures: Measures,
    /// Share of test pictures answered as by the arm `erm` of the same seed; absent without that arm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreement_with_erm: Option<f64>,
}

impl Row {
    /// Derives every average from the counts. `train_counts` is in group order and comes with the number of attributes.
    pub fn new(
        arm: Arm,
        seed: u64,
        report: &GroupReport,
        validation: Validation,
        train_counts: (&[usize], usize),
        selection: (Criterion, &[Selected]),
        measures: Measures,
    ) -> Self {
        let sees = arm.sees_groups();
        let row = |s: &Selected| SelectedRow {
            criterion: s.criterion,
            sees_groups: s.sees_groups,
            epoch: s.epoch,
            plain: s.report.plain(),
            worst_group: s.report.worst_group(),
        };
        Self {
            method: arm.name(),
            seed,
            groups: report.groups().to_vec(),
            plain: report.plain(),
            train_weighted: report.train_weighted(train_counts.0, train_counts.1),
            group_mean: report.group_mean(),
            worst_group: report.worst_group(),
            validation,
            // A run with one candidate had nothing to choose, whatever the criterion.
            sees_groups: SeesGroups {
                selection: sees.selection || (selection.0.sees_groups() && selection.1.len() > 1),
                ..sees
            },
            selection: selection.0,
            selected: selection.1.iter().map(row).collect(),
            measures,
            agreement_with_erm: None,
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
    /// Where it used them.
    pub sees_groups: SeesGroups,
    /// Worst-group accuracy.
    pub worst_group: Spread,
    /// Plain average.
    pub plain: Spread,
    /// Training-weighted average; absent where a row has none.
    pub train_weighted: Option<Spread>,
    /// Mean of the group accuracies.
    pub group_mean: Spread,
    /// Accuracy per group.
    pub groups: Vec<Spread>,
    /// Worst-group accuracy of what each criterion chose.
    pub selected: Vec<(Criterion, Spread)>,
}

impl Results {
    /// Collects the finished arms of a seed.
    ///
    /// # Errors
    /// If a finished arm's files are missing or damaged.
    pub fn rows_of_seed(
        folder: &RunFolder,
        arms: &[Arm],
        train_counts: (&[usize], usize),
        selection: Criterion,
    ) -> Result<Vec<Row>, Error> {
        let answers = |arm: Arm| -> Result<Vec<usize>, Error> {
            Ok(evaluate::read_predictions(folder, arm)?.iter().map(|p| p.predicted).collect())
        };
        let erm = arms.iter().find(|a| a.name() == "erm").map(|&erm| answers(erm)).transpose()?;
        arms.iter()
            .map(|&arm| {
                let validation = evaluate::read_validation(folder, arm)?;
                let selected = evaluate::read_selection(folder, arm)?;
                let report = evaluate::read(folder, arm)?;
                let measures = evaluate::read_measures(folder, arm)?;
                let chosen = (selection, selected.as_slice());
                let row = Row::new(arm, folder.seed, &report, validation, train_counts, chosen, measures);
                let agreement_with_erm = match &erm {
                    Some(erm) => Some(agreement(erm, &answers(arm)?)),
                    None => None,
                };
                Ok(Row { agreement_with_erm, ..row })
            })
            .collect()
    }

    /// Every arm against ERM on the seeds that both have.
    pub fn compare(&self) -> Vec<Paired> {
        let of = |method: &str, seed: u64| {
            self.rows.iter().find(|r| r.method == method && r.seed == seed).map(|r| r.worst_group)
        };
        self.arms()
            .iter()
            .filter(|name| *name != "erm")
            .filter_map(|name| {
                let pairs: Vec<(f64, f64)> =
                    self.seeds().into_iter().filter_map(|seed| of(name, seed).zip(of("erm", seed))).collect();
                let (values, base): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
                Paired::of(name, "erm", &values, &base)
            })
            .collect()
    }

    /// The arms that have rows, in the order of the table.
    pub fn arms(&self) -> Vec<String> {
        let mut names: Vec<String> = self.rows.iter().map(|r| r.method.clone()).collect();
        // Names of a later version come last.
        names.sort_by_key(|name| (name.parse::<Arm>().map_err(|_| ()), name.clone()));
        names.dedup();
        names
    }

    /// Writes `results.json` and `results.csv` into a folder of a run.
    ///
    /// # Errors
    /// If one cannot be written.
    pub fn write_into(&self, folder: &Path) -> Result<(), Error> {
        self.write(&folder.join("results.json"))?;
        self.write_table(&folder.join("results.csv"))
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
        self.arms()
            .into_iter()
            .filter_map(|method| {
                let rows: Vec<&Row> = self.rows.iter().filter(|r| r.method == method).collect();
                let spread = |f: &dyn Fn(&Row) -> f64| Spread::of(&rows.iter().map(|r| f(r)).collect::<Vec<_>>());
                Some(Summary {
                    oracle: rows.iter().any(|r| r.sees_groups.any()),
                    sees_groups: rows.first()?.sees_groups,
                    worst_group: spread(&|r| r.worst_group)?,
                    plain: spread(&|r| r.plain)?,
                    train_weighted: rows
                        .iter()
                        .map(|r| r.train_weighted)
                        .collect::<Option<Vec<f64>>>()
                        .and_then(|values| Spread::of(&values)),
                    group_mean: spread(&|r| r.group_mean)?,
                    groups: (0..rows[0].groups.len()).filter_map(|g| spread(&|r| r.groups[g].accuracy())).collect(),
                    selected: Criterion::ALL
                        .into_iter()
                        .filter_map(|criterion| {
                            let of =
                                |r: &&Row| r.selected.iter().find(|s| s.criterion == criterion).map(|s| s.worst_group);
                            Some((criterion, Spread::of(&rows.iter().filter_map(of).collect::<Vec<_>>())?))
                        })
                        .collect(),
                    method,
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

/// The arms whose folders are finished, in the order of the table.
///
/// # Errors
/// If the folder cannot be listed.
pub fn finished_arms(folder: &RunFolder) -> Result<Vec<Arm>, Error> {
    let mut arms = Vec::new();
    for entry in fs_err::read_dir(folder.root())? {
        let name = entry?.file_name();
        let arm = name.to_str().and_then(|n| n.strip_prefix("6-")?.parse::<Arm>().ok());
        arms.extend(arm.filter(|&arm| folder.is_done(&evaluate::stage_name(arm))));
    }
    arms.sort();
    Ok(arms)
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

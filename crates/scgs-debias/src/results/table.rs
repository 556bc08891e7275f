//! `results.csv`: the numbers of `results.json` as one tidy table, one value per line, for pandas, R and spreadsheets.

use std::path::Path;

use scgs_data::atomic;
use serde::{Deserialize, Serialize};

use super::{Results, Row};
use crate::{Error, run_folder::table_error};

/// One value: a line of `results.csv`. The columns are the fields, in this order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Version of the table, that of `results.json`.
    pub schema: u32,
    /// Name of the data set.
    pub dataset: String,
    /// Name of the arm.
    pub method: String,
    /// Seed of the run.
    pub seed: u64,
    /// Whether the arm was told group labels, in training or in selection.
    pub oracle: bool,
    /// The criterion by which the evaluated model was chosen.
    pub selection: String,
    /// The evaluated split: `val` or `test`.
    pub split: String,
    /// What is measured: `accuracy` with a group, `class_accuracy` with a class, or the name of an average or a measure.
    pub measure: String,
    /// Such as `bird on land`; empty unless the value is about one group.
    pub group: String,
    /// Class index of the group or class; empty otherwise.
    pub label: Option<usize>,
    /// Index of the group's spurious attribute; empty otherwise.
    pub attribute: Option<usize>,
    /// Pictures that the value is about; empty where it is not a share of pictures.
    pub n: Option<usize>,
    /// Correctly classified ones of a group; empty otherwise.
    pub correct: Option<usize>,
    /// The value; shares are fractions, 0..=1.
    pub value: f64,
}

impl Results {
    /// The table's lines: for every row its groups first, then averages, then measures.
    pub fn lines(&self) -> Vec<Line> {
        self.rows.iter().flat_map(|row| self.lines_of(row)).collect()
    }

    fn lines_of(&self, row: &Row) -> Vec<Line> {
        let line = |measure: &str, value: f64| Line {
            schema: self.schema,
            dataset: self.dataset.clone(),
            method: row.method.clone(),
            seed: row.seed,
            oracle: row.sees_groups.any(),
            selection: row.selection.name().to_owned(),
            split: "test".into(),
            measure: measure.into(),
            group: String::new(),
            label: None,
            attribute: None,
            n: None,
            correct: None,
            value,
        };
        let groups = row.groups.iter().map(|g| Line {
            group: self.group_name(g),
            label: Some(g.label),
            attribute: Some(g.attribute),
            n: Some(g.n),
            correct: Some(g.correct),
            ..line("accuracy", g.accuracy())
        });
        let n = Some(row.groups.iter().map(|g| g.n).sum());
        let averages = [
            ("plain", Some(row.plain)),
            ("train_weighted", row.train_weighted),
            ("group_mean", Some(row.group_mean)),
            ("worst_group", Some(row.worst_group)),
        ];
        let classes =
            row.measures.per_class.iter().enumerate().filter_map(|(class, accuracy)| {
                Some(Line { label: Some(class), ..line("class_accuracy", (*accuracy)?) })
            });
        let m = &row.measures;
        let measures = [
            ("auroc", m.auroc),
            ("f1", Some(m.f1)),
            ("ece", Some(m.ece)),
            ("brier", Some(m.brier)),
            ("plain_low", Some(m.plain_interval[0])),
            ("plain_high", Some(m.plain_interval[1])),
            ("worst_group_low", Some(m.worst_group_interval[0])),
            ("worst_group_high", Some(m.worst_group_interval[1])),
            ("agreement_with_erm", row.agreement_with_erm),
        ];
        let validation = [("plain", row.validation.plain), ("worst_class", row.validation.worst_class)];
        let mut lines: Vec<Line> = groups.collect();
        lines.extend(averages.iter().filter_map(|&(name, value)| Some(Line { n, ..line(name, value?) })));
        lines.extend(classes);
        lines.extend(measures.iter().filter_map(|&(name, value)| Some(Line { n, ..line(name, value?) })));
        lines.extend(validation.map(|(name, value)| Line {
            split: "val".into(),
            n: Some(row.validation.n),
            ..line(name, value)
        }));
        lines
    }

    /// Writes the table.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_table(&self, path: &Path) -> Result<(), Error> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        for line in self.lines() {
            writer.serialize(line).map_err(|e| table_error(path, &e))?;
        }
        let bytes = writer.into_inner().map_err(|e| table_error(path, &e))?;
        Ok(atomic::write(path, bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{Group, arms::SeesGroups, measures::Measures, selection::Criterion, stages::evaluate::Validation};

    fn results() -> Results {
        let row = Row {
            method: "erm".into(),
            seed: 3,
            groups: vec![
                Group { label: 0, attribute: 0, n: 10, correct: 9 },
                Group { label: 1, attribute: 0, n: 4, correct: 1 },
            ],
            plain: 10.0 / 14.0,
            train_weighted: None,
            group_mean: 0.575,
            worst_group: 0.25,
            validation: Validation { n: 20, plain: 0.9, worst_class: 0.8 },
            sees_groups: SeesGroups { training: false, selection: true },
            selection: Criterion::WorstGroup,
            selected: vec![],
            measures: Measures {
                per_class: vec![Some(0.9), None],
                auroc: None,
                f1: 0.6,
                ece: 0.1,
                brier: 0.3,
                plain_interval: [0.5, 0.8],
                worst_group_interval: [0.0, 0.75],
            },
            agreement_with_erm: Some(1.0),
        };
        Results {
            schema: 1,
            dataset: "habitat".into(),
            classes: vec!["mammal".into(), "bird".into()],
            attributes: vec!["land".into()],
            rows: vec![row],
            comparisons: vec![],
        }
    }

    #[test]
    fn every_value_has_one_line_and_an_absent_one_none() {
        let lines = results().lines();
        let bird = lines.iter().find(|l| l.group == "bird on land").unwrap();
        assert_eq!((bird.measure.as_str(), bird.n, bird.correct, bird.value), ("accuracy", Some(4), Some(1), 0.25));
        assert!(bird.oracle && bird.seed == 3 && bird.selection == "worst-group");
        let of = |split: &str, name: &str| -> Vec<f64> {
            lines.iter().filter(|l| l.split == split && l.measure == name).map(|l| l.value).collect()
        };
        assert_eq!(of("test", "worst_group"), [0.25]);
        assert_eq!(of("val", "plain"), [0.9]);
        assert!(of("test", "train_weighted").is_empty() && of("test", "auroc").is_empty());
        assert_eq!(of("test", "class_accuracy"), [0.9], "a class without a picture has no accuracy");
        let keys: BTreeSet<_> = lines.iter().map(|l| (&l.split, &l.measure, &l.group, l.label)).collect();
        assert_eq!(keys.len(), lines.len(), "split, measure, group and label name a value of a row");
    }

    #[test]
    fn the_table_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results.csv");
        results().write_table(&path).unwrap();
        let lines: Vec<Line> = csv::Reader::from_path(&path).unwrap().deserialize().collect::<Result<_, _>>().unwrap();
        assert_eq!(lines, results().lines());
    }
}

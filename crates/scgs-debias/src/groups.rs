//! Accuracy per group: the one stored truth from which every average is computed and named.

use serde::{Deserialize, Serialize};

use crate::Error;

/// Counts of one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Class index.
    pub label: usize,
    /// Index of the spurious attribute's value.
    pub attribute: usize,
    /// Evaluated pictures, at least 1.
    pub n: usize,
    /// Correctly classified ones, at most `n`.
    pub correct: usize,
}

impl Group {
    /// `correct / n`, 0..=1.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.n as f64
    }
}

/// Counts of every group of one evaluated split.
///
/// ```
/// use scgs_debias::GroupReport;
/// //                                       labels        attributes     predictions
/// let report = GroupReport::count(2, 2, &[0, 0, 1, 1, 1], &[0, 1, 0, 1, 1], &[0, 1, 1, 1, 0], "test")?;
/// assert_eq!(report.plain(), 3.0 / 5.0);
/// assert_eq!(report.worst_group(), 0.0); // label 0 on attribute 1
/// assert_eq!(report.group_mean(), (1.0 + 0.0 + 1.0 + 0.5) / 4.0);
/// # Ok::<(), scgs_debias::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupReport {
    groups: Vec<Group>,
}

impl GroupReport {
    /// As [`Self::count_among`] with all `classes * attributes` groups expected.
    ///
    /// # Errors
    /// [`Error::EmptyGroup`] names the first group that does not occur.
    ///
    /// # Panics
    /// If the slices differ in length or hold an index out of range: the caller made them from one table.
    pub fn count(
        classes: usize,
        attributes: usize,
        labels: &[usize],
        attribute_of: &[usize],
        predicted: &[usize],
        split: &str,
    ) -> Result<Self, Error> {
        Self::count_among(&vec![true; classes * attributes], attributes, labels, attribute_of, predicted, split)
    }

    /// Counts predictions per group; the last three slices are parallel. `expected` says of every group, in the order
    /// `label * attributes + attribute`, whether the split is meant to have it; the report has no entry for one that neither
    /// is expected nor occurs. So the worst group is the worst of those that the split has.
    ///
    /// # Errors
    /// [`Error::EmptyGroup`] names the first expected group that does not occur.
    ///
    /// # Panics
    /// If the parallel slices differ in length or hold an index out of range: the caller made them from one table.
    pub fn count_among(
        expected: &[bool],
        attributes: usize,
        labels: &[usize],
        attribute_of: &[usize],
        predicted: &[usize],
        split: &str,
    ) -> Result<Self, Error> {
        let classes = expected.len() / attributes;
        assert!(labels.len() == attribute_of.len() && labels.len() == predicted.len(), "parallel slices");
        let mut groups: Vec<Group> = (0..classes * attributes)
            .map(|g| Group { label: g / attributes, attribute: g % attributes, n: 0, correct: 0 })
            .collect();
        for ((&label, &attribute), &prediction) in labels.iter().zip(attribute_of).zip(predicted) {
            assert!(label < classes && attribute < attributes, "indices in range");
            let group = &mut groups[label * attributes + attribute];
            group.n += 1;
            group.correct += usize::from(prediction == label);
        }
        match groups.iter().zip(expected).find(|(g, meant)| g.n == 0 && **meant) {
            Some((g, _)) => Err(Error::EmptyGroup {
                group: format!("label {} x attribute {}", g.label, g.attribute),
                split: split.to_owned(),
            }),
            None => {
                groups.retain(|g| g.n > 0);
                Ok(Self { groups })
            }
        }
    }

    /// A report from stored counts, in group order.
    pub fn from_groups(groups: Vec<Group>) -> Self {
        Self { groups }
    }

    /// The groups, ordered by label, then attribute.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Number of evaluated pictures.
    pub fn n(&self) -> usize {
        self.groups.iter().map(|g| g.n).sum()
    }

    /// Share of correct pictures.
    pub fn plain(&self) -> f64 {
        self.groups.iter().map(|g| g.correct).sum::<usize>() as f64 / self.n() as f64
    }

    /// Unweighted mean of the group accuracies ("adjusted accuracy" of SubpopBench).
    pub fn group_mean(&self) -> f64 {
        self.groups.iter().map(Group::accuracy).sum::<f64>() / self.groups.len() as f64
    }

    /// Group accuracies weighted by the groups' shares of the training split: the "average accuracy" that most papers
    /// give for Waterbirds (group_DRO, `README.md`). `train_counts` has all groups, in the order
    /// `label * attributes + attribute`. `None` where a group of the training split is not in this report, as in MetaShift:
    /// its share has no accuracy.
    pub fn train_weighted(&self, train_counts: &[usize], attributes: usize) -> Option<f64> {
        let mut rest = train_counts.to_vec();
        let mut sum = 0.0;
        for group in &self.groups {
            let n = rest.get_mut(group.label * attributes + group.attribute)?;
            sum += group.accuracy() * std::mem::take(n) as f64;
        }
        let total: usize = train_counts.iter().sum();
        (total > 0 && rest.iter().all(|&n| n == 0)).then(|| sum / total as f64)
    }

    /// The lowest group accuracy.
    pub fn worst_group(&self) -> f64 {
        self.groups.iter().map(Group::accuracy).fold(f64::INFINITY, f64::min)
    }
}

/// Mean, standard deviation and number of values over seeds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Arithmetic mean.
    pub mean: f64,
    /// Sample standard deviation (n - 1); absent for one value.
    pub sd: Option<f64>,
    /// Number of values.
    pub n: usize,
}

impl Spread {
    /// `None` for no values.
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = values.len();
        if n == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / n as f64;
        let sd = (n > 1).then(|| (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1) as f64).sqrt());
        Some(Self { mean, sd, n })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waterbirds' training shares with hand-made accuracies .9, .5, .25, 1.
    fn report() -> GroupReport {
        let groups = [(0, 0, 10, 9), (0, 1, 4, 2), (1, 0, 4, 1), (1, 1, 2, 2)];
        GroupReport {
            groups: groups.map(|(label, attribute, n, correct)| Group { label, attribute, n, correct }).to_vec(),
        }
    }

    #[test]
    fn every_average_is_the_hand_computed_one() {
        let r = report();
        assert_eq!(r.n(), 20);
        assert_eq!(r.plain(), 14.0 / 20.0);
        assert_eq!(r.group_mean(), (0.9 + 0.5 + 0.25 + 1.0) / 4.0);
        assert_eq!(r.worst_group(), 0.25);
        let weighted = (0.9 * 3498.0 + 0.5 * 184.0 + 0.25 * 56.0 + 1057.0) / 4795.0;
        assert!((r.train_weighted(&[3498, 184, 56, 1057], 2).unwrap() - weighted).abs() < 1e-12);
    }

    #[test]
    fn an_empty_group_is_an_error_that_names_it() {
        let error = GroupReport::count(2, 2, &[0, 0, 1], &[0, 1, 1], &[0, 0, 0], "val").unwrap_err();
        assert!(error.to_string().contains("label 1 x attribute 0 has no picture in the val split"), "{error}");
    }

    /// MetaShift: two classes, three contexts; the test split has only the third one, the training split the others.
    #[test]
    fn a_report_is_about_the_groups_that_the_split_has() {
        let on_shelves = [false, false, true, false, false, true];
        let r = GroupReport::count_among(&on_shelves, 3, &[0, 0, 1], &[2, 2, 2], &[0, 1, 1], "test").unwrap();
        let numbers: Vec<_> = r.groups().iter().map(|g| (g.label, g.attribute, g.n, g.correct)).collect();
        assert_eq!(numbers, [(0, 2, 2, 1), (1, 2, 1, 1)]);
        assert_eq!((r.worst_group(), r.group_mean()), (0.5, 0.75));
        assert_eq!(r.train_weighted(&[231, 380, 0, 145, 367, 0], 3), None);
        let error = GroupReport::count_among(&on_shelves, 3, &[0], &[2], &[0], "test").unwrap_err().to_string();
        assert!(error.contains("label 1 x attribute 2 has no picture in the test split"), "{error}");
    }

    #[test]
    fn spread_is_the_sample_standard_deviation() {
        let s = Spread::of(&[1.0, 2.0, 3.0, 4.0]).unwrap();
        assert_eq!((s.mean, s.n), (2.5, 4));
        assert!((s.sd.unwrap() - (5.0f64 / 3.0).sqrt()).abs() < 1e-12);
        assert_eq!(Spread::of(&[0.5]).unwrap().sd, None);
        assert_eq!(Spread::of(&[]), None);
    }
}

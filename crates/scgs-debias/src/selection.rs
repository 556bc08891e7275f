//! Which epoch's model is reported. Every criterion makes its choice in the same run, so that what a criterion is worth
//! can be seen; only the last of them looks at group labels.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::logistic::most_probable;

/// By what a model is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Criterion {
    /// The last epoch.
    Last,
    /// Highest accuracy on the validation split.
    Average,
    /// Highest accuracy of the worst class on the validation split: without group labels, and close to `worst-group` in
    /// SubpopBench's comparison.
    WorstClass,
    /// Highest accuracy of the worst group on the validation split: sees group labels.
    WorstGroup,
}

impl Criterion {
    /// Every criterion, in the order of the table.
    pub const ALL: [Self; 4] = [Self::Last, Self::Average, Self::WorstClass, Self::WorstGroup];

    /// The name in settings and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::Average => "average",
            Self::WorstClass => "worst-class",
            Self::WorstGroup => "worst-group",
        }
    }

    /// Whether the choice uses group labels.
    pub const fn sees_groups(self) -> bool {
        matches!(self, Self::WorstGroup)
    }
}

impl fmt::Display for Criterion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Keeps, for each criterion, which epoch was best on the validation split. Ties keep the earlier epoch.
#[derive(Debug, Clone)]
pub struct Selector {
    labels: Vec<usize>,
    classes: usize,
    /// Group per validation picture; an opaque number.
    groups: Vec<usize>,
    best: BTreeMap<Criterion, (usize, f64)>,
    offered: usize,
}

impl Selector {
    /// `labels` and `groups` have one entry per validation picture.
    ///
    /// # Panics
    /// If their lengths differ.
    pub fn new(labels: Vec<usize>, classes: usize, groups: Vec<usize>) -> Self {
        assert_eq!(labels.len(), groups.len(), "parallel slices");
        Self { labels, classes, groups, best: BTreeMap::new(), offered: 0 }
    }

    /// Judges the model after an epoch by its class probabilities on the validation split, one row per picture. Returns
    /// the criteria by which it is the best so far.
    pub fn offer(&mut self, epoch: usize, probabilities: &[Vec<f64>]) -> Vec<Criterion> {
        self.offered = epoch;
        let right: Vec<bool> =
            probabilities.iter().zip(&self.labels).map(|(p, &label)| most_probable(p).0 == label).collect();
        let better: Vec<Criterion> = Criterion::ALL
            .into_iter()
            .filter(|&criterion| {
                let score = self.score(criterion, &right);
                let improved = self.best.get(&criterion).is_none_or(|&(_, best)| score > best);
                if improved || criterion == Criterion::Last {
                    self.best.insert(criterion, (epoch, score));
                    return true;
                }
                false
            })
            .collect();
        better
    }

    fn score(&self, criterion: Criterion, right: &[bool]) -> f64 {
        let everything = vec![0; right.len()];
        match criterion {
            // Any epoch beats the one before.
            Criterion::Last | Criterion::Average => worst(right, &everything, 1),
            Criterion::WorstClass => worst(right, &self.labels, self.classes),
            Criterion::WorstGroup => worst(right, &self.groups, self.groups.iter().max().map_or(0, |m| m + 1)),
        }
    }

    /// The last epoch that was judged; 0 before the first.
    pub(crate) fn offered(&self) -> usize {
        self.offered
    }

    /// Goes on from the choices after epoch `offered`.
    pub(crate) fn go_on(&mut self, best: BTreeMap<Criterion, (usize, f64)>, offered: usize) {
        self.best = best;
        self.offered = offered;
    }

    /// Epochs since the best one of a criterion.
    pub fn waited(&self, criterion: Criterion) -> usize {
        self.best.get(&criterion).map_or(0, |&(epoch, _)| self.offered - epoch)
    }

    /// The chosen epoch and its score per criterion.
    pub fn chosen(&self) -> &BTreeMap<Criterion, (usize, f64)> {
        &self.best
    }
}

/// The lowest share of right answers over parts that occur.
fn worst(right: &[bool], part_of: &[usize], parts: usize) -> f64 {
    let mut counts = vec![(0usize, 0usize); parts];
    for (&right, &part) in right.iter().zip(part_of) {
        counts[part].0 += 1;
        counts[part].1 += usize::from(right);
    }
    counts.iter().filter(|c| c.0 > 0).map(|c| c.1 as f64 / c.0 as f64).fold(f64::INFINITY, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Probabilities that answer as given.
    fn answers(list: [usize; 6]) -> Vec<Vec<f64>> {
        list.map(|a| if a == 0 { vec![0.9, 0.1] } else { vec![0.1, 0.9] }).to_vec()
    }

    #[test]
    fn every_criterion_makes_its_own_choice() {
        // Four pictures of class 0 (groups 0, 0, 0, 1) and two of class 1 (groups 2, 3).
        let mut selector = Selector::new(vec![0, 0, 0, 0, 1, 1], 2, vec![0, 0, 0, 1, 2, 3]);
        use Criterion::{Average, Last, WorstClass, WorstGroup};
        // 5 of 6, class 1 at one half, groups 1 at 1 and 3 at 0.
        assert_eq!(selector.offer(1, &answers([0, 0, 0, 0, 1, 0])), [Last, Average, WorstClass, WorstGroup]);
        // 4 of 6, class 0 at one half, every class above or at one half, group 1 at 0.
        assert_eq!(selector.offer(2, &answers([0, 0, 1, 1, 1, 1])), [Last]);
        // 4 of 6, every group above 0.
        assert_eq!(selector.offer(3, &answers([0, 1, 1, 0, 1, 1])), [Last, WorstGroup]);
        // 5 of 6, worst class 3/4, group 1 at 0.
        assert_eq!(selector.offer(4, &answers([0, 0, 0, 1, 1, 1])), [Last, WorstClass]);
        let epochs: Vec<usize> = selector.chosen().values().map(|c| c.0).collect();
        assert_eq!(epochs, [4, 1, 4, 3]);
        assert_eq!(selector.waited(Average), 3);
    }
}

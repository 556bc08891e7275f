//! Group numbers as methods see them.

use crate::Error;

/// Group and domain of every example. A generated picture's attribute is not known: it belongs to a domain of its own,
/// "synthetic", and so to a group of its own per class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    /// Group per example, below the number of groups.
    pub of: Vec<usize>,
    /// Domain per example: the value of the attribute, or the synthetic one.
    pub domains: Vec<usize>,
    /// Examples per group; every group of real pictures has at least one.
    pub counts: Vec<usize>,
}

impl Groups {
    /// As [`Self::among`] with every combination of class and attribute expected.
    ///
    /// # Errors
    /// [`Error::EmptyGroup`] if a combination does not occur.
    ///
    /// # Panics
    /// If the slices differ in length.
    pub fn new(
        labels: &[usize],
        attribute_of: &[Option<usize>],
        classes: usize,
        attributes: usize,
        split: &str,
    ) -> Result<Self, Error> {
        Self::among(&vec![true; classes * attributes], labels, attribute_of, attributes, split)
    }

    /// Numbers the groups that occur in the order `label * attributes + attribute`, then one synthetic group per class that
    /// has generated pictures. `attribute_of` is `None` for generated pictures; `expected` says of every combination, in the
    /// same order, whether the split is meant to have it.
    ///
    /// # Errors
    /// [`Error::EmptyGroup`] if an expected combination does not occur.
    ///
    /// # Panics
    /// If `labels` and `attribute_of` differ in length.
    pub fn among(
        expected: &[bool],
        labels: &[usize],
        attribute_of: &[Option<usize>],
        attributes: usize,
        split: &str,
    ) -> Result<Self, Error> {
        assert_eq!(labels.len(), attribute_of.len(), "parallel slices");
        let real = expected.len();
        let mut synthetic: Vec<usize> =
            labels.iter().zip(attribute_of).filter(|(_, a)| a.is_none()).map(|(&label, _)| label).collect();
        synthetic.sort_unstable();
        synthetic.dedup();
        let group = |label: usize, attribute: Option<usize>| match attribute {
            Some(attribute) => label * attributes + attribute,
            None => real + synthetic.partition_point(|&l| l < label),
        };
        let of: Vec<usize> = labels.iter().zip(attribute_of).map(|(&l, &a)| group(l, a)).collect();
        let mut counts = vec![0; real + synthetic.len()];
        of.iter().for_each(|&g| counts[g] += 1);
        if let Some(empty) = (0..real).find(|&g| counts[g] == 0 && expected[g]) {
            let group = format!("label {} x attribute {}", empty / attributes, empty % attributes);
            return Err(Error::EmptyGroup { group, split: split.to_owned() });
        }
        // Numbers without gaps: methods keep a weight per group and divide by their number.
        let mut next = 0;
        let numbers: Vec<usize> = counts
            .iter()
            .map(|&n| {
                let number = next;
                next += usize::from(n > 0);
                number
            })
            .collect();
        let of: Vec<usize> = of.iter().map(|&g| numbers[g]).collect();
        counts.retain(|&n| n > 0);
        Ok(Self { of, domains: attribute_of.iter().map(|a| a.unwrap_or(attributes)).collect(), counts })
    }

    /// Numbers classes as groups: what methods that balance see without group labels.
    ///
    /// # Errors
    /// [`Error::EmptyGroup`] if a class does not occur.
    pub fn classes(labels: &[usize], classes: usize) -> Result<Self, Error> {
        let one = vec![Some(0); labels.len()];
        Self::new(labels, &one, classes, 1, "train")
    }

    /// Weights that make every group count the same in total: `n / (groups * n_g)`, mean 1 (group_DRO's
    /// `--reweight_groups`).
    pub fn weights(&self) -> Vec<f64> {
        let (n, groups) = (self.of.len() as f64, self.counts.len() as f64);
        self.of.iter().map(|&g| n / (groups * self.counts[g] as f64)).collect()
    }

    /// Size of the smallest group.
    pub fn smallest(&self) -> usize {
        self.counts.iter().copied().min().unwrap_or_default()
    }

    /// The examples of a group.
    pub fn members(&self, group: usize) -> Vec<usize> {
        (0..self.of.len()).filter(|&i| self.of[i] == group).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_weights_give_every_group_the_same_total() {
        let groups = Groups::classes(&[0, 0, 0, 1, 2, 2], 3).unwrap();
        assert_eq!(groups.weights(), [6.0 / 9.0, 6.0 / 9.0, 6.0 / 9.0, 2.0, 1.0, 1.0]);
        assert!(matches!(Groups::classes(&[0, 2], 3), Err(Error::EmptyGroup { .. })));
    }

    #[test]
    fn generated_pictures_are_groups_and_a_domain_of_their_own() {
        let labels = [0, 0, 1, 1, 1, 1];
        let attributes = [Some(0), Some(1), Some(0), Some(1), None, None];
        let groups = Groups::new(&labels, &attributes, 2, 2, "train").unwrap();
        assert_eq!(groups.of, [0, 1, 2, 3, 4, 4]);
        assert_eq!(groups.domains, [0, 1, 0, 1, 2, 2]);
        assert_eq!(groups.counts, [1, 1, 1, 1, 2]);
        assert_eq!(groups.members(4), [4, 5]);
    }

    #[test]
    fn groups_that_a_split_does_not_have_get_no_number() {
        // As MetaShift's training split: each class has contexts of its own, and nothing is on a shelf.
        let expected = [true, true, false, true, false, false];
        let attributes = [Some(0), Some(1), Some(0), Some(1), Some(1), None];
        let labels = [0, 0, 1, 0, 0, 1];
        let groups = Groups::among(&expected, &labels, &attributes, 3, "train").unwrap();
        assert_eq!((groups.of, groups.counts), (vec![0, 1, 2, 1, 1, 3], vec![1, 3, 1, 1]));
        let error = Groups::among(&[true; 6], &labels, &attributes, 3, "train").unwrap_err().to_string();
        assert!(error.contains("label 0 x attribute 2"), "{error}");
    }

    #[test]
    fn a_group_that_does_not_occur_is_named() {
        let error = Groups::new(&[0, 0, 1], &[Some(0), Some(1), Some(1)], 2, 2, "val").unwrap_err().to_string();
        assert!(error.contains("label 1 x attribute 0") && error.contains("val"), "{error}");
    }
}

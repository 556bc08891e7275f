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
    /// Numbers groups `label * attributes + attribute`, then one synthetic group per class that has generated pictures.
    /// `attribute_of` is `None` for generated pictures.
    ///
    /// # Errors
    /// [`Error::EmptyGroup`] if a combination of class and attribute does not occur.
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
        assert_eq!(labels.len(), attribute_of.len(), "parallel slices");
        let real = classes * attributes;
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
        if let Some(empty) = counts.iter().position(|&n| n == 0) {
            let group = format!("label {} x attribute {}", empty / attributes, empty % attributes);
            return Err(Error::EmptyGroup { group, split: split.to_owned() });
        }
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
    fn a_group_that_does_not_occur_is_named() {
        let error = Groups::new(&[0, 0, 1], &[Some(0), Some(1), Some(1)], 2, 2, "val").unwrap_err().to_string();
        assert!(error.contains("label 1 x attribute 0") && error.contains("val"), "{error}");
    }
}

//! What a data set holds: samples, and apart from them the spurious attribute of each.
//!
//! [`Index`] has no attribute, and training, identification, clustering, masking and synthesis take an [`Index`].
//! [`Grouped`] adds it; only evaluation and methods marked as oracles may take that.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use crate::{DataError, PublishedCounts};

/// A part of a data set. The codes 0, 1, 2 in tables are those of `group_DRO` and WILDS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Code 0: what is trained on.
    Train,
    /// Code 1: what settings are chosen on.
    Val,
    /// Code 2: what is reported.
    Test,
}

impl Split {
    /// All splits in the order of their codes.
    pub const ALL: [Self; 3] = [Self::Train, Self::Val, Self::Test];

    /// The code in tables: 0, 1 or 2.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The split of a code, `None` for anything but 0, 1 and 2.
    pub fn from_code(code: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|split| u64::from(split.code()) == code)
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::Test => "test",
        })
    }
}

/// One picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Unique in its data set; every random stream of the picture is derived from it.
    pub id: u64,
    /// Relative to [`Index::root`].
    pub path: PathBuf,
    /// Position in [`Index::classes`].
    pub label: usize,
    /// The part it belongs to.
    pub split: Split,
}

/// A data set without attributes: all that training code sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// The folder all paths are relative to.
    pub root: PathBuf,
    /// Names of the classes; a label is a position in this list.
    pub classes: Vec<String>,
    /// All pictures in the order of the table they come from.
    pub samples: Vec<Sample>,
}

impl Index {
    /// The pictures of a split, in order.
    pub fn of(&self, split: Split) -> Vec<&Sample> {
        self.samples.iter().filter(|sample| sample.split == split).collect()
    }

    /// The path of a picture including [`Index::root`].
    pub fn absolute(&self, sample: &Sample) -> PathBuf {
        self.root.join(&sample.path)
    }
}

/// A data set with the spurious attribute of each picture. Evaluation and oracle methods only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grouped {
    index: Index,
    attribute_names: Vec<String>,
    attributes: Vec<usize>,
    positions: BTreeMap<u64, usize>,
    /// Per split, the groups that it is known not to have, by their position in group order.
    absent: [BTreeSet<usize>; 3],
}

impl Grouped {
    /// Joins `attributes`, one per sample of `index` in order, each a position in `attribute_names`.
    ///
    /// # Errors
    /// [`DataError::Inconsistent`] when the lengths differ, an id occurs twice, or a label or an attribute is out of range.
    pub fn new(index: Index, attribute_names: Vec<String>, attributes: Vec<usize>) -> Result<Self, DataError> {
        let refuse = |message: String| Err(DataError::Inconsistent(message));
        if attributes.len() != index.samples.len() {
            return refuse(format!("{} samples but {} attributes", index.samples.len(), attributes.len()));
        }
        let mut positions = BTreeMap::new();
        for (position, (sample, &attribute)) in index.samples.iter().zip(&attributes).enumerate() {
            let id = sample.id;
            if positions.insert(id, position).is_some() {
                return refuse(format!("id {id} occurs twice"));
            }
            if sample.label >= index.classes.len() {
                let last = index.classes.len().saturating_sub(1);
                return refuse(format!("id {id} has label {}, expected 0..={last}", sample.label));
            }
            if attribute >= attribute_names.len() {
                let last = attribute_names.len().saturating_sub(1);
                return refuse(format!("id {id} has attribute {attribute}, expected 0..={last}"));
            }
        }
        Ok(Self { index, attribute_names, attributes, positions, absent: Default::default() })
    }

    /// Notes which groups the publication says a split does not have: those of size 0.
    pub(crate) fn without_published_zeros(mut self, published: &PublishedCounts) -> Self {
        for (split, absent) in Split::ALL.into_iter().zip(&mut self.absent) {
            let zeros = published.of(split).iter().enumerate().filter(|(_, n)| **n == 0);
            *absent = zeros.map(|(group, _)| group).collect();
        }
        self
    }

    /// The same pictures with other labels, each a position in [`Index::classes`].
    pub(crate) fn relabelled(mut self, label: &dyn Fn(&Sample) -> usize) -> Self {
        for sample in &mut self.index.samples {
            sample.label = label(sample);
        }
        self
    }

    /// The data set without attributes.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Names of the attribute's values.
    pub fn attribute_names(&self) -> &[String] {
        &self.attribute_names
    }

    /// The attribute of the sample at `position` of [`Index::samples`].
    ///
    /// # Panics
    /// When `position` is not below the number of samples.
    pub fn attribute(&self, position: usize) -> usize {
        self.attributes[position]
    }

    /// The attribute of the sample with this id, `None` for an unknown id.
    pub fn attribute_of(&self, id: u64) -> Option<usize> {
        self.positions.get(&id).map(|&position| self.attributes[position])
    }

    /// Whether `split` is meant to have each group, in group order: all of them, but for those that the publication says it
    /// has not. MetaShift's test pictures, for example, are all on shelves and its training pictures are not. A group that
    /// is there in spite of that counts as meant.
    pub fn expected(&self, split: Split) -> Vec<bool> {
        let absent = &self.absent[usize::from(split.code())];
        let groups = self.counts(split).groups;
        groups.iter().enumerate().map(|(at, group)| group.n > 0 || !absent.contains(&at)).collect()
    }

    /// How many pictures each group has in `split`, empty groups included.
    pub fn counts(&self, split: Split) -> GroupCounts {
        let width = self.attribute_names.len();
        let mut numbers = vec![0; self.index.classes.len() * width];
        for (sample, attribute) in self.index.samples.iter().zip(&self.attributes) {
            if sample.split == split {
                numbers[sample.label * width + attribute] += 1;
            }
        }
        let groups = numbers.into_iter().enumerate();
        GroupCounts {
            groups: groups.map(|(g, n)| GroupCount { label: g / width, attribute: g % width, n }).collect(),
            classes: self.index.classes.clone(),
            attributes: self.attribute_names.clone(),
        }
    }
}

/// The size of one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupCount {
    /// Position in the classes.
    pub label: usize,
    /// Position in the attribute's values.
    pub attribute: usize,
    /// Number of pictures.
    pub n: usize,
}

/// The sizes of all groups of a split. `Display` gives a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupCounts {
    /// In group order: position = label * number of attributes + attribute.
    pub groups: Vec<GroupCount>,
    classes: Vec<String>,
    attributes: Vec<String>,
}

impl GroupCounts {
    /// The name of a group, such as `bird x land`.
    pub fn name(&self, group: &GroupCount) -> String {
        format!("{} x {}", self.classes[group.label], self.attributes[group.attribute])
    }

    /// The first group without a picture.
    pub fn first_empty(&self) -> Option<&GroupCount> {
        self.groups.iter().find(|group| group.n == 0)
    }

    /// The number of pictures in all groups.
    pub fn total(&self) -> usize {
        self.groups.iter().map(|group| group.n).sum()
    }
}

impl fmt::Display for GroupCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.groups.iter().map(|group| self.name(group)).collect();
        let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max("total".len());
        for (name, group) in names.iter().zip(&self.groups) {
            writeln!(f, "  {name:width$}  {:>7}", group.n)?;
        }
        write!(f, "  {:width$}  {:>7}", "total", self.total())
    }
}

/// The names in `names` that occur more than once.
pub(crate) fn repeated(names: &[String]) -> BTreeSet<&str> {
    let mut seen = BTreeSet::new();
    names.iter().map(String::as_str).filter(|name| !seen.insert(*name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(labels: &[usize]) -> Index {
        let samples = labels.iter().enumerate().map(|(i, &label)| Sample {
            id: 10 + i as u64,
            path: format!("{i}.png").into(),
            label,
            split: if i == 0 { Split::Val } else { Split::Train },
        });
        Index { root: "/data".into(), classes: vec!["mammal".into(), "bird".into()], samples: samples.collect() }
    }

    fn places() -> Vec<String> {
        vec!["land".into(), "water".into()]
    }

    #[test]
    fn splits_have_the_published_codes_and_names() {
        assert_eq!(Split::ALL.map(Split::code), [0, 1, 2]);
        assert_eq!(Split::ALL.map(|split| split.to_string()), ["train", "val", "test"]);
        assert_eq!([0, 1, 2, 3].map(Split::from_code), [Some(Split::Train), Some(Split::Val), Some(Split::Test), None]);
        assert_eq!(serde_json::to_string(&Split::Val).unwrap(), "\"val\"");
    }

    #[test]
    fn counts_are_per_split_in_group_order() {
        let grouped = Grouped::new(index(&[0, 1, 1, 0, 1]), places(), vec![0, 1, 1, 1, 0]).unwrap();
        let numbers = |split| grouped.counts(split).groups.iter().map(|group| group.n).collect::<Vec<_>>();
        assert_eq!(numbers(Split::Train), [0, 1, 1, 2]);
        assert_eq!(numbers(Split::Val), [1, 0, 0, 0]);
        assert_eq!(grouped.attribute_of(13), Some(1));
        assert_eq!(grouped.attribute_of(9), None);
        assert_eq!(grouped.index().absolute(grouped.index().of(Split::Val)[0]), PathBuf::from("/data/0.png"));
        assert_eq!(
            grouped.counts(Split::Train).to_string(),
            "  mammal x land         0\n  mammal x water        1\n  bird x land           1\n  bird x water          2\n  total                 4"
        );
    }

    #[test]
    fn a_group_is_expected_unless_the_publication_says_that_there_is_none() {
        let grouped = Grouped::new(index(&[0, 1, 1, 0]), places(), vec![0, 1, 1, 1]).unwrap();
        assert_eq!(grouped.expected(Split::Test), [true; 4]);
        let published = PublishedCounts { train: vec![0, 5, 0, 0], val: vec![5, 0, 5, 0], test: vec![0; 4] };
        let grouped = grouped.without_published_zeros(&published);
        // Train has pictures of the last group, whatever the publication says.
        assert_eq!(grouped.expected(Split::Train), [false, true, false, true]);
        assert_eq!(grouped.expected(Split::Val), [true, false, true, false]);
        assert_eq!(grouped.expected(Split::Test), [false; 4]);
    }

    #[test]
    fn contradictions_are_named() {
        let message = |index, attributes| Grouped::new(index, places(), attributes).unwrap_err().to_string();
        assert!(message(index(&[0, 1]), vec![0]).ends_with("2 samples but 1 attributes"));
        assert!(message(index(&[0, 2]), vec![0, 1]).ends_with("id 11 has label 2, expected 0..=1"));
        assert!(message(index(&[0, 1]), vec![0, 2]).ends_with("id 11 has attribute 2, expected 0..=1"));
        let mut twice = index(&[0, 1]);
        twice.samples[1].id = 10;
        assert!(message(twice, vec![0, 1]).ends_with("id 10 occurs twice"));
    }
}

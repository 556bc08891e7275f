//! The description of a data set: one TOML file per data set in `datasets/`.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};

use crate::{DataError, Split, index::repeated};

/// What a data set is called, what its classes mean and how they are described in words.
///
/// ```
/// let text = r#"
///     name = "habitat"
///     title = "Birds and mammals on water and land"
///     source = "composed from the pictures in datasets/habitat"
///     licence = "each picture its own, see datasets/habitat/README.md"
///     layout = "waterbirds"
///     classes = ["mammal", "bird"]
///     attributes = ["land", "water"]
///     [prompts]
///     mammal = ["a photo of a {class}"]
///     bird = ["a photo of a {class}", "a {class} in the wild"]
/// "#;
/// let definition = scgs_data::Definition::parse(text, "habitat.toml".as_ref()).unwrap();
/// assert_eq!(definition.prompts_of(1), ["a photo of a bird", "a bird in the wild"]);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// Short name for commands and folders: small letters, digits, `-`.
    pub name: String,
    /// One line for people.
    pub title: String,
    /// Where the pictures come from and who made them.
    pub source: String,
    /// The terms they are under.
    pub licence: String,
    /// How the files lie on disk.
    pub layout: Layout,
    /// Names of the classes in the order of their labels.
    pub classes: Vec<String>,
    /// Names of the spurious attribute's values in the order of their codes.
    pub attributes: Vec<String>,
    /// Descriptions per class for generators that take text; `{class}` stands for the class's name.
    pub prompts: BTreeMap<String, Vec<String>>,
    /// Group sizes as published; a data set without them is not compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<PublishedCounts>,
    /// Settings of the pipeline that suit this data set; their meaning belongs to the pipeline, which checks them.
    #[serde(default, skip_serializing_if = "toml::Table::is_empty")]
    pub recipe: toml::Table,
    /// Named changes of the recipe, such as `quick`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub profiles: BTreeMap<String, toml::Table>,
}

/// How the files of a data set lie on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// `metadata.csv` with Waterbirds' columns beside the picture folders; see [`crate::waterbirds`].
    Waterbirds,
}

/// Published group sizes per split, in group order (label * number of attributes + attribute).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedCounts {
    /// Training pictures.
    pub train: Vec<usize>,
    /// Validation pictures.
    pub val: Vec<usize>,
    /// Test pictures.
    pub test: Vec<usize>,
}

impl PublishedCounts {
    /// The sizes in one split.
    pub fn of(&self, split: Split) -> &[usize] {
        match split {
            Split::Train => &self.train,
            Split::Val => &self.val,
            Split::Test => &self.test,
        }
    }
}

impl Definition {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`DataError::Io`] when it cannot be read, [`DataError::Definition`] for unknown or missing keys and for values that
    /// contradict each other.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, DataError> {
        let path = path.as_ref();
        Self::parse(&fs_err::read_to_string(path)?, path)
    }

    /// Reads and checks a text; `path` is used in messages.
    ///
    /// # Errors
    /// As [`Definition::read`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, DataError> {
        let refuse = |problems| DataError::Definition { path: path.to_owned(), problems };
        let definition: Self = toml::from_str(text).map_err(|error| refuse(vec![error.to_string()]))?;
        definition.check().map_err(refuse)?;
        Ok(definition)
    }

    /// The prompts of a class with its name filled in; empty for an unknown label.
    pub fn prompts_of(&self, label: usize) -> Vec<String> {
        let Some(class) = self.classes.get(label) else { return Vec::new() };
        let prompts = self.prompts.get(class).map(Vec::as_slice).unwrap_or_default();
        prompts.iter().map(|prompt| prompt.replace("{class}", class)).collect()
    }

    /// Whether the parts fit together.
    ///
    /// # Errors
    /// One line per problem, all at once.
    pub fn check(&self) -> Result<(), Vec<String>> {
        let mut problems = Vec::new();
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.name.is_empty() || !self.name.chars().all(plain) {
            problems.push(format!("name is `{}`, expected small letters, digits and `-`", self.name));
        }
        for (key, value) in [("title", &self.title), ("source", &self.source), ("licence", &self.licence)] {
            if value.trim().is_empty() {
                problems.push(format!("{key} is empty"));
            }
        }
        for (key, names) in [("classes", &self.classes), ("attributes", &self.attributes)] {
            if names.len() < 2 {
                problems.push(format!("{key} has {} name(s), expected at least 2", names.len()));
            }
            if names.iter().any(|name| name.trim().is_empty()) {
                problems.push(format!("{key} has an empty name"));
            }
            for name in repeated(names) {
                problems.push(format!("{key} names `{name}` twice"));
            }
        }
        self.check_prompts(&mut problems);
        self.check_counts(&mut problems);
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    fn check_prompts(&self, problems: &mut Vec<String>) {
        for class in &self.classes {
            if self.prompts.get(class).is_none_or(Vec::is_empty) {
                problems.push(format!("prompts has nothing for class `{class}`, expected at least one"));
            }
        }
        for (class, prompts) in &self.prompts {
            if !self.classes.contains(class) {
                problems.push(format!("prompts names `{class}`, which is not in classes"));
            }
            for prompt in prompts {
                let rest = prompt.replace("{class}", "");
                if prompt.trim().is_empty() || rest.contains(['{', '}']) {
                    problems.push(format!(
                        "prompt `{prompt}` of `{class}`: expected a text with no other braces than `{{class}}`"
                    ));
                }
            }
        }
    }

    fn check_counts(&self, problems: &mut Vec<String>) {
        let Some(counts) = &self.counts else { return };
        let groups = self.classes.len() * self.attributes.len();
        for split in Split::ALL {
            let found = counts.of(split).len();
            if found != groups {
                problems.push(format!(
                    "counts.{split} has {found} number(s), expected {groups}: one per class and attribute"
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datasets() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets")
    }

    fn message(change: impl FnOnce(&mut Definition)) -> String {
        let mut definition = Definition::read(datasets().join("waterbirds.toml")).unwrap();
        change(&mut definition);
        definition.check().unwrap_err().join("\n")
    }

    #[test]
    fn the_shipped_definitions_are_valid() {
        let habitat = Definition::read(datasets().join("habitat.toml")).unwrap();
        assert_eq!((habitat.name.as_str(), habitat.classes[1].as_str()), ("habitat", "bird"));
        assert_eq!(habitat.attributes, ["land", "water"]);
        let waterbirds = Definition::read(datasets().join("waterbirds.toml")).unwrap();
        let counts = waterbirds.counts.unwrap();
        // Totals of Sagawa et al. 2020, appendix; the archive's metadata.csv has these numbers of rows.
        assert_eq!(Split::ALL.map(|split| counts.of(split).iter().sum::<usize>()), [4795, 1199, 5794]);
    }

    #[test]
    fn contradictions_are_named() {
        assert!(message(|d| d.name = "Water Birds".into()).contains("name is `Water Birds`"));
        assert!(message(|d| d.title = " ".into()).contains("title is empty"));
        assert!(message(|d| d.classes[1] = d.classes[0].clone()).contains("classes names `landbird` twice"));
        assert!(message(|d| d.attributes.truncate(1)).contains("attributes has 1 name(s)"));
        assert!(message(|d| d.prompts.clear()).contains("nothing for class `waterbird`"));
        assert!(
            message(|d| d.prompts.get_mut("landbird").unwrap()[0] = "a {clas}".into()).contains("prompt `a {clas}`")
        );
        assert!(
            message(|d| d.counts.as_mut().unwrap().val.truncate(3)).contains("counts.val has 3 number(s), expected 4")
        );
    }

    #[test]
    fn an_unknown_key_is_named_with_file_and_line() {
        let text = fs_err::read_to_string(datasets().join("habitat.toml")).unwrap();
        let error = Definition::parse(&format!("colour = 1\n{text}"), Path::new("x.toml")).unwrap_err().to_string();
        assert!(error.starts_with("x.toml: ") && error.contains("line 1") && error.contains("colour"), "{error}");
    }
}

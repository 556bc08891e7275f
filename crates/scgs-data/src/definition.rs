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
    /// Whether the pictures are composed from the embedded pack where no folder is given.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub composed: bool,
    /// Names of the classes in the order of their labels.
    pub classes: Vec<String>,
    /// Names of the spurious attribute's values in the order of their codes. One name, such as `any`, where none is known:
    /// then groups are classes.
    pub attributes: Vec<String>,
    /// Descriptions per class for generators that take text; `{class}` stands for the class's name.
    pub prompts: BTreeMap<String, Vec<String>>,
    /// A CSV file in the data folder with the columns `file` and `attribute`, for layouts that have no attribute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<String>,
    /// Options of the layout `waterbirds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waterbirds: Option<WaterbirdsOptions>,
    /// Options of the layout `celeba`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub celeba: Option<CelebaOptions>,
    /// Options of the layout `metadata`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<ColumnMap>,
    /// Options of the layout `folder`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<FolderOptions>,
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
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// `metadata.csv` with Waterbirds' columns beside the picture folders; see [`crate::waterbirds`].
    Waterbirds,
    /// `list_attr_celeba`, `list_eval_partition` (.txt or .csv) and `img_align_celeba`.
    Celeba,
    /// `MetaDatasetCatDog` of DISC: `train/cat/cat(sofa)`, ..., `test/dog/dog(shelf)`.
    Metashift,
    /// `MetaShift-Cat-Dog-indoor-outdoor` of `SubpopBench`.
    MetashiftIndoorOutdoor,
    /// `metadata.csv` with the columns that `[columns]` names.
    Metadata,
    /// `train|val|test/<class>/*`, or `<class>/*` with the split that `[folder]` draws.
    Folder,
}

/// `[waterbirds]`: options of [`Layout::Waterbirds`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WaterbirdsOptions {
    /// Gives three species of land birds, which the published table marks as waterbirds, the label 0. Published counts are
    /// compared before that.
    pub corrected: bool,
}

/// `[celeba]`: options of [`Layout::Celeba`]. Both names are among CelebA's 40 attributes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CelebaOptions {
    /// The label: 0 for -1, 1 for 1.
    pub target: String,
    /// The spurious attribute, likewise.
    pub attribute: String,
}

impl Default for CelebaOptions {
    fn default() -> Self {
        Self { target: "Blond_Hair".to_owned(), attribute: "Male".to_owned() }
    }
}

/// `[columns]`: names of the columns of [`Layout::Metadata`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ColumnMap {
    /// The table, `metadata.csv` when left out.
    pub table: Option<String>,
    /// Path of the picture below the data folder.
    pub file: String,
    /// Code or name of the class.
    pub label: String,
    /// Code or name of the split.
    pub split: String,
    /// Code or name of the spurious attribute; without it every picture has the first one, or that of `groups`.
    pub attribute: Option<String>,
    /// A unique whole number; the rows are counted when left out.
    pub id: Option<String>,
}

impl Default for ColumnMap {
    fn default() -> Self {
        Self {
            table: None,
            file: "filename".to_owned(),
            label: "y".to_owned(),
            split: "split".to_owned(),
            attribute: None,
            id: None,
        }
    }
}

/// `[folder]`: how [`Layout::Folder`] is split where there are no folders of splits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FolderOptions {
    /// Share of each class that is validation, above 0.
    pub val: f64,
    /// Share of each class that is test, above 0; below 1 together with `val`.
    pub test: f64,
    /// Decides who is drawn.
    pub seed: u64,
}

impl Default for FolderOptions {
    fn default() -> Self {
        Self { val: 0.1, test: 0.2, seed: 0 }
    }
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
        for (key, names, least) in [("classes", &self.classes, 2), ("attributes", &self.attributes, 1)] {
            if names.len() < least {
                problems.push(format!("{key} has {} name(s), expected at least {least}", names.len()));
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
        self.check_layout(&mut problems);
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

    fn check_layout(&self, problems: &mut Vec<String>) {
        let sections = [
            ("waterbirds", self.waterbirds.is_some(), Layout::Waterbirds),
            ("celeba", self.celeba.is_some(), Layout::Celeba),
            ("columns", self.columns.is_some(), Layout::Metadata),
            ("folder", self.folder.is_some(), Layout::Folder),
        ];
        for (section, there, layout) in sections {
            if there && self.layout != layout {
                problems.push(format!("[{section}] is for another layout; remove it or correct `layout`"));
            }
        }
        let takes_groups = matches!(self.layout, Layout::Metadata | Layout::Folder);
        if let Some(file) = &self.groups {
            if !takes_groups || self.columns.as_ref().is_some_and(|columns| columns.attribute.is_some()) {
                problems.push("groups: this layout has attributes of its own; remove it".to_owned());
            }
            if !crate::waterbirds::is_inside(file) {
                problems.push(format!("groups is `{file}`, expected a file below the data folder"));
            }
        }
        let table = self.columns.as_ref().and_then(|columns| columns.table.as_ref());
        if let Some(table) = table.filter(|table| !crate::waterbirds::is_inside(table)) {
            problems.push(format!("columns.table is `{table}`, expected a file below the data folder"));
        }
        if let Some(celeba) = self.celeba.as_ref().filter(|celeba| celeba.target == celeba.attribute) {
            problems.push(format!("celeba.target and celeba.attribute are both `{}`; name two", celeba.target));
        }
        if let Some(FolderOptions { val, test, .. }) = self.folder
            && !(val > 0.0 && test > 0.0 && val + test < 1.0)
        {
            problems.push(format!("folder.val is {val} and folder.test {test}; both above 0, together below 1"));
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
        for name in ["celeba", "metashift", "metashift-indoor-outdoor", "waterbirds-corrected"] {
            assert_eq!(Definition::read(datasets().join(format!("{name}.toml"))).unwrap().name, name);
        }
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
        assert!(message(|d| d.attributes.clear()).contains("attributes has 0 name(s)"));
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

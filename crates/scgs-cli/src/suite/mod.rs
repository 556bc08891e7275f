//! A suite: many configurations of one data set, run with the same seeds and put together on one page.
//!
//! What a suite is stands in a TOML file (`datasets/suites/<data set>-<name>.toml`): cells with settings and arms. The cell `default`
//! is the recipe; rows of every other cell are named `<arm>@<cell>`. Cells marked `search` are for choosing: they are judged on
//! the validation split, and their test results are neither shown nor stored.

pub(crate) mod claims;
pub(crate) mod figure;
pub(crate) mod page;
pub(crate) mod sheet;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use scgs_debias::{Results, diagnostics::Diagnostics, results::Row};
use serde::{Deserialize, Serialize};

/// The cell with the recipe: its rows keep the plain names of the arms.
pub(crate) const DEFAULT: &str = "default";

/// The file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Suite {
    /// Name of the data set.
    pub dataset: String,
    /// Whether the page opens with the paper's claims, tested on the default cell.
    #[serde(default)]
    pub claims: bool,
    /// Title of the page.
    pub title: String,
    /// What the page opens with.
    pub about: String,
    /// Names of the sections and what stands above their tables, in order.
    #[serde(rename = "section")]
    pub sections: Vec<Section>,
    /// What is run.
    #[serde(rename = "cell")]
    pub cells: Vec<Cell>,
}

/// A part of the page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Section {
    /// What cells refer to.
    pub name: String,
    /// The heading.
    pub title: String,
    /// What the table shows.
    pub about: String,
}

/// One configuration with the arms that are run under it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cell {
    /// Part of the names of its rows.
    pub name: String,
    /// The section it belongs to.
    pub section: String,
    /// What is different, in a few words.
    pub about: String,
    /// Settings laid over the recipe, as for `--set`.
    #[serde(default)]
    pub set: Vec<String>,
    /// Arms, as for `--methods`.
    pub methods: String,
    /// At most so many seeds, where the cell is slow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seeds: Option<u64>,
    /// Judged on the validation split alone.
    #[serde(default)]
    pub search: bool,
}

impl Suite {
    /// Reads and checks a suite.
    ///
    /// # Errors
    /// What is wrong with the file, all at once where it is more than one thing.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs_err::read_to_string(path)?;
        let suite: Self = toml::from_str(&text).with_context(|| format!("{} is no suite", path.display()))?;
        let problems = suite.problems();
        anyhow::ensure!(problems.is_empty(), "{}: {}", path.display(), problems.join("; "));
        Ok(suite)
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut names: Vec<&str> = Vec::new();
        for cell in &self.cells {
            if names.contains(&cell.name.as_str()) {
                problems.push(format!("two cells are named {}", cell.name));
            }
            names.push(&cell.name);
            if !cell.name.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)) || cell.name.is_empty() {
                problems.push(format!("cell name `{}`: expected letters, digits, - . _", cell.name));
            }
            if !self.sections.iter().any(|s| s.name == cell.section) {
                problems.push(format!("cell {} is in section {}, which does not exist", cell.name, cell.section));
            }
            if cell.seeds == Some(0) {
                problems.push(format!("cell {} has 0 seeds, expected at least 1", cell.name));
            }
        }
        match self.cells.iter().find(|c| c.name == DEFAULT) {
            None => problems.push(format!("there is no cell `{DEFAULT}`")),
            Some(cell) if cell.search || cell.seeds.is_some() => {
                problems.push(format!("the cell `{DEFAULT}` is run with every seed and tested"));
            }
            Some(_) => {}
        }
        problems
    }
}

/// What came of a cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Finished {
    /// The cell.
    pub cell: Cell,
    /// Its run folder, relative to the folder of runs.
    pub run: PathBuf,
    /// Accuracy on the validation split per arm and seed, without group labels.
    pub validation: Vec<ValidationRow>,
    /// Per seed what is known with group labels and object masks; empty for a search.
    pub diagnostics: Vec<(u64, Diagnostics)>,
}

/// What a search may look at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ValidationRow {
    /// The arm.
    pub method: String,
    /// The seed.
    pub seed: u64,
    /// Share of correct validation pictures.
    pub plain: f64,
    /// Accuracy of the class with the lowest one.
    pub worst_class: f64,
}

/// The file `<page>-<suite>.json`: the schema of `results.json`, with the rows of all cells but those of a search, and what each
/// cell was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Rows and comparisons.
    #[serde(flatten)]
    pub results: Results,
    /// The suite as it was run.
    pub suite: Suite,
    /// The command that makes the file.
    pub command: String,
    /// The cells.
    pub cells: Vec<Finished>,
    /// Cells that could not be run; the page names them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<Failed>,
}

/// A cell that could not be run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Failed {
    /// The cell.
    pub cell: Cell,
    /// Why.
    pub error: String,
}

/// Name of an arm's row.
pub(crate) fn row_name(cell: &str, arm: &str) -> String {
    if cell == DEFAULT { arm.to_owned() } else { format!("{arm}@{cell}") }
}

impl Record {
    /// Adds what a cell has left.
    pub(crate) fn add(&mut self, finished: Finished, rows: Vec<Row>) {
        if !finished.cell.search {
            let name = |row: Row| Row { method: row_name(&finished.cell.name, &row.method), ..row };
            self.results.rows.extend(rows.into_iter().map(name));
        }
        self.cells.push(finished);
    }

    /// Values of an arm over the seeds that it has, ascending.
    pub(crate) fn values(&self, row_name: &str, of: impl Fn(&Row) -> f64) -> Vec<(u64, f64)> {
        self.results.rows.iter().filter(|r| r.method == row_name).map(|r| (r.seed, of(r))).collect()
    }

    /// Paired values of two arms, on the seeds that both have.
    pub(crate) fn paired(&self, a: &str, b: &str, of: impl Fn(&Row) -> f64 + Copy) -> (Vec<f64>, Vec<f64>) {
        let base = self.values(b, of);
        self.values(a, of)
            .into_iter()
            .filter_map(|(seed, value)| Some((value, base.iter().find(|(s, _)| *s == seed)?.1)))
            .unzip()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_wrong_with_a_suite_is_said_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("suite.toml");
        let cell = |name: &str, section: &str| {
            format!("[[cell]]\nname = \"{name}\"\nsection = \"{section}\"\nabout = \"\"\nmethods = \"erm\"\n")
        };
        let head = "dataset = \"habitat\"\ntitle = \"t\"\nabout = \"a\"\n[[section]]\nname = \"main\"\ntitle = \"\"\nabout = \"\"\n";
        fs_err::write(
            &path,
            [head, &cell("a b", "main"), &cell("x", "no"), &cell("x", "main"), "seeds = 0\n"].concat(),
        )
        .unwrap();
        let message = Suite::read(&path).unwrap_err().to_string();
        for part in ["`a b`", "two cells are named x", "section no", "0 seeds", "no cell `default`"] {
            assert!(message.contains(part), "{part} in {message}");
        }
        fs_err::write(&path, [head, &cell(DEFAULT, "main")].concat()).unwrap();
        assert_eq!(Suite::read(&path).unwrap().cells.len(), 1);
    }

    #[test]
    fn the_suites_that_ship_can_be_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/suites");
        let mut read = 0;
        for entry in fs_err::read_dir(folder).unwrap() {
            Suite::read(&entry.unwrap().path()).unwrap();
            read += 1;
        }
        assert!(read >= 1);
    }

    #[test]
    fn rows_of_other_cells_carry_their_cell() {
        assert_eq!(row_name(DEFAULT, "scgs+jtt"), "scgs+jtt");
        assert_eq!(row_name("telea", "scgs"), "scgs@telea");
    }
}

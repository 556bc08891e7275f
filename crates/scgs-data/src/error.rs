//! The error of reading, checking and composing data sets.

use std::{fmt, path::PathBuf};

use crate::{GroupCounts, PictureError, Split};

/// How many problems of one kind a message lists; the rest is counted.
const LISTED: usize = 10;

/// Why a data set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// Occurs when a file cannot be read or written. The message of `fs_err` names the path.
    #[error("{0}; check the path, its permissions and the free disk space")]
    Io(#[from] std::io::Error),
    /// Occurs when a data set definition is not valid; all problems are listed at once.
    #[error("{}: the data set definition cannot be used:\n{}", path.display(), listed(problems))]
    Definition {
        /// The TOML file.
        path: PathBuf,
        /// One line each.
        problems: Vec<String>,
    },
    /// Occurs when a folder does not hold what the data set's layout has.
    #[error("{}: expected {expected}. Check the data folder and the layout in the data set's definition", path.display())]
    Layout {
        /// The folder.
        path: PathBuf,
        /// What should be there.
        expected: String,
    },
    /// Occurs when a table lacks columns.
    #[error(
        "{}: column(s) {} missing; found {}. Rename the columns of the file or check that it is the right one",
        path.display(), quoted(missing), quoted(found)
    )]
    MissingColumns {
        /// The table.
        path: PathBuf,
        /// The names that are needed and not there.
        missing: Vec<String>,
        /// The names in its first line.
        found: Vec<String>,
    },
    /// Occurs when rows of a table cannot be used; the first ones are listed with their lines.
    #[error("{}: {} row(s) cannot be used:\n{}\nCorrect or remove these lines", path.display(), problems.len(), listed(problems))]
    Rows {
        /// The table.
        path: PathBuf,
        /// What is wrong, in the order of the lines.
        problems: Vec<RowProblem>,
    },
    /// Occurs when a table has a header but no row, or a folder no picture.
    #[error("{}: no pictures; expected one row or file per picture", path.display())]
    NoRows {
        /// The table.
        path: PathBuf,
    },
    /// Occurs when pictures named in a table are not on disk.
    #[error(
        "{}: {} of {total} pictures are missing:\n{}\nUnpack the archive again or correct the data folder",
        root.display(), missing.len(), listed(missing)
    )]
    MissingPictures {
        /// The folder of the data set.
        root: PathBuf,
        /// Paths relative to it, with the line that names them.
        missing: Vec<RowProblem>,
        /// How many the table names.
        total: usize,
    },
    /// Occurs when a group has no picture in a split: its accuracy would not be defined.
    #[error(
        "{}: group {group} has no picture in the {split} split:\n{counts}\nAdd pictures of it, or allow empty groups \
         if this data is not used for evaluation", path.display()
    )]
    EmptyGroup {
        /// The table.
        path: PathBuf,
        /// The group as `label x attribute`.
        group: String,
        /// The split.
        split: Split,
        /// What the split holds.
        counts: Box<GroupCounts>,
    },
    /// Occurs when group counts differ from the published ones.
    #[error(
        "{name}: the group counts differ from the published ones:\n{table}\nThis may be another version of the data set; \
         `accept_counts` (--accept-counts) goes on with it"
    )]
    Counts {
        /// The data set.
        name: String,
        /// A line per split and group with a difference.
        table: String,
    },
    /// Occurs when labels, attributes or ids of a data set contradict each other.
    #[error("the data set contradicts itself: {0}")]
    Inconsistent(String),
    /// Occurs when settings of the composer are impossible; all problems are listed at once.
    #[error("the data set cannot be composed with these settings:\n{}", listed(.0))]
    Settings(Vec<String>),
    /// Occurs when the pack of source pictures is damaged or too small.
    #[error("{}: {message}", path.display())]
    Pack {
        /// The pack's folder or one of its files.
        path: PathBuf,
        /// What is wrong and what to do.
        message: String,
    },
    /// Occurs when the output folder belongs to something else.
    #[error("{}: {message}; choose another folder or delete this one", path.display())]
    Occupied {
        /// The folder.
        path: PathBuf,
        /// What it holds.
        message: String,
    },
    /// Occurs when a picture cannot be read.
    #[error(transparent)]
    Picture(#[from] PictureError),
}

/// One row of a table that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowProblem {
    /// Line in the file, counted from 1 (the header).
    pub line: u64,
    /// What is wrong, with the value and the allowed ones.
    pub what: String,
}

impl fmt::Display for RowProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

/// Two blanks, an item, a line end; at most [`LISTED`] of them.
fn listed<T: fmt::Display>(items: &[T]) -> String {
    let mut lines: Vec<String> = items.iter().take(LISTED).map(|item| format!("  {item}")).collect();
    if items.len() > LISTED {
        lines.push(format!("  and {} more", items.len() - LISTED));
    }
    lines.join("\n")
}

fn quoted(names: &[String]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

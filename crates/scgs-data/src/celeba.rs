//! CelebA: `list_attr_celeba`, `list_eval_partition` and the folder `img_align_celeba`.
//!
//! Both forms of the tables are read: the authors' `.txt` (a count, a line of names, then blanks between the values) and
//! Kaggle's and WILDS's `.csv`. The pictures may lie in `img_align_celeba/img_align_celeba`, as Kaggle's archive unpacks.
//! Any of the 40 attributes can be the label and any other the spurious attribute: see [`crate::CelebaOptions`].

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use crate::{DataError, Definition, RowProblem, Sample, Split, read::Table, waterbirds};

/// Takes the line, the file name, and target and attribute or what is wrong with them.
type EachRow<'a> = &'a mut dyn FnMut(u64, &str, Result<[usize; 2], String>);

/// The folder of the pictures.
pub(crate) const PICTURES: &str = "img_align_celeba";
/// The attributes in the order of the published table.
#[rustfmt::skip]
pub(crate) const NAMES: [&str; 40] = [
    "5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs", "Big_Lips", "Big_Nose",
    "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows", "Chubby", "Double_Chin", "Eyeglasses", "Goatee",
    "Gray_Hair", "Heavy_Makeup", "High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache", "Narrow_Eyes", "No_Beard",
    "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline", "Rosy_Cheeks", "Sideburns", "Smiling", "Straight_Hair",
    "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat", "Wearing_Lipstick", "Wearing_Necklace", "Wearing_Necktie", "Young",
];
/// The table of attributes, without its extension.
const ATTRIBUTES: &str = "list_attr_celeba";
/// The table of splits, without its extension.
const PARTITION: &str = "list_eval_partition";

/// Reads both tables below `root`.
pub(crate) fn read(root: &Path, definition: &Definition) -> Result<Table, DataError> {
    let options = definition.celeba.clone().unwrap_or_default();
    let attributes = Source::find(root, ATTRIBUTES)?;
    let partition = Source::find(root, PARTITION)?.partition()?;
    let nested = Path::new(PICTURES).join(PICTURES);
    let folder = if root.join(&nested).is_dir() { nested } else { PathBuf::from(PICTURES) };
    let mut samples = Vec::with_capacity(partition.len());
    let mut values = Vec::with_capacity(partition.len());
    let mut lines = Vec::with_capacity(partition.len());
    let mut problems = Vec::new();
    // Both tables are in the same order in every known version; the map is only made for a row that is elsewhere.
    let mut by_name: Option<HashMap<&str, Split>> = None;
    attributes.rows([&options.target, &options.attribute], &mut |line, file, row| {
        let [label, attribute] = match row {
            Ok(row) => row,
            Err(what) => return problems.push(RowProblem { line, what }),
        };
        let split = match partition.get(samples.len() + problems.len()) {
            Some((name, split)) if name == file => Some(*split),
            _ => {
                let pairs = || partition.iter().map(|(name, split)| (name.as_str(), *split)).collect();
                by_name.get_or_insert_with(pairs).get(file).copied()
            }
        };
        let split = split.ok_or_else(|| format!("`{file}` has no row in {PARTITION}"));
        match split {
            Ok(split) if waterbirds::is_inside(file) => {
                samples.push(Sample { id: samples.len() as u64 + 1, path: folder.join(file), label, split });
                values.push(attribute);
                lines.push(line);
            }
            Ok(_) => problems.push(RowProblem { line, what: format!("`{file}` is no file name below {PICTURES}") }),
            Err(what) => problems.push(RowProblem { line, what }),
        }
    })?;
    let path = attributes.path;
    if problems.is_empty() {
        Ok(Table { path, samples, attributes: values, lines })
    } else {
        Err(DataError::Rows { path, problems })
    }
}

/// A table in one of its two forms.
struct Source {
    path: PathBuf,
    text: String,
    csv: bool,
}

impl Source {
    fn find(root: &Path, stem: &str) -> Result<Self, DataError> {
        for extension in ["txt", "csv"] {
            let path = root.join(format!("{stem}.{extension}"));
            if path.is_file() {
                let text = fs_err::read_to_string(&path)?;
                return Ok(Self { path, text, csv: extension == "csv" });
            }
        }
        Err(DataError::Layout {
            path: root.to_owned(),
            expected: format!("{stem}.txt or {stem}.csv beside the folder {PICTURES}"),
        })
    }

    fn body(&self) -> &str {
        self.text.strip_prefix('\u{feff}').unwrap_or(&self.text)
    }

    fn refuse(&self, line: u64, what: String) -> DataError {
        DataError::Rows { path: self.path.clone(), problems: vec![RowProblem { line, what }] }
    }

    /// File names with their splits.
    fn partition(&self) -> Result<Vec<(String, Split)>, DataError> {
        let mut rows = Vec::new();
        let mut problems = Vec::new();
        let skip = usize::from(self.csv);
        for (number, line) in self.body().lines().enumerate().skip(skip) {
            let fields = if self.csv { line.trim_end().split_once(',') } else { line.trim().split_once([' ', '\t']) };
            let parsed = fields.and_then(|(name, code)| {
                let code = code.trim().parse().ok()?;
                Some((name.trim().to_owned(), Split::from_code(code)?))
            });
            match parsed {
                Some(row) => rows.push(row),
                None if line.trim().is_empty() => {}
                None => problems.push(RowProblem {
                    line: number as u64 + 1,
                    what: format!("`{}`, expected a file name and 0 (train), 1 (val) or 2 (test)", line.trim()),
                }),
            }
        }
        if problems.is_empty() { Ok(rows) } else { Err(DataError::Rows { path: self.path.clone(), problems }) }
    }

    /// Calls `each` with line, file name and the values of the two columns (0 for -1 or 0, 1 for 1).
    fn rows(&self, columns: [&str; 2], each: EachRow<'_>) -> Result<(), DataError> {
        if self.csv { self.csv_rows(columns, each) } else { self.txt_rows(columns, each) }
    }

    /// The positions of the columns among the attributes.
    fn positions(&self, names: &[&str], columns: [&str; 2]) -> Result<[usize; 2], DataError> {
        let found = columns.map(|column| names.iter().position(|name| *name == column));
        if let [Some(target), Some(attribute)] = found {
            return Ok([target, attribute]);
        }
        let absent = columns.iter().zip(found).filter(|(_, at)| at.is_none());
        Err(DataError::MissingColumns {
            path: self.path.clone(),
            missing: absent.map(|(name, _)| (*name).to_owned()).collect(),
            found: names.iter().map(|name| (*name).to_owned()).collect(),
        })
    }

    fn txt_rows(&self, columns: [&str; 2], each: EachRow<'_>) -> Result<(), DataError> {
        let mut lines = self.body().lines();
        let first = lines.next().unwrap_or_default().trim();
        let count: usize = first
            .parse()
            .map_err(|_| self.refuse(1, format!("`{first}`, expected the number of pictures, such as 202599")))?;
        let names: Vec<&str> = lines.next().unwrap_or_default().split_ascii_whitespace().collect();
        let positions = self.positions(&names, columns)?;
        let mut rows = 0;
        for (number, line) in lines.enumerate() {
            let mut fields = line.split_ascii_whitespace();
            let Some(file) = fields.next() else { continue };
            rows += 1;
            let mut picked = [""; 2];
            let mut width = 0;
            for field in fields {
                for (slot, &position) in picked.iter_mut().zip(&positions) {
                    if width == position {
                        *slot = field;
                    }
                }
                width += 1;
            }
            let row = if width == names.len() {
                values(columns, picked)
            } else {
                Err(format!("{width} values, the names are {}", names.len()))
            };
            each(number as u64 + 3, file, row);
        }
        if rows == count {
            Ok(())
        } else {
            Err(self.refuse(1, format!("the file promises {count} rows and has {rows}; fetch it again")))
        }
    }

    fn csv_rows(&self, columns: [&str; 2], each: EachRow<'_>) -> Result<(), DataError> {
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(self.body().as_bytes());
        let names: Vec<String> = match reader.headers() {
            Ok(header) => header.iter().skip(1).map(|name| name.trim().to_owned()).collect(),
            Err(error) => return Err(self.refuse(1, error.to_string())),
        };
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let positions = self.positions(&names, columns)?;
        let mut record = csv::StringRecord::new();
        loop {
            match reader.read_record(&mut record) {
                Ok(false) => return Ok(()),
                Ok(true) => {}
                Err(error) => return Err(self.refuse(reader.position().line(), error.to_string())),
            }
            let line = record.position().map_or(0, csv::Position::line);
            let row = if record.len() == names.len() + 1 {
                values(columns, positions.map(|at| record.get(at + 1).unwrap_or_default().trim()))
            } else {
                Err(format!("{} fields, the header has {}", record.len(), names.len() + 1))
            };
            each(line, record.get(0).unwrap_or_default().trim(), row);
        }
    }
}

fn values(columns: [&str; 2], texts: [&str; 2]) -> Result<[usize; 2], String> {
    let value = |column: &str, text: &str| match text {
        "1" => Ok(1),
        "-1" | "0" => Ok(0),
        _ => Err(format!("{column} is `{text}`, expected -1 or 1")),
    };
    Ok([value(columns[0], texts[0])?, value(columns[1], texts[1])?])
}

#[cfg(test)]
#[path = "celeba_tests.rs"]
mod tests;

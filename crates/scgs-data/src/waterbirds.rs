//! The Waterbirds layout: a `metadata.csv` beside the folders of pictures.
//!
//! The table has the columns `img_id,img_filename,y,split,place,place_filename`, as the generator of Sagawa et al.,
//! "Distributionally Robust Neural Networks for Group Shifts" (2020, `kohpangwei/group_DRO`) writes them: `y` is the
//! label, `place` the spurious attribute, `split` 0 train, 1 validation, 2 test. Group = label * attributes + place.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
};

use crate::{DataError, Definition, Grouped, RowProblem, Sample, Split, atomic, read::Table};

/// The columns in their published order.
pub const COLUMNS: [&str; 6] = ["img_id", "img_filename", "y", "split", "place", "place_filename"];

/// The file name of the table.
pub const METADATA: &str = "metadata.csv";

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataRow {
    /// Unique id.
    pub img_id: u64,
    /// Path of the picture, relative to the folder of the table, with `/`.
    pub img_filename: String,
    /// The label.
    pub y: usize,
    /// The part of the data set.
    pub split: Split,
    /// The spurious attribute.
    pub place: usize,
    /// The background's file; kept for the record, never opened.
    pub place_filename: String,
}

/// What the reader lets pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReadOptions {
    /// Accept splits in which a group has no picture, as in a set that is only trained on.
    pub allow_empty_groups: bool,
    /// Accept numbers of pictures per group that differ from the published ones.
    pub accept_counts: bool,
}

/// The species that the authors' list marks as waterbirds by mistake (README of `kohpangwei/group_DRO`).
const MISLABELLED: [&str; 3] = ["Eastern_Towhee", "Western_Meadowlark", "Western_Wood_Pewee"];

/// The label of a picture after the known corrections: three species of land birds are no waterbirds.
pub(crate) fn corrected_label(sample: &Sample) -> usize {
    let folder = sample.path.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or_default();
    let species = folder.split_once('.').map_or(folder, |(_, species)| species);
    if MISLABELLED.contains(&species) { 0 } else { sample.label }
}

/// Reads `root/metadata.csv`: columns may be in any order and more may follow; a byte order mark and Windows line ends are
/// fine.
pub(crate) fn table(root: &Path, definition: &Definition) -> Result<Table, DataError> {
    let path = root.join(METADATA);
    let rows = read_rows(&path, definition)?;
    let mut table = Table { path, samples: Vec::new(), attributes: Vec::new(), lines: Vec::new() };
    for (line, row) in rows {
        let MetadataRow { img_id: id, img_filename, y: label, split, place, .. } = row;
        table.samples.push(Sample { id, path: PathBuf::from(img_filename), label, split });
        table.attributes.push(place);
        table.lines.push(line);
    }
    Ok(table)
}

/// Writes a table with exactly the published columns.
///
/// # Errors
/// [`std::io::Error`] with the path, as [`atomic::write`].
pub fn write_metadata(path: &Path, rows: &[MetadataRow]) -> std::io::Result<()> {
    atomic::write(path, metadata_bytes(rows)?)
}

/// The text of such a table.
pub(crate) fn metadata_bytes(rows: &[MetadataRow]) -> std::io::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(COLUMNS)?;
    for row in rows {
        writer.write_record([
            &row.img_id.to_string(),
            &row.img_filename,
            &row.y.to_string(),
            &row.split.code().to_string(),
            &row.place.to_string(),
            &row.place_filename,
        ])?;
    }
    writer.into_inner().map_err(|error| std::io::Error::other(error.to_string()))
}

/// Compares the group sizes with the published ones of `definition`; without published ones there is nothing to compare.
///
/// # Errors
/// [`DataError::Counts`] with a table of split, group, published and found number.
pub fn check_counts(grouped: &Grouped, definition: &Definition) -> Result<(), DataError> {
    let Some(published) = &definition.counts else { return Ok(()) };
    let mut lines = Vec::new();
    for split in Split::ALL {
        let counts = grouped.counts(split);
        for (group, &expected) in counts.groups.iter().zip(published.of(split)) {
            if group.n != expected {
                let difference = group.n as i128 - expected as i128;
                lines.push(format!(
                    "  {split:<5}  {:<24}  {expected:>9}  {:>7}  {difference:>+10}",
                    counts.name(group),
                    group.n
                ));
            }
        }
    }
    if lines.is_empty() {
        return Ok(());
    }
    let header = format!("  {:<5}  {:<24}  {:>9}  {:>7}  {:>10}", "split", "group", "published", "found", "difference");
    lines.insert(0, header);
    Err(DataError::Counts { name: definition.name.clone(), table: lines.join("\n") })
}

/// Whether `path` stays below the folder it is joined to: not empty, not absolute, no `..`.
pub(crate) fn is_inside(path: &str) -> bool {
    let mut parts = Path::new(path).components().peekable();
    parts.peek().is_some() && parts.all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

/// All rows with their lines; a table with one bad row is refused with all bad rows named.
fn read_rows(path: &Path, definition: &Definition) -> Result<Vec<(u64, MetadataRow)>, DataError> {
    let bytes = read_unix(path)?;
    let mut reader = csv::ReaderBuilder::new().has_headers(true).from_reader(bytes.as_slice());
    let found: Vec<String> = match reader.headers() {
        Ok(headers) => headers.iter().map(|name| name.trim().to_owned()).collect(),
        Err(error) => return Err(rows_error(path, vec![csv_problem(&error, 1)])),
    };
    let columns = COLUMNS.map(|name| found.iter().position(|column| column == name));
    let [Some(id), Some(file), Some(y), Some(split), Some(place), Some(place_file)] = columns else {
        let absent = COLUMNS.iter().zip(columns).filter(|(_, column)| column.is_none());
        let missing = absent.map(|(name, _)| (*name).to_owned()).collect();
        return Err(DataError::MissingColumns { path: path.to_owned(), missing, found });
    };
    let mut rows = Vec::new();
    let mut problems = Vec::new();
    let mut lines_of_ids = BTreeMap::new();
    let mut line = 1;
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                problems.push(csv_problem(&error, line + 1));
                continue;
            }
        };
        line = record.position().map_or(line + 1, csv::Position::line);
        let text = |column: usize| record.get(column).unwrap_or_default();
        let parsed = (|| {
            Ok(MetadataRow {
                img_id: number("img_id", text(id))?,
                img_filename: inside("img_filename", text(file))?,
                y: code("y", text(y), &definition.classes)?,
                split: split_of(text(split))?,
                place: code("place", text(place), &definition.attributes)?,
                place_filename: text(place_file).to_owned(),
            })
        })();
        let parsed = parsed.and_then(|row| match lines_of_ids.insert(row.img_id, line) {
            None => Ok(row),
            Some(first) => Err(format!("img_id {} occurs already in line {first}; ids must be unique", row.img_id)),
        });
        match parsed {
            Ok(row) => rows.push((line, row)),
            Err(what) => problems.push(RowProblem { line, what }),
        }
    }
    if problems.is_empty() { Ok(rows) } else { Err(rows_error(path, problems)) }
}

/// A file without the carriage returns of Windows' line ends, with which the CSV reader would count lines wrongly.
pub(crate) fn read_unix(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = fs_err::read(path)?;
    if bytes.contains(&b'\r') {
        let mut at = 0;
        let next: Vec<u8> = bytes.iter().copied().skip(1).chain([0]).collect();
        bytes.retain(|&byte| {
            at += 1;
            !(byte == b'\r' && next[at - 1] == b'\n')
        });
    }
    Ok(bytes)
}

pub(crate) fn rows_error(path: &Path, problems: Vec<RowProblem>) -> DataError {
    DataError::Rows { path: path.to_owned(), problems }
}

pub(crate) fn csv_problem(error: &csv::Error, line: u64) -> RowProblem {
    let line = error.position().map_or(line, csv::Position::line);
    let what = match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("{len} fields, the header has {expected_len}")
        }
        csv::ErrorKind::Utf8 { .. } => "not UTF-8 text".to_owned(),
        _ => error.to_string(),
    };
    RowProblem { line, what }
}

pub(crate) fn number(column: &str, text: &str) -> Result<u64, String> {
    text.trim().parse().map_err(|_| format!("{column} is `{text}`, expected a whole number from 0"))
}

fn code(column: &str, text: &str, names: &[String]) -> Result<usize, String> {
    let known = names.iter().enumerate().map(|(i, name)| format!("{i} ({name})")).collect::<Vec<_>>().join(", ");
    let value = text.trim().parse().ok().filter(|value: &usize| *value < names.len());
    value.ok_or_else(|| format!("{column} is `{text}`, expected one of {known}"))
}

fn split_of(text: &str) -> Result<Split, String> {
    let split = text.trim().parse().ok().and_then(Split::from_code);
    split.ok_or_else(|| format!("split is `{text}`, expected 0 (train), 1 (val) or 2 (test)"))
}

/// A class or attribute by its code or its name.
pub(crate) fn code_or_name(column: &str, text: &str, names: &[String]) -> Result<usize, String> {
    match names.iter().position(|name| name == text.trim()) {
        Some(at) => Ok(at),
        None => code(column, text, names),
    }
}

/// A split by its code or its name.
pub(crate) fn split_code_or_name(column: &str, text: &str) -> Result<Split, String> {
    match text.trim() {
        "train" => Ok(Split::Train),
        "val" | "valid" | "validation" => Ok(Split::Val),
        "test" => Ok(Split::Test),
        other => other
            .parse()
            .ok()
            .and_then(Split::from_code)
            .ok_or_else(|| format!("{column} is `{other}`, expected 0 or train, 1 or val, 2 or test")),
    }
}

pub(crate) fn inside(column: &str, text: &str) -> Result<String, String> {
    if is_inside(text) {
        Ok(text.to_owned())
    } else {
        Err(format!("{column} is `{text}`, expected a path below the data folder (not absolute, no `..`)"))
    }
}

#[cfg(test)]
#[path = "waterbirds_tests.rs"]
mod tests;

//! Any `metadata.csv`: a column map in the data set's definition says which column is what.
//!
//! Labels, splits and attributes may be codes or names: `1` or the class's name; `0`, `1`, `2` or `train`, `val`, `test`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::{
    DataError, Definition, RowProblem, Sample,
    read::Table,
    waterbirds::{METADATA, code_or_name, csv_problem, inside, number, read_unix, rows_error, split_code_or_name},
};

/// Reads `root/metadata.csv`, or the file that the column map names.
pub(crate) fn read(root: &Path, definition: &Definition) -> Result<Table, DataError> {
    let columns = definition.columns.clone().unwrap_or_default();
    let path = root.join(columns.table.as_deref().unwrap_or(METADATA));
    let bytes = read_unix(&path)?;
    let mut reader = csv::Reader::from_reader(bytes.as_slice());
    let found: Vec<String> = match reader.headers() {
        Ok(header) => header.iter().map(|name| name.trim().to_owned()).collect(),
        Err(error) => return Err(rows_error(&path, vec![csv_problem(&error, 1)])),
    };
    let mut missing = Vec::new();
    let mut position = |name: &str| {
        let at = found.iter().position(|column| column == name);
        if at.is_none() {
            missing.push(name.to_owned());
        }
        at
    };
    let file = position(&columns.file);
    let label = position(&columns.label);
    let split = position(&columns.split);
    let attribute = columns.attribute.as_deref().map(&mut position);
    let id = columns.id.as_deref().map(&mut position);
    let (Some(file), Some(label), Some(split), true) = (file, label, split, missing.is_empty()) else {
        return Err(DataError::MissingColumns { path, missing, found });
    };
    let mut table = Table { path, samples: Vec::new(), attributes: Vec::new(), lines: Vec::new() };
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
            let sample = Sample {
                id: match id.flatten() {
                    Some(column) => number(columns.id.as_deref().unwrap_or_default(), text(column))?,
                    None => table.samples.len() as u64 + problems.len() as u64 + 1,
                },
                path: PathBuf::from(inside(&columns.file, text(file))?),
                label: code_or_name(&columns.label, text(label), &definition.classes)?,
                split: split_code_or_name(&columns.split, text(split))?,
            };
            let attribute = match attribute.flatten() {
                Some(column) => code_or_name(
                    columns.attribute.as_deref().unwrap_or_default(),
                    text(column),
                    &definition.attributes,
                )?,
                None => 0,
            };
            Ok((sample, attribute))
        })();
        let parsed =
            parsed.and_then(|(sample, attribute): (Sample, usize)| match lines_of_ids.insert(sample.id, line) {
                None => Ok((sample, attribute)),
                Some(first) => Err(format!("id {} occurs already in line {first}; ids must be unique", sample.id)),
            });
        match parsed {
            Ok((sample, attribute)) => {
                table.samples.push(sample);
                table.attributes.push(attribute);
                table.lines.push(line);
            }
            Err(what) => problems.push(RowProblem { line, what }),
        }
    }
    if problems.is_empty() { Ok(table) } else { Err(rows_error(&table.path, problems)) }
}

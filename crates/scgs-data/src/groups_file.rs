//! A table of attributes beside a data set that has none: a CSV file with the columns `file` and `attribute`.

use std::{collections::HashMap, path::Path};

use crate::{
    DataError, Definition, RowProblem,
    read::Table,
    waterbirds::{code_or_name, read_unix},
};

/// Gives every sample the attribute that the groups file names.
///
/// # Errors
/// [`DataError::MissingColumns`]; [`DataError::Rows`] for unknown attributes, files that are not in the data set or
/// occur twice, and for the first samples that it does not name.
pub(crate) fn apply(root: &Path, file: &str, definition: &Definition, table: &mut Table) -> Result<(), DataError> {
    let path = root.join(file);
    let bytes = read_unix(&path)?;
    let mut reader = csv::Reader::from_reader(bytes.as_slice());
    let refuse = |problems| DataError::Rows { path: path.clone(), problems };
    let found: Vec<String> = match reader.headers() {
        Ok(header) => header.iter().map(|name| name.trim().trim_start_matches('\u{feff}').to_owned()).collect(),
        Err(error) => return Err(refuse(vec![RowProblem { line: 1, what: error.to_string() }])),
    };
    let position = |name: &str| found.iter().position(|column| column == name);
    let (Some(file), Some(attribute)) = (position("file"), position("attribute")) else {
        let missing = ["file", "attribute"].into_iter().filter(|name| position(name).is_none());
        return Err(DataError::MissingColumns {
            path: path.clone(),
            missing: missing.map(str::to_owned).collect(),
            found,
        });
    };
    let positions: HashMap<&Path, usize> =
        table.samples.iter().enumerate().map(|(at, sample)| (sample.path.as_path(), at)).collect();
    let mut given: Vec<Option<usize>> = vec![None; table.samples.len()];
    let mut problems = Vec::new();
    for (number, record) in reader.records().enumerate() {
        let fallback = number as u64 + 2;
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                problems.push(RowProblem { line: fallback, what: error.to_string() });
                continue;
            }
        };
        let line = record.position().map_or(fallback, csv::Position::line);
        let name = record.get(file).unwrap_or_default();
        let value = code_or_name("attribute", record.get(attribute).unwrap_or_default(), &definition.attributes);
        let what = match (positions.get(Path::new(name)), value) {
            (None, _) => format!("`{name}` is no picture of the data set"),
            (_, Err(what)) => what,
            (Some(&at), Ok(value)) => match given[at].replace(value) {
                None => continue,
                Some(_) => format!("`{name}` occurs already; a picture may occur once"),
            },
        };
        problems.push(RowProblem { line, what });
    }
    for (sample, value) in table.samples.iter().zip(&given) {
        if value.is_none() {
            problems.push(RowProblem { line: 1, what: format!("no row for `{}`", sample.path.display()) });
        }
    }
    if !problems.is_empty() {
        return Err(refuse(problems));
    }
    table.attributes = given.into_iter().flatten().collect();
    Ok(())
}

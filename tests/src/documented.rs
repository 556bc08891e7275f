//! What docs/reference/files.md says about the files of a run, to compare with a real one.

use std::{collections::BTreeSet, io, path::Path};

use serde_json::Value;

/// One file of the page: a pattern of paths, and the names in its table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Such as `seed-*/6-*/groups.json`; below `runs/<dataset>/<config-hash>`.
    pub pattern: String,
    /// Columns in order, or keys.
    pub names: Vec<String>,
}

/// Every file that the page documents.
///
/// # Errors
/// If the page cannot be read.
pub fn entries(page: &Path) -> io::Result<Vec<Entry>> {
    let mut found: Vec<Entry> = Vec::new();
    for line in fs_err::read_to_string(page)?.lines() {
        if line.starts_with("## ") {
            // The names that follow belong to no file until the next one is named.
            found.push(Entry { pattern: String::new(), names: vec![] });
        } else if let Some(pattern) = line.strip_prefix("### `").and_then(|rest| rest.strip_suffix('`')) {
            found.push(Entry { pattern: pattern.to_owned(), names: vec![] });
        } else if let (Some(name), Some(last)) = (line.strip_prefix("| `"), found.last_mut()) {
            last.names.extend(name.split('`').next().map(str::to_owned));
        }
    }
    found.retain(|entry| !entry.pattern.is_empty());
    Ok(found)
}

/// Whether `text` is the pattern with any text, but no `/`, for each `*`.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<&str>, Vec<&str>) = (pattern.split('/').collect(), text.split('/').collect());
    pattern.len() == text.len() && pattern.iter().zip(&text).all(|(p, t)| matches_part(p, t))
}

fn matches_part(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => text.strip_prefix(head).is_some_and(|text| {
            (0..=text.len()).filter(|&at| text.is_char_boundary(at)).any(|at| matches_part(rest, &text[at..]))
        }),
    }
}

/// The names in a file: the header of a CSV, the key paths of JSON (`rows[].seed`). An empty file has none.
///
/// # Errors
/// If the file cannot be read or is no JSON.
pub fn names(file: &Path) -> io::Result<Vec<String>> {
    let text = fs_err::read_to_string(file)?;
    if file.extension().is_some_and(|e| e == "csv") {
        return Ok(text.lines().next().unwrap_or_default().split(',').map(str::to_owned).collect());
    }
    let mut found = BTreeSet::new();
    if file.extension().is_some_and(|e| e == "jsonl") {
        for line in text.lines() {
            collect(&serde_json::from_str(line)?, "", &mut found);
        }
    } else {
        collect(&serde_json::from_str(&text)?, "", &mut found);
    }
    Ok(found.into_iter().collect())
}

fn collect(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                collect(value, &path, found);
            }
        }
        Value::Array(list) => {
            for value in list {
                collect(value, &format!("{path}[]"), found);
            }
        }
        _ => {
            found.insert(path.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_a_part_of_a_name_only() {
        assert!(matches("seed-*/6-*/groups.json", "seed-0/6-scgs+jtt/groups.json"));
        assert!(matches("seed-*/3-sources*/sources.csv", "seed-12/3-sources/sources.csv"));
        assert!(!matches("seed-*/groups.json", "seed-0/6-erm/groups.json"));
        assert!(!matches("results.csv", "seed-0/results.csv"));
    }

    #[test]
    fn keys_are_paths() {
        let mut found = BTreeSet::new();
        let value = serde_json::json!({ "rows": [{ "a": 1 }, { "b": { "c": [2, 3] } }], "empty": [] });
        collect(&value, "", &mut found);
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["rows[].a", "rows[].b.c[]"]);
    }
}

//! Writes real and new pictures as a data set for other programs.
//!
//! ```text
//! README.md                               what is what, source and licence
//! waterbirds/metadata.csv                 the six columns of Waterbirds, then where each picture comes from
//! waterbirds/train|val|test/<class>/*     the pictures it names
//! images/train|val|test/<class>/*         the same files (hard links) as an image folder
//! images/train|val|test/metadata.jsonl    one object per picture with `file_name`, as the library `datasets` reads it
//! ```
//!
//! The two folders are apart because `datasets` refuses a folder with two kinds of metadata. The attribute (`place`) of a new
//! picture is not known, and loaders of the Waterbirds family compute a group number from it, so it is that of the picture it
//! was made from; the column `place_of` says so.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::{DataError, Definition, Grouped, Sample, Split, atomic, waterbirds::COLUMNS};

/// Columns after the six of Waterbirds.
pub const PROVENANCE: [&str; 8] =
    ["origin", "place_of", "repeats", "source_id", "original", "inpainter", "prompt", "run"];

/// A generated training picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPicture {
    /// Unique among real and new pictures.
    pub id: u64,
    /// The file.
    pub path: PathBuf,
    /// The class that it shows, a position in the classes.
    pub label: usize,
    /// The picture that it was made from.
    pub source_id: u64,
    /// What painted it.
    pub inpainter: String,
    /// What was to be painted.
    pub prompt: String,
}

/// What is written beside the real pictures, and what is left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Additions {
    /// Generated pictures of the training split.
    pub pictures: Vec<NewPicture>,
    /// How often a real training picture occurs in training beside once, by id.
    pub repeats: BTreeMap<u64, usize>,
    /// Ids of real pictures that are left out.
    pub left_out: BTreeSet<u64>,
    /// Where all of it comes from, such as `habitat/1a2b3c/seed-0`.
    pub run: String,
}

/// How much was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Written {
    /// Real pictures.
    pub real: usize,
    /// New ones.
    pub new: usize,
}

/// One picture of the export.
#[derive(Debug, Serialize)]
struct Row {
    img_id: u64,
    img_filename: String,
    y: usize,
    split: u8,
    place: usize,
    place_filename: String,
    origin: &'static str,
    place_of: &'static str,
    /// How often it occurs in training.
    repeats: usize,
    source_id: Option<u64>,
    original: String,
    inpainter: String,
    prompt: String,
    run: String,
}

/// A line of `metadata.jsonl`.
#[derive(Serialize)]
struct Line<'a> {
    file_name: &'a str,
    label: usize,
    class: &'a str,
    place: usize,
    origin: &'a str,
    place_of: &'a str,
    repeats: usize,
    source_id: Option<u64>,
    img_id: u64,
    prompt: &'a str,
}

/// Writes the folder `out`, which must not exist or be empty, and appears whole or not at all. `progress(done, total)` counts
/// pictures.
///
/// # Errors
/// [`DataError::Occupied`]; [`DataError::Inconsistent`] for a new picture of an unknown source or class, or an id that occurs
/// twice; [`DataError::Io`].
pub fn write(
    grouped: &Grouped,
    definition: &Definition,
    additions: &Additions,
    out: &Path,
    progress: &dyn Fn(usize, usize),
) -> Result<Written, DataError> {
    let folders = class_folders(&grouped.index().classes);
    let rows = rows(grouped, additions, &folders)?;
    atomic::write_folder(out, |folder| {
        let (waterbirds, images) = (folder.join("waterbirds"), folder.join("images"));
        for split in Split::ALL {
            for class in &folders {
                fs_err::create_dir_all(waterbirds.join(split.to_string()).join(class))?;
                fs_err::create_dir_all(images.join(split.to_string()).join(class))?;
            }
        }
        progress(0, rows.len());
        for (done, (row, file)) in rows.iter().enumerate() {
            let target = waterbirds.join(&row.img_filename);
            fs_err::copy(file, &target)?;
            let second = images.join(&row.img_filename);
            // Some file systems have no hard links.
            if fs_err::hard_link(&target, &second).is_err() {
                fs_err::copy(&target, &second)?;
            }
            progress(done + 1, rows.len());
        }
        write_table(&waterbirds.join(crate::waterbirds::METADATA), &rows)?;
        for split in Split::ALL {
            let path = images.join(split.to_string()).join("metadata.jsonl");
            write_lines(&path, split, &rows, &grouped.index().classes)?;
        }
        Ok(atomic::write(folder.join("README.md"), readme(grouped, definition, additions))?)
    })?;
    let new = additions.pictures.len();
    Ok(Written { real: rows.len() - new, new })
}

/// Every row with the file it is copied from: the real pictures in the order of the data set, then the new ones.
fn rows(grouped: &Grouped, additions: &Additions, folders: &[String]) -> Result<Vec<(Row, PathBuf)>, DataError> {
    let refuse = |message: String| DataError::Inconsistent(message);
    let index = grouped.index();
    let name = |split: Split, label: usize, id: u64, path: &Path| {
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("jpg").to_lowercase();
        format!("{split}/{}/{id:07}.{extension}", folders[label])
    };
    let mut rows = Vec::with_capacity(index.samples.len() + additions.pictures.len());
    let mut samples: BTreeMap<u64, &Sample> = BTreeMap::new();
    for (at, sample) in index.samples.iter().enumerate() {
        samples.insert(sample.id, sample);
        if additions.left_out.contains(&sample.id) {
            continue;
        }
        let row = Row {
            img_id: sample.id,
            img_filename: name(sample.split, sample.label, sample.id, &sample.path),
            y: sample.label,
            split: sample.split.code(),
            place: grouped.attribute(at),
            place_filename: String::new(),
            origin: "real",
            place_of: "picture",
            repeats: 1 + additions.repeats.get(&sample.id).copied().unwrap_or(0),
            source_id: None,
            original: sample.path.display().to_string(),
            inpainter: String::new(),
            prompt: String::new(),
            run: additions.run.clone(),
        };
        rows.push((row, index.absolute(sample)));
    }
    let mut ids = BTreeSet::new();
    for new in &additions.pictures {
        let source = samples
            .get(&new.source_id)
            .ok_or_else(|| refuse(format!("new picture {} has the unknown source {}", new.id, new.source_id)))?;
        if new.label >= folders.len() {
            return Err(refuse(format!("new picture {} has the unknown class {}", new.id, new.label)));
        }
        if samples.contains_key(&new.id) || !ids.insert(new.id) {
            return Err(refuse(format!("id {} occurs twice", new.id)));
        }
        let row = Row {
            img_id: new.id,
            img_filename: name(Split::Train, new.label, new.id, &new.path),
            y: new.label,
            split: Split::Train.code(),
            place: grouped.attribute_of(source.id).expect("every sample has an attribute"),
            place_filename: String::new(),
            origin: "synthetic",
            place_of: "source",
            repeats: 1,
            source_id: Some(new.source_id),
            original: source.path.display().to_string(),
            inpainter: new.inpainter.clone(),
            prompt: new.prompt.clone(),
            run: additions.run.clone(),
        };
        rows.push((row, new.path.clone()));
    }
    Ok(rows)
}

/// Names of the classes as names of folders, all different.
fn class_folders(classes: &[String]) -> Vec<String> {
    let mut folders: Vec<String> = Vec::new();
    for (label, class) in classes.iter().enumerate() {
        let safe = |c: char| if c.is_alphanumeric() || " -_()".contains(c) { c } else { '_' };
        let name: String = class.trim().chars().map(safe).collect();
        folders.push(if folders.contains(&name) { format!("{name}-{label}") } else { name });
    }
    folders
}

fn write_table(path: &Path, rows: &[(Row, PathBuf)]) -> Result<(), DataError> {
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    let failed = |error: csv::Error| std::io::Error::other(error);
    writer.write_record(COLUMNS.iter().chain(&PROVENANCE)).map_err(failed)?;
    for (row, _) in rows {
        writer.serialize(row).map_err(failed)?;
    }
    let bytes = writer.into_inner().map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(atomic::write(path, bytes)?)
}

fn write_lines(path: &Path, split: Split, rows: &[(Row, PathBuf)], classes: &[String]) -> Result<(), DataError> {
    let mut text = String::new();
    let prefix = format!("{split}/");
    for (row, _) in rows.iter().filter(|(row, _)| row.split == split.code()) {
        let line = Line {
            file_name: row.img_filename.strip_prefix(&prefix).unwrap_or(&row.img_filename),
            label: row.y,
            class: &classes[row.y],
            place: row.place,
            origin: row.origin,
            place_of: row.place_of,
            repeats: row.repeats,
            source_id: row.source_id,
            img_id: row.img_id,
            prompt: &row.prompt,
        };
        text += &serde_json::to_string(&line).map_err(std::io::Error::other)?;
        text.push('\n');
    }
    Ok(atomic::write(path, text)?)
}

fn readme(grouped: &Grouped, definition: &Definition, additions: &Additions) -> String {
    let list =
        |names: &[String]| names.iter().enumerate().map(|(i, n)| format!("{i} {n}")).collect::<Vec<_>>().join(", ");
    format!(
        "# {title}, with {n} generated training pictures\n\n\
         From the run {run}. Source of the real pictures: {source}\n\nLicence: {licence}\n\n\
         `waterbirds/metadata.csv` has the columns of Waterbirds (`y`: {classes}; `place`: {attributes}; `split`: 0 train, 1 val,\n\
         2 test), then:\n\n\
         - `origin`: real or synthetic.\n\
         - `place_of`: picture where `place` is the picture's own; source where it is that of the picture it was made from,\n  \
         because nobody knows the attribute of a generated picture.\n\
         - `repeats`: how often the picture occurs in training.\n\
         - `source_id`, `original`: the picture it was made from, and its file in the data set.\n\
         - `inpainter`, `prompt`, `run`: how it was made.\n\n\
         `images` holds the same files as an image folder, with a `metadata.jsonl` per split.\n",
        title = definition.title,
        n = additions.pictures.len(),
        run = additions.run,
        source = definition.source.trim(),
        licence = definition.licence.trim(),
        classes = list(&grouped.index().classes),
        attributes = list(grouped.attribute_names()),
    )
}

#[cfg(test)]
#[path = "export_tests.rs"]
mod tests;

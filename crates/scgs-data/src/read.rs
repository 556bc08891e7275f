//! Reads a data set in any layout and checks what all of them have in common.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    path::{Path, PathBuf},
};

use crate::{
    DataError, Definition, Grouped, Index, Layout, ReadOptions, RowProblem, Sample, Split, celeba, check_counts,
    folder, groups_file, metadata, metashift, waterbirds,
};

/// What a layout's reader hands on: parallel lists.
pub(crate) struct Table {
    /// The file or folder that messages name.
    pub(crate) path: PathBuf,
    /// Paths are relative to the root.
    pub(crate) samples: Vec<Sample>,
    /// Positions in the definition's attributes.
    pub(crate) attributes: Vec<usize>,
    /// The line of each sample in `path`; counted from 1 for folders.
    pub(crate) lines: Vec<u64>,
}

/// Reads the data set that `definition` describes from `root`, the folder that holds its files or one of the folders that
/// its archives unpack to.
///
/// The result is checked: no file occurs twice, every picture is on disk, the numbers of pictures per group are the
/// published ones (unless [`ReadOptions::accept_counts`]), and no group is empty in a split (unless
/// [`ReadOptions::allow_empty_groups`], or the published number is 0).
///
/// # Errors
/// [`DataError::Layout`] when the files are not there, [`DataError::MissingColumns`], [`DataError::Rows`],
/// [`DataError::NoRows`], [`DataError::MissingPictures`], [`DataError::Counts`], [`DataError::EmptyGroup`],
/// [`DataError::Io`].
pub fn read(definition: &Definition, root: &Path, options: ReadOptions) -> Result<Grouped, DataError> {
    let root = locate(definition.layout, root);
    let mut table = match definition.layout {
        Layout::Waterbirds => waterbirds::table(&root, definition)?,
        Layout::Celeba => celeba::read(&root, definition)?,
        Layout::Metashift => metashift::read_disc(&root, definition)?,
        Layout::MetashiftIndoorOutdoor => metashift::read_indoor_outdoor(&root, definition)?,
        Layout::Metadata => metadata::read(&root, definition)?,
        Layout::Folder => folder::read(&root, definition)?,
    };
    if table.samples.is_empty() {
        return Err(DataError::NoRows { path: table.path });
    }
    if let Some(file) = &definition.groups {
        groups_file::apply(&root, file, definition, &mut table)?;
    }
    refuse_repeated(&table)?;
    refuse_missing(&root, &table)?;
    let corrected = definition.waterbirds.as_ref().is_some_and(|options| options.corrected);
    let path = table.path.clone();
    let group = |table: Table| {
        let index = Index { root: root.clone(), classes: definition.classes.clone(), samples: table.samples };
        Grouped::new(index, definition.attributes.clone(), table.attributes)
    };
    let mut grouped = group(table)?;
    if let Some(published) = &definition.counts {
        grouped = grouped.without_published_zeros(published);
    }
    if !options.accept_counts {
        check_counts(&grouped, definition)?;
    }
    if corrected {
        grouped = grouped.relabelled(&waterbirds::corrected_label);
    }
    if !options.allow_empty_groups {
        refuse_empty_groups(&path, &grouped)?;
    }
    Ok(grouped)
}

/// The folder with the files: `root`, or what the known archives of the layout unpack to below it.
fn locate(layout: Layout, root: &Path) -> PathBuf {
    let (sign, below): (&str, &[&str]) = match layout {
        Layout::Waterbirds => {
            ("metadata.csv", &["waterbird_complete95_forest2water2", "waterbirds_v1.0", "waterbirds"])
        }
        Layout::Celeba => ("img_align_celeba", &["celeba", "celebA_v1.0", "CelebA"]),
        Layout::Metashift => ("train/cat/cat(sofa)", &["MetaDatasetCatDog", "metashifts/MetaDatasetCatDog"]),
        Layout::MetashiftIndoorOutdoor => (
            "train/cat/cat(indoor)",
            &["MetaShift-Cat-Dog-indoor-outdoor", "metashift/MetaShift-Cat-Dog-indoor-outdoor"],
        ),
        Layout::Metadata | Layout::Folder => return root.to_owned(),
    };
    if root.join(sign).exists() {
        return root.to_owned();
    }
    let found = below.iter().map(|folder| root.join(folder)).find(|folder| folder.join(sign).exists());
    found.unwrap_or_else(|| root.to_owned())
}

fn refuse_repeated(table: &Table) -> Result<(), DataError> {
    let mut order: Vec<usize> = (0..table.samples.len()).collect();
    order.sort_by(|&a, &b| table.samples[a].path.cmp(&table.samples[b].path).then(a.cmp(&b)));
    let mut problems: Vec<RowProblem> = order
        .windows(2)
        .filter(|pair| table.samples[pair[0]].path == table.samples[pair[1]].path)
        .map(|pair| RowProblem {
            line: table.lines[pair[1]],
            what: format!(
                "`{}` occurs already in line {}; a picture may occur once",
                table.samples[pair[1]].path.display(),
                table.lines[pair[0]]
            ),
        })
        .collect();
    problems.sort_by_key(|problem| problem.line);
    if problems.is_empty() { Ok(()) } else { Err(DataError::Rows { path: table.path.clone(), problems }) }
}

/// Lists each folder once: asking for 200,000 files one by one takes longer than reading the tables.
fn refuse_missing(root: &Path, table: &Table) -> Result<(), DataError> {
    let mut folders: BTreeMap<PathBuf, BTreeSet<OsString>> = BTreeMap::new();
    let mut missing = Vec::new();
    for (sample, &line) in table.samples.iter().zip(&table.lines) {
        let parent = sample.path.parent().unwrap_or(Path::new(""));
        if !folders.contains_key(parent) {
            folders.insert(parent.to_owned(), files_in(&root.join(parent)));
        }
        let listed = sample.path.file_name().is_some_and(|name| folders[parent].contains(name));
        // A file system may know one file under several spellings (case, composed accents).
        if !listed && !root.join(&sample.path).is_file() {
            missing.push(RowProblem { line, what: sample.path.display().to_string() });
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(DataError::MissingPictures { root: root.to_owned(), missing, total: table.samples.len() })
}

/// Names of the plain files in a folder; what is unreadable counts as absent and is asked for one by one.
fn files_in(folder: &Path) -> BTreeSet<OsString> {
    let entries = fs_err::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file())).map(|entry| entry.file_name()).collect()
}

fn refuse_empty_groups(path: &Path, grouped: &Grouped) -> Result<(), DataError> {
    for split in Split::ALL {
        let counts = grouped.counts(split);
        let expected = grouped.expected(split);
        let empty = counts.groups.iter().zip(expected).find(|(group, expected)| group.n == 0 && *expected);
        if let Some((empty, _)) = empty {
            let group = counts.name(empty);
            return Err(DataError::EmptyGroup { path: path.to_owned(), group, split, counts: Box::new(counts) });
        }
    }
    Ok(())
}

/// The picture files of a folder in the order of their names, folders and hidden files left out.
///
/// # Errors
/// [`DataError::Io`]; [`DataError::Layout`] for a name that is not UTF-8.
pub(crate) fn picture_names(folder: &Path) -> Result<Vec<String>, DataError> {
    names(folder, &|path| path.is_file())
}

/// The folders in a folder in the order of their names.
///
/// # Errors
/// As [`picture_names`].
pub(crate) fn folder_names(folder: &Path) -> Result<Vec<String>, DataError> {
    names(folder, &|path| path.is_dir())
}

fn names(folder: &Path, wanted: &dyn Fn(&Path) -> bool) -> Result<Vec<String>, DataError> {
    let mut names = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        if !wanted(&path) {
            continue;
        }
        match path.file_name().and_then(|name| name.to_str()) {
            Some(name) if name.starts_with('.') => {}
            Some(name) => names.push(name.to_owned()),
            None => {
                let expected = format!("names in UTF-8; rename `{}`", path.display());
                return Err(DataError::Layout { path: folder.to_owned(), expected });
            }
        }
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;

//! Folders of pictures: `train|val|test/<class>/*`, or `<class>/*` with a split that is drawn by a seed.

use std::path::Path;

use rand::seq::SliceRandom;

use crate::{
    DataError, Definition, FolderOptions, Sample, Split,
    read::{Table, folder_names, picture_names},
    stream,
};

/// Folder names of the splits; `val` and `validation` and `valid` mean the same.
const SPLITS: [(&str, Split); 6] = [
    ("train", Split::Train),
    ("val", Split::Val),
    ("valid", Split::Val),
    ("validation", Split::Val),
    ("dev", Split::Val),
    ("test", Split::Test),
];

/// Reads the folders. Every attribute is 0 until a groups file says otherwise.
pub(crate) fn read(root: &Path, definition: &Definition) -> Result<Table, DataError> {
    let options = definition.folder.clone().unwrap_or_default();
    let there = folder_names(root)?;
    let splits: Vec<(&str, Split)> =
        SPLITS.into_iter().filter(|(name, _)| there.iter().any(|folder| folder == name)).collect();
    let mut table = Table { path: root.to_owned(), samples: Vec::new(), attributes: Vec::new(), lines: Vec::new() };
    if splits.is_empty() {
        add(&mut table, root, Path::new(""), definition, Split::Train)?;
        draw(&mut table.samples, definition.classes.len(), &options);
    } else {
        for split in Split::ALL {
            if !splits.iter().any(|(_, found)| *found == split) {
                let expected = format!("a folder `{split}` beside `{}`", splits[0].0);
                return Err(DataError::Layout { path: root.to_owned(), expected });
            }
        }
        for (name, split) in splits {
            add(&mut table, root, Path::new(name), definition, split)?;
        }
    }
    Ok(table)
}

fn add(table: &mut Table, root: &Path, below: &Path, definition: &Definition, split: Split) -> Result<(), DataError> {
    let folder = root.join(below);
    let found = folder_names(&folder)?;
    let unknown = found.iter().find(|name| !definition.classes.contains(name));
    let absent = definition.classes.iter().find(|class| !found.contains(class));
    if let Some(name) = unknown.or(absent) {
        let expected = format!(
            "exactly one folder per class ({}); `{name}` is {}. Correct the folders or `classes` of {}.toml",
            definition.classes.join(", "),
            if unknown.is_some() { "no class" } else { "missing" },
            definition.name
        );
        return Err(DataError::Layout { path: folder, expected });
    }
    for (label, class) in definition.classes.iter().enumerate() {
        for name in picture_names(&folder.join(class))? {
            let id = table.samples.len() as u64 + 1;
            table.samples.push(Sample { id, path: below.join(class).join(name), label, split });
            table.attributes.push(0);
            table.lines.push(id);
        }
    }
    Ok(())
}

/// Draws val and test within each class. The names are sorted, so the split depends on them and the seed alone.
fn draw(samples: &mut [Sample], classes: usize, options: &FolderOptions) {
    for label in 0..classes {
        let mut members: Vec<usize> = (0..samples.len()).filter(|&at| samples[at].label == label).collect();
        let part = |share: f64| (members.len() as f64 * share).round() as usize;
        let (test, val) = (part(options.test), part(options.val));
        members.shuffle(&mut stream(options.seed, "folder/split", label as u64));
        for (place, at) in members.into_iter().enumerate() {
            if place < test {
                samples[at].split = Split::Test;
            } else if place < test + val {
                samples[at].split = Split::Val;
            }
        }
    }
}

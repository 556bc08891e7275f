//! MetaShift's cats and dogs in the two versions that are both called "MetaShift".
//!
//! `metashift` is `MetaDatasetCatDog` of DISC (Wu et al. 2023, `disc/dataset/meta_dataset_cat_dog.py`): cats on sofas and
//! beds, dogs on benches and bikes; val and test hold both on shelves. `metashift-indoor-outdoor` is that of `SubpopBench`
//! (Yang et al. 2023, `subpopbench/scripts/download.py`): cats indoors, dogs outdoors, pooled and drawn. Both codes take
//! files in the order of the file system; we sort their names, so that a split is the same everywhere.

use std::path::{Path, PathBuf};

use crate::{
    DataError, Definition, Sample, Split,
    random_state::{RandomState, train_test_split},
    read::{Table, picture_names},
};

/// Folder, label and attribute: DISC's groups in DISC's order. The contexts are not shared by the classes, so an attribute
/// is the class's first or second context, or the shelf.
pub(crate) const DISC_TRAIN: [(&str, usize, usize); 4] = [
    ("train/cat/cat(sofa)", 0, 0),
    ("train/cat/cat(bed)", 0, 1),
    ("train/dog/dog(bench)", 1, 0),
    ("train/dog/dog(bike)", 1, 1),
];
pub(crate) const DISC_TEST: [(&str, usize, usize); 2] = [("test/cat/cat(shelf)", 0, 2), ("test/dog/dog(shelf)", 1, 2)];
/// The share and the seed of DISC's split of its test folder.
const DISC_SPLIT: (f64, u32) = (0.85, 0);

/// Dogs are 0 and cats 1, outdoors is 0 and indoors 1, in the order in which `SubpopBench` lists the folders.
const SUBPOPBENCH: [(&str, usize, usize); 4] = [
    ("train/cat/cat(indoor)", 1, 1),
    ("train/dog/dog(outdoor)", 0, 0),
    ("test/cat/cat(outdoor)", 1, 0),
    ("test/dog/dog(indoor)", 0, 1),
];
/// The seed, and the shares of test and val among all pictures.
const SUBPOPBENCH_SPLIT: (u32, f64, f64) = (42, 0.25, 0.1);

/// DISC's version: 2 classes, 3 attributes.
pub(crate) fn read_disc(root: &Path, definition: &Definition) -> Result<Table, DataError> {
    expect_sizes(definition, 3)?;
    let mut table = Table { path: root.to_owned(), samples: Vec::new(), attributes: Vec::new(), lines: Vec::new() };
    add(&mut table, root, &DISC_TRAIN, Split::Train, false)?;
    let first = table.samples.len();
    add(&mut table, root, &DISC_TEST, Split::Test, false)?;
    let (share, seed) = DISC_SPLIT;
    let (val, _) = train_test_split(table.samples.len() - first, share, seed);
    for at in val {
        table.samples[first + at].split = Split::Val;
    }
    Ok(table)
}

/// `SubpopBench`'s version: 2 classes, 2 attributes.
pub(crate) fn read_indoor_outdoor(root: &Path, definition: &Definition) -> Result<Table, DataError> {
    expect_sizes(definition, 2)?;
    let mut table = Table { path: root.to_owned(), samples: Vec::new(), attributes: Vec::new(), lines: Vec::new() };
    add(&mut table, root, &SUBPOPBENCH, Split::Train, true)?;
    let n = table.samples.len();
    let (seed, test_share, val_share) = SUBPOPBENCH_SPLIT;
    let mut state = RandomState::new(seed);
    let all: Vec<usize> = (0..n).collect();
    for at in state.choice(&all, (n as f64 * test_share) as usize) {
        table.samples[at].split = Split::Test;
    }
    let rest: Vec<usize> = all.into_iter().filter(|&at| table.samples[at].split == Split::Train).collect();
    for at in state.choice(&rest, (n as f64 * val_share) as usize) {
        table.samples[at].split = Split::Val;
    }
    Ok(table)
}

/// Whether the drawn validation split of DISC's version would have two pictures or more of both classes, given the numbers
/// of pictures of cats and dogs on shelves.
pub(crate) fn val_has_both([cats, dogs]: [usize; 2]) -> bool {
    let (share, seed) = DISC_SPLIT;
    let (val, _) = train_test_split(cats + dogs, share, seed);
    let of_cats = val.iter().filter(|&&at| at < cats).count();
    of_cats >= 2 && val.len() - of_cats >= 2
}

fn expect_sizes(definition: &Definition, attributes: usize) -> Result<(), DataError> {
    if (definition.classes.len(), definition.attributes.len()) == (2, attributes) {
        return Ok(());
    }
    let problem = format!("this layout has 2 classes and {attributes} attributes; name as many");
    Err(DataError::Definition { path: PathBuf::from(format!("{}.toml", definition.name)), problems: vec![problem] })
}

fn add(
    table: &mut Table,
    root: &Path,
    folders: &[(&str, usize, usize)],
    split: Split,
    jpg_only: bool,
) -> Result<(), DataError> {
    for &(folder, label, attribute) in folders {
        if !root.join(folder).is_dir() {
            let expected = format!("the folder {folder}");
            return Err(DataError::Layout { path: root.to_owned(), expected });
        }
        for name in picture_names(&root.join(folder))? {
            if jpg_only && !name.ends_with(".jpg") {
                continue;
            }
            let id = table.samples.len() as u64 + 1;
            table.samples.push(Sample { id, path: Path::new(folder).join(name), label, split });
            table.attributes.push(attribute);
            table.lines.push(id);
        }
    }
    Ok(())
}

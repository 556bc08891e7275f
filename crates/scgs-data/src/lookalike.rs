//! Look-alikes of published data sets: the layout, the file names' form and the proportions of the groups are real, the
//! pictures are Habitat's. They prove that a pipeline runs on a data set that is not at hand, and nothing else.
//!
//! Every group has `count * scale` pictures, rounded, but no fewer than [`FEW`]; a group that a split does not have stays
//! away. In MetaShift both classes have at least as many pictures on shelves as its drawn validation split needs to have two
//! of each. A bird stands for label 1 and a mammal for label 0; where they stand follows the spurious attribute.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use image::{RgbImage, codecs::jpeg::JpegEncoder};
use rand::{RngExt, seq::SliceRandom};
use rayon::prelude::*;

use crate::{
    DataError, Definition, Layout, MetadataRow, PublishedCounts, Split, atomic, celeba, habitat::Studio, metashift,
    stream, waterbirds,
};

/// The smallest size of a group that the published data set has.
pub const FEW: usize = 4;

/// The file that says what the folder is.
const NOTE: &str = "LOOK-ALIKE.txt";

/// Quality of the JPEG files.
const QUALITY: u8 = 92;

/// One picture to be made.
struct Planned {
    path: PathBuf,
    split: Split,
    /// Of Habitat: what is to be seen, and where it stands.
    scene: (usize, usize),
    size: (u32, u32),
}

/// What a layout needs beside its pictures.
struct Layed {
    pictures: Vec<Planned>,
    /// Path below the folder, and content.
    tables: Vec<(&'static str, String)>,
}

/// Writes the look-alike of a published data set into `out`, which appears whole or not at all; returns at once where it is
/// there already. `pack` is the folder of Habitat's pictures, `scale` a share above 0, at most 1. `progress(done, total)`
/// counts pictures and is called from several threads.
///
/// # Errors
/// [`DataError::Settings`] for a scale out of range or a data set without published counts or of another layout;
/// [`DataError::Occupied`] when `out` holds something else; [`DataError::Pack`], [`DataError::Picture`], [`DataError::Io`].
pub fn write(
    pack: &Path,
    definition: &Definition,
    scale: f64,
    out: &Path,
    seed: u64,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<(), DataError> {
    let refuse = |what: String| Err(DataError::Settings(vec![what]));
    if !(scale > 0.0 && scale <= 1.0) {
        return refuse(format!("scale is {scale}, expected above 0, at most 1"));
    }
    let Some(published) = &definition.counts else {
        return refuse(format!("data set {} has no published counts to be scaled", definition.name));
    };
    let counts = Split::ALL.map(|split| scaled(published, split, scale));
    let layed = match definition.layout {
        Layout::Waterbirds => waterbirds(&counts)?,
        Layout::Celeba => celeba(definition, &counts, seed)?,
        Layout::Metashift => metashift(&counts),
        Layout::MetashiftIndoorOutdoor | Layout::Metadata | Layout::Folder => {
            return refuse(format!("data set {} has a layout of which no look-alike is made", definition.name));
        }
    };
    let note = format!(
        "A look-alike of the data set {} at scale {scale}, seed {seed}: its layout and the proportions of its groups with \
         pictures of Habitat.\nIt proves that the pipeline runs; no result on it says anything about {}.\n",
        definition.name, definition.name
    );
    if out.join(NOTE).is_file() && fs_err::read_to_string(out.join(NOTE))? == note {
        return Ok(());
    }
    atomic::write_folder(out, |folder| {
        fill(folder, &Studio::open(pack, seed)?, &layed, progress)?;
        Ok(atomic::write(folder.join(NOTE), note)?)
    })
}

fn scaled(published: &PublishedCounts, split: Split, scale: f64) -> Vec<usize> {
    let size = |&n: &usize| if n == 0 { 0 } else { ((n as f64 * scale).round() as usize).max(FEW) };
    published.of(split).iter().map(size).collect()
}

fn fill(
    folder: &Path,
    studio: &Studio,
    layed: &Layed,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<(), DataError> {
    for planned in &layed.pictures {
        fs_err::create_dir_all(folder.join(planned.path.parent().unwrap_or(Path::new(""))))?;
    }
    let total = layed.pictures.len();
    let done = std::sync::atomic::AtomicUsize::new(0);
    progress(0, total);
    layed.pictures.par_iter().enumerate().try_for_each(|(item, planned)| -> Result<(), DataError> {
        let picture = studio.picture(planned.split, planned.scene, item as u64, planned.size);
        save_jpeg(&folder.join(&planned.path), &picture)?;
        progress(done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1, total);
        Ok(())
    })?;
    for (name, content) in &layed.tables {
        atomic::write(folder.join(name), content)?;
    }
    Ok(())
}

/// The folder is renamed as a whole, so its files need no temporary names of their own.
fn save_jpeg(path: &Path, picture: &RgbImage) -> Result<(), DataError> {
    let mut bytes = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut bytes, QUALITY);
    picture.write_with_encoder(encoder).map_err(std::io::Error::other)?;
    Ok(fs_err::write(path, bytes)?)
}

/// Split, label and attribute of every picture, group by group.
fn members(counts: &[Vec<usize>; 3], attributes: usize) -> Vec<(Split, usize, usize)> {
    let of = |(split, groups): (Split, &Vec<usize>)| {
        let group = move |(g, &n): (usize, &usize)| std::iter::repeat_n((split, g / attributes, g % attributes), n);
        groups.iter().enumerate().flat_map(group).collect::<Vec<_>>()
    };
    Split::ALL.into_iter().zip(counts).flat_map(of).collect()
}

/// CUB's pictures have many sizes.
fn varied(item: usize) -> (u32, u32) {
    [(160, 120), (120, 160), (160, 107), (144, 160), (160, 160)][item % 5]
}

/// As the published table: by species, ids from 1.
fn waterbirds(counts: &[Vec<usize>; 3]) -> Result<Layed, DataError> {
    const SPECIES: [[&str; 3]; 2] =
        [["Brown_Mammal", "Grey_Mammal", "Spotted_Mammal"], ["Black_Bird", "Green_Bird", "White_Bird"]];
    let mut members: Vec<_> = members(counts, 2).into_iter().enumerate().collect();
    let species = |at: usize, label: usize| label * 3 + at % 3;
    members.sort_by_key(|&(at, (_, label, _))| (species(at, label), at));
    let mut pictures = Vec::new();
    let mut rows = Vec::new();
    for (number, (at, (split, label, place))) in members.into_iter().enumerate() {
        let name = SPECIES[label][at % 3];
        let img_filename =
            format!("{:03}.{name}/{name}_{:04}_{}.jpg", species(at, label) + 1, number + 1, 100_000 + at);
        let scene = ["b/bamboo_forest", "o/ocean"][place];
        let place_filename = format!("/{scene}/{at:08}.jpg");
        pictures.push(Planned {
            path: img_filename.clone().into(),
            split,
            scene: (label, place),
            size: varied(number),
        });
        rows.push(MetadataRow { img_id: number as u64 + 1, img_filename, y: label, split, place, place_filename });
    }
    let table = String::from_utf8(waterbirds::metadata_bytes(&rows)?).expect("file names of ours are UTF-8");
    Ok(Layed { pictures, tables: vec![(waterbirds::METADATA, table)] })
}

/// As the authors' tables: train, val and test one after the other, in no order within them.
fn celeba(definition: &Definition, counts: &[Vec<usize>; 3], seed: u64) -> Result<Layed, DataError> {
    let options = definition.celeba.clone().unwrap_or_default();
    let position = |name: &str| celeba::NAMES.iter().position(|known| *known == name);
    let (Some(target), Some(attribute)) = (position(&options.target), position(&options.attribute)) else {
        let what = format!("`{}` and `{}` are not both among CelebA's attributes", options.target, options.attribute);
        return Err(DataError::Settings(vec![what]));
    };
    let mut rng = stream(seed, "look-alike/celeba", 0);
    let mut members = members(counts, 2);
    members.shuffle(&mut rng);
    members.sort_by_key(|member| member.0);
    let mut pictures = Vec::new();
    let mut values = format!("{}\n{} \n", members.len(), celeba::NAMES.join(" "));
    let mut partition = String::new();
    for (at, (split, label, male)) in members.into_iter().enumerate() {
        let name = format!("{:06}.jpg", at + 1);
        values += &name;
        for other in 0..celeba::NAMES.len() {
            let set = match other {
                _ if other == target => label == 1,
                _ if other == attribute => male == 1,
                _ => rng.random_bool(0.25),
            };
            values += if set { "  1" } else { " -1" };
        }
        values.push('\n');
        let _ = writeln!(partition, "{name} {}", split.code());
        // The attribute that is rare in class 1 stands for the place that is rare there.
        let scene = (label, 1 - male);
        pictures.push(Planned { path: Path::new(celeba::PICTURES).join(name), split, scene, size: (178, 218) });
    }
    let tables = vec![("list_attr_celeba.txt", values), ("list_eval_partition.txt", partition)];
    Ok(Layed { pictures, tables })
}

/// Cats on sofas and beds stand on land, dogs on benches and bikes on water; on shelves there are both.
fn metashift(counts: &[Vec<usize>; 3]) -> Layed {
    let [train, val, test] = counts;
    let attributes = 3;
    let shelf = |label: usize| label * attributes + 2;
    let mut shelves = [0, 1].map(|label| val[shelf(label)] + test[shelf(label)]);
    while !metashift::val_has_both(shelves) {
        shelves = shelves.map(|n| n + 1);
    }
    let mut pictures = Vec::new();
    let mut add = |split: Split, folder: &str, label: usize, n: usize| {
        for i in 0..n {
            let place = if split == Split::Train { label } else { i % 2 };
            // The numbers of GQA's pictures have no order in them.
            let number = 2_310_000 + pictures.len() * 7;
            let path = Path::new(folder).join(format!("{number}.jpg"));
            pictures.push(Planned { path, split, scene: (label, place), size: varied(i) });
        }
    };
    for (folder, label, attribute) in metashift::DISC_TRAIN {
        add(Split::Train, folder, label, train[label * attributes + attribute]);
    }
    for (folder, label, _) in metashift::DISC_TEST {
        add(Split::Test, folder, label, shelves[label]);
    }
    Layed { pictures, tables: Vec::new() }
}

#[cfg(test)]
#[path = "lookalike_tests.rs"]
mod tests;

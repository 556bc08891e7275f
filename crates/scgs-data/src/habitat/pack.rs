//! The pack of source pictures: `MANIFEST.tsv` and the files it lists.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use image::DynamicImage;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::{DataError, PictureError, pixels, waterbirds::is_inside};

/// Columns that are needed of the manifest; others are for people.
const COLUMNS: [&str; 4] = ["file", "size", "package", "source_path"];

/// What a picture of the pack is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// A cut-out of an animal; 0 mammal, 1 bird.
    Foreground(usize),
    /// A photo without the animals; 0 land, 1 water.
    Background(usize),
}

impl Role {
    /// In the order of [`Role::position`].
    pub(super) const ALL: [Self; 4] =
        [Self::Foreground(0), Self::Foreground(1), Self::Background(0), Self::Background(1)];

    /// The folder of the pack that holds them.
    pub(super) const fn folder(self) -> &'static str {
        match self {
            Self::Foreground(0) => "fg/mammal",
            Self::Foreground(_) => "fg/bird",
            Self::Background(0) => "bg/land",
            Self::Background(_) => "bg/water",
        }
    }

    /// 0..4.
    pub(super) const fn position(self) -> usize {
        match self {
            Self::Foreground(label) => label,
            Self::Background(place) => 2 + place,
        }
    }

    fn of(file: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| file.strip_prefix(role.folder()).is_some_and(|rest| rest.starts_with('/')))
    }
}

/// One picture of the pack.
#[derive(Debug)]
pub(super) struct Item {
    /// Relative to the pack's folder, with `/`.
    pub(super) file: String,
    pub(super) role: Role,
    /// The photo it was cut from: package and path there. Items may share one.
    pub(super) source: (String, String),
    size: (u32, u32),
}

/// The checked manifest. Items keep its order.
#[derive(Debug)]
pub(super) struct Pack {
    pub(super) root: PathBuf,
    pub(super) items: Vec<Item>,
    /// sha256 of the manifest, in hexadecimal.
    pub(super) hash: String,
}

impl Pack {
    pub(super) fn read(root: &Path) -> Result<Self, DataError> {
        let path = root.join("MANIFEST.tsv");
        if !path.is_file() {
            return Err(DataError::Pack {
                path,
                message:
                    "not found; expected the folder `datasets/habitat` of the project, which lists its pictures in it"
                        .to_owned(),
            });
        }
        let bytes = fs_err::read(&path)?;
        let refuse = |line: u64, what: String| DataError::Pack {
            path: path.clone(),
            message: format!("line {line}: {what}; restore the file"),
        };
        let mut reader = csv::ReaderBuilder::new().delimiter(b'\t').quoting(false).from_reader(bytes.as_slice());
        let header = reader.headers().map_err(|error| refuse(1, error.to_string()))?.clone();
        let columns = COLUMNS.map(|name| header.iter().position(|column| column == name));
        let [Some(file), Some(size), Some(package), Some(source)] = columns else {
            return Err(refuse(1, format!("expected the columns {}", COLUMNS.join(", "))));
        };
        let mut items = Vec::new();
        for (record, line) in reader.records().zip(2..) {
            let record = record.map_err(|error| refuse(line, error.to_string()))?;
            let text = |column: usize| record.get(column).unwrap_or_default().to_owned();
            let file = text(file);
            let role = Role::of(&file).filter(|_| is_inside(&file)).ok_or_else(|| {
                refuse(line, format!("`{file}` lies in none of {}", Role::ALL.map(Role::folder).join(", ")))
            })?;
            let size = parse_size(&text(size))
                .ok_or_else(|| refuse(line, format!("size is `{}`, expected WIDTHxHEIGHT", text(size))))?;
            items.push(Item { file, role, source: (text(package), text(source)), size });
        }
        let hash = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { root: root.to_owned(), items, hash })
    }

    /// The items of a role.
    pub(super) fn of(&self, role: Role) -> impl Iterator<Item = &Item> {
        self.items.iter().filter(move |item| item.role == role)
    }

    /// Positions of the items that share a source photo, in a fixed order.
    pub(super) fn families(&self) -> BTreeMap<&(String, String), Vec<usize>> {
        let mut families: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for (position, item) in self.items.iter().enumerate() {
            families.entry(&item.source).or_default().push(position);
        }
        families
    }

    /// All pictures, upright, in the order of the items.
    pub(super) fn load(&self) -> Result<Vec<DynamicImage>, DataError> {
        let load = |item: &Item| {
            let path = self.root.join(&item.file);
            let picture = pixels::read_dynamic(&path)
                .map_err(|problem| DataError::Picture(PictureError { path: path.clone(), problem }))?;
            if (picture.width(), picture.height()) != item.size {
                let (found, wanted) = ((picture.width(), picture.height()), item.size);
                let message = format!("is {found:?} pixels, the manifest says {wanted:?}; restore the file");
                return Err(DataError::Pack { path, message });
            }
            if matches!(item.role, Role::Foreground(_)) && !picture.color().has_alpha() {
                let message = "has no alpha channel, expected a cut-out; restore the file".to_owned();
                return Err(DataError::Pack { path, message });
            }
            Ok(picture)
        };
        // Collected in order before the first error is taken: which error is reported does not depend on threads.
        let pictures: Vec<Result<DynamicImage, DataError>> = self.items.par_iter().map(load).collect();
        pictures.into_iter().collect()
    }
}

fn parse_size(text: &str) -> Option<(u32, u32)> {
    let (width, height) = text.split_once('x')?;
    Some((width.parse().ok()?, height.parse().ok()?))
}

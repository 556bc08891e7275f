//! Single pictures of Habitat on demand, for data sets that are laid out in another way.

use std::path::Path;

use image::{RgbImage, RgbaImage};
use rand::seq::IndexedRandom;

use crate::{DataError, Split, stream};

use super::{
    OBJECT_AREA,
    pack::{Pack, Role},
    picture, split,
};

/// Share of a class's training cut-outs that occur only on the other class's background, as in
/// [`HabitatConfig`](super::HabitatConfig).
const ALIENS: usize = 4;

/// The photos of a pack, dealt to the splits.
#[derive(Debug)]
pub(crate) struct Studio {
    /// Per split and label.
    cutouts: [[Vec<RgbaImage>; 2]; 3],
    /// Per split and place.
    backgrounds: [[Vec<RgbImage>; 2]; 3],
    seed: u64,
}

impl Studio {
    /// Reads a pack and splits its photos by the seed, as [`compose`](super::compose) does.
    ///
    /// # Errors
    /// [`DataError::Pack`] and [`DataError::Picture`] for a damaged pack.
    pub(crate) fn open(pack: &Path, seed: u64) -> Result<Self, DataError> {
        let pack = Pack::read(pack)?;
        let sources = split::split(&pack, seed)?;
        let pictures = pack.load()?;
        let of = |split: Split, role: Role| sources.of(split, role).iter().map(|&at| &pictures[at]);
        Ok(Self {
            cutouts: Split::ALL
                .map(|split| [0, 1].map(|label| of(split, Role::Foreground(label)).map(|p| p.to_rgba8()).collect())),
            backgrounds: Split::ALL
                .map(|split| [0, 1].map(|place| of(split, Role::Background(place)).map(|p| p.to_rgb8()).collect())),
            seed,
        })
    }

    /// A picture of a mammal (label 0) or bird (1) on land (place 0) or water (1) of `width` x `height` pixels. `item` decides
    /// everything else. A training cut-out is seen on one of the two backgrounds only.
    pub(crate) fn picture(
        &self,
        split: Split,
        (label, place): (usize, usize),
        item: u64,
        (width, height): (u32, u32),
    ) -> RgbImage {
        let part = usize::from(split.code());
        let mut rng = stream(self.seed, "look-alike/picture", item);
        let cutouts = &self.cutouts[part][label];
        let (aliens, natives) = cutouts.split_at(cutouts.len() / ALIENS);
        let pool = match split {
            Split::Train if place != label => aliens,
            Split::Train => natives,
            Split::Val | Split::Test => cutouts,
        };
        let cutout = pool.choose(&mut rng).expect("a split has four photos of every role or more");
        let background = self.backgrounds[part][place].choose(&mut rng).expect("a split has photos of every role");
        let side = width.max(height);
        let square = picture::compose(background, cutout, side, OBJECT_AREA, &mut rng).picture;
        image::imageops::crop_imm(&square, (side - width) / 2, (side - height) / 2, width, height).to_image()
    }
}

//! Habitat: birds and mammals on water and land, composed from real photos with a known, adjustable correlation.
//!
//! Cut-outs and backgrounds of a pack are split by source photo into train, val and test, so that nothing of one photo
//! is on both sides; a fixed [`core()`] of the photos is in train for every seed. Birds (label 1) stand mostly on water (place 1) and mammals (label 0) on land (place 0), as in
//! Waterbirds. Each training cut-out has one home: "aliens" occur only on the other class's background and all others
//! only on their own, because a bird photo occurs once in Waterbirds too, and because a classifier that has seen each
//! cut-out on both backgrounds makes next to no mistakes to learn from. Val and test have four groups of equal size.
//!
//! A composed folder holds
//!
//! ```text
//! metadata.csv                       the six columns of Waterbirds; place_filename is a file of the pack
//! train|val|test/<class>/NNNNN.png   NNNNN is the img_id
//! masks/<img_id>.png                 evaluation only: 255 where the object is, grey on its soft edge
//! sources.csv                        evaluation only: img_id,foreground,background,alien
//! backgrounds/train/NNN.jpg          the background photos of the training split, without objects
//! composition.json                   settings, seed and pack, written first
//! done                               the same, written last
//! ```
//!
//! Same seed, same bytes, for any number of threads: every picture has its own random stream.

use std::path::Path;

use image::{GrayImage, RgbImage, RgbaImage};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::DataError;

mod frame;
mod object;
mod pack;
mod picture;
mod plan;
mod split;
mod studio;
mod write;

use pack::{Pack, Role};
pub(crate) use studio::Studio;
use write::{Composition, Kind};

/// What is correlated with the class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cue {
    /// The place: land or water.
    #[default]
    Place,
    /// The pattern of a frame around the picture: stripes or a chessboard, in random colours. The place says nothing.
    Frame,
}

/// How Habitat is composed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HabitatConfig {
    /// Width and height of a picture in pixels, 32..=512.
    pub size: u32,
    /// Number of training pictures, half of each class; at least 4, and enough for one picture per group.
    pub train: usize,
    /// Number of validation pictures in four equal groups; at least 4.
    pub val: usize,
    /// Number of test pictures in four equal groups; at least 4.
    pub test: usize,
    /// Share of each class's training pictures on its own background, 0.5..=1 as far as no group becomes empty.
    pub correlation: f64,
    /// Share of each class's training cut-outs that occur only on the other background, 0..=0.9 (rounded, at least one
    /// cut-out). 0 lets every cut-out occur on both.
    pub alien_share: f64,
    /// What is correlated with the class: `place` or `frame`.
    pub cue: Cue,
    /// Least and largest share of a picture that the object covers, drawn evenly between them; 0.02..=0.5. The smaller
    /// the object, the more a classifier leans on the cue.
    pub object_area: (f64, f64),
}

impl Default for HabitatConfig {
    fn default() -> Self {
        Self {
            size: 128,
            train: 1200,
            val: 400,
            test: 800,
            correlation: 0.95,
            alien_share: 0.25,
            cue: Cue::Place,
            object_area: OBJECT_AREA,
        }
    }
}

/// The default of [`HabitatConfig::object_area`], and what stand-alone composites have.
pub(crate) const OBJECT_AREA: (f64, f64) = (0.10, 0.34);

/// The most pictures a split may have: ids in file names have five digits.
const MAX_PICTURES: usize = 30_000;

impl HabitatConfig {
    /// Whether the settings are possible.
    ///
    /// # Errors
    /// [`DataError::Settings`] with every impossible setting and its range.
    pub fn check(&self) -> Result<(), DataError> {
        let mut problems = Vec::new();
        if !(32..=512).contains(&self.size) {
            problems.push(format!("size is {}, expected 32..=512", self.size));
        }
        for (name, value) in [("train", self.train), ("val", self.val), ("test", self.test)] {
            if !(4..=MAX_PICTURES).contains(&value) {
                problems.push(format!("{name} is {value}, expected 4..={MAX_PICTURES}"));
            }
        }
        if !(0.5..=1.0).contains(&self.correlation) {
            problems.push(format!("correlation is {}, expected 0.5..=1", self.correlation));
        } else if self.train >= 4 && plan::train_groups(self).contains(&0) {
            problems.push(format!(
                "correlation {} of {} training pictures leaves a group empty, expected at least one picture in each: \
                 lower correlation or raise train",
                self.correlation, self.train
            ));
        }
        if !(0.0..=0.9).contains(&self.alien_share) {
            problems.push(format!("alien_share is {}, expected 0..=0.9", self.alien_share));
        }
        let (least, largest) = self.object_area;
        if !(0.02 <= least && least <= largest && largest <= 0.5) {
            problems.push(format!("object_area is [{least}, {largest}], expected 0.02 <= least <= largest <= 0.5"));
        }
        if problems.is_empty() { Ok(()) } else { Err(DataError::Settings(problems)) }
    }
}

/// Composes the data set into `out`, or returns at once if `out` holds it already.
///
/// `progress(done, total)` counts pictures; it is called from several threads, first with `done` = 0, and not at all if
/// nothing is to be done. An interrupted composition is made again over what is there.
///
/// # Errors
/// [`DataError::Settings`] for impossible settings; [`DataError::Pack`] and [`DataError::Picture`] for a damaged or too
/// small pack; [`DataError::Occupied`] when `out` holds something else; [`DataError::Io`].
pub fn compose(
    pack: &Path,
    out: &Path,
    config: &HabitatConfig,
    seed: u64,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<(), DataError> {
    run(pack, out, config, seed, Kind::Biased, progress)
}

/// Composes a training set without the correlation, for an oracle: correlation 0.5, every cut-out on both backgrounds.
///
/// Source photos are split as by [`compose`] with the same seed, so the validation and test pictures of [`compose`] stay
/// unseen. There are only training pictures, hence read it with
/// [`ReadOptions::allow_empty_groups`](crate::ReadOptions). `out` must be another folder than that of [`compose`].
///
/// # Errors
/// As [`compose`].
pub fn compose_balanced_train(
    pack: &Path,
    out: &Path,
    config: &HabitatConfig,
    seed: u64,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<(), DataError> {
    run(pack, out, config, seed, Kind::BalancedTrain, progress)
}

/// The source pictures that are in the training split for every seed.
#[derive(Debug)]
pub struct Core {
    /// Photos without the animals, of both places.
    pub backgrounds: Vec<RgbImage>,
    /// Cut-outs of the animals by label: mammals, birds.
    pub cutouts: [Vec<RgbaImage>; 2],
}

/// Reads the core of a pack: two fifths of its photos, the same for every seed. What a generator learns from them alone
/// has seen no validation or test picture of any run.
///
/// # Errors
/// [`DataError::Pack`] and [`DataError::Picture`] for a damaged pack.
pub fn core(pack: &Path) -> Result<Core, DataError> {
    let pack = Pack::read(pack)?;
    let items = split::core(&pack);
    read(&pack, &items)
}

/// Reads everything that is not [`core()`]: what a generator that learned from the core is measured on.
///
/// # Errors
/// As [`core()`].
pub fn outside_core(pack: &Path) -> Result<Core, DataError> {
    let pack = Pack::read(pack)?;
    let core = split::core(&pack);
    let others = Role::ALL.map(|role| {
        let of_role = (0..pack.items.len()).filter(|&i| pack.items[i].role == role);
        of_role.filter(|i| !core[role.position()].contains(i)).collect()
    });
    read(&pack, &others)
}

fn read(pack: &Pack, [mammals, birds, land, water]: &[Vec<usize>; 4]) -> Result<Core, DataError> {
    let pictures = pack.load()?;
    let cutouts = |items: &[usize]| items.iter().map(|&i| pictures[i].to_rgba8()).collect();
    Ok(Core {
        backgrounds: land.iter().chain(water).map(|&i| pictures[i].to_rgb8()).collect(),
        cutouts: [cutouts(mammals), cutouts(birds)],
    })
}

/// Draws a crop of a background and puts a cut-out on it, as every picture of Habitat is made: the picture, and its
/// object in 255 with a grey soft edge. `size` is the side in pixels.
pub fn composite(background: &RgbImage, cutout: &RgbaImage, size: u32, rng: &mut ChaCha8Rng) -> (RgbImage, GrayImage) {
    let composed = picture::compose(background, cutout, size, OBJECT_AREA, rng);
    (composed.picture, composed.mask)
}

fn run(
    pack: &Path,
    out: &Path,
    config: &HabitatConfig,
    seed: u64,
    kind: Kind,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<(), DataError> {
    config.check()?;
    let pack = Pack::read(pack)?;
    let composition = Composition::new(kind, config, seed, &pack);
    if composition.claim(out)? {
        tracing::debug!(folder = %out.display(), "already composed");
        return Ok(());
    }
    let sources = split::split(&pack, seed)?;
    let plan = match kind {
        Kind::Biased => plan::biased(&pack, &sources, config, seed)?,
        Kind::BalancedTrain => plan::balanced_train(&sources, config, seed),
    };
    let pictures = pack.load()?;
    write::write(out, &composition, &pack, &pictures, &sources, &plan, progress)
}

#[cfg(test)]
#[path = "habitat/tests.rs"]
mod tests;

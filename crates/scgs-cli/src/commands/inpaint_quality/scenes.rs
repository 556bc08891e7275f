//! What is repainted, and what it is compared with: scenes of photos that no generator has learned from.

use std::fmt;

use anyhow::Context as _;
use image::{GrayImage, Luma, RgbImage, Rgba, RgbaImage, imageops};
use imageproc::{distance_transform::Norm, morphology};
use rand::{RngExt, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use scgs_data::{
    habitat::{self, Core},
    stream,
};
use scgs_diffusion::{CutOut, Request};

/// Side of a scene in pixels, as in Habitat.
const SIDE: u32 = 128;
/// Alpha from which a pixel belongs to the object.
const SOLID: u8 = 24;
/// Pixels that a mask reaches beyond the object, as masks from attention do.
const LOOSE: u8 = 4;
/// Side of a crop as a multiple of its mask's.
const WINDOW: f32 = 1.4;
/// Blur of the cut-outs' edges in pixels.
const FEATHER: f32 = 1.5;
/// Objects cut out of core composites for pasting, per class.
const PASTED: u64 = 60;

/// What is to be painted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    /// An object of the other kind where one was.
    Object,
    /// More background where an object could have been.
    Background,
    /// New surroundings of an object that stays.
    Surroundings,
}

impl Task {
    pub(super) const ALL: [Self; 3] = [Self::Object, Self::Background, Self::Surroundings];
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Object => "object",
            Self::Background => "background",
            Self::Surroundings => "surroundings",
        })
    }
}

/// One picture to repaint.
pub(super) struct Scene {
    pub(super) picture: RgbImage,
    pub(super) mask: GrayImage,
    /// The kind of the object inside the mask.
    pub(super) class: Option<usize>,
}

impl Scene {
    pub(super) fn request(&self, class: usize) -> Request<'_> {
        Request { picture: &self.picture, mask: &self.mask, prompt: "", class }
    }

    /// The square around the mask of a picture of this scene.
    pub(super) fn crop(&self, picture: &RgbImage) -> RgbImage {
        let on = || self.mask.enumerate_pixels().filter(|(_, _, p)| p[0] == 255);
        let (left, right) = on().fold((SIDE, 0), |(low, high), (x, _, _)| (low.min(x), high.max(x)));
        let (top, bottom) = on().fold((SIDE, 0), |(low, high), (_, y, _)| (low.min(y), high.max(y)));
        let longest = (right - left).max(bottom - top) + 1;
        let side = ((longest as f32 * WINDOW) as u32).min(SIDE);
        let start = |low: u32, high: u32| (low + high).div_ceil(2).saturating_sub(side / 2).min(SIDE - side);
        imageops::crop_imm(picture, start(left, right), start(top, bottom), side, side).to_image()
    }
}

/// Half of the photos outside the core, so that what is repainted and what it is compared with share none.
pub(super) struct Half {
    backgrounds: Vec<RgbImage>,
    cutouts: [Vec<RgbaImage>; 2],
    name: &'static str,
}

impl Half {
    pub(super) fn split(all: Core) -> anyhow::Result<[Self; 2]> {
        fn every_other<T: Clone>(list: &[T], first: usize) -> Vec<T> {
            list.iter().skip(first).step_by(2).cloned().collect()
        }
        let half = |first: usize, name| Self {
            backgrounds: every_other(&all.backgrounds, first),
            cutouts: [every_other(&all.cutouts[0], first), every_other(&all.cutouts[1], first)],
            name,
        };
        let halves = [half(0, "quality/first"), half(1, "quality/second")];
        let full = halves.iter().all(|h| !h.backgrounds.is_empty() && h.cutouts.iter().all(|c| !c.is_empty()));
        full.then_some(halves).context("the picture pack has too few pictures outside its core")
    }

    fn background(&self, rng: &mut ChaCha8Rng) -> &RgbImage {
        self.backgrounds.choose(rng).expect("checked not to be empty")
    }

    fn composite(&self, class: usize, rng: &mut ChaCha8Rng) -> (RgbImage, GrayImage) {
        let cutout = self.cutouts[class].choose(rng).expect("checked not to be empty");
        habitat::composite(self.background(rng), cutout, SIDE, rng)
    }

    /// Scene number `i`.
    pub(super) fn draw(&self, task: Task, seed: u64, i: usize) -> Scene {
        let mut rng = stream(seed, &format!("{}/{task}", self.name), i as u64);
        let class = i % 2;
        let (picture, object) = self.composite(class, &mut rng);
        match task {
            Task::Object => Scene { picture, mask: grown(&object, LOOSE, false), class: Some(class) },
            Task::Surroundings => Scene { picture, mask: grown(&object, LOOSE - 1, true), class: None },
            Task::Background => {
                let nothing = RgbaImage::from_pixel(8, 8, Rgba([0; 4]));
                let (empty, _) = habitat::composite(self.background(&mut rng), &nothing, SIDE, &mut rng);
                Scene { picture: empty, mask: grown(&object, LOOSE, false), class: None }
            }
        }
    }
}

/// The object and `radius` pixels around it, or everything else.
fn grown(object: &GrayImage, radius: u8, inverted: bool) -> GrayImage {
    let solid = GrayImage::from_fn(SIDE, SIDE, |x, y| Luma([if object.get_pixel(x, y)[0] >= SOLID { 255 } else { 0 }]));
    let grown = morphology::dilate(&solid, Norm::L2, radius);
    GrayImage::from_fn(SIDE, SIDE, |x, y| Luma([if (grown.get_pixel(x, y)[0] > 0) != inverted { 255 } else { 0 }]))
}

/// Objects of the core, cut out of composed pictures by their true masks: what copy-paste has in the best case.
pub(super) fn cut_outs(core: &Core, seed: u64) -> anyhow::Result<Vec<Vec<CutOut>>> {
    let one = |class: usize, i: u64| {
        let mut rng = stream(seed, "quality/paste", 2 * i + class as u64);
        let background = &core.backgrounds[rng.random_range(0..core.backgrounds.len())];
        let cutout = core.cutouts[class].choose(&mut rng).context("the core has no cut-outs")?;
        let (picture, object) = habitat::composite(background, cutout, SIDE, &mut rng);
        // Without the soft edge, which shows the old background.
        let mask =
            GrayImage::from_fn(SIDE, SIDE, |x, y| Luma([if object.get_pixel(x, y)[0] >= 128 { 255 } else { 0 }]));
        anyhow::Ok(CutOut::new(&picture, &mask, FEATHER)?)
    };
    (0..2).map(|class| (0..PASTED).map(|i| one(class, i)).collect()).collect()
}

//! What the small model learns from: scenes composed on the way, each with a mask and a class.

use image::{GrayImage, RgbImage, Rgba, RgbaImage, imageops};
use imageproc::{distance_transform::Norm, morphology};
use rand::{RngExt, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use scgs_data::habitat;
use sha2::{Digest, Sha256};

use super::SIDE;

/// Share of the samples without an object inside the mask.
const BACKGROUND_SHARE: f64 = 0.35;
/// Scenes are composed at up to this multiple of the window that is cut out of them.
const LARGEST_SCENE: u32 = 80;
/// Alpha from which a pixel belongs to the object; below it is a soft edge.
const SOLID: u8 = 24;

/// Pictures to compose scenes of.
#[derive(Debug, Clone)]
pub struct Scenes {
    backgrounds: Vec<RgbImage>,
    cutouts: Vec<Vec<RgbaImage>>,
}

/// One scene of [`SIDE`] x [`SIDE`] pixels.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The true picture.
    pub picture: RgbImage,
    /// 255 = repaint.
    pub mask: GrayImage,
    /// What is inside the mask: 0 nothing but background, 1.. the kind of object.
    pub class: usize,
}

/// `SIDE * SIDE` flags, row by row.
type Shape = Vec<bool>;

impl Scenes {
    /// From photos without objects, and cut-outs of each class with alpha. `None` if a list is empty.
    pub fn new(backgrounds: Vec<RgbImage>, cutouts: Vec<Vec<RgbaImage>>) -> Option<Self> {
        let complete = !backgrounds.is_empty() && !cutouts.is_empty() && cutouts.iter().all(|some| !some.is_empty());
        complete.then_some(Self { backgrounds, cutouts })
    }

    /// Kinds of objects.
    pub fn classes(&self) -> usize {
        self.cutouts.len()
    }

    /// How many photos, and how many cut-outs of each class.
    pub fn counts(&self) -> (usize, Vec<usize>) {
        (self.backgrounds.len(), self.cutouts.iter().map(Vec::len).collect())
    }

    /// sha256 of all pixels: two trainings with the same settings differ if these differ.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        let mut add = |(width, height): (u32, u32), bytes: &[u8]| {
            hash.update(width.to_le_bytes());
            hash.update(height.to_le_bytes());
            hash.update(bytes);
        };
        self.backgrounds.iter().for_each(|picture| add(picture.dimensions(), picture.as_raw()));
        self.cutouts.iter().flatten().for_each(|picture| add(picture.dimensions(), picture.as_raw()));
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A scene. Any object stands on any background: the class must not tell the place, or a model would paint water
    /// under every bird.
    pub fn draw(&self, rng: &mut ChaCha8Rng) -> Sample {
        let class = if rng.random_bool(BACKGROUND_SHARE) { 0 } else { rng.random_range(1..=self.classes()) };
        if class > 0 {
            let (picture, object) = self.window(class, rng);
            let mask = around(&object, self.any_cutout(rng), rng);
            return sample(picture, &mask, class);
        }
        if rng.random_bool(0.4) {
            // The object stays, its surroundings are painted.
            let label = rng.random_range(1..=self.classes());
            let (picture, object) = self.window(label, rng);
            let kept = dilated(&object, rng.random_range(0..=5));
            return sample(picture, &kept.iter().map(|kept| !kept).collect(), 0);
        }
        let nothing = RgbaImage::from_pixel(8, 8, Rgba([0; 4]));
        let (picture, _) = habitat::composite(self.any_background(rng), &nothing, SIDE as u32, rng);
        let mask = anywhere(self.any_cutout(rng), rng);
        sample(picture, &mask, 0)
    }

    fn any_background(&self, rng: &mut ChaCha8Rng) -> &RgbImage {
        self.backgrounds.choose(rng).expect("checked not to be empty")
    }

    fn any_cutout(&self, rng: &mut ChaCha8Rng) -> &RgbaImage {
        let class = self.cutouts.choose(rng).expect("checked not to be empty");
        class.choose(rng).expect("checked not to be empty")
    }

    /// A composed picture around its object, and the object.
    fn window(&self, class: usize, rng: &mut ChaCha8Rng) -> (RgbImage, Shape) {
        let cutout = self.cutouts[class - 1].choose(rng).expect("checked not to be empty");
        let side = rng.random_range(SIDE as u32..=LARGEST_SCENE);
        let (picture, object) = habitat::composite(self.any_background(rng), cutout, side, rng);
        let (left, top, right, bottom) = bounds(
            object.enumerate_pixels().filter(|p| p.2[0] >= SOLID).map(|p| (p.0, p.1)),
        )
        .unwrap_or((0, 0, side - 1, side - 1));
        let mut start = |from: u32, to: u32| {
            let free = side - SIDE as u32;
            let centred = (from + to).div_ceil(2).saturating_sub(SIDE as u32 / 2).min(free);
            (centred as i64 + rng.random_range(-4..=4)).clamp(0, i64::from(free)) as u32
        };
        let (x, y) = (start(left, right), start(top, bottom));
        let cut = |picture: &GrayImage| imageops::crop_imm(picture, x, y, SIDE as u32, SIDE as u32).to_image();
        let object = cut(&object).pixels().map(|p| p[0] >= SOLID).collect();
        (imageops::crop_imm(&picture, x, y, SIDE as u32, SIDE as u32).to_image(), object)
    }
}

fn sample(picture: RgbImage, mask: &Shape, class: usize) -> Sample {
    Sample { picture, mask: to_gray(mask), class }
}

fn to_gray(shape: &Shape) -> GrayImage {
    let bytes = shape.iter().map(|&on| if on { 255 } else { 0 }).collect();
    GrayImage::from_raw(SIDE as u32, SIDE as u32, bytes).expect("SIDE * SIDE bytes")
}

/// The smallest box around some pixels: left, top, right, bottom, all inside.
fn bounds(pixels: impl Iterator<Item = (u32, u32)>) -> Option<(u32, u32, u32, u32)> {
    pixels.fold(None, |box_, (x, y)| {
        let (left, top, right, bottom) = box_.unwrap_or((x, y, x, y));
        Some((left.min(x), top.min(y), right.max(x), bottom.max(y)))
    })
}

fn dilated(shape: &Shape, radius: u8) -> Shape {
    if radius == 0 {
        return shape.clone();
    }
    morphology::dilate(&to_gray(shape), Norm::L2, radius).pixels().map(|p| p[0] > 0).collect()
}

/// Width and height, centre, in pixels.
#[derive(Clone, Copy)]
struct Frame {
    centre: [f32; 2],
    size: [f32; 2],
}

impl Frame {
    fn of(shape: &Shape) -> Self {
        let side = SIDE as u32;
        let on = shape.iter().enumerate().filter(|(_, on)| **on).map(|(i, _)| (i as u32 % side, i as u32 / side));
        let (left, top, right, bottom) = bounds(on).unwrap_or((0, 0, side - 1, side - 1));
        Self {
            centre: [(left + right + 1) as f32 / 2.0, (top + bottom + 1) as f32 / 2.0],
            size: [(right + 1 - left) as f32, (bottom + 1 - top) as f32],
        }
    }

    fn random(rng: &mut ChaCha8Rng) -> Self {
        let side = SIDE as f32;
        Self {
            centre: std::array::from_fn(|_| rng.random_range(0.15..=0.85) * side),
            size: std::array::from_fn(|_| rng.random_range(0.2..=0.85) * side),
        }
    }

    fn grown(mut self, by: std::ops::RangeInclusive<f32>, rng: &mut ChaCha8Rng) -> Self {
        self.size = self.size.map(|length| length * rng.random_range(by.clone()));
        self
    }

    /// The pixels whose place relative to the centre, -1..=1 at the frame, satisfies `inside`.
    fn filled(self, inside: impl Fn(f32, f32) -> bool) -> Shape {
        (0..SIDE * SIDE)
            .map(|i| {
                let at = |axis: usize, place: usize| {
                    (place as f32 + 0.5 - self.centre[axis]) / (self.size[axis] / 2.0).max(0.5)
                };
                inside(at(0, i % SIDE), at(1, i / SIDE))
            })
            .collect()
    }

    fn rectangle(self) -> Shape {
        self.filled(|x, y| x.abs() <= 1.0 && y.abs() <= 1.0)
    }

    fn ellipse(self) -> Shape {
        self.filled(|x, y| x * x + y * y <= 1.0)
    }

    /// The outline of a cut-out, stretched to the frame.
    fn silhouette(self, cutout: &RgbaImage) -> Shape {
        let (width, height) = cutout.dimensions();
        let pixel = |at: f32, length: u32| ((at + 1.0) / 2.0 * length as f32) as u32;
        self.filled(|x, y| {
            x.abs() < 1.0
                && y.abs() < 1.0
                && cutout.get_pixel(pixel(x, width).min(width - 1), pixel(y, height).min(height - 1))[3] >= SOLID
        })
    }
}

fn union(a: Shape, b: &Shape) -> Shape {
    a.into_iter().zip(b).map(|(a, b)| a || *b).collect()
}

/// A mask that holds an object, as loose as masks are in use: its outline grown, a box, an ellipse, or the outline of
/// something else, for an object is often painted where another kind stood.
fn around(object: &Shape, other: &RgbaImage, rng: &mut ChaCha8Rng) -> Shape {
    let frame = Frame::of(object);
    let tight = dilated(object, 1);
    match rng.random_range(0..100) {
        0..30 => dilated(object, rng.random_range(1..=7)),
        30..55 => union(frame.grown(1.05..=1.5, rng).rectangle(), &tight),
        55..70 => union(frame.grown(1.15..=1.6, rng).ellipse(), &tight),
        _ => {
            let outline = frame.grown(0.95..=1.3, rng).silhouette(other);
            union(dilated(&outline, rng.random_range(0..=3)), &tight)
        }
    }
}

/// A mask anywhere on a background.
fn anywhere(cutout: &RgbaImage, rng: &mut ChaCha8Rng) -> Shape {
    let frame = Frame::random(rng);
    let mask = match rng.random_range(0..100) {
        0..45 => dilated(&frame.silhouette(cutout), rng.random_range(1..=6)),
        45..60 => frame.rectangle(),
        60..75 => (0..rng.random_range(2..=4))
            .fold(frame.ellipse(), |mask, _| union(mask, &Frame::random(rng).grown(0.3..=0.8, rng).ellipse())),
        _ => dilated(&frame.silhouette(cutout), 1).into_iter().map(|inside| !inside).collect(),
    };
    if mask.contains(&true) { mask } else { frame.rectangle() }
}

#[cfg(test)]
mod tests {
    use image::Rgb;
    use scgs_data::stream;

    use super::*;

    fn scenes() -> Scenes {
        let disc = |colour: [u8; 3]| {
            RgbaImage::from_fn(40, 30, |x, y| {
                let inside = (x as f32 - 20.0).powi(2) / 400.0 + (y as f32 - 15.0).powi(2) / 225.0 < 1.0;
                Rgba([colour[0], colour[1], colour[2], if inside { 255 } else { 0 }])
            })
        };
        let background = RgbImage::from_pixel(90, 70, Rgb([0, 0, 100]));
        Scenes::new(vec![background], vec![vec![disc([250, 0, 0])], vec![disc([0, 250, 0])]]).unwrap()
    }

    #[test]
    fn the_class_is_inside_the_mask_and_nothing_of_it_outside() {
        let scenes = scenes();
        let mut seen = [0; 3];
        for i in 0..200 {
            let sample = scenes.draw(&mut stream(1, "scenes", i));
            seen[sample.class] += 1;
            assert_eq!(sample.picture.dimensions(), (64, 64));
            let (mut inside, mut outside) = (0, 0);
            for (pixel, mask) in sample.picture.pixels().zip(sample.mask.pixels()) {
                let object = pixel[0].max(pixel[1]) > 120;
                if mask[0] == 255 { inside += usize::from(object) } else { outside += usize::from(object) }
            }
            assert!(sample.mask.pixels().any(|p| p[0] == 255), "sample {i} has something to repaint");
            if sample.class == 0 {
                assert_eq!(inside, 0, "sample {i}: class 0 shows no object inside the mask");
            } else {
                assert!(inside > 200 && outside == 0, "sample {i}: {inside} object pixels inside, {outside} outside");
                let colour = if sample.class == 1 { 0 } else { 1 };
                assert!(sample.picture.pixels().any(|p| p[colour] > 120 && p[1 - colour] < 120));
            }
        }
        assert!(seen[0] > 40 && seen[1] > 35 && seen[2] > 35, "{seen:?}");
    }

    #[test]
    fn the_same_stream_gives_the_same_scene() {
        let scenes = scenes();
        assert_eq!(scenes.draw(&mut stream(1, "scenes", 3)), scenes.draw(&mut stream(1, "scenes", 3)));
        assert_ne!(scenes.draw(&mut stream(1, "scenes", 3)), scenes.draw(&mut stream(1, "scenes", 4)));
        assert_eq!(scenes.fingerprint().len(), 64);
        assert!(Scenes::new(vec![], vec![vec![]]).is_none());
    }
}

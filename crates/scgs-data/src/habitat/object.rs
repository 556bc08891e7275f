//! The cut-out of a composed picture: its size, turn and place, and how it is blended in.

use fast_image_resize::PixelType;
use image::{RgbaImage, imageops};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::pixels::resample;

use super::picture::BRIGHTNESS;

/// Tangent of half the largest angle: tan(8 degrees / 2).
const HALF_TANGENT: f64 = 0.069_926_811_943_510_41;
/// Half of a Gaussian of 1.4 pixels (0.7 at output size) from its centre, not normalised: exp(-k^2 / (2 * 1.4^2)).
const BLUR: [f32; 5] = [1.0, 0.774_837_4, 0.360_447_8, 0.100_668_1, 0.016_879_8];
/// Empty pixels around the object, room for the blur.
const MARGIN: usize = BLUR.len();
/// Least distance of the object to the frame in pixels when the frame caps its size.
const CLEARANCE: f64 = 2.0;
/// Alpha from which a pixel counts for the extent of the object.
const SOLID: u8 = 32;

/// Red, green, blue, each times alpha (0..=255), and alpha (0..=1).
type Premultiplied = [f32; 4];

/// A cut-out ready to be drawn.
pub(super) struct Object {
    /// Position in the picture; the margin may lie outside.
    left: i64,
    top: i64,
    width: usize,
    height: usize,
    /// Row major, `height * width`.
    pixels: Vec<Premultiplied>,
}

impl Object {
    /// Scales, mirrors, turns and brightens a cut-out and draws a position that keeps it inside a picture of
    /// `side` x `side` pixels. `area` is the least and the largest share of the picture that it covers.
    pub(super) fn place(cutout: &RgbaImage, side: u32, area: (f64, f64), rng: &mut ChaCha8Rng) -> Self {
        let mut source = cutout.clone();
        if rng.random_bool(0.5) {
            imageops::flip_horizontal_in_place(&mut source);
        }
        let wanted = rng.random_range(area.0..=area.1) * f64::from(side) * f64::from(side);
        let turn = Turn::new(rng.random_range(-HALF_TANGENT..=HALF_TANGENT));
        let brightness = rng.random_range(BRIGHTNESS);
        let (across, down) = (rng.random::<f64>(), rng.random::<f64>());

        let area: f64 = source.pixels().map(|pixel| f64::from(pixel.0[3]) / 255.0).sum();
        let extent = Extent::of(&source, &turn);
        // The frame caps the size: a long, thin animal covers less than it was to.
        let cap = (f64::from(side) - 2.0 * CLEARANCE) / extent.width().max(extent.height());
        let scale = (wanted / area.max(1.0)).sqrt().min(cap);

        let scaled = |length: u32| ((f64::from(length) * scale).round() as u32).max(1);
        let (width, height) = (scaled(source.width()), scaled(source.height()));
        let whole = (0.0, 0.0, f64::from(source.width()), f64::from(source.height()));
        let pixels = resample(source.as_raw(), source.dimensions(), PixelType::U8x4, whole, (width, height));
        let upright = RgbaImage::from_raw(width, height, pixels).expect("the resizer returns width * height * 4 bytes");

        let extent = Extent::of(&upright, &turn);
        let offset =
            |length: f64, share: f64| ((f64::from(side) - length).max(0.0) * share).round() as i64 - MARGIN as i64;
        let with_margins = |length: f64| length.ceil() as usize + 2 * MARGIN;
        let mut object = Self {
            left: offset(extent.width(), across),
            top: offset(extent.height(), down),
            width: with_margins(extent.width()),
            height: with_margins(extent.height()),
            pixels: Vec::new(),
        };
        let sampler = Sampler::new(&upright, brightness);
        object.pixels.reserve(object.width * object.height);
        for y in 0..object.height {
            for x in 0..object.width {
                let from_centre = |at: usize, start: f64| at as f64 + 0.5 - MARGIN as f64 + start;
                let point = (from_centre(x, extent.left), from_centre(y, extent.top));
                object.pixels.push(sampler.at(turn.back(point)));
            }
        }
        object
    }

    /// Blends the object into `canvas` (`side` x `side` RGB, 0..=255) and writes its alpha times 255 into `cover`.
    ///
    /// Only alpha is blurred. Where that reaches beyond the cut-out there is no colour, so the blurred colour of the
    /// object's edge is carried outwards: neither a dark fringe nor a blurred animal.
    pub(super) fn draw(&self, canvas: &mut [f32], cover: &mut [f32], side: usize) {
        let soft = self.blurred();
        for y in 0..self.height {
            for x in 0..self.width {
                let (px, py) = (self.left + x as i64, self.top + y as i64);
                let inside = 0..side as i64;
                let [red, green, blue, alpha] = soft[y * self.width + x];
                if !inside.contains(&px) || !inside.contains(&py) || alpha <= 0.0 {
                    continue;
                }
                let at = py as usize * side + px as usize;
                let sharp = self.pixels[y * self.width + x];
                for (channel, edge) in [red, green, blue].into_iter().enumerate() {
                    let colour = sharp[channel] + (1.0 - sharp[3]) * edge / alpha;
                    let value = &mut canvas[at * 3 + channel];
                    *value = (*value * (1.0 - alpha) + colour * alpha).min(255.0);
                }
                cover[at] = alpha * 255.0;
            }
        }
    }

    /// The pixels after a Gaussian in both directions; outside is empty.
    fn blurred(&self) -> Vec<Premultiplied> {
        let sum = BLUR[0] + 2.0 * BLUR[1..].iter().sum::<f32>();
        let weights = BLUR.map(|weight| weight / sum);
        let pass = |pixels: &[Premultiplied], step: usize, length: usize| -> Vec<Premultiplied> {
            let blur = |index: usize| {
                let at = index / step % length;
                let mut result = pixels[index].map(|value| value * weights[0]);
                for (distance, weight) in weights.iter().enumerate().skip(1) {
                    let before = (at >= distance).then(|| pixels[index - distance * step]);
                    let after = (at + distance < length).then(|| pixels[index + distance * step]);
                    for pixel in before.into_iter().chain(after) {
                        for channel in 0..4 {
                            result[channel] += pixel[channel] * weight;
                        }
                    }
                }
                result
            };
            (0..pixels.len()).map(blur).collect()
        };
        let across = pass(&self.pixels, 1, self.width);
        pass(&across, self.width, self.height)
    }
}

/// Reads a picture between its pixels, brightened and multiplied by alpha.
struct Sampler {
    width: i64,
    height: i64,
    pixels: Vec<Premultiplied>,
}

impl Sampler {
    fn new(picture: &RgbaImage, brightness: f32) -> Self {
        let premultiply = |pixel: &image::Rgba<u8>| {
            let alpha = f32::from(pixel.0[3]) / 255.0;
            let colour = |value: u8| (f32::from(value) * brightness).min(255.0) * alpha;
            [colour(pixel.0[0]), colour(pixel.0[1]), colour(pixel.0[2]), alpha]
        };
        Self {
            width: i64::from(picture.width()),
            height: i64::from(picture.height()),
            pixels: picture.pixels().map(premultiply).collect(),
        }
    }

    /// Bilinear at a point relative to the centre; outside is empty.
    fn at(&self, (x, y): (f64, f64)) -> Premultiplied {
        let (x, y) = (x + self.width as f64 / 2.0 - 0.5, y + self.height as f64 / 2.0 - 0.5);
        let (left, top) = (x.floor(), y.floor());
        let (right_share, lower_share) = ((x - left) as f32, (y - top) as f32);
        let (left, top) = (left as i64, top as i64);
        let mut result = [0.0; 4];
        for (dx, weight_x) in [(0, 1.0 - right_share), (1, right_share)] {
            for (dy, weight_y) in [(0, 1.0 - lower_share), (1, lower_share)] {
                let (px, py) = (left + dx, top + dy);
                if (0..self.width).contains(&px) && (0..self.height).contains(&py) {
                    let pixel = self.pixels[(py * self.width + px) as usize];
                    for channel in 0..4 {
                        result[channel] += pixel[channel] * weight_x * weight_y;
                    }
                }
            }
        }
        result
    }
}

/// A rotation around the centre without trigonometry: cos = (1 - t^2) / (1 + t^2), sin = 2t / (1 + t^2), t = tan(angle / 2).
struct Turn {
    cos: f64,
    sin: f64,
}

impl Turn {
    fn new(half_tangent: f64) -> Self {
        let square = half_tangent * half_tangent;
        Self { cos: (1.0 - square) / (1.0 + square), sin: 2.0 * half_tangent / (1.0 + square) }
    }

    fn forth(&self, (x, y): (f64, f64)) -> (f64, f64) {
        (self.cos * x - self.sin * y, self.sin * x + self.cos * y)
    }

    fn back(&self, (x, y): (f64, f64)) -> (f64, f64) {
        (self.cos * x + self.sin * y, self.cos * y - self.sin * x)
    }
}

/// The box of the solid pixels after turning, relative to the picture's centre.
struct Extent {
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
}

impl Extent {
    fn of(picture: &RgbaImage, turn: &Turn) -> Self {
        let (cx, cy) = (f64::from(picture.width()) / 2.0, f64::from(picture.height()) / 2.0);
        let mut extent =
            Self { left: f64::INFINITY, top: f64::INFINITY, right: f64::NEG_INFINITY, bottom: f64::NEG_INFINITY };
        for (x, y, pixel) in picture.enumerate_pixels() {
            if pixel.0[3] >= SOLID {
                let (x, y) = turn.forth((f64::from(x) + 0.5 - cx, f64::from(y) + 0.5 - cy));
                extent.left = extent.left.min(x - 0.5);
                extent.top = extent.top.min(y - 0.5);
                extent.right = extent.right.max(x + 0.5);
                extent.bottom = extent.bottom.max(y + 0.5);
            }
        }
        if extent.left > extent.right {
            // Nothing solid: the whole picture, so that sizes stay finite.
            return Self { left: -cx, top: -cy, right: cx, bottom: cy };
        }
        extent
    }

    fn width(&self) -> f64 {
        self.right - self.left
    }

    fn height(&self) -> f64 {
        self.bottom - self.top
    }
}

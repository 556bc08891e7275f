//! One composed picture: a cut-out, turned and scaled, on a crop of a background.

use std::ops::RangeInclusive;

use fast_image_resize::PixelType;
use image::{GrayImage, RgbImage, RgbaImage, imageops};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::pixels::resample;

use super::object::Object;

/// Side of the background crop as a share of its short side.
const CROP_SHARE: RangeInclusive<f64> = 0.6..=1.0;
/// Factor on all values of the background or of the object.
pub(super) const BRIGHTNESS: RangeInclusive<f32> = 0.75..=1.25;
/// Pictures are composed at this multiple of their size and averaged down.
const OVERSAMPLING: usize = 2;

/// A picture and where its object is.
#[derive(Debug)]
pub(super) struct Composed {
    pub(super) picture: RgbImage,
    /// 255 = object.
    pub(super) mask: GrayImage,
}

/// Composes a picture of `size` x `size` pixels. Only additions, multiplications, divisions and square roots are used,
/// so the result does not depend on a mathematical library. `area` is the least and the largest share that the object covers.
pub(super) fn compose(
    background: &RgbImage,
    foreground: &RgbaImage,
    size: u32,
    area: (f64, f64),
    rng: &mut ChaCha8Rng,
) -> Composed {
    let side = size * OVERSAMPLING as u32;
    let mut canvas = crop_background(background, side, rng);
    let mut cover = vec![0.0; (side * side) as usize];
    Object::place(foreground, side, area, rng).draw(&mut canvas, &mut cover, side as usize);
    Composed {
        picture: RgbImage::from_raw(size, size, shrink::<3>(&canvas, side as usize)).expect("size * size * 3 bytes"),
        mask: GrayImage::from_raw(size, size, shrink::<1>(&cover, side as usize)).expect("size * size bytes"),
    }
}

/// A random square of the background, `side` x `side` RGB in 0..=255.
fn crop_background(background: &RgbImage, side: u32, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let (width, height) = background.dimensions();
    let crop = ((f64::from(width.min(height)) * rng.random_range(CROP_SHARE)).round() as u32).max(1);
    let (left, top) = (rng.random_range(0..=width - crop), rng.random_range(0..=height - crop));
    let (flip, brightness) = (rng.random_bool(0.5), rng.random_range(BRIGHTNESS));
    let area = (f64::from(left), f64::from(top), f64::from(crop), f64::from(crop));
    let pixels = resample(background.as_raw(), (width, height), PixelType::U8x3, area, (side, side));
    let mut picture = RgbImage::from_raw(side, side, pixels).expect("the resizer returns side * side * 3 bytes");
    if flip {
        imageops::flip_horizontal_in_place(&mut picture);
    }
    picture.as_raw().iter().map(|&value| (f32::from(value) * brightness).min(255.0)).collect()
}

/// Averages squares of [`OVERSAMPLING`] pixels of a `side` x `side` picture with values in 0..=255.
fn shrink<const CHANNELS: usize>(canvas: &[f32], side: usize) -> Vec<u8> {
    let size = side / OVERSAMPLING;
    let mut bytes = Vec::with_capacity(size * size * CHANNELS);
    for y in 0..size {
        for x in 0..size {
            for channel in 0..CHANNELS {
                let mut sum = 0.0;
                for dy in 0..OVERSAMPLING {
                    for dx in 0..OVERSAMPLING {
                        sum += canvas[((y * OVERSAMPLING + dy) * side + x * OVERSAMPLING + dx) * CHANNELS + channel];
                    }
                }
                // The conversion saturates; the half rounds.
                bytes.push((sum / (OVERSAMPLING * OVERSAMPLING) as f32 + 0.5) as u8);
            }
        }
    }
    bytes
}

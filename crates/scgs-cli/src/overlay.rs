//! Attention drawn over a picture.

use image::{GrayImage, Luma, Rgb, RgbImage};
use scgs_cam::AttentionMap;

/// The picture in grey under a heat colour: transparent blue-black at 0, yellow at 1. Both have one size.
pub(crate) fn overlay(picture: &RgbImage, attention: &GrayImage) -> RgbImage {
    RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
        let p = picture.get_pixel(x, y);
        let grey = 0.299 * f32::from(p[0]) + 0.587 * f32::from(p[1]) + 0.114 * f32::from(p[2]);
        let a = f32::from(attention.get_pixel(x, y)[0]) / 255.0;
        let heat = [255.0 * (2.0 * a).min(1.0), 255.0 * (2.0 * a - 1.0).max(0.0), 64.0 * (1.0 - a)];
        let strength = 0.2 + 0.5 * a;
        Rgb(heat.map(|h| (grey * (1.0 - strength) + h * strength) as u8))
    })
}

/// A map as grey values, 255 for 1.
pub(crate) fn grey(map: &AttentionMap) -> GrayImage {
    GrayImage::from_fn(map.width as u32, map.height as u32, |x, y| {
        Luma([(map.values[y as usize * map.width + x as usize] * 255.0).round() as u8])
    })
}

//! Resampling, blur and rank filter against Pillow: equal bytes.

use image::{GrayImage, RgbImage};

use super::*;
use crate::sd::pipeline::tests::Pictures;

#[test]
fn lanczos_gives_the_bytes_of_pillow() {
    let file = Pictures::open("pictures");
    let (source, mask) = (file.rgb("source"), file.grey("mask"));
    for (width, height) in [(64, 64), (32, 24), (61, 96), (120, 43), (100, 90), (61, 43)] {
        let key = format!("{width}x{height}");
        let found: RgbImage = resize(&source, width, height, Filter::Lanczos);
        assert!(found == file.rgb(&format!("lanczos.{key}")), "{key}");
        let found: GrayImage = resize(&mask, width, height, Filter::Lanczos);
        assert!(found == file.grey(&format!("lanczos-mask.{key}")), "mask {key}");
    }
}

#[test]
fn blur_and_dilation_give_the_bytes_of_pillow() {
    let file = Pictures::open("pictures");
    let mask = file.grey("mask");
    for radius in [0.5_f32, 1.0, 2.0, 3.7, 10.0] {
        assert!(gaussian_blur(&mask, radius) == file.grey(&format!("blur.{radius:?}")), "{radius}");
    }
    assert!(dilate(&mask, 2) == file.grey("dilate.2"));
    assert!(dilate(&mask, 0) == mask);
}

#[test]
fn a_line_of_one_colour_keeps_it_whatever_is_done_to_it() {
    let plain = GrayImage::from_pixel(7, 1, image::Luma([201]));
    for filter in [Filter::Lanczos, Filter::Bicubic] {
        for (width, height) in [(1, 1), (3, 9), (50, 2)] {
            assert!(resize(&plain, width, height, filter).pixels().all(|p| p[0] == 201), "{filter:?} {width}x{height}");
        }
    }
    assert!(gaussian_blur(&plain, 30.0) == plain && dilate(&plain, 500) == plain);
}

//! Regions, filling, cropping and pasting against `VaeImageProcessor`.

use serde_json::Value;

use super::*;
use crate::sd::pipeline::tests::{Pictures, fixtures};

#[test]
fn regions_around_masks_are_those_of_diffusers() {
    let cases: Vec<Value> =
        serde_json::from_str(&fs_err::read_to_string(fixtures().join("regions.json")).unwrap()).unwrap();
    assert!(cases.len() >= 36);
    for case in cases {
        let numbers = |field: &str| -> Vec<u32> {
            case[field].as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u32).collect()
        };
        let (size, at, expected) = (numbers("size"), numbers("box"), numbers("region"));
        // `mask` of make_models.py.
        let mut mask = GrayImage::from_fn(61, 43, |x, y| {
            Luma([if (at[0]..at[2]).contains(&x) && (at[1]..at[3]).contains(&y) { 255 } else { 0 }])
        });
        mask.put_pixel(at[2].min(60), (at[1] + at[3]) / 2, Luma([255]));
        let pad = case["pad"].as_u64().unwrap() as u32;
        let found = crop_region(&mask, (size[0], size[1]), pad).unwrap();
        let found = [found.left, found.top, found.left + found.width, found.top + found.height];
        assert_eq!(found, *expected, "{case}");
    }
    assert_eq!(crop_region(&GrayImage::new(5, 5), (64, 64), 3), None);
}

#[test]
fn filling_and_cropping_give_the_bytes_of_diffusers() {
    let file = Pictures::open("pictures");
    let source = file.rgb("source");
    for size in [(64, 64), (32, 24), (61, 96), (120, 43), (100, 90), (61, 43)] {
        let key = format!("{}x{}", size.0, size.1);
        assert!(fill(&source, size) == file.rgb(&format!("fill.{key}")), "fill {key}");
        assert!(crop(&source, size) == file.rgb(&format!("crop.{key}")), "crop {key}");
    }
}

#[test]
fn soft_masks_fade_as_in_diffusers() {
    let file = Pictures::open("seeds");
    let (old, new, mask) = (file.rgb("overlay.old"), file.rgb("overlay.new"), file.grey("overlay.mask"));
    assert!(mask.pixels().any(|p| !matches!(p[0], 0 | 255)));
    assert!(overlaid(&new, &old, &mask) == file.rgb("overlay.result"));
}

#[test]
fn sizes_are_padded_to_what_the_vae_can_and_said() {
    let picture = RgbImage::from_fn(21, 10, |x, y| Rgb([x as u8, y as u8, 7]));
    let mask = GrayImage::from_fn(21, 10, |x, _| Luma([if x > 15 { 255 } else { 0 }]));
    let options = PaintOptions::default();
    let size = working_size((21, 10), &options, 64, 8).unwrap();
    assert_eq!(size, (24, 16));
    let prepared = prepare(&picture, &mask, &options, size).unwrap();
    assert_eq!(prepared.fit, Fit::Padded);
    let at = |x: usize, y: usize| prepared.picture[y * 24 + x];
    assert_eq!(at(23, 15), at(20, 9), "the border is repeated");
    assert_eq!(prepared.mask[23], 0.0, "what is added is not repainted");
    assert_eq!((prepared.mask[15], prepared.mask[16]), (0.0, 1.0));
    let painted = RgbImage::from_pixel(24, 16, Rgb([200; 3]));
    let pasted = prepared.pasted(&picture, &painted, &options);
    assert_eq!(pasted.dimensions(), (21, 10));
    assert_eq!((pasted.get_pixel(15, 3), pasted.get_pixel(16, 3)), (picture.get_pixel(15, 3), &Rgb([200; 3])));

    let exact = working_size((16, 24), &options, 64, 8).unwrap();
    assert_eq!(exact, (16, 24));
    let cropping = PaintOptions { padding_mask_crop: Some(3), ..PaintOptions::default() };
    assert_eq!(working_size((21, 10), &cropping, 64, 8).unwrap(), (64, 64));
    for (size, picture) in [(Some((60, 64)), (9, 9)), (Some((0, 64)), (9, 9)), (None, (9, 5000)), (None, (u32::MAX, 1))]
    {
        let options = PaintOptions { size, ..PaintOptions::default() };
        let error = working_size(picture, &options, 64, 8).unwrap_err();
        assert!(matches!(error, PipelineError::Size { .. }), "{error}");
    }
}

#[test]
fn a_mask_grows_and_fades_before_it_is_used() {
    let mask =
        GrayImage::from_fn(32, 32, |x, y| Luma([if (10..20).contains(&x) && (10..20).contains(&y) { 255 } else { 0 }]));
    let white = |options: &PaintOptions| grown(&mask, options).pixels().filter(|p| p[0] == 255).count();
    assert_eq!(white(&PaintOptions::default()), 100);
    assert_eq!(white(&PaintOptions { dilate: 3, ..PaintOptions::default() }), 256);
    let blurred = grown(&mask, &PaintOptions { blur: 2.0, ..PaintOptions::default() });
    assert!(blurred.pixels().any(|p| (1..=254).contains(&p[0])));
}

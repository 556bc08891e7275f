//! Against OpenCV; the fixtures and their generator are in tests/fixtures/inpaint.

use std::path::PathBuf;

use image::{GrayImage, Luma, RgbImage};

use super::telea;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/inpaint").join(name)
}

#[test]
fn equals_opencv() {
    let reference: serde_json::Value =
        serde_json::from_slice(&fs_err::read(fixture("reference.json")).unwrap()).unwrap();
    let cases = reference["telea"].as_array().unwrap();
    assert_eq!(cases.len(), 12);
    for case in cases {
        let open = |key: &str| image::open(fixture(case[key].as_str().unwrap())).unwrap();
        let (picture, mask, wanted) = (open("picture").to_rgb8(), open("mask").to_luma8(), open("painted").to_rgb8());
        let painted = telea(&picture, &mask, case["radius"].as_u64().unwrap() as u8);
        let different = painted.as_raw().iter().zip(wanted.as_raw()).filter(|(a, b)| a != b).count();
        let largest = painted.as_raw().iter().zip(wanted.as_raw()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        let holes = mask.pixels().filter(|p| p[0] > 0).count();
        // The last bit of a float sum may round a value the other way, and its followers see that.
        assert!(largest <= 2 && different * 50 <= holes * 3, "{case}: {different} values differ, by up to {largest}");
    }
}

#[test]
fn holes_of_any_shape_come_back_whole() {
    let picture = RgbImage::from_pixel(9, 7, image::Rgb([40, 90, 200]));
    let full = GrayImage::from_pixel(9, 7, Luma([255]));
    assert_eq!(telea(&picture, &full, 3), picture, "nothing is known, nothing changes");
    assert_eq!(telea(&picture, &GrayImage::new(9, 7), 3), picture);
    let mut one = full;
    one.put_pixel(8, 6, Luma([0]));
    let painted = telea(&picture, &one, 200);
    // Every pixel on the way from the corner may round up by one.
    assert!(painted.pixels().all(|p| p.0.iter().zip([40, 90, 200]).all(|(&a, b)| (b..=b + 15).contains(&a))));
    assert_eq!(telea(&RgbImage::new(1, 1), &GrayImage::from_pixel(1, 1, Luma([255])), 3), RgbImage::new(1, 1));
}

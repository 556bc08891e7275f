//! The rule `grab-cut` against OpenCV's `grabCut` (`tests/fixtures/cam/grabcut.py`), and against the true objects.
#![expect(clippy::unwrap_used, reason = "a failed test panics")]

use image::{GrayImage, RgbImage};
use scgs_cam::{AttentionMap, Mask, MaskError, MaskRule, object_region};

struct Scene {
    picture: RgbImage,
    attention: AttentionMap,
    opencv: Mask,
    object: Mask,
}

macro_rules! scene {
    ($number:literal) => {
        Scene {
            picture: decoded(include_bytes!(concat!("../../../tests/fixtures/cam/grabcut-", $number, ".png")))
                .to_rgb8(),
            attention: heat(
                decoded(include_bytes!(concat!("../../../tests/fixtures/cam/grabcut-", $number, ".heat.png")))
                    .to_luma8(),
            ),
            opencv: mask(include_bytes!(concat!("../../../tests/fixtures/cam/grabcut-", $number, ".opencv.png"))),
            object: mask(include_bytes!(concat!("../../../tests/fixtures/cam/grabcut-", $number, ".true.png"))),
        }
    };
}

fn scenes() -> [Scene; 6] {
    [scene!("0"), scene!("1"), scene!("2"), scene!("3"), scene!("4"), scene!("5")]
}

fn decoded(bytes: &[u8]) -> image::DynamicImage {
    image::load_from_memory(bytes).unwrap()
}

fn mask(bytes: &[u8]) -> Mask {
    Mask::from_gray(&decoded(bytes).to_luma8()).unwrap()
}

fn heat(grey: GrayImage) -> AttentionMap {
    let values = grey.as_raw().iter().map(|&v| f32::from(v) / 255.0).collect();
    AttentionMap { width: grey.width() as usize, height: grey.height() as usize, values }
}

#[test]
fn masks_equal_opencv() {
    let mut overlaps = Vec::new();
    for (number, scene) in scenes().iter().enumerate() {
        let found = object_region(&scene.attention, Some(&scene.picture), &MaskRule::default()).unwrap();
        let (opencv, object) = (found.iou(&scene.opencv).unwrap(), found.iou(&scene.object).unwrap());
        let theirs = scene.opencv.iou(&scene.object).unwrap();
        println!("{number}: IoU with OpenCV {opencv:.4}, with the object {object:.4} (OpenCV's {theirs:.4})");
        assert!(object > theirs - 0.02, "scene {number}: {object} against {theirs}");
        overlaps.push(opencv);
    }
    let mean = overlaps.iter().sum::<f64>() / 6.0;
    assert!(mean >= 0.98 && overlaps.iter().all(|&o| o > 0.95), "{overlaps:?}");
}

#[test]
fn colours_help_where_thresholds_are_coarse() {
    for scene in scenes() {
        let iou =
            |rule| object_region(&scene.attention, Some(&scene.picture), &rule).unwrap().iou(&scene.object).unwrap();
        assert!(iou(MaskRule::default()) > iou(MaskRule::Otsu) + 0.05);
    }
}

#[test]
fn the_same_twice() {
    let [scene, ..] = scenes();
    let run = || object_region(&scene.attention, Some(&scene.picture), &MaskRule::default()).unwrap();
    assert_eq!(run(), run());
}

#[test]
fn odd_pictures() {
    // One colour: the colours say nothing, the seeds decide; no sure pixel changes side.
    let ramp = AttentionMap { width: 20, height: 10, values: (0..200).map(|i| i as f32 / 199.0).collect() };
    let found = object_region(&ramp, Some(&RgbImage::new(20, 10)), &MaskRule::default()).unwrap();
    assert!(found.pixels()[195..].iter().all(|&p| p) && !found.pixels()[..79].contains(&true));
    // No attention stands out: no object, and no crash on a picture of one pixel.
    let flat = AttentionMap { width: 20, height: 10, values: vec![0.5; 200] };
    assert_eq!(object_region(&flat, Some(&RgbImage::new(20, 10)), &MaskRule::default()).unwrap().count(), 0);
    let one = AttentionMap { width: 1, height: 1, values: vec![1.0] };
    assert_eq!(object_region(&one, Some(&RgbImage::new(1, 1)), &MaskRule::default()).unwrap().count(), 0);
}

#[test]
fn bad_settings_are_named() {
    let ramp = AttentionMap { width: 2, height: 1, values: vec![0.0, 1.0] };
    let cut = |sure, probable, background, iterations| MaskRule::GrabCut { sure, probable, background, iterations };
    let run = |rule| object_region(&ramp, Some(&RgbImage::new(2, 1)), &rule);
    assert_eq!(object_region(&ramp, None, &MaskRule::default()), Err(MaskError::NeedsPicture));
    let error = object_region(&ramp, Some(&RgbImage::new(3, 1)), &MaskRule::default()).unwrap_err().to_string();
    assert_eq!(error, "the picture is 3 x 1, expected 2 x 1; bring both to one size first");
    assert!(run(cut(0.9, 0.95, 0.4, 3)).unwrap_err().to_string().contains("background <= probable <= sure"));
    assert!(run(cut(f64::NAN, 0.5, 0.4, 3)).unwrap_err().to_string().starts_with("sure is NaN"));
    assert_eq!(run(cut(0.9, 0.7, 0.4, 0)).unwrap_err().to_string(), "iterations is 0, expected 1 to 100");
}

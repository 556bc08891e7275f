//! Transforms against torchvision's results in `tests/fixtures/pixels` (made by `transforms.py` there).

use std::path::PathBuf;

use image::Rgb;

use super::*;
use crate::stream;

/// `transform.json`.
#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
    crops: Vec<Crop>,
    /// Width, height, side; width and height afterwards.
    sizes: Vec<[u32; 5]>,
    draws: Vec<Draws>,
}

#[derive(Deserialize)]
struct Case {
    photo: String,
    steps: Vec<Step>,
    file: String,
}

#[derive(Deserialize)]
struct Crop {
    photo: String,
    side: u32,
    /// Top, left, height, width.
    #[serde(rename = "box")]
    at: [u32; 4],
    file: String,
}

#[derive(Deserialize)]
struct Draws {
    size: (u32, u32),
    scale: (f64, f64),
    ratio: (f64, f64),
    boxes: Vec<[u32; 4]>,
}

fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../../tests/fixtures/pixels"].iter().collect()
}

fn fixture() -> Fixture {
    serde_json::from_str(&fs_err::read_to_string(folder().join("transform.json")).unwrap()).unwrap()
}

fn picture(file: &str) -> RgbImage {
    image::open(folder().join(file)).unwrap().into_rgb8()
}

fn photo(name: &str) -> RgbImage {
    picture(&format!("transform-{name}.webp"))
}

fn largest_difference(a: &RgbImage, b: &RgbImage) -> u8 {
    assert_eq!(a.dimensions(), b.dimensions());
    a.as_raw().iter().zip(b.as_raw()).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

fn crop_box([top, left, height, width]: [u32; 4]) -> CropBox {
    CropBox { top, left, height, width }
}

#[test]
fn steps_without_chance_equal_torchvision_within_one() {
    let cases = fixture().cases;
    assert_eq!(cases.len(), 18);
    assert_eq!(cases[0].steps, Transform::waterbirds_eval().steps);
    assert_eq!(cases[1].steps, Transform::celeba_eval().steps);
    for Case { photo: name, steps, file } in cases {
        let transform = Transform { steps };
        transform.check().unwrap();
        let result = transform.apply(&photo(&name), &mut stream(0, "", 0));
        let only_cropped = transform.steps.iter().all(|step| matches!(step, Step::CenterCrop { .. }));
        let difference = largest_difference(&result, &picture(&file));
        assert!(difference <= u8::from(!only_cropped), "{name} {:?}: {difference}", transform.steps);
    }
}

#[test]
fn a_cropped_box_equals_torchvision_within_one() {
    let crops = fixture().crops;
    assert_eq!(crops.len(), 6);
    for Crop { photo: name, side, at, file } in crops {
        let difference = largest_difference(&crop_and_resize(&photo(&name), crop_box(at), side), &picture(&file));
        assert!(difference <= 1, "{name} {at:?}: {difference}");
    }
}

#[test]
fn the_shorter_side_leads_to_torchvisions_size() {
    let sizes = fixture().sizes;
    assert!(sizes.len() > 250, "{}", sizes.len());
    for [width, height, side, to_width, to_height] in sizes {
        assert_eq!(shorter_to((width, height), side), (to_width, to_height), "{width}x{height} to {side}");
    }
    // Not even a line of pixels asks for more memory than the largest picture.
    assert_eq!(shorter_to((1 << 26, 1), 224), ((1 << 26) / 224, 224));
    assert_eq!(shorter_to((1, 1 << 26), 4096), (4096, 1 << 14));
}

/// The largest distance between the empirical distribution functions of two samples (two-sample Kolmogorov-Smirnov).
fn largest_gap(ours: &mut [f64], theirs: &mut [f64]) -> f64 {
    ours.sort_by(f64::total_cmp);
    theirs.sort_by(f64::total_cmp);
    let share = |sample: &[f64], at: f64| sample.partition_point(|value| *value <= at) as f64 / sample.len() as f64;
    theirs.iter().chain(ours.iter()).map(|at| (share(ours, *at) - share(theirs, *at)).abs()).fold(0.0, f64::max)
}

type Measure = fn(&CropBox) -> f64;

#[test]
fn boxes_are_distributed_as_torchvisions() {
    const OURS: usize = 20_000;
    for (case, Draws { size, scale, ratio, boxes }) in fixture().draws.into_iter().enumerate() {
        assert_eq!(boxes.len(), 2000);
        let mut rng = stream(5, "test/boxes", case as u64);
        let ours: Vec<CropBox> = (0..OURS).map(|_| CropBox::draw(size, scale, ratio, &mut rng)).collect();
        let theirs: Vec<CropBox> = boxes.into_iter().map(crop_box).collect();
        let measures: [(&str, Measure); 4] = [
            ("area", |at| f64::from(at.width) * f64::from(at.height)),
            ("ratio", |at| f64::from(at.width) / f64::from(at.height)),
            ("top", |at| f64::from(at.top)),
            ("left", |at| f64::from(at.left)),
        ];
        // The quantile of the statistic that equal distributions pass in one of 1,000 cases.
        let allowed = 1.95 * ((OURS + theirs.len()) as f64 / (OURS * theirs.len()) as f64).sqrt();
        for (name, measure) in measures {
            let values = |boxes: &[CropBox]| boxes.iter().map(measure).collect::<Vec<f64>>();
            let gap = largest_gap(&mut values(&ours), &mut values(&theirs));
            assert!(gap < allowed, "{name} of case {case}: {gap:.4}, expected below {allowed:.4}");
        }
    }
}

#[test]
fn boxes_stay_in_the_picture_and_the_ranges() {
    for (case, Draws { size: (width, height), scale, ratio, .. }) in fixture().draws.into_iter().enumerate() {
        let fallback = CropBox::central((width, height), ratio);
        let mut rng = stream(6, "test/boxes", case as u64);
        for _ in 0..5000 {
            let at = CropBox::draw((width, height), scale, ratio, &mut rng);
            assert!(at.width > 0 && at.left + at.width <= width, "{at:?}");
            assert!(at.height > 0 && at.top + at.height <= height, "{at:?}");
            // Rounding moves each side by half a pixel at most.
            let (w, h) = (f64::from(at.width), f64::from(at.height));
            let area = f64::from(width) * f64::from(height);
            let in_scale = (w + 0.5) * (h + 0.5) >= scale.0 * area && (w - 0.5) * (h - 0.5) <= scale.1 * area;
            let in_ratio = (w + 0.5) / (h - 0.5) >= ratio.0 && (w - 0.5) / (h + 0.5) <= ratio.1;
            assert!((in_scale && in_ratio) || at == fallback, "{at:?}");
        }
    }
}

/// By hand after torchvision's rules: width / height 10 and 1/10, limits 3/4 and 4/3.
#[test]
fn a_box_that_never_fits_is_the_central_one() {
    let ratio = (3.0 / 4.0, 4.0 / 3.0);
    let draw = |size| CropBox::draw(size, (1.0, 1.0), ratio, &mut stream(1, "", 0));
    assert_eq!(draw((1000, 100)), CropBox { top: 0, left: 433, height: 100, width: 133 });
    assert_eq!(draw((100, 1000)), CropBox { top: 433, left: 0, height: 133, width: 100 });
    // 1 / 3 of a pixel would be none.
    assert_eq!(CropBox::central((1, 9), (3.0, 4.0)), CropBox { top: 4, left: 0, height: 1, width: 1 });
}

#[test]
fn a_small_picture_lies_in_a_black_margin() {
    let white = RgbImage::from_pixel(3, 9, Rgb([255; 3]));
    let padded = Transform { steps: vec![Step::CenterCrop { side: 6 }] }.apply(&white, &mut stream(0, "", 0));
    for (x, y, pixel) in padded.enumerate_pixels() {
        // Three columns are missing: one on the left, two on the right.
        assert_eq!(pixel.0, [if (1..4).contains(&x) { 255 } else { 0 }; 3], "{x}, {y}");
    }
    let one = RgbImage::from_pixel(1, 1, Rgb([7, 8, 9]));
    for transform in [Transform::waterbirds_eval(), Transform::waterbirds_train(), Transform::square(224)] {
        let result = transform.apply(&one, &mut stream(0, "", 0));
        assert_eq!(result, RgbImage::from_pixel(224, 224, Rgb([7, 8, 9])));
    }
    let celeba = Transform::celeba_eval().apply(&one, &mut stream(0, "", 0));
    assert_eq!((celeba.dimensions(), *celeba.get_pixel(0, 0)), ((224, 224), Rgb([0; 3])));
}

#[test]
fn a_flip_happens_as_often_as_asked() {
    let picture = RgbImage::from_fn(3, 2, |x, y| Rgb([x as u8, y as u8, 0]));
    let flipped = |probability, item| {
        let flip = Transform { steps: vec![Step::HorizontalFlip { probability }] };
        let result = flip.apply(&picture, &mut stream(2, "test/flip", item));
        assert!(result == picture || result == imageops::flip_horizontal(&picture));
        result != picture
    };
    let share = |probability| (0..4000).filter(|item| flipped(probability, *item)).count();
    assert_eq!((share(0.0), share(1.0)), (0, 4000));
    // Within four standard deviations.
    assert!(share(0.5).abs_diff(2000) < 127 && share(0.1).abs_diff(400) < 76);
}

#[test]
fn equal_streams_give_equal_pictures_and_steps_without_chance_draw_nothing() {
    let photo = photo("wide");
    let train = Transform::waterbirds_train();
    let result = |item| train.apply(&photo, &mut stream(3, "test", item));
    assert_eq!(result(4), result(4));
    assert_ne!(result(4), result(5));

    let mut rng = stream(3, "test", 0);
    Transform::waterbirds_eval().apply(&photo, &mut rng);
    assert_eq!(rng.random::<u64>(), stream(3, "test", 0).random::<u64>());
    assert_eq!(Transform { steps: Vec::new() }.apply(&photo, &mut rng), photo);
}

#[test]
fn presets_are_possible_and_know_whether_they_are_random() {
    let presets = [
        (Transform::waterbirds_eval(), false),
        (Transform::waterbirds_train(), true),
        (Transform::celeba_eval(), false),
        (Transform::celeba_train(), true),
        (Transform::square(128), false),
    ];
    for (preset, random) in presets {
        preset.check().unwrap();
        assert_eq!(preset.is_random(), random, "{preset:?}");
        let text = serde_json::to_string(&preset).unwrap();
        assert_eq!(serde_json::from_str::<Transform>(&text).unwrap(), preset);
    }
    let flip = |probability| Transform { steps: vec![Step::HorizontalFlip { probability }] }.is_random();
    assert_eq!([flip(0.0), flip(0.5), flip(1.0)], [false, true, false]);
}

#[test]
fn impossible_settings_are_listed_with_their_ranges() {
    let steps = vec![
        Step::Resize { width: 0, height: 4097 },
        Step::ResizeShorter { side: 0 },
        Step::CenterCrop { side: 224 },
        Step::RandomResizedCrop { side: 0, scale: (0.0, 1.0), ratio: (2.0, 1.0) },
        Step::RandomResizedCrop { side: 9, scale: (f64::NAN, 1.0), ratio: (1.0, f64::INFINITY) },
        Step::HorizontalFlip { probability: -0.1 },
    ];
    let text = Transform { steps }.check().unwrap_err().to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "the pictures cannot be transformed with these settings:",
            "  step 1 (resize): width is 0, expected 1..=4096 pixels",
            "  step 1 (resize): height is 4097, expected 1..=4096 pixels",
            "  step 2 (resize-shorter): side is 0, expected 1..=4096 pixels",
            "  step 4 (random-resized-crop): side is 0, expected 1..=4096 pixels",
            "  step 4 (random-resized-crop): scale is (0.0, 1.0), expected smallest <= largest, above 0 and at most 1",
            "  step 4 (random-resized-crop): ratio is (2.0, 1.0), expected smallest <= largest, in 0.01..=100",
            "  step 5 (random-resized-crop): scale is (NaN, 1.0), expected smallest <= largest, above 0 and at most 1",
            "  step 5 (random-resized-crop): ratio is (1.0, inf), expected smallest <= largest, in 0.01..=100",
            "  step 6 (horizontal-flip): probability is -0.1, expected 0..=1",
        ]
    );
}

#[test]
fn unknown_settings_are_refused_by_name() {
    let refused = |text: &str, expected: &str| {
        let message = toml::from_str::<Transform>(text).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    };
    refused("steps = [{ center-crop = { side = 3, size = 3 } }]", "size");
    refused("steps = [{ center-crop = { size = 3 } }]", "size");
    refused("steps = [{ centre-crop = { side = 3 } }]", "unknown variant `centre-crop`");
    refused("steps = []\nflip = true", "unknown field `flip`");
    refused("steps = [{ resize = { width = -1, height = 2 } }]", "-1");
}

//! What holds for every map, mask and random mask.
#![expect(clippy::unwrap_used, reason = "a failed test panics")]

use image::{Rgb, RgbImage};
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use scgs_cam::{AttentionMap, Mask, MaskError, MaskRule, object_region, random_blob, random_box};

fn map(width: usize, values: Vec<f32>) -> AttentionMap {
    AttentionMap { width, height: values.len() / width, values }
}

fn any_map() -> impl Strategy<Value = AttentionMap> {
    (1usize..20, 1usize..20).prop_flat_map(|(width, height)| {
        // Coarse values make ties common.
        let value = prop_oneof![0.0f32..=1.0, (0u8..=4).prop_map(|v| f32::from(v) / 4.0)];
        proptest::collection::vec(value, width * height).prop_map(move |values| map(width, values))
    })
}

fn any_mask() -> impl Strategy<Value = Mask> {
    (1usize..24, 1usize..24).prop_flat_map(|(width, height)| {
        proptest::collection::vec(any::<bool>(), width * height)
            .prop_map(move |pixels| Mask::new(width, height, pixels).unwrap())
    })
}

fn within(inner: &Mask, outer: &Mask) -> bool {
    inner.pixels().iter().zip(outer.pixels()).all(|(&i, &o)| !i || o)
}

proptest! {
    // A case that fails becomes a test by hand, not a file.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_quantile_has_its_share_to_the_pixel_and_grows_with_it(map in any_map(), a in 0.0..=1.0, b in 0.0..=1.0) {
        let region = |share| object_region(&map, None, &MaskRule::Quantile { share }).unwrap();
        let (small, large) = (region(f64::min(a, b)), region(f64::max(a, b)));
        prop_assert_eq!(small.count(), (f64::min(a, b) * map.values.len() as f64).round() as usize);
        prop_assert!(within(&small, &large));
        let lowest_in = map.values.iter().zip(small.pixels()).filter(|p| *p.1).map(|p| *p.0).fold(1.0, f32::min);
        let highest_out = map.values.iter().zip(small.pixels()).filter(|p| !*p.1).map(|p| *p.0).fold(0.0, f32::max);
        prop_assert!(small.count() == 0 || lowest_in >= highest_out || small.count() == map.values.len());
    }

    #[test]
    fn thresholds_take_the_upper_values(map in any_map(), threshold in 0.0..=1.0, k in -3.0..3.0) {
        let rules = [MaskRule::Absolute { threshold }, MaskRule::MeanSd { k }, MaskRule::Otsu, MaskRule::Knee];
        for rule in rules {
            let region = object_region(&map, None, &rule).unwrap();
            let lowest_in = map.values.iter().zip(region.pixels()).filter(|p| *p.1).map(|p| *p.0).fold(1.0, f32::min);
            let highest_out = map.values.iter().zip(region.pixels()).filter(|p| !*p.1).map(|p| *p.0).fold(0.0, f32::max);
            // Otsu sees 256 levels.
            prop_assert!(lowest_in >= highest_out - 1.0 / 255.0, "{rule:?}: {lowest_in} {highest_out}");
        }
    }

    #[test]
    fn grab_cut_keeps_what_is_sure(map in any_map(), colours in proptest::collection::vec(any::<[u8; 3]>(), 400)) {
        let mut colours = colours.into_iter();
        let picture = RgbImage::from_fn(map.width as u32, map.height as u32, |_, _| Rgb(colours.next().unwrap_or_default()));
        let region = object_region(&map, Some(&picture), &MaskRule::default()).unwrap();
        let mut sorted = map.values.clone();
        sorted.sort_by(f32::total_cmp);
        let low = sorted[((sorted.len() - 1) as f64 * 0.4) as usize];
        for (&value, &object) in map.values.iter().zip(region.pixels()) {
            prop_assert!(!(object && value < low), "{value} is surely background");
        }
    }

    #[test]
    fn masks_obey_their_algebra(mask in any_mask(), radius in 0u8..5) {
        prop_assert_eq!(&mask.invert().invert(), &mask);
        prop_assert!((mask.area() + mask.invert().area() - 1.0).abs() < 1e-12);
        let largest = mask.largest_component();
        prop_assert_eq!(&largest.largest_component(), &largest);
        prop_assert!(within(&largest, &mask));
        prop_assert_eq!(largest.count() == 0, mask.count() == 0);
        let grown = mask.dilate(radius);
        prop_assert!(within(&mask, &grown) && within(&grown, &mask.dilate(radius + 1)));
        prop_assert_eq!(mask.iou(&grown), grown.iou(&mask));
        prop_assert_eq!(mask.iou(&mask), Ok(1.0));
        let soft = mask.feather(f32::from(radius)).unwrap();
        prop_assert!(soft.iter().all(|v| (0.0..=1.0).contains(v)));
        prop_assert_eq!(Mask::from_gray(&mask.to_gray()), Ok(mask));
    }

    #[test]
    fn random_masks_have_the_area_asked_for_and_hang_together(
        width in 1usize..70, height in 1usize..70, area in 0.0f64..=1.0, seed in any::<u64>(),
    ) {
        let expected = (area * (width * height) as f64).round() as usize;
        for shape in [random_box, random_blob] {
            let mask = shape(width, height, area, &mut ChaCha8Rng::seed_from_u64(seed)).unwrap();
            prop_assert_eq!(mask.count(), expected);
            prop_assert_eq!(&mask.largest_component(), &mask);
            prop_assert_eq!(shape(width, height, area, &mut ChaCha8Rng::seed_from_u64(seed)).unwrap(), mask);
        }
    }

    #[test]
    fn controls_match_a_mask(mask in any_mask(), seed in any::<u64>()) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for shape in [random_box, random_blob] {
            prop_assert_eq!(shape(mask.width(), mask.height(), mask.area(), &mut rng).unwrap().count(), mask.count());
        }
    }
}

#[test]
fn rules_by_hand() {
    let values = vec![0.0, 0.0, 0.1, 0.2, 0.1, 0.9, 1.0, 0.8];
    let region = |rule| object_region(&map(8, values.clone()), None, &rule).unwrap().pixels().to_vec();
    let last_three = [false, false, false, false, false, true, true, true];
    assert_eq!(region(MaskRule::Otsu), last_three);
    assert_eq!(region(MaskRule::Quantile { share: 0.375 }), last_three);
    assert_eq!(region(MaskRule::Absolute { threshold: 0.5 }), last_three);
    // The positive values have mean .517 and standard deviation .389: mean + sd = .906.
    assert_eq!(region(MaskRule::MeanSd { k: 1.0 }), [false, false, false, false, false, false, true, false]);
    // In descending order 1, .9, .8, .2: the fourth lies farthest below the line.
    assert_eq!(region(MaskRule::Knee), last_three);
}

#[test]
fn rules_read_and_write_as_settings() {
    let read = |text: &str| serde_json::from_str::<MaskRule>(text);
    assert_eq!(read(r#"{"rule":"grab-cut"}"#).unwrap(), MaskRule::default());
    assert_eq!(read(r#"{"rule":"quantile","share":0.2}"#).unwrap(), MaskRule::Quantile { share: 0.2 });
    assert!(read(r#"{"rule":"quantile","share":0.2,"k":1}"#).unwrap_err().to_string().contains("unknown field"));
    for rule in [MaskRule::Otsu, MaskRule::Knee, MaskRule::MeanSd { k: 2.0 }, MaskRule::default()] {
        assert_eq!(read(&serde_json::to_string(&rule).unwrap()).unwrap(), rule);
    }
}

#[test]
fn bad_maps_and_settings_are_named() {
    let region = |map: &AttentionMap, rule| object_region(map, None, &rule).unwrap_err().to_string();
    let nan = map(2, vec![0.0, 0.5, 1.0, f32::NAN]);
    assert!(region(&nan, MaskRule::Otsu).starts_with("the attention map holds NaN or infinity at pixel (1, 1)"));
    let short = AttentionMap { width: 3, height: 2, values: vec![0.0; 5] };
    assert_eq!(region(&short, MaskRule::Otsu), "a 3 x 2 mask or map needs 6 value(s) and at least one pixel, got 5");
    let fine = map(2, vec![0.0, 1.0]);
    assert_eq!(region(&fine, MaskRule::Quantile { share: 1.5 }), "share is 1.5, expected 0 to 1");
    assert_eq!(region(&fine, MaskRule::MeanSd { k: f64::NAN }), "k is NaN, expected a finite number, such as 2");
    let area = random_box(4, 4, -0.1, &mut ChaCha8Rng::seed_from_u64(0));
    assert_eq!(area, Err(MaskError::Setting { name: "area", value: -0.1, expected: "0 to 1" }));
    assert!(random_blob(0, 4, 0.5, &mut ChaCha8Rng::seed_from_u64(0)).is_err());
}

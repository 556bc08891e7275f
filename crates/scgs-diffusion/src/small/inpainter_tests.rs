//! What the small model keeps, refuses and repeats; how well it paints is measured by `scgs inpaint-quality`.

use image::Luma;
use scgs_data::stream;

use super::{super::parameters, *};

fn model(options: SmallOptions) -> SmallDiffusion {
    let config = UnetConfig { channels: [8, 16, 64], embedding: 16, classes: 2 };
    let device = Device::flex();
    let network = config.init(&device);
    // Everything is drawn, also what a fresh network has at zero: this one must paint something.
    let count = parameters::shapes(&network).iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
    let weights: Vec<f32> = normal(&mut stream(3, "test", 0), count).iter().map(|v| 0.1 * v).collect();
    SmallDiffusion::new(parameters::with_values(network, &weights, false), config, options, &device).unwrap()
}

fn picture(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([(x * 5) as u8, (y * 3) as u8, ((x + y) * 2) as u8]))
}

fn disc(width: u32, height: u32, centre: (u32, u32), radius: u32) -> GrayImage {
    GrayImage::from_fn(width, height, |x, y| {
        let distance = x.abs_diff(centre.0).pow(2) + y.abs_diff(centre.1).pow(2);
        Luma([if distance <= radius * radius { 255 } else { 0 }])
    })
}

#[test]
fn pixels_outside_the_mask_are_kept_and_inside_are_painted() {
    let model = model(SmallOptions { steps: 3, ..SmallOptions::default() });
    for (width, height, centre, radius) in [
        (128, 128, (60, 70), 30),
        (64, 64, (2, 60), 5),
        (200, 90, (150, 40), 60),
        (40, 33, (20, 16), 9),
        (3, 2, (1, 1), 0),
    ] {
        let (picture, mask) = (picture(width, height), disc(width, height, centre, radius));
        let request = Request { picture: &picture, mask: &mask, prompt: "", class: 1 };
        let painted = model.inpaint(&request, &mut stream(0, "paint", 0)).unwrap();
        assert_eq!(painted.dimensions(), picture.dimensions());
        let mut changed = 0;
        for ((old, new), mask) in picture.pixels().zip(painted.pixels()).zip(mask.pixels()) {
            if mask[0] == 0 {
                assert_eq!(old, new);
            } else {
                changed += usize::from(old != new);
            }
        }
        let inside = mask.pixels().filter(|p| p[0] == 255).count();
        assert!(changed * 10 >= inside * 6, "{width}x{height}: {changed} of {inside} pixels changed");
    }
}

#[test]
fn the_picture_under_the_mask_is_not_looked_at() {
    let model = model(SmallOptions { steps: 2, feather: 0.0, objects: false, ..SmallOptions::default() });
    let mask = disc(100, 100, (50, 50), 20);
    let first = picture(100, 100);
    let mut second = first.clone();
    for (x, y, p) in mask.enumerate_pixels() {
        if p[0] == 255 {
            second.put_pixel(x, y, Rgb([255, 0, 255]));
        }
    }
    let paint = |picture| {
        model.inpaint(&Request { picture, mask: &mask, prompt: "", class: 0 }, &mut stream(0, "paint", 1)).unwrap()
    };
    assert_eq!(paint(&first), paint(&second));
}

#[test]
fn stream_class_and_guidance_decide_the_picture_and_threads_do_not() {
    let (picture, mask) = (picture(64, 64), disc(64, 64, (32, 32), 16));
    let paint = |guidance: f32, class: Option<usize>, item: u64| {
        let options = SmallOptions { steps: 2, guidance, objects: class.is_some(), ..SmallOptions::default() };
        let model = model(options);
        let request = Request { picture: &picture, mask: &mask, prompt: "", class: class.unwrap_or(0) };
        model.inpaint(&request, &mut stream(0, "paint", item)).unwrap()
    };
    let first = paint(2.0, Some(0), 0);
    let threads = |count| rayon::ThreadPoolBuilder::new().num_threads(count).build().unwrap();
    for count in [1, 3] {
        assert_eq!(first, threads(count).install(|| paint(2.0, Some(0), 0)), "{count} threads");
    }
    for other in [paint(2.0, Some(0), 1), paint(2.0, Some(1), 0), paint(1.0, Some(0), 0), paint(2.0, None, 0)] {
        assert_ne!(first, other);
    }
    assert_eq!(paint(1.0, None, 5), paint(3.0, None, 5), "there is nothing to push the background away from");
}

#[test]
fn a_picture_does_not_depend_on_what_it_is_painted_with() {
    let pictures: Vec<(RgbImage, GrayImage)> =
        (0..11).map(|i| (picture(70 + i, 80), disc(70 + i, 80, (30, 40), 8 + i))).collect();
    let empty = GrayImage::new(70, 80);
    for guidance in [1.0, 2.0] {
        let model = model(SmallOptions { steps: 2, guidance, ..SmallOptions::default() });
        let request = |i: usize| Request {
            picture: &pictures[i].0,
            mask: if i == 3 { &empty } else { &pictures[i].1 },
            prompt: "",
            class: i % 2,
        };
        let alone: Vec<_> = (0..pictures.len())
            .map(|i| {
                let mut rng = stream(0, "paint", i as u64);
                (model.inpaint(&request(i), &mut rng), rng)
            })
            .collect();
        let mut work: Vec<_> = (0..pictures.len()).map(|i| (request(i), stream(0, "paint", i as u64))).collect();
        let together = model.inpaint_all(&mut work);
        for (i, (painted, (_, rng))) in together.into_iter().zip(work).enumerate() {
            if painted.is_ok() {
                let mut passed = stream(0, "paint", i as u64);
                assert!(model.pass_over(&mut passed) && passed == rng, "picture {i}");
            }
            assert_eq!((painted, rng), alone[i], "picture {i}, guidance {guidance}");
        }
        assert!(alone[3].0.is_err() && alone[4].0.is_ok());
    }
}

#[test]
fn what_is_impossible_is_refused() {
    let config = UnetConfig::default();
    let device = Device::flex();
    for options in [
        SmallOptions { steps: 0, ..SmallOptions::default() },
        SmallOptions { guidance: f32::NAN, ..SmallOptions::default() },
        SmallOptions { feather: -1.0, ..SmallOptions::default() },
    ] {
        assert!(SmallDiffusion::new(config.init(&device), config.clone(), options, &device).is_err());
    }
    let (picture, mask) = (picture(64, 64), disc(64, 64, (32, 32), 16));
    let request = Request { picture: &picture, mask: &mask, prompt: "", class: 2 };
    let refused = model(SmallOptions::default()).inpaint(&request, &mut stream(0, "paint", 0));
    assert_eq!(refused, Err(InpaintError::UnknownClass { class: 2, known: 2 }));
}

#[test]
fn the_window_holds_the_mask_and_stays_in_the_picture() {
    assert_eq!(window(&disc(128, 128, (64, 64), 40)), (7, 7, 114, 114));
    assert_eq!(window(&disc(128, 128, (3, 120), 4)), (0, 64, 64, 64));
    assert_eq!(window(&disc(300, 50, (150, 25), 60)), (65, 0, 170, 50));
}

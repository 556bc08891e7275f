//! Reading and resizing against Pillow's results in `tests/fixtures/pixels` (made by `generate.py` there).

use image::ImageFormat;

use super::*;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/pixels").join(name)
}

/// What Pillow made, decoded without the code under test.
fn pillow(name: &str) -> RgbImage {
    image::open(fixture(name)).unwrap().into_rgb8()
}

fn largest_difference(a: &RgbImage, b: &RgbImage) -> u8 {
    assert_eq!(a.dimensions(), b.dimensions());
    a.as_raw().iter().zip(b.as_raw()).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

#[test]
fn resizing_equals_pillow_within_one() {
    let source = pillow("resize-source.png");
    for (width, height) in [(122, 90), (97, 131), (31, 23), (7, 5), (224, 11), (5, 224), (60, 45), (1, 1)] {
        let resized = resize_bilinear(&source, width, height);
        let difference = largest_difference(&resized, &pillow(&format!("resize-{width}x{height}.png")));
        assert!(difference <= 1, "{width}x{height}: {difference}");
    }
    assert_eq!(resize_bilinear(&source, 61, 45), source);
}

#[test]
fn lossless_pictures_read_as_pillow_reads_them() {
    let names = ["rgb.png", "rgba.png", "palette.png", "palette-opaque.png", "grey.png", "grey-alpha.png", "bits.png"];
    let more = ["lossless.webp", "alpha.webp", "rgb16.png", "grey16.png"];
    let turned = (2..=8).map(|value| format!("orientation-{value}.png"));
    for name in names.into_iter().chain(more).map(str::to_owned).chain(turned) {
        let read = read_rgb(fixture(&format!("read-{name}"))).unwrap();
        assert_eq!(largest_difference(&read, &pillow(&format!("read-{name}.rgb.png"))), 0, "{name}");
    }
}

/// JPEG leaves rounding of the transform and the filter for half-size colour open.
#[test]
fn jpegs_read_as_pillow_reads_them_within_rounding() {
    for (name, allowed) in
        [("444.jpg", 2), ("grey.jpg", 1), ("orientation-6.jpg", 2), ("420.jpg", 4), ("progressive.jpg", 4)]
    {
        let read = read_rgb(fixture(&format!("read-{name}"))).unwrap();
        let difference = largest_difference(&read, &pillow(&format!("read-{name}.rgb.png")));
        assert!(difference <= allowed, "{name}: {difference}");
    }
}

fn refused(name: &str, bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs_err::write(&path, bytes).unwrap();
    let text = read_rgb(&path).unwrap_err().to_string();
    text.strip_prefix(&format!("{}: ", path.display())).expect("the path comes first").to_owned()
}

#[test]
fn files_that_are_no_pictures_are_refused() {
    assert_eq!(refused("a.png", b""), "the file is empty; fetch or unpack it again");
    assert!(refused("a.jpg", b"<html>404</html>").starts_with("not a JPEG, PNG or WebP picture"));
    assert!(refused("a.gif", b"GIF89a\x01\x00\x01\x00").starts_with("not a JPEG, PNG or WebP picture"));
    let missing = read_rgb("/nowhere/a.png").unwrap_err();
    assert!(matches!(missing.problem, PictureProblem::Io(_)));
    assert!(missing.to_string().starts_with("/nowhere/a.png: cannot be read: "), "{missing}");
}

#[test]
fn every_truncation_is_noticed() {
    for name in
        ["read-rgba.png", "read-lossless.webp", "read-420.jpg", "read-progressive.jpg", "read-orientation-6.jpg"]
    {
        let bytes = fs_err::read(fixture(name)).unwrap();
        for percent in [30, 50, 70, 90] {
            let text = refused(name, &bytes[..bytes.len() * percent / 100]);
            assert!(
                text.starts_with("the file is truncated") || text.starts_with("cannot be decoded"),
                "{name}: {text}"
            );
        }
    }
    let bytes = fs_err::read(fixture("read-420.jpg")).unwrap();
    assert!(refused("a.jpg", &bytes[..bytes.len() / 2 + 200]).starts_with("the file is truncated"));
}

#[test]
fn a_huge_picture_is_refused_from_its_header() {
    let mut bytes = fs_err::read(fixture("read-rgb.png")).unwrap();
    bytes[16..20].copy_from_slice(&20_000u32.to_be_bytes());
    bytes[20..24].copy_from_slice(&20_000u32.to_be_bytes());
    let checksum = {
        let mut crc = u32::MAX;
        for byte in &bytes[12..29] {
            crc ^= u32::from(*byte);
            (0..8).for_each(|_| crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 });
        }
        !crc
    };
    bytes[29..33].copy_from_slice(&checksum.to_be_bytes());
    assert_eq!(refused("a.png", &bytes), "20000 x 20000 pixels are more than the limit of 64 million; scale it down");
}

#[test]
fn normalised_values_have_their_place() {
    let picture = RgbImage::from_fn(3, 2, |x, y| Rgb([(x * 100) as u8, (y * 255) as u8, 127]));
    let mut out = vec![f32::NAN; 18];
    to_chw(&picture, &Normalisation::LITE0, &mut out);
    assert_eq!(out[..6], [-127.0 / 128.0, -27.0 / 128.0, 73.0 / 128.0, -127.0 / 128.0, -27.0 / 128.0, 73.0 / 128.0]);
    assert_eq!(out[6..12], [-127.0 / 128.0, -127.0 / 128.0, -127.0 / 128.0, 1.0, 1.0, 1.0]);
    assert_eq!(out[12..], [0.0; 6]);
    // torchvision: Normalize(mean, std)(ToTensor(0 and 255)) in the first channel.
    to_chw(&RgbImage::from_pixel(3, 2, Rgb([255, 0, 0])), &Normalisation::IMAGENET, &mut out);
    assert!((out[0] - 2.248_908_3).abs() < 1e-5 && (out[17] + 1.804_444_4).abs() < 1e-5, "{out:?}");
}

#[test]
fn a_batch_keeps_order_on_any_number_of_threads() {
    let paths: Vec<PathBuf> = (2..=8).map(|value| fixture(&format!("read-orientation-{value}.png"))).collect();
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| load_batch(&paths, 20, &Normalisation::LITE0).unwrap())
    };
    let batch = on(1);
    assert_eq!(batch, on(3));
    let mut third = vec![0.0; 1200];
    to_chw(&resize_bilinear(&read_rgb(&paths[2]).unwrap(), 20, 20), &Normalisation::LITE0, &mut third);
    assert_eq!(batch[2400..3600], third);
    assert!(load_batch(&[], 20, &Normalisation::LITE0).unwrap().is_empty());
}

#[test]
fn a_batch_names_every_bad_picture_in_order() {
    let paths = [fixture("none-1.png"), fixture("read-rgb.png"), fixture("generate.py")];
    let errors = load_batch(&paths, 20, &Normalisation::LITE0).unwrap_err();
    assert_eq!(errors.iter().map(|error| error.path.clone()).collect::<Vec<_>>(), [paths[0].clone(), paths[2].clone()]);
    assert!(matches!(errors[1].problem, PictureProblem::Format));
    assert_eq!(ImageFormat::from_path(&paths[1]).unwrap(), ImageFormat::Png);
}

//! Reading and resizing against Pillow's results in `tests/fixtures/pixels` (made by `generate.py` there).

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use image::ImageFormat;

use super::*;

/// The system's allocator that keeps the largest request of each thread.
struct Watched;

thread_local! {
    static LARGEST_REQUEST: Cell<usize> = const { Cell::new(0) };
}

#[global_allocator]
static WATCHED: Watched = Watched;

impl Watched {
    fn note(size: usize) {
        // A thread that ends may free and allocate after its locals are gone.
        let _ = LARGEST_REQUEST.try_with(|largest| largest.set(largest.get().max(size)));
    }
}

// SAFETY: every call is handed to the system's allocator unchanged; noting a number in a constant-initialised thread local
// without a destructor does not allocate.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::note(layout.size());
        // SAFETY: the caller keeps the contract of this method, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::note(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::note(size);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

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
    let names = [("444.jpg", 2), ("grey.jpg", 1), ("orientation-6.jpg", 2), ("420.jpg", 4), ("progressive.jpg", 4)];
    for (name, allowed) in names {
        let read = read_rgb(fixture(&format!("read-{name}"))).unwrap();
        let difference = largest_difference(&read, &pillow(&format!("read-{name}.rgb.png")));
        assert!(difference <= allowed, "{name}: {difference}");
    }
}

/// Ink, as print shops leave it: with Adobe's marker and without, CMYK and YCCK; and colours that are not YCbCr.
#[test]
fn ink_and_plain_rgb_jpegs_read_as_pillow_reads_them_within_two() {
    for name in ["cmyk", "cmyk-plain", "cmyk-progressive", "ycck", "ycck-progressive", "adobe-rgb"] {
        let read = read_rgb(fixture(&format!("read-{name}.jpg"))).unwrap();
        let difference = largest_difference(&read, &pillow(&format!("read-{name}.jpg.rgb.png")));
        assert!(difference <= 2, "{name}: {difference}");
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

/// A file that is whole but for the size in its header.
fn claiming(name: &str, width: u16, height: u16) -> Vec<u8> {
    let mut bytes = fs_err::read(fixture(name)).unwrap();
    let (width24, height24) = (u32::from(width), u32::from(height));
    if name.ends_with(".png") {
        bytes[16..20].copy_from_slice(&width24.to_be_bytes());
        bytes[20..24].copy_from_slice(&height24.to_be_bytes());
        let mut crc = u32::MAX;
        for byte in &bytes[12..29] {
            crc ^= u32::from(*byte);
            (0..8).for_each(|_| crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 });
        }
        bytes[29..33].copy_from_slice(&(!crc).to_be_bytes());
    } else if name.ends_with(".jpg") {
        // Start of frame: marker, length, precision, height, width.
        let frame = bytes.windows(2).position(|marker| marker == [0xff, 0xc0] || marker == [0xff, 0xc2]).unwrap();
        bytes[frame + 5..frame + 7].copy_from_slice(&height.to_be_bytes());
        bytes[frame + 7..frame + 9].copy_from_slice(&width.to_be_bytes());
    } else {
        // RIFF, length, WEBP, `VP8L`, length, signature; 14 bits each for width - 1 and height - 1.
        assert_eq!(&bytes[12..16], b"VP8L");
        let alpha = u32::from_le_bytes(bytes[21..25].try_into().unwrap()) & 0xf000_0000;
        let size = (width24 - 1) & 0x3fff | ((height24 - 1) & 0x3fff) << 14;
        bytes[21..25].copy_from_slice(&(size | alpha).to_le_bytes());
        if width > 16384 {
            // Such a size needs the extended header: a canvas with 24 bits each for width - 1 and height - 1.
            let side = |value: u32| (value - 1).to_le_bytes();
            let (w, h) = (side(width24), side(height24));
            let canvas = [b'V', b'P', b'8', b'X', 10, 0, 0, 0, 0, 0, 0, 0, w[0], w[1], w[2], h[0], h[1], h[2]];
            bytes.splice(12..12, canvas);
            let length = (bytes.len() as u32 - 8).to_le_bytes();
            bytes[4..8].copy_from_slice(&length);
        }
    }
    bytes
}

#[test]
fn a_huge_picture_is_refused_from_its_header() {
    let names = ["read-rgb.png", "read-rgb16.png", "read-420.jpg", "read-progressive.jpg", "read-cmyk.jpg"];
    for (name, side) in names.map(|name| (name, 20_000)).into_iter().chain([
        ("read-lossless.webp", 20_000),
        ("read-lossless.webp", 16_383),
        ("read-420.jpg", u16::MAX),
    ]) {
        let bytes = claiming(name, side, side);
        assert!(bytes.len() < 2000);
        LARGEST_REQUEST.set(0);
        let message = refused("a.png", &bytes);
        let expected = format!("{side} x {side} pixels are more than the limit of 64 million; scale it down");
        assert_eq!(message, expected, "{name}");
        // The pixels would be at least 805 million bytes.
        assert!(LARGEST_REQUEST.get() < 1 << 20, "{name}: {} bytes", LARGEST_REQUEST.get());
    }
    LARGEST_REQUEST.set(0);
    assert_eq!(vec![0u8; 5 << 20].len(), LARGEST_REQUEST.get(), "requests are seen");
}

#[test]
fn a_picture_without_pixels_is_refused() {
    for name in ["read-rgb.png", "read-420.jpg", "read-progressive.jpg"] {
        for (width, height) in [(0, 17), (24, 0), (0, 0)] {
            let message = refused("a.png", &claiming(name, width, height));
            assert!(message.starts_with("cannot be decoded"), "{name}: {message}");
        }
    }
    // The WebP decoder keeps 14 bits of a width of 16,384, which is none.
    let message = refused("a.webp", &claiming("read-lossless.webp", 16_384, 17));
    assert!(message.starts_with("0 x 17 pixels: its header is damaged or beyond what can be read"), "{message}");
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

//! Pictures as pixels: decoding, resizing and normalising as Pillow and torchvision do it.

use std::{
    cell::RefCell,
    fmt,
    io::Cursor,
    path::{Path, PathBuf},
};

use fast_image_resize as fir;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Rgb, RgbImage, metadata::Orientation};

use crate::Prepare;

/// The largest picture that is decoded, in pixels; larger ones are mistakes or attacks here.
pub const MAX_PIXELS: u64 = 64 << 20;

/// A picture that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct PictureError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: PictureProblem,
}

/// What is wrong with a picture.
#[derive(Debug, thiserror::Error)]
pub enum PictureProblem {
    /// Occurs when the file cannot be opened or read.
    #[error("cannot be read: {0}")]
    Io(std::io::Error),
    /// Occurs for a file of 0 bytes.
    #[error("the file is empty; fetch or unpack it again")]
    Empty,
    /// Occurs when the content is no JPEG, PNG or WebP, whatever the file's name says.
    #[error("not a JPEG, PNG or WebP picture; convert it to one of these")]
    Format,
    /// Occurs above [`MAX_PIXELS`].
    #[error("{width} x {height} pixels are more than the limit of {} million; scale it down", MAX_PIXELS >> 20)]
    TooLarge {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// Occurs when the header says that there is no pixel.
    #[error(
        "{width} x {height} pixels: its header is damaged or beyond what can be read; fetch it again or convert it"
    )]
    NoPixels {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// Occurs when the file ends before the picture does.
    #[error("the file is truncated; fetch or unpack it again")]
    Truncated,
    /// Occurs when the content is damaged or uses a rare variant of its format.
    #[error("cannot be decoded ({0}); fetch it again or convert it")]
    Decode(String),
}

/// Reads a JPEG, PNG or WebP picture (known by content, not by name) as 8-bit RGB, upright.
///
/// Follows Pillow's `convert("RGB")`: alpha is dropped (not blended with a colour), grey is repeated, palettes are looked
/// up. 16-bit values keep their high byte, as Pillow reads 16-bit RGB (16-bit grey, which Pillow clips, is treated the
/// same). CMYK and YCCK JPEGs are taken as inverted ink, whether Adobe's marker says so or not, and become
/// `(255 - ink) * (255 - black) / 255`. The EXIF orientation is applied, as Pillow's `ImageOps.exif_transpose` does.
///
/// # Errors
/// A [`PictureError`] with the path: unreadable, empty, of another format, without pixels, above [`MAX_PIXELS`] (known
/// from the header, before memory is asked for), truncated or damaged.
pub fn read_rgb(path: impl AsRef<Path>) -> Result<RgbImage, PictureError> {
    let path = path.as_ref();
    let (picture, orientation) =
        read_as_stored(path).map_err(|problem| PictureError { path: path.to_owned(), problem })?;
    // Turning takes a copy, which of 8 bits is the smaller one.
    let mut picture = DynamicImage::ImageRgb8(to_rgb8(picture));
    picture.apply_orientation(orientation);
    Ok(picture.into_rgb8())
}

/// The decoded, upright picture in its own colour type.
pub(crate) fn read_dynamic(path: &Path) -> Result<DynamicImage, PictureProblem> {
    let (mut picture, orientation) = read_as_stored(path)?;
    picture.apply_orientation(orientation);
    Ok(picture)
}

/// The decoded picture, and how it has to be turned.
fn read_as_stored(path: &Path) -> Result<(DynamicImage, Orientation), PictureProblem> {
    // `fs_err` would repeat the path that `PictureError` shows.
    #[expect(clippy::disallowed_methods, reason = "the error names the path already")]
    let bytes = std::fs::read(path).map_err(PictureProblem::Io)?;
    if bytes.is_empty() {
        return Err(PictureProblem::Empty);
    }
    // A decoder that panics on damaged data has read a bad picture, which must not end a run of days: it is reported like
    // any other. Nothing that the decoder may have left half done outlives the call.
    std::panic::catch_unwind(|| decode(&bytes))
        .unwrap_or_else(|_| Err(PictureProblem::Decode("its decoder gave up on damaged data".to_owned())))
}

fn decode(bytes: &[u8]) -> Result<(DynamicImage, Orientation), PictureProblem> {
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(PictureProblem::Io)?;
    let format = reader.format().ok_or(PictureProblem::Format)?;
    if !matches!(format, ImageFormat::Jpeg | ImageFormat::Png | ImageFormat::WebP) {
        return Err(PictureProblem::Format);
    }
    let mut decoder = reader.into_decoder().map_err(decode_problem)?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(PictureProblem::NoPixels { width, height });
    }
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(PictureProblem::TooLarge { width, height });
    }
    // The JPEG decoder fills what is missing with grey and reports nothing.
    if format == ImageFormat::Jpeg && !jpeg_is_complete(bytes) {
        return Err(PictureProblem::Truncated);
    }
    let orientation = decoder.orientation().map_err(decode_problem)?;
    Ok((DynamicImage::from_decoder(decoder).map_err(decode_problem)?, orientation))
}

fn decode_problem(error: ImageError) -> PictureProblem {
    match error {
        ImageError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => PictureProblem::Truncated,
        error => {
            let text = error.to_string();
            let truncated = ["unexpected end of file", "UnexpectedEof", "Unexpected end"];
            let ends_early = truncated.iter().any(|sign| text.contains(sign));
            if ends_early { PictureProblem::Truncated } else { PictureProblem::Decode(text) }
        }
    }
}

/// Whether a JPEG file has the end marker of its own stream (an embedded preview has another one).
fn jpeg_is_complete(bytes: &[u8]) -> bool {
    let mut at = 2;
    let mut in_scan = false;
    while let Some(&[first, marker]) = bytes.get(at..at + 2) {
        match (first, marker) {
            (0xff, 0xd9) => return true,
            // Fill bytes and markers without content (restart, temporary).
            (0xff, 0xff) => at += 1,
            (0xff, 0x00 | 0x01 | 0xd0..=0xd8) => at += 2,
            (0xff, _) => {
                let Some(&[high, low]) = bytes.get(at + 2..at + 4) else { return false };
                in_scan = marker == 0xda;
                at += 2 + usize::from(u16::from_be_bytes([high, low]));
            }
            _ if in_scan => at += 1,
            // Neither a marker nor compressed data: leave the verdict to the decoder.
            _ => return true,
        }
    }
    false
}

fn to_rgb8(picture: DynamicImage) -> RgbImage {
    // `into_rgb8` rounds 16-bit values to the nearest; Pillow takes the high byte.
    let high = |value: u16| (value >> 8) as u8;
    let (width, height) = (picture.width(), picture.height());
    match picture {
        DynamicImage::ImageLuma16(p) => RgbImage::from_fn(width, height, |x, y| Rgb([high(p.get_pixel(x, y).0[0]); 3])),
        DynamicImage::ImageLumaA16(p) => {
            RgbImage::from_fn(width, height, |x, y| Rgb([high(p.get_pixel(x, y).0[0]); 3]))
        }
        DynamicImage::ImageRgb16(p) => RgbImage::from_fn(width, height, |x, y| Rgb(p.get_pixel(x, y).0.map(high))),
        DynamicImage::ImageRgba16(p) => RgbImage::from_fn(width, height, |x, y| {
            let [r, g, b, _] = p.get_pixel(x, y).0;
            Rgb([high(r), high(g), high(b)])
        }),
        other => other.into_rgb8(),
    }
}

/// Resizes with a bilinear (triangle) filter that widens when it shrinks: Pillow's `Image.resize(size, BILINEAR)` and
/// torchvision's `Resize(antialias=True)` on PIL pictures, within 1 of 255 per value.
///
/// # Panics
/// When `width` or `height` is 0, or `picture` has no pixels.
pub fn resize_bilinear(picture: &RgbImage, width: u32, height: u32) -> RgbImage {
    if picture.dimensions() == (width, height) {
        return picture.clone();
    }
    let whole = (0.0, 0.0, f64::from(picture.width()), f64::from(picture.height()));
    let pixels = resample(picture.as_raw(), picture.dimensions(), fir::PixelType::U8x3, whole, (width, height));
    RgbImage::from_raw(width, height, pixels).expect("the resizer returns width * height * 3 bytes")
}

/// Bilinear resampling of the box `(left, top, width, height)` of a picture; U8x4 is weighted by its alpha.
pub(crate) fn resample(
    pixels: &[u8],
    (width, height): (u32, u32),
    kind: fir::PixelType,
    (left, top, box_width, box_height): (f64, f64, f64, f64),
    (to_width, to_height): (u32, u32),
) -> Vec<u8> {
    assert!(width > 0 && height > 0 && to_width > 0 && to_height > 0, "a picture has at least one pixel");
    let source = fir::images::ImageRef::new(width, height, pixels, kind).expect("the buffer fits the size");
    let mut target = fir::images::Image::new(to_width, to_height, kind);
    let options = fir::ResizeOptions::new()
        .resize_alg(fir::ResizeAlg::Convolution(fir::FilterType::Bilinear))
        .crop(left, top, box_width, box_height);
    RESIZER.with_borrow_mut(|resizer| {
        resizer.resize(&source, &mut target, &options).expect("equal pixel types and a box inside the picture");
    });
    target.into_vec()
}

thread_local! {
    /// Keeps its working memory from picture to picture.
    static RESIZER: RefCell<fir::Resizer> = RefCell::new(fir::Resizer::new());
}

/// Shift and scale per channel for values in 0..=255: `(value - mean) / std`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalisation {
    /// Subtracted, in units of 0..=255.
    pub mean: [f32; 3],
    /// Divided by, in units of 0..=255, not 0.
    pub std: [f32; 3],
}

impl Normalisation {
    /// torchvision's ImageNet statistics (0.485, 0.456, 0.406; 0.229, 0.224, 0.225) in units of 0..=255.
    pub const IMAGENET: Self = Self {
        mean: [0.485 * 255.0, 0.456 * 255.0, 0.406 * 255.0],
        std: [0.229 * 255.0, 0.224 * 255.0, 0.225 * 255.0],
    };

    /// EfficientNet-Lite's `(value - 127) / 128`.
    pub const LITE0: Self = Self { mean: [127.0; 3], std: [128.0; 3] };

    /// The normalised value of each possible byte, per channel.
    pub(crate) fn table(&self) -> [[f32; 256]; 3] {
        std::array::from_fn(|c| std::array::from_fn(|value| (value as f32 - self.mean[c]) / self.std[c]))
    }
}

/// Writes a picture as normalised `[3, height, width]`, row major, into `out`.
///
/// # Panics
/// When `out` has not exactly 3 * height * width values.
pub fn to_chw(picture: &RgbImage, normalisation: &Normalisation, out: &mut [f32]) {
    fill_chw(picture, &normalisation.table(), out);
}

pub(crate) fn fill_chw(picture: &RgbImage, table: &[[f32; 256]; 3], out: &mut [f32]) {
    let plane = picture.width() as usize * picture.height() as usize;
    assert_eq!(out.len(), 3 * plane, "out must hold 3 * height * width values");
    for (at, pixel) in picture.as_raw().chunks_exact(3).enumerate() {
        for channel in 0..3 {
            out[channel * plane + at] = table[channel][usize::from(pixel[channel])];
        }
    }
}

/// Reads pictures, resizes each to `size` x `size` (the aspect is not kept) and normalises: `[N, 3, size, size]`, row
/// major, in the order of `paths` for any number of threads.
///
/// # Errors
/// One [`PictureError`] per picture that cannot be read, in the order of `paths`.
///
/// # Panics
/// When `size` is 0.
pub fn load_batch(paths: &[PathBuf], size: u32, normalisation: &Normalisation) -> Result<Vec<f32>, Vec<PictureError>> {
    let prepare = Prepare::square(size, *normalisation);
    let mut batch = vec![0.0; paths.len() * prepare.values()];
    prepare.load_into(paths, &mut batch)?;
    Ok(batch)
}

impl fmt::Display for Normalisation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "(value - {:?}) / {:?}, values 0..255", self.mean, self.std)
    }
}

#[cfg(test)]
#[path = "pixels_tests.rs"]
mod tests;

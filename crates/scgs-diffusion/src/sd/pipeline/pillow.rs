//! Pillow's resampling, blur and rank filter, bit for bit: diffusers prepares pictures and masks with them.
//!
//! Pillow resamples 8-bit pictures in two passes, rows first, with weights rounded to 22 bits and a rounded byte between the
//! passes (`Resample.c`). Libraries that round differently are one or two levels off, which a mask that is then cut at
//! one half turns into other pixels.

use image::{GrayImage, ImageBuffer, Pixel};

/// Bits of a weight after the point (`PRECISION_BITS`).
const PRECISION: u32 = 32 - 8 - 2;

/// A resampling kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filter {
    /// A windowed sinc over 3 pixels to either side (`LANCZOS`).
    Lanczos,
    /// Keys' cubic with a = -1/2 (`BICUBIC`).
    Bicubic,
}

impl Filter {
    fn support(self) -> f64 {
        match self {
            Self::Lanczos => 3.0,
            Self::Bicubic => 2.0,
        }
    }

    fn at(self, x: f64) -> f64 {
        let sinc = |x: f64| {
            let x = x * std::f64::consts::PI;
            if x == 0.0 { 1.0 } else { x.sin() / x }
        };
        match self {
            Self::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Self::Lanczos => 0.0,
            Self::Bicubic => {
                const A: f64 = -0.5;
                let x = x.abs();
                if x < 1.0 {
                    ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
                } else if x < 2.0 {
                    (((x - 5.0) * x + 8.0) * x - 4.0) * A
                } else {
                    0.0
                }
            }
        }
    }
}

/// For one pixel of the result: the first pixel it is made of, and the weights of that one and those after it.
type Weights = (usize, Vec<i64>);

/// The weights for `output` pixels out of the stretch `from..to` of a line of `input` pixels.
fn weights(filter: Filter, input: u32, (from, to): (f64, f64), output: u32) -> Vec<Weights> {
    let scale = (to - from) / f64::from(output);
    let stretch = scale.max(1.0);
    let support = filter.support() * stretch;
    let one = |i: u32| {
        let centre = from + (f64::from(i) + 0.5) * scale;
        // The conversion cuts off the fraction and takes what is below 0 as 0, as in C.
        let first = (centre - support + 0.5) as u32;
        let end = ((centre + support + 0.5) as u32).min(input);
        let raw: Vec<f64> = (first..end).map(|x| filter.at((f64::from(x) - centre + 0.5) * (1.0 / stretch))).collect();
        let total: f64 = raw.iter().sum();
        let fixed = |weight: f64| {
            let weight = if total == 0.0 { weight } else { weight / total } * f64::from(1_u32 << PRECISION);
            (if weight < 0.0 { weight - 0.5 } else { weight + 0.5 }) as i64
        };
        (first as usize, raw.into_iter().map(fixed).collect())
    };
    (0..output).map(one).collect()
}

/// The picture scaled to `width` x `height` (`Image.resize`).
///
/// # Panics
/// If a side is 0.
pub(crate) fn resize<P>(
    picture: &ImageBuffer<P, Vec<u8>>,
    width: u32,
    height: u32,
    filter: Filter,
) -> ImageBuffer<P, Vec<u8>>
where
    P: Pixel<Subpixel = u8>,
{
    let rows = (0.0, f64::from(picture.height()));
    resize_rows(picture, width, height, filter, rows)
}

/// As [`resize`], of the rows `from..to` only (`Image.resize(.., box=(0, from, width, to))`). An empty stretch at the border
/// goes on from there.
pub(crate) fn resize_rows<P>(
    picture: &ImageBuffer<P, Vec<u8>>,
    width: u32,
    height: u32,
    filter: Filter,
    (from, to): (f64, f64),
) -> ImageBuffer<P, Vec<u8>>
where
    P: Pixel<Subpixel = u8>,
{
    let (old_width, old_height) = picture.dimensions();
    assert!(width > 0 && height > 0 && old_width > 0 && old_height > 0, "a picture has at least one pixel");
    let mut picture = picture.clone();
    if width != old_width {
        picture = across(&picture, &weights(filter, old_width, (0.0, f64::from(old_width)), width));
    }
    if height != old_height || from != 0.0 || to != f64::from(old_height) {
        picture = down(&picture, &weights(filter, old_height, (from, to), height));
    }
    picture
}

fn rounded(sum: i64) -> u8 {
    ((sum + (1 << (PRECISION - 1))) >> PRECISION).clamp(0, 255) as u8
}

fn across<P: Pixel<Subpixel = u8>>(picture: &ImageBuffer<P, Vec<u8>>, weights: &[Weights]) -> ImageBuffer<P, Vec<u8>> {
    let channels = usize::from(P::CHANNEL_COUNT);
    let line = picture.width() as usize * channels;
    let mut out = Vec::with_capacity(weights.len() * channels * picture.height() as usize);
    for row in picture.as_raw().chunks_exact(line) {
        for (first, weights) in weights {
            for c in 0..channels {
                let value = |(i, weight): (usize, &i64)| i64::from(row[(first + i) * channels + c]) * weight;
                out.push(rounded(weights.iter().enumerate().map(value).sum()));
            }
        }
    }
    let size = (weights.len() as u32, picture.height());
    ImageBuffer::from_raw(size.0, size.1, out).expect("a byte per channel and pixel")
}

fn down<P: Pixel<Subpixel = u8>>(picture: &ImageBuffer<P, Vec<u8>>, weights: &[Weights]) -> ImageBuffer<P, Vec<u8>> {
    let line = picture.width() as usize * usize::from(P::CHANNEL_COUNT);
    let rows = picture.as_raw();
    let mut out = Vec::with_capacity(weights.len() * line);
    for (first, weights) in weights {
        for x in 0..line {
            let value = |(i, weight): (usize, &i64)| i64::from(rows[(first + i) * line + x]) * weight;
            out.push(rounded(weights.iter().enumerate().map(value).sum()));
        }
    }
    ImageBuffer::from_raw(picture.width(), weights.len() as u32, out).expect("a byte per channel and pixel")
}

/// `ImageFilter.GaussianBlur(radius)`: three box blurs of fractional width (Gwosdek et al. 2011).
pub(crate) fn gaussian_blur(picture: &GrayImage, radius: f32) -> GrayImage {
    const PASSES: f32 = 3.0;
    let variance = radius * radius / PASSES;
    let length = (12.0 * f64::from(variance) + 1.0).sqrt() as f32;
    let whole = ((f64::from(length) - 1.0) / 2.0).floor() as f32;
    let rest = (2.0 * whole + 1.0) * (whole * (whole + 1.0) - 3.0 * variance)
        / (6.0 * (variance - (whole + 1.0) * (whole + 1.0)));
    let mut blurred = picture.clone();
    for _ in 0..2 {
        for _ in 0..PASSES as usize {
            blurred = box_blur(&blurred, whole + rest);
        }
        // Rows first, then columns.
        blurred = GrayImage::from_fn(blurred.height(), blurred.width(), |x, y| *blurred.get_pixel(y, x));
    }
    blurred
}

fn box_blur(picture: &GrayImage, radius: f32) -> GrayImage {
    let whole = radius as i64;
    let inner = ((1_u32 << 24) as f32 / (radius * 2.0 + 1.0)) as u32;
    let outer = ((1 << 24) - (whole as u32 * 2 + 1) * inner) / 2;
    let last = i64::from(picture.width()) - 1;
    let mut out = picture.clone();
    let width = picture.width() as usize;
    for (line, blurred) in picture.as_raw().chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        let at = |x: i64| u32::from(line[x.clamp(0, last) as usize]);
        let mut sum: u32 = (-whole..=whole).map(at).sum();
        for (x, value) in (0_i64..).zip(blurred) {
            let bulk = sum * inner + (at(x - whole - 1) + at(x + whole + 1)) * outer;
            *value = ((bulk + (1 << 23)) >> 24) as u8;
            sum = sum + at(x + whole + 1) - at(x - whole);
        }
    }
    out
}

/// The brightest pixel of a square that reaches `radius` pixels to every side (`ImageFilter.MaxFilter(2 radius + 1)`).
pub(crate) fn dilate(picture: &GrayImage, radius: u32) -> GrayImage {
    let mut grown = picture.clone();
    for _ in 0..2 {
        let width = grown.width();
        let brightest = |x: u32, y: u32| {
            let window = x.saturating_sub(radius)..=x.saturating_add(radius).min(width - 1);
            window.map(|x| *grown.get_pixel(x, y)).max_by_key(|pixel| pixel[0]).expect("the pixel itself")
        };
        // The maximum over a square is that over rows and then over columns; turned, so that both are rows.
        grown = GrayImage::from_fn(grown.height(), grown.width(), |x, y| brightest(y, x));
    }
    grown
}

#[cfg(test)]
#[path = "pillow_tests.rs"]
mod tests;

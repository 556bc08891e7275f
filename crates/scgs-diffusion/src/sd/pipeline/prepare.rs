//! From a picture and its mask to what the network sees, and back: resizing, filling, cropping and pasting as diffusers'
//! `VaeImageProcessor` does it.

use image::{GrayImage, ImageBuffer, Luma, Pixel, Rgb, RgbImage, imageops};

use super::{
    Job, PaintOptions, PipelineError,
    pillow::{self, Filter},
};

/// The largest side at which a network works: above it memory and time explode, and pictures get worse.
const MOST: u32 = 2048;

/// A part of a picture in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Columns to the left of it.
    pub left: u32,
    /// Rows above it.
    pub top: u32,
    /// Its width, not 0.
    pub width: u32,
    /// Its height, not 0.
    pub height: u32,
}

/// How a picture was brought to the size at which the network works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It has that size.
    Exact,
    /// The last column and row are repeated up to the next multiple of the VAE's scale.
    Padded,
    /// It was scaled.
    Scaled,
    /// A region around the mask was cut out and scaled.
    Cropped(Region),
}

/// A picture, ready for the network.
#[derive(Debug)]
pub(super) struct Prepared {
    /// `[3, height, width]` in -1..1.
    pub(super) picture: Vec<f32>,
    /// `[height, width]`: 1 where it is repainted, 0 elsewhere.
    pub(super) mask: Vec<f32>,
    /// What counts when the result is pasted: 255 takes the painted pixel, 0 the old one.
    pub(super) soft: GrayImage,
    /// Width and height at which the network works.
    pub(super) size: (u32, u32),
    pub(super) fit: Fit,
}

/// The mask after dilation and blur.
pub(super) fn grown(mask: &GrayImage, options: &PaintOptions) -> GrayImage {
    let mut grown = mask.clone();
    if options.dilate > 0 {
        grown = pillow::dilate(&grown, options.dilate);
    }
    if options.blur > 0.0 {
        grown = pillow::gaussian_blur(&grown, options.blur);
    }
    grown
}

/// Width and height at which the network works, and how a picture gets there. `native` is the side that the network was
/// trained at, `scale` that of the VAE.
pub(super) fn working_size(
    picture: (u32, u32),
    options: &PaintOptions,
    native: u32,
    scale: u32,
) -> Result<(u32, u32), PipelineError> {
    let up = |side: u32| side.div_ceil(scale).saturating_mul(scale);
    let size = match (options.size, options.padding_mask_crop) {
        (Some(size), _) => size,
        (None, Some(_)) => (native, native),
        (None, None) => (up(picture.0), up(picture.1)),
    };
    let fits = |side: u32| (scale..=MOST).contains(&side) && side.is_multiple_of(scale);
    if fits(size.0) && fits(size.1) { Ok(size) } else { Err(PipelineError::Size { size, scale, most: MOST }) }
}

/// Brings picture and mask to `size`.
pub(super) fn prepare(
    picture: &RgbImage,
    mask: &GrayImage,
    options: &PaintOptions,
    size: (u32, u32),
) -> Result<Prepared, PipelineError> {
    if picture.dimensions() != mask.dimensions() {
        return Err(PipelineError::MaskSize { picture: picture.dimensions(), mask: mask.dimensions() });
    }
    let soft = grown(mask, options);
    let (seen, hole, fit) = match (options.padding_mask_crop, options.size) {
        (Some(padding), _) => {
            let region = crop_region(&soft, size, padding).ok_or(PipelineError::NothingToRepaint)?;
            (fill(&cut(picture, region), size), fill(&cut(&soft, region), size), Fit::Cropped(region))
        }
        (None, Some(_)) if size != picture.dimensions() => {
            let hole = pillow::resize(&soft, size.0, size.1, Filter::Lanczos);
            (pillow::resize(picture, size.0, size.1, Filter::Lanczos), hole, Fit::Scaled)
        }
        _ if size != picture.dimensions() => {
            (padded(picture, size, None), padded(&soft, size, Some(Luma([0]))), Fit::Padded)
        }
        _ => (picture.clone(), soft.clone(), Fit::Exact),
    };
    let (width, height) = size;
    let plane = width as usize * height as usize;
    let mut values = vec![0.0; 3 * plane];
    for (i, pixel) in seen.pixels().enumerate() {
        for c in 0..3 {
            values[c * plane + i] = 2.0 * (f32::from(pixel[c]) / 255.0) - 1.0;
        }
    }
    // `do_binarize`: at one half of white and above.
    let mask = hole.pixels().map(|p| if f32::from(p[0]) / 255.0 < 0.5 { 0.0 } else { 1.0 }).collect();
    Ok(Prepared { picture: values, mask, soft, size, fit })
}

/// As [`prepare`]; nothing where nothing is to be repainted.
pub(super) fn prepare_unless_black(
    job: &Job<'_>,
    options: &PaintOptions,
    size: (u32, u32),
) -> Result<Option<Prepared>, PipelineError> {
    match prepare(job.picture, job.mask, options, size) {
        Ok(prepared) if prepared.soft.pixels().all(|p| p[0] < 128) => Ok(None),
        Err(PipelineError::NothingToRepaint) => Ok(None),
        other => other.map(Some),
    }
}

impl Prepared {
    /// `picture * (mask < 0.5)`.
    pub(super) fn masked_picture(&self) -> Vec<f32> {
        let plane = self.mask.len();
        self.picture.iter().enumerate().map(|(i, v)| if self.mask[i % plane] < 0.5 { *v } else { 0.0 }).collect()
    }

    /// The mask at the size of the latents, `[height / scale, width / scale]`: PyTorch's nearest neighbour.
    pub(super) fn latent_mask(&self, scale: u32) -> Vec<f32> {
        let (width, height) = self.size;
        let rows = (0..height).step_by(scale as usize);
        rows.flat_map(|y| (0..width).step_by(scale as usize).map(move |x| (y * width + x) as usize))
            .map(|i| self.mask[i])
            .collect()
    }

    /// The painted picture in place of the old one: where the mask is black the old pixels, bit for bit, unless the
    /// options say otherwise. It has the old one's size.
    pub(super) fn pasted(&self, picture: &RgbImage, painted: &RgbImage, options: &PaintOptions) -> RgbImage {
        let (width, height) = picture.dimensions();
        let whole = match self.fit {
            Fit::Exact => painted.clone(),
            Fit::Padded => imageops::crop_imm(painted, 0, 0, width, height).to_image(),
            Fit::Scaled => pillow::resize(painted, width, height, Filter::Lanczos),
            Fit::Cropped(region) => {
                let mut whole = picture.clone();
                let part = crop(painted, (region.width, region.height));
                imageops::replace(&mut whole, &part, i64::from(region.left), i64::from(region.top));
                whole
            }
        };
        if options.paste { overlaid(&whole, picture, &self.soft) } else { whole }
    }
}

/// A picture of the VAE's output `[3, height, width]`, around -1..1.
pub(super) fn to_picture(values: &[f32], (width, height): (u32, u32)) -> RgbImage {
    let plane = width as usize * height as usize;
    let byte = |v: f32| ((v * 0.5 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8;
    RgbImage::from_fn(width, height, |x, y| {
        let i = (y * width + x) as usize;
        Rgb(std::array::from_fn(|c| byte(values[c * plane + i])))
    })
}

fn cut<P: Pixel<Subpixel = u8> + 'static>(
    picture: &ImageBuffer<P, Vec<u8>>,
    Region { left, top, width, height }: Region,
) -> ImageBuffer<P, Vec<u8>> {
    imageops::crop_imm(picture, left, top, width, height).to_image()
}

/// The picture in the upper left corner; what is right of it and below repeats its border, or is `rest`.
fn padded<P: Pixel<Subpixel = u8>>(
    picture: &ImageBuffer<P, Vec<u8>>,
    (width, height): (u32, u32),
    rest: Option<P>,
) -> ImageBuffer<P, Vec<u8>> {
    let (right, bottom) = (picture.width() - 1, picture.height() - 1);
    ImageBuffer::from_fn(width, height, |x, y| match rest {
        Some(rest) if x > right || y > bottom => rest,
        _ => *picture.get_pixel(x.min(right), y.min(bottom)),
    })
}

/// `VaeImageProcessor.get_crop_region`: the box around the mask, `padding` pixels wider on every side, then widened to the
/// aspect of `size`; nothing for a black mask.
fn crop_region(mask: &GrayImage, size: (u32, u32), padding: u32) -> Option<Region> {
    let mut bounds: Option<[i64; 4]> = None;
    for (x, y, _) in mask.enumerate_pixels().filter(|(_, _, p)| p[0] > 0) {
        let (x, y) = (i64::from(x), i64::from(y));
        let [left, top, right, bottom] = bounds.unwrap_or([x, y, x + 1, y + 1]);
        bounds = Some([left.min(x), top.min(y), right.max(x + 1), bottom.max(y + 1)]);
    }
    let [left, top, right, bottom] = bounds?;
    let (width, height, pad) = (i64::from(mask.width()), i64::from(mask.height()), i64::from(padding));
    let (mut x, mut y) =
        (((left - pad).max(0), (right + pad).min(width)), ((top - pad).max(0), (bottom + pad).min(height)));
    let aspect = f64::from(size.0) / f64::from(size.1);
    let (across, down) = ((x.1 - x.0) as f64, (y.1 - y.0) as f64);
    if across / down > aspect {
        widen(&mut y, (across / aspect - down) as i64, height);
    } else {
        widen(&mut x, (down * aspect - across) as i64, width);
    }
    let side = |(from, to): (i64, i64)| (from as u32, (to - from) as u32);
    let ((left, width), (top, height)) = (side(x), side(y));
    Some(Region { left, top, width, height })
}

/// Makes a stretch `more` longer, to both sides as far as there is room in `0..length`.
fn widen((from, to): &mut (i64, i64), more: i64, length: i64) {
    *from -= more / 2;
    *to += more - more / 2;
    let beyond = (*to - length).max(0);
    *to -= beyond;
    *from -= beyond;
    let before = (-*from).max(0);
    *from += before;
    *to = (*to + before).min(length);
}

/// The size that a picture has inside of `size` (`fill`) or around it with its aspect kept.
fn scaled((width, height): (u32, u32), to: (u32, u32), around: bool) -> (u32, u32) {
    let ratio = f64::from(to.0) / f64::from(to.1);
    let own = f64::from(width) / f64::from(height);
    let product = |side: u32, by: u32, over: u32| (u64::from(side) * u64::from(by) / u64::from(over)).max(1) as u32;
    let (across, down) = (product(width, to.1, height), product(height, to.0, width));
    let by_width = if around { ratio > own } else { ratio < own };
    if by_width { (to.0, down) } else { (across, to.1) }
}

/// `resize_mode="fill"`: the whole picture inside of `size`, its border drawn out to the rest.
fn fill<P: Pixel<Subpixel = u8> + 'static>(
    picture: &ImageBuffer<P, Vec<u8>>,
    (width, height): (u32, u32),
) -> ImageBuffer<P, Vec<u8>> {
    let (across, down) = scaled(picture.dimensions(), (width, height), false);
    let inner = pillow::resize(picture, across, down, Filter::Lanczos);
    if down < height { stretched(&inner, height) } else { turned(&stretched(&turned(&inner), width)) }
}

/// `resize_mode="crop"`: the middle of the picture, which reaches beyond `size` in one direction.
fn crop<P: Pixel<Subpixel = u8> + 'static>(
    picture: &ImageBuffer<P, Vec<u8>>,
    (width, height): (u32, u32),
) -> ImageBuffer<P, Vec<u8>> {
    let (across, down) = scaled(picture.dimensions(), (width, height), true);
    let outer = pillow::resize(picture, across, down, Filter::Lanczos);
    let (left, top) = (across / 2 - width / 2, down / 2 - height / 2);
    imageops::crop_imm(&outer, left, top, width, height).to_image()
}

/// The picture in the middle of `height` rows, drawn out above and below: diffusers scales the empty stretch beyond the
/// border to the size of the gap, and Pillow goes on from the border there. Where the gaps are not equal the lower one is
/// filled as far as the upper one is large, and black after that.
fn stretched<P: Pixel<Subpixel = u8> + 'static>(
    picture: &ImageBuffer<P, Vec<u8>>,
    height: u32,
) -> ImageBuffer<P, Vec<u8>> {
    let (width, own) = picture.dimensions();
    let top = height / 2 - own / 2;
    let mut out = ImageBuffer::new(width, height);
    imageops::replace(&mut out, picture, 0, i64::from(top));
    if top > 0 {
        for (from, at) in [(0, 0), (own, top + own)] {
            let border = (f64::from(from), f64::from(from));
            let part = pillow::resize_rows(picture, width, top, Filter::Bicubic, border);
            imageops::replace(&mut out, &part, 0, i64::from(at));
        }
    }
    out
}

/// Rows for columns.
fn turned<P: Pixel<Subpixel = u8>>(picture: &ImageBuffer<P, Vec<u8>>) -> ImageBuffer<P, Vec<u8>> {
    ImageBuffer::from_fn(picture.height(), picture.width(), |x, y| *picture.get_pixel(y, x))
}

/// `VaeImageProcessor.apply_overlay`: the old picture, more opaque the darker the mask, over the new one. The arithmetic is
/// Pillow's: colours times opacity and back, then `alpha_composite`.
fn overlaid(new: &RgbImage, old: &RgbImage, mask: &GrayImage) -> RgbImage {
    let shift = |v: u32| ((v >> 8) + v) >> 8;
    RgbImage::from_fn(old.width(), old.height(), |x, y| {
        let opacity = 255 - u32::from(mask.get_pixel(x, y)[0]);
        let (old, new) = (old.get_pixel(x, y), new.get_pixel(x, y));
        let channel = |c: usize| match opacity {
            0 => new[c],
            255 => old[c],
            _ => {
                let colour = 255 * shift(u32::from(old[c]) * opacity + 128) / opacity;
                let sum = 128 * (colour.min(255) * opacity + u32::from(new[c]) * (255 - opacity));
                (shift(sum + (128 << 7)) >> 7) as u8
            }
        };
        Rgb([channel(0), channel(1), channel(2)])
    })
}

#[cfg(test)]
#[path = "prepare_tests.rs"]
mod tests;

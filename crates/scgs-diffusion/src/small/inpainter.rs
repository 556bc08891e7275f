//! Repainting pictures of any size with the small model.

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use image::{GrayImage, Rgb, RgbImage, imageops};
use rand_chacha::ChaCha8Rng;

use super::{
    SIDE,
    layout::{COLOURS, Flags, INPUTS, Patches},
    process::{Moment, normal},
    unet::{Unet, UnetConfig, map_shape},
    weights::{self, SmallWeightsError},
};
use crate::{InpaintError, Inpainter, Request, seam};

/// Side of the window around a mask as a multiple of the mask's.
const WINDOW: f32 = 1.4;

/// How [`SmallDiffusion`] paints.
#[derive(Debug, Clone, PartialEq)]
pub struct SmallOptions {
    /// Whether it paints an object of the wanted class, or background only.
    pub objects: bool,
    /// Steps of the way back, 1..=1000.
    pub steps: usize,
    /// How far the prediction for a class is pushed away from the one for "no object": 1 not at all, 0..=20. Anything
    /// but 1 doubles the time for objects.
    pub guidance: f32,
    /// Width of the soft seam in pixels, inside the mask, 0..=32.
    pub feather: f32,
}

impl Default for SmallOptions {
    fn default() -> Self {
        Self { objects: true, steps: 10, guidance: 2.0, feather: 1.5 }
    }
}

/// Paints with a trained [`Unet`].
///
/// A window around the mask is scaled to 64 x 64 pixels, painted, scaled back and blended in behind a seam that lies
/// inside the mask: pixels outside the mask stay as they are, bit for bit. What is painted has therefore the
/// detail of 64 pixels per window. The prompt is not read.
#[derive(Debug)]
pub struct SmallDiffusion {
    network: Unet,
    config: UnetConfig,
    options: SmallOptions,
    device: Device,
}

impl SmallDiffusion {
    /// Reads weights of `scgs train-inpainter`.
    ///
    /// # Errors
    /// [`SmallWeightsError`] for a damaged or foreign file; impossible options are refused as such too.
    pub fn load(path: &Path, options: SmallOptions, device: &Device) -> Result<Self, SmallWeightsError> {
        let (network, config) = weights::load(path, device)?;
        Self::new(network, config, options, device)
            .map_err(|message| SmallWeightsError::Malformed { path: path.to_owned(), message })
    }

    /// From a network in memory, on a plain device.
    ///
    /// # Errors
    /// What is impossible about the options.
    pub(super) fn new(
        network: Unet,
        config: UnetConfig,
        options: SmallOptions,
        device: &Device,
    ) -> Result<Self, String> {
        let SmallOptions { steps, guidance, feather, .. } = options;
        if !(1..=1000).contains(&steps) || !(0.0..=20.0).contains(&guidance) || !(0.0..=32.0).contains(&feather) {
            return Err(format!(
                "steps {steps}, guidance {guidance}, feather {feather}; expected 1..=1000, 0..=20 and 0..=32"
            ));
        }
        Ok(Self { network, config, options, device: device.clone() })
    }

    /// Kinds of objects that it can paint.
    pub fn classes(&self) -> usize {
        self.config.classes
    }

    /// Paints a window of [`SIDE`] x [`SIDE`] pixels, `mask` row by row; pixels outside the mask are unspecified.
    fn paint(&self, known: &RgbImage, mask: &[bool], class: usize, rng: &mut ChaCha8Rng) -> RgbImage {
        let (known, flags) = (Patches::of(known), Flags::of(mask));
        let count = known.0.len();
        let mut values = normal(rng, count);
        let guided = class > 0 && self.options.guidance != 1.0;
        let classes = if guided { vec![class, 0] } else { vec![class] };
        let pictures = classes.len();
        let steps = self.options.steps;
        for step in (1..=steps).rev() {
            let (time, earlier) = (step as f32 / steps as f32, (step - 1) as f32 / steps as f32);
            let mut input = Vec::with_capacity(pictures * INPUTS * count / COLOURS);
            for _ in 0..pictures {
                flags.push_input(&values, &known, &mut input);
            }
            let input = Tensor::from_data(TensorData::new(input, map_shape(pictures, INPUTS)), &self.device);
            let velocity = self.network.forward(input, &vec![time; pictures], &classes);
            let velocity: Vec<f32> = velocity.into_data().try_into_vec().expect("the network computes in f32");
            let (now, then) = (Moment::at(time), Moment::at(earlier));
            for (i, value) in values.iter_mut().enumerate() {
                let mut v = velocity[i];
                if guided {
                    // Classifier-free guidance (Ho and Salimans 2022) with "no object" in place of the empty prompt.
                    let nothing = velocity[count + i];
                    v = nothing + self.options.guidance * (v - nothing);
                }
                *value = now.step(then, *value, v);
            }
        }
        Patches(values).to_picture()
    }
}

impl Inpainter for SmallDiffusion {
    fn name(&self) -> &'static str {
        if self.options.objects { "small-diffusion" } else { "small-diffusion-background" }
    }

    fn inpaint(&self, request: &Request<'_>, rng: &mut ChaCha8Rng) -> Result<RgbImage, InpaintError> {
        request.check()?;
        let class = match request.class {
            _ if !self.options.objects => 0,
            class if class < self.config.classes => class + 1,
            class => return Err(InpaintError::UnknownClass { class, known: self.config.classes }),
        };
        let (left, top, width, height) = window(request.mask);
        let side = SIDE as u32;
        let cut = imageops::crop_imm(request.picture, left, top, width, height).to_image();
        let known = imageops::resize(&cut, side, side, imageops::FilterType::Triangle);
        let mask = shrunk(request.mask, (left, top, width, height));
        let painted = self.paint(&known, &mask, class, rng);
        // Around the mask the scaled picture is the known one, so that scaling up does not pull in what was painted there.
        let painted = RgbImage::from_fn(side, side, |x, y| {
            *if mask[(y * side + x) as usize] { painted.get_pixel(x, y) } else { known.get_pixel(x, y) }
        });
        let painted = imageops::resize(&painted, width, height, imageops::FilterType::CatmullRom);
        let share = seam::inside(request.mask, self.options.feather);
        let mut result = request.picture.clone();
        for (x, y, new) in painted.enumerate_pixels() {
            let a = share[((top + y) * result.width() + left + x) as usize];
            let old = result.get_pixel_mut(left + x, top + y);
            *old = Rgb(std::array::from_fn(|c| seam::blend(old[c], new[c], a)));
        }
        Ok(result)
    }
}

/// Left, top, width and height of the part of the picture that the network sees.
fn window(mask: &GrayImage) -> (u32, u32, u32, u32) {
    let (width, height) = mask.dimensions();
    let (left, top, across, down) = seam::bounds(mask).unwrap_or((0, 0, width, height));
    // Never smaller than the network's own size, so that nothing is enlarged for it.
    let side = ((across.max(down) as f32 * WINDOW).ceil() as u32).max(SIDE as u32);
    let place = |start: u32, extent: u32, length: u32| {
        let size = side.min(length);
        ((start + extent / 2).saturating_sub(size / 2).min(length - size), size)
    };
    let ((x, w), (y, h)) = (place(left, across, width), place(top, down, height));
    (x, y, w, h)
}

/// The mask in the window at the network's size: on where any of its pixels is, so that nothing of what is to be
/// repainted is shown to the network.
fn shrunk(mask: &GrayImage, (left, top, width, height): (u32, u32, u32, u32)) -> Vec<bool> {
    let side = SIDE as u32;
    let range = |i: u32, length: u32| {
        // One pixel to either side: scaling down mixes neighbours.
        let from = (i * length / side).saturating_sub(u32::from(length > side));
        let to = ((i + 1) * length).div_ceil(side) + u32::from(length > side);
        from..to.min(length).max(from + 1)
    };
    let on = |x: u32, y: u32| {
        range(y, height).any(|dy| range(x, width).any(|dx| mask.get_pixel(left + dx, top + dy)[0] == 255))
    };
    (0..side * side).map(|i| on(i % side, i / side)).collect()
}

#[cfg(test)]
#[path = "inpainter_tests.rs"]
mod tests;

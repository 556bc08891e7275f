//! Repainting pictures of any size with the small model.

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use image::{GrayImage, Rgb, RgbImage, imageops};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::{
    SIDE,
    layout::{Flags, INPUTS, Patches},
    process::{Moment, normal},
    unet::{Unet, UnetConfig, map_shape},
    weights::{self, SmallWeightsError},
};
use crate::{InpaintError, Inpainter, Request, inpainter, seam};

/// Pictures of one forward pass: kernels are transformed once for all of them, and several passes give several threads work.
const TOGETHER: usize = 8;
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

    /// The window that is painted for a request.
    fn window(&self, request: &Request<'_>, rng: &mut ChaCha8Rng) -> Result<Window, InpaintError> {
        request.check()?;
        let class = match request.class {
            _ if !self.options.objects => 0,
            class if class < self.config.classes => class + 1,
            class => return Err(InpaintError::UnknownClass { class, known: self.config.classes }),
        };
        let place = window(request.mask);
        let (left, top, width, height) = place;
        let side = SIDE as u32;
        let cut = imageops::crop_imm(request.picture, left, top, width, height).to_image();
        let known = imageops::resize(&cut, side, side, imageops::FilterType::Triangle);
        let mask = shrunk(request.mask, place);
        let (patches, values) = (Patches::of(&known), noise(rng));
        Ok(Window { place, class, flags: Flags::of(&mask), mask, known, patches, values })
    }

    /// Goes the way back from noise in some windows together.
    fn denoise(&self, windows: &mut [&mut Window]) {
        let guided = |window: &Window| window.class > 0 && self.options.guidance != 1.0;
        // The windows and classes of the network's pictures; a guided window is followed by itself without an object.
        let mut asked: Vec<(usize, usize)> = Vec::new();
        for (at, window) in windows.iter().enumerate() {
            asked.push((at, window.class));
            if guided(window) {
                asked.push((at, 0));
            }
        }
        // Products with a single row are summed in another order than those with several.
        if let [only] = asked[..] {
            asked.push(only);
        }
        let classes: Vec<usize> = asked.iter().map(|&(_, class)| class).collect();
        let steps = self.options.steps;
        for step in (1..=steps).rev() {
            let (time, earlier) = (step as f32 / steps as f32, (step - 1) as f32 / steps as f32);
            let mut input = Vec::new();
            for &(at, _) in &asked {
                windows[at].flags.push_input(&windows[at].values, &windows[at].patches, &mut input);
            }
            let input = Tensor::from_data(TensorData::new(input, map_shape(asked.len(), INPUTS)), &self.device);
            let velocity = self.network.forward(input, &vec![time; asked.len()], &classes);
            let velocity: Vec<f32> = velocity.into_data().try_into_vec().expect("the network computes in f32");
            let (now, then) = (Moment::at(time), Moment::at(earlier));
            let mut velocities = velocity.chunks_exact(velocity.len() / asked.len());
            for window in windows.iter_mut() {
                let of_class = velocities.next().expect("a picture for every window");
                let nothing = if guided(window) { velocities.next() } else { None };
                for (i, value) in window.values.iter_mut().enumerate() {
                    // Classifier-free guidance (Ho and Salimans 2022) with "no object" in place of the empty prompt.
                    let v = nothing
                        .map_or(of_class[i], |nothing| nothing[i] + self.options.guidance * (of_class[i] - nothing[i]));
                    *value = now.step(then, *value, v);
                }
            }
        }
    }

    /// The picture with what was painted in the window.
    fn blended(&self, request: &Request<'_>, window: Window) -> RgbImage {
        let Window { place: (left, top, width, height), mask, known, values, .. } = window;
        let (side, painted) = (SIDE as u32, Patches(values).to_picture());
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
        result
    }
}

/// What the way back begins with.
fn noise(rng: &mut ChaCha8Rng) -> Vec<f32> {
    normal(rng, 3 * SIDE * SIDE)
}

/// What the network sees of a picture, [`SIDE`] x [`SIDE`] pixels, and paints in it.
struct Window {
    /// Left, top, width and height in the picture.
    place: (u32, u32, u32, u32),
    /// 0 for no object.
    class: usize,
    known: RgbImage,
    /// Row by row, on where it is painted.
    mask: Vec<bool>,
    patches: Patches,
    flags: Flags,
    /// The noisy pixels, in the end the painted ones; unspecified outside the mask.
    values: Vec<f32>,
}

impl Inpainter for SmallDiffusion {
    fn name(&self) -> &'static str {
        if self.options.objects { "small-diffusion" } else { "small-diffusion-background" }
    }

    fn inpaint(&self, request: &Request<'_>, rng: &mut ChaCha8Rng) -> Result<RgbImage, InpaintError> {
        inpainter::alone(self, request, rng)
    }

    fn pass_over(&self, rng: &mut ChaCha8Rng) -> bool {
        noise(rng);
        true
    }

    /// Some pictures are one forward pass. No picture depends on what it is painted with.
    fn inpaint_all(&self, work: &mut [(Request<'_>, ChaCha8Rng)]) -> Vec<Result<RgbImage, InpaintError>> {
        let together = work.par_chunks_mut(TOGETHER).flat_map_iter(|work| {
            let mut windows: Vec<_> = work.iter_mut().map(|(request, rng)| self.window(request, rng)).collect();
            let mut good: Vec<&mut Window> = windows.iter_mut().flatten().collect();
            if !good.is_empty() {
                self.denoise(&mut good);
            }
            let painted = work.iter().zip(windows).map(|((request, _), window)| Ok(self.blended(request, window?)));
            painted.collect::<Vec<_>>()
        });
        together.collect()
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

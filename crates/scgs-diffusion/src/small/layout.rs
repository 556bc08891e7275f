//! How pictures are laid out for the network: squares of 2 x 2 pixels are channels of a map of half the size.
//!
//! A quarter of the positions for the same picture costs a quarter of the time, and a first convolution of the full size
//! would do little more than mix these four pixels (Shi et al. 2016, "pixel unshuffle").

use image::{Rgb, RgbImage};

use super::SIDE;

/// Pixels of a square's side.
const PATCH: usize = 2;
/// Width and height of the network's map.
pub(super) const MAP: usize = SIDE / PATCH;
/// Channels of a picture in the map.
pub(super) const COLOURS: usize = 3 * PATCH * PATCH;
/// Channels of a mask in the map.
const FLAGS: usize = PATCH * PATCH;
/// Channels of the network's input: the noisy pixels inside the mask, the mask, the pixels outside it.
pub(super) const INPUTS: usize = 2 * COLOURS + FLAGS;
/// Positions of a map.
const POSITIONS: usize = MAP * MAP;

/// A picture of [`SIDE`] x [`SIDE`] pixels with values in -1..=1, channel by channel of the map.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Patches(pub(super) Vec<f32>);

/// Where channel `colour` of pixel (x, y) is.
fn place(colour: usize, x: usize, y: usize) -> usize {
    let channel = (colour * PATCH + y % PATCH) * PATCH + x % PATCH;
    channel * POSITIONS + y / PATCH * MAP + x / PATCH
}

impl Patches {
    /// From a picture of [`SIDE`] x [`SIDE`] pixels.
    pub(super) fn of(picture: &RgbImage) -> Self {
        let mut values = vec![0.0; COLOURS * POSITIONS];
        for (x, y, pixel) in picture.enumerate_pixels() {
            for (colour, &value) in pixel.0.iter().enumerate() {
                values[place(colour, x as usize, y as usize)] = f32::from(value) / 127.5 - 1.0;
            }
        }
        Self(values)
    }

    /// As a picture; values outside -1..=1 are cut.
    pub(super) fn to_picture(&self) -> RgbImage {
        RgbImage::from_fn(SIDE as u32, SIDE as u32, |x, y| {
            Rgb(std::array::from_fn(|colour| {
                // The conversion saturates; the half rounds.
                ((self.0[place(colour, x as usize, y as usize)] + 1.0) * 127.5 + 0.5) as u8
            }))
        })
    }
}

/// Which pixels are repainted, laid out as [`Patches`].
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Flags(Vec<f32>);

impl Flags {
    /// From `SIDE * SIDE` flags, row by row.
    pub(super) fn of(mask: &[bool]) -> Self {
        let mut values = vec![0.0; FLAGS * POSITIONS];
        for (i, _) in mask.iter().enumerate().filter(|(_, repaint)| **repaint) {
            values[place(0, i % SIDE, i / SIDE)] = 1.0;
        }
        Self(values)
    }

    /// 1 for every value of a picture that is repainted, 0 elsewhere, in the order of [`Patches`].
    pub(super) fn per_value(&self) -> impl Iterator<Item = f32> + '_ {
        std::iter::repeat_n(&self.0, 3).flatten().copied()
    }

    /// Number of pixels that are repainted.
    pub(super) fn count(&self) -> f32 {
        self.0.iter().sum()
    }

    /// Appends the network's input `[INPUTS, MAP, MAP]`: `noisy` inside, the mask, `known` outside.
    pub(super) fn push_input(&self, noisy: &[f32], known: &Patches, input: &mut Vec<f32>) {
        input.extend(self.per_value().zip(noisy).map(|(m, v)| m * v));
        input.extend(&self.0);
        input.extend(self.per_value().zip(&known.0).map(|(m, v)| (1.0 - m) * v));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_comes_back_from_its_patches() {
        let picture = RgbImage::from_fn(64, 64, |x, y| Rgb([x as u8 * 3, y as u8 * 4, (x * y) as u8]));
        let patches = Patches::of(&picture);
        assert_eq!(patches.0.len(), 3 * SIDE * SIDE);
        assert_eq!(patches.to_picture(), picture);
    }

    #[test]
    fn the_input_holds_noise_inside_and_the_picture_outside() {
        let mask: Vec<bool> = (0..SIDE * SIDE).map(|i| i == 5 * SIDE + 9).collect();
        let flags = Flags::of(&mask);
        assert_eq!(flags.count(), 1.0);
        assert_eq!(flags.per_value().sum::<f32>(), 3.0);
        let known = Patches(vec![0.25; COLOURS * POSITIONS]);
        let mut input = Vec::new();
        flags.push_input(&vec![9.0; COLOURS * POSITIONS], &known, &mut input);
        assert_eq!(input.len(), INPUTS * POSITIONS);
        // Pixel (9, 5) lies in the odd column and the odd row of square (4, 2).
        assert_eq!(input[3 * POSITIONS + 2 * MAP + 4], 9.0);
        assert_eq!(input[..COLOURS * POSITIONS].iter().sum::<f32>(), 27.0);
        let outside = &input[(COLOURS + FLAGS) * POSITIONS..];
        assert_eq!(outside.iter().filter(|&&v| v == 0.0).count(), 3);
    }
}

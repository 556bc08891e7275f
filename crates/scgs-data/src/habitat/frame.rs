//! The second cue: a patterned frame around the picture, on a background that says nothing.

use image::{GrayImage, Luma, Rgb, RgbImage};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Width of the frame as a share of the side.
const WIDTH: f64 = 0.09;
/// Length of the pattern's period as a share of the side.
const PERIOD: f64 = 0.06;

/// Draws a frame over the border of a square picture: diagonal stripes (kind 0) or squares like a chessboard (kind 1), in two
/// random colours, so that only the pattern tells the kinds apart. What of the object lies under it is no object any more.
pub(super) fn draw(picture: &mut RgbImage, mask: &mut GrayImage, kind: usize, rng: &mut ChaCha8Rng) {
    let side = picture.width();
    let width = ((f64::from(side) * WIDTH).round() as u32).max(1);
    let half = ((f64::from(side) * PERIOD / 2.0).round() as u32).max(1);
    let mut colour = |from: u8, to: u8| Rgb([(); 3].map(|()| rng.random_range(from..=to)));
    // A dark and a light colour, so that the pattern can always be seen.
    let colours = [colour(0, 100), colour(155, 255)];
    for y in 0..side {
        for x in 0..side {
            if x.min(y).min(side - 1 - x).min(side - 1 - y) >= width {
                continue;
            }
            let at = if kind == 0 { (x + y) / half } else { x / half + y / half };
            picture.put_pixel(x, y, colours[(at % 2) as usize]);
            mask.put_pixel(x, y, Luma([0]));
        }
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    #[test]
    fn the_frame_covers_the_border_and_nothing_else() {
        let inside = Rgb([1, 2, 3]);
        let drawn = |kind: usize, seed: u64| {
            let mut picture = RgbImage::from_pixel(100, 100, inside);
            let mut mask = GrayImage::from_pixel(100, 100, Luma([255]));
            draw(&mut picture, &mut mask, kind, &mut ChaCha8Rng::seed_from_u64(seed));
            for (x, y, p) in picture.enumerate_pixels() {
                let border = x.min(y).min(99 - x).min(99 - y) < 9;
                assert_eq!((*p != inside, mask.get_pixel(x, y)[0] == 0), (border, border), "({x}, {y})");
            }
            picture
        };
        assert_eq!(drawn(0, 1), drawn(0, 1));
        assert_ne!(drawn(0, 1), drawn(1, 1), "the pattern differs");
        assert_ne!(drawn(0, 1), drawn(0, 2), "the colours differ");
        // Stripes are constant along a diagonal, chessboards alternate along both axes.
        let (stripes, board) = (drawn(0, 3), drawn(1, 3));
        assert_eq!(stripes.get_pixel(4, 40), stripes.get_pixel(5, 39));
        assert_eq!(board.get_pixel(0, 0), board.get_pixel(3, 3));
        assert_ne!(board.get_pixel(0, 0), board.get_pixel(3, 0));
    }
}

//! Pictures side by side.

use image::{GrayImage, Rgb, RgbImage, imageops};

/// Pixels between two tiles.
const GAP: u32 = 3;

/// Rows of pictures, each scaled to `tile` x `tile` pixels, on white.
pub(crate) fn draw(rows: &[Vec<RgbImage>], tile: u32) -> RgbImage {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let length = |count: usize| count as u32 * (tile + GAP) + GAP;
    let mut sheet = RgbImage::from_pixel(length(columns), length(rows.len()), Rgb([255; 3]));
    for (y, row) in rows.iter().enumerate() {
        for (x, picture) in row.iter().enumerate() {
            let mut picture = imageops::resize(picture, tile, tile, imageops::FilterType::Triangle);
            // Nobody sees the two lowest bits, and without them the file is half as large.
            picture.pixels_mut().for_each(|p| p.0 = p.0.map(|value| value & 0b1111_1100));
            imageops::replace(&mut sheet, &picture, i64::from(length(x)), i64::from(length(y)));
        }
    }
    sheet
}

/// Draws the border of the white part of a mask of the picture's size.
pub(crate) fn outline(picture: &mut RgbImage, mask: &GrayImage) {
    let (width, height) = mask.dimensions();
    for (x, y, p) in mask.enumerate_pixels() {
        let differs = |nx: u32, ny: u32| nx < width && ny < height && mask.get_pixel(nx, ny) != p;
        if differs(x + 1, y) || differs(x, y + 1) {
            picture.put_pixel(x, y, Rgb([255, 0, 255]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_different_lengths_fit_on_the_sheet() {
        let picture = |v| RgbImage::from_pixel(7, 5, Rgb([v; 3]));
        let sheet = draw(&[vec![picture(100)], vec![picture(100), picture(200)]], 10);
        assert_eq!(sheet.dimensions(), (2 * 13 + 3, 2 * 13 + 3));
        assert_eq!(sheet.get_pixel(3 + 13 + 1, 3 + 13 + 1), &Rgb([200; 3]));
        assert_eq!(sheet.get_pixel(3 + 13 + 1, 3 + 1), &Rgb([255; 3]));
    }
}

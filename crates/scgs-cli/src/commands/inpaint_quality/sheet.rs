//! Examples side by side.

use image::{Rgb, RgbImage, imageops};

use super::{Shown, scenes::Task};

/// Side of one picture on the sheet.
const TILE: u32 = 64;
const GAP: u32 = 3;

/// One row per example: the picture with its mask outlined, then what each painter made of it.
pub(super) fn draw(shown: &[Shown]) -> RgbImage {
    let rows: usize = shown.iter().map(|(task, scenes, _)| examples(*task).min(scenes.len())).sum();
    let columns = shown.iter().map(|(_, _, columns)| columns.len()).max().unwrap_or(0);
    let length = |count: usize| count as u32 * (TILE + GAP) + GAP;
    let mut sheet = RgbImage::from_pixel(length(columns), length(rows), Rgb([255, 255, 255]));
    let mut top = GAP;
    for (task, scenes, columns) in shown {
        for (i, scene) in scenes.iter().enumerate().take(examples(*task)) {
            for (column, pictures) in columns.iter().enumerate() {
                let Some(picture) = pictures.get(i) else { continue };
                let mut tile = picture.clone();
                if column == 0 {
                    outline(&mut tile, &scene.mask);
                }
                let mut tile = imageops::resize(&tile, TILE, TILE, imageops::FilterType::Triangle);
                // Nobody sees the two lowest bits, and without them the file is half as large.
                tile.pixels_mut().for_each(|p| p.0 = p.0.map(|value| value & 0b1111_1100));
                imageops::replace(&mut sheet, &tile, i64::from(GAP + column as u32 * (TILE + GAP)), i64::from(top));
            }
            top += TILE + GAP;
        }
    }
    sheet
}

fn examples(task: Task) -> usize {
    if task == Task::Object { 4 } else { 2 }
}

fn outline(picture: &mut RgbImage, mask: &image::GrayImage) {
    let (width, height) = mask.dimensions();
    for (x, y, p) in mask.enumerate_pixels() {
        let differs = |nx: u32, ny: u32| nx < width && ny < height && mask.get_pixel(nx, ny) != p;
        if differs(x + 1, y) || differs(x, y + 1) {
            picture.put_pixel(x, y, Rgb([255, 0, 255]));
        }
    }
}

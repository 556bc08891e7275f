//! Examples side by side.

use image::RgbImage;

use super::{Shown, scenes::Task};
use crate::contact_sheet;

/// Side of one picture on the sheet.
const TILE: u32 = 64;

/// One row per example: the picture with its mask outlined, then what each painter made of it.
pub(super) fn draw(shown: &[Shown]) -> RgbImage {
    let mut rows = Vec::new();
    for (task, scenes, columns) in shown {
        for (i, scene) in scenes.iter().enumerate().take(examples(*task)) {
            let mut row: Vec<RgbImage> = columns.iter().filter_map(|pictures| pictures.get(i).cloned()).collect();
            if let Some(first) = row.first_mut() {
                contact_sheet::outline(first, &scene.mask);
            }
            rows.push(row);
        }
    }
    contact_sheet::draw(&rows, TILE)
}

fn examples(task: Task) -> usize {
    if task == Task::Object { 4 } else { 2 }
}

//! Examples of a run as one picture: how new pictures came to be.

use std::path::Path;

use anyhow::{Context as _, ensure};
use image::{RgbImage, codecs::jpeg::JpegEncoder, imageops};
use rand::{Rng, seq::IndexedRandom as _};
use scgs_data::{read_rgb, stream};
use scgs_debias::{
    RunFolder,
    stages::{masks, synthesis},
};

use super::Run;
use crate::{contact_sheet, overlay};

/// Side of a picture in pixels.
const TILE: u32 = 128;
/// JPEG's own scale, 1 to 100.
const QUALITY: u8 = 92;
/// New pictures shown, one row each.
const ROWS: usize = 3;

/// Writes new pictures of the run's first seed, drawn at random, one row each: source, attention, mask, new picture. The ending
/// of the name decides between PNG and JPEG.
///
/// # Errors
/// If the run has made no pictures, files are missing or damaged, or the name ends otherwise.
pub(crate) fn write(run_dir: &Path, to: &Path) -> anyhow::Result<()> {
    let format = image::ImageFormat::from_path(to).ok();
    let format = format.filter(|format| matches!(format, image::ImageFormat::Png | image::ImageFormat::Jpeg));
    let format =
        format.with_context(|| format!("--examples {}: expected a name ending in .png or .jpg", to.display()))?;
    let run = Run::open(run_dir)?;
    let folder = run.seed(run.first_seed())?;
    ensure!(
        folder.is_done(synthesis::STAGE),
        "{} has no new pictures: run it with a method such as `--methods erm,scgs`",
        folder.root().display()
    );
    let rows = chain(&folder, ROWS, &mut stream(folder.seed, "report/examples", 0))?;
    let mut bytes = std::io::Cursor::new(Vec::new());
    let sheet = contact_sheet::draw(&rows, TILE);
    if format == image::ImageFormat::Jpeg {
        sheet.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, QUALITY))?;
    } else {
        sheet.write_to(&mut bytes, format)?;
    }
    Ok(scgs_data::atomic::write(to, bytes.into_inner())?)
}

/// `count` new pictures that are used for training, drawn at random: source, attention over it, mask outlined on it, new picture.
///
/// # Errors
/// If files of the run are missing or damaged.
pub(crate) fn chain(folder: &RunFolder, count: usize, rng: &mut impl Rng) -> anyhow::Result<Vec<Vec<RgbImage>>> {
    let made: Vec<_> = synthesis::read(folder, synthesis::STAGE)?.into_iter().filter(|row| row.uses > 0).collect();
    let mut rows = Vec::new();
    for row in made.sample(rng, count) {
        let path = |file: String| folder.path(masks::STAGE, &file);
        let source = read_rgb(path(format!("{}-picture.png", row.source_id)))?;
        // A mask of one's own comes without attention.
        let attention = path(format!("{}-attention.png", row.source_id));
        let attention = if attention.is_file() {
            let map = imageops::grayscale(&read_rgb(attention)?);
            let size = source.dimensions();
            overlay::overlay(&source, &imageops::resize(&map, size.0, size.1, imageops::FilterType::Triangle))
        } else {
            RgbImage::new(1, 1)
        };
        let mut masked = source.clone();
        contact_sheet::outline(&mut masked, &masks::load(folder, masks::STAGE, row.source_id)?);
        rows.push(vec![source, attention, masked, read_rgb(folder.path(synthesis::STAGE, &row.img_filename))?]);
    }
    Ok(rows)
}

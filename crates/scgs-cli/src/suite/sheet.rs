//! Examples of one seed, drawn at random: what was repainted, and what came of it on test pictures.

use std::collections::BTreeMap;

use image::RgbImage;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use scgs_data::{Index, read_rgb, stream};
use scgs_debias::{
    RunFolder,
    arms::Arm,
    stages::{evaluate, masks, sources::Variant, synthesis},
};

use crate::contact_sheet;

/// Side of a picture on the sheet.
const TILE: u32 = 96;
/// New pictures shown, one row each.
const CHAINS: usize = 6;
/// Test pictures shown per outcome.
const OUTCOMES: usize = 6;

/// The sheet and what it shows.
pub(crate) struct Sheet {
    /// The picture.
    pub picture: RgbImage,
    /// In words, Markdown.
    pub legend: String,
}

/// Draws the examples of a finished seed of the recipe.
///
/// # Errors
/// If files of the run are missing or damaged.
pub(crate) fn of_seed(folder: &RunFolder, index: &Index) -> anyhow::Result<Sheet> {
    let mut rows: Vec<Vec<RgbImage>> = Vec::new();
    let mut rng = stream(folder.seed, "suite/examples", 0);
    let made = synthesis::read(folder, synthesis::STAGE)?;
    for row in made.sample(&mut rng, CHAINS) {
        let path = |file: String| folder.path(masks::STAGE, &file);
        let mut source = read_rgb(path(format!("{}-picture.png", row.source_id)))?;
        let attention = path(format!("{}-attention.png", row.source_id));
        let attention = if attention.is_file() { read_rgb(attention)? } else { RgbImage::new(1, 1) };
        let mask = masks::load(folder, masks::STAGE, row.source_id)?;
        let plain = source.clone();
        contact_sheet::outline(&mut source, &mask);
        rows.push(vec![plain, attention, source, read_rgb(folder.path(synthesis::STAGE, &row.img_filename))?]);
    }
    let answers = |arm: &str| -> anyhow::Result<BTreeMap<u64, bool>> {
        let rows = evaluate::read_predictions(folder, arm.parse::<Arm>()?)?;
        Ok(rows.iter().map(|p| (p.id, p.predicted == p.label)).collect())
    };
    let (before, after) = (answers("erm")?, answers(Variant::Scgs.arm())?);
    let mut counts = Vec::new();
    for (was, is) in [(false, true), (true, false), (false, false)] {
        let mut ids: Vec<u64> = before.iter().filter(|(id, b)| **b == was && after[id] == is).map(|p| *p.0).collect();
        counts.push(ids.len());
        ids.shuffle(&mut rng);
        ids.truncate(OUTCOMES);
        let of =
            |id: &u64| index.samples.iter().find(|s| s.id == *id).expect("answers are about pictures of the data set");
        rows.push(ids.iter().map(|id| read_rgb(index.absolute(of(id)))).collect::<Result<_, _>>()?);
    }
    let legend = format!(
        "Seed {}, drawn at random. First {CHAINS} rows, one new picture each: the source, the attention, the mask that was \
         repainted (outlined), the new picture. Then test pictures: {} that ERM answers wrongly and SCGS rightly, {} the other way \
         round, {} that both answer wrongly; up to {OUTCOMES} of each.",
        folder.seed, counts[0], counts[1], counts[2]
    );
    Ok(Sheet { picture: contact_sheet::draw(&rows, TILE), legend })
}

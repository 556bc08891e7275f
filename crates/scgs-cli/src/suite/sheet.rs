//! Examples of one seed, drawn at random: what was repainted, and what came of it on test pictures.

use std::collections::BTreeMap;

use image::RgbImage;
use rand::seq::SliceRandom as _;
use scgs_data::{Index, read_rgb, stream};
use scgs_debias::{
    RunFolder,
    arms::Arm,
    stages::{evaluate, sources::Variant},
};

use crate::{contact_sheet, report::examples};

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
    let mut rng = stream(folder.seed, "suite/examples", 0);
    let mut rows = examples::chain(folder, CHAINS, &mut rng)?;
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

//! Stage `5-synthesis`: the new training pictures.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use image::RgbImage;
use rayon::prelude::*;
use scgs_data::{atomic, read_rgb, stream};
use scgs_diffusion::{BackgroundCrop, Inpainter, Request};
use serde::{Deserialize, Serialize};

use super::{
    Inputs,
    clusters::{self, Pick},
    masks,
};
use crate::{Context, Error, RunFolder, features::Features, run_folder, settings::TrainMode};

/// Folder name of the pictures made with attention masks.
pub const STAGE: &str = "5-synthesis";
/// Folder name of the control with random masks.
pub const RANDOM_STAGE: &str = "5-synthesis-random-mask";
/// Pictures painted between two looks at the cancel flag.
const CHUNK: usize = 16;
/// Ids of new pictures start here, so that they cannot be confused with real ones.
const FIRST_ID: u64 = 1 << 40;

/// A row of `metadata.csv`: the six columns of Waterbirds, then where the picture comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Synthetic {
    /// Unique among real and new pictures.
    pub img_id: u64,
    /// Below the stage's folder.
    pub img_filename: String,
    /// The class: that of the source.
    pub y: usize,
    /// 0: new pictures are training pictures.
    pub split: u8,
    /// -1: the spurious attribute of a new picture is not known.
    pub place: i8,
    /// Empty.
    pub place_filename: String,
    /// Id of the repainted picture.
    pub source_id: u64,
    /// Counts the pictures made from one source.
    pub repeat: usize,
    /// File of the mask, relative to the run's folder.
    pub mask: String,
    /// Name of the inpainter.
    pub inpainter: String,
    /// What it was asked to paint.
    pub prompt: String,
}

/// Repaints the picked sources through the masks of `mask_stage` into `stage`; computes the features of the new pictures
/// where arms are trained on features. Pictures that an interrupted attempt finished are kept: each is a function of
/// (seed, stage, source, repeat) alone.
///
/// # Errors
/// Those of reading pictures and of the inpainter.
pub fn run(inputs: Inputs<'_>, context: &Context<'_>, stage: &str, mask_stage: &str) -> Result<(), Error> {
    let picks = usable_picks(inputs, mask_stage)?;
    let featured = inputs.settings.train.mode == TrainMode::Head;
    let total = picks.len() * if featured { 2 } else { 1 };
    inputs.folder.stage(context, stage, total, |folder| {
        let images = folder.join("images");
        fs_err::create_dir_all(&images)?;
        let inpainter = inpainter(inputs)?;
        let rows: Vec<Synthetic> =
            picks.iter().enumerate().map(|(i, pick)| row(inputs, i, pick, mask_stage, &inpainter)).collect();
        for (i, chunk) in rows.chunks(CHUNK).enumerate() {
            chunk.par_iter().try_for_each(|row| paint(inputs, folder, stage, mask_stage, row, &inpainter))?;
            context.advance(stage, i * CHUNK + chunk.len())?;
        }
        run_folder::write_csv(&folder.join("metadata.csv"), &rows)?;
        if featured {
            let network = inputs.erm_network(context)?;
            let files: Vec<_> = rows.iter().map(|r| (r.img_id, folder.join(&r.img_filename))).collect();
            let shifted = Context {
                device: context.device.clone(),
                cancelled: context.cancelled,
                report: &|event| match event {
                    crate::Event::Advanced { done } => {
                        (context.report)(crate::Event::Advanced { done: rows.len() + done });
                    }
                    other => (context.report)(other),
                },
            };
            Features::compute(&shifted, stage, &network, inputs.input(), &files)?
                .save(&folder.join("features.safetensors"))?;
        }
        let sources: BTreeSet<u64> = rows.iter().map(|r| r.source_id).collect();
        Ok(format!("{} pictures from {} sources by {}", rows.len(), sources.len(), inpainter.name()))
    })
}

/// The new pictures of a stage.
///
/// # Errors
/// If the table is missing or damaged.
pub fn read(folder: &RunFolder, stage: &str) -> Result<Vec<Synthetic>, Error> {
    run_folder::read_csv(&folder.path(stage, "metadata.csv"))
}

/// The features of the new pictures of a stage.
///
/// # Errors
/// If the file is missing or damaged.
pub fn features(folder: &RunFolder, stage: &str) -> Result<Features, Error> {
    Features::load(&folder.path(stage, "features.safetensors"))
}

/// The picks; where some sources have no mask, a new balanced pick among those that have one.
pub(crate) fn usable_picks(inputs: Inputs<'_>, mask_stage: &str) -> Result<Vec<Pick>, Error> {
    let skipped: BTreeSet<u64> =
        masks::read(inputs.folder, mask_stage)?.iter().filter(|r| r.area.is_none()).map(|r| r.id).collect();
    let picks = clusters::picks(inputs.folder)?;
    if picks.iter().all(|p| !skipped.contains(&p.id)) {
        return Ok(picks);
    }
    let members: Vec<_> = clusters::members(inputs.folder)?.into_iter().filter(|m| !skipped.contains(&m.id)).collect();
    let real = crate::stages::erm::train_predictions(inputs.folder)?.len();
    clusters::pick(inputs, &members, real)
}

fn inpainter(inputs: Inputs<'_>) -> Result<BackgroundCrop, Error> {
    let folder = inputs.backgrounds.ok_or_else(|| Error::Config {
        origin: "synthesis".into(),
        message: "the background-crop fill needs pictures without objects: name their folder with --backgrounds DIR"
            .into(),
    })?;
    let mut paths: Vec<PathBuf> = fs_err::read_dir(folder)?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .filter(|p| p.is_file())
        .collect();
    paths.sort();
    let pictures: Result<Vec<RgbImage>, _> = paths.par_iter().map(read_rgb).collect();
    let pictures = pictures.map_err(|e| Error::BadPictures { bad: vec![e.to_string()], allowed: 0 })?;
    BackgroundCrop::new(pictures, inputs.settings.synthesis.feather)
        .map_err(|e| Error::Config { origin: folder.display().to_string(), message: e.to_string() })
}

fn row(inputs: Inputs<'_>, i: usize, pick: &Pick, mask_stage: &str, inpainter: &dyn Inpainter) -> Synthetic {
    let prompts = &inputs.prompts;
    Synthetic {
        img_id: FIRST_ID + i as u64,
        img_filename: format!("images/{}-{}.png", pick.id, pick.repeat),
        y: pick.label,
        split: 0,
        place: -1,
        place_filename: String::new(),
        source_id: pick.id,
        repeat: pick.repeat,
        mask: format!("{mask_stage}/{}.png", pick.id),
        inpainter: inpainter.name().to_owned(),
        prompt: prompts.get(pick.label).cloned().unwrap_or_default(),
    }
}

fn paint(
    inputs: Inputs<'_>,
    folder: &Path,
    stage: &str,
    mask_stage: &str,
    row: &Synthetic,
    inpainter: &dyn Inpainter,
) -> Result<(), Error> {
    let path = folder.join(&row.img_filename);
    if path.is_file() {
        return Ok(());
    }
    let sample = inputs.index.samples.iter().find(|s| s.id == row.source_id).ok_or_else(|| Error::RunFolder {
        path: inputs.folder.path(clusters::STAGE, "pick.csv"),
        message: format!("picture {} is not in the data set", row.source_id),
    })?;
    let picture = read_rgb(inputs.index.absolute(sample))
        .map_err(|e| Error::BadPictures { bad: vec![e.to_string()], allowed: 0 })?;
    let mask = masks::load(inputs.folder, mask_stage, row.source_id)?;
    // One stream per (source, repeat); the control shares it, so that only the mask differs.
    debug_assert!(stage == STAGE || stage == RANDOM_STAGE);
    let mut rng = stream(inputs.folder.seed, &format!("{STAGE}/{}", row.source_id), row.repeat as u64);
    let request = Request { picture: &picture, mask: &mask, prompt: &row.prompt, class: None };
    let painted =
        inpainter.inpaint(&request, &mut rng).map_err(|source| Error::Inpaint { id: row.source_id, source })?;
    Ok(atomic::save_png(&path, &painted.into())?)
}

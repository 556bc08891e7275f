//! Stage `4-masks`: where the classifier looks in each picked picture, and which part is therefore repainted.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use image::{GrayImage, Luma, RgbImage};
use scgs_cam::{AreaLimits, AttentionMap, Mask, random_blob, random_box, to_repaint};
use scgs_data::{Sample, Split, atomic, read_rgb, stream};
use scgs_models::Network;
use serde::{Deserialize, Serialize};

use super::{
    Inputs,
    clusters::{self, Member},
};
use crate::{
    Context, Error, RunFolder,
    features::Input,
    look::{self, Found},
    run_folder,
    settings::ControlShape,
};

/// Folder name of the attention masks.
pub const STAGE: &str = "4-masks";
/// Folder name of the control: random masks of the same areas.
pub const RANDOM_STAGE: &str = "4-masks-random-mask";

/// A row of `masks.csv`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MaskRow {
    /// The picture.
    pub id: u64,
    /// The class whose evidence the attention map shows.
    pub target: usize,
    /// Share of the picture that is repainted, 0..=1; empty when skipped.
    pub area: Option<f64>,
    /// Why there is no mask; empty when there is one.
    pub skipped: Option<String>,
}

/// Writes `<id>.png` (white = repaint), `<id>-attention.png` (grey, white = 1), `<id>-picture.png` (the source) and
/// `masks.csv` for every clustered mistake.
///
/// # Errors
/// Those of reading pictures and of the attention method (an unknown layer among them).
pub fn run(inputs: Inputs<'_>, context: &Context<'_>) -> Result<(), Error> {
    let members = clusters::members(inputs.folder)?;
    inputs.folder.stage(context, STAGE, members.len(), |folder| {
        let network = inputs.erm_network(context)?;
        let mut rows = Vec::new();
        for (i, (member, sample)) in with_samples(inputs, &members).into_iter().enumerate() {
            let path = inputs.index.absolute(sample);
            let picture = read_rgb(&path).map_err(|e| Error::BadPictures { bad: vec![e.to_string()], allowed: 0 })?;
            // A copy beside the mask, so that a report needs nothing but the run's folder.
            atomic::save_png(folder.join(format!("{}-picture.png", member.id)), &picture.clone().into())?;
            let Found { target, map } = look(inputs, context, &network, path, &picture, member.label)?;
            if let Some(map) = &map {
                atomic::save_png(folder.join(format!("{}-attention.png", member.id)), &grey(map).into())?;
            }
            let outcome = match (&inputs.settings.mask.folder, map) {
                (Some(own), _) => own_mask(own, member.id, &picture),
                (None, Some(map)) => region_to_repaint(inputs, &map, &picture),
                (None, None) => Err("no attention: the map is nowhere positive".to_owned()),
            }
            .and_then(|mask| within_limits(inputs, mask));
            let (area, skipped) = match outcome {
                Ok(mask) => {
                    atomic::save_png(folder.join(format!("{}.png", member.id)), &mask.to_gray().into())?;
                    (Some(mask.area()), None)
                }
                Err(reason) => (None, Some(reason)),
            };
            rows.push(MaskRow { id: member.id, target, area, skipped });
            context.advance(STAGE, i + 1)?;
        }
        let usable: Vec<f64> = rows.iter().filter_map(|r| r.area).collect();
        for (class, name) in inputs.index.classes.iter().enumerate() {
            let of_class = members.iter().zip(&rows).filter(|(m, _)| m.label == class);
            if of_class.clone().all(|(_, r)| r.area.is_none()) {
                run_folder::write_csv(&folder.join("masks.csv"), &rows)?;
                let (class, skipped) = (name.clone(), of_class.count());
                return Err(Error::NoMask { class, skipped, masks: folder.join("masks.csv") });
            }
        }
        run_folder::write_csv(&folder.join("masks.csv"), &rows)?;
        Ok(format!(
            "{} masks, {} skipped, mean area {:.2}",
            usable.len(),
            rows.len() - usable.len(),
            usable.iter().sum::<f64>() / usable.len() as f64
        ))
    })
}

/// The control: for every mask a random one of the same area.
///
/// # Errors
/// If the masks are missing or damaged.
pub fn run_random(inputs: Inputs<'_>, context: &Context<'_>) -> Result<(), Error> {
    let rows = read(inputs.folder, STAGE)?;
    inputs.folder.stage(context, RANDOM_STAGE, rows.len(), |folder| {
        for (i, row) in rows.iter().enumerate() {
            if let Some(area) = row.area {
                let mask = load(inputs.folder, STAGE, row.id)?;
                let mut rng = stream(inputs.folder.seed, RANDOM_STAGE, row.id);
                // What the attention keeps (or repaints) is a region; its control is a shape of that region's area.
                let inverted = area > 0.5;
                let share = if inverted { 1.0 - area } else { area };
                let shape = match inputs.settings.mask.control {
                    ControlShape::Box => random_box,
                    ControlShape::Blob => random_blob,
                };
                let region = shape(mask.width() as usize, mask.height() as usize, share, &mut rng)?;
                let control = if inverted { region.invert() } else { region };
                atomic::save_png(folder.join(format!("{}.png", row.id)), &control.to_gray().into())?;
            }
            context.advance(RANDOM_STAGE, i + 1)?;
        }
        run_folder::write_csv(&folder.join("masks.csv"), &rows)?;
        Ok(format!("{} random masks of the same areas", rows.iter().filter(|r| r.area.is_some()).count()))
    })
}

/// The table of a mask stage.
///
/// # Errors
/// If the file is missing or damaged.
pub fn read(folder: &RunFolder, stage: &str) -> Result<Vec<MaskRow>, Error> {
    run_folder::read_csv(&folder.path(stage, "masks.csv"))
}

/// The mask of one picture.
///
/// # Errors
/// If the file is missing or damaged.
pub fn load(folder: &RunFolder, stage: &str, id: u64) -> Result<GrayImage, Error> {
    let path = folder.path(stage, &format!("{id}.png"));
    let bytes = fs_err::read(&path)?;
    Ok(image::load_from_memory(&bytes).map_err(|e| run_folder::table_error(&path, &e))?.to_luma8())
}

/// The attention of the classifier on one picture, at the picture's own size.
fn look(
    inputs: Inputs<'_>,
    context: &Context<'_>,
    network: &Network,
    path: PathBuf,
    picture: &RgbImage,
    label: usize,
) -> Result<Found, Error> {
    let paths = [path];
    let load = |side: usize| Input { size: side, ..inputs.input() }.load(&paths, context);
    let size = (picture.width() as usize, picture.height() as usize);
    let looks = std::slice::from_ref(&inputs.settings.attention);
    let mut found = look::maps(network, looks, inputs.settings.backbone.input_size, &[label], size, &load)?;
    Ok(found.pop().and_then(|mut looks| looks.pop()).expect("one picture, one look"))
}

/// The mask, or why there is none.
fn region_to_repaint(inputs: Inputs<'_>, map: &AttentionMap, picture: &RgbImage) -> Result<Mask, String> {
    let settings = &inputs.settings.mask;
    let region = settings.region().of(map, picture).map_err(|e| e.to_string())?;
    Ok(to_repaint(&region, settings.repaint))
}

/// The user's mask of a picture, or why it cannot be used.
fn own_mask(folder: &Path, id: u64, picture: &RgbImage) -> Result<Mask, String> {
    let path = folder.join(format!("{id}.png"));
    let bytes = fs_err::read(&path).map_err(|e| e.to_string())?;
    let mask = image::load_from_memory(&bytes).map_err(|e| format!("{}: {e}", path.display()))?.to_luma8();
    if mask.dimensions() != picture.dimensions() {
        let ((w, h), (pw, ph)) = (mask.dimensions(), picture.dimensions());
        return Err(format!("{} is {w}x{h}, its picture {pw}x{ph}", path.display()));
    }
    let pixels = mask.pixels().map(|p| p[0] > 127).collect();
    Mask::new(mask.width() as usize, mask.height() as usize, pixels).map_err(|e| e.to_string())
}

fn within_limits(inputs: Inputs<'_>, mask: Mask) -> Result<Mask, String> {
    let settings = &inputs.settings.mask;
    match (AreaLimits { min: settings.min_area, max: settings.max_area }).skip(&mask) {
        Some(skipped) => Err(skipped.to_string()),
        None => Ok(mask),
    }
}

fn grey(map: &AttentionMap) -> GrayImage {
    GrayImage::from_fn(map.width as u32, map.height as u32, |x, y| {
        Luma([(map.values[y as usize * map.width + x as usize] * 255.0).round() as u8])
    })
}

fn with_samples<'a>(inputs: Inputs<'a>, members: &'a [Member]) -> Vec<(&'a Member, &'a Sample)> {
    let wanted: BTreeSet<u64> = members.iter().map(|m| m.id).collect();
    let samples: BTreeMap<u64, &Sample> =
        inputs.index.of(Split::Train).into_iter().filter(|s| wanted.contains(&s.id)).map(|s| (s.id, s)).collect();
    members.iter().filter_map(|m| samples.get(&m.id).map(|s| (m, *s))).collect()
}

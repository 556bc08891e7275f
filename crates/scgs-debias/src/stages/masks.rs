//! Stage `4-masks`: where the classifier looks in each source, and which part is therefore repainted.

use std::{collections::BTreeMap, path::Path};

use image::{GrayImage, Luma, RgbImage};
use rand_chacha::ChaCha8Rng;
use scgs_cam::{AreaLimits, AttentionMap, Mask, random_blob, random_box, to_repaint};
use scgs_data::{Sample, Split, atomic, read_rgb, stream};
use scgs_models::Network;
use serde::{Deserialize, Serialize};

use super::{
    Inputs,
    sources::{self, Variant},
};
use crate::{
    Context, Error, RunFolder,
    features::Input,
    journal::Journal,
    look::{self, Found, Look},
    object_masks, run_folder,
    settings::ControlShape,
};

/// Folder name of the attention masks.
pub const STAGE: &str = "4-masks";
/// Folder name of the control: random masks of the same areas. Its random streams have this name too.
pub const RANDOM_STAGE: &str = "4-masks-random-mask";

/// A row of `masks.csv`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MaskRow {
    /// The picture.
    pub id: u64,
    /// The class whose evidence the attention map shows; for masks without attention, the picture's own.
    pub target: usize,
    /// Share of the picture that is repainted, 0..=1; empty when skipped.
    pub area: Option<f64>,
    /// Why there is no mask; empty when there is one.
    pub skipped: Option<String>,
}

/// Writes `<id>.png` (white = repaint) and `masks.csv` for every source of the variant; where the classifier is looked at,
/// also `<id>-attention.png` (grey, white = 1), and for the method `<id>-picture.png` (the source).
///
/// # Errors
/// [`Error::NoMask`] if no source of a class has a mask; those of reading pictures and of the attention method (an unknown
/// layer among them).
pub fn run(inputs: Inputs<'_>, context: &Context<'_>, variant: Variant) -> Result<(), Error> {
    let stage = variant.masks_stage();
    let sources = sources::read(inputs.folder, variant)?;
    inputs.folder.stage(context, &stage, sources.len(), |folder| {
        let samples = samples(inputs);
        let mut rows: Vec<MaskRow> = Vec::new();
        let (mut journal, finished) = Journal::open::<MaskRow>(&folder.join("masks.partial"))?;
        let finished: BTreeMap<u64, MaskRow> = finished.into_iter().map(|row| (row.id, row)).collect();
        let mut maker = Maker::new(inputs, context, variant)?;
        for (i, source) in sources.iter().enumerate() {
            // A source that becomes several classes has one mask; its rows follow each other.
            if i > 0 && sources[i - 1].id == source.id {
                continue;
            }
            if let Some(row) = finished.get(&source.id) {
                rows.push(row.clone());
                continue;
            }
            let sample = samples.get(&source.id).ok_or_else(|| unknown_picture(inputs, variant, source.id))?;
            let (target, outcome) = maker.mask(sample, folder)?;
            let (area, skipped) = match outcome {
                Ok(mask) => {
                    atomic::save_png(folder.join(format!("{}.png", source.id)), &mask.to_gray().into())?;
                    (Some(mask.area()), None)
                }
                Err(reason) => (None, Some(reason)),
            };
            let row = MaskRow { id: source.id, target, area, skipped };
            journal.push(&row)?;
            rows.push(row);
            context.advance(&stage, i + 1)?;
        }
        run_folder::write_csv(&folder.join("masks.csv"), &rows)?;
        for (class, name) in inputs.index.classes.iter().enumerate() {
            let masked = |id| rows.iter().any(|r| r.id == id && r.area.is_some());
            let of_class = sources.iter().filter(|s| s.becomes == class);
            if !of_class.clone().any(|s| masked(s.id)) {
                let (class, skipped) = (name.clone(), of_class.count());
                return Err(Error::NoMask { class, skipped, masks: folder.join("masks.csv") });
            }
        }
        let usable: Vec<f64> = rows.iter().filter_map(|r| r.area).collect();
        Ok(format!(
            "{} masks, {} skipped, mean area {:.2}",
            usable.len(),
            rows.len() - usable.len(),
            usable.iter().sum::<f64>() / usable.len() as f64
        ))
    })
}

/// How masks of a variant are made.
enum Maker<'a> {
    /// Where the classifier looks.
    Attention { inputs: Inputs<'a>, context: &'a Context<'a>, network: Box<Network>, keep_pictures: bool },
    /// A random shape of the area of the method's mask.
    Random { inputs: Inputs<'a>, areas: BTreeMap<u64, MaskRow> },
    /// The true object (oracle).
    Truth { inputs: Inputs<'a> },
    /// The whole picture.
    All { inputs: Inputs<'a> },
}

/// A mask, or why there is none.
type Outcome = Result<Mask, String>;

impl<'a> Maker<'a> {
    fn new(inputs: Inputs<'a>, context: &'a Context<'a>, variant: Variant) -> Result<Self, Error> {
        Ok(match variant {
            Variant::Scgs | Variant::ContextOnly | Variant::RandomSource => Self::Attention {
                inputs,
                context,
                network: Box::new(inputs.erm_network(context)?),
                keep_pictures: variant != Variant::RandomSource,
            },
            Variant::RandomMask => Self::Random {
                inputs,
                areas: read(inputs.folder, STAGE)?.into_iter().map(|row| (row.id, row)).collect(),
            },
            Variant::OracleMask => Self::Truth { inputs },
            Variant::Generic => Self::All { inputs },
        })
    }

    /// The class that was explained (for masks without attention, the picture's own), and the mask.
    fn mask(&mut self, sample: &Sample, folder: &Path) -> Result<(usize, Outcome), Error> {
        match self {
            Self::Attention { inputs, context, network, keep_pictures } => {
                let inputs = *inputs;
                let picture = picture(inputs, sample)?;
                if *keep_pictures {
                    // A copy beside the mask, so that a report needs nothing but the run's folder.
                    atomic::save_png(folder.join(format!("{}-picture.png", sample.id)), &picture.clone().into())?;
                }
                let look = &inputs.settings.attention;
                let Found { target, map } = attention_of(inputs, context, network, look, sample, &picture)?;
                if let Some(map) = &map {
                    atomic::save_png(folder.join(format!("{}-attention.png", sample.id)), &grey(map).into())?;
                }
                let region = match &inputs.settings.mask.folder {
                    Some(own) => own_mask(own, sample.id, &picture),
                    None => region(inputs, map.as_ref(), &picture)
                        .map(|region| to_repaint(&region, inputs.settings.mask.repaint)),
                };
                Ok((target, region.and_then(|mask| within_limits(inputs, mask))))
            }
            Self::Random { inputs, areas } => {
                let row =
                    areas.get(&sample.id).ok_or_else(|| unknown_picture(*inputs, Variant::RandomMask, sample.id))?;
                let Some(area) = row.area else {
                    return Ok((row.target, Err(row.skipped.clone().unwrap_or_default())));
                };
                let (width, height) = load(inputs.folder, STAGE, sample.id)?.dimensions();
                let mut rng = stream(inputs.folder.seed, RANDOM_STAGE, sample.id);
                Ok((row.target, Ok(random_like(*inputs, (width, height), area, &mut rng)?)))
            }
            Self::Truth { inputs } => {
                let region = object_masks::read(inputs.index, sample.id)?;
                let mask = to_repaint(&region, inputs.settings.mask.repaint);
                Ok((sample.label, within_limits(*inputs, mask)))
            }
            Self::All { inputs } => {
                let (width, height) = picture(*inputs, sample)?.dimensions();
                let (width, height) = (width as usize, height as usize);
                Ok((sample.label, Ok(Mask::new(width, height, vec![true; width * height])?)))
            }
        }
    }
}

/// A random mask of the same area. What the attention keeps (or repaints) is a region; its control is a shape of that
/// region's area.
pub(crate) fn random_like(
    inputs: Inputs<'_>,
    (width, height): (u32, u32),
    area: f64,
    rng: &mut ChaCha8Rng,
) -> Result<Mask, Error> {
    let inverted = area > 0.5;
    let share = if inverted { 1.0 - area } else { area };
    let shape = match inputs.settings.mask.control {
        ControlShape::Box => random_box,
        ControlShape::Blob => random_blob,
    };
    let region = shape(width as usize, height as usize, share, rng)?;
    Ok(if inverted { region.invert() } else { region })
}

/// Reads a picture of the data set.
pub(crate) fn picture(inputs: Inputs<'_>, sample: &Sample) -> Result<RgbImage, Error> {
    read_rgb(inputs.index.absolute(sample)).map_err(|e| Error::BadPictures { bad: vec![e.to_string()], allowed: 0 })
}

/// The training pictures by id.
pub(crate) fn samples(inputs: Inputs<'_>) -> BTreeMap<u64, &Sample> {
    inputs.index.of(Split::Train).into_iter().map(|s| (s.id, s)).collect()
}

fn unknown_picture(inputs: Inputs<'_>, variant: Variant, id: u64) -> Error {
    Error::RunFolder {
        path: inputs.folder.path(variant.sources_stage(), "sources.csv"),
        message: format!("picture {id} is not a training picture of the data set, or has no mask to follow"),
    }
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
pub(crate) fn attention_of(
    inputs: Inputs<'_>,
    context: &Context<'_>,
    network: &Network,
    look: &Look,
    sample: &Sample,
    picture: &RgbImage,
) -> Result<Found, Error> {
    let paths = [inputs.index.absolute(sample)];
    let load = |side: usize| Input { size: side, ..inputs.input() }.load(&paths, context);
    let size = (picture.width() as usize, picture.height() as usize);
    let looks = std::slice::from_ref(look);
    let mut found = look::maps(network, looks, inputs.settings.backbone.input_size, &[sample.label], size, &load)?;
    Ok(found.pop().and_then(|mut looks| looks.pop()).expect("one picture, one look"))
}

/// The object's region, or why there is none.
pub(crate) fn region(inputs: Inputs<'_>, map: Option<&AttentionMap>, picture: &RgbImage) -> Outcome {
    let map = map.ok_or_else(|| "no attention: the map is nowhere positive".to_owned())?;
    inputs.settings.mask.region().of(map, picture).map_err(|e| e.to_string())
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

/// A map as grey values, white for 1.
pub(super) fn grey(map: &AttentionMap) -> GrayImage {
    GrayImage::from_fn(map.width as u32, map.height as u32, |x, y| {
        Luma([(map.values[y as usize * map.width + x as usize] * 255.0).round() as u8])
    })
}

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

/// Pictures whose masks are made before the next are begun: what an interruption loses at most.
pub(crate) const AT_ONCE: usize = 16;

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
        let (mut journal, finished) = Journal::open::<MaskRow>(&folder.join("masks.partial"))?;
        let mut finished: BTreeMap<u64, MaskRow> = finished.into_iter().map(|row| (row.id, row)).collect();
        // A source that becomes several classes has one mask; its rows follow each other.
        let mut distinct: Vec<u64> = sources.iter().map(|source| source.id).collect();
        distinct.dedup();
        let left: Vec<&Sample> = distinct
            .iter()
            .filter(|id| !finished.contains_key(id))
            .map(|&id| samples.get(&id).copied().ok_or_else(|| unknown_picture(inputs, variant, id)))
            .collect::<Result<_, _>>()?;
        let maker = Maker::new(inputs, variant)?;
        let network = if maker.looks() { Some(inputs.erm_network(context)?) } else { None };
        let look = &inputs.settings.attention;
        for some in left.chunks(AT_ONCE) {
            let made = overlapped(
                some,
                |sample| network.as_ref().map(|network| seen(inputs, context, network, look, sample)).transpose(),
                |sample, seen| maker.row(sample, seen, folder),
            )?;
            for row in made {
                journal.push(&row)?;
                finished.insert(row.id, row);
            }
            context.advance(&stage, sources.iter().filter(|source| finished.contains_key(&source.id)).count())?;
        }
        let rows: Vec<MaskRow> = distinct.iter().map(|id| finished[id].clone()).collect();
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

/// Gives `finish(item, prepare(item)?)` for each item. `prepare` is called on this thread, one item after the other, while other
/// threads finish what was prepared: a network's passes over one picture leave room beside them.
///
/// # Errors
/// The first of `prepare` or, if none, of `finish`.
pub(crate) fn overlapped<T: Sync, A: Send, B: Send>(
    items: &[T],
    mut prepare: impl FnMut(&T) -> Result<A, Error>,
    finish: impl Fn(&T, A) -> Result<B, Error> + Sync,
) -> Result<Vec<B>, Error> {
    let mut made: Vec<Option<Result<B, Error>>> = items.iter().map(|_| None).collect();
    let finish = &finish;
    rayon::in_place_scope(|scope| {
        for (item, made) in items.iter().zip(&mut made) {
            let prepared = prepare(item)?;
            scope.spawn(move |_| *made = Some(finish(item, prepared)));
        }
        Ok::<(), Error>(())
    })?;
    made.into_iter().map(|made| made.expect("the scope waits for every item")).collect()
}

/// A picture, and where the classifier looks in it.
pub(crate) type Seen = (RgbImage, Found);

/// Reads a picture and asks the network for its attention.
pub(crate) fn seen(
    inputs: Inputs<'_>,
    context: &Context<'_>,
    network: &Network,
    look: &Look,
    sample: &Sample,
) -> Result<Seen, Error> {
    let picture = picture(inputs, sample)?;
    let found = attention_of(inputs, context, network, look, sample, &picture)?;
    Ok((picture, found))
}

/// How masks of a variant are made.
enum Maker<'a> {
    /// Where the classifier looks.
    Attention { inputs: Inputs<'a>, keep_pictures: bool },
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
    fn new(inputs: Inputs<'a>, variant: Variant) -> Result<Self, Error> {
        Ok(match variant {
            Variant::Scgs | Variant::ContextOnly | Variant::RandomSource => {
                Self::Attention { inputs, keep_pictures: variant != Variant::RandomSource }
            }
            Variant::RandomMask => Self::Random {
                inputs,
                areas: read(inputs.folder, STAGE)?.into_iter().map(|row| (row.id, row)).collect(),
            },
            Variant::OracleMask => Self::Truth { inputs },
            Variant::Generic => Self::All { inputs },
        })
    }

    /// Whether it has to be told where the classifier looks.
    fn looks(&self) -> bool {
        matches!(self, Self::Attention { .. })
    }

    /// Writes a picture's mask; its row.
    fn row(&self, sample: &Sample, seen: Option<Seen>, folder: &Path) -> Result<MaskRow, Error> {
        let (target, outcome) = self.mask(sample, seen, folder)?;
        let (area, skipped) = save(folder, sample.id, outcome)?;
        Ok(MaskRow { id: sample.id, target, area, skipped })
    }

    /// The class that was explained (for masks without attention, the picture's own), and the mask.
    fn mask(&self, sample: &Sample, seen: Option<Seen>, folder: &Path) -> Result<(usize, Outcome), Error> {
        match self {
            &Self::Attention { inputs, keep_pictures } => {
                let (picture, Found { target, map }) = seen.expect("asked for where `looks` says so");
                if let Some(map) = &map {
                    atomic::save_png(folder.join(format!("{}-attention.png", sample.id)), &grey(map).into())?;
                }
                let region = match &inputs.settings.mask.folder {
                    Some(own) => own_mask(own, sample.id, &picture),
                    None => region(inputs, map.as_ref(), &picture)
                        .map(|region| to_repaint(&region, inputs.settings.mask.repaint)),
                };
                if keep_pictures {
                    // A copy beside the mask, so that a report needs nothing but the run's folder.
                    atomic::save_png(folder.join(format!("{}-picture.png", sample.id)), &picture.into())?;
                }
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

/// Writes a mask; its area, or why there is none.
pub(crate) fn save(folder: &Path, id: u64, outcome: Outcome) -> Result<(Option<f64>, Option<String>), Error> {
    Ok(match outcome {
        Ok(mask) => {
            atomic::save_png(folder.join(format!("{id}.png")), &mask.to_gray().into())?;
            (Some(mask.area()), None)
        }
        Err(reason) => (None, Some(reason)),
    })
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

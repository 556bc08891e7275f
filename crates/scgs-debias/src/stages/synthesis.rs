//! Stage `5-synthesis`: the new training pictures.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use image::RgbImage;
use rayon::prelude::*;
use scgs_data::{Sample, atomic, read_rgb, stream};
use scgs_diffusion::{BackgroundCrop, CopyPaste, Inpainter, Request};
use serde::{Deserialize, Serialize};

use super::{
    Inputs,
    clusters::Pick,
    masks, objects,
    sources::{self, Variant},
};
use crate::{
    Context, Error, RunFolder,
    features::Features,
    run_folder,
    settings::{InpainterKind, TrainMode},
};

/// Folder name of the pictures made with attention masks.
pub const STAGE: &str = "5-synthesis";
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
    /// The class: that of the source, or for `mask.repaint = swap` another.
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

/// Folder of a variant's new pictures.
pub fn stage_name(variant: Variant) -> String {
    format!("{STAGE}{}", variant.suffix())
}

/// Repaints the sources of a variant through its masks; computes the features of the new pictures where arms are trained on
/// features. Pictures that an interrupted attempt finished are kept: each is a function of (seed, source, repeat) and its
/// mask alone.
///
/// # Errors
/// Those of reading pictures and of the inpainter.
pub fn run(inputs: Inputs<'_>, context: &Context<'_>, variant: Variant) -> Result<(), Error> {
    let stage = stage_name(variant);
    let picks = sources::picks(inputs, variant, &masks::read(inputs.folder, &variant.masks_stage())?)?;
    let featured = inputs.settings.train.mode == TrainMode::Head;
    let total = picks.len() * if featured { 2 } else { 1 };
    inputs.folder.stage(context, &stage, total, |folder| {
        let images = folder.join("images");
        fs_err::create_dir_all(&images)?;
        let job = Job { inputs, variant, inpainter: inpainter(inputs, variant)?, samples: masks::samples(inputs) };
        let rows: Vec<Synthetic> = picks.iter().enumerate().map(|(i, pick)| job.row(i, pick)).collect();
        for (i, chunk) in rows.chunks(CHUNK).enumerate() {
            chunk.par_iter().try_for_each(|row| job.paint(folder, row))?;
            context.advance(&stage, i * CHUNK + chunk.len())?;
        }
        run_folder::write_csv(&folder.join("metadata.csv"), &rows)?;
        if featured {
            let network = inputs.erm_network(context)?;
            let files: Vec<_> = rows.iter().map(|r| (r.img_id, folder.join(&r.img_filename))).collect();
            let shifted = Context {
                device: context.device.clone(),
                cancelled: context.cancelled,
                cache: None,
                report: &|event| match event {
                    crate::Event::Advanced { done } => {
                        (context.report)(crate::Event::Advanced { done: rows.len() + done });
                    }
                    other => (context.report)(other),
                },
            };
            Features::compute(&shifted, &stage, &network, inputs.input(), &files)?
                .save(&folder.join("features.safetensors"))?;
        }
        let sources: BTreeSet<u64> = rows.iter().map(|r| r.source_id).collect();
        Ok(format!("{} pictures from {} sources by {}", rows.len(), sources.len(), job.inpainter.name()))
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

/// What a variant paints with.
fn inpainter(inputs: Inputs<'_>, variant: Variant) -> Result<Box<dyn Inpainter>, Error> {
    let kind = inputs.settings.synthesis.inpainter;
    let fill = Box::new(background_crop(inputs)?);
    Ok(match (variant, kind) {
        (Variant::ContextOnly, _) => Box::new(CopyPaste::context_only(fill)),
        (_, InpainterKind::BackgroundCrop) => fill,
        (_, InpainterKind::CopyPaste) => {
            let paste = CopyPaste::new(fill, objects::cut_outs(inputs, variant)?);
            Box::new(paste.map_err(|e| Error::Config { origin: "synthesis".into(), message: e.to_string() })?)
        }
    })
}

fn background_crop(inputs: Inputs<'_>) -> Result<BackgroundCrop, Error> {
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

/// Everything the painting of a picture needs.
struct Job<'a> {
    inputs: Inputs<'a>,
    variant: Variant,
    inpainter: Box<dyn Inpainter>,
    samples: BTreeMap<u64, &'a Sample>,
}

impl Job<'_> {
    fn row(&self, i: usize, pick: &Pick) -> Synthetic {
        Synthetic {
            img_id: FIRST_ID + i as u64,
            img_filename: format!("images/{}-{}.png", pick.id, pick.repeat),
            y: pick.label,
            split: 0,
            place: -1,
            place_filename: String::new(),
            source_id: pick.id,
            repeat: pick.repeat,
            mask: format!("{}/{}.png", self.variant.masks_stage(), pick.id),
            inpainter: self.inpainter.name().to_owned(),
            prompt: self.inputs.prompts.get(pick.label).cloned().unwrap_or_default(),
        }
    }

    fn paint(&self, folder: &Path, row: &Synthetic) -> Result<(), Error> {
        let path = folder.join(&row.img_filename);
        if path.is_file() {
            return Ok(());
        }
        let inputs = self.inputs;
        let sample = self.samples.get(&row.source_id).ok_or_else(|| Error::RunFolder {
            path: inputs.folder.path(self.variant.sources_stage(), "sources.csv"),
            message: format!("picture {} is not in the data set", row.source_id),
        })?;
        let picture = masks::picture(inputs, sample)?;
        let mask = masks::load(inputs.folder, &self.variant.masks_stage(), row.source_id)?;
        // One stream per (source, repeat); the controls share it, so that only what they change differs.
        let mut rng = stream(inputs.folder.seed, &format!("{STAGE}/{}", row.source_id), row.repeat as u64);
        let request = Request { picture: &picture, mask: &mask, prompt: &row.prompt, class: row.y };
        let painted = self
            .inpainter
            .inpaint(&request, &mut rng)
            .map_err(|source| Error::Inpaint { id: row.source_id, source })?;
        Ok(atomic::save_png(&path, &painted.into())?)
    }
}

//! Stage `5-synthesis`: the new training pictures, and which of them are kept.

pub mod shard;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use image::{GrayImage, RgbImage};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use scgs_data::{Sample, atomic, read_rgb, stream};
use scgs_diffusion::{InpaintError, Inpainter, Request, save_png_with_text};
use serde::{Deserialize, Serialize};

use super::{
    Inputs,
    clusters::Pick,
    diffusion, filter, masks, painter,
    sources::{self, Variant},
};
use crate::{Context, Error, RunFolder, features::Features, logistic::most_probable, run_folder, training::Trained};

/// Folder name of the pictures made with attention masks.
pub const STAGE: &str = "5-synthesis";
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
    /// For a diffusion model the seed with which `scgs inpaint` paints the same; otherwise empty, as what follows.
    #[serde(default)]
    pub seed: String,
    /// Its scheduler.
    #[serde(default)]
    pub scheduler: String,
    /// sha256 of its files.
    #[serde(default)]
    pub model_sha256: String,
    /// sha256 of the mask's pixels.
    #[serde(default)]
    pub mask_sha256: String,
    /// The ERM classifier's answer to the new picture.
    pub erm_predicted: usize,
    /// Probability of that answer, 0..=1.
    pub erm_confidence: f64,
    /// Mean absolute difference to the source in the repainted part, 0..=1.
    pub change: f64,
    /// Why the picture is not used for training; empty when it is.
    pub dropped: Option<String>,
    /// How often it is used for training: 0 when it is dropped, more than once where it stands in for a dropped one.
    pub uses: usize,
}

/// Folder of a variant's new pictures.
pub fn stage_name(variant: Variant) -> String {
    format!("{STAGE}{}", variant.suffix())
}

/// Repaints the sources of a variant through its masks, looks at the new pictures with the ERM classifier and drops what
/// `synthesis.filter` asks for. Pictures that an interrupted attempt finished are kept: each is a function of (seed, source,
/// repeat) and its mask alone.
///
/// # Errors
/// Those of reading pictures and of the inpainter; [`Error::AllDropped`].
pub fn run(inputs: Inputs<'_>, context: &Context<'_>, variant: Variant) -> Result<(), Error> {
    let stage = stage_name(variant);
    let picks = sources::picks(inputs, variant, &masks::read(inputs.folder, &variant.masks_stage())?)?;
    inputs.folder.stage(context, &stage, picks.len() * 2, |folder| {
        fs_err::create_dir_all(folder.join("images"))?;
        if shard::has_shards(folder) {
            // What is missing is painted here; what is there must be what a shard painted.
            let checked = shard::check(folder, &picks)?;
            if let Some(problem) = checked.problems.into_iter().find(|problem| !problem.contains(" is missing: ")) {
                return Err(Error::WrongPicture { folder: folder.to_owned(), problem });
            }
        }
        let job = Job::new(inputs, context, variant)?;
        let rows: Vec<Synthetic> =
            picks.iter().enumerate().map(|(i, pick)| job.row(i, pick)).collect::<Result<_, Error>>()?;
        let mut done = 0;
        for chunk in rows.chunks(job.at_once()) {
            job.paint(folder, chunk)?;
            done += chunk.len();
            context.advance(&stage, done)?;
        }
        complete(inputs, context, variant, folder, rows, job.inpainter.name())
    })
}

/// Looks at the painted pictures with the ERM classifier, drops what the filter asks for and writes `metadata.csv`.
fn complete(
    inputs: Inputs<'_>,
    context: &Context<'_>,
    variant: Variant,
    folder: &Path,
    mut rows: Vec<Synthetic>,
    inpainter: &str,
) -> Result<String, Error> {
    let stage = stage_name(variant);
    let files: Vec<_> = rows.iter().map(|r| (r.img_id, folder.join(&r.img_filename))).collect();
    let report = |event| match event {
        crate::Event::Advanced { done } => {
            (context.report)(crate::Event::Advanced { done: files.len() + done });
        }
        other => (context.report)(other),
    };
    let shifted = Context::new(context.device.clone(), context.cancelled, &report);
    let network = inputs.erm_network(context)?;
    let partial = folder.join("features.partial");
    let features = Features::compute_kept(&shifted, &stage, &network, inputs.input(), &files, Some(&partial))?;
    features.save(&folder.join("features.safetensors"))?;
    let head = Trained::head_of(&network);
    for (i, row) in rows.iter_mut().enumerate() {
        (row.erm_predicted, row.erm_confidence) = most_probable(&head.probabilities(features.row(i)));
    }
    let sources = Sources { inputs, variant, samples: masks::samples(inputs) };
    let looked_at: Vec<filter::Seen> =
        rows.par_iter().map(|row| sources.look(folder, row)).collect::<Result<_, _>>()?;
    filter::apply(&inputs.settings.synthesis.filter, &mut rows, &looked_at, &inputs.index.classes)?;
    run_folder::write_csv(&folder.join("metadata.csv"), &rows)?;
    let sources: BTreeSet<u64> = rows.iter().map(|r| r.source_id).collect();
    let dropped = rows.iter().filter(|r| r.dropped.is_some()).count();
    let dropped = if dropped == 0 { String::new() } else { format!(", {dropped} dropped") };
    Ok(format!("{} pictures from {} sources by {inpainter}{dropped}", rows.len(), sources.len()))
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

/// Where new pictures come from.
struct Sources<'a> {
    inputs: Inputs<'a>,
    variant: Variant,
    samples: BTreeMap<u64, &'a Sample>,
}

impl Sources<'_> {
    /// What the filter needs to know of a new picture.
    fn look(&self, folder: &Path, row: &Synthetic) -> Result<filter::Seen, Error> {
        let path = folder.join(&row.img_filename);
        let new = image::load_from_memory(&fs_err::read(&path)?).map_err(|e| run_folder::table_error(&path, &e))?;
        let (old, mask) = self.source(row)?;
        Ok(filter::Seen::of(&old, &new.to_rgb8(), &mask))
    }

    /// The source of a new picture, and the mask that it was painted through.
    fn source(&self, row: &Synthetic) -> Result<(RgbImage, GrayImage), Error> {
        let inputs = self.inputs;
        let sample = self.samples.get(&row.source_id).ok_or_else(|| Error::RunFolder {
            path: inputs.folder.path(self.variant.sources_stage(), "sources.csv"),
            message: format!("picture {} is not in the data set", row.source_id),
        })?;
        let mask = masks::load(inputs.folder, &self.variant.masks_stage(), row.source_id)?;
        Ok((masks::picture(inputs, sample)?, mask))
    }
}

/// Everything the painting of a picture needs.
struct Job<'a> {
    sources: Sources<'a>,
    inputs: Inputs<'a>,
    variant: Variant,
    inpainter: Box<dyn Inpainter>,
    /// Where the sources are already emptied: the control that pastes nothing is what the method pastes into.
    emptied: Option<PathBuf>,
}

impl<'a> Job<'a> {
    fn new(inputs: Inputs<'a>, context: &Context<'_>, variant: Variant) -> Result<Self, Error> {
        let sources = Sources { inputs, variant, samples: masks::samples(inputs) };
        let control = stage_name(Variant::ContextOnly);
        let emptied = variant == Variant::Scgs && inputs.folder.is_done(&control);
        let emptied = emptied.then(|| inputs.folder.root().join(control));
        Ok(Self { sources, inputs, variant, inpainter: painter::of(inputs, &context.device, variant)?, emptied })
    }

    /// How many pictures are painted together.
    fn at_once(&self) -> usize {
        self.inpainter.at_once().min(self.inputs.memory.painted.get())
    }

    fn row(&self, i: usize, pick: &Pick) -> Result<Synthetic, Error> {
        let prompt = diffusion::prompt(self.inputs, pick.label, pick.repeat);
        let mask = masks::load(self.inputs.folder, &self.variant.masks_stage(), pick.id)?;
        let facts = self.inpainter.provenance(&prompt, &mask, &self.stream(pick.id, pick.repeat));
        let fact = |key: &str| facts.iter().find(|(k, _)| k == key).map(|(_, text)| text.clone()).unwrap_or_default();
        Ok(Synthetic {
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
            prompt,
            seed: fact("seed"),
            scheduler: fact("scheduler"),
            model_sha256: fact("model_sha256"),
            mask_sha256: fact("mask_sha256"),
            erm_predicted: 0,
            erm_confidence: 0.0,
            change: 0.0,
            dropped: None,
            uses: 1,
        })
    }

    /// One stream per (source, repeat); the controls share it, so that only what they change differs.
    fn stream(&self, source: u64, repeat: usize) -> ChaCha8Rng {
        stream(self.inputs.folder.seed, &format!("{STAGE}/{source}"), repeat as u64)
    }

    /// The picture of a row whose source is already emptied.
    fn finished(
        &self,
        row: &Synthetic,
        (request, mut rng): (Request<'_>, ChaCha8Rng),
    ) -> Result<Option<Result<RgbImage, InpaintError>>, Error> {
        // The name is that of source and repeat, which decide what is painted under a mask.
        let path = self.emptied.as_ref().map(|folder| folder.join(&row.img_filename));
        let Some(path) = path.filter(|path| path.is_file()) else { return Ok(None) };
        let emptied = read_rgb(&path).map_err(|e| run_folder::table_error(&path, &e))?;
        Ok(self.inpainter.finish(&request, emptied, &mut rng))
    }

    /// Paints the pictures of some rows, except those that are there.
    fn paint(&self, folder: &Path, rows: &[Synthetic]) -> Result<(), Error> {
        let rows: Vec<&Synthetic> = rows.iter().filter(|row| !folder.join(&row.img_filename).is_file()).collect();
        let inputs: Vec<(RgbImage, GrayImage)> =
            rows.par_iter().map(|row| self.sources.source(row)).collect::<Result<_, _>>()?;
        let request = |i: usize| {
            let (row, (picture, mask)) = (rows[i], &inputs[i]);
            let request = Request { picture, mask, prompt: &row.prompt, class: row.y };
            (request, self.stream(row.source_id, row.repeat))
        };
        let mut painted: Vec<Option<Result<RgbImage, InpaintError>>> =
            (0..rows.len()).into_par_iter().map(|i| self.finished(rows[i], request(i))).collect::<Result<_, _>>()?;
        let left: Vec<usize> = (0..rows.len()).filter(|&i| painted[i].is_none()).collect();
        let mut work: Vec<(Request<'_>, ChaCha8Rng)> = left.iter().map(|&i| request(i)).collect();
        for (i, new) in left.into_iter().zip(self.inpainter.inpaint_all(&mut work)) {
            painted[i] = Some(new);
        }
        rows.into_par_iter().zip(painted).zip(&inputs).try_for_each(|((row, painted), (_, mask))| {
            let painted = painted.expect("painted, if it was not finished");
            let painted = painted.map_err(|source| Error::Inpaint { id: row.source_id, source })?;
            let facts = self.inpainter.provenance(&row.prompt, mask, &self.stream(row.source_id, row.repeat));
            let path = folder.join(&row.img_filename);
            Ok(match facts.is_empty() {
                true => atomic::save_png(&path, &painted.into()),
                false => save_png_with_text(&path, &painted, &facts),
            }?)
        })
    }
}

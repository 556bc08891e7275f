//! How well attention finds the object: the overlap of masks with true object masks, for many ways of looking.
//!
//! Evaluation only. Object masks exist for composed data sets and are read here and in [`crate::diagnostics`]; no stage
//! of a run reads anything this module computes. A person may choose settings from its table.
//!
//! [`measure`] takes a seed whose first stages are finished ([`crate::pipeline::until_clusters`]) and looks at its
//! error set and at as many other training pictures. [`Table::new`] puts the seeds together.

mod causal;
mod table;

use std::collections::BTreeMap;

use image::RgbImage;
use rand::seq::SliceRandom as _;
use rayon::prelude::*;
use scgs_cam::{
    AttentionMap, CamMethod, Epsilon, Mask, MaskRule, energy_inside, pointing_game, random_blob, random_box,
};
use scgs_data::{Sample, Split, read_rgb, stream};
use serde::Serialize;

pub use causal::{Causal, causal};
pub use table::{CausalRow, Mean, Table, TableRow};

use crate::{
    Context, Error,
    look::{self, AttentionTarget, Look},
    object_masks,
    region::{Region, Tidy},
    stages::{Inputs, errors},
};

/// The name under which progress is shown and random streams are drawn.
const STAGE: &str = "mask-quality";
/// Pictures per forward pass; bounds memory, does not change any result.
const BATCH: usize = 16;
/// Tolerance of the pointing game in pixels: the 15 pixels of Zhang et al. (arXiv 1608.00507) are 3 % of their pictures'
/// 500 pixels, which is 4 of 128.
const TOLERANCE: f64 = 0.03;

/// Ways of looking, each combined with each region.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// Attention maps.
    pub looks: Vec<Look>,
    /// What is made of them.
    pub regions: Vec<Region>,
}

/// What is compared, and what the controls follow.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// The rows of the table.
    pub blocks: Vec<Block>,
    /// Random masks have the areas of this look's regions of this kind; where it is not among the blocks, or has no
    /// attention, the true object's area.
    pub reference: (Look, Region),
}

impl Comparison {
    /// The looks of all blocks, each once.
    pub fn looks(&self) -> Vec<Look> {
        let mut looks: Vec<Look> = Vec::new();
        for look in self.blocks.iter().flat_map(|b| &b.looks) {
            if !looks.contains(look) {
                looks.push(look.clone());
            }
        }
        looks
    }
}

/// What is compared by default: every method at the last layer, at `blocks.10` and at both, for three targets, with
/// thresholds; then GrabCut, which is slow, for the true class; then LayerCAM with tighter seeds
/// and a larger input. The controls follow the candidate among those: both layers at 320 pixels, tighter seeds.
pub fn default_comparison() -> Comparison {
    let plus_plus = |epsilon| CamMethod::GradCamPlusPlus { epsilon };
    let common = [CamMethod::LayerCam, plus_plus(Epsilon::default()), CamMethod::GradCam, CamMethod::EigenCam];
    let rare = [plus_plus(Epsilon::ScaleFree), CamMethod::XGradCam];
    let places: [&[&str]; 3] = [&["last"], &["last", "blocks.10"], &["blocks.10"]];
    let looks = |methods: &[CamMethod], places: &[&[&str]], targets: &[AttentionTarget]| {
        let mut looks = Vec::new();
        for &method in methods {
            for place in places {
                // Eigen-CAM asks for no class.
                let targets = if method == CamMethod::EigenCam { &targets[..1] } else { targets };
                looks.extend(targets.iter().map(|&target| Look::new(method, place, target)));
            }
        }
        looks
    };
    let targets = [AttentionTarget::True, AttentionTarget::Predicted, AttentionTarget::Difference];
    let thresholds = [
        MaskRule::Quantile { share: 0.2 },
        MaskRule::Quantile { share: 0.3 },
        MaskRule::MeanSd { k: 1.0 },
        MaskRule::Otsu,
        MaskRule::Knee,
    ];
    let methods = [common.as_slice(), &rare].concat();
    let grab_cut = Region::from(MaskRule::default());
    let largest = Region { tidy: vec![Tidy::Largest], ..grab_cut.clone() };
    let at = |layers: &[&str]| Look {
        input_size: Some(CANDIDATE_INPUT),
        ..Look::new(CamMethod::LayerCam, layers, AttentionTarget::True)
    };
    let candidate = (at(places[1]), Region::from(CANDIDATE_CUT));
    let blocks = vec![
        Block {
            looks: looks(&methods, &places, &targets),
            regions: thresholds.into_iter().map(Region::from).collect(),
        },
        Block { looks: looks(&common, &places[..2], &targets[..1]), regions: vec![grab_cut.clone(), largest] },
        Block { looks: looks(&common[..1], &places, &targets[..1]), regions: vec![candidate.1.clone()] },
        Block {
            looks: vec![at(places[0]), at(places[1]), Look { flip: true, ..at(places[1]) }],
            regions: vec![
                grab_cut,
                candidate.1.clone(),
                Region { tidy: vec![Tidy::Largest, Tidy::Fill], ..candidate.1.clone() },
            ],
        },
    ];
    Comparison { blocks, reference: candidate }
}

/// A finer grid of attention than the classifier's own 224 pixels give: 10 x 10 cells at the last layer.
const CANDIDATE_INPUT: usize = 320;
/// GrabCut with tighter seeds than its defaults: Habitat's objects cover about a sixth of a picture.
const CANDIDATE_CUT: MaskRule = MaskRule::GrabCut { sure: 0.97, probable: 0.8, background: 0.5, iterations: 3 };

/// Which pictures a figure is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Set {
    /// The mistakes the method repaints.
    Errors,
    /// As many other training pictures, drawn at random.
    Others,
}

/// One way of masking on one picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Overlap {
    /// Intersection over union with the true object, 0..=1; 0 where there is no attention.
    pub iou: f64,
    /// Share of the picture that was masked, 0..=1.
    pub area: f64,
}

/// One way of looking at one picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Focus {
    /// Share of the attention inside the object, 0..=1; 0 where there is no attention.
    pub energy: f64,
    /// Whether the strongest pixel lies in the object, or within 3 % of the picture's width of it.
    pub hit: bool,
    /// Whether there was attention at all.
    pub some: bool,
}

/// One picture.
#[derive(Debug, Clone, PartialEq)]
pub struct PictureMeasures {
    /// The picture.
    pub id: u64,
    /// Its set.
    pub set: Set,
    /// Area of the true object, 0..=1.
    pub object: f64,
    /// Per look.
    pub focus: BTreeMap<String, Focus>,
    /// Per (look, region).
    pub overlap: BTreeMap<(String, String), Overlap>,
}

/// Measures of every picture of one seed.
#[derive(Debug, Clone, PartialEq)]
pub struct SeedMeasures {
    /// The seed.
    pub seed: u64,
    /// The pictures, the error set first.
    pub pictures: Vec<PictureMeasures>,
}

/// A training picture with its true object mask.
struct Subject {
    sample: Sample,
    set: Set,
    picture: RgbImage,
    object: Mask,
}

/// Measures every look and region on a seed's error set and on as many other training pictures, and random boxes and
/// blobs with the areas of the reference.
///
/// # Errors
/// [`Error::Config`] for an unknown layer and for a data set without object masks; those of reading pictures, of the
/// attention methods and of the mask rules; [`Error::Interrupted`].
pub fn measure(inputs: Inputs<'_>, context: &Context<'_>, comparison: &Comparison) -> Result<SeedMeasures, Error> {
    let clock = context.start(STAGE, 0);
    let network = inputs.erm_network(context)?;
    let subjects = subjects(inputs)?;
    let looks = comparison.looks();
    let mut pictures = Vec::with_capacity(subjects.len());
    (context.report)(crate::Event::Started { stage: STAGE.into(), total: subjects.len() });
    for batch in subjects.chunks(BATCH) {
        let maps = maps_of(inputs, context, &network, &looks, batch)?;
        let measured: Vec<Result<PictureMeasures, Error>> = batch
            .par_iter()
            .zip(&maps)
            .map(|(subject, maps)| measure_picture(inputs.folder.seed, subject, &looks, maps, comparison))
            .collect();
        for picture in measured {
            pictures.push(picture?);
        }
        context.advance(STAGE, pictures.len())?;
    }
    let summary = format!("{} pictures, {} looks", pictures.len(), looks.len());
    let seconds = clock.elapsed().as_secs_f64();
    (context.report)(crate::Event::Finished { stage: STAGE.into(), summary, seconds, reused: false });
    Ok(SeedMeasures { seed: inputs.folder.seed, pictures })
}

/// The maps of a batch, one list per picture with one entry per look.
fn maps_of(
    inputs: Inputs<'_>,
    context: &Context<'_>,
    network: &scgs_models::Network,
    looks: &[Look],
    batch: &[Subject],
) -> Result<Vec<Vec<Option<AttentionMap>>>, Error> {
    let paths: Vec<_> = batch.iter().map(|s| inputs.index.absolute(&s.sample)).collect();
    let labels: Vec<usize> = batch.iter().map(|s| s.sample.label).collect();
    let size = (batch[0].picture.width() as usize, batch[0].picture.height() as usize);
    let load = |side: usize| crate::features::Input { size: side, ..inputs.input() }.load(&paths, context);
    let found = look::maps(network, looks, inputs.settings.backbone.input_size, &labels, size, &load)?;
    Ok(found.into_iter().map(|looks| looks.into_iter().map(|f| f.map).collect()).collect())
}

fn measure_picture(
    seed: u64,
    subject: &Subject,
    looks: &[Look],
    maps: &[Option<AttentionMap>],
    comparison: &Comparison,
) -> Result<PictureMeasures, Error> {
    let Subject { sample, set, picture, object } = subject;
    let (width, height) = (object.width(), object.height());
    let mut found = PictureMeasures {
        id: sample.id,
        set: *set,
        object: object.area(),
        focus: BTreeMap::new(),
        overlap: BTreeMap::new(),
    };
    let tolerance = (TOLERANCE * width as f64).round() as u8;
    for (look, map) in looks.iter().zip(maps) {
        let focus = match map {
            Some(map) => {
                Focus { energy: energy_inside(map, object)?, hit: pointing_game(map, object, tolerance)?, some: true }
            }
            None => Focus { energy: 0.0, hit: false, some: false },
        };
        found.focus.insert(look.to_string(), focus);
    }
    let overlap = |region: &Mask| -> Result<Overlap, Error> {
        Ok(Overlap { iou: if region.count() == 0 { 0.0 } else { region.iou(object)? }, area: region.area() })
    };
    for block in &comparison.blocks {
        for look in &block.looks {
            let map = looks.iter().position(|l| l == look).and_then(|at| maps[at].as_ref());
            // Regions of one rule differ in their tidying alone: the rule, which may be slow, runs once.
            let mut raw: Vec<(MaskRule, Mask)> = Vec::new();
            for region in &block.regions {
                let key = (look.to_string(), region.to_string());
                let Some(map) = map else {
                    found.overlap.insert(key, Overlap { iou: 0.0, area: 0.0 });
                    continue;
                };
                let start = match raw.iter().find(|(rule, _)| *rule == region.rule) {
                    Some((_, mask)) => mask.clone(),
                    None => {
                        let mask = Region::from(region.rule).of(map, picture)?;
                        raw.push((region.rule, mask.clone()));
                        mask
                    }
                };
                found.overlap.insert(key, overlap(&region.tidied(&start)?)?);
            }
        }
    }
    let (look, region) = &comparison.reference;
    let area = found.overlap.get(&(look.to_string(), region.to_string())).map_or(0.0, |o| o.area);
    let area = if area > 0.0 { area } else { object.area() };
    let mut rng = stream(seed, STAGE, sample.id);
    for (name, control) in [
        ("random box", random_box(width, height, area, &mut rng)?),
        ("random blob", random_blob(width, height, area, &mut rng)?),
    ] {
        found.overlap.insert((CONTROL.into(), name.into()), overlap(&control)?);
    }
    Ok(found)
}

/// The look of the controls, which look at nothing.
pub const CONTROL: &str = "control";

/// The error set, then as many other training pictures, drawn at random, in the order of their ids.
fn subjects(inputs: Inputs<'_>) -> Result<Vec<Subject>, Error> {
    let mistakes: Vec<u64> = errors::read(inputs.folder)?.iter().map(|e| e.id).collect();
    let train = inputs.usable(Split::Train)?;
    let (of_errors, mut others): (Vec<&Sample>, Vec<&Sample>) =
        train.into_iter().partition(|s| mistakes.contains(&s.id));
    others.shuffle(&mut stream(inputs.folder.seed, STAGE, 0));
    others.truncate(of_errors.len());
    others.sort_by_key(|s| s.id);
    let chosen = of_errors.into_iter().map(|s| (s, Set::Errors)).chain(others.into_iter().map(|s| (s, Set::Others)));
    chosen.map(|(sample, set)| subject(inputs, sample, set)).collect()
}

fn subject(inputs: Inputs<'_>, sample: &Sample, set: Set) -> Result<Subject, Error> {
    let picture = read_rgb(inputs.index.absolute(sample))
        .map_err(|e| Error::BadPictures { bad: vec![e.to_string()], allowed: 0 })?;
    let object = object_masks::read(inputs.index, sample.id)?;
    Ok(Subject { sample: sample.clone(), set, picture, object })
}

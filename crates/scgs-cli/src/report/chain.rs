//! The chain from a mistake to its repair: picture, attention, mask, new picture.

use std::{collections::BTreeMap, io::Cursor, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use image::RgbImage;
use rand::seq::SliceRandom as _;
use scgs_data::stream;
use scgs_debias::{
    Results, RunFolder,
    stages::{clusters, erm, errors, masks, synthesis},
};

use crate::overlay::overlay;

/// Rows on the page.
const ROWS: usize = 24;

/// Examples, drawn at random by the run's seed: nobody chose them.
pub(crate) struct Chain {
    pub rows: Vec<Link>,
    /// How many new pictures there are in all.
    pub total: usize,
}

/// One example; pictures are `data:` addresses.
pub(crate) struct Link {
    pub source_id: u64,
    pub class: String,
    pub answer: String,
    pub cluster: usize,
    pub area: f64,
    pub picture: String,
    pub attention: String,
    pub mask: String,
    pub painted: String,
}

impl Chain {
    /// Reads the examples of a seed's folder; `None` where the run made no pictures.
    pub(crate) fn read(run: &RunFolder, results: &Results) -> anyhow::Result<Option<Self>> {
        if !run.is_done(synthesis::STAGE) {
            return Ok(None);
        }
        let mut rows = synthesis::read(run, synthesis::STAGE)?;
        let total = rows.len();
        rows.shuffle(&mut stream(run.seed, "report", 0));
        rows.truncate(ROWS);
        let areas: BTreeMap<u64, f64> =
            masks::read(run, masks::STAGE)?.iter().filter_map(|r| Some((r.id, r.area?))).collect();
        let clusters: BTreeMap<u64, usize> = clusters::members(run)?.iter().map(|m| (m.id, m.cluster)).collect();
        let answers: BTreeMap<u64, (usize, f64)> =
            errors::read(run)?.iter().map(|e| (e.id, (e.predicted, e.confidence))).collect();
        let erm: BTreeMap<u64, (usize, f64)> =
            erm::train_predictions(run)?.iter().map(|e| (e.id, (e.predicted, e.confidence))).collect();
        let class = |i: usize| results.classes.get(i).cloned().unwrap_or_else(|| i.to_string());
        let rows = rows
            .iter()
            .map(|row| {
                let id = row.source_id;
                let file = |name: String| run.path(masks::STAGE, &name);
                let picture = open(&file(format!("{id}-picture.png")))?.to_rgb8();
                let attention = open(&file(format!("{id}-attention.png")))?.to_luma8();
                let told = |answer: Option<&(usize, f64)>| {
                    answer.map_or_else(String::new, |(c, p)| format!("{} ({:.0} %)", class(*c), p * 100.0))
                };
                Ok(Link {
                    source_id: id,
                    class: class(row.y),
                    answer: format!("held out: {}; ERM: {}", told(answers.get(&id)), told(erm.get(&id))),
                    cluster: clusters.get(&id).copied().unwrap_or_default(),
                    area: areas.get(&id).copied().unwrap_or_default(),
                    attention: embed(&overlay(&picture, &attention))?,
                    mask: embed(&open(&file(format!("{id}.png")))?.to_rgb8())?,
                    painted: embed(&open(&run.path(synthesis::STAGE, &row.img_filename))?.to_rgb8())?,
                    picture: embed(&picture)?,
                })
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Some(Self { rows, total }))
    }
}

pub(crate) fn open(path: &Path) -> anyhow::Result<image::DynamicImage> {
    Ok(image::load_from_memory(&fs_err::read(path)?)?)
}

pub(crate) fn embed(picture: &RgbImage) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    picture.write_to(&mut Cursor::new(&mut bytes), image::ImageFormat::Png)?;
    Ok(format!("data:image/png;base64,{}", STANDARD.encode(bytes)))
}

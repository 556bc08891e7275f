//! The chain from a mistake to its repair: picture, attention, mask, new picture, what both classifiers say.
//!
//! The rows are data inside the page; `report.js` filters and pages them. Thumbnails are `data:` addresses as long as
//! [`EMBEDDED`] lasts, so that a page can be mailed; the rows beyond it point at the files of the run's folder, which
//! a page of thousands of rows would otherwise repeat in hundreds of megabytes.

use std::collections::BTreeMap;

use rand::seq::SliceRandom as _;
use rayon::prelude::*;
use scgs_data::stream;
use scgs_debias::{
    Results, RunFolder,
    stages::{
        chain::{self as answers, Answers},
        clusters, erm, errors, masks, synthesis,
    },
};
use serde::{Deserialize, Serialize};

use super::{
    facts::{self, GroupLabels},
    thumbnail::{self, Kind},
};

/// Bytes of all embedded thumbnails of the chain: some thousand pictures, and a page that a mail server takes.
const EMBEDDED: usize = 8 << 20;
/// Rows that are encoded between two looks at the budget.
const CHUNK: usize = 64;

/// What `report.js` reads.
#[derive(Debug, Serialize)]
pub(crate) struct Chain {
    schema: u32,
    classes: Vec<String>,
    attributes: Vec<String>,
    /// Where the run's pictures lie, seen from the page; ends with `/`.
    root: String,
    /// Whether sources were clustered; drawn ones are not.
    clustered: bool,
    sources: Vec<Source>,
    rows: Vec<Row>,
}

/// A repainted picture; several rows may share it.
#[derive(Debug, Serialize)]
struct Source {
    id: u64,
    label: usize,
    cluster: Option<usize>,
    /// The spurious attribute, for the reader alone.
    attribute: Option<usize>,
    area: Option<f64>,
    /// What a classifier that has not seen the picture says, for mistakes.
    held_out: Option<Answer>,
    erm: Option<Answer>,
    scgs: Option<Answer>,
    /// Embedded thumbnails, in the order of [`Source::files`]; empty beyond the budget.
    thumbnails: Vec<String>,
    files: [String; 3],
}

/// One new picture.
#[derive(Debug, Serialize)]
struct Row {
    /// Place in `sources`.
    source: usize,
    id: u64,
    class: usize,
    kept: bool,
    why: String,
    erm: Option<Answer>,
    scgs: Option<Answer>,
    thumbnail: Option<String>,
    file: String,
}

/// A class and its probability in 0..=1.
type Answer = (usize, f64);

/// The columns of `metadata.csv` that are read here.
#[derive(Debug, Deserialize)]
struct Made {
    img_id: u64,
    img_filename: String,
    y: usize,
    source_id: u64,
    dropped: Option<String>,
}

impl Chain {
    /// Reads the new pictures of a seed's folder; `None` where the run made none. `root` is the way from the page to
    /// that folder.
    pub(crate) fn read(
        run: &RunFolder,
        results: &Results,
        groups: &GroupLabels,
        root: &str,
    ) -> anyhow::Result<Option<Self>> {
        if !run.is_done(synthesis::STAGE) {
            return Ok(None);
        }
        let mut made: Vec<Made> = facts::rows(&run.path(synthesis::STAGE, "metadata.csv"))?;
        // The order of the page: the first rows are a fair sample, nobody chose them.
        made.shuffle(&mut stream(run.seed, "report", 0));
        let both: BTreeMap<u64, Answers> = answers::read(run)?.into_iter().map(|a| (a.id, a)).collect();
        let (sources, place) = sources(run, groups, &made, &both)?;
        let rows = made
            .iter()
            .map(|m| Row {
                source: place[&m.source_id],
                id: m.img_id,
                class: m.y,
                kept: m.dropped.is_none(),
                why: m.dropped.clone().unwrap_or_default(),
                erm: both.get(&m.img_id).map(|b| (b.erm, b.erm_confidence)),
                scgs: both.get(&m.img_id).map(|b| (b.scgs, b.scgs_confidence)),
                thumbnail: None,
                file: format!("{}/{}", synthesis::STAGE, m.img_filename),
            })
            .collect();
        let mut chain = Self {
            schema: 1,
            classes: results.classes.clone(),
            attributes: results.attributes.clone(),
            root: root.to_owned(),
            clustered: sources.iter().any(|s| s.cluster.is_some()),
            sources,
            rows,
        };
        chain.embed(run)?;
        Ok(Some(chain))
    }

    /// How many new pictures there are, and how many of them are shown without the run's folder.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.rows.len(), self.rows.iter().filter(|r| r.thumbnail.is_some()).count())
    }

    /// Whether the pictures come from clusters of mistakes.
    pub(crate) fn is_clustered(&self) -> bool {
        self.clustered
    }

    /// New pictures that were dropped, by reason.
    pub(crate) fn dropped(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for row in self.rows.iter().filter(|r| !r.kept) {
            *counts.entry(if row.why.is_empty() { "no reason given" } else { &row.why }).or_default() += 1;
        }
        counts
    }

    /// As text for a `script` element of type `application/json`: no `<` can end it.
    pub(crate) fn to_json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string(self)?.replace('<', "\\u003c"))
    }

    /// Embeds thumbnails row by row until the budget is used.
    fn embed(&mut self, run: &RunFolder) -> anyhow::Result<()> {
        const KINDS: [Kind; 3] = [Kind::Photo, Kind::Map, Kind::Mask];
        let mut left = EMBEDDED;
        let open = |file: &str, kind| thumbnail::embed(&run.root().join(file), kind);
        for chunk in self.rows.chunks_mut(CHUNK) {
            let mut new: Vec<usize> = chunk.iter().map(|row| row.source).collect();
            new.sort_unstable();
            new.dedup();
            new.retain(|&place| self.sources[place].thumbnails.is_empty());
            let of_sources = |&place: &usize| -> anyhow::Result<(usize, Vec<String>)> {
                let files = self.sources[place].files.iter().zip(KINDS);
                Ok((place, files.map(|(file, kind)| open(file, kind)).collect::<anyhow::Result<_>>()?))
            };
            let trios: Vec<(usize, Vec<String>)> = new.par_iter().map(of_sources).collect::<anyhow::Result<_>>()?;
            let painted: Vec<String> =
                chunk.par_iter().map(|row| open(&row.file, Kind::Photo)).collect::<anyhow::Result<_>>()?;
            let bytes: usize = trios.iter().flat_map(|t| &t.1).chain(&painted).map(String::len).sum();
            if bytes > left {
                break;
            }
            left -= bytes;
            for (place, thumbnails) in trios {
                self.sources[place].thumbnails = thumbnails;
            }
            for (row, thumbnail) in chunk.iter_mut().zip(painted) {
                row.thumbnail = Some(thumbnail);
            }
        }
        Ok(())
    }
}

/// The sources in the order of their first row, and the place of each id.
fn sources(
    run: &RunFolder,
    groups: &GroupLabels,
    made: &[Made],
    both: &BTreeMap<u64, Answers>,
) -> anyhow::Result<(Vec<Source>, BTreeMap<u64, usize>)> {
    let masks: BTreeMap<u64, masks::MaskRow> =
        masks::read(run, masks::STAGE)?.into_iter().map(|row| (row.id, row)).collect();
    let clusters: BTreeMap<u64, usize> = clusters::members(run)?.iter().map(|m| (m.id, m.cluster)).collect();
    let held_out: BTreeMap<u64, Answer> =
        errors::read(run)?.iter().map(|e| (e.id, (e.predicted, e.confidence))).collect();
    let erm: BTreeMap<u64, erm::Prediction> = erm::train_predictions(run)?.into_iter().map(|p| (p.id, p)).collect();
    let mut place = BTreeMap::new();
    let mut sources = Vec::new();
    for id in made.iter().map(|m| m.source_id) {
        if place.contains_key(&id) {
            continue;
        }
        place.insert(id, sources.len());
        let of = |what: &str| format!("{}/{id}{what}.png", masks::STAGE);
        let prediction = erm.get(&id);
        sources.push(Source {
            id,
            label: prediction.map_or(0, |p| p.label),
            cluster: clusters.get(&id).copied(),
            attribute: groups.attribute(id),
            area: masks.get(&id).and_then(|m| m.area),
            held_out: held_out.get(&id).copied(),
            erm: prediction.map(|p| (p.predicted, p.confidence)),
            scgs: both.get(&id).map(|b| (b.scgs, b.scgs_confidence)),
            thumbnails: Vec::new(),
            files: [of("-picture"), of("-attention"), of("")],
        });
    }
    Ok((sources, place))
}

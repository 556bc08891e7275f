//! Painting in shards: any process may paint any part, and nothing is used before all parts have been checked.
//!
//! Shard `i/n` paints every n-th picture. What it painted stands in `shards/<i>-of-<n>.csv`, one checked line per picture: the
//! row for `metadata.csv` and the sha256 of the file. A picture is a function of (seed, source, repeat) and its mask, so any
//! number of shards, and shards of different numbers, give the same bytes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::Path,
    str::FromStr,
};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Job, Synthetic, complete, stage_name};
use crate::{
    Context, Error,
    journal::Journal,
    run_folder,
    stages::{
        Inputs,
        clusters::Pick,
        masks,
        sources::{self, Variant},
    },
};

/// Folder of the lists, in the stage's folder; it goes when the stage is done.
pub(crate) const FOLDER: &str = "shards";

/// One of `of` parts, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// 1 up to `of`.
    pub index: usize,
    /// How many there are.
    pub of: usize,
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-of-{}", self.index, self.of)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match parts {
            Some((index, of)) if (1..=of).contains(&index) => Ok(Self { index, of }),
            _ => Err(format!("`{text}`: expected i/n with i from 1 to n, such as 3/8")),
        }
    }
}

/// A line of a shard's list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Painted {
    source_id: u64,
    repeat: usize,
    sha256: String,
    /// The row for `metadata.csv`, JSON.
    row: String,
}

/// Paints one shard of a variant's pictures. What the shard has painted before is checked, and painted again where a file is
/// missing or is another.
///
/// # Errors
/// [`Error::NotReady`] if there are no masks yet; those of the inpainter.
pub fn paint(inputs: Inputs<'_>, context: &Context<'_>, variant: Variant, shard: Shard) -> Result<(), Error> {
    let stage = stage_name(variant);
    if !inputs.folder.is_done(&variant.masks_stage()) {
        return Err(Error::NotReady { stage, needs: variant.masks_stage() });
    }
    if inputs.folder.is_done(&stage) {
        (context.report)(crate::Event::Notice { text: format!("{stage} is finished") });
        return Ok(());
    }
    let folder = inputs.folder.root().join(&stage);
    fs_err::create_dir_all(folder.join("images"))?;
    fs_err::create_dir_all(folder.join(FOLDER))?;
    let picks = sources::picks(inputs, variant, &masks::read(inputs.folder, &variant.masks_stage())?)?;
    let own = |i: usize| i % shard.of == shard.index - 1;
    let total = (0..picks.len()).filter(|&i| own(i)).count();
    let clock = context.start(&stage, total);
    let job = Job::new(inputs, context, variant)?;
    let rows = picks.iter().enumerate().filter(|&(i, _)| own(i)).map(|(i, pick)| job.row(i, pick));
    let rows: Vec<Synthetic> = rows.collect::<Result<_, Error>>()?;
    let (mut list, painted) = Journal::open::<Painted>(&folder.join(FOLDER).join(format!("{shard}.csv")))?;
    let known: BTreeMap<(u64, usize), String> =
        painted.into_iter().map(|p| ((p.source_id, p.repeat), p.sha256)).collect();
    let mut done = 0;
    for chunk in rows.chunks(job.at_once()) {
        for row in chunk {
            let path = folder.join(&row.img_filename);
            let wanted = known.get(&(row.source_id, row.repeat));
            // A file that is not in the list was whole before the list could be written.
            if path.is_file() && wanted.is_some_and(|wanted| sha256(&path).is_ok_and(|found| found != *wanted)) {
                fs_err::remove_file(&path)?;
            }
        }
        job.paint(&folder, chunk)?;
        for row in chunk.iter().filter(|row| !known.contains_key(&(row.source_id, row.repeat))) {
            let sha256 = sha256(&folder.join(&row.img_filename))?;
            let json = serde_json::to_string(row).map_err(|e| run_folder::table_error(&folder, &e))?;
            list.push(&Painted { source_id: row.source_id, repeat: row.repeat, sha256, row: json })?;
        }
        done += chunk.len();
        context.advance(&stage, done)?;
    }
    let summary = format!("shard {shard}: {total} of {} pictures", picks.len());
    let seconds = clock.elapsed().as_secs_f64();
    (context.report)(crate::Event::Finished { stage, summary, seconds, reused: false });
    Ok(())
}

/// Checks what the shards of a variant painted and, if all of it is there and right, finishes the stage. Returns what is
/// wrong, one sentence per picture.
///
/// # Errors
/// Those of reading the run's folder.
pub fn merge(inputs: Inputs<'_>, context: &Context<'_>, variant: Variant) -> Result<Vec<String>, Error> {
    let stage = stage_name(variant);
    let picks = sources::picks(inputs, variant, &masks::read(inputs.folder, &variant.masks_stage())?)?;
    let folder = inputs.folder.root().join(&stage);
    let checked = check(&folder, &picks)?;
    if !checked.problems.is_empty() {
        return Ok(checked.problems);
    }
    inputs.folder.stage(context, &stage, picks.len(), |folder| {
        let name = checked.rows.first().map(|row| row.inpainter.clone()).unwrap_or_default();
        complete(inputs, context, variant, folder, checked.rows, &name)
    })?;
    Ok(Vec::new())
}

/// Whether a stage's folder holds the work of shards.
pub fn has_shards(folder: &Path) -> bool {
    folder.join(FOLDER).is_dir()
}

/// The rows of the pictures in order, and what is wrong.
pub(crate) struct Checked {
    pub(crate) rows: Vec<Synthetic>,
    pub(crate) problems: Vec<String>,
}

/// A list's name and what stands in it.
type Listed = BTreeMap<(u64, usize), Vec<(String, Painted)>>;

pub(crate) fn check(folder: &Path, picks: &[Pick]) -> Result<Checked, Error> {
    let listed = lists(folder)?;
    let by_hash: BTreeMap<&str, String> =
        listed.values().flatten().map(|(_, p)| (p.sha256.as_str(), file_of(p.source_id, p.repeat))).collect();
    let outcomes: Vec<Result<Synthetic, String>> =
        picks.par_iter().map(|pick| one(folder, pick, &listed, &by_hash)).collect();
    let mut checked = Checked { rows: Vec::new(), problems: Vec::new() };
    for outcome in outcomes {
        match outcome {
            Ok(row) => checked.rows.push(row),
            Err(problem) => checked.problems.push(problem),
        }
    }
    let known: BTreeSet<String> = picks.iter().map(|pick| file_of(pick.id, pick.repeat)).collect();
    let images = folder.join("images");
    let mut extra = Vec::new();
    if images.is_dir() {
        for entry in fs_err::read_dir(images)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if !name.starts_with(scgs_data::atomic::TEMPORARY_PREFIX) && !known.contains(&format!("images/{name}")) {
                extra.push(format!("images/{name} is no picture of this run: remove it"));
            }
        }
    }
    extra.sort();
    checked.problems.extend(extra);
    Ok(checked)
}

/// Every line of every list.
fn lists(folder: &Path) -> Result<Listed, Error> {
    let mut paths = Vec::new();
    let shards = folder.join(FOLDER);
    if shards.is_dir() {
        for entry in fs_err::read_dir(shards)? {
            paths.push(entry?.path());
        }
    }
    paths.sort();
    let mut listed = Listed::new();
    for path in paths {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        for painted in Journal::open::<Painted>(&path)?.1 {
            listed.entry((painted.source_id, painted.repeat)).or_default().push((name.clone(), painted));
        }
    }
    Ok(listed)
}

/// The row of a picture that is as its shard left it, or what is wrong.
fn one(folder: &Path, pick: &Pick, listed: &Listed, by_hash: &BTreeMap<&str, String>) -> Result<Synthetic, String> {
    let file = file_of(pick.id, pick.repeat);
    let path = folder.join(&file);
    let Some(lines) = listed.get(&(pick.id, pick.repeat)) else {
        return Err(match path.is_file() {
            true => format!("{file} is in no shard's list: paint its shard again"),
            false => format!("{file} is missing: no shard has painted it"),
        });
    };
    let (shard, first) = &lines[0];
    if let Some((other, _)) = lines.iter().find(|(_, line)| line.sha256 != first.sha256) {
        return Err(format!(
            "{file} is listed by shards {shard} and {other} with different contents: paint one of them again"
        ));
    }
    if !path.is_file() {
        return Err(format!("{file} is missing: paint shard {shard} again"));
    }
    let bytes = fs_err::read(&path).map_err(|e| e.to_string())?;
    if let Err(error) = image::load_from_memory(&bytes) {
        return Err(format!("{file} is corrupt ({error}): paint shard {shard} again"));
    }
    let found = hex(&bytes);
    if found != first.sha256 {
        let what = by_hash.get(found.as_str()).map_or_else(
            || "is another picture than its shard painted".to_owned(),
            |other| format!("is a duplicate of {other}"),
        );
        return Err(format!("{file} {what}: paint shard {shard} again"));
    }
    let row: Synthetic = serde_json::from_str(&first.row).map_err(|e| format!("{file}: its line in {shard} ({e})"))?;
    if (row.source_id, row.repeat, row.y) != (pick.id, pick.repeat, pick.label) {
        return Err(format!("{file}: its line in {shard} is about another picture: paint it again"));
    }
    Ok(row)
}

fn file_of(source: u64, repeat: usize) -> String {
    format!("images/{source}-{repeat}.png")
}

fn sha256(path: &Path) -> Result<String, Error> {
    Ok(hex(&fs_err::read(path)?))
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_one_of_so_many() {
        assert_eq!("3/8".parse(), Ok(Shard { index: 3, of: 8 }));
        for wrong in ["", "3", "0/2", "3/2", "1/0", "a/b", "1/2/3", "-1/2"] {
            assert!(wrong.parse::<Shard>().unwrap_err().contains("i from 1 to n"), "{wrong}");
        }
    }
}

//! Parts of the loop for several processes: up to the masks, one shard of the new pictures, the check of all shards.

use std::path::{Path, PathBuf};

use scgs_data::{Index, ReadOptions};

use super::{Outcome, Plan, index_digest, open, open_as, stages_until, variants};
use crate::{
    Context, Error, RunData, RunFolder, Settings,
    lock::Lock,
    run_folder,
    stages::{
        Inputs,
        sources::Variant,
        synthesis::{
            self,
            shard::{self, Shard},
        },
    },
};

/// Computes everything before the new pictures: stages 0 to 4, as far as the arms need them.
///
/// # Errors
/// Those of the stages.
pub fn until_masks(plan: &Plan, seed: u64, context: &Context<'_>) -> Result<Outcome, Error> {
    let opened = open(plan, seed, context)?;
    stages_until(opened.inputs(plan), context, &plan.arms, Some('5'))?;
    Ok(Outcome { seed_folder: opened.folder.root().to_owned(), run_folder: opened.parent.clone() })
}

/// Paints one shard of the new pictures of every arm that has some. Shards may be painted at once, by processes on any
/// number of machines that see the folder.
///
/// # Errors
/// [`Error::NotReady`] before [`until_masks`]; [`Error::Held`] if the whole run or this shard is under way elsewhere.
pub fn paint_shard(plan: &Plan, seed: u64, shard: Shard, context: &Context<'_>) -> Result<Outcome, Error> {
    let opened = open_as(plan, seed, context, Some(&format!("shard-{shard}")))?;
    for variant in variants(&plan.arms) {
        shard::paint(opened.inputs(plan), context, variant, shard)?;
    }
    Ok(Outcome { seed_folder: opened.folder.root().to_owned(), run_folder: opened.parent.clone() })
}

/// What a check of shards found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// Stages that were checked, in order.
    pub stages: Vec<String>,
    /// What is wrong, by stage; a stage without problems is finished.
    pub problems: Vec<(String, String)>,
}

/// A run's folder for reading and finishing, without the command line that made it.
#[derive(Debug)]
struct Reopened {
    index: Index,
    settings: Settings,
    folder: RunFolder,
}

/// Checks what shards painted into the folder of a seed, and finishes the stages in which every picture is there and right.
/// `data_dir` is where the pictures are, if they moved.
///
/// # Errors
/// [`Error::Held`] while a shard is under way; [`Error::RunFolder`] for other data than the run saw.
pub fn merge(seed_folder: &Path, seed: u64, data_dir: Option<PathBuf>, context: &Context<'_>) -> Result<Merged, Error> {
    let run = reopen(seed_folder, seed, data_dir, context)?;
    let inputs = Inputs::for_reading(&run.index, &run.settings, &run.folder);
    let mut merged = Merged { stages: Vec::new(), problems: Vec::new() };
    for variant in Variant::ALL {
        let stage = synthesis::stage_name(variant);
        if run.folder.is_done(&stage) || !shard::has_shards(&run.folder.root().join(&stage)) {
            continue;
        }
        let problems = shard::merge(inputs, context, variant)?;
        merged.problems.extend(problems.into_iter().map(|problem| (stage.clone(), problem)));
        merged.stages.push(stage);
    }
    Ok(merged)
}

fn reopen(seed_folder: &Path, seed: u64, data_dir: Option<PathBuf>, context: &Context<'_>) -> Result<Reopened, Error> {
    let data = RunData::read(seed_folder)?;
    let root = data_dir.unwrap_or(data.root);
    let options = ReadOptions { accept_counts: data.accept_counts, ..ReadOptions::default() };
    let index = scgs_data::read(&data.definition, &root, options)?.index().clone();
    if index_digest(&index) != data.digest {
        let message = format!("{} does not hold the pictures that the run has seen", root.display());
        return Err(Error::RunFolder { path: seed_folder.join("data.toml"), message });
    }
    let path = seed_folder.join("config.toml");
    let settings = toml::from_str(&fs_err::read_to_string(&path)?).map_err(|e| run_folder::table_error(&path, &e))?;
    let folder = RunFolder::open(seed_folder.parent().unwrap_or(Path::new("")), seed)?;
    let lock = Lock::whole(folder.root(), context)?;
    Ok(Reopened { index, settings, folder: folder.held(lock) })
}

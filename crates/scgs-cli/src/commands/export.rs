//! `scgs export`

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail, ensure};
use scgs_data::{
    ReadOptions,
    export::{self, NewPicture},
};
use scgs_debias::{
    Additions, Event, RunData,
    arms::{Arm, Pictures},
    pipeline, results,
};

use super::{print, print_json};
use crate::{args_data::ExportArgs, progress};

pub(crate) fn run(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let (folder, seed) = seed_folder(&args.run_dir)?;
    let arm: Arm = args.pictures.parse()?;
    let Pictures::Scgs(variant) = arm.pictures else {
        bail!("--pictures {}: this arm has no new pictures; name scgs or one of its controls", args.pictures);
    };
    let data = RunData::read(&folder)?;
    let root = args.data_dir.clone().unwrap_or(data.root);
    let options = ReadOptions { accept_counts: data.accept_counts, ..ReadOptions::default() };
    let grouped = scgs_data::read(&data.definition, &root, options).with_context(|| {
        format!("the pictures of the run are looked for in {}; name another place with --data-dir", root.display())
    })?;
    ensure!(
        pipeline::index_digest(grouped.index()) == data.digest,
        "{} does not hold the pictures that the run has seen: ids, names, labels or splits differ; name the right folder \
         with --data-dir",
        root.display()
    );
    let additions = Additions::read(&folder, seed, grouped.index(), variant)?;
    let new = additions.pictures.iter().map(|row| NewPicture {
        id: row.img_id,
        path: additions.folder.join(&row.img_filename),
        label: row.y,
        source_id: row.source_id,
        inpainter: row.inpainter.clone(),
        prompt: row.prompt.clone(),
    });
    let additions = export::Additions {
        pictures: new.collect(),
        repeats: additions.repeats.clone(),
        left_out: additions.unreadable.clone(),
        run: name_of(&folder, &data.definition.name),
    };
    let report = |done: usize, total: usize| {
        if done == 0 {
            progress::show(Event::Started { stage: "export".into(), total });
        }
        progress::show(Event::Advanced { done });
    };
    let written = export::write(&grouped, &data.definition, &additions, &args.out, &report)?;
    if args.common.json {
        print_json(&serde_json::json!({ "schema": 1, "folder": args.out, "real": written.real, "new": written.new }))?;
    } else {
        let out = args.out.display();
        print(&format!(
            "{} real and {} new pictures\n  {out}/waterbirds/metadata.csv   Waterbirds' columns, then provenance\n  {out}/images                    image folder, with metadata.jsonl per split",
            written.real, written.new
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The folder of one seed, and the seed.
pub(super) fn seed_folder(run_dir: &Path) -> anyhow::Result<(PathBuf, u64)> {
    ensure!(run_dir.is_dir(), "{} is no folder; name a folder runs/DATASET/CONFIG-HASH/seed-N", run_dir.display());
    let seed_of = |path: &Path| path.file_name()?.to_str()?.strip_prefix("seed-")?.parse().ok();
    // A path such as `.` has no name of its own.
    let whole = fs_err::canonicalize(run_dir)?;
    if let Some(seed) = seed_of(&whole) {
        return Ok((whole, seed));
    }
    let seeds = results::seed_folders(&whole)?;
    match seeds.as_slice() {
        [] => bail!("{} holds no run; name a folder runs/DATASET/CONFIG-HASH/seed-N", run_dir.display()),
        [only] => Ok((only.clone(), seed_of(only).context("the folder is called seed-N")?)),
        several => {
            let names: Vec<_> = several.iter().filter_map(|path| path.file_name()?.to_str()).collect();
            bail!("{} has several seeds; name one of {}", run_dir.display(), names.join(", "))
        }
    }
}

/// `dataset/hash/seed-n`.
fn name_of(folder: &Path, dataset: &str) -> String {
    let mut parts: Vec<_> = folder.iter().rev().take(2).map(|part| part.to_string_lossy().into_owned()).collect();
    parts.push(dataset.to_owned());
    parts.reverse();
    parts.join("/")
}

//! Many small pictures through the real run folder: does the time per picture stay the same?
//!
//! Sources, masks, shards, their lists, interruption, the check of all shards and the table are those of a run. Only the
//! pictures are small (8 x 8, filled from a background), and the pass of the ERM classifier over them is left out: what
//! is measured is the machinery around the painting.

use std::{
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use image::{GrayImage, Luma, Rgb, RgbImage};
use scgs_data::{Index, Sample, Split, atomic};
use serde::Serialize;

use crate::{
    Context, Error, Event, RunFolder, Settings,
    lock::Lock,
    run_folder,
    settings::InpainterKind,
    stages::{
        Inputs,
        masks::{self, MaskRow},
        pictures,
        sources::{self, Source, Variant},
        synthesis::{
            self, Synthetic,
            shard::{self, Shard},
        },
    },
};

/// Sources per class.
const SOURCES: usize = 500;
/// Side of a picture in pixels.
const SIDE: u32 = 8;

/// What happened to a block of pictures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Block {
    /// `paint`, `check` (all pictures), `resume` (what an interrupted shard does before it paints), `table`, `kept`.
    pub phase: &'static str,
    /// Pictures that are there afterwards.
    pub pictures: usize,
    /// Pictures of the block.
    pub items: usize,
    /// Wall time.
    pub seconds: f64,
}

/// Paints `items` pictures in `shards` shards, of which the first is interrupted in its middle and goes on, checks them all
/// and finishes the stage. `folder` is empty or new; a block has `block` pictures.
///
/// # Errors
/// Those of files.
pub fn run(
    folder: &Path,
    items: usize,
    shards: usize,
    block: usize,
    context: &Context<'_>,
) -> Result<Vec<Block>, Error> {
    let index = data(&folder.join("data"))?;
    let backgrounds = backgrounds(&folder.join("backgrounds"))?;
    let mut settings = Settings::default();
    settings.synthesis.inpainter = InpainterKind::BackgroundCrop;
    settings.synthesis.share = items as f64 / index.samples.len() as f64;
    let run = RunFolder::open(&folder.join("runs/simulated/0"), 0)?;
    let prompts = vec![vec!["{class}".to_owned()]; 2];
    let inputs = Inputs {
        index: &index,
        settings: &settings,
        folder: &run,
        weights: None,
        backgrounds: Some(&backgrounds),
        small_model: None,
        prompts: &prompts,
        memory: crate::memory::Share::default(),
    };
    let lock = Lock::whole(run.root(), context)?;
    pictures::run(inputs, context)?;
    prepare(inputs, context)?;
    drop(lock);

    let mut blocks = Vec::new();
    let mut there = 0;
    for i in 1..=shards {
        let shard = Shard { index: i, of: shards };
        let lock = Lock::part(run.root(), &format!("shard-{shard}"), context)?;
        let half = (i == 1).then_some(items / shards / 2);
        let first = paint(inputs, context, shard, (there, block, half), &mut blocks)?;
        if half.is_some() {
            let from = Timed { there, block, first };
            there += resume(inputs, context, shard, &from, &mut blocks)?;
        } else {
            there += first;
        }
        drop(lock);
    }

    let lock = Lock::whole(run.root(), context)?;
    let run = run.clone().held(lock);
    let stage = synthesis::stage_name(Variant::Scgs);
    let picks = sources::picks(inputs, Variant::Scgs, &masks::read(&run, masks::STAGE)?)?;
    let clock = Instant::now();
    let checked = shard::check(&run.root().join(&stage), &picks)?;
    if let Some(problem) = checked.problems.first() {
        return Err(run_folder::table_error(&run.root().join(&stage), problem));
    }
    let mut push = |phase, clock: Instant| {
        blocks.push(Block { phase, pictures: there, items: there, seconds: clock.elapsed().as_secs_f64() });
    };
    push("check", clock);
    let clock = Instant::now();
    let finish = |rows: Vec<Synthetic>| {
        run.stage(context, &stage, rows.len(), |folder| {
            run_folder::write_csv(&folder.join("metadata.csv"), &rows)?;
            Ok(format!("{} pictures", rows.len()))
        })
    };
    finish(checked.rows)?;
    push("table", clock);
    let clock = Instant::now();
    finish(Vec::new())?;
    push("kept", clock);
    Ok(blocks)
}

/// Where a resumed shard was.
struct Timed {
    there: usize,
    block: usize,
    first: usize,
}

/// Goes on with an interrupted shard; the number of its pictures.
fn resume(
    inputs: Inputs<'_>,
    context: &Context<'_>,
    shard: Shard,
    from: &Timed,
    blocks: &mut Vec<Block>,
) -> Result<usize, Error> {
    let begun = blocks.len();
    let all = paint(inputs, context, shard, (from.there, from.block, None), blocks)?;
    // The blocks that were there already were checked and not painted.
    for block in &mut blocks[begun..] {
        if block.pictures <= from.there + from.first {
            block.phase = "resume";
        }
    }
    Ok(all)
}

/// Paints a shard, or its first pictures, with a block for every so many; the number of pictures.
fn paint(
    inputs: Inputs<'_>,
    context: &Context<'_>,
    shard: Shard,
    (there, block, stop): (usize, usize, Option<usize>),
    blocks: &mut Vec<Block>,
) -> Result<usize, Error> {
    let cancelled = AtomicBool::new(false);
    let times = Mutex::new(Times { clock: Instant::now(), last: 0, timed: 0, blocks: Vec::new() });
    let report = |event: Event| {
        if let Event::Advanced { done } = &event {
            let mut times = times.lock().unwrap_or_else(PoisonError::into_inner);
            times.last = *done;
            if *done >= times.timed + block {
                let row = Block {
                    phase: "paint",
                    pictures: there + done,
                    items: done - times.timed,
                    seconds: times.clock.elapsed().as_secs_f64(),
                };
                times.blocks.push(row);
                (times.clock, times.timed) = (Instant::now(), *done);
            }
            if stop.is_some_and(|stop| *done >= stop) {
                cancelled.store(true, Ordering::Relaxed);
            }
        }
        if let Event::Started { .. } = &event {
            times.lock().unwrap_or_else(PoisonError::into_inner).clock = Instant::now();
        }
        (context.report)(event);
    };
    let own = Context::new(context.device.clone(), &cancelled, &report);
    let outcome = shard::paint(inputs, &own, Variant::Scgs, shard);
    match outcome {
        Ok(()) | Err(Error::Interrupted { .. }) => {}
        Err(error) => return Err(error),
    }
    let times = times.into_inner().unwrap_or_else(PoisonError::into_inner);
    blocks.extend(times.blocks);
    Ok(times.last)
}

/// What a shard's progress is measured with.
struct Times {
    clock: Instant,
    last: usize,
    timed: usize,
    blocks: Vec<Block>,
}

/// Two classes of small pictures.
fn data(folder: &Path) -> Result<Index, Error> {
    fs_err::create_dir_all(folder)?;
    let mut samples = Vec::new();
    for id in 0..2 * SOURCES as u64 {
        let path = PathBuf::from(format!("{id}.png"));
        let picture = RgbImage::from_fn(SIDE, SIDE, |x, y| Rgb([(id * 7) as u8, (x * 30) as u8, (y * 30) as u8]));
        atomic::save_png(folder.join(&path), &picture.into())?;
        samples.push(Sample { id, path, label: (id % 2) as usize, split: Split::Train });
    }
    Ok(Index { root: folder.to_owned(), classes: vec!["even".into(), "odd".into()], samples })
}

fn backgrounds(folder: &Path) -> Result<PathBuf, Error> {
    fs_err::create_dir_all(folder)?;
    for i in 0..4u8 {
        let picture = RgbImage::from_fn(2 * SIDE, 2 * SIDE, |x, y| Rgb([i * 60, (x * 15) as u8, (y * 15) as u8]));
        atomic::save_png(folder.join(format!("{i}.png")), &picture.into())?;
    }
    Ok(folder.to_owned())
}

/// The stages before the new pictures, as a run would leave them.
fn prepare(inputs: Inputs<'_>, context: &Context<'_>) -> Result<(), Error> {
    let samples = &inputs.index.samples;
    inputs.folder.stage(context, Variant::Scgs.sources_stage(), 0, |folder| {
        let source =
            |s: &Sample| Source { id: s.id, label: s.label, becomes: s.label, cluster: 0, distance: s.id as f64 };
        let rows: Vec<Source> = samples.iter().map(source).collect();
        run_folder::write_csv(&folder.join("sources.csv"), &rows)?;
        Ok(format!("{} sources", rows.len()))
    })?;
    inputs.folder.stage(context, masks::STAGE, samples.len(), |folder| {
        let mask = GrayImage::from_fn(SIDE, SIDE, |x, _| Luma([if x < SIDE / 2 { 255 } else { 0 }]));
        let mut rows = Vec::new();
        for sample in samples {
            atomic::save_png(folder.join(format!("{}.png", sample.id)), &mask.clone().into())?;
            rows.push(MaskRow { id: sample.id, target: sample.label, area: Some(0.5), skipped: None });
        }
        run_folder::write_csv(&folder.join("masks.csv"), &rows)?;
        Ok(format!("{} masks", rows.len()))
    })
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn every_phase_is_measured_and_every_picture_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let never = AtomicBool::new(false);
        let context = Context::new(Device::flex(), &never, &|_| {});
        let blocks = run(dir.path(), 600, 3, 48, &context).unwrap();
        let last = |phase| blocks.iter().rfind(|b| b.phase == phase).map(|b| b.pictures);
        assert_eq!(last("check"), Some(600));
        assert!(last("resume").is_some_and(|n| n <= 112), "half of the first shard: {:?}", last("resume"));
        let images = dir.path().join("runs/simulated/0/seed-0/5-synthesis/images");
        assert_eq!(fs_err::read_dir(images).unwrap().count(), 600);
        let painted: usize = blocks.iter().filter(|b| b.phase == "paint").map(|b| b.items).sum();
        assert!(painted <= 600 && painted > 500, "{painted}");
    }
}

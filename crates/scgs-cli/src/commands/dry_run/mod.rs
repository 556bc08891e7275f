//! `scgs run --dry-run`: what would be done, how long it would take, and what is missing for it.

mod calibration;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::ExitCode,
};

use burn::tensor::Device;
use image::imageops::FilterType;
use scgs_cam::Repaint;
use scgs_data::{ReadOptions, Split};
use scgs_debias::{
    arms::{Arm, Pictures},
    memory::{MemoryBudget, Needs},
    methods::Method,
    pipeline::Plan,
    requirements::{self, Missing},
    settings::{FillKind, IdentifyRule, InpainterKind, Settings, TrainMode},
    stages::{evaluate, objects, sources::Variant, synthesis, training_set},
};
use serde::Serialize;

use super::{print, print_json};
use crate::{BAD_INPUT, args::RunArgs};
use calibration::{Calibration, SAMPLE};

/// Share of the training pictures that is taken to be mistakes; nobody knows it before.
const MISTAKES: f64 = 0.1;
/// Models that the criteria may choose, each of which is tested.
const CRITERIA: f64 = 4.0;
/// A real pass costs more than a trial in good order; an estimate that is too high annoys less.
const COPIES_OF_FEATURES: f64 = 3.0;

/// What --max-memory allows.
#[derive(Debug, Serialize)]
struct Memory {
    budget_bytes: u64,
    /// Estimated, of all stages.
    peak_bytes: f64,
    /// Batches made ahead.
    ahead: usize,
    /// Pictures painted together, at most.
    painted: usize,
}

/// How many pictures each split has.
#[derive(Debug, Clone, Copy, Serialize)]
struct Sizes {
    train: usize,
    val: usize,
    test: usize,
}

/// A stage of the plan.
#[derive(Debug, Serialize)]
struct Row {
    stage: String,
    what: String,
    seconds: f64,
    bytes: f64,
}

/// Everything that is printed.
#[derive(Serialize)]
struct Report<'a> {
    schema: u32,
    dataset: &'a str,
    seeds: Vec<u64>,
    methods: Vec<String>,
    device: &'a str,
    sizes: Option<Sizes>,
    sizes_from: &'a str,
    rows: Vec<Row>,
    /// Of all seeds.
    seconds: f64,
    bytes: f64,
    peak_bytes: Option<f64>,
    memory: Option<Memory>,
    calibration: Option<Calibration>,
    missing: &'a [Missing],
    settings: &'a Settings,
}

pub(super) fn run(args: &RunArgs, plan: &Plan, device: &Device) -> anyhow::Result<ExitCode> {
    let missing = requirements::missing(plan);
    let (sizes, sizes_from, own_pictures) = sizes(plan)?;
    let calibration = match sizes {
        None => None,
        Some(_) => {
            let scratch = tempfile::tempdir()?;
            let (paths, whose) = sample(plan, own_pictures, scratch.path())?;
            Some(Calibration::measure(&plan.settings, plan.definition.classes.len(), &paths, whose, device)?)
        }
    };
    let rows = match (sizes, &calibration) {
        (Some(sizes), Some(calibration)) => rows(plan, sizes, calibration),
        _ => Vec::new(),
    };
    let total = |of: fn(&Row) -> f64| rows.iter().map(of).sum::<f64>() * args.seeds as f64;
    let memory = match (plan.memory, sizes, &calibration) {
        (Some(budget), Some(sizes), Some(calibration)) => Some(memory(plan, budget, sizes, calibration)?),
        _ => None,
    };
    let report = Report {
        schema: 1,
        dataset: &plan.definition.name,
        seeds: (args.seed..args.seed + args.seeds).collect(),
        methods: plan.arms.iter().map(|arm| arm.name()).collect(),
        device: &plan.device,
        sizes,
        sizes_from,
        seconds: total(|row| row.seconds),
        bytes: total(|row| row.bytes),
        peak_bytes: sizes.zip(calibration.as_ref()).and_then(|(sizes, calibration)| peak(plan, sizes, calibration)),
        rows,
        memory,
        calibration,
        missing: &missing,
        settings: &plan.settings,
    };
    if args.common.json {
        print_json(&report)?
    } else {
        print(&text(&report)?)?
    }
    Ok(if missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(BAD_INPUT) })
}

/// The sizes of the splits, where they are known from, and the pictures if they are at hand.
fn sizes(plan: &Plan) -> anyhow::Result<(Option<Sizes>, &'static str, Vec<PathBuf>)> {
    if plan.composed() {
        let config = &plan.settings.habitat;
        let sizes = Sizes { train: config.train, val: config.val, test: config.test };
        return Ok((Some(sizes), "settings", Vec::new()));
    }
    if let Some(root) = plan.data_dir.as_ref().filter(|root| root.is_dir()) {
        let options = ReadOptions { accept_counts: plan.accept_counts, ..ReadOptions::default() };
        let grouped = scgs_data::read(&plan.definition, root, options)?;
        let index = grouped.index();
        let n = |split| index.of(split).len();
        let sizes = Sizes { train: n(Split::Train), val: n(Split::Val), test: n(Split::Test) };
        let paths = index.samples.iter().map(|sample| index.absolute(sample)).collect();
        return Ok((Some(sizes), "data folder", paths));
    }
    let Some(counts) = &plan.definition.counts else { return Ok((None, "unknown", Vec::new())) };
    let n = |split| counts.of(split).iter().sum();
    let sizes = Sizes { train: n(Split::Train), val: n(Split::Val), test: n(Split::Test) };
    Ok((Some(sizes), "publication", Vec::new()))
}

/// Pictures to calibrate on: those of the data set, or photos that ship with the project; in `scratch` where they are composed
/// into pictures of another size.
fn sample(plan: &Plan, own: Vec<PathBuf>, scratch: &Path) -> anyhow::Result<(Vec<PathBuf>, String)> {
    if !own.is_empty() {
        return Ok((own, format!("pictures of {}", plan.definition.name)));
    }
    let mut paths = Vec::new();
    for place in ["land", "water"] {
        for entry in fs_err::read_dir(plan.datasets.join("habitat/bg").join(place))? {
            paths.push(entry?.path());
        }
    }
    paths.sort();
    if !plan.composed() {
        return Ok((paths, "photos of Habitat".to_owned()));
    }
    let side = plan.settings.habitat.size;
    let scaled = |(i, path): (usize, &PathBuf)| {
        let to = scratch.join(format!("{i}.png"));
        image::imageops::resize(&scgs_data::read_rgb(path)?, side, side, FilterType::Triangle).save(&to)?;
        Ok(to)
    };
    let some = paths.iter().step_by(paths.len().div_ceil(SAMPLE).max(1)).enumerate();
    let scaled = some.map(scaled).collect::<anyhow::Result<_>>()?;
    Ok((scaled, format!("photos of Habitat at {side} x {side}")))
}

fn rows(plan: &Plan, sizes: Sizes, cost: &Calibration) -> Vec<Row> {
    let settings = &plan.settings;
    let (train, val, test) = (sizes.train as f64, sizes.val as f64, sizes.test as f64);
    let all = sizes.train + sizes.val + sizes.test;
    let full = settings.train.mode == TrainMode::Full;
    let classes = plan.definition.classes.len();
    let seen = cost.decode + cost.forward;
    let features = |n: f64| n * settings.backbone.architecture.feature_width() as f64 * 8.0;
    let steps = settings.train.epochs * sizes.train.div_ceil(settings.train.batch);
    // Every step decodes its pictures; after every epoch the validation split is judged.
    let learnt = |steps: usize| (steps * settings.train.batch) as f64 * (cost.decode + cost.train.unwrap_or_default());
    let trained = learnt(steps) + settings.train.epochs as f64 * val * seen;
    let mut rows = Vec::new();
    let mut add = |stage: &str, what: String, seconds: f64, bytes: f64| {
        rows.push(Row { stage: stage.to_owned(), what, seconds, bytes });
    };
    add("0-pictures", format!("{all} pictures decoded once"), all as f64 * cost.decode, 0.0);
    let (how, seconds) = if full {
        (format!("{steps} steps of {} pictures; ", settings.train.batch), trained)
    } else {
        (String::new(), train * cost.fit)
    };
    let what = format!("{how}features of {} pictures", sizes.train + sizes.val);
    add("1-erm", what, seconds + (train + val) * seen, cost.model_bytes + features(train + val));
    if plan.arms.iter().any(|arm| arm.needs_errors()) {
        let rule = settings.identify.rule;
        let (what, seconds) = if full && rule == IdentifyRule::EarlyEpoch {
            // A network of its own, which then answers for every training picture.
            let steps = settings.identify.epoch * sizes.train.div_ceil(settings.train.batch);
            let what = format!("; {steps} steps of {} pictures", settings.train.batch);
            (what, learnt(steps) + train * seen)
        } else {
            (String::new(), settings.identify.folds as f64 * train * cost.fit)
        };
        add("2-errors", format!("rule {}{what}", rule.name()), seconds, 0.0);
    }
    let variants: BTreeSet<Variant> = plan
        .arms
        .iter()
        .filter_map(|arm| match arm.pictures {
            Pictures::Scgs(variant) => Some(variant),
            _ => None,
        })
        .collect();
    let mistakes = train * MISTAKES;
    if !variants.is_empty() || plan.arms.iter().any(|arm| arm.pictures == Pictures::Duplicate) {
        let what = format!("about {mistakes:.0} mistakes, if one in {:.0} is one", 1.0 / MISTAKES);
        add("3-clusters", what, mistakes * (cost.decode + cost.png), mistakes * cost.png_bytes);
    }
    let swap = settings.mask.repaint == Repaint::Swap;
    let attention = {
        let side = settings.attention.input_size.unwrap_or(settings.backbone.input_size) as f64;
        cost.forward * (side / settings.backbone.input_size as f64).powi(2)
    };
    let added = (settings.synthesis.share * train).round() as usize;
    let per_class = added.div_ceil(classes);
    let new = (per_class - (settings.synthesis.duplicates * per_class as f64).round() as usize) * classes;
    let paste = settings.synthesis.inpainter == InpainterKind::CopyPaste;
    let mut done = BTreeSet::new();
    for variant in variants {
        let drawn = swap || variant == Variant::RandomSource;
        let sources = if drawn { (settings.synthesis.sources * classes) as f64 } else { mistakes }.min(train);
        let looks = if variant == Variant::RandomMask { 0.0 } else { attention + cost.region };
        let files = if looks > 0.0 { 2.2 } else { 1.1 };
        let masked = |n: f64| (n * (cost.decode + looks + files * cost.png), n * files * cost.png_bytes);
        if done.insert(variant.masks_stage()) {
            let (seconds, bytes) = masked(sources);
            add(&variant.masks_stage(), format!("about {sources:.0} masks"), seconds, bytes);
        }
        if paste && done.insert(objects::stage_name(variant)) {
            let n = ((settings.synthesis.objects * classes) as f64).min(train);
            let (seconds, bytes) = masked(n);
            add(&objects::stage_name(variant), format!("{n:.0} objects cut out"), seconds, bytes);
        }
        let new_features = if full { 0.0 } else { 1.0 };
        let painted = new as f64 * (cost.decode + cost.png + new_features * seen);
        let uncounted = if diffuses(settings) { "; the calls of the diffusion model not counted" } else { "" };
        let what = format!("{new} pictures by {}{uncounted}", inpainter(plan));
        add(
            &synthesis::stage_name(variant),
            what,
            painted,
            new as f64 * cost.png_bytes + new_features * features(new as f64),
        );
    }
    if !full {
        add(evaluate::TEST_STAGE, format!("features of {} test pictures", sizes.test), test * seen, features(test));
    }
    if !full && plan.arms.iter().any(|arm| arm.pictures == Pictures::Balanced) {
        let what = format!("features of {} training pictures", sizes.train);
        add(training_set::BALANCED_STAGE, what, train * seen, features(train));
    }
    for arm in &plan.arms {
        let first = *arm == Arm { pictures: Pictures::Real, method: Method::Erm };
        let rows_of_arm = train + if arm.pictures.has_synthetic() { new as f64 } else { 0.0 };
        let (what, seconds) = match (full, first) {
            (_, true) => ("the classifier of 1-erm, tested".to_owned(), if full { (val + test) * seen } else { 0.0 }),
            (true, false) => (
                format!("{steps} steps of {} pictures; tested", settings.train.batch),
                trained + CRITERIA * (val + test) * seen,
            ),
            (false, false) => ("last layer trained; tested".to_owned(), rows_of_arm * cost.fit),
        };
        add(&evaluate::stage_name(*arm), what, seconds, cost.model_bytes);
    }
    rows
}

/// Whether a diffusion model paints.
fn diffuses(settings: &Settings) -> bool {
    match settings.synthesis.inpainter {
        InpainterKind::BackgroundCrop => false,
        InpainterKind::CopyPaste => settings.synthesis.fill == FillKind::SmallDiffusion,
        InpainterKind::SmallDiffusion | InpainterKind::StableDiffusion => true,
    }
}

/// The name in settings.
fn inpainter(plan: &Plan) -> String {
    let name = toml::Value::try_from(plan.settings.synthesis.inpainter).ok();
    name.and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}

/// What a budget allows, from the sizes of the splits and the pictures of the calibration.
fn memory(plan: &Plan, budget: MemoryBudget, sizes: Sizes, cost: &Calibration) -> anyhow::Result<Memory> {
    let added = (plan.settings.synthesis.share * sizes.train as f64).ceil() as usize;
    let needs = Needs::of(&plan.settings, sizes.train + sizes.val, added, cost.model_bytes, cost.picture_bytes);
    let share = needs.share(Some(budget))?;
    Ok(Memory {
        budget_bytes: budget.bytes(),
        peak_bytes: share.peak,
        ahead: share.ahead.get(),
        painted: share.painted.get(),
    })
}

/// Largest memory: what calibration took, more for a full batch, and the features of a stage.
fn peak(plan: &Plan, sizes: Sizes, cost: &Calibration) -> Option<f64> {
    let settings = &plan.settings;
    let width = settings.backbone.architecture.feature_width() as f64;
    let features = (sizes.train + sizes.val) as f64 * width * 8.0 * COPIES_OF_FEATURES;
    let batch = match settings.train.mode {
        // Parameters, gradients and the optimiser's state come on top of the activations.
        TrainMode::Full => settings.train.batch as f64 * cost.peak_per_picture + 3.0 * cost.model_bytes,
        TrainMode::Head => 0.0,
    };
    Some(cost.peak? + batch.max(features))
}

fn text(report: &Report<'_>) -> anyhow::Result<String> {
    let mut out = format!("plan for {}", report.dataset);
    let seeds = report.seeds.len();
    out += &format!(
        "\n  seeds    {}\n  methods  {}\n  device   {}\n",
        report.seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", "),
        report.methods.join(", "),
        report.device
    );
    match report.sizes {
        Some(Sizes { train, val, test }) => {
            out += &format!("  pictures {train} train, {val} val, {test} test (from the {})\n", report.sizes_from);
        }
        None => out += "  pictures unknown: the data set has no published counts, so nothing is estimated\n",
    }
    if !report.rows.is_empty() {
        let each = if seeds > 1 { ", for each seed" } else { "" };
        out += &format!("\n{:<28} {:>9} {:>9}  what{each}\n", "stage", "time", "disk");
        for row in &report.rows {
            out += &format!("{:<28} {:>9} {:>9}  {}\n", row.stage, time(row.seconds), size(row.bytes), row.what);
        }
        let of = if seeds > 1 { format!(" for {seeds} seeds") } else { String::new() };
        out += &format!("{:<28} {:>9} {:>9}  {of}\n", "all", time(report.seconds), size(report.bytes));
        let peak = report.peak_bytes.map_or_else(|| "unknown on this system".to_owned(), size);
        out += &format!("peak memory                  {peak:>9}\n");
        if let Some(m) = &report.memory {
            let (budget, peak) = (size(m.budget_bytes as f64), size(m.peak_bytes));
            out += &format!(
                "with --max-memory            {budget:>9}  about {peak}: {} batches ahead, {} pictures painted together, at most\n",
                m.ahead, m.painted
            );
        }
    }
    if let Some(c) = &report.calibration {
        let ms = |seconds: f64| format!("{:.2} ms", seconds * 1000.0);
        out += &format!(
            "\nestimates from a calibration on this device with {}: decoding {}, forward {}, a mask {}{} a picture; a guide, not a\npromise\n",
            c.pictures,
            ms(c.decode),
            ms(c.forward),
            ms(c.region),
            c.train.map_or_else(String::new, |train| format!(", training {}", ms(train)))
        );
    }
    if !report.missing.is_empty() {
        out += "\nmissing:\n";
        for missing in report.missing {
            out += &format!("- {missing}\n");
        }
    }
    out += &format!("\nsettings:\n{}", toml::to_string(report.settings)?.trim_end());
    Ok(out)
}

/// Two digits that matter.
fn time(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{s:.1} s"),
        s if s < 5400.0 => format!("{:.0} min", s / 60.0),
        s if s < 129_600.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.1} days", s / 86_400.0),
    }
}

fn size(bytes: f64) -> String {
    match bytes {
        0.0 => "-".to_owned(),
        b if b < 1e6 => format!("{:.0} kB", b / 1e3),
        b if b < 1e9 => format!("{:.0} MB", b / 1e6),
        b => format!("{:.1} GB", b / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_have_a_unit_that_fits() {
        assert_eq!(
            [0.04, 89.0, 600.0, 7200.0, 864_000.0].map(time),
            ["0.0 s", "89.0 s", "10 min", "2.0 h", "10.0 days"]
        );
        assert_eq!([0.0, 2e3, 3.4e6, 1.25e9].map(size), ["-", "2 kB", "3 MB", "1.2 GB"]);
    }
}

//! `scgs suite`

use std::{path::Path, process::ExitCode};

use anyhow::Context as _;
use scgs_data::atomic;
use scgs_debias::{
    Context, Error, Results, RunFolder,
    arms::Arm,
    diagnostics::Diagnostics,
    pipeline::{self, Afterwards, Outcome, Plan},
    results::{Row, SCHEMA},
};

use super::{print, print_json, resolve};
use crate::{
    CANCELLED,
    args::{DataArgs, SuiteArgs},
    device, progress,
    suite::{
        Cell, DEFAULT, Failed, Finished, Record, Suite, ValidationRow, claims, figure, page,
        sheet::{self, Sheet},
    },
};

pub(crate) fn run(args: &SuiteArgs) -> anyhow::Result<ExitCode> {
    let suite = Suite::read(&args.suite)?;
    let device = device::open(&args.device.device)?;
    let plans: Vec<(&Cell, Plan)> =
        suite.cells.iter().map(|cell| Ok((cell, plan(args, &suite, cell)?))).collect::<anyhow::Result<_>>()?;
    let context = Context::new(device, &CANCELLED, &progress::show);
    let mut record = Record {
        results: Results {
            schema: SCHEMA,
            dataset: suite.dataset.clone(),
            classes: Vec::new(),
            attributes: Vec::new(),
            rows: Vec::new(),
            comparisons: Vec::new(),
        },
        suite: suite.clone(),
        command: args.command.clone(),
        cells: Vec::new(),
        failed: Vec::new(),
    };
    let mut examples = None;
    for (i, (cell, plan)) in plans.iter().enumerate() {
        let seeds = args.seed..args.seed + cell.seeds.map_or(args.seeds, |most| most.min(args.seeds));
        let all = || -> Result<Outcome, Error> {
            let mut run = None;
            for seed in seeds.clone() {
                let count = format!("cell {} of {}", i + 1, plans.len());
                progress::notice(&format!("{count}: {} ({}), seed {seed}", cell.name, cell.about));
                run = Some(pipeline::run(plan, seed, &context)?);
            }
            Ok(run.expect("a cell is run with at least one seed"))
        };
        let run = match all() {
            Ok(run) => run,
            // What stops one cell, such as an error set without a mistake of some class, is a finding of the others.
            Err(error) if cell.name != DEFAULT && !matches!(error, Error::Interrupted { .. }) => {
                progress::notice(&format!("cell {} cannot be run: {error}", cell.name));
                record.failed.push(Failed { cell: (*cell).clone(), error: error.to_string() });
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let results = Results::read(&run.run_folder.join("results.json"))?;
        let wanted: Vec<String> = plan.arms.iter().map(|arm| arm.name()).collect();
        let rows: Vec<Row> =
            results.rows.iter().filter(|r| seeds.contains(&r.seed) && wanted.contains(&r.method)).cloned().collect();
        record.results.classes.clone_from(&results.classes);
        record.results.attributes.clone_from(&results.attributes);
        if cell.name == DEFAULT {
            let opened = pipeline::open(plan, args.seed, &context)?;
            let folder = RunFolder::open(&run.run_folder, args.seed)?;
            examples = Some(sheet::of_seed(&folder, opened.grouped.index())?);
        }
        record.add(finished(args, cell, &run.run_folder, &rows)?, rows);
    }
    record.results.comparisons = record.results.compare();
    write(args, &record, examples.context("a suite has a default cell")?)?;
    if args.common.json {
        print_json(&record)?;
    } else {
        print(&claims::text(&record))?;
        print(&format!("\npage     {}\nresults  {}", args.out.display(), json_path(args).display()))?;
    }
    Ok(if record.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn plan(args: &SuiteArgs, suite: &Suite, cell: &Cell) -> anyhow::Result<Plan> {
    let data = DataArgs {
        dataset: Some(suite.dataset.clone()),
        datasets: args.datasets.clone(),
        data_dir: args.data_dir.clone(),
        accept_counts: args.accept_counts,
        profile: args.profile.clone(),
        config: None,
        // What the caller sets holds for every cell; a cell's own settings come last.
        sets: args.sets.iter().chain(&cell.set).cloned().collect(),
    };
    let of_cell = || format!("cell {}", cell.name);
    let (definition, settings) = resolve(&data).with_context(of_cell)?;
    let arms = Arm::parse_list(&cell.methods, &settings).with_context(of_cell)?;
    let plan = Plan {
        definition,
        settings,
        arms,
        runs: args.runs.clone(),
        datasets: args.datasets.clone(),
        data_dir: args.data_dir.clone(),
        backgrounds: args.backgrounds.clone(),
        device: args.device.device.clone(),
        accept_counts: args.accept_counts,
        afterwards: if cell.search { Afterwards::Nothing } else { Afterwards::Diagnostics },
        memory: None,
    };
    // Missing files are found before hours of work, not after.
    plan.weights().with_context(of_cell)?;
    plan.small_model().with_context(of_cell)?;
    Ok(plan)
}

fn finished(args: &SuiteArgs, cell: &Cell, folder: &Path, rows: &[Row]) -> anyhow::Result<Finished> {
    let mut seeds: Vec<u64> = rows.iter().map(|r| r.seed).collect();
    seeds.sort_unstable();
    seeds.dedup();
    let mut diagnostics = Vec::new();
    for seed in seeds.into_iter().filter(|_| !cell.search) {
        let path = folder.join(format!("seed-{seed}")).join("diagnostics.json");
        let read: Diagnostics = serde_json::from_str(&fs_err::read_to_string(&path)?)
            .with_context(|| format!("{} is damaged", path.display()))?;
        diagnostics.push((seed, read));
    }
    let validation = rows
        .iter()
        .map(|r| ValidationRow {
            method: r.method.clone(),
            seed: r.seed,
            plain: r.validation.plain,
            worst_class: r.validation.worst_class,
        })
        .collect();
    let run = folder.strip_prefix(&args.runs).unwrap_or(folder).to_owned();
    Ok(Finished { cell: cell.clone(), run, validation, diagnostics })
}

/// The page, its figure, examples and the record beside it.
fn write(args: &SuiteArgs, record: &Record, examples: Sheet) -> anyhow::Result<()> {
    if let Some(folder) = args.out.parent() {
        fs_err::create_dir_all(folder)?;
    }
    let stem = args.out.file_stem().and_then(|s| s.to_str()).context("--out needs a file name such as habitat.md")?;
    let beside = |name: &str| args.out.with_file_name(format!("{stem}{name}"));
    atomic::write(beside(".svg"), figure::of_default(record).as_bytes())?;
    let text = page::render(record, stem, &examples.legend);
    atomic::save_png(beside("-examples.png"), &examples.picture.into())?;
    atomic::write(&args.out, text.as_bytes())?;
    let mut json = serde_json::to_string_pretty(record)?;
    json.push('\n');
    atomic::write(json_path(args), json.as_bytes())?;
    Ok(())
}

/// `docs/experiments/habitat.md` -> `docs/experiments/habitat-claims.json`
fn json_path(args: &SuiteArgs) -> std::path::PathBuf {
    let stem = args.suite.file_stem().and_then(|s| s.to_str()).unwrap_or("suite");
    args.out.with_file_name(format!("{stem}.json"))
}

//! `scgs sweep`

use std::process::ExitCode;

use anyhow::bail;
use scgs_debias::{
    Context, Settings,
    pipeline::{Afterwards, Plan},
    sweep::{self, Point, Source, Sweep},
};

use super::{definition, print, print_json};
use crate::{CANCELLED, args_train::SweepArgs, device, progress, table};

pub(crate) fn run(args: &SweepArgs) -> anyhow::Result<ExitCode> {
    let (definition, file) = definition(&args.data)?;
    let device = device::open(&args.device.device)?;
    let points = match args.random {
        Some(n) => sweep::random(&args.axes, n as usize, args.seed),
        None => sweep::grid(&args.axes),
    };
    let points = points.map_err(anyhow::Error::msg)?;
    let source = Source { profile: args.data.profile.as_deref(), file, sets: &args.data.sets, methods: &args.methods };
    let points = source.resolve(&definition, points).map_err(|problems| refuse(&problems))?;
    let sweep = Sweep {
        base: Plan {
            definition,
            // Each point has its own.
            settings: Settings::default(),
            arms: Vec::new(),
            runs: args.runs.clone(),
            datasets: args.data.datasets.clone(),
            data_dir: args.data.data_dir.clone(),
            backgrounds: args.backgrounds.clone(),
            device: args.device.device.clone(),
            accept_counts: args.data.accept_counts,
            afterwards: Afterwards::Nothing,
            memory: None,
        },
        points,
        by: args.by,
        seeds: (args.seed..args.seed + args.seeds).collect(),
    };
    let problems = sweep.problems(&device);
    if !problems.is_empty() {
        return Err(refuse(&problems));
    }
    if args.dry_run {
        let lines: Vec<String> = sweep.points.iter().map(|candidate| words(&candidate.point)).collect();
        print(&format!("# {} points, {} seed(s) each\n{}", lines.len(), args.seeds, lines.join("\n")))?;
        return Ok(ExitCode::SUCCESS);
    }
    let context = Context::new(device, &CANCELLED, &progress::show);
    let total = sweep.points.len();
    let found = sweep.run(&context, &|i, point| {
        progress::notice(&format!("point {} of {total}: {}", i + 1, words(point)));
    })?;
    if args.common.json {
        print_json(&found)?;
    } else {
        print(&table::of_sweep(&found))?;
        print(&format!("\nsweep    {}", sweep.folder().join("sweep.json").display()))?;
    }
    if found.rows.iter().all(|row| row.failed.is_some()) {
        bail!("no point could be run to its end; the table says why");
    }
    Ok(ExitCode::SUCCESS)
}

fn words(point: &Point) -> String {
    point.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
}

fn refuse(problems: &[String]) -> anyhow::Error {
    match problems {
        [one] => anyhow::anyhow!("{one}"),
        many => anyhow::anyhow!("{} things are wrong with the points:\n- {}", many.len(), many.join("\n- ")),
    }
}

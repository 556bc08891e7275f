//! `scgs run`

use std::process::ExitCode;

use scgs_debias::{Context, Results, arms::Arm, pipeline, pipeline::Plan, requirements};

use super::{dry_run, print, print_json, resolve};
use crate::{CANCELLED, args::RunArgs, device, progress, report, table};

pub(crate) fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let (definition, settings) = resolve(&args.data)?;
    let arms = Arm::parse_list(&args.methods, &settings)?;
    let device = device::open(&args.device.device)?;
    let plan = Plan {
        definition,
        settings,
        arms,
        runs: args.runs.clone(),
        datasets: args.data.datasets.clone(),
        data_dir: args.data.data_dir.clone(),
        backgrounds: args.backgrounds.clone(),
        device: args.device.device.clone(),
        accept_counts: args.data.accept_counts,
        diagnostics: true,
    };
    let by_set = args.methods.split(',').map(str::trim).any(|name| name == "core" || name == "all");
    let plan = if by_set { plan.without_impossible_arms() } else { plan };
    if args.dry_run {
        return dry_run::run(args, &plan, &device);
    }
    let missing = requirements::missing(&plan);
    if !missing.is_empty() {
        let list: Vec<String> = missing.iter().map(|missing| format!("- {missing}")).collect();
        anyhow::bail!("this run cannot start; missing:\n{}", list.join("\n"));
    }
    let cache = args.cache.as_ref().map(|folder| folder.join(&plan.definition.name));
    let mut outcome = None;
    for seed in args.seed..args.seed + args.seeds {
        progress::notice(&format!("{} seed {seed} on {}", plan.definition.name, plan.device));
        let context =
            Context { device: device.clone(), cancelled: &CANCELLED, report: &progress::show, cache: cache.as_deref() };
        let done = pipeline::run(&plan, seed, &context)?;
        report::write(&done.seed_folder)?;
        outcome = Some(done);
    }
    let folder = outcome.expect("at least one seed").run_folder;
    let page = report::write(&folder)?;
    let results = Results::read(&folder.join("results.json"))?;
    if args.common.json {
        print_json(&results)?;
    } else {
        print(&table::of_results(&results))?;
        print(&format!("\nresults  {}\nreport   {}", folder.join("results.json").display(), page.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

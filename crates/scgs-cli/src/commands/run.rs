//! `scgs run`

use std::process::ExitCode;

use scgs_debias::{Context, Results, arms::Arm, pipeline, pipeline::Plan};

use super::{print, print_json, resolve};
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
    let weights = plan.weights()?;
    if args.dry_run {
        let names: Vec<_> = plan.arms.iter().map(|a| a.name()).collect();
        print(&format!(
            "# data set {}, seeds {}..={}, methods {}\n# device {}, weights {}\n\n{}",
            plan.definition.name,
            args.seed,
            args.seed + args.seeds - 1,
            names.join(", "),
            plan.device,
            weights.map_or_else(|| "random".into(), |w| w.display().to_string()),
            toml::to_string(&plan.settings)?.trim_end()
        ))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut outcome = None;
    for seed in args.seed..args.seed + args.seeds {
        progress::notice(&format!("{} seed {seed} on {}", plan.definition.name, plan.device));
        let context = Context { device: device.clone(), cancelled: &CANCELLED, report: &progress::show };
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

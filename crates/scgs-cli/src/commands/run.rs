//! `scgs run`

use std::{
    process::ExitCode,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::ensure;
use scgs_debias::{
    Context, Event, Results,
    arms::Arm,
    pipeline::{self, Afterwards, Outcome, Plan},
    requirements,
};

use super::{check_data_parallel, dry_run, print, print_json, resolve};
use crate::{
    CANCELLED,
    args::RunArgs,
    args_runs::Until,
    device,
    launch::{self, Job},
    ledger::Ledger,
    progress,
    report::{self, History},
    table,
};

pub(crate) fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let (definition, settings) = resolve(&args.data)?;
    let arms = Arm::parse_list(&args.methods, &settings)?;
    check_data_parallel(&args.parallel.data_parallel, &args.device.device, &settings)?;
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
        afterwards: Afterwards::Chain,
        memory: args.max_memory,
    };
    ensure!(
        (0.0..=1e6).contains(&args.watch.watchdog),
        "--watchdog is {}, expected minutes, 0 or more",
        args.watch.watchdog
    );
    let by_set = args.methods.split(',').map(str::trim).any(|name| name == "core" || name == "all");
    let plan = if by_set { plan.without_impossible_arms() } else { plan };
    if let Some(kind) = args.launch.launcher {
        // Who submits a job need not have the device.
        device::compiled(&args.device.device)?;
        let job = Job::of(args, &args.launch, &plan.definition.name)?;
        let launcher = launch::of(kind);
        print(&if args.dry_run { launcher.plan(&job) } else { launcher.launch(&job)? })?;
        return Ok(ExitCode::SUCCESS);
    }
    let device = device::open(&args.device.device)?;
    if args.dry_run {
        return dry_run::run(args, &plan, &device);
    }
    let replicas = device::open_all(&args.parallel.data_parallel)?;
    let missing = requirements::missing(&plan);
    if !missing.is_empty() {
        let list: Vec<String> = missing.iter().map(|missing| format!("- {missing}")).collect();
        anyhow::bail!("this run cannot start; missing:\n{}", list.join("\n"));
    }
    let cache = args.cache.as_ref().map(|folder| folder.join(&plan.definition.name));
    let mut outcome = None;
    for seed in args.seed..args.seed + args.seeds {
        progress::notice(&format!("{} seed {seed} on {}", plan.definition.name, plan.device));
        let costs = Mutex::new(Vec::new());
        let ledger = Ledger::start(Duration::from_secs_f64(args.watch.watchdog * 60.0), args.watch.price);
        let tell = |event: Event| {
            ledger.tell(&event);
            if let Event::Finished { stage, seconds, reused: false, .. } = &event {
                costs.lock().unwrap_or_else(PoisonError::into_inner).push((stage.clone(), *seconds));
            }
            progress::show(event);
        };
        let context =
            Context { cache: cache.as_deref(), replicas: &replicas, ..Context::new(device.clone(), &CANCELLED, &tell) };
        let done = match args.until {
            Some(Until::Masks) => pipeline::until_masks(&plan, seed, &context)?,
            None => pipeline::run(&plan, seed, &context)?,
        };
        let mut history = History::read(&done.seed_folder)?;
        history.commands.insert(command_line(std::env::args().skip(1)));
        history.seconds.extend(costs.into_inner().unwrap_or_else(PoisonError::into_inner));
        history.write(&done.seed_folder)?;
        if args.until.is_some() {
            print(&done.seed_folder.display().to_string())?;
            continue;
        }
        report::write(&done.seed_folder)?;
        outcome = Some(done);
    }
    let Some(Outcome { run_folder: folder, .. }) = outcome else { return Ok(ExitCode::SUCCESS) };
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

/// The command as a person would type it again.
fn command_line(words: impl Iterator<Item = String>) -> String {
    std::iter::once("scgs".to_owned()).chain(words.map(|word| launch::quoted(&word))).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::command_line;

    #[test]
    fn what_a_shell_would_change_is_quoted() {
        let words = ["run", "--set", "attention.layers=[\"last\"]", "it's", ""].map(str::to_owned);
        let expected = r#"scgs run --set 'attention.layers=["last"]' 'it'\''s' ''"#;
        assert_eq!(command_line(words.into_iter()), expected);
    }
}

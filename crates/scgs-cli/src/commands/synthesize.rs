//! `scgs synthesize`

use std::process::ExitCode;

use anyhow::ensure;
use scgs_debias::{
    Context,
    arms::Arm,
    pipeline::{self, Afterwards, Plan},
};

use super::{print, print_json, resolve};
use crate::{CANCELLED, args_runs::SynthesizeArgs, device, progress};

pub(crate) fn run(args: &SynthesizeArgs) -> anyhow::Result<ExitCode> {
    let (definition, settings) = resolve(&args.data)?;
    let arms = Arm::parse_list(&args.methods, &settings)?;
    let name = &args.device.device;
    let on = args.on.as_ref().unwrap_or(name);
    ensure!(device::same_kind(on, name), "--on {on}: another kind of device than --device {name} gives other pictures");
    let plan = Plan {
        definition,
        settings,
        arms,
        runs: args.runs.clone(),
        datasets: args.data.datasets.clone(),
        data_dir: args.data.data_dir.clone(),
        backgrounds: args.backgrounds.clone(),
        device: name.clone(),
        accept_counts: args.data.accept_counts,
        afterwards: Afterwards::Nothing,
        memory: args.max_memory,
    };
    let context = Context::new(device::open(on)?, &CANCELLED, &progress::show);
    let done = pipeline::paint_shard(&plan.without_impossible_arms(), args.seed, args.shard, &context)?;
    if args.common.json {
        print_json(&serde_json::json!({ "schema": 1, "folder": done.seed_folder, "shard": args.shard.to_string() }))?;
    } else {
        print(&format!("{}", done.seed_folder.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

//! `scgs compose`

use std::process::ExitCode;

use scgs_data::{Definition, ReadOptions, habitat};
use scgs_debias::{Event, Settings};

use super::{print, print_json};
use crate::{args::ComposeArgs, progress};

pub(crate) fn run(args: &ComposeArgs) -> anyhow::Result<ExitCode> {
    let definition = Definition::read(args.datasets.join("habitat.toml"))?;
    let settings = Settings::resolve(&definition, None, None, &args.sets)?;
    let report = |done: usize, total: usize| {
        if done == 0 {
            progress::show(Event::Started { stage: "compose".into(), total });
        }
        progress::show(Event::Advanced { done });
    };
    habitat::compose(&args.datasets.join("habitat"), &args.out, &settings.habitat, args.seed, &report)?;
    let grouped = scgs_data::read(&definition, &args.out, ReadOptions::default())?;
    if args.common.json {
        print_json(&serde_json::json!({ "schema": 1, "folder": args.out, "pictures": grouped.index().samples.len() }))?;
    } else {
        print(&format!("{} pictures in {}", grouped.index().samples.len(), args.out.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

//! `scgs fixtures`

use std::process::ExitCode;

use scgs_data::{Definition, ReadOptions, Split, lookalike};
use scgs_debias::Event;

use super::{print, print_json};
use crate::{args_data::FixturesArgs, progress};

pub(crate) fn run(args: &FixturesArgs) -> anyhow::Result<ExitCode> {
    let definition = Definition::read(args.datasets.join(format!("{}.toml", args.dataset)))?;
    let report = |done: usize, total: usize| {
        if done == 0 {
            progress::show(Event::Started { stage: "fixtures".into(), total });
        }
        progress::show(Event::Advanced { done });
    };
    let pack = args.datasets.join("habitat");
    lookalike::write(&pack, &definition, args.scale, &args.out, args.seed, &report)?;
    // Reading it back is the proof that its layout is the real one.
    let options = ReadOptions { accept_counts: true, ..ReadOptions::default() };
    let grouped = scgs_data::read(&definition, &args.out, options)?;
    if args.common.json {
        let counts = Split::ALL.map(|split| grouped.counts(split).groups);
        return print_json(&serde_json::json!({
            "schema": 1, "folder": args.out, "pictures": grouped.index().samples.len(),
            "train": counts[0], "val": counts[1], "test": counts[2],
        }))
        .map(|()| ExitCode::SUCCESS);
    }
    print(&format!("a look-alike of {} in {}", definition.title, args.out.display()))?;
    for split in Split::ALL {
        print(&format!("{split}\n{}", grouped.counts(split)))?;
    }
    print(&format!("run it with --data-dir {} --accept-counts", args.out.display()))?;
    Ok(ExitCode::SUCCESS)
}

//! `scgs merge`

use std::process::ExitCode;

use anyhow::Context as _;
use scgs_debias::{Context, pipeline};

use super::{export::seed_folder, print, print_json};
use crate::{CANCELLED, args_runs::MergeArgs, device, progress};

/// Problems that are printed; a lost folder would fill the screen.
const SHOWN: usize = 20;

pub(crate) fn run(args: &MergeArgs) -> anyhow::Result<ExitCode> {
    let (folder, seed) = seed_folder(&args.run_dir)?;
    let path = folder.join("environment.json");
    let environment: serde_json::Value =
        serde_json::from_slice(&fs_err::read(&path)?).with_context(|| format!("{} is damaged", path.display()))?;
    let own = environment["device"].as_str().with_context(|| format!("{} names no device", path.display()))?;
    let device = device::open(args.device.as_deref().unwrap_or(own))?;
    let context = Context::new(device, &CANCELLED, &progress::show);
    let merged = pipeline::merge(&folder, seed, args.data_dir.clone(), &context)?;
    if args.common.json {
        let problems: Vec<_> = merged
            .problems
            .iter()
            .map(|(stage, what)| serde_json::json!({ "stage": stage, "problem": what }))
            .collect();
        print_json(
            &serde_json::json!({ "schema": 1, "folder": folder, "stages": merged.stages, "problems": problems }),
        )?;
    }
    if merged.problems.is_empty() {
        if !args.common.json {
            let stages =
                if merged.stages.is_empty() { "nothing to merge".to_owned() } else { merged.stages.join(", ") };
            print(&format!("{stages}\n{}", folder.display()))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let listed: Vec<String> =
        merged.problems.iter().take(SHOWN).map(|(stage, what)| format!("- {stage}/{what}")).collect();
    let more = merged.problems.len() - listed.len();
    let more = if more > 0 { format!("\n- and {more} more") } else { String::new() };
    progress::error(
        &format!(
            "{} picture(s) are not as the shards should have left them:\n{}{more}",
            merged.problems.len(),
            listed.join("\n")
        ),
        Some("`scgs synthesize --shard I/N` paints again what is missing or differs, and nothing else"),
    );
    Ok(ExitCode::FAILURE)
}

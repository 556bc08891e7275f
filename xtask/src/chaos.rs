//! `cargo xtask chaos`: kills runs at random moments and compares what they leave with undisturbed ones.

use std::path::PathBuf;

use anyhow::Context as _;
use xshell::cmd;

use crate::Outcome;
use crate::workspace::{BINARIES, Workspace};

/// How often, and where the table goes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many times to kill
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    kills: u32,
    /// Decides where
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The page to write; the same as JSON goes beside it
    #[arg(long, value_name = "FILE.md", default_value = "docs/experiments/chaos.md")]
    out: PathBuf,
}

/// Builds `scgs` and the example `chaos` of the tests, and runs it.
///
/// # Errors
/// When the build fails; a difference is an outcome.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> anyhow::Result<Outcome> {
    let shell = workspace.shell()?;
    workspace.cargo(&shell, &[&["build"], &BINARIES[..]].concat()).run()?;
    let program =
        workspace.target_dir(&shell)?.join("release/examples").join(format!("chaos{}", std::env::consts::EXE_SUFFIX));
    let (kills, seed, out) = (args.kills.to_string(), args.seed.to_string(), &args.out);
    let output = cmd!(shell, "{program} {kills} {seed} {out}").ignore_status().quiet();
    let status =
        std::process::Command::from(output).status().with_context(|| format!("cannot start {}", program.display()))?;
    match status.code() {
        Some(0) => Ok(Outcome::Done),
        Some(1) => Ok(Outcome::CheckFailed),
        _ => anyhow::bail!("the runs could not be made; see above"),
    }
}

//! `scgs`: Spurious Correlations Guided Synthesis on the command line.

mod args;
mod args_data;
mod args_inpaint;
mod args_inpainter;
mod args_masks;
mod args_runs;
mod args_tools;
mod args_train;
mod commands;
mod contact_sheet;
mod device;
mod equality;
mod files;
mod help;
mod hint;
mod launch;
mod ledger;
mod overlay;
mod progress;
mod report;
mod suite;
mod table;

use std::{
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::Context as _;
use clap::FromArgMatches as _;

use crate::args::{Cli, Command};

/// Set by Ctrl-C; every stage looks at it between items.
static CANCELLED: AtomicBool = AtomicBool::new(false);

/// Exit code of an interrupted run, as shells use it (128 + SIGINT).
const INTERRUPTED: u8 = 130;
/// Exit code of bad input or missing data.
const BAD_INPUT: u8 = 2;

fn main() -> ExitCode {
    keep_freed_memory();
    let matches = help::command().get_matches();
    let command = matches.subcommand_name().unwrap_or_default().to_owned();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    progress::init(cli.quiet());
    match dispatch(cli) {
        Ok(code) => code,
        Err(error) => {
            progress::error(&hint::text(&error), hint::hint(&error, &command).as_deref());
            let interrupted =
                matches!(error.downcast_ref::<scgs_debias::Error>(), Some(scgs_debias::Error::Interrupted { .. }));
            ExitCode::from(if interrupted { INTERRUPTED } else { BAD_INPUT })
        }
    }
}

/// burn makes a tensor for every operation. glibc gives large ones back at once, and the kernel clears their pages again for
/// the next: a quarter of a training step of EfficientNet-Lite0.
fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for option in [libc::M_MMAP_THRESHOLD, libc::M_TRIM_THRESHOLD] {
        // SAFETY: two of glibc's documented settings, before there is another thread. A value that it refuses changes
        // nothing but speed.
        unsafe { libc::mallopt(option, i32::MAX) };
    }
}

fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    ctrlc::set_handler(on_ctrl_c).context("cannot install the Ctrl-C handler")?;
    match cli.command {
        Command::Run(args) => commands::run::run(&args),
        Command::Suite(args) => commands::suite::run(&args),
        Command::Train(args) => commands::train::run(&args),
        Command::Synthesize(args) => commands::synthesize::run(&args),
        Command::Merge(args) => commands::merge::run(&args),
        Command::Sweep(args) => commands::sweep::run(&args),
        Command::Eval(args) => commands::eval::run(&args),
        Command::Report(args) => commands::report::run(&args),
        Command::Compose(args) => commands::compose::run(&args),
        Command::MaskQuality(args) => commands::mask_quality::run(&args),
        Command::Inpaint(args) => commands::inpaint::run(&args),
        Command::InpaintQuality(args) => commands::inpaint_quality::run(&args),
        Command::TrainInpainter(args) => commands::train_inpainter::run(&args),
        Command::Predict(args) => commands::predict::run(&args),
        Command::Cam(args) => commands::cam::run(&args),
        Command::Serve(args) => commands::serve::run(&args),
        Command::Cluster(args) => commands::cluster::run(&args),
        Command::Export(args) => commands::export::run(&args),
        Command::Reference(args) => commands::reference::run(&args),
        Command::Fixtures(args) => commands::fixtures::run(&args),
        Command::Simulate(args) => commands::simulate::run(&args),
        Command::Bench(args) => commands::bench::run(&args),
        Command::Doctor(args) => commands::doctor::run(&args),
        Command::Completions(args) => commands::shell::completions(&args),
        Command::Man(args) => commands::shell::man(&args),
    }
}

/// The first Ctrl-C asks the current stage to stop at the next safe point, the second ends the process: files are
/// renamed into place, so nothing half-written is left either way.
#[expect(clippy::exit, reason = "a second Ctrl-C must not wait for anything")]
fn on_ctrl_c() {
    if CANCELLED.swap(true, Ordering::Relaxed) {
        std::process::exit(i32::from(INTERRUPTED));
    }
    progress::line("stopping at the next safe point (Ctrl-C again to stop at once)");
}

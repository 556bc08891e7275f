//! Project automation, called as `cargo xtask <command>`.
//!
//! One file per command. It calls cargo and the `scgs` binary and never links burn, so that its own build takes
//! seconds. Exit codes: 0 done, 1 a check failed, 2 bad input or something is missing; `reproduce` hands on the code
//! of `scgs`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a terminal program: its output is its result")]

mod bench;
mod chaos;
mod devices;
mod download;
mod features;
mod fixtures;
mod fuzz;
mod libtorch;
mod method_pages;
mod python;
mod reference;
mod reproduce;
mod results;
mod setup;
mod test;
mod tidy;
#[cfg(test)]
mod workflows;
mod workspace;

use std::process::ExitCode;

use clap::Parser;

use crate::workspace::Workspace;

/// What a command ended with; an `Err` beside it means bad input or something missing (exit code 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Everything asked for was done.
    Done,
    /// A check failed; the command has already said which.
    CheckFailed,
    /// `scgs` ended with this code. (On Unix it takes our place instead, and its code is ours.)
    #[cfg(not(unix))]
    Code(u8),
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::SUCCESS,
            Outcome::CheckFailed => Self::from(1),
            #[cfg(not(unix))]
            Outcome::Code(code) => Self::from(code),
        }
    }
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 a check failed, 2 bad input or something is missing";
const REPRODUCE: &str = "\
Examples:
  cargo xtask reproduce habitat
      everything is embedded: no network, no GPU, about ten minutes on two cores
  cargo xtask reproduce habitat --profile quick
      two minutes, to see that everything works
  cargo xtask reproduce habitat --suite claims --seeds 5
      the paper's claims with their controls, hours: docs/experiments/habitat.md
  cargo xtask reproduce waterbirds --data-dir data/waterbirds --seeds 5 --device cuda:0

Exit codes: those of `scgs run`: 0 done, 2 bad input or missing data, 130 interrupted";
const DOWNLOAD: &str = "\
Examples:
  cargo xtask download waterbirds --data-dir data
  cargo xtask download weights-resnet50
      resumed where it stopped, verified, and there whole or not at all

Exit codes: 0 done, 1 a check failed, 2 bad input or something is missing";
const CHAOS: &str = "\
Examples:
  cargo xtask chaos --kills 50
      kills runs at random moments of every stage, lets them go on and compares every file: docs/experiments/chaos.md

Exit codes: 0 every file is the same, 1 a file differs, 2 bad input or something is missing";
const FUZZ: &str = "\
Examples:
  cargo xtask fuzz
      every reader of files from elsewhere for ten minutes each: docs/experiments/fuzz.md
  cargo xtask fuzz picture pickle --minutes 60

Exit codes: 0 no finding, 1 a crash, a hang or too much memory, 2 bad input or something is missing";
const DEVICES: &str = "\
Examples:
  cargo xtask devices
      tch and wgpu beside flex: networks, attention maps, schedulers, training steps
  cargo xtask devices --habitat tch=quick,wgpu=small
      and the whole loop, with the accuracy of its worst groups: docs/experiments/devices.md

Exit codes: 0 the devices agree, 1 one does not, 2 bad input or something is missing";
const TEST: &str = "\
Examples:
  cargo xtask test
  cargo xtask test --quick
  cargo xtask test --only fmt,tidy

Exit codes: 0 all green, 1 a step failed, 2 bad input or something is missing";

/// Project automation for SCGS.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", arg_required_else_help = true, after_help = EXIT_CODES)]
enum Command {
    /// Build `scgs` and run the whole experiment on a data set.
    #[command(after_help = REPRODUCE)]
    Reproduce(reproduce::Args),
    /// Download a data set or weights, verified and whole or not at all.
    #[command(after_help = DOWNLOAD)]
    Download(download::Args),
    /// Write the results of a run into the pages of docs/methods.
    #[command(after_help = EXIT_CODES)]
    MethodPages(method_pages::Args),
    /// Write docs/reference from the code: every command, every setting.
    #[command(after_help = EXIT_CODES)]
    Reference(reference::Args),
    /// Measure speed and memory, beside the usual Python library where asked.
    #[command(after_help = EXIT_CODES)]
    Bench(bench::Args),
    /// Compare what other devices compute with flex, and the whole loop on them.
    #[command(after_help = DEVICES)]
    Devices(devices::Args),
    /// Build every set of devices that is offered.
    #[command(after_help = EXIT_CODES)]
    Features(features::Args),
    /// Make a look-alike of a published data set: its layout and proportions with pictures of Habitat.
    #[command(after_help = EXIT_CODES)]
    Fixtures(fixtures::Args),
    /// Kill runs at random moments and compare what they leave with undisturbed ones.
    #[command(after_help = CHAOS)]
    Chaos(chaos::Args),
    /// Feed damaged files to every reader of files from elsewhere.
    #[command(after_help = FUZZ)]
    Fuzz(fuzz::Args),
    /// Run everything a contributor must see green, cheapest first.
    #[command(after_help = TEST)]
    Test(test::Args),
    /// Check the invariants of docs/architecture.md that text can show.
    #[command(after_help = EXIT_CODES)]
    Tidy,
    /// Install the tools that the tests need and a fresh machine with Rust lacks.
    #[command(after_help = EXIT_CODES)]
    Setup(setup::Args),
}

fn main() -> ExitCode {
    let command = Command::parse();
    match run(&command) {
        Ok(outcome) => outcome.into(),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(command: &Command) -> anyhow::Result<Outcome> {
    let workspace = Workspace::find()?;
    match command {
        Command::Reproduce(args) => reproduce::run(&workspace, args),
        Command::Download(args) => download::run(&workspace, args),
        Command::MethodPages(args) => method_pages::run(&workspace, args),
        Command::Reference(args) => reference::run(&workspace, args),
        Command::Bench(args) => bench::run(&workspace, args),
        Command::Devices(args) => devices::run(&workspace, args),
        Command::Features(args) => features::run(&workspace, args),
        Command::Fixtures(args) => fixtures::run(&workspace, args),
        Command::Chaos(args) => chaos::run(&workspace, args),
        Command::Fuzz(args) => fuzz::run(&workspace, args),
        Command::Test(args) => test::run(&workspace, args),
        Command::Tidy => tidy::run(&workspace),
        Command::Setup(args) => setup::run(&workspace, args),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Command;

    #[test]
    fn the_command_line_is_well_formed() {
        Command::command().debug_assert();
    }

    /// clap pads some lines.
    fn trimmed(text: &str) -> String {
        text.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
    }

    /// After a wanted change: `INSTA_UPDATE=always cargo test --release --workspace --bin xtask`.
    #[test]
    fn the_help_is_as_it_was() {
        let mut whole = Command::command().term_width(110);
        whole.build();
        let mut settings = insta::Settings::clone_current();
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!("help", trimmed(&whole.render_long_help().to_string())));
        for command in whole.get_subcommands_mut().filter(|c| c.get_name() != "help") {
            let name = format!("help-{}", command.get_name());
            let text = command.render_long_help().to_string();
            assert!(text.contains("Exit codes:"), "{name}");
            settings.bind(|| insta::assert_snapshot!(name, trimmed(&text)));
        }
    }

    #[test]
    fn bad_input_is_exit_code_two() {
        let error = <Command as clap::Parser>::try_parse_from(["cargo xtask", "reproduce", "imagenet"])
            .expect_err("no such data set");
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("habitat, waterbirds, celeba, metashift"), "{error}");
    }
}

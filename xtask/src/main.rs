//! Project automation, called as `cargo xtask <command>`.
//!
//! One file per command. It calls cargo and the `scgs` binary and never links burn, so that its own build takes
//! seconds. Exit codes: 0 done, 1 a check failed, 2 bad input or something is missing; `reproduce` hands on the code
//! of `scgs`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a terminal program: its output is its result")]

mod bench;
mod download;
mod fixtures;
mod method_pages;
mod reproduce;
mod results;
mod setup;
mod test;
mod tidy;
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

/// Project automation for SCGS.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", arg_required_else_help = true)]
enum Command {
    /// Build `scgs` and run the whole experiment on a data set.
    Reproduce(reproduce::Args),
    /// Download a data set or weights, verified and whole or not at all.
    Download(download::Args),
    /// Write the results of a run into the pages of docs/methods.
    MethodPages(method_pages::Args),
    /// Measure speed and memory, beside the usual Python library where asked.
    Bench(bench::Args),
    /// Make a look-alike of a published data set: its layout and proportions with pictures of Habitat.
    Fixtures(fixtures::Args),
    /// Run everything a contributor must see green, cheapest first.
    Test(test::Args),
    /// Check the invariants of docs/architecture.md that text can show.
    Tidy,
    /// Install the tools that the tests need and a fresh machine with Rust lacks.
    Setup,
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
        Command::Bench(args) => bench::run(&workspace, args),
        Command::Fixtures(args) => fixtures::run(&workspace, args),
        Command::Test(args) => test::run(&workspace, args),
        Command::Tidy => tidy::run(&workspace),
        Command::Setup => setup::run(&workspace),
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

    #[test]
    fn bad_input_is_exit_code_two() {
        let error = <Command as clap::Parser>::try_parse_from(["cargo xtask", "reproduce", "imagenet"])
            .expect_err("no such data set");
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("habitat, waterbirds, celeba, metashift"), "{error}");
    }
}

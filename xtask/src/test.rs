//! `cargo xtask test`: everything a contributor must see green, cheapest first.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use xshell::Shell;

use crate::workspace::{BINARIES, Workspace};
use crate::{Outcome, features, python, reference, results, tidy};

/// What the quick profile promises on two cores.
const LOOP_LIMIT: Duration = Duration::from_secs(120);

/// Which steps to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Leave out the slow end: doctests, cargo-deny, the Python example and the two-minute loop
    #[arg(long)]
    quick: bool,
    /// Run these steps only, separated by commas
    #[arg(long, value_name = "STEPS", value_delimiter = ',', conflicts_with = "quick")]
    only: Vec<Step>,
    /// Build with these devices beside flex, such as tch,wgpu
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    features: Vec<String>,
}

/// The steps in the order in which they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Step {
    /// Formatting
    Fmt,
    /// The invariants of docs/architecture.md
    Tidy,
    /// Lints, every warning an error
    Clippy,
    /// Documentation, every warning an error
    Doc,
    /// The binaries, which the end-to-end tests run
    Build,
    /// The pages of docs/reference are what the code says
    Reference,
    /// Every crate can be packaged for a registry
    Package,
    /// All tests but doctests
    Tests,
    /// The examples in the documentation
    Doctests,
    /// Dependencies: duplicates, licences, sources
    Deny,
    /// The Python example reads a run, where there is a Python for it
    PythonExample,
    /// The whole experiment in its quick profile, and a check of its results
    Loop,
}

/// How a step ended when it did not fail.
pub(crate) enum Ending {
    Passed,
    /// Not run, and why.
    Skipped(&'static str),
}

impl Step {
    fn name(self) -> String {
        self.to_possible_value().expect("no step is hidden").get_name().to_owned()
    }

    fn is_slow(self) -> bool {
        matches!(self, Self::Doctests | Self::Deny | Self::PythonExample | Self::Loop)
    }

    /// `features` are the arguments that choose what is compiled in.
    fn run(self, workspace: &Workspace, shell: &Shell, features: &[&str]) -> anyhow::Result<Ending> {
        let cargo = |args: &[&str]| -> anyhow::Result<Ending> {
            workspace.cargo(shell, args).run()?;
            Ok(Ending::Passed)
        };
        let built = |args: &[&str], rest: &[&str]| cargo(&[args, features, rest].concat());
        match self {
            // rustfmt's own guess paints its output in a log file too.
            Self::Fmt => {
                let colour = if std::io::stdout().is_terminal() { "auto" } else { "never" };
                cargo(&["fmt", "--all", "--check", "--", "--color", colour])
            }
            Self::Tidy => {
                let findings = tidy::check(workspace)?;
                for finding in &findings {
                    println!("{finding}");
                }
                ensure!(findings.is_empty(), "tidy found {} problems", findings.len());
                Ok(Ending::Passed)
            }
            // Clippy and rustdoc read the same check artefacts of the dependencies: the release profile and the
            // dev-dependencies, see `BINARIES`.
            Self::Clippy => built(&["clippy", "--release", "--workspace", "--all-targets"], &["--", "-D", "warnings"]),
            Self::Doc => {
                let args = [&["doc", "--no-deps", "--lib"], &BINARIES[..], features].concat();
                workspace.cargo(shell, &args).env("RUSTDOCFLAGS", "-D warnings").run()?;
                Ok(Ending::Passed)
            }
            Self::Build => built(&[&["build"], &BINARIES[..]].concat(), &[]),
            Self::Tests if workspace.has_subcommand(shell, "nextest") => {
                built(&["nextest", "run", "--release", "--workspace", "--profile", "ci"], &[])
            }
            Self::Tests => {
                println!("cargo-nextest is not installed (`cargo xtask setup` does it): falling back to `cargo test`");
                built(&["test", "--release", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast"], &[])
            }
            Self::Doctests => built(&["test", "--release", "--workspace", "--doc"], &[]),
            Self::Deny if workspace.has_subcommand(shell, "deny") => {
                cargo(&["deny", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"])
            }
            Self::Deny => Ok(Ending::Skipped("cargo-deny is not installed (`cargo xtask setup deny`)")),
            Self::Reference => {
                let differing = reference::differing(workspace, false)?;
                ensure!(
                    differing.is_empty(),
                    "{} differs from the code: run `cargo xtask reference`",
                    differing.join(", ")
                );
                Ok(Ending::Passed)
            }
            // Everything a package needs is on this machine once the workspace has been built.
            Self::Package => {
                let scope = ["package", "--workspace", "--exclude", "scgs-tests", "--exclude", "xtask"];
                cargo(&[&scope[..], &["--no-verify", "--allow-dirty", "--offline", "--quiet"]].concat())
            }
            Self::PythonExample => python::example(workspace, shell, features),
            Self::Loop => two_minute_loop(workspace, shell, features),
        }
    }
}

/// Runs the chosen steps and stops at the first that fails.
///
/// # Errors
/// When the current folder is gone; a failed step is an outcome.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> anyhow::Result<Outcome> {
    let shell = workspace.shell()?;
    features::prepare(&shell, &args.features)?;
    let asked = features::arguments(&args.features);
    let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
    let started = Instant::now();
    let mut lines = Vec::new();
    let mut outcome = Outcome::Done;
    for step in chosen(args) {
        let step_started = Instant::now();
        let ended = step.run(workspace, &shell, &asked);
        let line = line(step, &ended, step_started.elapsed());
        println!("{line}");
        lines.push(line);
        if let Err(error) = ended {
            println!(
                "\n{error:#}\nTo repeat this step: {}",
                repeat_command(step, std::env::var("CARGO_TARGET_DIR").ok(), &args.features)
            );
            outcome = Outcome::CheckFailed;
            break;
        }
    }
    println!("\nSummary after {:.1} s", started.elapsed().as_secs_f64());
    for line in lines {
        println!("  {line}");
    }
    Ok(outcome)
}

fn chosen(args: &Args) -> Vec<Step> {
    let all = Step::value_variants().iter().copied();
    if args.only.is_empty() {
        all.filter(|step| !(args.quick && step.is_slow())).collect()
    } else {
        all.filter(|step| args.only.contains(step)).collect()
    }
}

fn line(step: Step, ended: &anyhow::Result<Ending>, took: Duration) -> String {
    let head = format!("step {} ...", step.name());
    match ended {
        Ok(Ending::Passed) => format!("{head} ok ({:.1} s)", took.as_secs_f64()),
        Ok(Ending::Skipped(why)) => format!("{head} skipped: {why}"),
        Err(_) => format!("{head} FAILED ({:.1} s)", took.as_secs_f64()),
    }
}

fn repeat_command(step: Step, target_dir: Option<String>, features: &[String]) -> String {
    let mut command = format!("cargo xtask test --only {}", step.name());
    if !features.is_empty() {
        command += &format!(" --features {}", features.join(","));
    }
    match target_dir {
        Some(dir) => format!("CARGO_TARGET_DIR='{dir}' {command}"),
        None => command,
    }
}

/// Runs the quick profile as a user would and checks what it wrote.
fn two_minute_loop(workspace: &Workspace, shell: &Shell, features: &[&str]) -> anyhow::Result<Ending> {
    // Alone, this step must not judge an old binary; after the others this costs a second.
    workspace.cargo(shell, &[&["build"], &BINARIES[..], features].concat()).run()?;
    // The process id keeps clones apart that share a target directory.
    let runs = workspace.target_dir(shell)?.join(format!("xtask-loop-{}", std::process::id()));
    shell.remove_path(&runs)?;
    let scgs = workspace.scgs(shell)?;
    let datasets = workspace.root().join("datasets");
    let started = Instant::now();
    xshell::cmd!(shell, "{scgs} run --dataset habitat --profile quick --datasets {datasets} --runs {runs}").run()?;
    let took = started.elapsed();

    let files = results_files(&runs)?;
    ensure!(!files.is_empty(), "`scgs run` wrote no results.json below {}", runs.display());
    for file in &files {
        let text = fs_err::read_to_string(file)?;
        let problems = results::problems(&text, "habitat", &results::QUICK_ARMS);
        if !problems.is_empty() {
            bail!("{} is wrong (kept for a look):\n- {}", file.display(), problems.join("\n- "));
        }
    }
    if took > LOOP_LIMIT {
        println!(
            "notice: the quick profile took {:.0} s, more than the {} s it promises on two free cores",
            took.as_secs_f64(),
            LOOP_LIMIT.as_secs()
        );
    }
    shell.remove_path(&runs).context("cannot remove the finished run")?;
    Ok(Ending::Passed)
}

/// Every `results.json` below `folder`, in the order of their paths.
pub(crate) fn results_files(folder: &std::path::Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else if entry.file_name() == "results.json" {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Args, Ending, Step, chosen, line, repeat_command};

    fn names(args: &Args) -> Vec<String> {
        chosen(args).into_iter().map(Step::name).collect()
    }

    #[test]
    fn steps_run_cheapest_first() {
        let all = [
            "fmt",
            "tidy",
            "clippy",
            "doc",
            "build",
            "reference",
            "package",
            "tests",
            "doctests",
            "deny",
            "python-example",
            "loop",
        ];
        assert_eq!(names(&Args { quick: false, only: vec![], features: vec![] }), all);
        assert_eq!(names(&Args { quick: true, only: vec![], features: vec![] }), all[..8]);
        assert_eq!(names(&Args { quick: false, only: vec![Step::Tidy, Step::Fmt], features: vec![] }), ["fmt", "tidy"]);
    }

    #[test]
    fn every_ending_has_its_line() {
        let took = Duration::from_millis(12_340);
        assert_eq!(line(Step::Fmt, &Ok(Ending::Passed), took), "step fmt ... ok (12.3 s)");
        assert_eq!(line(Step::Deny, &Ok(Ending::Skipped("absent")), took), "step deny ... skipped: absent");
        assert_eq!(line(Step::Doc, &Err(anyhow::anyhow!("x")), took), "step doc ... FAILED (12.3 s)");
    }

    #[test]
    fn the_repeat_command_names_the_shared_target_directory() {
        assert_eq!(repeat_command(Step::Tests, None, &[]), "cargo xtask test --only tests");
        let shared = repeat_command(Step::Loop, Some("shared dir".to_owned()), &["tch".to_owned()]);
        assert_eq!(shared, "CARGO_TARGET_DIR='shared dir' cargo xtask test --only loop --features tch");
    }
}

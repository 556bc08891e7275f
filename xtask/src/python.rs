//! The Python example of the documentation: its environment, and the check that it still reads what a run writes.
//!
//! Python is never needed to build or test: where there is none, the step says so and is passed over.

use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use xshell::{Shell, cmd};

use crate::results;
use crate::test::{Ending, results_files};
use crate::workspace::{BINARIES, Workspace};

const EXAMPLE: &str = "docs/examples/read_run.py";
const REQUIREMENTS: &str = "docs/examples/requirements.txt";
/// The arms of the run that the example reads.
const ARMS: [&str; 2] = ["erm", "scgs"];
/// Settings of a run that takes seconds.
const TINY: [&str; 6] = [
    "habitat.size=48",
    "habitat.train=160",
    "habitat.val=16",
    "habitat.test=40",
    "backbone.input_size=64",
    "attention.input_size=64",
];

/// The interpreter of the example's own environment, below the target directory, whether or not it is there.
fn interpreter(workspace: &Workspace, shell: &Shell) -> anyhow::Result<PathBuf> {
    let inside = if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" };
    Ok(workspace.target_dir(shell)?.join("python-example").join(inside))
}

/// Makes the environment with the pinned packages, where this machine has a Python.
///
/// # Errors
/// When there is a Python but the packages cannot be installed.
pub(crate) fn environment(workspace: &Workspace, shell: &Shell) -> anyhow::Result<()> {
    let python = interpreter(workspace, shell)?;
    if works(shell, &python) {
        println!("the Python example has its packages");
        return Ok(());
    }
    if cmd!(shell, "python3 --version").quiet().ignore_stdout().ignore_stderr().run().is_err() {
        println!("no python3: the Python example of the documentation is not tested here");
        return Ok(());
    }
    let folder = workspace.target_dir(shell)?.join("python-example");
    let requirements = workspace.root().join(REQUIREMENTS);
    let advice = "the tests pass over the Python example without it";
    cmd!(shell, "python3 -m venv --clear {folder}")
        .run()
        .with_context(|| format!("cannot make a Python environment (Debian: python3-venv); {advice}"))?;
    cmd!(shell, "{python} -m pip install --quiet --disable-pip-version-check --requirement {requirements}")
        .run()
        .with_context(|| format!("cannot install {REQUIREMENTS}; {advice}"))
}

fn works(shell: &Shell, python: &PathBuf) -> bool {
    python.is_file() && cmd!(shell, "{python} -c 'import pandas, PIL'").quiet().ignore_stderr().run().is_ok()
}

/// Lets the example read a small run, and compares what it says with `results.json`.
///
/// # Errors
/// When the run or the example fails, or says something else.
pub(crate) fn example(workspace: &Workspace, shell: &Shell, features: &[&str]) -> anyhow::Result<Ending> {
    let python = interpreter(workspace, shell)?;
    if !works(shell, &python) {
        return Ok(Ending::Skipped(
            "no Python with pandas and Pillow (`cargo xtask setup` makes one where python3 is)",
        ));
    }
    workspace.cargo(shell, &[&["build"], &BINARIES[..], features].concat()).run()?;
    let runs = workspace.target_dir(shell)?.join(format!("xtask-python-{}", std::process::id()));
    shell.remove_path(&runs)?;
    let scgs = workspace.scgs(shell)?;
    let datasets = workspace.root().join("datasets");
    let sets = TINY.iter().flat_map(|set| ["--set", set]);
    let methods = ARMS.join(",");
    cmd!(
        shell,
        "{scgs} run --quiet --dataset habitat --methods {methods} --seeds 2 --datasets {datasets} --runs {runs}"
    )
    .args(sets)
    .ignore_stdout()
    .run()?;
    // The shortest path is the file of all seeds.
    let Some(file) = results_files(&runs)?.into_iter().min_by_key(|path| path.components().count()) else {
        bail!("`scgs run` wrote no results.json below {}", runs.display());
    };
    let run = file.parent().unwrap_or(&runs);
    let example = workspace.root().join(EXAMPLE);
    let said = cmd!(shell, "{python} {example} {run}").read()?;
    for line in results::worst_groups(&fs_err::read_to_string(&file)?)? {
        ensure!(said.contains(&line), "{EXAMPLE} does not say `{line}` but:\n{said}");
    }
    for part in ["a new picture:", "weights:"] {
        ensure!(said.contains(part), "{EXAMPLE} does not say `{part}` but:\n{said}");
    }
    shell.remove_path(&runs)?;
    Ok(Ending::Passed)
}

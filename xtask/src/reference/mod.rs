//! `cargo xtask reference`: writes docs/reference/commands.md and settings.md from the code, so that they cannot lag behind
//! it. `--check` compares instead of writing, which is a step of `cargo xtask test`.

mod page;
mod source;

use std::collections::BTreeMap;

use anyhow::Context;
use xshell::cmd;

use crate::Outcome;
use crate::workspace::{BINARIES, Workspace};

/// Where settings are defined; a folder stands for the files in it.
const SOURCES: [&str; 9] = [
    "crates/scgs-debias/src/settings",
    "crates/scgs-debias/src/look.rs",
    "crates/scgs-debias/src/region.rs",
    "crates/scgs-debias/src/selection.rs",
    "crates/scgs-debias/src/minibatch/schedule.rs",
    "crates/scgs-data/src/habitat.rs",
    "crates/scgs-models/src/architecture.rs",
    "crates/scgs-cam/src",
    "crates/scgs-cluster/src/pick.rs",
];
/// The struct of all settings.
const ROOT: &str = "Settings";
const PAGES: &str = "docs/reference";

/// Whether to write.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write nothing; exit code 1 if a page differs from the code
    #[arg(long)]
    check: bool,
}

/// Writes or checks both pages.
///
/// # Errors
/// When `scgs` cannot be built, or a setting has no documentation.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> anyhow::Result<Outcome> {
    let differing = differing(workspace, !args.check)?;
    for path in &differing {
        println!("{} {path}", if args.check { "differs" } else { "written" });
    }
    if args.check && !differing.is_empty() {
        println!("run `cargo xtask reference`");
        return Ok(Outcome::CheckFailed);
    }
    Ok(Outcome::Done)
}

/// The pages that differ from the code, which are written if wanted.
///
/// # Errors
/// As [`run`].
pub(crate) fn differing(workspace: &Workspace, write: bool) -> anyhow::Result<Vec<String>> {
    let shell = workspace.shell()?;
    workspace.cargo(&shell, &[&["build", "--quiet"], &BINARIES[..]].concat()).quiet().run()?;
    let scgs = workspace.scgs(&shell)?;
    let folder = workspace.target_dir(&shell)?.join(format!("xtask-reference-{}", std::process::id()));
    cmd!(shell, "{scgs} reference {folder}").quiet().ignore_stdout().run()?;
    let commands = fs_err::read_to_string(folder.join("commands.md"))?;
    let defaults = fs_err::read_to_string(folder.join("defaults.toml"))?.parse().context("defaults.toml")?;
    shell.remove_path(&folder)?;

    let settings = page::settings(&types(workspace)?, ROOT, &defaults)?;
    let mut differing = Vec::new();
    for (name, text) in [("commands.md", commands), ("settings.md", settings)] {
        let path = workspace.root().join(PAGES).join(name);
        let old = if path.is_file() { fs_err::read_to_string(&path)? } else { String::new() };
        if old != text {
            differing.push(format!("{PAGES}/{name}"));
            if write {
                fs_err::create_dir_all(workspace.root().join(PAGES))?;
                fs_err::write(&path, text)?;
            }
        }
    }
    Ok(differing)
}

fn types(workspace: &Workspace) -> anyhow::Result<BTreeMap<String, source::Type>> {
    let mut found = BTreeMap::new();
    for source in SOURCES {
        let path = workspace.root().join(source);
        let mut files = Vec::new();
        if path.is_dir() {
            for entry in fs_err::read_dir(&path)? {
                files.push(entry?.path());
            }
            files.retain(|file| file.extension().is_some_and(|e| e == "rs"));
            files.sort();
        } else {
            files.push(path);
        }
        for file in files {
            found.extend(source::types(&fs_err::read_to_string(file)?));
        }
    }
    Ok(found)
}

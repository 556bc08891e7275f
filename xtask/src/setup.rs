//! `cargo xtask setup`: installs what the tests need beyond Rust.

use anyhow::{Context, bail};
use clap::ValueEnum;
use xshell::{Shell, cmd};

use crate::workspace::Workspace;
use crate::{Outcome, libtorch, python};

/// The version that continuous integration and contributors share.
const NEXTEST: &str = "cargo-nextest@0.9.143";
/// What builds `fuzz/`.
const FUZZ: &str = "cargo-fuzz@0.13.2";
/// What checks dependencies.
const DENY: &str = "cargo-deny@0.20.2";

/// Names under which distributions install the browser that looks at the report; tests/src/browser.rs asks for the same.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// What is installed only when asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Extra {
    /// A Slurm of one node, for tests/slurm/single-node.sh
    Slurm,
    /// cargo-fuzz, for `cargo xtask fuzz`
    Fuzz,
    /// cargo-deny, for the step `deny` of `cargo xtask test`
    Deny,
    /// A libtorch for the CPU, for the feature tch
    Tch,
    /// Mesa's software renderer, a Vulkan driver for machines without a GPU, for the feature wgpu
    Wgpu,
}

/// What to install.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Something that only some tests need, instead of what all need
    extra: Option<Extra>,
}

/// Installs each missing tool. One that cannot be installed does not keep the next from being tried.
///
/// # Errors
/// When a tool cannot be built or downloaded.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> anyhow::Result<Outcome> {
    let shell = workspace.shell()?;
    if let Some(extra) = args.extra {
        match extra {
            Extra::Slurm => slurm(&shell)?,
            Extra::Fuzz => from_source(workspace, &shell, FUZZ)?,
            Extra::Deny => from_source(workspace, &shell, DENY)?,
            Extra::Tch => libtorch::install(&shell)?,
            Extra::Wgpu => vulkan_driver(&shell)?,
        }
        return Ok(Outcome::Done);
    }
    let nextest = from_source(workspace, &shell, NEXTEST).context("the tests fall back to `cargo test` without it");
    let installed = [nextest, chromium(&shell), python::environment(workspace, &shell)];
    let failures: Vec<String> = installed.into_iter().filter_map(Result::err).map(|e| format!("{e:#}")).collect();
    if failures.is_empty() {
        return Ok(Outcome::Done);
    }
    bail!(failures.join("\nerror: "))
}

/// A subcommand of cargo, given as `name@version`.
fn from_source(workspace: &Workspace, shell: &Shell, package: &str) -> anyhow::Result<()> {
    let name = package.split('@').next().unwrap_or(package);
    if workspace.has_subcommand(shell, name.strip_prefix("cargo-").unwrap_or(name)) {
        println!("{name} is installed");
        return Ok(());
    }
    // Its artefacts have no place among the project's, which clones share.
    workspace
        .cargo(shell, &["install", "--locked", package])
        .env_remove("CARGO_TARGET_DIR")
        .run()
        .with_context(|| format!("cannot install {package}"))
}

/// Debian's package. The tests of the report fail without a browser: a page that nobody has looked at is not tested.
fn chromium(shell: &Shell) -> anyhow::Result<()> {
    if let Some(name) = BROWSERS.into_iter().find(|name| works(shell, name, "--version")) {
        println!("{name} is installed");
        return Ok(());
    }
    let advice = "the tests of the report need Chromium; install it by hand";
    packages(shell, &["chromium"]).with_context(|| format!("cannot install chromium; {advice}"))
}

/// Debian's packages. The daemons are started by the test alone, in a folder of its own.
fn slurm(shell: &Shell) -> anyhow::Result<()> {
    if works(shell, "slurmctld", "-V") && works(shell, "munged", "--version") {
        println!("slurm is installed");
        return Ok(());
    }
    packages(shell, &["slurm-wlm", "slurm-wlm-basic-plugins", "munge"])
}

/// Debian's packages, where no Vulkan driver is there.
fn vulkan_driver(shell: &Shell) -> anyhow::Result<()> {
    let drivers = installed_drivers();
    if drivers.is_empty() {
        packages(shell, &["mesa-vulkan-drivers", "libvulkan1"])?;
    } else {
        println!("Vulkan drivers are installed: {}", drivers.join(", "));
    }
    println!("To use it:\n  cargo build --release -p scgs-cli --features wgpu");
    Ok(())
}

/// The files in which drivers announce themselves.
fn installed_drivers() -> Vec<String> {
    let folders = ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d"];
    let entries = folders.iter().filter_map(|folder| fs_err::read_dir(folder).ok()).flatten().filter_map(Result::ok);
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Installs packages of the distribution.
fn packages(shell: &Shell, names: &[&str]) -> anyhow::Result<()> {
    if !works(shell, "apt-get", "--version") {
        bail!("no apt-get to install {} with", names.join(", "));
    }
    let root = cmd!(shell, "id -u").quiet().ignore_stderr().read().is_ok_and(|id| id.trim() == "0");
    // `sudo -n` asks for no password: it works or fails.
    let prefix: &[&str] = if root { &[] } else { &["sudo", "-n"] };
    let install = [&["install", "-y", "-qq", "--no-install-recommends"], names].concat();
    for words in [&["update", "-qq"][..], &install] {
        let line = [prefix, &["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"], words].concat();
        let (program, arguments) = line.split_first().expect("apt-get is a word");
        cmd!(shell, "{program} {arguments...}").run()?;
    }
    Ok(())
}

/// Whether a program is there and runs.
fn works(shell: &Shell, name: &str, argument: &str) -> bool {
    cmd!(shell, "{name} {argument}").quiet().ignore_stdout().ignore_stderr().run().is_ok()
}

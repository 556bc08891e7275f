//! `cargo xtask fuzz`: damaged files against every reader of files from elsewhere, and a page of what came of it.

mod page;
mod seeds;

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail, ensure};
use clap::ValueEnum;
use xshell::Shell;

use self::page::{Log, Row};
use crate::{Outcome, workspace::Workspace};

/// More resident memory than this ends a target as a crash does, in MiB.
const MEMORY: u32 = 1024;
/// One input that takes longer is a finding, in seconds.
const TIMEOUT: u32 = 20;

/// What to fuzz and for how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Targets; all of them when left out
    targets: Vec<Target>,
    /// Minutes for each target
    #[arg(long, default_value_t = 10.0, value_parser = positive)]
    minutes: f64,
    /// Where targets are built and inputs kept; `fuzz` in cargo's target directory when left out
    #[arg(long, value_name = "DIR")]
    target_dir: Option<PathBuf>,
    /// The page to write; the same as JSON goes beside it. Rows of other targets stay
    #[arg(long, value_name = "FILE.md", default_value = "docs/experiments/fuzz.md")]
    out: PathBuf,
}

/// The programs in `fuzz/fuzz_targets`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Target {
    /// metadata.csv of Waterbirds, and tables with columns of their own
    MetadataCsv,
    /// CelebA's list_attr_celeba and list_eval_partition, .txt and .csv
    CelebaLists,
    /// Descriptions of data sets
    DefinitionToml,
    /// PNG, JPEG and WebP pictures with their metadata
    Picture,
    /// Configuration files and --set
    SettingsToml,
    /// Weights as safetensors
    Safetensors,
    /// Weights as PyTorch's zip archives and plain pickles, embeddings of textual inversion
    Pickle,
    /// CLIP's vocab.json, merges.txt and tokenizer_config.json, and prompts
    Tokenizer,
    /// No file: shapes of convolutions, whose inner loops check no bounds
    Convolution,
}

impl Target {
    fn name(self) -> String {
        self.to_possible_value().expect("no target is hidden").get_name().to_owned()
    }

    fn what(self) -> String {
        self.to_possible_value().and_then(|value| value.get_help().map(ToString::to_string)).unwrap_or_default()
    }

    /// The feature of `fuzz/Cargo.toml` that it needs, for burn, whose build takes a quarter of an hour.
    fn feature(self) -> Option<&'static str> {
        match self {
            Self::MetadataCsv | Self::CelebaLists | Self::DefinitionToml | Self::Picture => None,
            Self::SettingsToml | Self::Safetensors | Self::Pickle | Self::Tokenizer => Some("networks"),
            Self::Convolution => Some("convolution"),
        }
    }
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(minutes) if minutes > 0.0 && f64::is_finite(minutes) => Ok(minutes),
        _ => Err("expected a number above 0".to_owned()),
    }
}

/// Builds all targets, then runs one after the other; the page is written after each.
///
/// # Errors
/// When cargo-fuzz is missing, a target does not build or start, or the page cannot be written; a finding is an outcome.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> anyhow::Result<Outcome> {
    let shell = workspace.shell()?;
    if !workspace.has_subcommand(&shell, "fuzz") {
        bail!("cargo-fuzz is not installed: `cargo xtask setup fuzz` does it");
    }
    let folder = match &args.target_dir {
        Some(folder) => std::path::absolute(folder)?,
        None => workspace.target_dir(&shell)?.join("fuzz"),
    };
    let targets = if args.targets.is_empty() { Target::value_variants() } else { &args.targets };
    let programs: Vec<PathBuf> =
        targets.iter().map(|&target| build(workspace, &shell, target, &folder)).collect::<Result<_, _>>()?;
    let mut found = false;
    for (&target, program) in targets.iter().zip(&programs) {
        let row = fuzz(workspace, target, program, &folder, args.minutes)?;
        println!("{}: {} executions, {} finding(s)", row.target, row.executions, row.findings.len());
        found |= !row.findings.is_empty();
        let page = workspace.root().join(&args.out);
        Log::read(&page)?.with(row).write(&page, &workspace.root().join("fuzz/findings.toml"))?;
    }
    Ok(if found { Outcome::CheckFailed } else { Outcome::Done })
}

/// The address sanitizer and the coverage need flags that are not stable; `RUSTC_BOOTSTRAP` lets the pinned compiler take
/// them, so that what is fuzzed is built as what is shipped.
fn build(workspace: &Workspace, shell: &Shell, target: Target, folder: &Path) -> anyhow::Result<PathBuf> {
    let name = target.name();
    let target_dir = folder.to_string_lossy();
    let mut words = vec!["fuzz", "build", "--fuzz-dir", "fuzz", "--target-dir", &target_dir, "--no-default-features"];
    if let Some(feature) = target.feature() {
        words.extend(["--features", feature]);
    }
    words.push(&name);
    workspace.cargo(shell, &words).env("RUSTC_BOOTSTRAP", "1").run().with_context(|| format!("cannot build {name}"))?;
    let mut found = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let program = entry?.path().join("release").join(&name);
        found.extend(program.is_file().then_some(program));
    }
    found.pop().with_context(|| format!("cargo-fuzz left no program {name} below {}", folder.display()))
}

/// Runs a target on seeds from the repository and what earlier runs found interesting.
fn fuzz(workspace: &Workspace, target: Target, program: &Path, folder: &Path, minutes: f64) -> anyhow::Result<Row> {
    let name = target.name();
    let place = |what: &str| folder.join(what).join(&name);
    let (corpus, seeds, findings, scratch) = (place("corpus"), place("seeds"), place("findings"), place("scratch"));
    for old in [&seeds, &findings, &scratch] {
        if old.exists() {
            fs_err::remove_dir_all(old)?;
        }
    }
    for new in [&corpus, &seeds, &findings, &scratch] {
        fs_err::create_dir_all(new)?;
    }
    let planted = seeds::plant(workspace.root(), target, &seeds)?;
    ensure!(planted > 0, "{name} has no seed");
    let prefix = format!("{}/", findings.display());
    let seconds = (minutes * 60.0).round().max(1.0) as u64;
    println!("{name}: {planted} seeds, {minutes} minutes");
    let output = Command::new(program)
        .args([&corpus, &seeds])
        .arg(format!("-rss_limit_mb={MEMORY}"))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={TIMEOUT}"))
        .arg(format!("-artifact_prefix={prefix}"))
        .args(["-print_final_stats=1", "-verbosity=1"])
        // A fuzzer never returns from `main`, so its temporary files stay.
        .env("TMPDIR", &scratch)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .with_context(|| format!("cannot start {}", program.display()))?;
    fs_err::remove_dir_all(&scratch)?;
    let text = String::from_utf8_lossy(&output.stderr);
    let log = folder.join(format!("{name}.log"));
    fs_err::write(&log, text.as_bytes())?;
    let mut inputs = Vec::new();
    for entry in fs_err::read_dir(&findings)? {
        inputs.push(entry?.file_name().to_string_lossy().into_owned());
    }
    inputs.sort();
    ensure!(
        output.status.success() || !inputs.is_empty(),
        "{name} ended with {} and left no input that it found; see {}",
        output.status,
        log.display()
    );
    if !inputs.is_empty() {
        println!("{name}: see {} and {}", findings.display(), log.display());
    }
    let kept = fs_err::read_dir(&corpus)?.count();
    page::row(name, target.what(), &text, kept, inputs).with_context(|| format!("{} has no statistics", log.display()))
}

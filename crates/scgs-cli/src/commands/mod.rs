//! One file per command.

pub(crate) mod bench;
pub(crate) mod cam;
pub(crate) mod cluster;
pub(crate) mod compose;
pub(crate) mod doctor;
pub(crate) mod dry_run;
pub(crate) mod eval;
pub(crate) mod export;
pub(crate) mod fixtures;
pub(crate) mod inpaint;
pub(crate) mod inpaint_quality;
pub(crate) mod mask_quality;
pub(crate) mod merge;
pub(crate) mod predict;
pub(crate) mod reference;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod shell;
pub(crate) mod simulate;
pub(crate) mod suite;
pub(crate) mod sweep;
pub(crate) mod synthesize;
pub(crate) mod train;
pub(crate) mod train_inpainter;

use std::io::Write as _;

use anyhow::{Context as _, bail, ensure};
use scgs_data::Definition;
use scgs_debias::{Settings, settings::TrainMode};

use crate::{args::DataArgs, device};

/// Writes to standard output; a closed pipe (`| head`) is success.
fn print(text: &str) -> anyhow::Result<()> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write to standard output"),
    }
}

/// Pretty JSON on standard output.
fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    print(&serde_json::to_string_pretty(value)?)
}

/// Definition and settings of a data set. A configuration file may name the data set (`dataset = "..."`).
fn resolve(args: &DataArgs) -> anyhow::Result<(Definition, Settings)> {
    let (definition, file) = definition(args)?;
    let settings = Settings::resolve(&definition, args.profile.as_deref(), file, &args.sets)?;
    Ok((definition, settings))
}

/// Whether the devices of `--data-parallel` would have something to do, and round as `--device` does.
fn check_data_parallel(names: &[String], own: &str, settings: &Settings) -> anyhow::Result<()> {
    let batches = settings.train.accumulate;
    if names.is_empty() {
        return Ok(());
    }
    ensure!(
        settings.train.mode == TrainMode::Full,
        "--data-parallel is for training every layer: set train.mode=full, or leave it out (a last layer takes seconds)"
    );
    let devices = names.len() + 1;
    ensure!(
        batches >= devices,
        "--data-parallel: train.accumulate is {batches}, so a step has no batch for each of {devices} devices; set \
         train.accumulate={devices} or a multiple, and a smaller train.batch for steps of the same size"
    );
    match names.iter().find(|name| !device::same_kind(name, own)) {
        None => Ok(()),
        Some(name) => bail!("--data-parallel {name}: another kind of device than --device {own} gives other results"),
    }
}

/// A configuration file's name and content.
type ConfigFile = Option<(String, toml::Table)>;

/// Definition of a data set, and the configuration file, which may name it.
fn definition(args: &DataArgs) -> anyhow::Result<(Definition, ConfigFile)> {
    let mut name = args.dataset.clone();
    let mut file = None;
    if let Some(path) = &args.config {
        let text = fs_err::read_to_string(path)?;
        let mut table: toml::Table = text.parse().with_context(|| format!("{} is not TOML", path.display()))?;
        if let Some(value) = table.remove("dataset") {
            let value = value.as_str().with_context(|| format!("{}: dataset is not text", path.display()))?;
            name.get_or_insert_with(|| value.to_owned());
        }
        file = Some((path.display().to_string(), table));
    }
    let name = name.context("which data set? give --dataset NAME, or dataset = \"NAME\" in the --config file")?;
    let path = args.datasets.join(format!("{name}.toml"));
    if !path.is_file() {
        bail!(
            "unknown data set `{name}`: {} does not exist; known in {} are {}. Run inside the project, or name its folder with --datasets",
            path.display(),
            args.datasets.display(),
            known(args)
        );
    }
    Ok((Definition::read(&path)?, file))
}

fn known(args: &DataArgs) -> String {
    let mut names: Vec<String> = fs_err::read_dir(&args.datasets)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.path().file_name()?.to_str()?.strip_suffix(".toml").map(str::to_owned))
        .collect();
    names.sort();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

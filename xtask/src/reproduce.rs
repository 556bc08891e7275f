//! `cargo xtask reproduce <data set>`: builds `scgs` and lets it run the whole experiment.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use clap::ValueEnum;

use crate::workspace::{BINARIES, Workspace};
use crate::{Outcome, features};

/// The data sets with a published experiment.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Dataset {
    /// The embedded one: birds and mammals on water and land; needs no download.
    Habitat,
    /// Waterbirds.
    Waterbirds,
    /// CelebA, blond hair.
    Celeba,
    /// MetaShift, cats and dogs.
    Metashift,
}

/// How large the experiment is.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Profile {
    /// A couple of minutes, to see that everything works.
    Quick,
    /// The published settings.
    Paper,
}

/// What is handed on to `scgs run`; what is left out keeps its default there.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    dataset: Dataset,
    /// Number of seeds
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    seeds: Option<u32>,
    /// The first seed; the others follow it
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Arms to compare, separated by commas, or `all`
    #[arg(long, value_name = "A,B")]
    methods: Option<String>,
    /// How large the experiment is
    #[arg(long)]
    profile: Option<Profile>,
    /// Run a whole suite, datasets/suites/DATASET-NAME.toml, and write its page into docs/experiments
    #[arg(long, value_name = "NAME", conflicts_with_all = ["methods", "dry_run"], value_parser = suite_name)]
    suite: Option<String>,
    /// Device to compute on, such as `flex` or `cuda:0`
    #[arg(long, value_name = "D")]
    device: Option<String>,
    /// Folder of the downloaded data set
    #[arg(long, value_name = "P")]
    data_dir: Option<PathBuf>,
    /// Print what would run, and stop
    #[arg(long)]
    dry_run: bool,
    /// Folder for the runs, `runs` in the current folder by default
    #[arg(long, value_name = "DIR")]
    runs: Option<PathBuf>,
    /// Any setting of the configuration; may be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
    /// Further options of `scgs run`, after `--`
    #[arg(last = true)]
    further: Vec<OsString>,
}

/// Builds `scgs` and runs it in the current folder.
///
/// # Errors
/// When the build fails or `scgs` cannot be started.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> anyhow::Result<Outcome> {
    let asked = args.device.as_deref().map(features::of_device).unwrap_or_default();
    let mut scgs = Command::new(built_scgs(workspace, &asked)?);
    scgs.envs(features::environment(&asked)?);
    match &args.suite {
        None => scgs.args(scgs_arguments(args, workspace.root())),
        Some(suite) => scgs.args(suite_arguments(args, suite, workspace.root())?),
    };
    replace_by(scgs)
}

/// Builds the binaries with these devices beside flex; the path of `scgs`.
///
/// # Errors
/// When the build fails.
pub(crate) fn built_scgs(workspace: &Workspace, asked: &[String]) -> anyhow::Result<PathBuf> {
    let shell = workspace.shell()?;
    features::prepare(&shell, asked)?;
    let asked = features::arguments(asked);
    let mut build = [&["build"], &BINARIES[..]].concat();
    build.extend(asked.iter().map(String::as_str));
    workspace.cargo(&shell, &build).run().context("`scgs` does not build; the compiler's message is above")?;
    workspace.scgs(&shell)
}

/// Letters, digits and dashes: the name becomes part of a path.
fn suite_name(text: &str) -> Result<String, String> {
    let good = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if good { Ok(text.to_owned()) } else { Err("expected letters, digits and dashes".to_owned()) }
}

/// The arguments of `scgs suite`. The page of the suite `claims` has the name of the data set, others that of their file.
fn suite_arguments(args: &Args, suite: &str, root: &Path) -> anyhow::Result<Vec<OsString>> {
    let dataset = value_name(args.dataset);
    let file = root.join("datasets").join("suites").join(format!("{dataset}-{suite}.toml"));
    if !file.is_file() {
        let names: Vec<String> = fs_err::read_dir(root.join("datasets").join("suites"))?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_suffix(".toml").map(str::to_owned))
            .collect();
        bail!("{} does not exist; there are: {}", file.display(), names.join(", "));
    }
    let page = if suite == "claims" { dataset.clone() } else { format!("{dataset}-{suite}") };
    let seeds = args.seeds.map_or_else(String::new, |n| format!(" --seeds {n}"));
    let first = args.seed.map_or_else(String::new, |n| format!(" --seed {n}"));
    let command = format!("cargo xtask reproduce {dataset} --suite {suite}{seeds}{first}");
    let mut out: Vec<OsString> = vec!["suite".into(), file.into(), "--out".into()];
    out.push(root.join("docs").join("experiments").join(format!("{page}.md")).into());
    out.extend(["--command".into(), command.into()]);
    out.extend(common_options(args, root));
    Ok(out)
}

/// The arguments of `scgs` for these of ours.
fn scgs_arguments(args: &Args, root: &Path) -> Vec<OsString> {
    let mut out: Vec<OsString> = vec!["run".into(), "--dataset".into(), value_name(args.dataset).into()];
    if let Some(methods) = &args.methods {
        out.extend(["--methods".into(), methods.into()]);
    }
    if args.dry_run {
        out.push("--dry-run".into());
    }
    out.extend(common_options(args, root));
    out
}

/// What `scgs run` and `scgs suite` both take.
fn common_options(args: &Args, root: &Path) -> Vec<OsString> {
    let mut out: Vec<OsString> = Vec::new();
    let mut option = |name: &str, value: Option<OsString>| {
        if let Some(value) = value {
            out.extend([name.into(), value]);
        }
    };
    option("--datasets", Some(root.join("datasets").into()));
    option("--seeds", args.seeds.map(|n| n.to_string().into()));
    option("--seed", args.seed.map(|n| n.to_string().into()));
    option("--profile", args.profile.map(|p| value_name(p).into()));
    option("--device", args.device.clone().map(Into::into));
    option("--data-dir", args.data_dir.clone().map(Into::into));
    option("--runs", args.runs.clone().map(Into::into));
    for setting in &args.set {
        option("--set", Some(setting.into()));
    }
    out.extend(args.further.iter().cloned());
    out
}

fn value_name(value: impl ValueEnum) -> String {
    value.to_possible_value().expect("no value is hidden").get_name().to_owned()
}

/// Becomes `command`, so that its exit code, its terminal and Ctrl-C are its own.
#[cfg(unix)]
pub(crate) fn replace_by(mut command: Command) -> anyhow::Result<Outcome> {
    use std::os::unix::process::CommandExt;

    // Returns only when the program could not be started.
    let error = command.exec();
    Err(error).with_context(|| format!("cannot start {}", Path::new(command.get_program()).display()))
}

/// Runs `command` and hands on its exit code.
#[cfg(not(unix))]
pub(crate) fn replace_by(mut command: Command) -> anyhow::Result<Outcome> {
    let status =
        command.status().with_context(|| format!("cannot start {}", Path::new(command.get_program()).display()))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(Outcome::Code(code))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::{Args, scgs_arguments, suite_arguments};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn arguments(line: &[&str]) -> Vec<String> {
        let line = Line::try_parse_from([&["reproduce"], line].concat()).unwrap();
        scgs_arguments(&line.args, Path::new("root")).into_iter().map(|a| a.into_string().unwrap()).collect()
    }

    #[test]
    fn nothing_but_the_data_set_keeps_every_default() {
        let datasets = Path::new("root").join("datasets").display().to_string();
        assert_eq!(arguments(&["habitat"]), ["run", "--dataset", "habitat", "--datasets", &datasets]);
    }

    #[test]
    fn every_option_is_handed_on() {
        let line = "waterbirds --seeds 3 --methods erm,scgs+jtt --profile quick --device cuda:0 --data-dir d --runs r \
                    --set train.epochs=2 --set cam.eps=1e-6 --dry-run -- --accept-counts";
        let got = arguments(&line.split_whitespace().collect::<Vec<_>>());
        let first = "run --dataset waterbirds --methods erm,scgs+jtt --dry-run --datasets";
        assert_eq!(got[..7], first.split_whitespace().collect::<Vec<_>>());
        let rest = "--seeds 3 --profile quick --device cuda:0 --data-dir d --runs r --set train.epochs=2 --set cam.eps=1e-6 \
                    --accept-counts";
        assert_eq!(got[8..], rest.split_whitespace().collect::<Vec<_>>());
    }

    #[test]
    fn a_suite_has_its_file_its_page_and_its_command() {
        let root = tempfile::tempdir().unwrap();
        let suites = root.path().join("datasets").join("suites");
        fs_err::create_dir_all(&suites).unwrap();
        fs_err::write(suites.join("habitat-claims.toml"), "").unwrap();
        let line =
            Line::try_parse_from(["reproduce", "habitat", "--suite", "claims", "--seeds", "2", "--seed", "5"]).unwrap();
        let got = suite_arguments(&line.args, "claims", root.path()).unwrap();
        let got: Vec<String> = got.into_iter().map(|a| a.into_string().unwrap()).collect();
        assert_eq!(got[0], "suite");
        assert!(got[1].ends_with("habitat-claims.toml") && got[3].ends_with("habitat.md"), "{got:?}");
        assert_eq!(got[5], "cargo xtask reproduce habitat --suite claims --seeds 2 --seed 5");
        let message = suite_arguments(&line.args, "other", root.path()).unwrap_err().to_string();
        assert!(message.contains("there are: habitat-claims"), "{message}");
        assert!(Line::try_parse_from(["reproduce", "habitat", "--suite", "../x"]).is_err());
        assert!(Line::try_parse_from(["reproduce", "habitat", "--suite", "claims", "--methods", "erm"]).is_err());
    }

    #[test]
    fn no_seeds_is_refused() {
        assert!(Line::try_parse_from(["reproduce", "habitat", "--seeds", "0"]).is_err());
    }
}

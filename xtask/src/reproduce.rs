//! `cargo xtask reproduce <data set>`: builds `scgs` and lets it run the whole experiment.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use clap::ValueEnum;

use crate::Outcome;
use crate::workspace::{BINARIES, Workspace};

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
    /// Arms to compare, separated by commas, or `all`
    #[arg(long, value_name = "A,B")]
    methods: Option<String>,
    /// How large the experiment is
    #[arg(long)]
    profile: Option<Profile>,
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
    let mut scgs = Command::new(built_scgs(workspace)?);
    scgs.args(scgs_arguments(args, workspace.root()));
    replace_by(scgs)
}

/// Builds the binaries; the path of `scgs`.
///
/// # Errors
/// When the build fails.
pub(crate) fn built_scgs(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let shell = workspace.shell()?;
    let build = [&["build"], &BINARIES[..]].concat();
    workspace.cargo(&shell, &build).run().context("`scgs` does not build; the compiler's message is above")?;
    workspace.scgs(&shell)
}

/// The arguments of `scgs` for these of ours.
fn scgs_arguments(args: &Args, root: &Path) -> Vec<OsString> {
    let mut out: Vec<OsString> = vec!["run".into(), "--dataset".into(), value_name(args.dataset).into()];
    let mut option = |name: &str, value: Option<OsString>| {
        if let Some(value) = value {
            out.extend([name.into(), value]);
        }
    };
    option("--datasets", Some(root.join("datasets").into()));
    option("--seeds", args.seeds.map(|n| n.to_string().into()));
    option("--methods", args.methods.clone().map(Into::into));
    option("--profile", args.profile.map(|p| value_name(p).into()));
    option("--device", args.device.clone().map(Into::into));
    option("--data-dir", args.data_dir.clone().map(Into::into));
    option("--runs", args.runs.clone().map(Into::into));
    for setting in &args.set {
        option("--set", Some(setting.into()));
    }
    if args.dry_run {
        out.push("--dry-run".into());
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

    use super::{Args, scgs_arguments};

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
        let expected = "--seeds 3 --methods erm,scgs+jtt --profile quick --device cuda:0 --data-dir d --runs r \
                        --set train.epochs=2 --set cam.eps=1e-6 --dry-run --accept-counts";
        let got = arguments(&line.split_whitespace().collect::<Vec<_>>());
        assert_eq!(got[..3], ["run", "--dataset", "waterbirds"]);
        assert_eq!(got[5..], expected.split_whitespace().collect::<Vec<_>>());
    }

    #[test]
    fn no_seeds_is_refused() {
        assert!(Line::try_parse_from(["reproduce", "habitat", "--seeds", "0"]).is_err());
    }
}

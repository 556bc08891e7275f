//! `cargo xtask fixtures <data set>`: a look-alike of a published data set, to try the whole pipeline on.
//!
//! `scgs` makes it, since it has the readers, the pictures and the layouts.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;

use crate::Outcome;
use crate::reproduce;
use crate::workspace::Workspace;

/// The data sets that have a look-alike.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Dataset {
    /// Waterbirds.
    Waterbirds,
    /// CelebA, blond hair.
    Celeba,
    /// MetaShift, cats and dogs, in DISC's version.
    Metashift,
}

/// What to make.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    dataset: Dataset,
    /// Size of every group as a share of the published one, above 0, at most 1; a few pictures at least
    #[arg(long, default_value = "0.01")]
    scale: f64,
    /// Folder to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Decides every picture
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Builds `scgs` and lets it write the look-alike.
///
/// # Errors
/// When the build fails or `scgs` cannot be started.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> anyhow::Result<Outcome> {
    let mut scgs = Command::new(reproduce::built_scgs(workspace, &[])?);
    scgs.args(scgs_arguments(args, workspace.root()));
    reproduce::replace_by(scgs)
}

fn scgs_arguments(args: &Args, root: &Path) -> Vec<OsString> {
    let dataset = args.dataset.to_possible_value().expect("no value is hidden");
    let mut out: Vec<OsString> = vec!["fixtures".into(), dataset.get_name().into()];
    out.extend(["--datasets".into(), root.join("datasets").into()]);
    out.extend(["--scale".into(), args.scale.to_string().into()]);
    out.extend(["--out".into(), args.out.clone().into()]);
    out.extend(["--seed".into(), args.seed.to_string().into()]);
    out
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

    #[test]
    fn every_option_is_handed_on() {
        let line = Line::try_parse_from("x celeba --scale 0.05 --out d --seed 7".split(' ')).unwrap();
        let got: Vec<_> = scgs_arguments(&line.args, Path::new("root")).into_iter().collect();
        let datasets = Path::new("root").join("datasets");
        let expected = ["fixtures", "celeba", "--datasets", datasets.to_str().unwrap(), "--scale", "0.05"];
        assert_eq!(got[..6], expected);
        assert_eq!(got[6..], ["--out", "d", "--seed", "7"]);
        assert!(Line::try_parse_from(["x", "imagenet", "--out", "d"]).is_err());
        assert!(Line::try_parse_from(["x", "celeba"]).is_err(), "--out is needed");
    }
}

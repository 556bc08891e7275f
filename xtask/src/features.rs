//! Sets of devices that a build can hold, and `cargo xtask features`, which builds them.

use std::ffi::OsString;

use anyhow::{Context, bail};
use xshell::Shell;

use crate::workspace::Workspace;
use crate::{Outcome, libtorch};

/// Features of `scgs-cli` besides `flex`, which every build holds.
pub(crate) const OPTIONAL: [&str; 5] = ["tch", "wgpu", "vulkan", "cuda", "remote"];

/// The sets that are offered: each alone, what a change is tested with, and all at once.
const SETS: [&str; 8] = ["flex", "tch", "wgpu", "vulkan", "cuda", "remote", "tch,wgpu", "tch,wgpu,vulkan,cuda"];

/// Which sets to build.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The features of one set, separated by commas, beside flex [default: every set that is offered]
    #[arg(long, value_name = "NAMES")]
    set: Option<String>,
}

/// Builds `scgs` with each set; nothing is run, so no driver has to be there.
///
/// # Errors
/// When a set is not offered or does not build.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> anyhow::Result<Outcome> {
    let sets = match &args.set {
        None => SETS.to_vec(),
        Some(set) => match SETS.iter().find(|offered| *offered == set) {
            Some(offered) => vec![*offered],
            None => bail!("no set `{set}` is offered; there are: {}", SETS.join(" ")),
        },
    };
    for set in sets {
        println!("flex with {set}");
        let shell = workspace.shell()?;
        let names: Vec<String> = set.split(',').map(str::to_owned).collect();
        prepare(&shell, &names)?;
        let mut words = vec!["build", "--release", "--package", "scgs-cli"];
        let features = arguments(&names);
        words.extend(features.iter().map(String::as_str));
        workspace.cargo(&shell, &words).run().with_context(|| format!("flex with {set} does not build"))?;
    }
    Ok(Outcome::Done)
}

/// The arguments that make cargo build `scgs` with these; an error names what is unknown.
pub(crate) fn arguments(names: &[String]) -> Vec<String> {
    let named: Vec<String> =
        names.iter().filter(|name| *name != "flex").map(|name| format!("scgs-cli/{name}")).collect();
    if named.is_empty() { Vec::new() } else { vec!["--features".to_owned(), named.join(",")] }
}

/// Sets in the shell what a build with these features needs.
///
/// # Errors
/// For an unknown feature, and when there is no libtorch for `tch`.
pub(crate) fn prepare(shell: &Shell, names: &[String]) -> anyhow::Result<()> {
    for (name, value) in environment(names)? {
        shell.set_var(name, value);
    }
    Ok(())
}

/// What a build with these features, and its tests, need in their environment.
///
/// # Errors
/// As [`prepare`].
pub(crate) fn environment(names: &[String]) -> anyhow::Result<Vec<(&'static str, OsString)>> {
    if let Some(unknown) = names.iter().find(|name| *name != "flex" && !OPTIONAL.contains(&name.as_str())) {
        bail!("no device feature `{unknown}`; there are: flex, {}", OPTIONAL.join(", "));
    }
    if names.iter().any(|name| name == "tch") { libtorch::environment() } else { Ok(Vec::new()) }
}

/// The features that a device's name asks for.
pub(crate) fn of_device(device: &str) -> Vec<String> {
    let family = device.split(':').next().unwrap_or(device);
    OPTIONAL.iter().filter(|name| **name == family).map(|name| (*name).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{OPTIONAL, SETS, arguments, environment, of_device};

    fn names(text: &str) -> Vec<String> {
        text.split(',').map(str::to_owned).collect()
    }

    #[test]
    fn flex_needs_no_feature() {
        assert!(arguments(&names("flex")).is_empty() && of_device("flex").is_empty());
        assert_eq!(arguments(&names("flex,tch,wgpu")), ["--features", "scgs-cli/tch,scgs-cli/wgpu"]);
        assert_eq!(of_device("tch:cuda:1"), ["tch"]);
        assert!(environment(&names("flex,gpu")).unwrap_err().to_string().contains("no device feature `gpu`"));
    }

    /// The manifest of `scgs-cli` is what the names mean.
    #[test]
    fn the_features_are_those_of_the_manifest() {
        let manifest: toml::Table = include_str!("../../crates/scgs-cli/Cargo.toml").parse().unwrap();
        let mut declared: BTreeSet<&str> =
            manifest["features"].as_table().unwrap().keys().map(String::as_str).collect();
        assert!(declared.remove("default") && declared.remove("flex"));
        assert_eq!(declared, OPTIONAL.into_iter().collect());
        let offered: BTreeSet<&str> =
            SETS.iter().flat_map(|set| set.split(',')).filter(|name| *name != "flex").collect();
        assert_eq!(offered, OPTIONAL.into_iter().collect(), "every feature is in a set");
    }

    /// The scheduled job has one part per set.
    #[test]
    fn the_workflow_builds_every_set() {
        let workflow = include_str!("../../.github/workflows/features.yml");
        for set in SETS {
            assert!(workflow.contains(&format!("          - {set}\n")), "features.yml does not build `{set}`");
        }
    }
}

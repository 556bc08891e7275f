//! `cargo xtask devices`: do other devices give the results of flex? Numbers by `scgs doctor --equality`, and the whole
//! loop on Habitat.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use serde_json::Value;

use crate::test::results_files;
use crate::workspace::{BINARIES, Workspace};
use crate::{Outcome, features};

/// Settings of the loop that a slow device can do: fewer and smaller pictures than in the quick profile.
const SMALL: [&str; 6] = [
    "habitat.size=64",
    "habitat.train=160",
    "habitat.val=32",
    "habitat.test=80",
    "backbone.input_size=64",
    "attention.input_size=64",
];

/// How much of the loop a device does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Size {
    /// The quick profile
    Quick,
    /// The quick profile with fewer and smaller pictures
    Small,
}

/// Which devices, and what they do.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Cargo features of scgs-cli to build with
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "tch,wgpu")]
    features: Vec<String>,
    /// Devices to compare with flex; each must be there
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "tch,wgpu")]
    devices: Vec<String>,
    /// Let devices run Habitat too, such as tch=quick,wgpu=small
    #[arg(long, value_name = "DEVICE=SIZE", value_delimiter = ',', value_parser = task)]
    habitat: Vec<(String, Size)>,
    /// Seeds of Habitat on flex, from which the standard deviation is taken
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(2..=100))]
    seeds: u64,
    /// Seeds of Habitat on the other devices, the first of those
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=100))]
    device_seeds: u64,
    /// Folder for the runs of Habitat; what is finished there is not done again
    #[arg(long, value_name = "DIR")]
    runs: Option<PathBuf>,
    /// Write what was found as a page
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
}

fn task(text: &str) -> Result<(String, Size), String> {
    let (device, size) = text.split_once('=').ok_or("expected DEVICE=SIZE, such as wgpu=small")?;
    Ok((device.to_owned(), Size::from_str(size, false)?))
}

/// Builds, compares, and says which device differs.
///
/// # Errors
/// When the build, a run or the comparison fails for another reason than unequal numbers.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> anyhow::Result<Outcome> {
    let shell = workspace.shell()?;
    features::prepare(&shell, &args.features)?;
    let asked = features::arguments(&args.features);
    let mut words = [&["build"], &BINARIES[..]].concat();
    words.extend(asked.iter().map(String::as_str));
    workspace.cargo(&shell, &words).run().context("the workspace does not build")?;
    let scgs = Scgs { program: workspace.scgs(&shell)?, environment: features::environment(&args.features)? };
    let datasets = workspace.root().join("datasets");
    let work = workspace.target_dir(&shell)?.join("devices");
    fs_err::create_dir_all(&work)?;

    // The machine and its devices first: a log that ends early still says where it was made.
    let listed = args.devices.join(",");
    scgs.call(&["doctor", "--devices", &format!("flex,{listed}")], &[("--datasets", &datasets)])?;
    let table = work.join("equality.md");
    let equal = scgs.call(&["doctor", "--equality", "--devices", &listed], &[("--markdown", &table)])?;
    let mut page = Page { text: fs_err::read_to_string(&table)?, equal };

    let runs = args.runs.clone().unwrap_or_else(|| work.join("runs"));
    for (device, size) in &args.habitat {
        let folder = runs.join(size.to_possible_value().context("every size has a name")?.get_name());
        for (device, seeds) in [("flex", args.seeds), (device.as_str(), args.device_seeds.min(args.seeds))] {
            let ended = scgs
                .call(&habitat(*size, device, seeds), &[("--datasets", &datasets), ("--runs", &folder.join(device))])?;
            ensure!(ended, "the run of Habitat on {device} failed; its own message is above");
        }
        let flex = worst_groups(&folder.join("flex"))?;
        page.compare(device, *size, &flex, &worst_groups(&folder.join(device))?)?;
    }
    println!("{}", page.text);
    if let Some(path) = &args.page {
        fs_err::write(path, format!("{}\n{}", heading(args), page.text))?;
    }
    Ok(if page.equal { Outcome::Done } else { Outcome::CheckFailed })
}

/// The program that was built.
struct Scgs {
    program: PathBuf,
    environment: Vec<(&'static str, std::ffi::OsString)>,
}

impl Scgs {
    /// Whether it ended with 0; 1 is a check that failed, everything else an error.
    fn call(&self, words: &[impl AsRef<str>], paths: &[(&str, &PathBuf)]) -> anyhow::Result<bool> {
        let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
        let mut command = Command::new(&self.program);
        command.args(&words).envs(self.environment.iter().map(|(name, value)| (name, value)));
        for (option, path) in paths {
            command.arg(option).arg(path);
        }
        println!("$ scgs {}", words.join(" "));
        let status = command.status().with_context(|| format!("cannot start {}", self.program.display()))?;
        match status.code() {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            _ => bail!("scgs {} ended with {status}; its own message is above", words.join(" ")),
        }
    }
}

/// The words of a run; every seed's worst groups are in its `results.json`.
fn habitat(size: Size, device: &str, seeds: u64) -> Vec<String> {
    let words = ["run", "--quiet", "--dataset", "habitat", "--profile", "quick", "--device", device, "--seeds"];
    let mut words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    words.push(seeds.to_string());
    if size == Size::Small {
        words.extend(SMALL.iter().flat_map(|setting| ["--set".to_owned(), (*setting).to_owned()]));
    }
    words
}

/// Arms in the order of the file, with the accuracy of the worst group by seed.
type Arms = Vec<(String, BTreeMap<u64, f64>)>;

/// The file of all seeds below the folder of a device's runs.
fn worst_groups(runs: &Path) -> anyhow::Result<Arms> {
    // The shortest path is the file of all seeds.
    let Some(path) = results_files(runs)?.into_iter().min_by_key(|path| path.components().count()) else {
        bail!("`scgs run` wrote no results.json below {}", runs.display());
    };
    let results: Value = serde_json::from_str(&fs_err::read_to_string(&path)?)?;
    let mut arms = Arms::new();
    for row in results["rows"].as_array().into_iter().flatten() {
        let (Some(arm), Some(seed), Some(worst)) =
            (row["method"].as_str(), row["seed"].as_u64(), row["worst_group"].as_f64())
        else {
            bail!("{}: a row lacks method, seed or worst_group: {row}", path.display());
        };
        match arms.iter_mut().find(|(name, _)| name == arm) {
            Some((_, seeds)) => drop(seeds.insert(seed, worst)),
            None => arms.push((arm.to_owned(), BTreeMap::from([(seed, worst)]))),
        }
    }
    ensure!(!arms.is_empty(), "{} has no rows", path.display());
    Ok(arms)
}

/// What was found, as Markdown, and whether all of it was equal.
struct Page {
    text: String,
    equal: bool,
}

impl Page {
    /// Adds the loop on a device: its mean over its seeds beside that of flex over the same seeds, and whether they differ by
    /// more than flex varies between all its seeds.
    fn compare(&mut self, device: &str, size: Size, flex: &Arms, other: &Arms) -> anyhow::Result<()> {
        let name = size.to_possible_value().context("every size has a name")?.get_name().to_owned();
        write!(self.text, "\n## Habitat on {device}, {name}\n\n")?;
        self.text += "Accuracy of the worst group. The standard deviation is that of flex over all its seeds.\n\n";
        writeln!(self.text, "| arm | seeds | {device} | flex, same seeds | difference | flex, sd (n) | within |")?;
        self.text += "| --- | --- | --- | --- | --- | --- | --- |\n";
        for (arm, seeds) in flex {
            let Some((_, found)) = other.iter().find(|(name, _)| name == arm) else {
                bail!("{device} has no arm {arm}");
            };
            let pairs: Vec<(f64, f64)> =
                found.iter().filter_map(|(seed, found)| Some((*found, *seeds.get(seed)?))).collect();
            ensure!(!pairs.is_empty(), "{arm}: flex and {device} have no seed in common");
            let here = mean(pairs.iter().map(|pair| pair.0));
            let there = mean(pairs.iter().map(|pair| pair.1));
            let deviation = deviation(&seeds.values().copied().collect::<Vec<_>>());
            let within = (here - there).abs() <= deviation + 1e-9;
            self.equal &= within;
            writeln!(
                self.text,
                "| {arm} | {} | {here:.3} | {there:.3} | {:+.3} | {deviation:.3} ({}) | {} |",
                pairs.len(),
                here - there,
                seeds.len(),
                if within { "yes" } else { "**no**" }
            )?;
        }
        Ok(())
    }
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

/// Of a sample.
fn deviation(values: &[f64]) -> f64 {
    let middle = mean(values.iter().copied());
    (values.iter().map(|value| (value - middle).powi(2)).sum::<f64>() / (values.len() as f64 - 1.0)).sqrt()
}

/// The head of the page, with the command that makes it.
fn heading(args: &Args) -> String {
    let mut command = format!("cargo xtask devices --features {}", args.features.join(","));
    write!(command, " --devices {}", args.devices.join(",")).expect("a string takes everything");
    if !args.habitat.is_empty() {
        let tasks: Vec<String> = args
            .habitat
            .iter()
            .filter_map(|(device, size)| Some(format!("{device}={}", size.to_possible_value()?.get_name())))
            .collect();
        let (tasks, seeds, others) = (tasks.join(","), args.seeds, args.device_seeds);
        write!(command, " --habitat {tasks} --seeds {seeds} --device-seeds {others}")
            .expect("a string takes everything");
    }
    format!(
        "# Devices beside flex\n\nMade by `{command} --page FILE`. What it means: [devices](../devices.md).\n\n## Numbers\n"
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Arms, Page, Size, deviation, habitat, task, worst_groups};

    fn arms(seeds: &[(u64, f64)]) -> Arms {
        vec![("erm".to_owned(), seeds.iter().copied().collect::<BTreeMap<_, _>>())]
    }

    #[test]
    fn a_device_may_differ_by_as_much_as_flex_does_between_seeds() {
        let flex = arms(&[(0, 0.5), (1, 0.6), (2, 0.7)]);
        assert!((deviation(&[0.5, 0.6, 0.7]) - 0.1).abs() < 1e-12);
        let judged = |other: &[(u64, f64)]| {
            let mut page = Page { text: String::new(), equal: true };
            page.compare("wgpu", Size::Small, &flex, &arms(other)).unwrap();
            (page.equal, page.text)
        };
        let (equal, text) = judged(&[(0, 0.58), (1, 0.6)]);
        assert!(equal && text.contains("| erm | 2 | 0.590 | 0.550 | +0.040 | 0.100 (3) | yes |"), "{text}");
        let (equal, text) = judged(&[(0, 0.61)]);
        assert!(!equal && text.contains("**no**"), "the same seed counts: {text}");
    }

    #[test]
    fn what_cannot_be_compared_is_an_error() {
        let mut page = Page { text: String::new(), equal: true };
        assert!(page.compare("tch", Size::Quick, &arms(&[(0, 0.5), (1, 0.6)]), &arms(&[(7, 0.5)])).is_err());
        assert!(page.compare("tch", Size::Quick, &arms(&[(0, 0.5), (1, 0.6)]), &Arms::new()).is_err());
    }

    #[test]
    fn tasks_name_device_and_size() {
        assert_eq!(task("tch:cuda:0=quick"), Ok(("tch:cuda:0".to_owned(), Size::Quick)));
        assert!(task("wgpu").is_err() && task("wgpu=tiny").is_err());
        assert!(habitat(Size::Small, "wgpu", 2).join(" ").contains("--device wgpu --seeds 2 --set habitat.size=64"));
    }

    #[test]
    fn the_worst_groups_are_read_from_the_file_of_all_seeds() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("habitat/0123");
        fs_err::create_dir_all(run.join("seed-0")).unwrap();
        fs_err::write(run.join("seed-0/results.json"), "{}").unwrap();
        let text = r#"{"schema":1,"rows":[{"method":"erm","seed":0,"worst_group":0.5},{"method":"erm","seed":1,"worst_group":0.25}]}"#;
        fs_err::write(run.join("results.json"), text).unwrap();
        assert_eq!(worst_groups(folder.path()).unwrap(), arms(&[(0, 0.5), (1, 0.25)]));
    }
}

//! The whole loop on Habitat: `scgs run` as `cargo xtask reproduce habitat` calls it, beside loop.py, in turns.
//!
//! Every round of `scgs` has a new folder, so nothing is resumed. It composes its pictures there, which is left out of its
//! seconds; loop.py starts from the same files. What else `scgs` does, to the last page of its report, is counted; of
//! loop.py all but the imports.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use xshell::Shell;

use super::{Args, Rounds, call, last_line, median, row};
use crate::workspace::Workspace;

/// The Python side.
const SCRIPT: &str = "xtask/src/bench/loop.py";
/// How many times Python's speed the loop should have.
const GOAL: f64 = 2.0;
/// The stages of `scgs` that loop.py leaves to it.
const COMPOSED: [&str; 2] = ["data", "data-balanced"];
/// The stages of loop.py, and how the folders of those of `scgs` begin.
const STAGES: [(&str, &str); 8] = [
    ("pictures", "0-"),
    ("erm", "1-"),
    ("errors", "2-"),
    ("clusters", "3-"),
    ("masks", "4-"),
    ("synthesis", "5-"),
    ("arms", "6-"),
    ("chain", "7-"),
];
/// What is neither composed nor in [`STAGES`]: attention of every arm, the report.
const REST: &str = "diagnostics";

/// Seconds of each stage, a value per round.
type Stages = BTreeMap<&'static str, Vec<f64>>;

/// One run.
struct Measured {
    seconds: f64,
    peak: Option<u64>,
    stages: BTreeMap<&'static str, f64>,
    /// Worst-group accuracy by arm.
    arms: BTreeMap<String, f64>,
}

/// The row of each device.
pub(super) fn rows(workspace: &Workspace, shell: &Shell, args: &Args) -> anyhow::Result<Vec<Value>> {
    let scgs = workspace.scgs(shell)?;
    let scratch = workspace.target_dir(shell)?.join("bench-loop");
    let rounds = args.rounds.unwrap_or(3);
    let mut rows = Vec::new();
    for device in &args.devices {
        let (mut ours, mut python) = (Rounds::default(), Rounds::default());
        let (mut stages, mut python_stages) = (Stages::new(), Stages::new());
        let (mut arms, mut python_arms) = (BTreeMap::new(), BTreeMap::new());
        for round in 1..=rounds {
            if scratch.is_dir() {
                fs_err::remove_dir_all(&scratch)?;
            }
            let found = run_ours(workspace.root(), &scgs, &scratch.join("runs"), device)?;
            arms.clone_from(&found.arms);
            note(found, &mut ours, &mut stages);
            if args.vs_python {
                let found = run_python(workspace.root(), &args.python, &scratch)?;
                python_arms.clone_from(&found.arms);
                note(found, &mut python, &mut python_stages);
            }
            println!("round {round} of {rounds}");
        }
        fs_err::remove_dir_all(&scratch)?;
        let mut row = row("loop-habitat", device, &ours, &python, GOAL);
        row["stages"] = stages
            .iter()
            .map(|(name, seconds)| {
                let python = python_stages.get(name).and_then(|seconds| median(seconds));
                json!({ "stage": name, "seconds": median(seconds), "python_seconds": python })
            })
            .collect();
        row["worst_group"] = json!(arms);
        if args.vs_python {
            row["python_worst_group"] = json!(python_arms);
        }
        rows.push(row);
    }
    Ok(rows)
}

fn note(found: Measured, rounds: &mut Rounds, stages: &mut Stages) {
    rounds.seconds.push(found.seconds);
    rounds.peak = rounds.peak.max(found.peak);
    for (name, seconds) in found.stages {
        stages.entry(name).or_default().push(seconds);
    }
}

fn run_ours(root: &Path, scgs: &Path, runs: &Path, device: &str) -> anyhow::Result<Measured> {
    fs_err::create_dir_all(runs)?;
    let mut command = Command::new(scgs);
    command.args(["run", "--dataset", "habitat", "--seed", "0", "--quiet", "--device", device]);
    command.arg("--datasets").arg(root.join("datasets")).arg("--runs").arg(runs).stdout(Stdio::null());
    let (seconds, peak) = watched(&mut command)?;
    let folder = seed_folder(runs)?;
    let history = read(&folder.join("history.json"))?;
    let of_stages = history["seconds"].as_object().context("history.json has no `seconds`")?;
    let of = |chosen: &dyn Fn(&str) -> bool| -> f64 {
        of_stages.iter().filter(|(name, _)| chosen(name)).filter_map(|(_, seconds)| seconds.as_f64()).sum()
    };
    let composed = of(&|name| COMPOSED.contains(&name));
    let mut stages: BTreeMap<_, _> =
        STAGES.iter().map(|&(name, start)| (name, of(&|stage| stage.starts_with(start)))).collect();
    let rest = seconds - composed - stages.values().sum::<f64>();
    stages.insert(REST, rest.max(0.0));
    let results = read(&folder.join("results.json"))?;
    let rows = results["rows"].as_array().context("results.json has no `rows`")?;
    let arms = rows
        .iter()
        .filter_map(|row| Some((row["method"].as_str()?.to_owned(), row["worst_group"].as_f64()?)))
        .collect::<BTreeMap<_, _>>();
    ensure!(arms.contains_key("scgs"), "{} has no arm `scgs`", folder.join("results.json").display());
    Ok(Measured { seconds: seconds - composed, peak, stages, arms })
}

fn run_python(root: &Path, python: &Path, scratch: &Path) -> anyhow::Result<Measured> {
    let data = only_folder(&only_folder(&scratch.join("runs").join("habitat").join("data"))?)?;
    let weights = root.join("datasets").join("weights");
    let mut command = Command::new(python);
    command.arg(root.join(SCRIPT)).env("OMP_WAIT_POLICY", "PASSIVE");
    command.args([data.join("biased"), data.join("balanced")]);
    command.args([weights.join("efficientnet_lite0.safetensors"), weights.join("inpainter-habitat.safetensors")]);
    let said = last_line(&call(command.arg(scratch.join("python")))?)?;
    let names = STAGES.iter().map(|stage| stage.0).chain([REST]);
    let stages = names
        .map(|name| Ok((name, said["stages"][name].as_f64().with_context(|| format!("loop.py has no stage {name}"))?)))
        .collect::<anyhow::Result<_>>()?;
    let arms = said["arms"].as_object().context("loop.py names no arms")?;
    Ok(Measured {
        seconds: said["seconds"].as_f64().context("loop.py says no `seconds`")?,
        peak: said["peak_bytes"].as_u64(),
        stages,
        arms: arms.iter().filter_map(|(arm, found)| Some((arm.clone(), found["worst_group"].as_f64()?))).collect(),
    })
}

/// Seconds from start to end, and the most memory at once, where the system tells.
fn watched(command: &mut Command) -> anyhow::Result<(f64, Option<u64>)> {
    let program = Path::new(command.get_program()).display().to_string();
    let clock = Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot start {program}"))?;
    let status = PathBuf::from(format!("/proc/{}/status", child.id()));
    let mut peak = None;
    loop {
        if let Some(status) = child.try_wait()? {
            ensure!(status.success(), "{program} ended with {status}; its own message is above");
            return Ok((clock.elapsed().as_secs_f64(), peak));
        }
        let text = fs_err::read_to_string(&status).unwrap_or_default();
        peak = peak.max(text.lines().find_map(high_water));
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn high_water(line: &str) -> Option<u64> {
    let kilobytes = line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?;
    kilobytes.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// The folder `runs/habitat/<hash>/seed-0`.
fn seed_folder(runs: &Path) -> anyhow::Result<PathBuf> {
    let habitat = runs.join("habitat");
    for entry in fs_err::read_dir(&habitat)? {
        let folder = entry?.path().join("seed-0");
        if folder.join("results.json").is_file() {
            return Ok(folder);
        }
    }
    anyhow::bail!("{} has no finished run", habitat.display())
}

fn only_folder(parent: &Path) -> anyhow::Result<PathBuf> {
    let mut folders = Vec::new();
    for entry in fs_err::read_dir(parent)? {
        let path = entry?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    ensure!(folders.len() == 1, "{} has {} folders, expected one", parent.display(), folders.len());
    Ok(folders.remove(0))
}

fn read(path: &Path) -> anyhow::Result<Value> {
    serde_json::from_str(&fs_err::read_to_string(path)?).with_context(|| format!("{} is not JSON", path.display()))
}

/// Stages and arms of the rows as Markdown.
pub(super) fn tables(rows: &[Value]) -> String {
    let mut page = String::new();
    let number = |value: &Value, digits: usize| value.as_f64().map_or("-".into(), |v| format!("{v:.digits$}"));
    for row in rows {
        page += &format!("\nStages on {}:\n\n", row["device"].as_str().unwrap_or_default());
        page += "| stage | seconds | Python | speed against Python |\n| --- | --- | --- | --- |\n";
        let stages = row["stages"].as_array().map(Vec::as_slice).unwrap_or_default();
        let order = STAGES.iter().map(|stage| stage.0).chain([REST]);
        for stage in order.filter_map(|name| stages.iter().find(|stage| stage["stage"] == name)) {
            let (ours, python) = (&stage["seconds"], &stage["python_seconds"]);
            let speed = ours.as_f64().zip(python.as_f64()).map_or("-".into(), |(ours, theirs)| {
                // A stage of no length has no speed.
                if ours < 0.05 { "-".into() } else { format!("{:.2}", theirs / ours) }
            });
            page += &format!(
                "| {} | {} | {} | {speed} |\n",
                stage["stage"].as_str().unwrap_or_default(),
                number(ours, 1),
                number(python, 1)
            );
        }
        page += "\n| arm | worst group | Python's |\n| --- | --- | --- |\n";
        for (arm, accuracy) in row["worst_group"].as_object().into_iter().flatten() {
            page += &format!(
                "| {arm} | {} | {} |\n",
                number(accuracy, 3),
                number(&row["python_worst_group"][arm.as_str()], 3)
            );
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{high_water, only_folder, tables};

    #[test]
    fn the_peak_is_read_from_its_line_alone() {
        assert_eq!(high_water("VmHWM:\t  2048 kB"), Some(2 << 20));
        assert_eq!(high_water("VmRSS:\t  2048 kB"), None);
    }

    #[test]
    fn a_folder_beside_others_is_not_the_only_one() {
        let parent = tempfile::tempdir().unwrap();
        assert!(only_folder(parent.path()).is_err());
        fs_err::create_dir(parent.path().join("a")).unwrap();
        fs_err::write(parent.path().join("lock"), "").unwrap();
        assert!(only_folder(parent.path()).unwrap().ends_with("a"));
        fs_err::create_dir(parent.path().join("b")).unwrap();
        let message = only_folder(parent.path()).unwrap_err().to_string();
        assert!(message.contains("has 2 folders"), "{message}");
    }

    #[test]
    fn stages_are_in_their_order_with_ratios() {
        let rows = [json!({
            "device": "flex",
            "stages": [
                { "stage": "masks", "seconds": 10.0, "python_seconds": 25.0 },
                { "stage": "erm", "seconds": 0.01, "python_seconds": null },
            ],
            "worst_group": { "erm": 0.8 }, "python_worst_group": { "erm": 0.79 },
        })];
        let page = tables(&rows);
        assert!(page.contains("| erm | 0.0 | - | - |\n| masks | 10.0 | 25.0 | 2.50 |"), "{page}");
        assert!(page.contains("| erm | 0.800 | 0.790 |"), "{page}");
    }
}

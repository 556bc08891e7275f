//! `cargo xtask bench loader`: how fast pictures are loaded, beside torchvision where asked.
//!
//! The rounds of both sides alternate, so that what else the machine does hits both; each ratio is of the same round, and
//! the middle one is reported.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use serde_json::{Value, json};

use crate::Outcome;
use crate::workspace::{BINARIES, Workspace};

/// The torchvision side.
const SCRIPT: &str = "xtask/src/bench_loader.py";

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Pictures a second from JPEG files and from the packed cache; the rows of CelebA's tables.
    Loader,
}

/// How it is measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    what: What,
    /// Measure torchvision's ImageFolder and DataLoader in the same rounds
    #[arg(long)]
    vs_python: bool,
    /// The Python with torch and torchvision
    #[arg(long, value_name = "FILE", default_value = "python3")]
    python: PathBuf,
    /// Write the rows as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Pictures that are made and loaded
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(32..=202_599))]
    pictures: u64,
    /// Rounds; the middle one counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=99))]
    rounds: u64,
}

/// Times of one kind of loading, a value per round.
#[derive(Debug, Default)]
struct Rounds {
    seconds: Vec<f64>,
    peak: u64,
}

impl Rounds {
    fn add(&mut self, run: &Value) -> anyhow::Result<()> {
        self.seconds.push(run["seconds"].as_f64().context("no `seconds` in what was printed")?);
        self.peak = self.peak.max(run["peak_bytes"].as_u64().unwrap_or_default());
        Ok(())
    }
}

/// Builds the measuring program, makes the pictures where they are not there yet, and measures.
///
/// # Errors
/// When a program fails or says something unexpected.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> anyhow::Result<Outcome> {
    let What::Loader = args.what;
    let shell = workspace.shell()?;
    workspace.cargo(&shell, &[&["build"], &BINARIES[..]].concat()).run().context("the workspace does not build")?;
    let target = workspace.target_dir(&shell)?;
    let program = target.join("release/examples").join(format!("loader{}", std::env::consts::EXE_SUFFIX));
    let folder = target.join(format!("bench-loader-{}", args.pictures));
    if !folder.join("complete").is_file() {
        println!("making {} pictures in {}", args.pictures, folder.display());
        call(Command::new(&program).arg("make").arg(&folder).arg(args.pictures.to_string()))?;
        fs_err::write(folder.join("complete"), "")?;
    }
    let ours = |mode: &str| call(Command::new(&program).arg(mode).arg(&folder)).and_then(|text| last_line(&text));
    let (mut cold, mut cache, mut python) = (Rounds::default(), Rounds::default(), Rounds::default());
    for round in 1..=args.rounds {
        let first = ours("cold")?;
        cold.add(&first)?;
        cache.add(&ours("cache")?)?;
        if args.vs_python {
            let script = workspace.root().join(SCRIPT);
            let theirs = call(Command::new(&args.python).arg(script).arg(&folder)).and_then(|text| last_line(&text))?;
            ensure!(theirs["pictures"] == first["pictures"], "torchvision has seen {} pictures", theirs["pictures"]);
            python.add(&theirs)?;
        }
        println!("round {round} of {}", args.rounds);
    }
    let index = call(Command::new(&program).arg("index")).and_then(|text| last_line(&text))?;
    let rows = vec![
        row("loader-cold", args.pictures, &cold, &python, 3.0),
        row("loader-cache", args.pictures, &cache, &python, 10.0),
        json!({
            "name": "celeba-index", "device": "cpu", "seconds": index["seconds"], "peak_bytes": index["peak_bytes"],
            "pictures": index["pictures"], "goal_seconds": 0.5,
        }),
    ];
    for row in &rows {
        println!("{}", line(row));
    }
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&json!({ "schema": 1, "rows": rows }))?;
        fs_err::write(path, text + "\n")?;
    }
    Ok(Outcome::Done)
}

fn row(name: &str, pictures: u64, ours: &Rounds, python: &Rounds, goal: f64) -> Value {
    let seconds = median(&ours.seconds);
    let mut row = json!({
        "name": name, "device": "cpu", "seconds": seconds, "peak_bytes": ours.peak, "pictures": pictures,
        "pictures_per_second": seconds.map(|seconds| pictures as f64 / seconds),
    });
    let ratios: Vec<f64> = ours.seconds.iter().zip(&python.seconds).map(|(ours, python)| python / ours).collect();
    if let Some(speed) = median(&ratios) {
        row["python_seconds"] = json!(median(&python.seconds));
        row["python_peak_bytes"] = json!(python.peak);
        row["speed_vs_python"] = json!(speed);
        row["goal"] = json!(goal);
    }
    row
}

/// The middle value; of an even number the lower of the two.
fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len().saturating_sub(1) / 2).copied()
}

fn line(row: &Value) -> String {
    let number = |key: &str| row[key].as_f64().unwrap_or_default();
    let mut text = format!(
        "{:<14} {:>8.2} s, {:>7.0} pictures a second, peak {:>4.0} MB",
        row["name"].as_str().unwrap_or_default(),
        number("seconds"),
        number("pictures") / number("seconds"),
        number("peak_bytes") / 1e6
    );
    if row.get("speed_vs_python").is_some() {
        text += &format!(
            "; torchvision {:.2} s, peak {:.0} MB: {:.1} times its speed (aim {})",
            number("python_seconds"),
            number("python_peak_bytes") / 1e6,
            number("speed_vs_python"),
            number("goal")
        );
    }
    text
}

fn call(command: &mut Command) -> anyhow::Result<String> {
    let program = Path::new(command.get_program()).display().to_string();
    let output = command.output().with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        bail!("{program} failed:\n{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn last_line(text: &str) -> anyhow::Result<Value> {
    let line = text.lines().last().unwrap_or_default();
    serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Rounds, last_line, line, median, row};

    #[test]
    fn the_ratio_is_the_middle_one_of_the_rounds() {
        let ours = Rounds { seconds: vec![1.0, 4.0, 2.0], peak: 9 };
        let python = Rounds { seconds: vec![5.0, 12.0, 20.0], peak: 8 };
        let row = row("loader-cold", 100, &ours, &python, 3.0);
        // Ratios 5, 3 and 10.
        assert_eq!((row["speed_vs_python"].as_f64(), row["seconds"].as_f64()), (Some(5.0), Some(2.0)));
        assert_eq!((row["python_seconds"].as_f64(), row["pictures_per_second"].as_f64()), (Some(12.0), Some(50.0)));
        assert!(line(&row).contains("50 pictures a second") && line(&row).contains("5.0 times its speed (aim 3)"));
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[1.0, 2.0]), Some(1.0));
    }

    #[test]
    fn without_python_there_is_no_ratio() {
        let row = row("loader-cache", 10, &Rounds { seconds: vec![1.0], peak: 0 }, &Rounds::default(), 10.0);
        assert!(row.get("speed_vs_python").is_none() && row.get("goal").is_none());
    }

    #[test]
    fn the_last_line_is_the_result() {
        assert_eq!(last_line("a warning\n{\"seconds\": 1.5}\n").unwrap(), json!({"seconds": 1.5}));
        assert!(last_line("").is_err());
    }
}

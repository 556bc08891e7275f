//! `cargo xtask bench`: how fast and in how much memory, beside Python where asked.
//!
//! Machines are shared and their clocks change, so what is compared is measured in turns and reported as a ratio within a
//! round; times stand beside it for orientation.

mod compute;
mod growth;
mod growth_page;
mod history;
mod loader;
mod table;
mod whole_loop;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use clap::ValueEnum;
use serde_json::{Value, json};

use crate::workspace::{BINARIES, Workspace};
use crate::{Outcome, features};

/// A ratio may fall to this part of what it was before the command fails; below it lies what a busy machine explains.
const KEEPS: f64 = 0.8;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Training, inference, attention, k-means, Stable Diffusion's UNet: the rows of docs/speed.md.
    Compute,
    /// Pictures a second from JPEG files and from the packed cache; the rows of CelebA's tables.
    Loader,
    /// `scgs run --dataset habitat`, the whole loop.
    Loop,
    /// Time and memory against batch, picture size and number of rows; with --table also a plot beside it.
    Growth,
}

/// How it is measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(value_enum, default_value_t = What::Compute)]
    what: What,
    /// Devices; each must be compiled in (not for loader)
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "flex")]
    devices: Vec<String>,
    /// Cargo features of scgs-cli to build with, such as tch,wgpu
    #[arg(long, value_name = "NAMES")]
    features: Option<String>,
    /// compute: only rows whose name contains one of these
    #[arg(long, value_name = "PARTS", value_delimiter = ',')]
    rows: Vec<String>,
    /// Measure the usual Python library in the same rounds
    #[arg(long)]
    vs_python: bool,
    /// compute: PyTorch's tensors with channels last, which is faster than its own layout on many CPUs
    #[arg(long, requires = "vs_python")]
    channels_last: bool,
    /// The Python with torch, torchvision and, for compute and loop, grad-cam, scikit-learn and diffusers, for loop
    /// efficientnet-lite-pytorch
    #[arg(long, value_name = "FILE", default_value = "python3")]
    python: PathBuf,
    /// Write the rows as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the rows as a Markdown table
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// Rows of an earlier commit: fail when a ratio fell by more than a fifth
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// A folder with the rows of earlier commits: compare with the newest as --against does, and add this commit's
    #[arg(long, value_name = "DIR", conflicts_with = "against")]
    history: Option<PathBuf>,
    /// loader: pictures that are made and loaded
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(32..=202_599))]
    pictures: u64,
    /// Rounds; the middle one counts [default: 5; loader, loop, growth: 3]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=99))]
    rounds: Option<u64>,
}

/// What one program took for one thing, a value per round.
#[derive(Debug, Default)]
struct Rounds {
    seconds: Vec<f64>,
    peak: Option<u64>,
}

impl Rounds {
    fn add(&mut self, run: &Value) -> anyhow::Result<()> {
        self.seconds.push(run["seconds"].as_f64().context("no `seconds` in what was printed")?);
        self.peak = self.peak.max(run["peak_bytes"].as_u64());
        Ok(())
    }

    /// Per round how often this one fits into the other.
    fn speed_against(&self, other: &Self) -> Option<f64> {
        median(&self.seconds.iter().zip(&other.seconds).map(|(ours, theirs)| theirs / ours).collect::<Vec<_>>())
    }
}

/// Builds what is measured, and measures.
///
/// # Errors
/// When a program fails or says something unexpected.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> anyhow::Result<Outcome> {
    // Read first: a wrong path should not cost the time of a measurement.
    let newest = args.history.as_deref().map(history::newest).transpose()?.flatten();
    let before = args.against.as_deref().or(newest.as_deref()).map(rows_of).transpose()?;
    let shell = workspace.shell()?;
    let asked: Vec<String> =
        args.features.as_deref().map(|names| names.split(',').map(str::to_owned).collect()).unwrap_or_default();
    features::prepare(&shell, &asked)?;
    let features = args
        .features
        .as_deref()
        .map(|names| names.split(',').map(|name| format!("scgs-cli/{name}")).collect::<Vec<_>>().join(","));
    let mut words = [&["build"], &BINARIES[..]].concat();
    if let Some(features) = &features {
        words.extend(["--features", features]);
    }
    workspace.cargo(&shell, &words).run().context("the workspace does not build")?;
    let mut rows = match args.what {
        What::Compute => compute::rows(workspace, &shell, args)?,
        What::Loader => loader::rows(workspace, &shell, args)?,
        What::Loop => whole_loop::rows(workspace, &shell, args)?,
        What::Growth => growth::rows(workspace, &shell, args)?,
    };
    let fallen = before.map(|before| table::compare(&mut rows, &before)).unwrap_or_default();
    for row in &rows {
        println!("{}", table::line(row));
    }
    let text = serde_json::to_string_pretty(&json!({ "schema": 1, "machine": machine(), "rows": rows }))? + "\n";
    if let Some(path) = &args.json {
        fs_err::write(path, &text)?;
    }
    if let Some(folder) = &args.history {
        history::add(&shell, folder, &text)?;
    }
    if let Some(path) = &args.table {
        match args.what {
            What::Growth => {
                let words: Vec<String> = std::env::args().skip(1).collect();
                let command = format!("cargo xtask {}", words.join(" "));
                growth_page::write(path, &rows, (&command, &machine()))?;
            }
            What::Loop => fs_err::write(path, table::markdown(&rows, &machine()) + &whole_loop::tables(&rows))?,
            What::Compute | What::Loader => fs_err::write(path, table::markdown(&rows, &machine()))?,
        }
    }
    for (name, before, now) in &fallen {
        eprintln!("error: {name}: ratio {now:.2}, before {before:.2}: fell by more than a fifth");
    }
    Ok(if fallen.is_empty() { Outcome::Done } else { Outcome::CheckFailed })
}

/// The rows of a file that `--json` wrote.
fn rows_of(path: &Path) -> anyhow::Result<Vec<Value>> {
    let text = fs_err::read_to_string(path)?;
    let file: Value = serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))?;
    match (&file["schema"], &file["rows"]) {
        (Value::Number(schema), Value::Array(rows)) if schema.as_u64() == Some(1) => Ok(rows.clone()),
        _ => bail!("{}: expected `schema` 1 and `rows`, as `cargo xtask bench --json` writes them", path.display()),
    }
}

/// Processor and threads, as far as the system tells.
fn machine() -> Value {
    let text = fs_err::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    json!({ "processor": model.map(|(_, name)| name), "threads": threads, "system": std::env::consts::OS })
}

/// A row of one program on one device, beside Python where it was measured.
fn row(name: &str, device: &str, ours: &Rounds, python: &Rounds, goal: f64) -> Value {
    let mut row = json!({
        "name": name, "device": device, "seconds": median(&ours.seconds), "rounds": ours.seconds.len(),
        "fastest": ours.seconds.iter().copied().min_by(f64::total_cmp),
        "slowest": ours.seconds.iter().copied().max_by(f64::total_cmp),
        "peak_bytes": ours.peak,
    });
    if let Some(speed) = ours.speed_against(python) {
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

    use super::{Rounds, last_line, median, row, rows_of};

    #[test]
    fn the_ratio_is_the_middle_one_of_the_rounds() {
        let ours = Rounds { seconds: vec![1.0, 4.0, 2.0], peak: Some(9) };
        let python = Rounds { seconds: vec![5.0, 12.0, 20.0], peak: Some(8) };
        let row = row("loader-cold", "cpu", &ours, &python, 3.0);
        // Ratios 5, 3 and 10.
        assert_eq!((row["speed_vs_python"].as_f64(), row["seconds"].as_f64()), (Some(5.0), Some(2.0)));
        assert_eq!((row["python_seconds"].as_f64(), row["slowest"].as_f64()), (Some(12.0), Some(4.0)));
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[1.0, 2.0]), Some(1.0));
    }

    #[test]
    fn without_python_there_is_no_ratio() {
        let ours = Rounds { seconds: vec![1.0], peak: None };
        let row = row("loader-cache", "cpu", &ours, &Rounds::default(), 10.0);
        assert!(row.get("speed_vs_python").is_none() && row.get("goal").is_none());
    }

    #[test]
    fn the_last_line_is_the_result() {
        assert_eq!(last_line("a warning\n{\"seconds\": 1.5}\n").unwrap(), json!({"seconds": 1.5}));
        assert!(last_line("").is_err());
    }

    #[test]
    fn rows_of_another_schema_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.json");
        fs_err::write(&path, "{\"schema\": 2, \"rows\": []}").unwrap();
        assert!(rows_of(&path).unwrap_err().to_string().contains("expected `schema` 1"));
        fs_err::write(&path, "{\"schema\": 1, \"rows\": [{\"name\": \"a\"}]}").unwrap();
        assert_eq!(rows_of(&path).unwrap(), [json!({"name": "a"})]);
    }
}

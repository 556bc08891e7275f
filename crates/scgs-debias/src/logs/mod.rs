//! The logs of a training run: `metrics.jsonl` for programs, `metrics.csv` for tables, and an event file for TensorBoard
//! (`tensorboard --logdir runs`).

mod events;

use std::path::Path;

use scgs_data::atomic;

use crate::{Error, run_folder::table_error, training::LogLine};

/// One JSON object per epoch.
pub const JSONL: &str = "metrics.jsonl";
/// The same as a table.
pub const CSV: &str = "metrics.csv";
/// The same for TensorBoard, which finds files by the word `tfevents` in their names.
pub const EVENTS: &str = "events.out.tfevents.scgs";

/// Writes all three files. Nothing in them depends on the clock: the same training run leaves the same bytes.
///
/// # Errors
/// If a file cannot be written.
pub fn write(folder: &Path, log: &[LogLine]) -> Result<(), Error> {
    let mut text = String::new();
    for line in log {
        text.push_str(&serde_json::to_string(line).map_err(|e| table_error(&folder.join(JSONL), &e))?);
        text.push('\n');
    }
    atomic::write(folder.join(JSONL), text)?;
    let path = folder.join(CSV);
    atomic::write(&path, table(log).map_err(|e| table_error(&path, &e))?)?;
    Ok(atomic::write(folder.join(EVENTS), events::file(&scalars(log)))?)
}

/// Copies the files of one folder into another; a stage that was finished before there were logs has none.
///
/// # Errors
/// If a file cannot be read or written.
pub fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    for name in [JSONL, CSV, EVENTS].into_iter().filter(|name| from.join(name).is_file()) {
        atomic::write(to.join(name), fs_err::read(from.join(name))?)?;
    }
    Ok(())
}

/// Columns `phase`, `epoch`, `step`, `loss`, `accuracy`, `learning_rate`, `validation`, and one `state_<i>` per number of
/// the longest state, such as the weight of each group; empty where there is no value.
fn table(log: &[LogLine]) -> Result<Vec<u8>, csv::Error> {
    let states = log.iter().map(|l| l.metrics.state.len()).max().unwrap_or(0);
    let mut writer = csv::Writer::from_writer(Vec::new());
    let fixed = ["phase", "epoch", "step", "loss", "accuracy", "learning_rate", "validation"].map(str::to_owned);
    writer.write_record(fixed.into_iter().chain((0..states).map(|i| format!("state_{i}"))))?;
    for line in log {
        let m = &line.metrics;
        let mut row = vec![line.phase.to_owned(), m.epoch.to_string(), m.step.to_string()];
        row.extend([m.loss, m.accuracy, m.learning_rate].map(|v| v.to_string()));
        row.push(line.validation.map(|v| v.to_string()).unwrap_or_default());
        row.extend((0..states).map(|i| m.state.get(i).map(f64::to_string).unwrap_or_default()));
        writer.write_record(&row)?;
    }
    writer.into_inner().map_err(|e| e.into_error().into())
}

/// A point of a curve.
#[derive(Debug, Clone, PartialEq)]
struct Scalar {
    /// Name of the curve, such as `train/loss`.
    tag: String,
    /// Updates so far.
    step: usize,
    value: f64,
}

/// The curves of every phase.
fn scalars(log: &[LogLine]) -> Vec<Scalar> {
    log.iter()
        .flat_map(|line| {
            let m = &line.metrics;
            let fixed = [("loss", m.loss), ("accuracy", m.accuracy), ("learning_rate", m.learning_rate)];
            let named = fixed.into_iter().map(|(name, value)| (name.to_owned(), value));
            let validation = line.validation.map(|value| ("validation_accuracy".to_owned(), value));
            let state = m.state.iter().enumerate().map(|(i, &value)| (format!("state/{i}"), value));
            let all: Vec<(String, f64)> = named.chain(validation).chain(state).collect();
            all.into_iter().map(|(name, value)| Scalar { tag: format!("{}/{name}", line.phase), step: m.step, value })
        })
        .collect()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

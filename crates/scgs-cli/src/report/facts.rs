//! Tables and notes of a run's folder that the page reads, each of which a run may lack.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::Context as _;
use scgs_debias::{Results, RunFolder, stages::masks};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Reads a CSV with a header; columns that `T` does not name are passed over.
pub(crate) fn rows<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Vec<T>> {
    let bytes = fs_err::read(path)?;
    let rows: Result<_, _> = csv::Reader::from_reader(bytes.as_slice()).deserialize().collect();
    rows.with_context(|| format!("{} is not the table it should be", path.display()))
}

/// The spurious attribute by picture (`group-labels.csv`): for the reader of the page, after everything is computed.
#[derive(Debug, Default)]
pub(crate) struct GroupLabels(BTreeMap<u64, usize>);

#[derive(Deserialize)]
struct GroupLabel {
    id: u64,
    attribute: usize,
}

impl GroupLabels {
    /// Reads the table; a run of an earlier version has none.
    pub(crate) fn read(run: &RunFolder) -> anyhow::Result<Self> {
        let path = run.root().join("group-labels.csv");
        let rows: Vec<GroupLabel> = if path.is_file() { rows(&path)? } else { Vec::new() };
        Ok(Self(rows.into_iter().map(|row| (row.id, row.attribute)).collect()))
    }

    pub(crate) fn attribute(&self, id: u64) -> Option<usize> {
        self.0.get(&id).copied()
    }
}

/// How a seed came about (`history.json`): the commands, and the seconds of each stage's finishing attempt.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct History {
    pub schema: u32,
    pub commands: BTreeSet<String>,
    pub seconds: BTreeMap<String, f64>,
}

impl History {
    /// Reads the note of a seed's folder; a run of an earlier version has none.
    pub(crate) fn read(seed_folder: &Path) -> anyhow::Result<Self> {
        let path = seed_folder.join("history.json");
        if !path.is_file() {
            return Ok(Self { schema: 1, ..Self::default() });
        }
        serde_json::from_slice(&fs_err::read(&path)?).with_context(|| format!("{} is damaged", path.display()))
    }

    /// Writes it back.
    pub(crate) fn write(&self, seed_folder: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        Ok(scgs_data::atomic::write(seed_folder.join("history.json"), text)?)
    }
}

/// A line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct LogLine {
    pub phase: String,
    pub epoch: usize,
    pub loss: f64,
    pub accuracy: f64,
    #[serde(default)]
    pub validation: Option<f64>,
}

/// The training log of a stage; empty where nothing was logged.
pub(crate) fn log(run: &RunFolder, stage: &str) -> anyhow::Result<Vec<LogLine>> {
    let path = run.path(stage, "metrics.jsonl");
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let lines = fs_err::read_to_string(&path)?;
    let lines = lines.lines().enumerate().map(|(i, line)| {
        serde_json::from_str(line).with_context(|| format!("{}: line {} is damaged", path.display(), i + 1))
    });
    lines.collect()
}

/// An answer on the test split.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Tested {
    id: u64,
    label: usize,
    predicted: usize,
}

/// Test pictures of a group by what happened to them between two arms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub group: String,
    pub n: usize,
    /// Wrong before, right after.
    pub repaired: usize,
    /// Right before, wrong after.
    pub broken: usize,
    pub wrong_in_both: usize,
    pub right_in_both: usize,
}

/// What changed on the test split from arm `before` to arm `after`, by group; `None` if one of them was not run.
pub(crate) fn changes(
    run: &RunFolder,
    results: &Results,
    groups: &GroupLabels,
    before: &str,
    after: &str,
) -> anyhow::Result<Option<Vec<Change>>> {
    let file = |arm: &str| run.path(&format!("6-{arm}"), "predictions.csv");
    if !(file(before).is_file() && file(after).is_file()) {
        return Ok(None);
    }
    let after: BTreeMap<u64, Tested> = rows::<Tested>(&file(after))?.into_iter().map(|row| (row.id, row)).collect();
    let mut counts: BTreeMap<(usize, Option<usize>), [usize; 4]> = BTreeMap::new();
    for row in rows::<Tested>(&file(before))? {
        let Some(then) = after.get(&row.id) else { continue };
        let (was, is) = (row.predicted == row.label, then.predicted == then.label);
        let case = match (was, is) {
            (false, true) => 0,
            (true, false) => 1,
            (false, false) => 2,
            (true, true) => 3,
        };
        counts.entry((row.label, groups.attribute(row.id))).or_default()[case] += 1;
    }
    let name = |names: &[String], i: usize| names.get(i).cloned().unwrap_or_else(|| i.to_string());
    let change = |((label, attribute), [repaired, broken, wrong_in_both, right_in_both]): (_, [usize; 4])| Change {
        group: match attribute {
            Some(a) => format!("{} on {}", name(&results.classes, label), name(&results.attributes, a)),
            None => name(&results.classes, label),
        },
        n: repaired + broken + wrong_in_both + right_in_both,
        repaired,
        broken,
        wrong_in_both,
        right_in_both,
    };
    Ok(Some(counts.into_iter().map(change).collect()))
}

/// Sources without a mask, by reason.
pub(crate) fn skipped(run: &RunFolder) -> anyhow::Result<Vec<(String, usize)>> {
    if !run.is_done(masks::STAGE) {
        return Ok(Vec::new());
    }
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for reason in masks::read(run, masks::STAGE)?.into_iter().filter_map(|row| row.skipped) {
        *counts.entry(reason).or_default() += 1;
    }
    Ok(counts.into_iter().collect())
}

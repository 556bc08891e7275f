//! Search over settings: every combination of lists, or random draws from ranges. Each point is an ordinary run in an
//! ordinary run folder, so that finished stages are kept, and shared ones computed once.

use std::{collections::BTreeSet, fmt, path::PathBuf, str::FromStr};

use burn::tensor::Device;
use rand::RngExt;
use scgs_data::{Definition, stream};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::{
    Context, Error, Results, RunFolder, Settings, Spread,
    arms::Arm,
    pipeline::{self, Plan},
    preflight, run_folder,
    selection::Criterion,
    stages::evaluate,
};

/// The most points of a grid.
const LIMIT: usize = 10_000;

/// A setting and what it may be.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// Such as `jtt.upweight`.
    pub key: String,
    /// Its values.
    pub values: Values,
}

/// What a setting may be.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// These, as they would be written behind `--set KEY=`.
    List(Vec<String>),
    /// Between two numbers, drawn evenly or evenly in the logarithm; whole if both ends are written without a point.
    Range {
        /// The smallest.
        low: f64,
        /// The largest, above `low`.
        high: f64,
        /// Evenly in the logarithm.
        log: bool,
        /// Whole numbers only.
        whole: bool,
    },
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.values {
            Values::List(values) => write!(f, "{}={}", self.key, values.join(",")),
            Values::Range { low, high, log, .. } => {
                write!(f, "{}={}{low}..{high}", self.key, if *log { "log:" } else { "" })
            }
        }
    }
}

impl FromStr for Axis {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, values) = text.split_once('=').ok_or("expected section.key=values")?;
        let key = key.trim().to_owned();
        if key.split('.').count() < 2 || key.split('.').any(|part| part.trim().is_empty()) {
            return Err(format!("`{key}` is no setting: expected section.key=values"));
        }
        let (log, range) = values.strip_prefix("log:").map_or((false, values), |rest| (true, rest));
        let values = match range.split_once("..") {
            Some((low, high)) => read_range(low.trim(), high.trim(), log)?,
            None if log => return Err(format!("`{values}`: expected log:LOW..HIGH")),
            None => Values::List(split(values)?),
        };
        Ok(Self { key, values })
    }
}

fn read_range(low: &str, high: &str, log: bool) -> Result<Values, String> {
    let whole = low.parse::<i64>().is_ok() && high.parse::<i64>().is_ok();
    let number = |text: &str| {
        let value: Option<f64> = text.parse().ok().filter(|v: &f64| v.is_finite());
        value.ok_or_else(|| format!("`{text}` is no number: expected LOW..HIGH"))
    };
    let (low, high) = (number(low)?, number(high)?);
    if low >= high {
        return Err(format!("{low}..{high}: the first number must be below the second"));
    }
    if log && low <= 0.0 {
        return Err(format!("log:{low}..{high}: the first number must be above 0"));
    }
    Ok(Values::Range { low, high, log, whole })
}

/// Splits at commas outside of brackets and quotes.
fn split(text: &str) -> Result<Vec<String>, String> {
    let (mut depth, mut quoted) = (0i32, false);
    let mut parts = vec![String::new()];
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            '[' | '{' if !quoted => depth += 1,
            ']' | '}' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().expect("one part from the start").push(c);
    }
    let parts: Vec<String> = parts.iter().map(|p| p.trim().to_owned()).collect();
    if parts.iter().any(String::is_empty) {
        return Err(format!("`{text}` has an empty value"));
    }
    if parts.iter().collect::<BTreeSet<_>>().len() < parts.len() {
        return Err(format!("`{text}` has a value twice"));
    }
    Ok(parts)
}

impl Values {
    /// A value drawn at random; numbers have four significant digits.
    fn draw(&self, rng: &mut rand_chacha::ChaCha8Rng) -> String {
        match self {
            Self::List(values) => values[rng.random_range(0..values.len())].clone(),
            &Self::Range { low, high, log, whole } => {
                let share: f64 = rng.random();
                // A whole range includes its end.
                let high = if whole { high + 1.0 } else { high };
                let value = if log { low * (high / low).powf(share) } else { low + share * (high - low) };
                if whole { format!("{}", value.floor()) } else { format!("{value:.3e}") }
            }
        }
    }
}

/// A combination of values: setting and value, in the order of the axes.
pub type Point = Vec<(String, String)>;

/// Every combination, the last axis fastest.
///
/// # Errors
/// If an axis is a range, occurs twice, or there are more than 10000 combinations.
pub fn grid(axes: &[Axis]) -> Result<Vec<Point>, String> {
    distinct(axes)?;
    let mut points: Vec<Point> = vec![Vec::new()];
    for axis in axes {
        let Values::List(values) = &axis.values else {
            return Err(format!(
                "axis {axis} is a range, which has no combinations: list its values, or use --random N"
            ));
        };
        if points.len() * values.len() > LIMIT {
            return Err(format!("more than {LIMIT} combinations: shorten the axes, or use --random N"));
        }
        points = points
            .into_iter()
            .flat_map(|point| {
                values.iter().map(move |value| {
                    let mut longer = point.clone();
                    longer.push((axis.key.clone(), value.clone()));
                    longer
                })
            })
            .collect();
    }
    Ok(points)
}

/// `n` draws; the `i`th is the same for every `n`. Points that are drawn twice count once.
///
/// # Errors
/// If an axis occurs twice.
pub fn random(axes: &[Axis], n: usize, seed: u64) -> Result<Vec<Point>, String> {
    distinct(axes)?;
    let mut points: Vec<Point> = Vec::new();
    for i in 0..n as u64 {
        let value = |axis: &Axis| {
            let mut rng = stream(seed, &format!("sweep/{}", axis.key), i);
            (axis.key.clone(), axis.values.draw(&mut rng))
        };
        let point: Point = axes.iter().map(value).collect();
        if !points.contains(&point) {
            points.push(point);
        }
    }
    Ok(points)
}

fn distinct(axes: &[Axis]) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    match axes.iter().find(|axis| !seen.insert(&axis.key)) {
        Some(axis) => Err(format!("axis {} is given twice", axis.key)),
        None => Ok(()),
    }
}

/// A point that can be run.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Setting and value.
    pub point: Point,
    /// All settings, checked.
    pub settings: Settings,
    /// What is trained with them.
    pub arms: Vec<Arm>,
}

/// A search.
#[derive(Debug, Clone)]
pub struct Sweep {
    /// Everything but the settings and arms of a point.
    pub base: Plan,
    /// The points.
    pub points: Vec<Candidate>,
    /// What ranks them.
    pub by: Criterion,
    /// The seeds of every point.
    pub seeds: Vec<u64>,
}

/// What the settings of every point come from.
#[derive(Debug)]
pub struct Source<'a> {
    /// `--profile`.
    pub profile: Option<&'a str>,
    /// A configuration file's name and content.
    pub file: Option<(String, toml::Table)>,
    /// `--set`.
    pub sets: &'a [String],
    /// `--methods`.
    pub methods: &'a str,
}

impl Source<'_> {
    /// Settings and arms of every point.
    ///
    /// # Errors
    /// Every different problem of every point, so that an impossible point does not show after hours.
    pub fn resolve(&self, definition: &Definition, points: Vec<Point>) -> Result<Vec<Candidate>, Vec<String>> {
        let mut problems = Vec::new();
        let mut note = |problem: String| {
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        };
        let mut resolved = Vec::new();
        for point in points {
            let axes = point.iter().map(|(key, value)| format!("{key}={value}"));
            let sets: Vec<String> = self.sets.iter().cloned().chain(axes).collect();
            let settings = Settings::resolve(definition, self.profile, self.file.clone(), &sets);
            match settings.and_then(|s| Arm::parse_list(self.methods, &s).map(|arms| (s, arms))) {
                Ok((settings, arms)) => resolved.push(Candidate { point, settings, arms }),
                Err(error) => note(error.to_string()),
            }
        }
        if problems.is_empty() { Ok(resolved) } else { Err(problems) }
    }
}

/// A point and a method.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Name of the arm.
    pub method: String,
    /// Whether it used group labels in training.
    pub oracle: bool,
    /// Setting and value.
    pub point: Vec<(String, String)>,
    /// The run folder.
    pub run: String,
    /// The criterion's value on the validation split, over seeds; absent where the run failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<Spread>,
    /// Worst-group accuracy on the test split: for information, nothing is ranked by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worst_group: Option<Spread>,
    /// Plain accuracy on the test split: for information.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plain: Option<Spread>,
    /// Why there is no score.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// Whether it has the highest score of its method; the earlier point of two equal ones.
    pub best: bool,
}

/// `sweep.json`
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Table {
    /// 1.
    pub schema: u32,
    /// Name of the data set.
    pub dataset: String,
    /// What the rows are ranked by, on the validation split.
    pub criterion: Criterion,
    /// Whether that looks at group labels.
    pub sees_groups: bool,
    /// The seeds of every point.
    pub seeds: Vec<u64>,
    /// By method, best first; failed points last.
    pub rows: Vec<Row>,
}

/// The run's folder and, per seed and arm, score, worst group and plain accuracy.
type OfPoint = (String, Vec<Vec<[f64; 3]>>);

impl Sweep {
    /// Twelve hexadecimal digits that change with the points, the methods, the criterion and the seeds.
    pub fn hash(&self) -> String {
        let mut hasher = Sha256::new();
        let mut add = |text: String| {
            hasher.update((text.len() as u64).to_le_bytes());
            hasher.update(text);
        };
        add(format!("{} {:?} {}", self.by, self.seeds, self.base.device));
        for Candidate { settings, arms, .. } in &self.points {
            add(settings.hash(&[]));
            add(arms.iter().map(|a| a.name()).collect::<Vec<_>>().join(","));
        }
        hasher.finalize().iter().take(6).map(|b| format!("{b:02x}")).collect()
    }

    /// Where `sweep.json` lies.
    pub fn folder(&self) -> PathBuf {
        self.base.runs.join(&self.base.definition.name).join("sweeps").join(self.hash())
    }

    /// Everything wrong that can be known without data, once per different network.
    pub fn problems(&self, device: &Device) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let mut problems: Vec<String> = Vec::new();
        for Candidate { settings, arms, .. } in &self.points {
            let key =
                format!("{:?} {:?} {:?} {arms:?}", settings.backbone, settings.train.freeze, settings.synthesis.small);
            if seen.insert(key) {
                problems.extend(preflight::problems(&self.plan(settings, arms), device));
            }
        }
        problems.dedup();
        problems
    }

    fn plan(&self, settings: &Settings, arms: &[Arm]) -> Plan {
        Plan { settings: settings.clone(), arms: arms.to_vec(), ..self.base.clone() }
    }

    /// Runs every point and seed, keeps what is finished, and writes `sweep.json` after every point. A point that diverges
    /// or finds no mistakes is a row without a score. `point` is told which one begins.
    ///
    /// # Errors
    /// What stops a run for a reason other than the point's settings.
    pub fn run(&self, context: &Context<'_>, point: &dyn Fn(usize, &Point)) -> Result<Table, Error> {
        let folder = self.folder();
        fs_err::create_dir_all(&folder)?;
        let mut rows: Vec<Row> = Vec::new();
        let mut table = None;
        for (i, Candidate { point: at, settings, arms }) in self.points.iter().enumerate() {
            point(i, at);
            let plan = self.plan(settings, arms);
            let outcome = self.run_point(&plan, context);
            rows.extend(self.rows_of(at, arms, outcome)?);
            let ranked = self.rank(rows.clone());
            run_folder::write_json(&folder.join("sweep.json"), &ranked)?;
            table = Some(ranked);
        }
        table.ok_or_else(|| Error::Config { origin: "sweep".into(), message: "there is no point to run".into() })
    }

    fn run_point(&self, plan: &Plan, context: &Context<'_>) -> Result<OfPoint, Error> {
        let mut run = String::new();
        let mut values = Vec::new();
        for &seed in &self.seeds {
            let done = pipeline::run(plan, seed, context)?;
            let results = Results::read(&done.seed_folder.join("results.json"))?;
            let folder = RunFolder::open(&done.run_folder, seed)?;
            run = done.run_folder.display().to_string();
            let mut of_seed = Vec::new();
            for &arm in &plan.arms {
                let row = results.rows.iter().find(|r| r.method == arm.name());
                let row = row.expect("a finished run has a row per arm");
                let score = match self.by {
                    Criterion::WorstClass => row.validation.worst_class,
                    Criterion::WorstGroup => evaluate::read_validation_groups(&folder, arm)?.worst_group(),
                    Criterion::Last | Criterion::Average => row.validation.plain,
                };
                of_seed.push([score, row.worst_group, row.plain]);
            }
            values.push(of_seed);
        }
        Ok((run, values))
    }

    fn rows_of(&self, point: &Point, arms: &[Arm], outcome: Result<OfPoint, Error>) -> Result<Vec<Row>, Error> {
        let (run, values, failed) = match outcome {
            Ok((run, values)) => (run, values, None),
            Err(error) if of_the_point(&error) => (String::new(), Vec::new(), Some(error.to_string())),
            Err(error) => return Err(error),
        };
        let row = |(i, arm): (usize, &Arm)| {
            let spread = |k: usize| Spread::of(&values.iter().map(|seed| seed[i][k]).collect::<Vec<_>>());
            Row {
                method: arm.name(),
                oracle: arm.sees_groups().any(),
                point: point.clone(),
                run: run.clone(),
                score: spread(0),
                worst_group: spread(1),
                plain: spread(2),
                failed: failed.clone(),
                best: false,
            }
        };
        Ok(arms.iter().enumerate().map(row).collect())
    }

    /// By method in the order of its first row, then by score; the sort keeps the order of equal ones.
    fn rank(&self, mut rows: Vec<Row>) -> Table {
        let mut methods: Vec<String> = Vec::new();
        for row in &rows {
            if !methods.contains(&row.method) {
                methods.push(row.method.clone());
            }
        }
        let place = |row: &Row| methods.iter().position(|m| *m == row.method);
        let score = |row: &Row| row.score.map_or(f64::NEG_INFINITY, |s| s.mean);
        rows.sort_by(|a, b| place(a).cmp(&place(b)).then(score(b).total_cmp(&score(a))));
        let mut seen = BTreeSet::new();
        for row in &mut rows {
            row.best = row.score.is_some() && seen.insert(row.method.clone());
        }
        Table {
            schema: 1,
            dataset: self.base.definition.name.clone(),
            criterion: self.by,
            sees_groups: self.by.sees_groups(),
            seeds: self.seeds.clone(),
            rows,
        }
    }
}

/// Whether another point may do better.
fn of_the_point(error: &Error) -> bool {
    matches!(
        error,
        Error::Diverged { .. }
            | Error::Optimiser(_)
            | Error::EmptyErrorSet { .. }
            | Error::NoSource { .. }
            | Error::NoMask { .. }
            | Error::NoBatch { .. }
    )
}

#[cfg(test)]
#[path = "sweep_tests.rs"]
mod tests;

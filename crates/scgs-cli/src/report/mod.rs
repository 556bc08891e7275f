//! `report/index.html`: one self-contained page that opens from disk, and a page that compares several runs.

mod attention;
mod chain;
mod chart;
mod compare;
mod curves;
mod error_set;
pub(crate) mod examples;
mod facts;
mod page;
mod sections;
mod table;
mod thumbnail;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use scgs_debias::{Results, RunFolder, diagnostics::Diagnostics};
use sha2::{Digest as _, Sha256};

pub(crate) use facts::History;
use facts::{Change, GroupLabels};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("report.js");

/// What a page of one run shows. The parts about pictures are of one seed, the first.
struct Content {
    results: Results,
    /// That seed.
    seed: u64,
    /// Seed and its diagnostics.
    diagnostics: Vec<(u64, Diagnostics)>,
    /// Seed and how it came about.
    histories: Vec<(u64, History)>,
    /// The settings as TOML.
    config: String,
    /// Versions, device and weights, as JSON.
    environment: serde_json::Value,
    chain: Option<chain::Chain>,
    error_set: Option<error_set::ErrorSet>,
    attention: Vec<attention::Pair>,
    curves: Vec<curves::Curve>,
    /// The test split from arm to arm.
    changes: Option<Vec<Change>>,
    /// Skipped sources by reason.
    skipped: Vec<(String, usize)>,
}

/// A run's folder, found from what a person gave: all its seeds, or one `seed-<n>` below it.
pub(crate) struct Run {
    /// The folder as given.
    given: PathBuf,
    /// The folder of the configuration.
    parent: PathBuf,
    results: Results,
}

impl Run {
    /// Reads the results of a run.
    pub(crate) fn open(run_dir: &Path) -> anyhow::Result<Self> {
        let results_file = run_dir.join("results.json");
        if !results_file.is_file() {
            bail!(
                "{} holds no finished run (no results.json); give runs/<dataset>/<config-hash> or a seed-<n> below it",
                run_dir.display()
            );
        }
        let results = Results::read(&results_file)?;
        ensure!(!results.rows.is_empty(), "{} has no rows", results_file.display());
        let one_seed = run_dir.join("config.toml").is_file();
        let parent = if one_seed { run_dir.parent().unwrap_or(run_dir) } else { run_dir };
        Ok(Self { given: run_dir.to_owned(), parent: parent.to_owned(), results })
    }

    /// The folder of a seed.
    fn seed(&self, seed: u64) -> anyhow::Result<RunFolder> {
        Ok(RunFolder::open(&self.parent, seed)?)
    }

    /// Where the page of the run belongs.
    fn page(&self) -> PathBuf {
        self.given.join("report").join("index.html")
    }

    /// `<data set>/<config hash>`, as far as the folder's name tells it.
    fn name(&self) -> String {
        let folder = fs_err::canonicalize(&self.given).unwrap_or_else(|_| self.given.clone());
        let parts: Vec<String> = folder.components().map(|c| c.as_os_str().to_string_lossy().into_owned()).collect();
        let start = parts.len() - parts.len().min(if self.given == self.parent { 2 } else { 3 });
        parts[start..].join("/")
    }

    /// The settings as TOML.
    fn config(&self) -> anyhow::Result<String> {
        Ok(fs_err::read_to_string(self.seed(self.first_seed())?.root().join("config.toml"))?)
    }

    fn first_seed(&self) -> u64 {
        // `open` has refused a run without rows.
        self.results.seeds().first().copied().unwrap_or_default()
    }

    fn read(&self) -> anyhow::Result<Content> {
        let results = self.results.clone();
        // Only seeds with results: the folder of an interrupted one may lie beside them.
        let seeds = results.seeds();
        let seed = self.first_seed();
        let mut diagnostics = Vec::new();
        let mut histories = Vec::new();
        for seed in seeds {
            let folder = self.parent.join(format!("seed-{seed}"));
            let path = folder.join("diagnostics.json");
            let text = fs_err::read_to_string(&path)?;
            let read = serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))?;
            diagnostics.push((seed, read));
            histories.push((seed, History::read(&folder)?));
        }
        let run = self.seed(seed)?;
        let environment = fs_err::read(run.root().join("environment.json"))?;
        let groups = GroupLabels::read(&run)?;
        // The page lies in `<given>/report`.
        let root = if self.given == self.parent { format!("../seed-{seed}/") } else { "../".to_owned() };
        Ok(Content {
            seed,
            diagnostics,
            histories,
            config: fs_err::read_to_string(run.root().join("config.toml"))?,
            environment: serde_json::from_slice(&environment).context("environment.json is damaged")?,
            chain: chain::Chain::read(&run, &results, &groups, &root)?,
            error_set: error_set::ErrorSet::read(&run, &results)?,
            attention: attention::read(&run, &results)?,
            curves: curves::read(&run, &results)?,
            changes: facts::changes(&run, &results, &groups, "erm", "scgs")?,
            skipped: facts::skipped(&run)?,
            results,
        })
    }
}

/// Writes the page of a run's folder and returns its path.
pub(crate) fn write(run_dir: &Path) -> anyhow::Result<PathBuf> {
    let run = Run::open(run_dir)?;
    let html = page::render(&run.read()?)?;
    save(&run.page(), html)
}

/// Writes a page that compares runs and returns its path. Every run gets its own page as well.
pub(crate) fn write_comparison(run_dirs: &[PathBuf], out: &Path) -> anyhow::Result<PathBuf> {
    let mut runs = Vec::new();
    for dir in run_dirs {
        write(dir)?;
        runs.push(Run::open(dir)?);
    }
    save(out, compare::render(&runs, out)?)
}

fn save(path: &Path, html: Markup) -> anyhow::Result<PathBuf> {
    if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
        fs_err::create_dir_all(folder)?;
    }
    scgs_data::atomic::write(path, html.into_string().as_bytes())?;
    Ok(path.to_owned())
}

/// A whole page around `body`. The policy lets nothing run but the project's own script, and nothing be loaded from a
/// network: whatever a class name or a file of the run holds, it stays text.
fn shell(title: &str, body: Markup, script: bool) -> Markup {
    let hash = STANDARD.encode(Sha256::digest(SCRIPT));
    let policy = format!(
        "default-src 'none'; img-src data: file: 'self'; style-src 'unsafe-inline'; script-src 'sha256-{hash}'; \
         base-uri 'none'; form-action 'none'"
    );
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="generator" content=(format!("scgs {}", env!("CARGO_PKG_VERSION")));
                link rel="icon" href="data:,";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                (body)
                @if script { script { (PreEscaped(SCRIPT)) } }
            }
        }
    }
}

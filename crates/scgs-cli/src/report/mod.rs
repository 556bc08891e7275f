//! `report/index.html`: one self-contained page that opens from disk.

mod chain;
mod chart;
mod map;
mod page;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use scgs_debias::{Results, RunFolder, diagnostics::Diagnostics};

/// What a page shows.
struct Content {
    results: Results,
    /// Seed and its diagnostics.
    diagnostics: Vec<(u64, Diagnostics)>,
    /// The settings as TOML.
    config: String,
    /// Examples of one seed.
    chain: Option<chain::Chain>,
    /// The error set of the same seed.
    map: Option<map::Map>,
}

/// Writes the page of a run's folder: of all its seeds, or of one `seed-<n>` below it. Returns the page's path.
pub(crate) fn write(run_dir: &Path) -> anyhow::Result<PathBuf> {
    let results_file = run_dir.join("results.json");
    if !results_file.is_file() {
        bail!(
            "{} holds no finished run (no results.json); give runs/<dataset>/<config-hash> or a seed-<n> below it",
            run_dir.display()
        );
    }
    let results = Results::read(&results_file)?;
    // Only seeds with results: the folder of an interrupted one may lie beside them.
    let seeds = results.seeds();
    let seed = *seeds.first().with_context(|| format!("{} has no rows", results_file.display()))?;
    let parent = if run_dir.join("config.toml").is_file() { run_dir.parent().unwrap_or(run_dir) } else { run_dir };
    let mut diagnostics = Vec::new();
    for seed in seeds {
        let text = fs_err::read_to_string(parent.join(format!("seed-{seed}")).join("diagnostics.json"))?;
        diagnostics.push((seed, serde_json::from_str(&text)?));
    }
    let run = RunFolder::open(parent, seed)?;
    let config = fs_err::read_to_string(run.root().join("config.toml"))?;
    let chain = chain::Chain::read(&run, &results)?;
    let map = map::Map::read(&run, &results)?;
    let html = page::render(&Content { results, diagnostics, config, chain, map });
    let path = run_dir.join("report").join("index.html");
    fs_err::create_dir_all(run_dir.join("report"))?;
    scgs_data::atomic::write(&path, html.into_string().as_bytes())?;
    Ok(path)
}

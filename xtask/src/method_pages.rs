//! `cargo xtask method-pages`: writes the results of a run into the pages of docs/methods, so that no number there is
//! typed by hand.
//!
//! The table of a page stands between two comments. `--check` compares instead of writing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

use crate::Outcome;
use crate::workspace::Workspace;

/// The results the pages show, in the schema of `results.json`.
const RESULTS: &str = "docs/experiments/habitat-methods.json";
/// The command that made them.
const COMMAND: &str = "cargo xtask reproduce habitat --methods all --seeds 3 --set synthesis.fill=background-crop";
const PAGES: &str = "docs/methods";
const BEGIN: &str = "<!-- results -->";
const END: &str = "<!-- /results -->";

/// Where the numbers come from, and whether to write.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A results.json to copy to docs/experiments/habitat-methods.json first
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,
    /// Write nothing; exit code 1 if a page differs from its results
    #[arg(long, conflicts_with = "results")]
    check: bool,
}

/// What the pages need of a `results.json`; `serde` leaves the rest out.
#[derive(Debug, Deserialize, serde::Serialize)]
struct Results {
    schema: u32,
    dataset: String,
    rows: Vec<Row>,
}

#[derive(Debug, Clone, Deserialize, serde::Serialize)]
struct Row {
    method: String,
    seed: u64,
    groups: Vec<Group>,
    plain: f64,
    worst_group: f64,
    sees_groups: SeesGroups,
}

#[derive(Debug, Clone, Deserialize, serde::Serialize)]
struct Group {
    label: usize,
    attribute: usize,
    n: usize,
    correct: usize,
}

#[derive(Debug, Clone, Deserialize, serde::Serialize)]
struct SeesGroups {
    training: bool,
    selection: bool,
}

/// Writes or checks every page.
///
/// # Errors
/// When a file is missing, is no `results.json`, or a page lacks its comments.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> anyhow::Result<Outcome> {
    let root = workspace.root();
    let stored = root.join(RESULTS);
    if let Some(given) = &args.results {
        let results = read(given)?;
        ensure!(results.dataset == "habitat", "{} is about {}, expected habitat", given.display(), results.dataset);
        fs_err::write(&stored, serde_json::to_string(&results)? + "\n")?;
    }
    let results = read(&stored).with_context(|| format!("give --results FILE with what `{COMMAND}` wrote"))?;
    let mut differing = Vec::new();
    for entry in fs_err::read_dir(root.join(PAGES))? {
        let path = entry?.path();
        let old = fs_err::read_to_string(&path)?;
        let new = page(&path, &old, &results)?;
        if new != old {
            differing.push(path.display().to_string());
            if !args.check {
                fs_err::write(&path, new)?;
            }
        }
    }
    differing.sort();
    for path in &differing {
        println!("{} {path}", if args.check { "differs" } else { "written" });
    }
    if args.check && !differing.is_empty() {
        println!("run `cargo xtask method-pages`");
        return Ok(Outcome::CheckFailed);
    }
    Ok(Outcome::Done)
}

fn read(path: &Path) -> anyhow::Result<Results> {
    let results: Results = serde_json::from_slice(&fs_err::read(path)?)
        .with_context(|| format!("{} is no results.json", path.display()))?;
    ensure!(results.schema == 1, "{} has schema {}, expected 1", path.display(), results.schema);
    Ok(results)
}

/// A page with its table. The overview has every arm, another page the arms of its method beside `erm` and `scgs`.
fn page(path: &Path, old: &str, results: &Results) -> anyhow::Result<String> {
    let name = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
    let table = match name {
        "README" => {
            let mut names: Vec<&str> = Vec::new();
            for row in &results.rows {
                if !names.contains(&row.method.as_str()) {
                    names.push(&row.method);
                }
            }
            table(results, &names)
        }
        method => {
            let mut names = vec!["erm", method, "scgs"];
            let combined = format!("scgs+{method}");
            let oracles = [format!("oracle-{method}"), format!("scgs+oracle-{method}")];
            names.push(&combined);
            names.extend(oracles.iter().map(String::as_str));
            names.dedup();
            table(results, &names)
        }
    };
    let Some((head, rest)) = old.split_once(BEGIN) else {
        bail!("{}: the comment {BEGIN} is missing", path.display());
    };
    let Some((_, tail)) = rest.split_once(END) else {
        bail!("{}: the comment {END} is missing", path.display());
    };
    Ok(format!("{head}{BEGIN}\n{table}{END}{tail}"))
}

fn table(results: &Results, names: &[&str]) -> String {
    let mut seeds: Vec<u64> = results.rows.iter().map(|r| r.seed).collect();
    seeds.sort_unstable();
    seeds.dedup();
    let of = |name: &str| -> BTreeMap<u64, &Row> {
        results.rows.iter().filter(|r| r.method == name).map(|r| (r.seed, r)).collect()
    };
    let erm = of("erm");
    let list = seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    let mut out = format!(
        "Test split, mean ± sample standard deviation over {} seeds ({list}); the last column is the difference in the worst group\n\
         from `erm` with the same seed. Made by `{COMMAND}`, written by `cargo xtask method-pages`.\n\n\
         | arm | worst group | plain average | against erm |\n| --- | --- | --- | --- |\n",
        seeds.len()
    );
    for name in names {
        let rows = of(name);
        let Some(first) = rows.values().next() else { continue };
        let oracle = if first.sees_groups.training || first.sees_groups.selection { " [oracle]" } else { "" };
        let worst: Vec<f64> = rows.values().map(|r| r.worst_group).collect();
        let plain: Vec<f64> = rows.values().map(|r| r.plain).collect();
        let pairs = rows.iter().filter_map(|(seed, r)| Some(r.worst_group - erm.get(seed)?.worst_group));
        let difference: Vec<f64> = pairs.collect();
        let against = if *name == "erm" { "-".to_owned() } else { spread(&difference, true) };
        out.push_str(&format!(
            "| {name}{oracle} | {} | {} | {against} |\n",
            spread(&worst, false),
            spread(&plain, false)
        ));
    }
    out
}

/// `0.812 ± 0.013`, without the deviation for one value.
fn spread(values: &[f64], signed: bool) -> String {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let mean_text = if signed { format!("{mean:+.3}") } else { format!("{mean:.3}") };
    if values.len() < 2 {
        return mean_text;
    }
    let sd = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
    format!("{mean_text} ± {sd:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(method: &str, seed: u64, worst: f64, oracle: bool) -> Row {
        Row {
            method: method.into(),
            seed,
            groups: vec![Group { label: 0, attribute: 0, n: 10, correct: 9 }],
            plain: 0.9,
            worst_group: worst,
            sees_groups: SeesGroups { training: oracle, selection: false },
        }
    }

    fn results() -> Results {
        let mut rows = Vec::new();
        for seed in [0, 1] {
            let shift = 0.02 * seed as f64;
            rows.push(row("erm", seed, 0.7 + shift, false));
            rows.push(row("jtt", seed, 0.8 - shift, false));
            rows.push(row("scgs+jtt", seed, 0.85, false));
            rows.push(row("groupdro", seed, 0.9, true));
        }
        Results { schema: 1, dataset: "habitat".into(), rows }
    }

    #[test]
    fn a_page_shows_its_method_beside_erm_and_keeps_the_rest() {
        let old = "# jtt\n\ntext\n\n<!-- results -->\nold\n<!-- /results -->\nafter\n";
        let new = page(Path::new("docs/methods/jtt.md"), old, &results()).unwrap();
        assert!(new.starts_with("# jtt\n\ntext\n\n<!-- results -->\n") && new.ends_with("<!-- /results -->\nafter\n"));
        assert!(new.contains("over 2 seeds (0, 1)"), "{new}");
        let lines: Vec<&str> = new.lines().filter(|l| l.starts_with("| ")).collect();
        assert_eq!(
            lines[2..],
            [
                "| erm | 0.710 ± 0.014 | 0.900 ± 0.000 | - |",
                "| jtt | 0.790 ± 0.014 | 0.900 ± 0.000 | +0.080 ± 0.028 |",
                "| scgs+jtt | 0.850 ± 0.000 | 0.900 ± 0.000 | +0.140 ± 0.014 |",
            ]
        );
        assert_eq!(page(Path::new("jtt.md"), &new, &results()).unwrap(), new, "a second time changes nothing");
    }

    #[test]
    fn the_overview_shows_every_arm_and_marks_oracles() {
        let new = page(Path::new("README.md"), "<!-- results --><!-- /results -->", &results()).unwrap();
        assert_eq!(new.lines().filter(|l| l.starts_with("| ")).count(), 2 + 4);
        assert!(new.contains("| groupdro [oracle] | 0.900 ± 0.000 |"), "{new}");
    }

    #[test]
    fn a_page_without_its_comments_is_named() {
        let error = page(Path::new("docs/methods/afr.md"), "# afr\n", &results()).unwrap_err().to_string();
        assert!(error.contains("afr.md") && error.contains(BEGIN), "{error}");
    }
}

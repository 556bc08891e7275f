//! A memory budget: less ahead and together, the same files; and a run that cannot stay within it does not begin.

#![expect(clippy::unwrap_used, reason = "a failed test panics")]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use scgs_tests::{finish, hashes, scgs, tiny_run};

/// Enough to paint a few pictures of 48 x 48 together; see `scgs_debias::memory`.
const TIGHT: &str = "200MB";

/// What a run leaves for the next one: numbers, pictures, weights, features.
fn products(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut files = hashes(&folder.join("runs")).unwrap();
    files.retain(|path, _| {
        let ending = path.extension().map(|e| e.to_string_lossy().into_owned()).unwrap_or_default();
        matches!(ending.as_str(), "safetensors" | "png" | "csv") || path.ends_with("results.json")
    });
    files
}

#[test]
fn a_run_within_a_budget_leaves_the_same_files() {
    let methods = ["--methods", "erm,jtt,scgs"];
    let [free, tight] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    finish(&mut scgs(free.path(), &tiny_run(&methods))).expect(0, &["5-synthesis"]);
    let words = tiny_run(&[methods[0], methods[1], "--max-memory", TIGHT]);
    finish(&mut scgs(tight.path(), &words)).expect(0, &["5-synthesis"]);
    let (free, tight) = (products(free.path()), products(tight.path()));
    assert!(free.len() > 100, "{} files", free.len());
    assert_eq!(free, tight);
}

#[test]
fn what_cannot_fit_is_refused_before_anything_begins() {
    let dir = tempfile::tempdir().unwrap();
    let words = tiny_run(&["--methods", "erm", "--max-memory", "100MB"]);
    finish(&mut scgs(dir.path(), &words)).expect(2, &["needs about", "--max-memory is 100 MB: raise it, or"]);
    let stages = hashes(&dir.path().join("runs")).unwrap();
    assert!(!stages.keys().any(|path| path.to_string_lossy().contains("1-erm")), "{stages:?}");
    let full = ["--methods", "erm", "--set", "train.mode=full", "--set", "train.batch=512", "--max-memory", "1GB"];
    finish(&mut scgs(dir.path(), &tiny_run(&full)))
        .expect(2, &["a training batch of 512 pictures", "train.accumulate", "train.checkpointing"]);
    finish(&mut scgs(dir.path(), &tiny_run(&["--max-memory", "4"]))).expect(2, &["such as 4GiB"]);
}

#[test]
fn the_plan_says_what_a_budget_allows() {
    let dir = tempfile::tempdir().unwrap();
    let said = finish(&mut scgs(dir.path(), &tiny_run(&["--methods", "erm,scgs", "--max-memory", TIGHT, "--dry-run"])));
    said.expect(0, &[]);
    assert!(said.stdout.contains("with --max-memory") && said.stdout.contains("200 MB"), "{}", said.stdout);
    let words = tiny_run(&["--methods", "erm,scgs", "--max-memory", TIGHT, "--dry-run", "--json"]);
    let json = finish(&mut scgs(dir.path(), &words));
    let report: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    let of = |key: &str| report["memory"][key].as_f64().unwrap();
    assert_eq!(of("budget_bytes"), 200e6);
    assert!(of("peak_bytes") <= 200e6 && (1.0..32.0).contains(&of("painted")), "{}", report["memory"]);
}

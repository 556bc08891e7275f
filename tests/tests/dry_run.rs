//! `scgs run --dry-run`: the plan, its estimates, and what is missing.

#![expect(clippy::unwrap_used, reason = "a failed test panics")]

use std::path::Path;

use scgs_tests::{Said, finish, scgs, tiny_run};
use serde_json::Value;

fn said(folder: &Path, words: &[&str]) -> Said {
    finish(&mut scgs(folder, words))
}

/// A plan as JSON; nothing is written.
fn plan(folder: &Path, code: i32, words: &[&str]) -> Value {
    let said = said(folder, &[words, &["--dry-run", "--json"]].concat());
    said.expect(code, &[]);
    assert!(!folder.join("runs").exists(), "a plan writes nothing");
    serde_json::from_str(&said.stdout).unwrap()
}

/// The row of a stage.
fn row<'a>(plan: &'a Value, stage: &str) -> &'a Value {
    let rows = plan["rows"].as_array().unwrap();
    let found = rows.iter().find(|row| row["stage"] == stage);
    assert!(found.is_some(), "no {stage} in {rows:?}");
    found.unwrap()
}

#[test]
fn without_the_data_the_plan_is_made_from_the_published_counts_and_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    for (dataset, sizes, steps) in [
        ("waterbirds", [4795, 1199, 5794], "22500 steps of 64 pictures"),
        ("celeba", [162_770, 19_867, 19_962], "63600 steps of 128 pictures"),
        ("metashift", [1123, 81, 460], "7100 steps of 16 pictures"),
    ] {
        let mut words = vec!["run", "--dataset", dataset, "--profile", "paper", "--methods", "erm,scgs,scgs+jtt"];
        // A smaller network and input than the profile's: the calibration computes with them.
        words.extend(["--set", "backbone.input_size=32", "--set", "backbone.architecture=resnet18"]);
        let plan = plan(dir.path(), 2, &words);
        for (split, n) in ["train", "val", "test"].iter().zip(sizes) {
            assert_eq!(plan["sizes"][*split], n);
        }
        assert_eq!(plan["sizes_from"], "publication");
        assert!(row(&plan, "1-erm")["what"].as_str().unwrap().starts_with(steps), "{}", row(&plan, "1-erm"));
        let stages: Vec<_> =
            plan["rows"].as_array().unwrap().iter().map(|row| row["stage"].as_str().unwrap()).collect();
        let expected = [
            "0-pictures",
            "1-erm",
            "2-errors",
            "3-clusters",
            "4-masks",
            "5-synthesis",
            "6-erm",
            "6-scgs",
            "6-scgs+jtt",
        ];
        assert_eq!(stages, expected);
        for row in plan["rows"].as_array().unwrap() {
            assert!(row["seconds"].as_f64().unwrap() >= 0.0 && row["bytes"].as_f64().unwrap() >= 0.0, "{row}");
        }
        let sum: f64 = plan["rows"].as_array().unwrap().iter().map(|row| row["seconds"].as_f64().unwrap()).sum();
        assert!((plan["seconds"].as_f64().unwrap() - sum).abs() < 1e-6 * sum && sum > 0.0);
        let missing: Vec<_> = plan["missing"].as_array().unwrap().iter().map(ToString::to_string).collect();
        assert!(missing.len() >= 2, "{missing:?}");
        assert!(missing[0].contains(&format!("cargo xtask download {dataset}`")), "{}", missing[0]);
        assert!(missing[1].contains("cargo xtask download weights-resnet50`"), "{}", missing[1]);
    }
}

#[test]
fn a_run_that_lacks_something_says_all_of_it_and_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    said(dir.path(), &["run", "--dataset", "celeba", "--profile", "paper"]).expect(
        2,
        &["this run cannot start", "--data-dir DIR", "download celeba`", "kaggle", "download weights-resnet50`"],
    );
    said(dir.path(), &["run", "--dataset", "waterbirds", "--data-dir", "none"])
        .expect(2, &["the folder none of --data-dir"]);
    said(dir.path(), &["run", "--dataset", "waterbirds", "--data-dir", ".", "--methods", "erm,oracle-balanced"])
        .expect(2, &["`oracle-balanced` is not possible here"]);
    assert!(!dir.path().join("runs").exists());
}

#[test]
fn with_everything_there_the_plan_ends_well_and_reads_as_a_table() {
    let dir = tempfile::tempdir().unwrap();
    let words = tiny_run(&["--methods", "erm,duplicate,scgs", "--seeds", "3"]);
    let plan = plan(dir.path(), 0, &words);
    assert_eq!(plan["missing"], serde_json::json!([]));
    assert_eq!((&plan["sizes"]["train"], &plan["sizes_from"]), (&160.into(), &"settings".into()));
    // Three seeds cost three times one.
    let one: f64 = plan["rows"].as_array().unwrap().iter().map(|row| row["bytes"].as_f64().unwrap()).sum();
    assert!((plan["bytes"].as_f64().unwrap() - 3.0 * one).abs() < 1.0);
    if cfg!(target_os = "linux") {
        assert!(plan["peak_bytes"].as_f64().unwrap() > 1e7, "{}", plan["peak_bytes"]);
    }
    let text = said(dir.path(), &[&words[..], &["--dry-run"]].concat());
    text.expect(0, &[]);
    for part in [
        "plan for habitat",
        "160 train, 16 val, 40 test",
        "3-clusters",
        "4-objects",
        "peak memory",
        // Not at the size of the photos: how long a mask takes depends on it.
        "photos of Habitat at 48 x 48",
        "[backbone]",
    ] {
        assert!(text.stdout.contains(part), "{part} in\n{}", text.stdout);
    }
    assert!(!text.stdout.contains("missing:"), "{}", text.stdout);
}

#[test]
fn the_data_folder_is_counted_where_it_is_there() {
    let dir = tempfile::tempdir().unwrap();
    said(dir.path(), &["fixtures", "metashift", "--out", "data"]).expect(0, &[]);
    let words =
        ["run", "--dataset", "metashift", "--data-dir", "data", "--methods", "erm", "--set", "backbone.input_size=32"];
    let plan = plan(dir.path(), 0, &[&words[..], &["--accept-counts"]].concat());
    assert_eq!((&plan["sizes"]["train"], &plan["sizes_from"]), (&16.into(), &"data folder".into()));
    // Other counts than the published ones are an error here too.
    said(dir.path(), &[&words[..], &["--dry-run"]].concat()).expect(2, &["differ from the published ones"]);
}

#[test]
fn the_cache_changes_no_byte_of_a_run() {
    let dir = tempfile::tempdir().unwrap();
    let compose =
        "compose --out data --set habitat.size=48 --set habitat.train=160 --set habitat.val=16 --set habitat.test=40";
    said(dir.path(), &compose.split(' ').collect::<Vec<_>>()).expect(0, &[]);
    let run = |runs: &str, more: &[&str]| {
        let words = tiny_run(&["--methods", "erm", "--data-dir", "data", "--runs", runs]);
        said(dir.path(), &[&words[..], more].concat()).expect(0, &["1-erm"]);
        let mut files = scgs_tests::hashes(&dir.path().join(runs)).unwrap();
        // What it cost and how it was called differ by nature; the page shows both.
        files.retain(|path, _| {
            !path.ends_with("history.json") && !path.ends_with("run.json") && !path.ends_with("index.html")
        });
        files
    };
    let packs = || {
        let folder = dir.path().join("cache/habitat");
        let of = |name: &str| fs_err::metadata(folder.join(name)).unwrap().modified().unwrap();
        [of("1-erm-64.pack"), of("6-test-64.pack")]
    };
    let plain = run("plain", &[]);
    assert_eq!(plain, run("first", &["--cache", "cache"]));
    let built = packs();
    assert_eq!(plain, run("second", &["--cache", "cache"]));
    assert_eq!(packs(), built, "the second run takes what the first has built");
    assert_eq!(fs_err::read_dir(dir.path().join("cache/habitat")).unwrap().count(), 2);
}

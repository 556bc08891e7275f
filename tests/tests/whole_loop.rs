//! The loop from end to end on tiny pictures: what it computes, and that it computes the same thing every time.

#![expect(clippy::unwrap_used, reason = "a failed test panics")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use scgs_tests::{documented, finish, hashes, scgs, tiny_run};
use serde_json::Value;

/// Everything a run leaves that must not depend on anything but settings and seed.
fn products(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut files = hashes(&folder.join("runs")).unwrap();
    // The markers repeat the folder's name; how long a stage took differs, and the page shows it.
    let apart = ["done", "history.json", "run.json", "index.html"];
    files.retain(|path, _| path.file_name().is_some_and(|n| apart.iter().all(|a| n != *a)));
    files
}

fn results(folder: &Path) -> Value {
    let files = hashes(&folder.join("runs/habitat")).unwrap();
    let path = files.keys().filter(|p| p.ends_with("results.json")).min_by_key(|p| p.components().count()).unwrap();
    serde_json::from_slice(&fs_err::read(folder.join("runs/habitat").join(path)).unwrap()).unwrap()
}

#[test]
fn every_arm_is_there_and_every_average_follows_from_the_counts() {
    let dir = tempfile::tempdir().unwrap();
    let said = finish(&mut scgs(dir.path(), &tiny_run(&["--json"])));
    said.expect(0, &["1-erm", "2-errors", "3-clusters", "4-masks", "5-synthesis", "6-scgs+jtt"]);
    let printed: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(printed, results(dir.path()), "standard output is the file");
    let rows = printed["rows"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|r| r["method"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "erm",
            "duplicate",
            "scgs-random-mask",
            "scgs-context-only",
            "scgs",
            "jtt",
            "scgs+jtt",
            "oracle-reweight",
            "oracle-balanced"
        ]
    );
    for row in rows {
        let groups = row["groups"].as_array().unwrap();
        let count = |g: &Value, key: &str| g[key].as_f64().unwrap();
        assert_eq!(groups.iter().map(|g| count(g, "n")).collect::<Vec<_>>(), [10.0; 4]);
        let accuracy: Vec<f64> = groups.iter().map(|g| count(g, "correct") / count(g, "n")).collect();
        let worst = accuracy.iter().copied().fold(1.0, f64::min);
        assert_eq!(row["worst_group"].as_f64().unwrap(), worst);
        let plain = groups.iter().map(|g| count(g, "correct")).sum::<f64>() / 40.0;
        assert_eq!(row["plain"].as_f64().unwrap(), plain);
        // 160 training pictures, half a class each, 95 % on its own background: 76 + 4 + 4 + 76.
        let weighted = (76.0 * accuracy[0] + 4.0 * accuracy[1] + 4.0 * accuracy[2] + 76.0 * accuracy[3]) / 160.0;
        assert!((row["train_weighted"].as_f64().unwrap() - weighted).abs() < 1e-12);
        let oracle = row["method"].as_str().unwrap().starts_with("oracle-");
        assert_eq!(row["sees_groups"]["training"], oracle);
    }
    the_table_has_the_numbers_of(&printed, dir.path());
    every_file_is_as_documented(dir.path());
    examples_are_drawn(dir.path());
}

/// `scgs report --examples`: three rows of four tiles, as PNG or JPEG.
fn examples_are_drawn(folder: &Path) {
    let run = run_folder(folder);
    let run = run.to_str().unwrap();
    for name in ["chain.png", "chain.jpg"] {
        finish(&mut scgs(folder, &["report", run, "--examples", name])).expect(0, &[]);
        let picture = image::open(folder.join(name)).unwrap();
        assert_eq!((picture.width(), picture.height()), (4 * 131 + 3, 3 * 131 + 3), "{name}");
    }
    finish(&mut scgs(folder, &["report", run, "--examples", "chain.gif"]))
        .expect(2, &["chain.gif: expected a name ending"]);
}

/// `runs/habitat/<hash>` of the one run in a folder.
fn run_folder(folder: &Path) -> PathBuf {
    let runs = folder.join("runs/habitat");
    let files = hashes(&runs).unwrap();
    let config = files.keys().find(|p| p.ends_with("seed-0/config.toml")).unwrap();
    runs.join(config).parent().and_then(Path::parent).unwrap().to_owned()
}

/// `results.csv` against `results.json`.
fn the_table_has_the_numbers_of(results: &Value, folder: &Path) {
    let table = find_csv(folder, "results.csv");
    let mut lines = table.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let header = lines.next().unwrap();
    let at = |name: &str| header.iter().position(|column| *column == name).unwrap();
    let lines: Vec<_> = lines.collect();
    assert!(lines.iter().all(|line| line.len() == header.len() && line[at("schema")] == "1"));
    for row in results["rows"].as_array().unwrap() {
        let of = |measure: &str, group: &str, column: &str| -> f64 {
            let mut found = lines.iter().filter(|line| {
                line[at("method")] == row["method"].as_str().unwrap()
                    && line[at("split")] == "test"
                    && line[at("measure")] == measure
                    && line[at("group")] == group
            });
            let line = found.next();
            assert!(line.is_some() && found.next().is_none(), "one line for {measure} {group}");
            line.unwrap()[at(column)].parse().unwrap()
        };
        for measure in ["plain", "train_weighted", "group_mean", "worst_group"] {
            assert_eq!(of(measure, "", "value"), row[measure].as_f64().unwrap(), "{measure}");
        }
        assert_eq!(of("auroc", "", "value"), row["measures"]["auroc"].as_f64().unwrap());
        let birds_on_land = &row["groups"][2];
        assert_eq!(of("accuracy", "bird on land", "correct"), birds_on_land["correct"].as_f64().unwrap());
    }
}

/// docs/reference/files.md against the run: a name that is only in one of them fails.
fn every_file_is_as_documented(folder: &Path) {
    // What a finished run of one seed without a price, unreadable pictures and methods with a state cannot show.
    let absent = [
        "seed-*/0-pictures/unreadable.csv",
        "seed-*/owners/*.json",
        "comparisons[].interval[]",
        "comparisons[].sd",
        "state_*",
        "state[]",
        "cost",
    ];
    let entries = documented::entries(&scgs_tests::root().join("docs/reference/files.md")).unwrap();
    let runs = folder.join("runs/habitat");
    let mut unseen: BTreeSet<(String, String)> =
        entries.iter().flat_map(|e| e.names.iter().map(|n| (e.pattern.clone(), n.clone()))).collect();
    unseen
        .retain(|(pattern, name)| !name.starts_with("under_way.") && !absent.iter().any(|a| a == pattern || a == name));
    for path in hashes(&runs).unwrap().into_keys() {
        let text = path.to_string_lossy().replace('\\', "/");
        // The composed pictures and the list of shared stages are no part of a run's folder.
        let Some((hash, inner)) = text.split_once('/').filter(|(hash, _)| !["data", "stages"].contains(hash)) else {
            continue;
        };
        let kind = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        if !["csv", "json", "jsonl"].contains(&kind) {
            continue;
        }
        // Every seed has its own files of results, which lack the comparison of seeds.
        let name = if inner.ends_with("/results.csv") || inner.ends_with("/results.json") {
            inner.rsplit('/').next().unwrap()
        } else {
            inner
        };
        let entry = entries.iter().find(|e| documented::matches(&e.pattern, name));
        assert!(entry.is_some(), "{inner} is not in docs/reference/files.md");
        let entry = entry.unwrap();
        let found = documented::names(&runs.join(hash).join(inner)).unwrap();
        if kind == "csv" && found != [""] {
            let fixed: Vec<_> = entry.names.iter().filter(|n| !n.contains('*')).collect();
            assert_eq!(found.iter().take(fixed.len()).collect::<Vec<_>>(), fixed, "{inner}");
        }
        for name in found.iter().filter(|name| !name.is_empty()) {
            let documented = entry.names.iter().find(|n| documented::matches(n, name));
            assert!(documented.is_some(), "{inner}: `{name}` is not documented");
            unseen.remove(&(entry.pattern.clone(), documented.unwrap().clone()));
        }
    }
    assert!(unseen.is_empty(), "documented, but not in a run: {unseen:?}");
}

#[test]
fn the_same_seed_gives_the_same_bytes_on_any_number_of_threads() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let words = tiny_run(&["--quiet"]);
    finish(&mut scgs(a.path(), &words)).expect(0, &[]);
    finish(scgs(b.path(), &words).env("RAYON_NUM_THREADS", "1")).expect(0, &[]);
    let (a, b) = (products(a.path()), products(b.path()));
    let differing: Vec<_> = a.iter().filter(|(path, hash)| b.get(*path) != Some(hash)).map(|(p, _)| p).collect();
    assert!(differing.is_empty() && a.len() == b.len(), "{differing:?}");
}

#[test]
fn a_second_call_computes_nothing_and_another_method_reuses_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    finish(&mut scgs(dir.path(), &tiny_run(&["--methods", "erm,duplicate"]))).expect(0, &[]);
    let costs =
        hashes(&dir.path().join("runs/habitat")).unwrap().into_keys().find(|p| p.ends_with("run.json")).unwrap();
    let costs = fs_err::read(dir.path().join("runs/habitat").join(costs)).unwrap();
    let costs: Value = serde_json::from_slice(&costs).unwrap();
    assert_eq!(costs["stages"]["1-erm"]["finished"], true);
    assert_eq!(costs["stages"]["1-erm"]["items"], 176, "features of both splits");
    assert!(costs["seconds"].as_f64().unwrap() > 0.0 && costs["under_way"].is_null(), "{costs}");
    let before = products(dir.path());
    let again = finish(&mut scgs(dir.path(), &tiny_run(&["--methods", "erm,duplicate"])));
    again.expect(0, &[]);
    for line in again.stderr.lines().filter(|l| l.starts_with("  ")) {
        assert!(line.contains("kept"), "{line}");
    }
    assert_eq!(before, products(dir.path()));
    let more = finish(&mut scgs(dir.path(), &tiny_run(&["--methods", "jtt"])));
    more.expect(0, &[]);
    let kept = |stage: &str| more.stderr.lines().any(|l| l.contains(stage) && l.contains("kept"));
    assert!(kept("1-erm") && kept("2-errors") && !kept("6-jtt"), "{}", more.stderr);
    assert_eq!(results(dir.path())["rows"].as_array().unwrap().len(), 3, "earlier rows stay");
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_a_run_that_goes_on_to_the_same_result() {
    let (whole, cut) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let words = tiny_run(&[]);
    finish(&mut scgs(whole.path(), &words)).expect(0, &[]);
    let mut interrupted = 0;
    for wait in [150, 700, 1500] {
        let child = scgs(cut.path(), &words).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(wait));
        let kill = format!("kill -INT {}", child.id());
        std::process::Command::new("sh").args(["-c", &kill]).status().unwrap();
        let said = scgs_tests::Said::from(child.wait_with_output().unwrap());
        match said.code {
            Some(130) => {
                interrupted += 1;
                said.expect(130, &["interrupted during", "the same command goes on from here"]);
            }
            // Early: the handler was not yet installed. Late: it had finished.
            None | Some(0) => {}
            other => panic!("exit code {other:?}: {}", said.stderr),
        }
    }
    assert!(interrupted > 0, "no attempt was interrupted in the middle");
    finish(&mut scgs(cut.path(), &words)).expect(0, &[]);
    assert_eq!(products(whole.path()), products(cut.path()));
}

#[test]
fn the_saved_classifier_gives_the_reported_counts() {
    let dir = tempfile::tempdir().unwrap();
    finish(&mut scgs(dir.path(), &tiny_run(&["--methods", "erm,scgs"]))).expect(0, &[]);
    let files = hashes(&dir.path().join("runs")).unwrap();
    let find = |end: &str| files.keys().find(|p| p.ends_with(end)).unwrap();
    let model = dir.path().join("runs").join(find("6-scgs/model.safetensors"));
    let data = dir.path().join("runs").join(find("biased/metadata.csv"));
    let words = [
        "eval",
        "--dataset",
        "habitat",
        "--json",
        "--arch",
        "efficientnet-lite0",
        "--set",
        "backbone.input_size=64",
        "--weights",
        model.to_str().unwrap(),
        "--data-dir",
        data.parent().unwrap().to_str().unwrap(),
    ];
    let said = finish(&mut scgs(dir.path(), &words));
    said.expect(0, &[]);
    let evaluated: Value = serde_json::from_str(&said.stdout).unwrap();
    let rows = results(dir.path());
    let row = rows["rows"].as_array().unwrap().iter().find(|r| r["method"] == "scgs").unwrap().clone();
    assert_eq!(evaluated["groups"], row["groups"]);
}

#[test]
fn every_layer_can_be_trained_and_resnet_starts_from_scratch() {
    let dir = tempfile::tempdir().unwrap();
    let settings = [
        "backbone.architecture=resnet18",
        "backbone.weights=none",
        "backbone.input_size=32",
        "train.mode=full",
        "train.epochs=1",
        "habitat.train=80",
        "habitat.val=8",
        "habitat.test=8",
        "identify.c=1e-6",
    ];
    let mut more = vec!["--methods", "erm,jtt"];
    settings.iter().for_each(|s| more.extend(["--set", s]));
    finish(&mut scgs(dir.path(), &tiny_run(&more))).expect(0, &["every layer trained", "6-jtt"]);
}

#[test]
fn masks_of_ones_own_are_used_and_missing_ones_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let words = [
        "compose",
        "--out",
        "data",
        "--set",
        "habitat.size=48",
        "--set",
        "habitat.train=160",
        "--set",
        "habitat.val=16",
        "--set",
        "habitat.test=16",
    ];
    finish(&mut scgs(dir.path(), &words)).expect(0, &[]);
    // The object masks of the data set, less one.
    let masks: Vec<PathBuf> = hashes(&dir.path().join("data/masks")).unwrap().into_keys().collect();
    let run = |more: &[&str]| {
        let mut all = vec!["--data-dir", "data", "--methods", "scgs", "--set", "mask.folder=data/masks"];
        all.extend(more);
        finish(&mut scgs(dir.path(), &tiny_run(&all)))
    };
    run(&[]).expect(0, &["masks, 0 skipped"]);
    let kept = find_csv(dir.path(), "4-masks/masks.csv");
    let first = kept.lines().nth(1).unwrap().split(',').next().unwrap().to_owned();
    assert!(masks.contains(&PathBuf::from(format!("{first}.png"))));
    fs_err::remove_file(dir.path().join(format!("data/masks/{first}.png"))).unwrap();
    // A finished stage is not computed twice: start afresh.
    fs_err::rename(dir.path().join("runs"), dir.path().join("before")).unwrap();
    run(&[]).expect(0, &["masks, 1 skipped"]);
}

/// The text of the one file below `runs` whose path ends so.
fn find_csv(folder: &Path, end: &str) -> String {
    let runs = folder.join("runs");
    let path = hashes(&runs).unwrap().into_keys().find(|p| p.ends_with(end)).unwrap();
    fs_err::read_to_string(runs.join(path)).unwrap()
}

#[test]
fn the_report_passes_over_the_folder_of_an_interrupted_seed() {
    let dir = tempfile::tempdir().unwrap();
    finish(&mut scgs(dir.path(), &tiny_run(&["--methods", "erm", "--seed", "1"]))).expect(0, &[]);
    let runs = dir.path().join("runs/habitat");
    let files = hashes(&runs).unwrap();
    let config = files.keys().find(|p| p.ends_with("seed-1/config.toml")).unwrap();
    let run = runs.join(config).parent().and_then(Path::parent).unwrap().to_owned();
    fs_err::create_dir(run.join("seed-0")).unwrap();
    for folder in [run.clone(), run.join("seed-1")] {
        finish(&mut scgs(dir.path(), &["report", folder.to_str().unwrap()])).expect(0, &[]);
    }
}

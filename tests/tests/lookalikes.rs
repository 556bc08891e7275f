//! The whole loop on look-alikes of the published data sets: their readers, their groups, their kinds of pictures.

#![expect(clippy::unwrap_used, reason = "a failed test panics")]

use std::path::Path;

use scgs_tests::{Said, finish, hashes, scgs};
use serde_json::Value;

fn said(folder: &Path, words: &[&str]) -> Said {
    finish(&mut scgs(folder, words))
}

/// A look-alike in `data` below `folder`; its number of pictures.
fn made(folder: &Path, dataset: &str, scale: &str) -> u64 {
    let made = said(folder, &["fixtures", dataset, "--scale", scale, "--out", "data", "--json"]);
    made.expect(0, &[]);
    serde_json::from_str::<Value>(&made.stdout).unwrap()["pictures"].as_u64().unwrap()
}

/// A run on the look-alike, with a small input; the printed results.
fn loop_on(folder: &Path, dataset: &str, methods: &str, more: &[&str]) -> (Said, Value) {
    let backgrounds = scgs_tests::root().join("datasets/habitat/bg/land");
    let mut words = vec!["run", "--dataset", dataset, "--data-dir", "data", "--accept-counts", "--json"];
    words.extend(["--methods", methods, "--backgrounds", backgrounds.to_str().unwrap()]);
    words.extend(["--set", "backbone.input_size=64", "--set", "synthesis.share=0.2"]);
    // Of so few pictures a converged head gets every one of the larger class right.
    words.extend(["--set", "identify.rule=early-epoch"]);
    words.extend(more);
    let said = said(folder, &words);
    said.expect(0, &["5-synthesis", "6-scgs"]);
    let results = serde_json::from_str(&said.stdout).unwrap();
    (said, results)
}

/// `(label, attribute, n)` of the groups of every row; all rows have the same.
fn groups(results: &Value) -> Vec<(u64, u64, u64)> {
    let of = |row: &Value| -> Vec<(u64, u64, u64)> {
        let number = |g: &Value, key: &str| g[key].as_u64().unwrap();
        let groups = row["groups"].as_array().unwrap();
        groups.iter().map(|g| (number(g, "label"), number(g, "attribute"), number(g, "n"))).collect()
    };
    let rows = results["rows"].as_array().unwrap();
    assert!(rows.iter().all(|row| of(row) == of(&rows[0])));
    of(&rows[0])
}

#[test]
fn waterbirds_from_the_look_alike_to_the_table() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(made(dir.path(), "waterbirds", "0.01"), 130);
    // `core` leaves out what only a composed data set has.
    let (_, results) = loop_on(dir.path(), "waterbirds", "core", &[]);
    assert_eq!(groups(&results), [(0, 0, 23), (0, 1, 23), (1, 0, 6), (1, 1, 6)]);
    let row = &results["rows"][0];
    let accuracy = |g: usize| row["groups"][g]["correct"].as_f64().unwrap() / row["groups"][g]["n"].as_f64().unwrap();
    let weighted = (35.0 * accuracy(0) + 4.0 * accuracy(1) + 4.0 * accuracy(2) + 11.0 * accuracy(3)) / 54.0;
    assert!((row["train_weighted"].as_f64().unwrap() - weighted).abs() < 1e-12);
}

#[test]
fn celeba_from_the_look_alike_to_the_table() {
    let dir = tempfile::tempdir().unwrap();
    made(dir.path(), "celeba", "0.001");
    let plain = ["--set", "mask.region={ rule = \"otsu\" }"];
    let (_, results) = loop_on(dir.path(), "celeba", "erm,scgs,scgs+groupdro", &plain);
    assert_eq!(groups(&results), [(0, 0, 10), (0, 1, 8), (1, 0, 4), (1, 1, 4)]);
    assert_eq!(results["classes"], serde_json::json!(["not blond", "blond"]));
}

#[test]
fn metashift_is_judged_by_the_groups_that_its_test_split_has() {
    let dir = tempfile::tempdir().unwrap();
    made(dir.path(), "metashift", "0.05");
    let (said, results) = loop_on(dir.path(), "metashift", "erm,groupdro,scgs,scgs+jtt", &[]);
    // Cats and dogs on shelves; training groups are of other contexts, so no average can be weighted by their shares.
    let found = groups(&results);
    assert_eq!(found.iter().map(|g| (g.0, g.1)).collect::<Vec<_>>(), [(0, 2), (1, 2)]);
    for row in results["rows"].as_array().unwrap() {
        assert!(row.get("train_weighted").is_none(), "{row}");
        let accuracy = |g: usize| row["groups"][g]["correct"].as_f64().unwrap() / found[g].2 as f64;
        assert_eq!(row["worst_group"].as_f64().unwrap(), accuracy(0).min(accuracy(1)));
    }
    assert!(said.stderr.contains("6-groupdro"), "{}", said.stderr);
    // A group that is meant to be there and is not stays an error.
    for entry in fs_err::read_dir(dir.path().join("data/test/dog/dog(shelf)")).unwrap() {
        fs_err::remove_file(entry.unwrap().path()).unwrap();
    }
    let words = ["run", "--dataset", "metashift", "--data-dir", "data", "--accept-counts", "--methods", "erm"];
    finish(&mut scgs(dir.path(), &words)).expect(2, &["group dog x shelf has no picture in the val split"]);
}

#[test]
fn every_layer_of_a_small_network_is_trained_on_a_look_alike() {
    let dir = tempfile::tempdir().unwrap();
    made(dir.path(), "waterbirds", "0.005");
    let tiny = ["--profile", "tiny", "--set", "train.mode=full", "--set", "train.epochs=1", "--set", "train.batch=16"];
    // The last map of so small an input is a single cell.
    let more = [&tiny[..], &["--set", "attention.layers=[\"layer2\"]"]].concat();
    let (said, _) = loop_on(dir.path(), "waterbirds", "erm,scgs", &more);
    assert!(said.stderr.contains("every layer trained"), "{}", said.stderr);
}

#[test]
fn corrupted_pictures_are_listed_and_left_out_only_on_request() {
    let dir = tempfile::tempdir().unwrap();
    let total = made(dir.path(), "celeba", "0.002") as usize;
    let pictures = dir.path().join("data/img_align_celeba");
    let mut names: Vec<_> = hashes(&pictures).unwrap().into_keys().collect();
    names.sort();
    // One in a hundred: cut short, emptied, no picture at all, or with a damaged header.
    let bad: Vec<_> = names.iter().step_by(100).collect();
    assert!(bad.len() * 100 >= total && bad.len() >= 4, "{} of {total}", bad.len());
    for (at, name) in bad.iter().enumerate() {
        let path = pictures.join(name);
        let mut bytes = fs_err::read(&path).unwrap();
        match at % 4 {
            0 => bytes.truncate(bytes.len() / 2),
            1 => bytes.clear(),
            2 => bytes = b"<!DOCTYPE html><p>not found".to_vec(),
            _ => bytes[2..200].fill(0),
        }
        fs_err::write(path, bytes).unwrap();
    }
    let mut words = vec!["run", "--dataset", "celeba", "--data-dir", "data", "--accept-counts", "--methods", "erm"];
    words.extend(["--set", "backbone.input_size=32"]);
    let refused = said(dir.path(), &words);
    refused.expect(2, &["picture(s) cannot be used, data.max_bad_pictures is 0", "truncated", "the file is empty"]);
    for name in &bad {
        assert!(
            refused.stderr.contains(&name.display().to_string()),
            "{} is missing:\n{}",
            name.display(),
            refused.stderr
        );
    }
    let allowed = format!("data.max_bad_pictures={}", bad.len());
    words.extend(["--set", &allowed]);
    said(dir.path(), &words).expect(0, &[&format!("{total} pictures, {} unreadable", bad.len())]);
    let list = hashes(&dir.path().join("runs")).unwrap();
    let list: Vec<_> = list.keys().filter(|path| path.ends_with("0-pictures/unreadable.csv")).collect();
    let text = fs_err::read_to_string(dir.path().join("runs").join(list.last().unwrap())).unwrap();
    assert_eq!(text.lines().count(), bad.len() + 1);
}

#[test]
fn what_is_no_look_alike_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    said(dir.path(), &["fixtures", "habitat", "--out", "data"]).expect(2, &["habitat has no published counts"]);
    said(dir.path(), &["fixtures", "imagenet", "--out", "data"]).expect(2, &["imagenet.toml"]);
    said(dir.path(), &["fixtures", "celeba", "--scale", "2", "--out", "data"]).expect(2, &["scale is 2"]);
    assert!(!dir.path().join("data").exists());
    // Without --accept-counts a look-alike is refused with the published numbers beside its own.
    made(dir.path(), "waterbirds", "0.005");
    said(dir.path(), &["run", "--dataset", "waterbirds", "--data-dir", "data", "--methods", "erm"])
        .expect(2, &["differ from the published ones", "published", "3498", "--accept-counts"]);
}

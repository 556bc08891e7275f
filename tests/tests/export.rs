//! `scgs export`: other programs read what it writes. The contracts of group_DRO's and SubpopBench's loaders are stated here
//! as in tests/fixtures/export/check_loaders.py, which tests them with pandas and Pillow.

#![expect(clippy::unwrap_used, reason = "a failed test panics")]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use scgs_tests::{Said, finish, hashes, scgs};
use serde_json::Value;

fn said(folder: &Path, words: &[&str]) -> Said {
    finish(&mut scgs(folder, words))
}

/// A finished run of SCGS on a look-alike of Waterbirds; the folder of its seed.
fn run(folder: &Path) -> PathBuf {
    said(folder, &["fixtures", "waterbirds", "--scale", "0.005", "--out", "data"]).expect(0, &[]);
    let backgrounds = scgs_tests::root().join("datasets/habitat/bg/land");
    let mut words = vec!["run", "--dataset", "waterbirds", "--data-dir", "data", "--accept-counts"];
    words.extend(["--methods", "erm,scgs", "--backgrounds", backgrounds.to_str().unwrap(), "--set"]);
    words.extend(["backbone.input_size=64", "--set", "synthesis.duplicates=0.5", "--set", "identify.rule=early-epoch"]);
    said(folder, &words).expect(0, &[]);
    let runs = folder.join("runs/waterbirds");
    let config = hashes(&runs).unwrap().into_keys().find(|path| path.ends_with("config.toml")).unwrap();
    runs.join(config.parent().unwrap())
}

/// Rows of a CSV file without quoted fields, by column.
fn table(path: &Path) -> Vec<BTreeMap<String, String>> {
    let text = fs_err::read_to_string(path).unwrap();
    let mut lines = text.lines().map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
    let header = lines.next().unwrap();
    lines.map(|fields| header.iter().cloned().zip(fields).collect()).collect()
}

/// Group sizes per split as group_DRO counts them: group = 2 * y + place.
fn group_dro(rows: &[BTreeMap<String, String>]) -> [[usize; 4]; 3] {
    let mut sizes = [[0; 4]; 3];
    for row in rows {
        let number = |column: &str| row[column].parse::<usize>().unwrap();
        sizes[number("split")][2 * number("y") + number("place")] += 1;
    }
    sizes
}

/// As SubpopBench counts them: attributes are those that occur in the split, group = number of them * y + a.
fn subpopbench(rows: &[BTreeMap<String, String>]) -> [Vec<usize>; 3] {
    [0, 1, 2].map(|split: usize| {
        let part: Vec<_> = rows.iter().filter(|row| row["split"] == split.to_string()).collect();
        let distinct =
            |column: &str| part.iter().map(|row| &row[column]).collect::<std::collections::BTreeSet<_>>().len();
        let attributes = distinct("place");
        let mut sizes = vec![0; attributes * distinct("y")];
        for row in part {
            sizes[attributes * row["y"].parse::<usize>().unwrap() + row["place"].parse::<usize>().unwrap()] += 1;
        }
        sizes
    })
}

#[test]
fn the_loaders_of_the_field_read_what_is_exported() {
    let dir = tempfile::tempdir().unwrap();
    let seed = run(dir.path());
    let exported = said(dir.path(), &["export", seed.to_str().unwrap(), "--out", "out", "--json"]);
    exported.expect(0, &[]);
    let counts: Value = serde_json::from_str(&exported.stdout).unwrap();
    let waterbirds = dir.path().join("out/waterbirds");
    let rows = table(&waterbirds.join("metadata.csv"));
    let header = fs_err::read_to_string(waterbirds.join("metadata.csv")).unwrap().lines().next().unwrap().to_owned();
    assert!(header.starts_with("img_id,img_filename,y,split,place,place_filename,origin,"), "{header}");

    let new: Vec<_> = rows.iter().filter(|row| row["origin"] == "synthetic").collect();
    assert!(new.len() >= 4 && new.iter().all(|row| row["split"] == "0" && row["place_of"] == "source"));
    assert_eq!(
        (counts["new"].as_u64(), counts["real"].as_u64()),
        (Some(new.len() as u64), Some((rows.len() - new.len()) as u64))
    );
    // Half of what the arm adds are repeats of mistakes, which are no pictures of their own.
    let repeated: usize = rows.iter().map(|row| row["repeats"].parse::<usize>().unwrap() - 1).sum();
    assert_eq!(repeated, new.len());
    let ids: std::collections::BTreeSet<_> = rows.iter().map(|row| &row["img_id"]).collect();
    assert_eq!(ids.len(), rows.len());
    for row in &rows {
        let picture = fs_err::read(waterbirds.join(&row["img_filename"])).unwrap();
        assert!(image::load_from_memory(&picture).is_ok(), "{}", row["img_filename"]);
    }
    let sizes = group_dro(&rows);
    assert_eq!(sizes[1..], [[4, 4, 4, 4], [11, 11, 4, 4]]);
    assert_eq!(subpopbench(&rows), sizes.map(|split| split.to_vec()));

    // The image folder and its lines.
    for (split, code) in [("train", "0"), ("val", "1"), ("test", "2")] {
        let root = dir.path().join("out/images").join(split);
        let text = fs_err::read_to_string(root.join("metadata.jsonl")).unwrap();
        let mut named: Vec<PathBuf> = Vec::new();
        for line in text.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            named.push(line["file_name"].as_str().unwrap().into());
        }
        named.sort();
        let mut there: Vec<PathBuf> = hashes(&root).unwrap().into_keys().collect();
        there.retain(|path| path != Path::new("metadata.jsonl"));
        assert_eq!(named, there);
        assert_eq!(named.len(), rows.iter().filter(|row| row["split"] == code).count());
    }

    // What is exported is a data set for the next run.
    let words =
        ["run", "--dataset", "waterbirds", "--data-dir", "out/waterbirds", "--accept-counts", "--methods", "erm"];
    said(dir.path(), &[&words[..], &["--set", "backbone.input_size=32"]].concat()).expect(0, &["0 unreadable"]);
}

#[test]
fn what_cannot_be_exported_is_named_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let seed = run(dir.path());
    let parent = seed.parent().unwrap().to_str().unwrap();
    let export = |words: &[&str]| said(dir.path(), &[&["export"], words, &["--out", "out"]].concat());
    export(&["nowhere"]).expect(2, &["nowhere is no folder"]);
    export(&["data"]).expect(2, &["data holds no run"]);
    export(&[parent, "--pictures", "erm"]).expect(2, &["no new pictures"]);
    export(&[parent, "--pictures", "scgs-random-mask"]).expect(2, &["no finished pictures of `scgs-random-mask`"]);
    // Another data folder, or one that has changed, is not what the run saw.
    fs_err::rename(dir.path().join("data"), dir.path().join("moved")).unwrap();
    export(&[parent]).expect(2, &["name another place with --data-dir"]);
    let metadata = dir.path().join("moved/metadata.csv");
    let text = fs_err::read_to_string(&metadata).unwrap();
    fs_err::write(&metadata, text.lines().take(text.lines().count() - 1).collect::<Vec<_>>().join("\n")).unwrap();
    export(&[parent, "--data-dir", "moved"]).expect(2, &["does not hold the pictures that the run has seen"]);
    assert!(!dir.path().join("out").exists());
    fs_err::write(&metadata, text).unwrap();
    export(&[parent, "--data-dir", "moved"]).expect(0, &[]);
    export(&[parent, "--data-dir", "moved"]).expect(2, &["out: is not empty"]);
}

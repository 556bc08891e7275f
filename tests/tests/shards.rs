//! New pictures painted in parts: any number of parts gives the same bytes, and nothing wrong gets past the check.

#![expect(clippy::unwrap_used, reason = "a failed test panics")]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use scgs_tests::{finish, hashes, scgs, tiny_run};

const METHODS: [&str; 2] = ["--methods", "erm,scgs,scgs-random-mask"];

/// The words of `scgs synthesize` for the tiny run.
fn synthesize(shard: &str) -> Vec<&str> {
    let mut words = tiny_run(&METHODS);
    words[0] = "synthesize";
    words.extend(["--shard", shard]);
    words
}

fn copy(from: &Path, to: &Path) {
    fs_err::create_dir_all(to).unwrap();
    for entry in fs_err::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs_err::copy(&path, &target).unwrap();
        }
    }
}

/// A run up to its masks, and the folder of its seed, relative.
fn masked() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let said = finish(&mut scgs(dir.path(), &tiny_run(&[METHODS[0], METHODS[1], "--until", "masks"])));
    said.expect(0, &["4-masks-random-mask"]);
    assert!(!said.stderr.contains("5-synthesis"), "{}", said.stderr);
    let seed = PathBuf::from(said.stdout.trim());
    assert!(dir.path().join(&seed).join("4-masks/done").is_file());
    (dir, seed)
}

/// Everything of the new pictures and the results; markers name folders.
fn products(folder: &Path, seed: &Path) -> BTreeMap<PathBuf, String> {
    let mut files = hashes(&folder.join(seed)).unwrap();
    files.retain(|path, _| {
        let stage = path.iter().next().unwrap().to_string_lossy().into_owned();
        (stage.starts_with("5-synthesis") || path.ends_with("results.json")) && !path.ends_with("done")
    });
    files
}

#[test]
fn any_number_of_shards_gives_the_same_pictures() {
    let (base, seed) = masked();
    let early = tempfile::tempdir().unwrap();
    finish(&mut scgs(early.path(), &synthesize("1/2"))).expect(2, &["needs 4-masks", "--until masks"]);
    let whole = tempfile::tempdir().unwrap();
    copy(base.path(), whole.path());
    finish(&mut scgs(whole.path(), &tiny_run(&METHODS))).expect(0, &["5-synthesis"]);
    let wanted = products(whole.path(), &seed);
    assert!(wanted.len() > 80, "pictures of two arms: {}", wanted.len());
    for parts in [1, 2, 5] {
        let dir = tempfile::tempdir().unwrap();
        copy(base.path(), dir.path());
        let shards: Vec<String> = (1..=parts).map(|i| format!("{i}/{parts}")).collect();
        // In any order, two at once.
        for pair in shards.iter().rev().collect::<Vec<_>>().chunks(2) {
            let children: Vec<_> =
                pair.iter().map(|shard| scgs(dir.path(), &synthesize(shard)).spawn().unwrap()).collect();
            for child in children {
                assert!(child.wait_with_output().unwrap().status.success());
            }
        }
        let merge = finish(&mut scgs(dir.path(), &["merge", &seed.display().to_string()]));
        merge.expect(0, &["5-synthesis", "5-synthesis-random-mask"]);
        let rest = finish(&mut scgs(dir.path(), &tiny_run(&METHODS)));
        rest.expect(0, &[]);
        let kept = rest.stderr.lines().filter(|line| line.contains("5-synthesis") && line.contains("kept")).count();
        assert_eq!(kept, 2, "nothing is painted again:\n{}", rest.stderr);
        assert_eq!(products(dir.path(), &seed), wanted, "{parts} shards");
    }
}

#[test]
fn what_is_missing_torn_or_double_is_named_and_painted_again() {
    let (dir, seed) = masked();
    let run_dir = seed.display().to_string();
    finish(&mut scgs(dir.path(), &synthesize("1/2"))).expect(0, &["shard 1-of-2: 20 of 40"]);
    let half = finish(&mut scgs(dir.path(), &["merge", &run_dir]));
    half.expect(1, &["40 picture(s)", "is missing: no shard has painted it"]);
    finish(&mut scgs(dir.path(), &synthesize("2/2"))).expect(0, &["shard 2-of-2"]);

    let images = dir.path().join(&seed).join("5-synthesis/images");
    let mut files: Vec<PathBuf> = fs_err::read_dir(&images).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let whole: Vec<Vec<u8>> = files.iter().map(|path| fs_err::read(path).unwrap()).collect();
    let name = |i: usize| files[i].file_name().unwrap().to_string_lossy().into_owned();
    fs_err::remove_file(&files[0]).unwrap();
    fs_err::write(&files[1], &whole[1][..whole[1].len() / 2]).unwrap();
    fs_err::write(&files[2], &whole[3]).unwrap();
    fs_err::write(images.join("99999-0.png"), &whole[4]).unwrap();
    let said = finish(&mut scgs(dir.path(), &["merge", &run_dir]));
    said.expect(
        1,
        &[
            "4 picture(s) are not as the shards should have left them",
            &format!("{} is missing: paint shard", name(0)),
            &format!("{} is corrupt", name(1)),
            &format!("{} is a duplicate of images/{}", name(2), name(3)),
            "images/99999-0.png is no picture of this run",
            "hint:",
        ],
    );
    assert!(!dir.path().join(&seed).join("5-synthesis/done").exists(), "nothing may use them");
    // `scgs run` does not use them either.
    finish(&mut scgs(dir.path(), &tiny_run(&METHODS))).expect(2, &["paint shard", "`scgs merge` lists"]);

    fs_err::remove_file(images.join("99999-0.png")).unwrap();
    for shard in ["1/2", "2/2"] {
        finish(&mut scgs(dir.path(), &synthesize(shard))).expect(0, &[]);
    }
    for (path, bytes) in files.iter().zip(&whole) {
        assert!(fs_err::read(path).unwrap() == *bytes, "{}", path.display());
    }
    finish(&mut scgs(dir.path(), &["merge", &run_dir])).expect(0, &[]);
    finish(&mut scgs(dir.path(), &["merge", &run_dir, "--json"])).expect(0, &[]);
}

#[test]
fn a_launcher_of_this_machine_runs_the_parts_to_the_same_results() {
    let (plain, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    finish(&mut scgs(plain.path(), &tiny_run(&METHODS))).expect(0, &[]);
    let launch = ["--launcher", "local", "--shards", "3", "--devices", "flex,flex"];
    let words = tiny_run(&[&METHODS[..], &launch].concat());
    let plan = finish(&mut scgs(parts.path(), &[&words[..], &["--dry-run"]].concat()));
    plan.expect(0, &[]);
    let lines: Vec<&str> = plan.stdout.lines().collect();
    assert_eq!(lines.iter().filter(|line| line.contains(" synthesize ")).count(), 3, "{}", plan.stdout);
    assert!(!parts.path().join("runs").exists(), "a plan starts nothing");
    finish(&mut scgs(parts.path(), &words)).expect(0, &["shard 3/3 done"]);
    assert!(parts.path().join("launch/logs/seed-0-shard-2-of-3.log").is_file());
    let results = |folder: &Path| {
        let mut files = hashes(&folder.join("runs")).unwrap();
        files.retain(|path, _| path.ends_with("results.json") || path.extension().is_some_and(|e| e == "png"));
        files
    };
    assert_eq!(results(plain.path()), results(parts.path()));
}

#[test]
fn a_step_that_devices_share_gives_the_run_of_one_device() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let full = [
        "habitat.train=48",
        "backbone.input_size=32",
        "train.mode=full",
        "train.epochs=2",
        "train.batch=8",
        "train.accumulate=2",
    ];
    let full: Vec<&str> = full.iter().flat_map(|&set| ["--set", set]).collect();
    let words = tiny_run(&[&["--methods", "erm,jtt"], &full[..]].concat());
    finish(&mut scgs(one.path(), &words)).expect(0, &[]);
    finish(&mut scgs(two.path(), &[&words[..], &["--data-parallel", "flex"]].concat())).expect(0, &[]);
    let files = |folder: &Path| {
        let mut files = hashes(&folder.join("runs")).unwrap();
        // What it cost and how it was called.
        files.retain(|path, _| !["run.json", "history.json", "index.html"].iter().any(|name| path.ends_with(name)));
        files
    };
    assert_eq!(files(one.path()), files(two.path()));
}

#[test]
fn devices_that_have_nothing_to_do_in_a_step_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |more: &[&str], why: &str| {
        finish(&mut scgs(dir.path(), &tiny_run(&[more, &["--data-parallel", "flex,flex"]].concat()))).expect(2, &[why]);
    };
    refused(&[], "set train.mode=full");
    refused(&["--set", "train.mode=full"], "train.accumulate is 1");
    let enough = ["--set", "train.mode=full", "--set", "train.accumulate=3"];
    refused(&[&enough[..], &["--device", "wgpu"]].concat(), "another kind of device than --device wgpu");
    let train = "train --dataset habitat --method erm --arch resnet18 --weights none --out o --data-parallel flex";
    let words: Vec<&str> = train.split(' ').collect();
    finish(&mut scgs(dir.path(), &words)).expect(2, &["set train.mode=full"]);
    assert!(!dir.path().join("runs").exists() && !dir.path().join("o").exists());
}

//! Two processes and one run's folder: who may write, and what becomes of the lock of a process that was killed.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a failed test panics")]

use std::{
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use scgs_tests::{Said, finish, hashes, scgs, tiny_run};

/// Starts a command and waits until a file with this name appears below the runs.
fn started_until(folder: &Path, words: &[&str], file: &str) -> Child {
    let child = scgs(folder, words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while find(folder, file).is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(120), "no {file}");
        std::thread::sleep(Duration::from_millis(2));
    }
    child
}

/// The files with this end of their path below the runs.
fn find(folder: &Path, end: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = walk(&folder.join("runs")).into_iter().filter(|path| path.ends_with(end)).collect();
    found.sort();
    found
}

/// Files come and go while a run is under way.
fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = fs_err::read_dir(folder).into_iter().flatten().flatten();
    entries.flat_map(|entry| if entry.path().is_dir() { walk(&entry.path()) } else { vec![entry.path()] }).collect()
}

#[test]
fn a_second_process_is_told_who_writes_and_a_killed_one_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let words = tiny_run(&["--methods", "erm"]);
    let mut first = started_until(dir.path(), &words, "owners/run.json");
    let second = finish(&mut scgs(dir.path(), &words));
    let process = format!("is being written by process {} on ", first.id());
    second.expect(2, &[&process, "last sign of life", "wait for it", "hint:", "folders of their own"]);
    // Another seed has a folder of its own.
    finish(&mut scgs(dir.path(), &tiny_run(&["--methods", "erm", "--seed", "1"]))).expect(0, &["1-erm"]);
    first.kill().unwrap();
    let gone = first.id();
    first.wait().unwrap();
    let third = finish(&mut scgs(dir.path(), &words));
    if third.stderr.contains("taken over") {
        third.expect(0, &[&format!("taken over from process {gone} on")]);
    } else {
        // It may have been faster than the other seed.
        third.expect(0, &["kept"]);
    }
    assert!(find(dir.path(), "owners/run.json").is_empty(), "a run that ended leaves no owner");
    let results = find(dir.path(), "results.json");
    assert_eq!(results.len(), 3, "two seeds and both: {results:?}");
}

#[test]
fn two_configurations_at_once_share_what_they_agree_in() {
    let (alone, together) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let words = |upweight: &'static str| tiny_run(&["--methods", "erm,jtt,scgs", "--set", upweight]);
    let both = [words("jtt.upweight=3"), words("jtt.upweight=4")];
    for words in &both {
        finish(&mut scgs(alone.path(), words)).expect(0, &[]);
    }
    let start =
        |words: &Vec<&str>| scgs(together.path(), words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let children: Vec<Child> = both.iter().map(start).collect();
    let said: Vec<Said> = children.into_iter().map(|child| child.wait_with_output().unwrap().into()).collect();
    said.iter().for_each(|said| said.expect(0, &["1-erm", "5-synthesis", "6-jtt"]));
    for stage in ["1-erm", "2-errors", "4-masks", "5-synthesis", "6-test"] {
        let kept = said.iter().filter(|s| s.stderr.lines().any(|l| l.contains(stage) && l.contains("kept"))).count();
        assert_eq!(kept, 1, "{stage} is computed once:\n{}\n{}", said[0].stderr, said[1].stderr);
    }
    let products = |folder: &Path| {
        let mut files = hashes(&folder.join("runs")).unwrap();
        files.retain(|path, _| path.ends_with("results.json") || path.extension().is_some_and(|e| e == "safetensors"));
        files
    };
    assert_eq!(products(alone.path()), products(together.path()));
}

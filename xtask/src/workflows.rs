//! The workflows of continuous integration: they parse, pin what they use, and call what there is.

use std::path::{Path, PathBuf};

use clap::Parser;
use yaml_rust2::{Yaml, YamlLoader};

use crate::{Command, features};

/// What steps may run besides `cargo xtask`.
const OTHERS: [&str; 4] = [
    ".ci/run",
    "cargo build --release --workspace --bins --examples",
    "sh tests/remote/loopback.sh",
    "sudo sh tests/slurm/single-node.sh",
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../.github/workflows")
}

/// Every step of every job, with the values that its matrix takes.
fn steps(workflow: &Yaml) -> Vec<(&Yaml, Vec<String>)> {
    let mut all = Vec::new();
    for job in workflow["jobs"].as_hash().expect("a workflow has jobs").values() {
        assert!(job["timeout-minutes"].as_i64().is_some(), "a job without a bound: {job:?}");
        let sets = job["strategy"]["matrix"]["set"].as_vec();
        let sets: Vec<String> =
            sets.into_iter().flatten().map(|set| set.as_str().expect("a set is text").to_owned()).collect();
        all.extend(job["steps"].as_vec().expect("a job has steps").iter().map(|step| (step, sets.clone())));
    }
    all
}

/// What is wrong with a line that a step runs.
fn problem(line: &str) -> Option<String> {
    if OTHERS.iter().any(|other| line.starts_with(other)) {
        return None;
    }
    let Some(rest) = line.strip_prefix("cargo xtask ") else {
        return Some(format!("`{line}` is logic of its own: steps call cargo xtask"));
    };
    let words: Vec<&str> = rest.split_whitespace().collect();
    if let Err(error) = Command::try_parse_from([&["cargo xtask"], &words[..]].concat()) {
        return Some(format!("`{line}`: {error}"));
    }
    let named = words.iter().zip(words.iter().skip(1)).filter(|(option, _)| ["--features", "--set"].contains(*option));
    for (_, names) in named {
        for name in names.split(',') {
            if name != "flex" && !features::OPTIONAL.contains(&name) {
                return Some(format!("`{line}`: there is no feature {name}"));
            }
        }
    }
    None
}

#[test]
fn every_step_calls_something_that_there_is() {
    let mut lines = 0;
    for entry in fs_err::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let text = fs_err::read_to_string(&path).unwrap();
        let workflows = YamlLoader::load_from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for (step, sets) in steps(&workflows[0]) {
            if let Some(used) = step["uses"].as_str() {
                let version = used.split_once("@v").map_or("", |(_, version)| version);
                assert_eq!(version.split('.').count(), 3, "{}: {used} names no whole version", path.display());
                continue;
            }
            let line = step["run"].as_str().expect("a step uses or runs something");
            let variants: Vec<String> = match line.contains("${{ matrix.set }}") {
                true => sets.iter().map(|set| line.replace("${{ matrix.set }}", set)).collect(),
                false => vec![line.to_owned()],
            };
            assert!(!variants.is_empty(), "{}: no values for `{line}`", path.display());
            for variant in variants {
                lines += 1;
                assert_eq!(problem(&variant), None, "{}", path.display());
            }
        }
    }
    assert!(lines >= 10, "only {lines} steps were found");
}

#[test]
fn what_there_is_not_is_found() {
    assert_eq!(problem("cargo xtask setup tch"), None);
    for line in ["cargo xtask setup cuda", "cargo xtask fly", "cargo xtask bench --features gpu", "pip install torch"] {
        assert!(problem(line).is_some(), "{line}");
    }
}

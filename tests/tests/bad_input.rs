//! Everything a person can get wrong: a message that names it, exit code 2, nothing half-written.

#![expect(clippy::unwrap_used, reason = "a failed test panics")]

use std::path::{Path, PathBuf};

use scgs_tests::{Said, finish, scgs, tiny_run};
use tempfile::TempDir;

fn said(folder: &Path, words: &[&str]) -> Said {
    finish(&mut scgs(folder, words))
}

/// A composed data set to damage.
fn composed() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
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
    said(dir.path(), &words).expect(0, &[]);
    (dir, data)
}

/// Runs the loop on a composed data set whose `metadata.csv` was changed by `edit`.
fn with_metadata(edit: impl Fn(&str) -> String) -> Said {
    let (dir, data) = composed();
    let path = data.join("metadata.csv");
    let text = fs_err::read_to_string(&path).unwrap();
    let edited = edit(&text);
    assert_ne!(text, edited, "the edit changes the file");
    fs_err::write(&path, edited).unwrap();
    said(dir.path(), &tiny_run(&["--data-dir", "data"]))
}

/// The `n`th line (1 = header) with one field replaced.
fn replace_field(text: &str, n: usize, field: usize, value: &str) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut fields: Vec<&str> = lines[n - 1].split(',').collect();
    fields[field] = value;
    lines[n - 1] = fields.join(",");
    lines.join("\n") + "\n"
}

#[test]
fn unknown_keys_and_impossible_values() {
    let dir = tempfile::tempdir().unwrap();
    let run = |more: &[&str]| said(dir.path(), &tiny_run(more));
    run(&["--set", "identify.fold=3"]).expect(2, &["--set identify.fold=3", "unknown field `fold`", "`folds`"]);
    run(&["--set", "identify.folds=1", "--set", "train.c=-1", "--set", "synthesis.share=0"]).expect(
        2,
        &[
            "3 setting(s) cannot be used",
            "identify.folds is 1, expected 2 to 20",
            "train.c is -1",
            "synthesis.share is 0",
        ],
    );
    run(&["--set", "habitat.train=-5"]).expect(2, &["--set habitat.train=-5"]);
    run(&["--set", "habitat.correlation=1.5"]).expect(2, &["correlation"]);
    run(&["--set", "nonsense"]).expect(2, &["expected section.key=value"]);
    fs_err::write(dir.path().join("c.toml"), "dataset = \"habitat\"\n[mask]\nruel = 1\n").unwrap();
    said(dir.path(), &["run", "--config", "c.toml"]).expect(2, &["c.toml", "unknown field `ruel`"]);
    run(&["--methods", "erm,scsg"]).expect(2, &["unknown method `scsg`", "oracle-balanced"]);
    run(&["--profile", "fast"]).expect(2, &["no profile `fast`", "quick"]);
    assert!(!dir.path().join("runs").exists(), "nothing was written");
}

#[test]
fn devices_datasets_and_folders_that_are_not_there() {
    let dir = tempfile::tempdir().unwrap();
    said(dir.path(), &tiny_run(&["--device", "cuda:0"])).expect(2, &["not compiled in", "--features cuda"]);
    said(dir.path(), &tiny_run(&["--device", "gpu"])).expect(2, &["unknown device `gpu`", "flex"]);
    said(dir.path(), &["run", "--dataset", "waterbird"]).expect(2, &["unknown data set `waterbird`", "waterbirds"]);
    said(dir.path(), &["run", "--dataset", "waterbirds"]).expect(2, &["--data-dir"]);
    said(dir.path(), &tiny_run(&["--data-dir", "nowhere"])).expect(2, &["nowhere"]);
    said(dir.path(), &["report", "."]).expect(2, &["holds no finished run"]);
    said(dir.path(), &tiny_run(&["--set", "backbone.weights=none.pth"])).expect(2, &["none.pth does not exist"]);
    said(dir.path(), &["run"]).expect(2, &["--dataset NAME"]);
}

#[test]
fn metadata_errors_name_the_line_or_the_column() {
    with_metadata(|t| t.replacen("split", "spilt", 1)).expect(2, &["metadata.csv", "`split`", "spilt"]);
    with_metadata(|t| replace_field(t, 3, 3, "7")).expect(2, &["line 3", "split", "7"]);
    with_metadata(|t| replace_field(t, 4, 2, "2")).expect(2, &["line 4", "y", "2"]);
    with_metadata(|t| replace_field(t, 5, 0, t.lines().nth(1).unwrap().split(',').next().unwrap()))
        .expect(2, &["line 5", "img_id", "already in line 2"]);
    with_metadata(|t| replace_field(t, 6, 1, "../outside.png")).expect(2, &["line 6", "../outside.png"]);
    with_metadata(|t| replace_field(t, 7, 1, "train/missing.png")).expect(2, &["train/missing.png"]);
}

#[test]
fn an_empty_group_is_named() {
    let without_birds_on_land = |text: &str| {
        let keep = |l: &&str| {
            let f: Vec<&str> = l.split(',').collect();
            !(f[2] == "1" && f[3] == "2" && f[4] == "0")
        };
        text.lines().filter(keep).collect::<Vec<_>>().join("\n") + "\n"
    };
    with_metadata(without_birds_on_land).expect(2, &["bird", "land", "test"]);
}

#[test]
fn an_unreadable_picture_is_named_and_may_be_left_out_on_request() {
    let (dir, data) = composed();
    let metadata = fs_err::read_to_string(data.join("metadata.csv")).unwrap();
    let victim = metadata.lines().nth(2).unwrap().split(',').nth(1).unwrap().to_owned();
    let bytes = fs_err::read(data.join(&victim)).unwrap();
    fs_err::write(data.join(&victim), &bytes[..bytes.len() / 2]).unwrap();
    said(dir.path(), &tiny_run(&["--data-dir", "data", "--methods", "erm"]))
        .expect(2, &["1 picture(s) cannot be used", &victim, "data.max_bad_pictures"]);
    let allowed = ["--data-dir", "data", "--methods", "erm", "--set", "data.max_bad_pictures=1"];
    said(dir.path(), &tiny_run(&allowed)).expect(0, &["1 unreadable"]);
}

#[test]
fn an_empty_error_set_says_which_settings_change_it() {
    let dir = tempfile::tempdir().unwrap();
    let settings = ["identify.rule=early-epoch", "identify.epoch=100", "identify.learning_rate=0.01"];
    let mut more = vec!["--methods", "erm,scgs"];
    settings.iter().for_each(|s| more.extend(["--set", s]));
    said(dir.path(), &tiny_run(&more)).expect(2, &["the error set has 0 pictures", "identify.epoch (lower)"]);
}

#[cfg(unix)]
#[test]
fn a_full_disk_leaves_nothing_half_written_and_the_next_run_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let words = tiny_run(&["--methods", "erm"]);
    let quoted: Vec<String> = words.iter().map(|w| format!("'{w}'")).collect();
    // A limit on the size of one file stands in for a full disk: writing beyond it fails in the same place.
    let script = format!("trap '' XFSZ; ulimit -f 2000; exec {} {}", scgs_tests::binary().display(), quoted.join(" "));
    let mut shell = std::process::Command::new("sh");
    shell.current_dir(dir.path()).env("SCGS_DATASETS", scgs_tests::root().join("datasets")).args(["-c", &script]);
    finish(&mut shell).expect(2, &["1-erm", "disk space"]);
    let files = scgs_tests::hashes(&dir.path().join("runs")).unwrap();
    let partial: Vec<_> =
        files.keys().filter(|p| p.ends_with("model.safetensors") || p.to_string_lossy().contains(".tmp")).collect();
    assert!(partial.is_empty(), "{partial:?}");
    let again = said(dir.path(), &words);
    again.expect(0, &["kept"]);
}

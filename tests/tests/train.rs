//! `scgs train` and `scgs sweep` as a person calls them.

#![expect(clippy::unwrap_used, reason = "a failed test panics")]

use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use scgs_tests::{Said, TINY, finish, hashes, root, scgs, tiny_run};
use serde_json::Value;
use tempfile::TempDir;

fn said(folder: &Path, words: &[&str]) -> Said {
    finish(&mut scgs(folder, words))
}

/// A folder with a composed data set `data` of small pictures.
fn composed() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let sets = ["habitat.size=48", "habitat.train=160", "habitat.val=16", "habitat.test=40"];
    let words = ["compose", "--out", "data"].into_iter().chain(sets.iter().flat_map(|set| ["--set", *set]));
    said(dir.path(), &words.collect::<Vec<_>>()).expect(0, &[]);
    dir
}

/// Training of a whole small network for one epoch, before further words.
fn small<'a>(method: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut words = vec!["train", "--method", method, "--arch", "resnet18", "--weights", "none"];
    words.extend(["--dataset", "habitat", "--data-dir", "data", "--out", "out"]);
    for set in ["train.mode=full", "train.epochs=1", "train.batch=32", "backbone.input_size=32"] {
        words.extend(["--set", set]);
    }
    words.extend(more);
    words
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs_err::read(path).unwrap()).unwrap()
}

#[test]
fn a_method_is_trained_alone_and_leaves_a_classifier_others_can_read() {
    let dir = composed();
    let first = said(dir.path(), &small("groupdro", &["--json"]));
    first.expect(0, &["6-groupdro"]);
    let printed: Value = serde_json::from_str(&first.stdout).unwrap();
    let out = dir.path().join("out");

    let bytes = fs_err::read(out.join("model.safetensors")).unwrap();
    let names: Vec<String> = SafeTensors::deserialize(&bytes).unwrap().names().iter().map(|n| n.to_string()).collect();
    for name in ["conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "layer4.1.bn2.bias", "fc.weight"] {
        assert!(names.iter().any(|n| n == name), "torchvision's {name} is not among {names:?}");
    }

    let log = fs_err::read_to_string(out.join("metrics.jsonl")).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 1, "one epoch");
    assert_eq!(lines[0]["step"], 5, "160 pictures in batches of 32");
    let weights: Vec<f64> = lines[0]["state"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    assert!(weights.len() == 4 && (weights.iter().sum::<f64>() - 1.0).abs() < 1e-9, "a weight per group: {weights:?}");
    assert_eq!(fs_err::read_to_string(out.join("metrics.csv")).unwrap().lines().count(), 2);
    assert!(out.join("events.out.tfevents.scgs").is_file());

    let groups = &json(&out.join("groups.json"))["groups"];
    assert_eq!(*groups, printed["groups"]);
    assert_eq!(printed["sees_groups"]["training"], true);
    let evaluated = said(
        dir.path(),
        &[
            "eval",
            "--dataset",
            "habitat",
            "--data-dir",
            "data",
            "--json",
            "--arch",
            "resnet18",
            "--weights",
            "out/model.safetensors",
            "--set",
            "backbone.input_size=32",
        ],
    );
    evaluated.expect(0, &[]);
    let evaluated: Value = serde_json::from_str(&evaluated.stdout).unwrap();
    assert_eq!(evaluated["groups"], *groups, "the saved classifier is the reported one");

    let stages: Vec<PathBuf> = hashes(&dir.path().join("runs")).unwrap().into_keys().collect();
    assert!(!stages.iter().any(|p| p.to_string_lossy().contains("1-erm")), "GroupDRO needs no first classifier");

    let before = hashes(&out).unwrap();
    let again = said(dir.path(), &small("groupdro", &[]));
    again.expect(0, &["kept"]);
    assert!(again.stdout.contains("[oracle: told group labels]") && again.stdout.contains("worst group"));
    assert_eq!(before, hashes(&out).unwrap());

    // The folder is not given to another checkpoint, and other methods do not start from it.
    said(dir.path(), &small("subg", &[])).expect(2, &["another checkpoint", "method groupdro instead of subg"]);
    said(dir.path(), &small("groupdro", &["--seed", "1"])).expect(2, &["seed 0 instead of 1"]);
    let mut other = small("erm", &["--set", "backbone.weights=out/model.safetensors"]);
    other[12] = "elsewhere";
    assert_eq!(other[11], "--out");
    said(dir.path(), &other).expect(2, &["a checkpoint of method `groupdro`"]);
    other[4] = "resnet34";
    said(dir.path(), &other).expect(2, &["resnet34"]);
    assert!(!dir.path().join("elsewhere").exists());
}

#[test]
fn everything_wrong_is_said_at_once_before_data_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    fs_err::write(dir.path().join("file"), "").unwrap();
    let words = [
        "train",
        "--method",
        "gruopdro",
        "--arch",
        "resnet18",
        "--dataset",
        "waterbirds",
        "--data-dir",
        "nowhere",
        "--out",
        "file/out",
        "--device",
        "gpu",
        "--set",
        "train.epochs=0",
        "--set",
        "jtt.upweight=0",
        "--set",
        "groupdro.step=0",
        "--set",
        "train.learning_rate=-1",
    ];
    said(dir.path(), &words).expect(
        2,
        &[
            "4 things are wrong",
            "4 setting(s) cannot be used",
            "train.epochs is 0, expected 1 to 10000",
            "train.learning_rate is -1, expected a number above 0",
            "jtt.upweight is 0, expected 1 to 1000000",
            "groupdro.step is 0, expected a number above 0",
            "unknown method `gruopdro`",
            "unknown device `gpu`",
            "file is a file",
        ],
    );
    let words = ["train", "--method", "pretrain", "--arch", "resnet18", "--dataset", "waterbirds", "--out", "out"];
    let said_of = said(dir.path(), &words);
    said_of.expect(2, &["2 things are wrong", "`pretrain` is not possible", "no ImageNet weights of resnet18 ship"]);
    let mut freeze = words.to_vec();
    freeze[2] = "jtt";
    freeze.extend(["--weights", "none", "--set", "train.freeze=[\"layer9\"]"]);
    said(dir.path(), &freeze).expect(2, &["no layer layer9"]);
    assert!(!dir.path().join("runs").exists() && !dir.path().join("out").exists(), "nothing was written");
}

#[test]
fn starting_weights_of_another_architecture_or_with_nan_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let shipped = root().join("datasets/weights/efficientnet_lite0.safetensors");
    let bytes = fs_err::read(&shipped).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut changed: Vec<(String, Vec<usize>, Vec<u8>)> = file
        .tensors()
        .into_iter()
        .filter(|(_, t)| t.dtype() == Dtype::F32)
        .map(|(name, t)| (name, t.shape().to_vec(), t.data().to_vec()))
        .collect();
    let stem = changed.iter_mut().find(|(name, ..)| name.starts_with("_conv_stem")).unwrap();
    stem.2[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    let stem = stem.0.clone();
    let views =
        changed.iter().map(|(n, shape, data)| (n.as_str(), TensorView::new(Dtype::F32, shape.clone(), data).unwrap()));
    fs_err::write(dir.path().join("nan.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
    let words = |arch, weights| {
        ["train", "--method", "erm", "--arch", arch, "--weights", weights, "--dataset", "waterbirds", "--out", "out"]
    };
    said(dir.path(), &words("efficientnet-lite0", "nan.safetensors")).expect(2, &["nan.safetensors", &stem, "NaN"]);
    said(dir.path(), &words("resnet50", shipped.to_str().unwrap()))
        .expect(2, &["efficientnet_lite0.safetensors", "resnet50"]);
}

#[test]
fn methods_that_need_groups_refuse_data_without_them() {
    let dir = composed();
    // A group that has no training picture.
    let path = dir.path().join("data/metadata.csv");
    let text = fs_err::read_to_string(&path).unwrap();
    let keep = |line: &&str| {
        let f: Vec<&str> = line.split(',').collect();
        !(f[2] == "1" && f[3] == "0" && f[4] == "0")
    };
    fs_err::write(&path, text.lines().filter(keep).collect::<Vec<_>>().join("\n") + "\n").unwrap();
    said(dir.path(), &small("groupdro", &[])).expect(2, &["bird", "land", "train"]);

    // A data set whose definition has no attribute at all.
    let definitions = dir.path().join("definitions");
    fs_err::create_dir(&definitions).unwrap();
    let definition = "name = \"plain\"\ntitle = \"t\"\nsource = \"s\"\nlicence = \"l\"\nlayout = \"folder\"\n\
                      classes = [\"a\", \"b\"]\nattributes = [\"any\"]\n[prompts]\na = [\"a\"]\nb = [\"b\"]\n";
    fs_err::write(definitions.join("plain.toml"), definition).unwrap();
    let words = [
        "train",
        "--method",
        "groupdro",
        "--arch",
        "resnet18",
        "--weights",
        "none",
        "--dataset",
        "plain",
        "--datasets",
        "definitions",
        "--data-dir",
        "data",
        "--out",
        "out",
    ];
    said(dir.path(), &words).expect(2, &["`groupdro` needs group labels", "data set plain has no spurious attribute"]);
}

#[test]
fn a_loss_that_is_no_number_stops_with_step_rate_and_pictures() {
    let dir = composed();
    let words = small("cvar-dro", &["--set", "train.learning_rate=1e30", "--set", "train.schedule=constant"]);
    let stopped = said(dir.path(), &words);
    stopped.expect(
        2,
        &["at step", "learning rate 1000000000000000000000000000000", "pictures [\"", "lower train.learning_rate"],
    );
    assert!(!dir.path().join("out").exists());
}

/// `scgs sweep` on tiny pictures.
fn sweep<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let mut words = vec!["sweep", "--dataset", "habitat"];
    TINY.iter().for_each(|set| words.extend(["--set", *set]));
    words.extend(more);
    words
}

#[test]
fn a_search_shares_stages_goes_on_and_ranks_by_validation() {
    let dir = tempfile::tempdir().unwrap();
    let words = sweep(&["--methods", "erm,jtt", "--axis", "jtt.upweight=2,50", "--json"]);
    let first = said(dir.path(), &words);
    first.expect(0, &["point 1 of 2: jtt.upweight=2", "point 2 of 2: jtt.upweight=50"]);
    let second_point = first.stderr.split("point 2 of 2").nth(1).unwrap();
    for stage in ["0-pictures", "1-erm", "2-errors", "6-test"] {
        let line = second_point.lines().find(|l| l.contains(stage)).unwrap();
        assert!(line.contains("kept"), "shared with the first point: {line}");
    }
    assert!(second_point.lines().any(|l| l.contains("6-jtt") && !l.contains("kept")));

    let table: Value = serde_json::from_str(&first.stdout).unwrap();
    assert_eq!((&table["criterion"], &table["sees_groups"]), (&"worst-class".into(), &false.into()));
    let rows = table["rows"].as_array().unwrap();
    let method = |row: &Value| row["method"].as_str().unwrap().to_owned();
    assert_eq!(rows.iter().map(method).collect::<Vec<_>>(), ["erm", "erm", "jtt", "jtt"]);
    let score = |row: &Value| row["score"]["mean"].as_f64().unwrap();
    assert!(score(&rows[2]) >= score(&rows[3]));
    assert_eq!(rows.iter().map(|r| r["best"].as_bool().unwrap()).collect::<Vec<_>>(), [true, false, true, false]);

    // The best point is an ordinary run: asked for by name it is all there.
    let best = format!("jtt.upweight={}", rows[2]["point"][0][1].as_str().unwrap());
    let run = said(dir.path(), &tiny_run(&["--methods", "jtt", "--set", &best, "--json"]));
    run.expect(0, &[]);
    // A search measures nothing beside accuracy; a run does, after everything else.
    let stages = run.stderr.lines().filter(|l| l.starts_with("  ") && !l.contains("diagnostics"));
    assert!(stages.clone().count() > 4 && stages.clone().all(|l| l.contains("kept")), "{}", run.stderr);
    let results: Value = serde_json::from_str(&run.stdout).unwrap();
    let row = results["rows"].as_array().unwrap().iter().find(|r| r["method"] == "jtt").unwrap();
    assert_eq!(row["validation"]["worst_class"].as_f64().unwrap(), score(&rows[2]));
    assert_eq!(row["worst_group"], rows[2]["worst_group"]["mean"]);

    let again = said(dir.path(), &words);
    again.expect(0, &[]);
    assert_eq!(first.stdout, again.stdout);
    assert!(again.stderr.lines().filter(|l| l.starts_with("  ")).all(|l| l.contains("kept")), "{}", again.stderr);
    let files = hashes(&dir.path().join("runs/habitat/sweeps")).unwrap();
    assert!(files.keys().any(|p| p.ends_with("sweep.json")));

    let oracle = sweep(&["--methods", "jtt", "--axis", "jtt.upweight=2,50", "--by", "worst-group"]);
    let oracle = said(dir.path(), &oracle);
    oracle.expect(0, &[]);
    for part in ["worst-group [oracle]", "which looks at group labels", "jtt.upweight"] {
        assert!(oracle.stdout.contains(part), "{part} in {}", oracle.stdout);
    }
}

#[test]
fn impossible_points_are_refused_together() {
    let dir = tempfile::tempdir().unwrap();
    said(dir.path(), &sweep(&["--methods", "jtt", "--axis", "jtt.upweight=0,5", "--axis", "train.c=1,-1"]))
        .expect(2, &["things are wrong with the points", "jtt.upweight is 0", "train.c is -1"]);
    said(dir.path(), &sweep(&["--methods", "jtt", "--axis", "jtt.upwieght=1,5"]))
        .expect(2, &["unknown field `upwieght`"]);
    said(dir.path(), &sweep(&["--methods", "jtt", "--axis", "jtt.upweight=1..5"])).expect(2, &["--random N"]);
    let drawn = sweep(&["--methods", "jtt", "--axis", "jtt.upweight=log:1..100", "--random", "3", "--dry-run"]);
    let drawn = said(dir.path(), &drawn);
    drawn.expect(0, &[]);
    assert_eq!(drawn.stdout.lines().filter(|l| l.starts_with("jtt.upweight=")).count(), 3, "{}", drawn.stdout);
    assert!(!dir.path().join("runs").exists(), "nothing was written");
}

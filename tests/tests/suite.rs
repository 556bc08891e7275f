//! A suite: several configurations, one page; what configurations agree in is computed once.

use scgs_tests::{TINY, finish, scgs};
use serde_json::Value;

const SUITE: &str = r#"
dataset = "habitat"
claims = true
title = "A tiny suite"
about = "For a test."

[[section]]
name = "main"
title = "The recipe"
about = "Its arms."

[[section]]
name = "search"
title = "The search"
about = "Judged on validation."

[[cell]]
name = "default"
section = "main"
about = "the recipe"
methods = "erm,duplicate,scgs-random-mask,scgs,groupdro,oracle-reweight"

[[cell]]
name = "hard-seam"
section = "main"
about = "no soft seam"
set = ["synthesis.feather=0"]
methods = "scgs"
seeds = 1

[[cell]]
name = "nothing-left"
section = "main"
about = "everything is dropped"
set = ["synthesis.filter.unchanged=1.0"]
methods = "scgs"
seeds = 1

[[cell]]
name = "filtered"
section = "search"
about = "near duplicates are dropped"
set = ["synthesis.filter.duplicate=0.1"]
methods = "scgs"
search = true
"#;

#[test]
fn cells_share_stages_and_their_page_says_what_was_found() {
    let dir = tempfile::tempdir().unwrap();
    fs_err::write(dir.path().join("tiny.toml"), SUITE).unwrap();
    let mut words = vec!["suite", "tiny.toml", "--out", "page/tiny.md", "--seeds", "2"];
    for set in TINY {
        words.extend(["--set", set]);
    }
    let said = finish(&mut scgs(dir.path(), &words));
    said.expect(
        1,
        &["cell 1 of 4: default (the recipe), seed 0", "cell 2 of 4: hard-seam", "cell nothing-left cannot be run"],
    );
    assert!(said.stdout.contains("SCGS raises worst-group accuracy"), "{}", said.stdout);
    let second = said.stderr.split("cell 2 of 4").nth(1).unwrap();
    let line = |stage: &str| second.lines().find(|l| l.trim_start().starts_with(stage)).unwrap_or_default();
    for stage in ["1-erm", "2-errors", "4-masks", "4-objects"] {
        assert!(line(stage).contains("kept"), "{stage} was computed again: {}", line(stage));
    }
    assert!(!line("5-synthesis").contains("kept"), "the seam changes the pictures");

    let page = fs_err::read_to_string(dir.path().join("page/tiny.md")).unwrap();
    for part in [
        "# A tiny suite",
        "| claim | found |",
        "against `duplicate`",
        "hard-seam",
        "| **default** |",
        "tiny.svg",
        "could not be run: none of",
    ] {
        assert!(page.contains(part), "{part} is missing in\n{page}");
    }
    let record: Value = serde_json::from_slice(&fs_err::read(dir.path().join("page/tiny.json")).unwrap()).unwrap();
    assert_eq!(record["schema"], 1);
    let rows = record["rows"].as_array().unwrap();
    let of = |name: &str| rows.iter().filter(|r| r["method"] == name).count();
    assert_eq!((of("erm"), of("scgs"), of("scgs@hard-seam"), rows.len()), (2, 2, 1, 13));
    let search = record["cells"].as_array().unwrap().iter().find(|c| c["cell"]["name"] == "filtered").unwrap();
    assert_eq!(search["validation"].as_array().unwrap().len(), 2);
    assert!(search["diagnostics"].as_array().unwrap().is_empty(), "a search opens nothing but the validation split");
    let attention = &record["cells"][0]["diagnostics"][0][1]["attention"];
    assert_eq!(attention.as_array().unwrap().len(), 6, "one line per arm");
    for file in ["tiny.svg", "tiny-examples.png"] {
        assert!(dir.path().join("page").join(file).metadata().unwrap().len() > 500, "{file}");
    }

    let again = finish(&mut scgs(dir.path(), &words));
    again.expect(1, &[]);
    for line in again.stderr.lines().filter(|l| l.starts_with("  ")) {
        assert!(line.contains("kept"), "{line}");
    }
    assert_eq!(page, fs_err::read_to_string(dir.path().join("page/tiny.md")).unwrap(), "same runs, same page");
}

#[test]
fn a_bad_suite_is_refused_before_anything_is_computed() {
    let dir = tempfile::tempdir().unwrap();
    fs_err::write(dir.path().join("bad.toml"), SUITE.replace("\"erm,duplicate", "\"emr,duplicate")).unwrap();
    let said = finish(&mut scgs(dir.path(), &["suite", "bad.toml", "--out", "p.md"]));
    said.expect(2, &["cell default", "unknown method `emr`"]);
    assert!(!dir.path().join("runs").exists() && !dir.path().join("p.md").exists());
    let wrong = SUITE.replace("synthesis.feather=0", "synthesis.feather=-1");
    fs_err::write(dir.path().join("bad.toml"), wrong).unwrap();
    let said = finish(&mut scgs(dir.path(), &["suite", "bad.toml", "--out", "p.md"]));
    said.expect(2, &["cell hard-seam", "synthesis.feather is -1, expected 0 to 32"]);
}

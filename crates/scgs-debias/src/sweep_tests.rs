//! Tests of axes, points and ranks; whole searches are run in `tests/tests/train.rs`.

use std::path::Path;

use super::*;

fn axis(text: &str) -> Axis {
    text.parse().unwrap()
}

fn values(points: &[Point]) -> Vec<Vec<&str>> {
    points.iter().map(|p| p.iter().map(|(_, v)| v.as_str()).collect()).collect()
}

#[test]
fn axes_are_lists_or_ranges() {
    let list = axis("attention.layers=[\"last\", \"blocks.10\"],[\"last\"]");
    assert_eq!(list.values, Values::List(vec!["[\"last\", \"blocks.10\"]".into(), "[\"last\"]".into()]));
    let range = |text: &str| match axis(text).values {
        Values::Range { low, high, log, whole } => (low, high, log, whole),
        Values::List(list) => panic!("{list:?}"),
    };
    assert_eq!(range("jtt.upweight=5..100"), (5.0, 100.0, false, true));
    assert_eq!(range("train.c=log:1e-4..0.1"), (1e-4, 0.1, true, false));
    for (text, part) in [
        ("train.c", "expected section.key=values"),
        ("c=1", "`c` is no setting"),
        ("train.c=1,,2", "an empty value"),
        ("train.c=1,1", "a value twice"),
        ("train.c=2..1", "must be below"),
        ("train.c=log:0..1", "must be above 0"),
        ("train.c=log:1", "expected log:LOW..HIGH"),
        ("train.c=a..b", "`a` is no number"),
    ] {
        let message = text.parse::<Axis>().unwrap_err();
        assert!(message.contains(part), "{text}: {message}");
    }
}

#[test]
fn a_grid_has_every_combination_once() {
    let points = grid(&[axis("jtt.upweight=5,20"), axis("train.c=1e-3,1e-2,1e-1")]).unwrap();
    let expected = [["5", "1e-3"], ["5", "1e-2"], ["5", "1e-1"], ["20", "1e-3"], ["20", "1e-2"], ["20", "1e-1"]];
    assert_eq!(values(&points), expected);
    assert!(grid(&[axis("train.c=1..2")]).unwrap_err().contains("--random N"));
    assert!(grid(&[axis("train.c=1"), axis("train.c=2")]).unwrap_err().contains("given twice"));
    let long: Vec<Axis> = (0..5).map(|i| axis(&format!("a.k{i}=1,2,3,4,5,6,7,8,9,10"))).collect();
    assert!(grid(&long).unwrap_err().contains("more than 10000"));
}

#[test]
fn draws_are_seeded_within_range_and_do_not_depend_on_how_many() {
    let axes = [axis("jtt.upweight=1..3"), axis("train.c=log:1e-4..1e-1"), axis("identify.rule=held-out,background")];
    let points = random(&axes, 200, 7).unwrap();
    assert_eq!(points, random(&axes, 200, 7).unwrap());
    assert_eq!(points[..20], random(&axes, 20, 7).unwrap()[..]);
    assert_ne!(points, random(&axes, 200, 8).unwrap());
    let column = |i: usize| points.iter().map(|p| p[i].1.as_str()).collect::<BTreeSet<_>>();
    assert_eq!(column(0), BTreeSet::from(["1", "2", "3"]));
    assert_eq!(column(2), BTreeSet::from(["background", "held-out"]));
    let c: Vec<f64> = points.iter().map(|p| p[1].1.parse().unwrap()).collect();
    assert!(c.iter().all(|v| (1e-4..=1e-1).contains(v)));
    // Half of the draws lie below the geometric mean.
    let below = c.iter().filter(|v| **v < 10f64.powf(-2.5)).count() as f64 / c.len() as f64;
    assert!((below - 0.5).abs() < 0.1, "{below}");
    let one = random(&[axis("jtt.upweight=1..2")], 50, 0).unwrap();
    assert_eq!(one.len(), 2, "a point counts once");
}

fn definition() -> Definition {
    let text = "name = \"d\"\ntitle = \"t\"\nsource = \"s\"\nlicence = \"l\"\nlayout = \"waterbirds\"\nclasses = [\"a\", \"b\"]\n\
                attributes = [\"x\", \"y\"]\n[prompts]\na = [\"a\"]\nb = [\"b\"]\n";
    Definition::parse(text, Path::new("d.toml")).unwrap()
}

fn sweep(points: Vec<Candidate>) -> Sweep {
    let base = Plan {
        definition: definition(),
        settings: Settings::default(),
        arms: Vec::new(),
        runs: "runs".into(),
        datasets: "datasets".into(),
        data_dir: None,
        backgrounds: None,
        device: "flex".into(),
        accept_counts: false,
        afterwards: crate::pipeline::Afterwards::Nothing,
        memory: None,
    };
    Sweep { base, points, by: Criterion::WorstClass, seeds: vec![0, 1] }
}

#[test]
fn every_impossible_point_is_refused_before_the_first_runs() {
    let source = |methods| Source { profile: None, file: None, sets: &[], methods };
    let points = || grid(&[axis("jtt.upweight=0,5"), axis("train.c=-1,1")]).unwrap();
    let problems = source("jtt").resolve(&definition(), points()).unwrap_err();
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert!(problems[0].contains("jtt.upweight is 0") && problems[0].contains("train.c is -1"), "{problems:?}");
    assert!(
        source("jt").resolve(&definition(), points()).unwrap_err().iter().any(|p| p.contains("unknown method `jt`"))
    );
    let good = grid(&[axis("jtt.upweight=5,6")]).unwrap();
    let resolved = source("erm,jtt").resolve(&definition(), good).unwrap();
    assert_eq!(resolved.iter().map(|r| r.settings.jtt.upweight).collect::<Vec<_>>(), [5, 6]);
    assert_ne!(sweep(resolved.clone()).hash(), sweep(resolved[..1].to_vec()).hash());
}

#[test]
fn rows_are_ranked_by_score_within_their_method_and_failures_come_last() {
    let arm = |name: &str| name.parse::<Arm>().unwrap();
    let sweep = sweep(Vec::new());
    let of = |value: &str, outcome| {
        sweep.rows_of(&vec![("train.c".into(), value.into())], &[arm("erm"), arm("groupdro")], outcome).unwrap()
    };
    let scores = |erm: f64, dro: f64| Ok(("r".to_owned(), vec![vec![[erm, 0.9, 0.9], [dro, 0.8, 0.9]]; 2]));
    let diverged = Error::Diverged { loss: f32::NAN, step: 3, rate: 0.1, ids: vec![] };
    let rows = [of("a", scores(0.5, 0.7)), of("b", Err(diverged)), of("c", scores(0.6, 0.7))].concat();
    let table = sweep.rank(rows);
    let order: Vec<(&str, &str, bool)> =
        table.rows.iter().map(|r| (r.method.as_str(), r.point[0].1.as_str(), r.best)).collect();
    let expected = [
        ("erm", "c", true),
        ("erm", "a", false),
        ("erm", "b", false),
        ("groupdro", "a", true),
        ("groupdro", "c", false),
        ("groupdro", "b", false),
    ];
    assert_eq!(order, expected);
    assert!(table.rows[2].failed.as_ref().is_some_and(|why| why.contains("step 3")));
    assert!(table.rows[3].oracle && !table.rows[0].oracle && !table.sees_groups);
    let stopped = sweep.rows_of(&Vec::new(), &[], Err(Error::Interrupted { stage: "1-erm".into() }));
    assert!(stopped.is_err(), "what is not the point's fault stops the search");
}

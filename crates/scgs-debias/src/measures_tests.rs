//! Tests of the measures against scikit-learn (`tests/fixtures/methods/make.py`) and by hand.

use serde::Deserialize;

use super::*;

const REFERENCE: &str = include_str!("../../../tests/fixtures/methods/measures.json");

#[derive(Deserialize)]
struct Case {
    labels: Vec<usize>,
    probabilities: Vec<Vec<f64>>,
    auroc: f64,
    f1: f64,
    brier: f64,
    ece: f64,
    per_class: Vec<f64>,
}

#[test]
fn measures_equal_scikit_learn() {
    for case in serde_json::from_str::<Vec<Case>>(REFERENCE).unwrap() {
        let classes = case.probabilities[0].len();
        let groups = vec![0; case.labels.len()];
        let m = Measures::of(&case.labels, &case.probabilities, &groups, classes, 0);
        let per_class: Vec<f64> = m.per_class.iter().map(|v| v.unwrap()).collect();
        let ours = [m.auroc.unwrap(), m.f1, m.brier, m.ece].into_iter().chain(per_class);
        let theirs = [case.auroc, case.f1, case.brier, case.ece].into_iter().chain(case.per_class);
        for (i, (a, b)) in ours.zip(theirs).enumerate() {
            assert!((a - b).abs() < 1e-9, "measure {i} of {classes} classes: {a} against {b}");
        }
    }
}

#[test]
fn ties_count_one_half() {
    assert_eq!(area(&[0.5, 0.5, 0.5, 0.5], &[true, false, true, false]), Some(0.5));
    assert_eq!(area(&[0.1, 0.9], &[false, true]), Some(1.0));
    assert_eq!(area(&[0.1, 0.9], &[true, true]), None);
}

/// The interval of a share p of n pictures is close to p plus or minus 1.96 sqrt(p (1 - p) / n).
#[test]
fn the_bootstrap_interval_has_the_binomial_width() {
    let right: Vec<bool> = (0..400).map(|i| i % 4 != 0).collect();
    let [low, high] = interval(&right, &vec![0; 400], 1, "t");
    let half = 1.96 * (0.75f64 * 0.25 / 400.0).sqrt();
    assert!((low - (0.75 - half)).abs() < 0.01 && (high - (0.75 + half)).abs() < 0.01, "{low} {high}");
    assert_eq!(interval(&right, &vec![0; 400], 1, "t"), [low, high], "same seed, same interval");
    // A part that is always right does not move the minimum.
    let two: Vec<usize> = (0..400).map(|i| usize::from(i % 4 == 0)).collect();
    assert_eq!(interval(&right, &two, 1, "t"), [0.0, 0.0]);
}

#[test]
fn the_paired_comparison_is_the_exact_sign_flip_test() {
    let paired = Paired::of("scgs", "erm", &[0.8, 0.9, 0.7], &[0.7, 0.7, 0.65]).unwrap();
    assert!((paired.mean - 0.35 / 3.0).abs() < 1e-12 && paired.wins == 3 && paired.n == 3);
    assert_eq!(paired.p, Some(2.0 / 8.0), "all positive or all negative");
    let even = Paired::of("a", "b", &[0.1, -0.1], &[0.0, 0.0]).unwrap();
    assert_eq!((even.p, even.wins), (Some(1.0), 1));
    assert_eq!(Paired::of("a", "b", &[], &[]), None);
}

/// `scipy.stats.t.interval(0.95, 2, loc=mean, scale=sem)` of three values.
#[test]
fn the_interval_is_that_of_students_t() {
    let [low, high] = t_interval(&[0.1, 0.2, 0.05]).unwrap();
    assert!((low + 0.073_062).abs() < 1e-5 && (high - 0.306_396).abs() < 1e-5, "{low} {high}");
    assert_eq!(t_interval(&[0.1]), None);
}

#[test]
fn agreement_is_the_share_of_equal_answers() {
    assert_eq!(agreement(&[0, 1, 1, 0], &[0, 1, 0, 0]), 0.75);
}

//! Tests of the logistic regression against scikit-learn (`tests/fixtures/logistic/generate.py`) and by hand.

use serde::Deserialize;

use super::*;

const REFERENCE: &str = include_str!("../../../../tests/fixtures/logistic/reference.json");

#[derive(Deserialize)]
struct Case {
    name: String,
    n: usize,
    width: usize,
    classes: usize,
    c: f64,
    seed: u32,
    probabilities: Vec<Vec<f64>>,
}

/// The generator's source of numbers.
struct Lcg(u32);

impl Lcg {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(self.0 >> 8) / f64::from(1 << 24)
    }
}

fn data(case: &Case) -> (Vec<f32>, Vec<usize>, Vec<f64>) {
    let mut lcg = Lcg(case.seed);
    let mut x: Vec<f32> = (0..case.n * case.width)
        .map(|i| i % case.width)
        .map(|j| (lcg.unit() * (1 + j) as f64 - 0.3 * j as f64) as f32)
        .collect();
    let y: Vec<usize> = (0..case.n).map(|_| (lcg.unit() * case.classes as f64) as usize).collect();
    for (row, &label) in x.chunks_mut(case.width).zip(&y) {
        // numpy adds the double to the single column in double precision and rounds once.
        row[0] = (f64::from(row[0]) + 0.8 * label as f64) as f32;
    }
    let weights = (0..case.n).map(|_| 0.5 + 2.0 * lcg.unit()).collect();
    (x, y, weights)
}

#[test]
fn probabilities_equal_scikit_learn() {
    for case in serde_json::from_str::<Vec<Case>>(REFERENCE).unwrap() {
        let (features, labels, weights) = data(&case);
        let scale = Standardiser::fit(&features, case.width);
        let examples = Examples { features: &features, width: case.width, labels: &labels, weights: &weights };
        let head = fit(examples, case.classes, case.c, &scale).unwrap();
        for (row, expected) in features.chunks(case.width).zip(&case.probabilities) {
            for (p, e) in head.probabilities(row).iter().zip(expected) {
                assert!((p - e).abs() < 1e-5, "{}: {p} against {e}", case.name);
            }
        }
    }
}

#[test]
fn a_weight_of_two_is_two_copies() {
    let features = [0.0f32, 1.0, 2.0, 3.0];
    let (scale, labels) = (Standardiser::fit(&features, 1), [0, 0, 1, 1]);
    let weighted = fit(
        Examples { features: &features, width: 1, labels: &labels, weights: &[1.0, 2.0, 1.0, 1.0] },
        2,
        1.0,
        &scale,
    );
    let copied = fit(
        Examples { features: &[0.0, 1.0, 1.0, 2.0, 3.0], width: 1, labels: &[0, 0, 0, 1, 1], weights: &[1.0; 5] },
        2,
        1.0,
        &scale,
    );
    let (a, b) = (weighted.unwrap().probabilities(&[1.4])[1], copied.unwrap().probabilities(&[1.4])[1]);
    assert!((a - b).abs() < 1e-7, "{a} {b}");
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let case = Case { name: String::new(), n: 700, width: 33, classes: 2, c: 0.1, seed: 9, probabilities: vec![] };
    let (features, labels, weights) = data(&case);
    let scale = Standardiser::fit(&features, case.width);
    let fit_with = |threads: usize| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
            fit(Examples { features: &features, width: 33, labels: &labels, weights: &weights }, 2, 0.1, &scale)
                .unwrap()
        })
    };
    assert_eq!(fit_with(1), fit_with(3));
}

#[test]
fn constant_columns_are_left_alone() {
    let scale = Standardiser::fit(&[5.0, 1.0, 5.0, 3.0], 2);
    assert_eq!(scale.apply(&[5.0, 2.0]), [0.0, 0.0]);
    assert_eq!(scale.apply(&[6.0, 3.0]), [1.0, 1.0]);
}

//! Measures beside the group accuracies: ranking, calibration, intervals, agreement, comparison over seeds.

use rand::RngExt;
use scgs_data::stream;
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::{Spread, logistic::most_probable};

/// Bins of the calibration error.
const BINS: usize = 15;
/// Resamples of a bootstrap interval.
const RESAMPLES: usize = 1000;

/// Measures of one arm on the test split. Fractions are in 0..=1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measures {
    /// Accuracy per class; absent for a class without a picture.
    pub per_class: Vec<Option<f64>>,
    /// Area under the ROC curve: of class 1 for two classes, else the unweighted mean of each class against the rest.
    /// Absent when a class does not occur.
    pub auroc: Option<f64>,
    /// Unweighted mean of the classes' F1 scores.
    pub f1: f64,
    /// Expected calibration error: mean gap between confidence and accuracy over 15 equal bins of confidence, weighted
    /// by their sizes (Guo et al. 2017).
    pub ece: f64,
    /// Mean squared distance between probabilities and the one-hot label, summed over classes (Brier 1950).
    pub brier: f64,
    /// 95 % bootstrap interval of the plain accuracy: percentiles of 1000 resamples of the test pictures.
    pub plain_interval: [f64; 2],
    /// The same of the worst-group accuracy; pictures are drawn within their groups.
    pub worst_group_interval: [f64; 2],
}

impl Measures {
    /// Computes everything from class probabilities, one row per picture. `groups` are opaque group numbers.
    ///
    /// # Panics
    /// If the slices differ in length.
    pub fn of(labels: &[usize], rows: &[Vec<f64>], groups: &[usize], classes: usize, seed: u64) -> Self {
        assert!(labels.len() == rows.len() && labels.len() == groups.len(), "parallel slices");
        let answers: Vec<(usize, f64)> = rows.iter().map(|r| most_probable(r)).collect();
        let right: Vec<bool> = answers.iter().zip(labels).map(|(a, &l)| a.0 == l).collect();
        let predicted: Vec<usize> = answers.iter().map(|a| a.0).collect();
        Self {
            per_class: (0..classes).map(|c| class_accuracy(labels, &right, c)).collect(),
            auroc: auroc(labels, rows, classes),
            f1: macro_f1(labels, &predicted, classes),
            ece: calibration_error(&answers, &right),
            brier: brier(labels, rows),
            plain_interval: interval(&right, &vec![0; labels.len()], seed, "plain"),
            worst_group_interval: interval(&right, groups, seed, "worst-group"),
        }
    }
}

fn class_accuracy(labels: &[usize], right: &[bool], class: usize) -> Option<f64> {
    let of: Vec<bool> = labels.iter().zip(right).filter(|(l, _)| **l == class).map(|(_, r)| *r).collect();
    (!of.is_empty()).then(|| of.iter().filter(|r| **r).count() as f64 / of.len() as f64)
}

fn auroc(labels: &[usize], rows: &[Vec<f64>], classes: usize) -> Option<f64> {
    let of = |class: usize| {
        let scores: Vec<f64> = rows.iter().map(|r| r[class]).collect();
        let positive: Vec<bool> = labels.iter().map(|&l| l == class).collect();
        area(&scores, &positive)
    };
    if classes == 2 {
        return of(1);
    }
    let all: Option<Vec<f64>> = (0..classes).map(of).collect();
    all.map(|a| a.iter().sum::<f64>() / classes as f64)
}

/// The probability that a positive has the higher score than a negative, ties counting one half (Mann and Whitney).
/// `None` without a positive or a negative.
pub fn area(scores: &[f64], positive: &[bool]) -> Option<f64> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    let positives = positive.iter().filter(|p| **p).count();
    let negatives = scores.len() - positives;
    let mut ranks = 0.0;
    for tied in order.chunk_by(|&a, &b| scores[a] == scores[b]) {
        // Ranks from 1, equal scores share their mean.
        let below = order.partition_point(|&i| scores[i] < scores[tied[0]]);
        let rank = below as f64 + (tied.len() + 1) as f64 / 2.0;
        ranks += rank * tied.iter().filter(|&&i| positive[i]).count() as f64;
    }
    let (p, n) = (positives as f64, negatives as f64);
    (positives > 0 && negatives > 0).then(|| (ranks - p * (p + 1.0) / 2.0) / (p * n))
}

fn macro_f1(labels: &[usize], predicted: &[usize], classes: usize) -> f64 {
    let of = |class: usize| {
        let count =
            |f: &dyn Fn(usize, usize) -> bool| labels.iter().zip(predicted).filter(|(l, p)| f(**l, **p)).count();
        let hits = count(&|l, p| l == class && p == class) as f64;
        let either = (count(&|l, _| l == class) + count(&|_, p| p == class)) as f64;
        if either > 0.0 { 2.0 * hits / either } else { 0.0 }
    };
    (0..classes).map(of).sum::<f64>() / classes as f64
}

fn calibration_error(answers: &[(usize, f64)], right: &[bool]) -> f64 {
    let mut bins = [(0usize, 0.0, 0usize); BINS];
    for (&(_, confidence), &right) in answers.iter().zip(right) {
        // Bins are open below and closed above, as in the authors' code.
        let bin = ((confidence * BINS as f64).ceil() as usize).clamp(1, BINS) - 1;
        bins[bin].0 += 1;
        bins[bin].1 += confidence;
        bins[bin].2 += usize::from(right);
    }
    bins.iter().map(|&(_, confidence, correct)| (confidence - correct as f64).abs()).sum::<f64>() / answers.len() as f64
}

fn brier(labels: &[usize], rows: &[Vec<f64>]) -> f64 {
    let one = |(row, &label): (&Vec<f64>, &usize)| -> f64 {
        row.iter().enumerate().map(|(c, p)| (p - f64::from(u8::from(c == label))).powi(2)).sum()
    };
    rows.iter().zip(labels).map(one).sum::<f64>() / rows.len() as f64
}

/// A 95 % percentile interval of the lowest accuracy over parts, resampled within parts.
fn interval(right: &[bool], part_of: &[usize], seed: u64, name: &str) -> [f64; 2] {
    let parts = part_of.iter().max().map_or(0, |m| m + 1);
    let members: Vec<Vec<bool>> = (0..parts)
        .map(|p| right.iter().zip(part_of).filter(|(_, of)| **of == p).map(|(r, _)| *r).collect())
        .filter(|m: &Vec<bool>| !m.is_empty())
        .collect();
    let mut rng = stream(seed, &format!("bootstrap/{name}"), 0);
    let mut values: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let mut accuracy = |m: &Vec<bool>| {
                (0..m.len()).filter(|_| m[rng.random_range(0..m.len())]).count() as f64 / m.len() as f64
            };
            members.iter().map(&mut accuracy).fold(f64::INFINITY, f64::min)
        })
        .collect();
    values.sort_by(f64::total_cmp);
    [percentile(&values, 0.025), percentile(&values, 0.975)]
}

/// Linear interpolation between the sorted values, as numpy's `percentile`.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let (low, high) = (at.floor() as usize, at.ceil() as usize);
    sorted[low] + (sorted[high] - sorted[low]) * (at - low as f64)
}

/// Share of pictures that two classifiers answer alike.
///
/// # Panics
/// If the slices differ in length.
pub fn agreement(a: &[usize], b: &[usize]) -> f64 {
    assert_eq!(a.len(), b.len(), "parallel slices");
    a.iter().zip(b).filter(|(a, b)| a == b).count() as f64 / a.len() as f64
}

/// The 95 % interval of a mean by Student's t; `None` for fewer than two values.
pub fn t_interval(values: &[f64]) -> Option<[f64; 2]> {
    let Spread { mean, sd, n } = Spread::of(values)?;
    let t = StudentsT::new(0.0, 1.0, (n - 1) as f64).ok()?.inverse_cdf(0.975);
    let half = t * sd? / (n as f64).sqrt();
    Some([mean - half, mean + half])
}

/// A comparison of two methods on the same seeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Paired {
    /// The method.
    pub method: String,
    /// What it is compared with.
    pub baseline: String,
    /// Mean over seeds of the difference in worst-group accuracy.
    pub mean: f64,
    /// Sample standard deviation of the differences; absent for one seed.
    pub sd: Option<f64>,
    /// 95 % interval of the mean difference by Student's t; absent for one seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<[f64; 2]>,
    /// Number of seeds that both have.
    pub n: usize,
    /// Seeds in which the method is better.
    pub wins: usize,
    /// Two-sided p value of the exact sign-flip test: the share of the `2^n` sign patterns whose mean is at least as
    /// far from 0. With n seeds it cannot be below `2 / 2^n`. Absent above 20 seeds.
    pub p: Option<f64>,
}

impl Paired {
    /// Compares parallel values; `None` without any.
    ///
    /// # Panics
    /// If the slices differ in length.
    pub fn of(method: &str, baseline: &str, values: &[f64], base: &[f64]) -> Option<Self> {
        assert_eq!(values.len(), base.len(), "one value per seed and method");
        let differences: Vec<f64> = values.iter().zip(base).map(|(a, b)| a - b).collect();
        let Spread { mean, sd, n } = Spread::of(&differences)?;
        let observed = differences.iter().sum::<f64>().abs();
        let p = (n <= 20).then(|| {
            let extreme = (0u32..1 << n).filter(|signs| {
                let sum: f64 =
                    differences.iter().enumerate().map(|(i, d)| if signs >> i & 1 == 1 { -d } else { *d }).sum();
                sum.abs() >= observed - 1e-12
            });
            extreme.count() as f64 / f64::from(1u32 << n)
        });
        let wins = differences.iter().filter(|d| **d > 0.0).count();
        let interval = t_interval(&differences);
        Some(Self { method: method.to_owned(), baseline: baseline.to_owned(), mean, sd, interval, n, wins, p })
    }
}

#[cfg(test)]
#[path = "measures_tests.rs"]
mod tests;

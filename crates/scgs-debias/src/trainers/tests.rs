//! A problem with a known answer: two features, one that causes the class and one that mostly goes with it.
//!
//! `x = (y + 0.8 u, a + 0.2 v)` with y, a in {-1, 1}, u and v standard normal, and a = y in 95 % of the training examples.
//! Whoever ignores the second feature is right with probability P(u > -1.25) = 0.894 in every group. Whoever fits the
//! training distribution adds log(19) of evidence for a and is right in the minority with probability
//! P(u > (0.8^2 log(19) / 2 - 1) / 0.8) = 0.52 only.

use std::sync::atomic::AtomicBool;

use burn::tensor::Device;
use rand::RngExt;
use scgs_data::stream;

use super::*;
use crate::{
    Context, Settings,
    logistic::{LinearHead, Standardiser},
    methods::{Groups, Method, TrainingData},
};

/// Accuracy of the classifier that ignores the second feature.
const KNOWN: f64 = 0.894;

struct Problem {
    features: Vec<f32>,
    labels: Vec<usize>,
    attributes: Vec<usize>,
}

impl Problem {
    /// `minority` of each class's `n` examples have the other attribute.
    fn new(n: usize, minority: usize, name: &str) -> Self {
        let mut rng = stream(11, name, 0);
        let mut normal = || {
            let (u, v): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
            (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
        };
        let (mut features, mut labels, mut attributes) = (Vec::new(), Vec::new(), Vec::new());
        for label in 0..2usize {
            for i in 0..n {
                let attribute = if i < minority { 1 - label } else { label };
                let (y, a) = (2.0 * label as f64 - 1.0, 2.0 * attribute as f64 - 1.0);
                features.extend([(y + 0.8 * normal()) as f32, (a + 0.2 * normal()) as f32]);
                labels.push(label);
                attributes.push(attribute);
            }
        }
        Self { features, labels, attributes }
    }

    fn groups(&self) -> Groups {
        let of: Vec<Option<usize>> = self.attributes.iter().copied().map(Some).collect();
        Groups::new(&self.labels, &of, 2, 2, "train").unwrap()
    }

    fn matrix(&self) -> Matrix<'_> {
        Matrix { values: &self.features, width: 2 }
    }
}

/// Accuracy per group of the model that a criterion chose.
fn accuracies(method: Method, settings: &Settings, by: Criterion) -> Vec<f64> {
    let train = Problem::new(4000, 200, "train");
    let (val, test) = (Problem::new(1600, 400, "val"), Problem::new(8000, 4000, "test"));
    let cancelled = AtomicBool::new(false);
    let context = Context { device: Device::flex(), cancelled: &cancelled, report: &|_| {}, cache: None };
    let n = train.labels.len();
    let data = TrainingData {
        labels: train.labels.clone(),
        repeats: vec![1; n],
        synthetic: vec![false; n],
        classes: 2,
        // A perfect first stage: the minority.
        errors: (0..n).filter(|&i| train.labels[i] != train.attributes[i]).collect(),
        groups: Some(train.groups()),
        validation_groups: Some(val.groups()),
        validation_labels: val.labels.clone(),
        stream: (0, "problem".into()),
    };
    let selector = Selector::new(val.labels.clone(), 2, val.groups().of);
    let mut watch = Watch::new(selector, val.labels.clone(), by, settings.train.patience);
    let mut trainer = HeadTrainer {
        context: &context,
        stage: "problem",
        settings: &settings.train,
        data: &data,
        names: &(0..n).map(|i| i.to_string()).collect::<Vec<_>>(),
        features: train.matrix(),
        validation: val.matrix(),
        scale: &Standardiser::fit(&train.features, 2),
        real: n,
        changed: None,
        watch: &mut watch,
        head: None,
    };
    method.with(settings).train(&data, &mut trainer).unwrap();
    let chosen = watch.finish();
    let Trained::Head(head) = &chosen.models[&by].1 else { panic!("a head trainer leaves a head") };
    per_group(head, &test)
}

fn per_group(head: &LinearHead, test: &Problem) -> Vec<f64> {
    let groups = test.groups();
    let right = |i: usize| most_probable(&head.probabilities(&test.features[2 * i..2 * i + 2])).0 == test.labels[i];
    (0..4).map(|g| groups.members(g).iter().filter(|&&i| right(i)).count() as f64 / groups.counts[g] as f64).collect()
}

fn worst(method: Method, settings: &Settings) -> f64 {
    accuracies(method, settings, Criterion::Last).into_iter().fold(1.0, f64::min)
}

fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.train.c = 1.0;
    settings.jtt.upweight = 19;
    settings.dfr.c = 1.0;
    settings.groupdro.step = 0.1;
    settings
}

#[test]
fn erm_fails_on_the_known_problem() {
    let worst = worst(Method::Erm, &settings());
    assert!((worst - 0.52).abs() < 0.06, "{worst}");
}

#[test]
fn methods_that_are_told_what_they_need_reach_the_known_answer() {
    let told = [
        Method::GroupDro,
        Method::Dfr,
        Method::Jtt,
        Method::Subg,
        Method::OracleReweight,
        Method::OracleResample,
        Method::Lisa,
    ];
    let found = told.map(|method| (method.name(), worst(method, &settings())));
    // A minority group has 200 examples, so its own share of right answers is uncertain by 0.02, and the borders of two.
    assert!(found.iter().all(|(_, worst)| (worst - KNOWN).abs() < 0.05), "{found:?}");
}

#[test]
fn dfr_learns_from_the_training_split_too() {
    let mut settings = settings();
    settings.dfr.split = crate::settings::DfrSplit::Train;
    settings.dfr.penalty = crate::settings::Penalty::L2;
    let worst = worst(Method::Dfr, &settings);
    assert!(worst > KNOWN - 0.05, "{worst}");
}

#[test]
fn methods_that_are_told_nothing_do_better_than_erm_where_they_should() {
    let erm = worst(Method::Erm, &settings());
    // Nothing is said of CVaR-DRO and LfF: where the classes overlap, the hardest examples are noise.
    let afr = worst(Method::Afr, &settings());
    // Its 500 small steps from a converged head go part of the way: 0.57 after 0.53 when this was written.
    assert!(afr > erm + 0.02, "{afr} against {erm}");
    for method in [Method::Reweight, Method::Resample, Method::ErmLong] {
        // The classes are balanced: there is nothing to balance.
        let worst = worst(method, &settings());
        assert!((worst - erm).abs() < 0.05, "{method}: {worst} against {erm}");
    }
}

/// Mini-batches with the pull that stands for the solver's penalty end near the solver's solution.
#[test]
fn mini_batches_and_the_solver_minimise_the_same_thing() {
    let mut settings = settings();
    settings.train.c = 0.02;
    settings.cvar_dro.alpha = 1.0;
    settings.train.head.epochs = 40;
    let solved = accuracies(Method::Erm, &settings, Criterion::Last);
    let learned = accuracies(Method::CvarDro, &settings, Criterion::Last);
    for (a, b) in solved.iter().zip(&learned) {
        assert!((a - b).abs() < 0.02, "{solved:?} {learned:?}");
    }
}

#[test]
fn selection_by_worst_group_is_at_least_as_good_as_the_last_epoch_here() {
    let mut settings = settings();
    settings.train.head.learning_rate = 0.05;
    let last = accuracies(Method::Mixup, &settings, Criterion::Last).into_iter().fold(1.0, f64::min);
    let chosen = accuracies(Method::Mixup, &settings, Criterion::WorstGroup).into_iter().fold(1.0, f64::min);
    assert!(chosen >= last - 0.03, "{chosen} {last}");
}

//! Each method's update against PyTorch (`tests/fixtures/methods/make.py`): 20 steps of a small network in the loop that
//! trains everything. To regenerate: run these tests with SCGS_WRITE_BATCHES=1, then the script.

use std::{collections::BTreeMap, ops::ControlFlow, path::PathBuf, sync::atomic::AtomicBool};

use burn::{
    Tensor,
    module::{Module, Param},
    nn::{Linear, LinearConfig},
    tensor::{Device, TensorData, activation::relu},
};
use serde::{Deserialize, Serialize};

use super::{objective::*, *};
use crate::{
    Context,
    logistic::{Examples, Standardiser, fit_sparse},
    minibatch::{self, Batch, Contrast, Decay, Objective, OptimiserKind, Schedule, Targets, Visits, numbers},
};

const STEPS: usize = 20;
const N: usize = 24;
const WIDTH: usize = 5;
const HIDDEN: usize = 7;

#[derive(Module, Debug)]
struct Mlp {
    first: Linear,
    second: Linear,
}

#[derive(Deserialize)]
struct Reference {
    x: Vec<f32>,
    labels: Vec<usize>,
    attributes: Vec<usize>,
    networks: Vec<Vec<f32>>,
    cases: BTreeMap<String, Expected>,
}

#[derive(Deserialize)]
struct Expected {
    losses: Vec<f64>,
    state: Vec<f64>,
    parameters: Vec<f64>,
}

#[derive(Serialize, Deserialize)]
struct StoredBatch {
    /// Row, partner, kept share.
    items: Vec<(usize, Option<usize>, f64)>,
    positives: usize,
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/methods").join(name)
}

fn read<T: serde::de::DeserializeOwned>(name: &str) -> T {
    serde_json::from_slice(&fs_err::read(file(name)).unwrap()).unwrap()
}

struct Case {
    name: &'static str,
    objective: Box<dyn Objective>,
    schedule: Schedule,
    visits: Visits,
    weights: Vec<f64>,
    smoothing: f64,
    models: usize,
}

fn labels() -> Vec<usize> {
    (0..N).map(|i| i % 2).collect()
}

fn attributes() -> Vec<usize> {
    (0..N).map(|i| (i % 2) ^ usize::from(i % 4 == 3 || i % 8 == 4)).collect()
}

fn groups() -> Groups {
    let of: Vec<Option<usize>> = attributes().into_iter().map(Some).collect();
    Groups::new(&labels(), &of, 2, 2, "train").unwrap()
}

fn cases() -> Vec<Case> {
    let schedule = |name: &str| Schedule {
        steps: STEPS,
        batch: 6,
        learning_rate: 0.2,
        decay: Decay::Constant,
        warmup: 0,
        optimiser: OptimiserKind::Sgd,
        weight_decay: 0.0,
        momentum: 0.9,
        clip: None,
        accumulate: 1,
        average: None,
        pull: None,
        stream: (3, format!("parity/{name}")),
    };
    let case = |name: &'static str, objective: Box<dyn Objective>| Case {
        name,
        objective,
        schedule: schedule(name),
        visits: Visits { rows: (0..N).collect(), sampler: Sampler::Shuffle, mixing: Mixing::None },
        weights: vec![1.0; N],
        smoothing: 0.0,
        models: 1,
    };
    let mixed = |name, mixing| {
        let case = case(name, Box::new(Risk));
        Case { visits: Visits { mixing, ..case.visits.clone() }, ..case }
    };
    let drawn = |case: Case, sampler| Case { visits: Visits { sampler, ..case.visits.clone() }, ..case };
    let groups = groups();
    let erm = case("erm", Box::new(Risk));
    let adamw = case("erm-adamw", Box::new(Risk));
    let afr = case("afr", Box::new(Risk));
    let average = case("average", Box::new(Risk));
    let lisa = Mixing::Lisa { alpha: 2.0, same_label: 0.5, cut: false, labels: labels(), domains: attributes() };
    // The answers of a first classifier that looks at the attribute alone.
    let contrast = Contrast { each: 4, labels: labels(), answers: attributes() };
    let cnc = case("cnc", Box::new(Cnc { temperature: 0.1, weight: 0.75 }));
    vec![
        Case {
            schedule: Schedule { weight_decay: 0.01, decay: Decay::Cosine, warmup: 3, ..erm.schedule.clone() },
            ..erm
        },
        Case {
            schedule: Schedule {
                optimiser: OptimiserKind::Adamw,
                learning_rate: 0.02,
                weight_decay: 0.1,
                clip: Some(0.5),
                accumulate: 2,
                batch: 4,
                decay: Decay::Step,
                ..adamw.schedule.clone()
            },
            smoothing: 0.1,
            ..adamw
        },
        Case { weights: groups.weights(), ..case("oracle-reweight", Box::new(Risk)) },
        drawn(
            case("groupdro", Box::new(GroupDro::new(groups.of.clone(), &groups.counts, 0.3, 1.0))),
            Sampler::Weighted(groups.weights()),
        ),
        case("cvar-dro", Box::new(Cvar { alpha: 0.3 })),
        Case { models: 2, ..case("lff", Box::new(Lff::new(0.7, 0.7, N))) },
        mixed("mixup", Mixing::Mixup { alpha: 1.0 }),
        mixed("lisa", lisa),
        drawn(
            Case { schedule: Schedule { learning_rate: 0.05, ..cnc.schedule.clone() }, ..cnc },
            Sampler::Contrastive(contrast),
        ),
        Case {
            schedule: Schedule {
                batch: N,
                momentum: 0.0,
                pull: Some(Pull { strength: 0.3, to_start: true, biases: true }),
                ..afr.schedule.clone()
            },
            weights: (0..N).map(|i| 0.5 + (i % 5) as f64).collect(),
            ..afr
        },
        Case { schedule: Schedule { average: Some(0.8), ..average.schedule.clone() }, ..average },
    ]
}

/// The batches of the first 20 steps.
fn batches(case: &Case) -> Vec<StoredBatch> {
    let wanted = STEPS * case.schedule.accumulate;
    let size = if matches!(case.visits.sampler, Sampler::Contrastive(_)) { 1 } else { case.schedule.batch };
    let mut found = Vec::new();
    for epoch in 1.. {
        let mut rng = scgs_data::stream(case.schedule.stream.0, &case.schedule.stream.1, epoch);
        let v = &case.visits;
        found.extend(minibatch::epoch(&v.rows, size, &v.sampler, &v.mixing, &mut rng).iter().map(stored));
        if found.len() >= wanted {
            found.truncate(wanted);
            break;
        }
    }
    found
}

fn stored(batch: &Batch) -> StoredBatch {
    let item = |i: &minibatch::Item| (i.row, i.partner.map(|p| p.row), i.partner.map_or(1.0, |p| p.keep));
    StoredBatch { items: batch.items.iter().map(item).collect(), positives: batch.positives }
}

#[test]
fn batches_are_those_of_the_fixture() {
    let ours: BTreeMap<&str, Vec<StoredBatch>> = cases().iter().map(|c| (c.name, batches(c))).collect();
    if std::env::var_os("SCGS_WRITE_BATCHES").is_some() {
        fs_err::write(file("batches.json"), serde_json::to_string(&ours).unwrap()).unwrap();
    }
    let theirs: BTreeMap<String, Vec<StoredBatch>> = read("batches.json");
    for (name, batches) in &ours {
        assert_eq!(batches.len(), theirs[*name].len(), "{name}");
        for (a, b) in batches.iter().zip(&theirs[*name]) {
            let rows = |b: &StoredBatch| b.items.iter().map(|i| (i.0, i.1)).collect::<Vec<_>>();
            assert_eq!((rows(a), a.positives), (rows(b), b.positives), "{name}");
            // JSON keeps a number to its last bit but one.
            assert!(a.items.iter().zip(&b.items).all(|(a, b)| (a.2 - b.2).abs() < 1e-12), "{name}");
        }
    }
    let domains = attributes();
    for (row, partner, _) in ours["lisa"].iter().flat_map(|b| &b.items) {
        let partner = partner.unwrap();
        assert!((row % 2 == partner % 2) != (domains[*row] == domains[partner]), "{row} with {partner}");
    }
}

/// Notes every loss.
struct Recorder<'a> {
    inner: &'a mut dyn Objective,
    losses: Vec<f64>,
}

impl Objective for Recorder<'_> {
    fn loss(&mut self, outputs: &[Tensor<2>], batch: &Batch, targets: &Targets) -> Tensor<1> {
        let loss = self.inner.loss(outputs, batch, targets);
        self.losses.push(numbers(loss.clone().inner())[0]);
        loss
    }

    fn state(&self) -> Vec<f64> {
        self.inner.state()
    }
}

/// A linear layer from PyTorch's `[out, in]` weight.
fn layer(weight: &[f32], bias: &[f32], device: &Device) -> Linear {
    let (outputs, inputs) = (bias.len(), weight.len() / bias.len());
    let mut layer = LinearConfig::new(inputs, outputs).init(device);
    let weight = Tensor::<2>::from_data(TensorData::new(weight.to_vec(), [outputs, inputs]), device).transpose();
    layer.weight = Param::from_tensor(weight);
    layer.bias = Some(Param::from_tensor(Tensor::from_data(TensorData::new(bias.to_vec(), [outputs]), device)));
    layer
}

fn mlp(values: &[f32], device: &Device) -> Mlp {
    let (w1, rest) = values.split_at(HIDDEN * WIDTH);
    let (b1, rest) = rest.split_at(HIDDEN);
    let (w2, b2) = rest.split_at(2 * HIDDEN);
    Mlp { first: layer(w1, b1, device), second: layer(w2, b2, device) }
}

fn parameters(mlp: &Mlp) -> Vec<f64> {
    let of = |l: &Linear| {
        let bias = numbers(l.bias.as_ref().unwrap().val());
        [numbers(l.weight.val().transpose()), bias].concat()
    };
    [of(&mlp.first), of(&mlp.second)].concat()
}

fn close(name: &str, what: &str, ours: &[f64], theirs: &[f64]) {
    assert_eq!(ours.len(), theirs.len(), "{name}: {what}");
    for (i, (a, b)) in ours.iter().zip(theirs).enumerate() {
        assert!((a - b).abs() <= 1e-4 * b.abs().max(0.1), "{name}: {what} {i} is {a}, PyTorch has {b}");
    }
}

#[test]
fn every_update_follows_pytorch_for_twenty_steps() {
    let reference: Reference = read("steps.json");
    assert_eq!((&reference.labels, &reference.attributes), (&labels(), &attributes()));
    let cancelled = AtomicBool::new(false);
    let context = Context::new(Device::flex(), &cancelled, &|_| {});
    let device = Device::flex().autodiff();
    for mut case in cases() {
        let expected = &reference.cases[case.name];
        let models: Vec<Mlp> = reference.networks[..case.models].iter().map(|n| mlp(n, &device)).collect();
        let targets = Targets {
            names: (0..N).map(|i| i.to_string()).collect(),
            labels: labels(),
            weights: case.weights,
            smoothing: case.smoothing,
        };
        let mut recorder = Recorder { inner: case.objective.as_mut(), losses: Vec::new() };
        let (models, metrics) = minibatch::train(
            &context,
            case.name,
            models,
            &case.schedule,
            &case.visits,
            &targets,
            &mut recorder,
            &|models: &Vec<Mlp>, batch| {
                let x = minibatch::rows(&reference.x, WIDTH, batch, &device);
                let z = relu(models[0].first.forward(x.clone()));
                let mut outputs = vec![models[0].second.forward(z.clone())];
                outputs.push(match models.get(1) {
                    Some(second) => second.second.forward(relu(second.first.forward(x))),
                    None => z,
                });
                Ok(outputs)
            },
            &mut |_, _| Ok(ControlFlow::Continue(())),
        )
        .unwrap();
        close(case.name, "loss", &recorder.losses, &expected.losses);
        close(case.name, "state", &metrics.last().unwrap().state, &expected.state);
        let ours: Vec<f64> = models.valid().iter().flat_map(parameters).collect();
        close(case.name, "parameter", &ours, &expected.parameters);
    }
}

#[derive(Deserialize)]
struct LastLayer {
    n: usize,
    width: usize,
    x: Vec<f32>,
    y: Vec<usize>,
    l1: Vec<Sparse>,
    afr: AfrCase,
}

#[derive(Deserialize)]
struct Sparse {
    c: f64,
    probabilities: Vec<f64>,
    zeros: usize,
}

#[derive(Deserialize)]
struct AfrCase {
    p: Vec<f64>,
    labels: Vec<usize>,
    gamma: f64,
    weights: Vec<f64>,
}

#[test]
fn the_sparse_last_layer_of_dfr_equals_scikit_learn() {
    let reference: LastLayer = read("last_layer.json");
    let scale = Standardiser::fit(&reference.x, reference.width);
    for case in reference.l1 {
        let weights = vec![1.0; reference.n];
        let examples =
            Examples { features: &reference.x, width: reference.width, labels: &reference.y, weights: &weights };
        let head = fit_sparse(examples, 2, case.c, &scale).unwrap();
        let ours: Vec<f64> = reference.x.chunks(reference.width).map(|row| head.probabilities(row)[1]).collect();
        close("dfr", "probability", &ours, &case.probabilities);
        let zeros = head.weight[..reference.width].iter().filter(|w| **w == 0.0).count();
        assert_eq!(zeros, case.zeros, "C = {}", case.c);
    }
}

#[test]
fn the_weights_of_afr_are_those_of_its_equation() {
    let AfrCase { p, labels, gamma, weights } = read::<LastLayer>("last_layer.json").afr;
    let ours = afr::weights_of(&p, &labels, 2, gamma);
    assert!(ours.iter().zip(&weights).all(|(a, b)| (a - b).abs() < 1e-12));
}

#[test]
fn jtt_repeats_mistakes_and_nothing_else() {
    let data = TrainingData {
        labels: vec![0, 1, 0, 1],
        repeats: vec![1, 2, 1, 1],
        synthetic: vec![false; 4],
        classes: 2,
        errors: vec![1, 3],
        ..TrainingData::default()
    };
    assert_eq!(error_sets::Jtt { upweight: 3 }.rows(&data), [0, 1, 1, 1, 1, 1, 1, 2, 3, 3, 3]);
}

#[test]
fn subsets_are_balanced_distinct_and_seeded() {
    let groups = groups();
    let subset = |seed, draw| weighting::balanced_subset(&groups, &(seed, "t".into()), draw);
    let rows = subset(1, 0);
    let counts: Vec<usize> = (0..4).map(|g| rows.iter().filter(|&&r| groups.of[r] == g).count()).collect();
    assert_eq!(counts, vec![groups.smallest(); 4]);
    assert!(rows.windows(2).all(|w| w[0] < w[1]), "without replacement");
    assert_eq!(rows, subset(1, 0));
    assert_ne!(rows, subset(1, 1));
}

#[test]
fn the_worst_share_is_counted_to_a_fraction_of_an_example() {
    let weights = cvar_weights(&[0.1, 0.9, 0.5, 0.9], 0.6);
    let expected = [0.0, 1.0 / 2.4, 0.4 / 2.4, 1.0 / 2.4];
    assert!(weights.iter().zip(expected).all(|(a, b): (&f64, f64)| (a - b).abs() < 1e-12), "{weights:?}");
    assert_eq!(cvar_weights(&[3.0, 1.0], 1.0), [0.5, 0.5]);
}

/// What a checkpoint keeps of an objective is all that its later losses depend on.
#[test]
fn objectives_go_on_from_what_they_remember() {
    use crate::minibatch::{Item, column};
    let device = Device::flex().autodiff();
    let targets =
        Targets { names: vec![String::new(); 4], labels: vec![0, 1, 0, 1], weights: vec![1.0; 4], smoothing: 0.0 };
    let batch = |rows: [usize; 2]| Batch {
        items: rows.map(|row| Item { row, partner: None }).to_vec(),
        positives: 0,
        place: (0, 0),
    };
    let outputs = |shift: f64| -> Vec<Tensor<2>> {
        let logits = Tensor::cat(vec![column(&[0.3, shift], &device), column(&[1.1, 0.2 - shift], &device)], 1);
        vec![logits.clone(), logits.mul_scalar(0.5)]
    };
    let new: [fn() -> Box<dyn Objective>; 2] =
        [|| Box::new(GroupDro::new(vec![0, 1, 1, 0], &[2, 2], 0.5, 1.0)), || Box::new(Lff::new(0.7, 0.7, 4))];
    for new in new {
        let (mut whole, mut gone_on) = (new(), new());
        // Example 3 has not been seen when the state is kept.
        whole.loss(&outputs(0.7), &batch([0, 1]), &targets);
        whole.loss(&outputs(0.1), &batch([2, 1]), &targets);
        gone_on.remember(&whole.memory());
        for (shift, rows) in [(0.4, [3, 0]), (-0.5, [1, 2])] {
            let loss =
                |o: &mut Box<dyn Objective>| o.loss(&outputs(shift), &batch(rows), &targets).into_scalar::<f32>();
            assert_eq!(loss(&mut whole), loss(&mut gone_on));
        }
        assert_eq!(format!("{:?}", whole.memory()), format!("{:?}", gone_on.memory()));
    }
}

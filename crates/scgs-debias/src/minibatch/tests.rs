//! Tests of the loop's parts that no method's parity test covers: schedules, averages, clipping, freezing, failure.

use std::{
    cell::{Cell, RefCell},
    sync::atomic::AtomicBool,
};

use burn::nn::{Linear, LinearConfig};

use super::*;
use crate::methods::objective::Risk;

const X: [f32; 8] = [1.0, 0.0, 0.0, 1.0, 1.0, 1.0, -1.0, 0.5];

fn schedule() -> Schedule {
    Schedule {
        steps: 6,
        batch: 2,
        learning_rate: 0.1,
        decay: Decay::Constant,
        warmup: 0,
        optimiser: OptimiserKind::Sgd,
        weight_decay: 0.0,
        momentum: 0.0,
        clip: None,
        accumulate: 1,
        average: None,
        pull: None,
        stream: (1, "test".into()),
    }
}

fn targets() -> Targets {
    Targets {
        names: ["a", "b", "c", "d"].map(str::to_owned).to_vec(),
        labels: vec![0, 1, 0, 1],
        weights: vec![1.0; 4],
        smoothing: 0.0,
    }
}

fn start(device: &Device) -> Linear {
    let mut linear = LinearConfig::new(2, 2).init(device);
    let values = TensorData::new(vec![0.1f32, -0.2, 0.3, 0.4], [2, 2]);
    linear.weight = burn::module::Param::from_tensor(Tensor::from_data(values, device));
    linear.bias = Some(burn::module::Param::from_tensor(Tensor::zeros([2], device)));
    linear
}

/// Weights (in burn's layout) of every epoch and of the end.
fn run(schedule: &Schedule, prefixes: &[&str], inputs: &[f32]) -> Result<(Vec<Vec<f64>>, Vec<f64>), Error> {
    let cancelled = AtomicBool::new(false);
    let device = Device::flex().autodiff();
    let context = Context::new(Device::flex(), &cancelled, &|_| {});
    let visits = Visits { rows: vec![0, 1, 2, 3], sampler: Sampler::Shuffle, mixing: Mixing::None };
    let prefixes: Vec<String> = prefixes.iter().map(|p| (*p).to_owned()).collect();
    let (model, unused) = freeze(start(&device), &prefixes);
    assert!(unused.is_empty(), "{unused:?}");
    let mut seen = Vec::new();
    let (model, _) = train(
        &context,
        "t",
        model,
        schedule,
        &visits,
        &targets(),
        &mut Risk,
        &|m: &Linear, b| Ok(vec![m.forward(rows(inputs, 2, b, &device))]),
        &mut |m, _| {
            seen.push(numbers(m.weight.val()));
            Ok(ControlFlow::Continue(()))
        },
    )?;
    Ok((seen, numbers(model.valid().weight.val())))
}

#[test]
fn rates_rise_and_fall_as_documented() {
    let of = |decay, warmup| {
        let s = Schedule { steps: 9, learning_rate: 1.0, decay, warmup, ..schedule() };
        (0..9).map(|i| s.rate(i)).collect::<Vec<_>>()
    };
    assert_eq!(of(Decay::Constant, 2)[..4], [1.0 / 3.0, 2.0 / 3.0, 1.0, 1.0]);
    let step = of(Decay::Step, 0);
    assert!(step[..3] == [1.0; 3] && (step[3] - 0.1).abs() < 1e-12 && (step[8] - 0.01).abs() < 1e-12, "{step:?}");
    let cosine = of(Decay::Cosine, 0);
    assert!(cosine[0] == 1.0 && cosine.windows(2).all(|w| w[1] < w[0]) && cosine[8] > 0.0);
}

#[test]
fn accumulating_two_half_batches_is_one_whole_batch() {
    let whole = run(&Schedule { batch: 4, steps: 3, ..schedule() }, &[], &X).unwrap().1;
    let halves = run(&Schedule { batch: 2, steps: 3, accumulate: 2, ..schedule() }, &[], &X).unwrap().1;
    for (a, b) in whole.iter().zip(&halves) {
        assert!((a - b).abs() < 1e-6, "{whole:?} {halves:?}");
    }
}

/// Copies that answer otherwise show which gradients come from where, and in which steps there are how many.
#[test]
fn every_batch_of_a_step_but_the_first_goes_to_a_copy() {
    let cancelled = AtomicBool::new(false);
    let context = Context::new(Device::flex(), &cancelled, &|_| {});
    let visits = Visits { rows: vec![0, 1, 2, 3], sampler: Sampler::Shuffle, mixing: Mixing::None };
    let (made, joined) = (Cell::new(0), Cell::new(0));
    let replicas = Replicas {
        devices: &[Device::flex(), Device::flex()],
        copy: &|model: &Linear, device| {
            made.set(made.get() + 1);
            let mut copy = model.valid().to_device(device).train();
            copy.bias = None;
            copy
        },
        join: &|_, _| joined.set(joined.get() + 1),
    };
    let seen = RefCell::new(Vec::new());
    // Steps of 3 and of 1 batch in each of two epochs.
    let schedule = Schedule { batch: 1, steps: 4, accumulate: 3, ..schedule() };
    let (model, _) = train_kept(
        &context,
        "t",
        start(&Device::flex().autodiff()),
        &schedule,
        &visits,
        &targets(),
        &mut Risk,
        &|m: &Linear, b| {
            seen.borrow_mut().push(m.bias.is_some());
            Ok(vec![m.forward(rows(&X, 2, b, &Device::flex().autodiff()))])
        },
        &mut |_, _| Ok(ControlFlow::Continue(())),
        None,
        Some(&replicas),
    )
    .unwrap();
    assert_eq!(*seen.borrow(), [true, false, false, true, true, false, false, true]);
    assert_eq!((made.get(), joined.get()), (4, 4));
    let alone = run(&schedule, &[], &X).unwrap().1;
    assert_ne!(numbers(model.valid().weight.val()), alone, "gradients of copies count");
}

#[test]
fn clipping_bounds_the_step_and_leaves_small_gradients() {
    let moved = |clip| {
        let end = run(&Schedule { steps: 1, batch: 4, clip, ..schedule() }, &[], &X).unwrap().1;
        let start = [0.1, -0.2, 0.3, 0.4];
        end.iter().zip(start).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
    };
    let free = moved(None);
    assert!((moved(Some(100.0)) - free).abs() < 1e-9);
    // The bias has a gradient of its own, so the weights move by at most rate * limit.
    assert!(moved(Some(0.01)) <= 0.1 * 0.01 + 1e-7);
}

#[test]
fn the_average_lags_behind_and_is_the_result() {
    let plain = run(&schedule(), &[], &X).unwrap();
    let averaged = run(&Schedule { average: Some(0.5), ..schedule() }, &[], &X).unwrap();
    assert_eq!(averaged.0.last(), Some(&averaged.1));
    // By hand: one value per step, of which an epoch has two.
    let every = run(&Schedule { batch: 4, steps: 2, ..schedule() }, &[], &X).unwrap().0;
    let by_hand: Vec<f64> = (0..4)
        .map(|i| {
            let start = [0.1, -0.2, 0.3, 0.4][i];
            0.5 * (0.5 * start + 0.5 * every[0][i]) + 0.5 * every[1][i]
        })
        .collect();
    let got = run(&Schedule { batch: 4, steps: 2, average: Some(0.5), ..schedule() }, &[], &X).unwrap().1;
    assert!(got.iter().zip(&by_hand).all(|(a, b)| (a - b).abs() < 1e-6), "{got:?} {by_hand:?}");
    assert_ne!(plain.1, averaged.1);
}

#[test]
fn frozen_parts_do_not_move_and_unknown_ones_are_named() {
    let end = run(&schedule(), &["weight"], &X).unwrap().1;
    assert!(end.iter().zip([0.1, -0.2, 0.3, 0.4]).all(|(a, b)| (a - b).abs() < 1e-7), "{end:?}");
    let (_, unused) = freeze(start(&Device::flex()), &["layer9".to_owned()]);
    assert_eq!(unused, ["layer9"]);
}

#[test]
fn a_loss_that_is_not_a_number_names_step_rate_and_examples() {
    let error = run(&schedule(), &[], &[f32::NAN; 8]).unwrap_err().to_string();
    assert!(error.contains("at step 1") && error.contains("0.1"), "{error}");
    assert!(["a", "b", "c", "d"].iter().filter(|id| error.contains(&format!("\"{id}\""))).count() == 2, "{error}");
}

/// PyTorch 2.9: `F.cross_entropy(torch.tensor([[1., 2., 0.5]]), torch.tensor([2]), label_smoothing=0.1)`.
#[test]
fn smoothing_is_that_of_pytorch() {
    let logits = Tensor::<2>::from_data([[1.0, 2.0, 0.5]], &Device::flex());
    let targets = Targets { names: vec![], labels: vec![2], weights: vec![1.0], smoothing: 0.1 };
    let batch = Batch { items: vec![Item { row: 0, partner: None }], positives: 0, place: (0, 0) };
    let value = numbers(cross_entropies(logits, &batch, &targets))[0];
    let log_sum = (1f64.exp() + 2f64.exp() + 0.5f64.exp()).ln();
    let expected = 0.9 * (log_sum - 0.5) + 0.1 * (log_sum - (1.0 + 2.0 + 0.5) / 3.0);
    assert!((value - expected).abs() < 1e-6, "{value} {expected}");
}

//! Comparison with torchvision and efficientnet-lite-pytorch; `tests/fixtures/models/generate.py` computed the other side.

use std::{collections::BTreeMap, path::PathBuf};

use burn::{
    module::{Module, ModuleVisitor, Param},
    nn::loss::CrossEntropyLossConfig,
    optim::{
        AdamWConfig, GradientsParams, ModuleOptimizer, SgdConfig, decay::WeightDecayConfig, momentum::MomentumConfig,
    },
    tensor::{Device, Gradients, Int, Tensor, TensorData},
};
use serde::Deserialize;

use crate::{Architecture, HeadPolicy, Network, load, names};

const CLASSES: usize = 10;

pub(crate) fn fixture(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/models")).join(name)
}

pub(crate) fn lite0_weights() -> PathBuf {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../datasets/weights/efficientnet_lite0.safetensors").into()
}

fn json<T: for<'a> Deserialize<'a>>(name: &str) -> T {
    serde_json::from_str(&fs_err::read_to_string(fixture(name)).unwrap()).unwrap()
}

/// FNV-1a of the name, then SplitMix64: `count` multiples of 2^-24 in [0, 1), as in the generator.
pub(crate) fn uniform(name: &str, count: usize) -> impl Iterator<Item = f64> + use<> {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    (1..=count as u64).map(move |i| {
        let z = hash.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f64 / f64::from(1 << 24)
    })
}

fn weight(name: &str, shape: &[usize]) -> Vec<f32> {
    let value = |u: f64| match *shape {
        [_, i, h, w] => (2.0 * u - 1.0) * (6.0 / (i * h * w) as f64).sqrt(),
        [_, features] => (2.0 * u - 1.0) / (features as f64).sqrt(),
        _ if name.ends_with("running_var") => 0.5 + u,
        _ if name.ends_with(".weight") => 0.35 + 0.5 * u,
        _ => 0.2 * (u - 0.5),
    };
    uniform(name, shape.iter().product()).map(|u| value(u) as f32).collect()
}

pub(crate) fn network(architecture: Architecture, classes: usize, device: &Device) -> Network {
    names::replace(architecture.skeleton(classes, device), weight)
}

/// All biases of batch norms moved up, so that few pre-activations are near the kinks of ReLU and ReLU6: at a kink the
/// gradient hangs on the last bit, and PyTorch differs from itself in f32 and f64 by per cents.
fn shifted(architecture: Architecture, shift: f32, device: &Device) -> Network {
    names::replace(architecture.skeleton(CLASSES, device), |name, shape| {
        let of_norm = name.ends_with(".bias") && !name.ends_with("fc.bias");
        let shift = if of_norm { shift } else { 0.0 };
        weight(name, shape).into_iter().map(|value| value + shift).collect()
    })
}

pub(crate) fn pictures(name: &str, [n, h, w]: [usize; 3], device: &Device) -> Tensor<4> {
    let values: Vec<f32> = uniform(name, n * 3 * h * w).map(|u| (4.0 * u - 2.0) as f32).collect();
    Tensor::from_data(TensorData::new(values, [n, 3, h, w]), device)
}

pub(crate) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

/// Norm, sum, projection on a fixed direction, five elements: as `summary` of the generator.
fn summary(name: &str, values: &[f32]) -> [f64; 8] {
    let all = || values.iter().map(|v| f64::from(*v));
    let direction = uniform(&format!("direction.{name}"), values.len()).map(|u| 2.0 * u - 1.0);
    let mut out = [0.0; 8];
    out[0] = all().map(|v| v * v).sum::<f64>().sqrt();
    out[1] = all().sum();
    out[2] = all().zip(direction).map(|(v, d)| v * d).sum();
    for i in 0..5 {
        out[3 + i] = f64::from(values[i * (values.len() - 1) / 4]);
    }
    out
}

/// The largest difference of two summaries: relative to the norm for the measures that cover every element, and relative
/// to the root mean square or the element, whichever is larger, for single elements. Norms below `floor` count as `floor`.
fn difference(found: &[f32], name: &str, expected: &[f64], floor: f64) -> f64 {
    let norm = expected[0].max(floor).max(1e-12);
    let elements = (found.len() as f64).sqrt();
    summary(name, found)
        .iter()
        .zip(expected)
        .enumerate()
        .map(|(i, (a, b))| {
            let scale = match i {
                0 => norm,
                // A sum of n errors of one sign is sqrt(n) times larger than their norm.
                1 => norm * elements.sqrt(),
                2 => norm,
                _ => (norm / elements).max(b.abs()),
            };
            (a - b).abs() / scale
        })
        .fold(0.0, f64::max)
}

fn max_difference(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max)
}

#[test]
fn logits_equal_the_reference_for_every_size() {
    let expected: BTreeMap<Architecture, BTreeMap<String, Vec<f64>>> = json("logits.json");
    let device = Device::flex();
    for architecture in Architecture::ALL {
        let (network, step) = if architecture == Architecture::EfficientNetLite0 {
            (load(architecture, &lite0_weights(), None, HeadPolicy::Keep, &device).unwrap(), 50)
        } else {
            (network(architecture, CLASSES, &device), 1)
        };
        let folded = network.clone().fold_batch_norm();
        let (mut worst, mut worst_folded) = (0.0_f64, 0.0_f64);
        assert_eq!(expected[&architecture].len(), 10);
        for (shape, logits) in &expected[&architecture] {
            let size: Vec<usize> = shape.split('x').map(|number| number.parse().unwrap()).collect();
            let [n, h, w] = size[..] else { panic!("{shape}") };
            let x = pictures(&format!("input.{n}.{h}.{w}"), [n, h, w], &device);
            let sparse = |logits: Tensor<2>| -> Vec<f32> { values(logits).into_iter().step_by(step).collect() };
            worst = worst.max(max_difference(&sparse(network.forward(x.clone())), logits));
            worst_folded = worst_folded.max(max_difference(&sparse(folded.forward(x)), logits));
        }
        println!("{architecture}: max abs difference of logits {worst:.1e}, folded {worst_folded:.1e}");
        assert!(worst < 1e-4, "{architecture}: {worst}");
        assert!(worst_folded < 1e-4, "{architecture} folded: {worst_folded}");
    }
}

struct ByName<'a> {
    path: names::Path,
    grads: &'a Gradients,
    found: BTreeMap<String, Vec<f32>>,
}

impl ModuleVisitor for ByName<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(mut grad) = param.val().grad(self.grads) {
            if D == 2 {
                grad = grad.swap_dims(0, 1);
            }
            self.found.insert(self.path.name(), values(grad));
        }
    }
}

/// Number, pictures and size of a batch.
type Batch = [usize; 3];

fn loss_of(network: &Network, [k, n, size]: Batch, device: &Device) -> Tensor<1> {
    let labels: Vec<i64> = (0..n as i64).collect();
    let labels = Tensor::<1, Int>::from_data(TensorData::new(labels, [n]), device);
    let logits = network.forward(pictures(&format!("batch.{k}"), [n, size, size], device));
    CrossEntropyLossConfig::new().init(device).forward(logits, labels)
}

#[derive(Deserialize)]
struct GradientCase {
    batch: Batch,
    shift: f32,
    loss: f64,
    tensors: BTreeMap<String, Vec<f64>>,
}

#[test]
fn gradients_of_every_parameter_equal_the_reference() {
    let cases: BTreeMap<Architecture, GradientCase> = json("gradients.json");
    let device = Device::flex().autodiff();
    for (architecture, case) in cases {
        let network = shifted(architecture, case.shift, &device);
        let loss = loss_of(&network, case.batch, &device);
        let grads = loss.backward();
        let mut walk = ByName { path: names::Path::default(), grads: &grads, found: BTreeMap::new() };
        network.visit(&mut walk);
        let loss_difference = (f64::from(loss.into_scalar::<f32>()) - case.loss).abs();
        assert_eq!(walk.found.keys().collect::<Vec<_>>(), case.tensors.keys().collect::<Vec<_>>());
        // A shift in front of a batch norm has no effect: such gradients are zero but for rounding.
        let floor = 1e-4 * case.tensors.values().map(|tensor| tensor[0]).fold(0.0, f64::max);
        let worst = walk
            .found
            .iter()
            .map(|(name, grad)| (difference(grad, name, &case.tensors[name], floor), name))
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .unwrap();
        println!("{architecture}: loss {loss_difference:.1e}, gradients {:.1e} ({})", worst.0, worst.1);
        assert!(loss_difference < 1e-4, "{architecture}: {loss_difference}");
        assert!(worst.0 < 1e-3, "{architecture}: {worst:?}");
    }
}

#[derive(Deserialize)]
struct StepsCase {
    batches: Vec<Batch>,
    shift: f32,
    rate: f64,
    losses: Vec<f64>,
    tensors: BTreeMap<String, Vec<f64>>,
    logits: Vec<f64>,
}

fn steps(mut optimizer: ModuleOptimizer, case: &str) -> (f64, f64, f64) {
    let case = json::<BTreeMap<String, StepsCase>>("steps.json").remove(case).unwrap();
    let device = Device::flex().autodiff();
    let mut network = shifted(Architecture::ResNet18, case.shift, &device);
    let mut loss_difference = 0.0_f64;
    for (batch, expected) in case.batches.iter().zip(&case.losses) {
        let loss = loss_of(&network, *batch, &device);
        let grads = GradientsParams::from_grads(loss.backward(), &network);
        network = optimizer.step(case.rate, network, grads);
        loss_difference = loss_difference.max((f64::from(loss.into_scalar::<f32>()) - expected).abs());
    }
    let tensors = names::tensors(&network);
    let (weights, name) = tensors
        .iter()
        .map(|tensor| (difference(&tensor.values, &tensor.name, &case.tensors[&tensor.name], 0.0), &tensor.name))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .unwrap();
    println!("weights differ by {weights:.1e} at most, in {name}");
    let plain = Device::flex();
    let logits = network.valid().forward(pictures("input.5.64.64", [5, 64, 64], &plain));
    (loss_difference, weights, max_difference(&values(logits), &case.logits))
}

fn sgd() -> ModuleOptimizer {
    SgdConfig::new()
        .with_momentum(Some(MomentumConfig::new().with_momentum(0.9).with_dampening(0.0)))
        .with_weight_decay(Some(WeightDecayConfig::new(5e-4)))
        .init()
}

fn adamw() -> ModuleOptimizer {
    AdamWConfig::new().with_epsilon(1e-8).with_weight_decay(1e-2).init()
}

#[test]
fn one_step_of_sgd_and_of_adamw_equals_the_reference() {
    let found = steps(sgd(), "sgd-1");
    println!("sgd: loss, weights, logits {found:?}");
    assert!(found.1 < 1e-5 && found.2 < 1e-4, "{found:?}");
    let found = steps(adamw(), "adamw-1");
    println!("adamw: loss, weights, logits {found:?}");
    assert!(found.1 < 1e-3 && found.2 < 1e-3, "{found:?}");
}

#[test]
fn ten_steps_stay_with_the_reference() {
    let found = steps(sgd(), "sgd-10");
    println!("sgd: loss, weights, logits {found:?}");
    assert!(found.0 < 1e-3 && found.1 < 1e-3 && found.2 < 1e-3, "{found:?}");
}

#[test]
fn names_shapes_and_types_are_those_of_the_reference() {
    let expected: BTreeMap<Architecture, Vec<String>> = json("state_dicts.json");
    let device = Device::flex();
    let folder = tempfile::tempdir().unwrap();
    for (architecture, expected) in expected {
        let path = folder.path().join("weights.safetensors");
        crate::save(&architecture.skeleton(1000, &device), &path).unwrap();
        let bytes = fs_err::read(path).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let mut found: Vec<String> = file
            .tensors()
            .into_iter()
            .map(|(name, view)| {
                let kind = match view.dtype() {
                    safetensors::Dtype::F32 => "float32",
                    safetensors::Dtype::I64 => "int64",
                    other => panic!("{name} is {other:?}"),
                };
                format!("{name} {kind} {:?}", view.shape())
            })
            .collect();
        found.sort();
        let mut expected = expected;
        expected.sort();
        assert_eq!(found, expected, "{architecture}");
    }
}

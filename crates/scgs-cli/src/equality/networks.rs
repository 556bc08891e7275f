//! Classifiers: forward, backward, attention maps, training, features.

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    nn::loss::CrossEntropyLossConfig,
    optim::{GradientsParams, SgdConfig, decay::WeightDecayConfig, momentum::MomentumConfig},
    tensor::{Device, Gradients, Int, Tensor, TensorData, ops::ConvOptions},
};
use scgs_cam::{AttentionMap, CamMethod, Epsilon, Score, attention, attention_linear_head};
use scgs_cluster::{KMeansConfig, Matrix, kmeans};
use scgs_models::{Architecture, Network, pooled};

use super::{Part, noise};

/// Classes of every network here.
const CLASSES: usize = 10;
/// Pictures of a batch, and their width and height.
const PICTURES: usize = 4;
const SIDE: usize = 64;

/// Parameters one after the other, and their gradients where there are some.
#[derive(Default)]
struct Numbers<'a> {
    gradients: Option<&'a Gradients>,
    values: Vec<Vec<f32>>,
}

impl ModuleVisitor for Numbers<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        let data = match self.gradients {
            // Running statistics have none.
            Some(gradients) => value.grad(gradients).map(Tensor::into_data),
            None => Some(value.into_data()),
        };
        self.values.extend(data.map(|data| data.iter::<f32>().collect::<Vec<f32>>()));
    }
}

pub(super) fn gradients(network: &impl Module, gradients: &Gradients) -> Vec<Vec<f32>> {
    let mut numbers = Numbers { gradients: Some(gradients), values: Vec::new() };
    network.visit(&mut numbers);
    numbers.values
}

fn parameters(network: &impl Module) -> Vec<f32> {
    let mut numbers = Numbers::default();
    network.visit(&mut numbers);
    numbers.values.concat()
}

fn pictures(device: &Device) -> Tensor<4> {
    noise([PICTURES, 3, SIDE, SIDE], 1, device)
}

fn labels(device: &Device) -> Tensor<1, Int> {
    let labels: Vec<i64> = (0..PICTURES as i64).map(|i| i * 7 % CLASSES as i64).collect();
    Tensor::from_data(TensorData::new(labels, [PICTURES]), device)
}

/// Moves scale and shift of every normalisation up, so that few values are near the kinks of ReLU and ReLU6. There rounding alone
/// decides whether a gradient passes, and one that does not changes all of those before it by per cents.
struct AwayFromKinks;

impl ModuleMapper for AwayFromKinks {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|values| if D == 1 { (values.inner() + 2.0).autodiff().require_grad() } else { values })
    }
}

/// Logits as for inference, with batch norms as they are and folded; loss and gradients as in training.
fn forward_backward(architecture: Architecture, device: &Device) -> anyhow::Result<Vec<Part>> {
    let recorded = device.clone().autodiff();
    let network = architecture.init_seeded(CLASSES, 3, false, &recorded);
    // One batch of training gives the running statistics that inference normalises with.
    network.forward(pictures(&recorded));
    let smooth = architecture.init_seeded(CLASSES, 3, false, &recorded).map(&mut AwayFromKinks);
    let loss = CrossEntropyLossConfig::new().init(&recorded);
    let loss = loss.forward(smooth.forward(pictures(&recorded)), labels(&recorded));
    let found = gradients(&smooth, &loss.backward());
    anyhow::ensure!(!found.is_empty(), "{architecture:?} has no gradients");
    let stem = found[0].clone();
    let inference = network.valid();
    let logits = inference.forward(pictures(device));
    Ok(vec![
        Part::of("loss", loss)?,
        Part { what: "gradient of the first layer", values: stem },
        Part { what: "gradients of all layers", values: found.concat() },
        // The running statistics have seen the batch.
        Part::of("logits in inference", logits)?,
        Part::of("logits with folded batch norms", inference.fold_batch_norm().forward(pictures(device)))?,
    ])
}

pub(super) fn resnet18(device: &Device) -> anyhow::Result<Vec<Part>> {
    forward_backward(Architecture::ResNet18, device)
}

pub(super) fn resnet50(device: &Device) -> anyhow::Result<Vec<Part>> {
    forward_backward(Architecture::ResNet50, device)
}

pub(super) fn lite0(device: &Device) -> anyhow::Result<Vec<Part>> {
    forward_backward(Architecture::EfficientNetLite0, device)
}

/// Maps by a backward pass and in closed form.
pub(super) fn attention_maps(device: &Device) -> anyhow::Result<Vec<Part>> {
    let network = Architecture::ResNet18.init_seeded(CLASSES, 3, false, device).fold_batch_norm();
    let scores: Vec<Score> = (0..PICTURES).map(Score::Class).collect();
    let size = (SIDE, SIDE);
    let through = |layer: &'static str, method: &CamMethod| -> anyhow::Result<Vec<f32>> {
        let activation = network.until(layer, pictures(device))?;
        let tail = |activation| network.after(layer, activation).expect("the layer was found above");
        Ok(values(attention(method, activation, &tail, &scores, size)?))
    };
    let plus_plus = CamMethod::GradCamPlusPlus { epsilon: Epsilon::Absolute(1e-6) };
    let weight = network.linear().weight.val().transpose().into_data();
    let weight = weight.as_slice::<f32>().map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let last = network.until("layer4", pictures(device))?;
    Ok(vec![
        Part { what: "Grad-CAM++ at layer3", values: through("layer3", &plus_plus)? },
        Part { what: "LayerCAM at layer2", values: through("layer2", &CamMethod::LayerCam)? },
        Part {
            what: "Grad-CAM++ at layer4, closed form",
            values: values(attention_linear_head(&plus_plus, last, weight, &scores, size)?),
        },
    ])
}

fn values(maps: Vec<Option<AttentionMap>>) -> Vec<f32> {
    // A map without attention is all zeros.
    maps.into_iter().flat_map(|map| map.map_or_else(|| vec![0.0; SIDE * SIDE], |map| map.values)).collect()
}

/// SGD with momentum and weight decay on every layer.
pub(super) fn training(device: &Device) -> anyhow::Result<Vec<Part>> {
    let recorded = device.clone().autodiff();
    let mut network: Network = Architecture::ResNet18.init_seeded(CLASSES, 3, false, &recorded);
    let before = parameters(&network);
    let momentum = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0);
    let mut optimiser =
        SgdConfig::new().with_momentum(Some(momentum)).with_weight_decay(Some(WeightDecayConfig::new(1e-4))).init();
    let loss = CrossEntropyLossConfig::new().init(&recorded);
    let mut losses = Vec::new();
    for step in 0..3 {
        let x = noise([PICTURES, 3, SIDE, SIDE], 10 + step, &recorded);
        let now = loss.forward(network.forward(x), labels(&recorded));
        losses.push(now.clone().into_scalar::<f32>());
        let gradients = GradientsParams::from_grads(now.backward(), &network);
        network = optimiser.step(1e-3, network, gradients);
    }
    let moved = parameters(&network).iter().zip(&before).map(|(now, before)| now - before).collect();
    let logits = network.valid().forward(pictures(device));
    Ok(vec![
        Part { what: "losses", values: losses },
        Part { what: "what the weights moved", values: moved },
        Part::of("logits after", logits)?,
    ])
}

/// Pooled maps of the network that the project's runs use, and what k-means makes of them.
pub(super) fn features(device: &Device) -> anyhow::Result<Vec<Part>> {
    const ROWS: usize = 24;
    let network = Architecture::EfficientNetLite0.init_seeded(CLASSES, 3, false, device).fold_batch_norm();
    let features = pooled(network.features(noise([ROWS, 3, SIDE, SIDE], 5, device)));
    let [_, width] = features.dims();
    let features = Part::of("features", features)?;
    let found = kmeans(&Matrix::new(&features.values, ROWS, width)?, &KMeansConfig::new(3))?;
    Ok(vec![features, Part { what: "inertia of k-means", values: vec![found.inertia as f32] }])
}

/// What `scgs-models` computes in its own way on flex, in the shapes that networks here do not have.
pub(super) fn layers(device: &Device) -> anyhow::Result<Vec<Part>> {
    let recorded = device.clone().autodiff();
    let leaf = |shape: [usize; 4], seed| noise(shape, seed, &recorded).require_grad();
    let scale = |seed| noise([2, 16], seed, &recorded).require_grad();

    let (x, weight) = (leaf([2, 16, 9, 7], 1), leaf([16, 1, 5, 5], 2));
    let options = ConvOptions::new([2, 1], [2, 2], [1, 1], 16);
    let y = scgs_models::conv2d(x.clone(), weight.clone(), None, options);
    let grads = y.clone().square().sum().backward();
    let missing = || anyhow::anyhow!("an operation cut the graph");
    let mut parts = vec![
        Part::of("depthwise convolution", y)?,
        Part::of("depthwise convolution, gradient by the input", x.grad(&grads).ok_or_else(missing)?)?,
        Part::of("depthwise convolution, gradient by the weight", weight.grad(&grads).ok_or_else(missing)?)?,
    ];

    let (x, gamma, beta) = (leaf([2, 16, 9, 7], 3), scale(4), scale(5));
    let y = scgs_models::adaptive_group_norm(x.clone(), gamma.clone(), beta, 4, 1e-5, true);
    let grads = y.clone().powi_scalar(3).sum().backward();
    parts.extend([
        Part::of("group norm and SiLU", y)?,
        Part::of("group norm, gradient by the input", x.grad(&grads).ok_or_else(missing)?)?,
        Part::of("group norm, gradient by the scale", gamma.grad(&grads).ok_or_else(missing)?)?,
    ]);
    Ok(parts)
}

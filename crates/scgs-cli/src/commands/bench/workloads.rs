//! What is timed. xtask/src/bench/compute.py has each of them in PyTorch, scikit-learn or diffusers.

use anyhow::Context as _;
use burn::{
    module::Module,
    nn::loss::CrossEntropyLossConfig,
    optim::{GradientsParams, SgdConfig, momentum::MomentumConfig},
    tensor::{Device, Int, Tensor, TensorData},
};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use scgs_cam::{CamMethod, Epsilon, Score, attention_linear_head, attention_of_predicted};
use scgs_cluster::{KMeansConfig, Matrix, kmeans};
use scgs_diffusion::{
    sd::{UNetConfig, Weights},
    small::UnetConfig,
};
use scgs_models::Architecture;

/// Classes of every network here.
const CLASSES: usize = 1000;

/// One computation of fixed shape: `<what>-<pictures>x<side>` in most names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Workload {
    #[value(name = "train-resnet50-16x224")]
    TrainResNet50,
    #[value(name = "train-resnet18-64x64")]
    TrainResNet18,
    #[value(name = "train-efficientnet-lite0-32x128")]
    TrainLite0,
    /// The small diffusion model's network, forward and backward
    #[value(name = "train-unet-4x64")]
    TrainUnet,
    #[value(name = "infer-resnet50-16x224")]
    InferResNet50,
    #[value(name = "infer-resnet18-64x64")]
    InferResNet18,
    #[value(name = "infer-efficientnet-lite0-32x128")]
    InferLite0,
    #[value(name = "infer-unet-4x64")]
    InferUnet,
    /// Maps of the predicted classes at the last layer
    #[value(name = "gradcam++-resnet50-16x224")]
    GradCam,
    /// The same at the layer before, through a backward pass
    #[value(name = "gradcam++-layer3-resnet50-16x224")]
    GradCamLayer3,
    /// k 8, 10 restarts
    #[value(name = "kmeans-20000x2048")]
    KMeans,
    /// One call of Stable Diffusion 1.5's inpainting UNet, f32
    #[value(name = "sd-unet-512")]
    SdUnet,
}

/// A workload with its data in place.
pub(crate) struct Prepared {
    pub(crate) call: Box<dyn FnMut() -> anyhow::Result<()>>,
    /// Weights of the network; the other side must have as many.
    pub(crate) parameters: usize,
}

impl Workload {
    /// Makes networks and inputs, of another number or size than the name's where it is given.
    pub(crate) fn prepare(
        self,
        batch: Option<usize>,
        side: Option<usize>,
        device: &Device,
    ) -> anyhow::Result<Prepared> {
        let fixed_side = matches!(self, Self::TrainUnet | Self::InferUnet | Self::KMeans | Self::SdUnet);
        anyhow::ensure!(
            side.is_none() || !fixed_side,
            "--side: the inputs of this workload have one size; leave it out"
        );
        anyhow::ensure!(
            batch.is_none() || self != Self::SdUnet,
            "--batch: this workload is a single picture; leave it out"
        );
        let shape = |pictures: usize, pixels: usize| (batch.unwrap_or(pictures), side.unwrap_or(pixels));
        match self {
            Self::TrainResNet50 => Ok(training(Architecture::ResNet50, shape(16, 224), device)),
            Self::TrainResNet18 => Ok(training(Architecture::ResNet18, shape(64, 64), device)),
            Self::TrainLite0 => Ok(training(Architecture::EfficientNetLite0, shape(32, 128), device)),
            Self::InferResNet50 => Ok(inference(Architecture::ResNet50, shape(16, 224), device)),
            Self::InferResNet18 => Ok(inference(Architecture::ResNet18, shape(64, 64), device)),
            Self::InferLite0 => Ok(inference(Architecture::EfficientNetLite0, shape(32, 128), device)),
            Self::TrainUnet => Ok(unet(true, batch.unwrap_or(4), device)),
            Self::InferUnet => Ok(unet(false, batch.unwrap_or(4), device)),
            Self::GradCam => Ok(grad_cam("layer4", shape(16, 224), device)),
            Self::GradCamLayer3 => Ok(grad_cam("layer3", shape(16, 224), device)),
            Self::KMeans => Ok(k_means(batch.unwrap_or(20_000))),
            Self::SdUnet => sd_unet(device),
        }
    }
}

/// Numbers between -1 and 1, the same on every device.
fn numbers(count: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    (0..count).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn noise<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(numbers(shape.iter().product()), shape), device)
}

/// Waits until the device has computed `tensor`: one number of it is asked for.
fn wait<const D: usize>(tensor: Tensor<D>) -> anyhow::Result<()> {
    let value = tensor.sum().into_scalar::<f32>();
    anyhow::ensure!(value.is_finite(), "the workload gave {value}");
    Ok(())
}

/// A step of SGD with momentum on cross-entropy.
fn training(architecture: Architecture, (pictures, side): (usize, usize), device: &Device) -> Prepared {
    let device = device.clone().autodiff();
    let network = architecture.init_seeded(CLASSES, 0, false, &device);
    let parameters = network.num_params();
    let momentum = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0);
    let mut optimiser = SgdConfig::new().with_momentum(Some(momentum)).init();
    let loss = CrossEntropyLossConfig::new().init(&device);
    let x = noise([pictures, 3, side, side], &device);
    let labels: Vec<i64> = (0..pictures as i64).map(|i| i * 7 % CLASSES as i64).collect();
    let labels = Tensor::<1, Int>::from_data(TensorData::new(labels, [pictures]), &device);
    let mut network = Some(network);
    let call = move || {
        let now = network.take().context("a step that failed left no network")?;
        let loss = loss.forward(now.forward(x.clone()), labels.clone());
        let gradients = GradientsParams::from_grads(loss.backward(), &now);
        let next = optimiser.step(1e-3, now, gradients);
        wait(next.linear().weight.val())?;
        network = Some(next);
        Ok(())
    };
    Prepared { call: Box::new(call), parameters }
}

/// Logits with the batch norms folded.
fn inference(architecture: Architecture, (pictures, side): (usize, usize), device: &Device) -> Prepared {
    let network = architecture.init_seeded(CLASSES, 0, false, device);
    let parameters = network.num_params();
    let network = network.fold_batch_norm();
    let x = noise([pictures, 3, side, side], device);
    Prepared { call: Box::new(move || wait(network.forward(x.clone()))), parameters }
}

/// The small diffusion model's network; with gradients of the mean square.
fn unet(recorded: bool, pictures: usize, device: &Device) -> Prepared {
    let device = if recorded { device.clone().autodiff() } else { device.clone() };
    let config = UnetConfig::default();
    let network = config.init_seeded(0, &device);
    let parameters = network.num_params();
    let [channels, side] = UnetConfig::INPUT;
    let x = noise([pictures, channels, side, side], &device);
    let times: Vec<f32> = [0.1, 0.4, 0.7, 0.9].into_iter().cycle().take(pictures).collect();
    let classes: Vec<usize> = [0, 1, 2, 1].into_iter().cycle().take(pictures).collect();
    let call = move || {
        let y = network.forward(x.clone(), &times, &classes);
        if !recorded {
            return wait(y);
        }
        let gradients = GradientsParams::from_grads(y.square().mean().backward(), &network);
        anyhow::ensure!(!gradients.is_empty(), "the network has no gradients");
        Ok(())
    };
    Prepared { call: Box::new(call), parameters }
}

/// Forward pass and maps of the predicted classes at `layer`.
fn grad_cam(layer: &'static str, (pictures, side): (usize, usize), device: &Device) -> Prepared {
    let network = Architecture::ResNet50.init_seeded(CLASSES, 0, false, device);
    let parameters = network.num_params();
    let network = network.fold_batch_norm();
    let weight = network.linear().weight.val().transpose().into_data();
    let x = noise([pictures, 3, side, side], device);
    let method = CamMethod::GradCamPlusPlus { epsilon: Epsilon::Absolute(1e-6) };
    let call = move || {
        let activation = network.until(layer, x.clone())?;
        let tail = |activation| network.after(layer, activation).expect("the network has both layers");
        let maps: Vec<_> = if layer == "layer4" {
            let weight = weight.as_slice::<f32>().map_err(|e| anyhow::anyhow!("{e:?}"))?;
            let classes = tail(activation.clone()).argmax(1).into_data();
            let scores: Vec<Score> = classes.iter::<i64>().map(|class| Score::Class(class as usize)).collect();
            attention_linear_head(&method, activation, weight, &scores, (side, side))?
        } else {
            let found = attention_of_predicted(&method, activation, &tail, (side, side))?;
            found.into_iter().map(|(_, map)| map).collect()
        };
        anyhow::ensure!(maps.len() == pictures, "{} maps", maps.len());
        Ok(())
    };
    Prepared { call: Box::new(call), parameters }
}

/// Rows around 16 centres, so that there is something to find.
fn k_means(count: usize) -> Prepared {
    const WIDTH: usize = 2048;
    let centres = numbers(16 * WIDTH);
    let mut rows = numbers(count * WIDTH);
    for (i, row) in rows.chunks_exact_mut(WIDTH).enumerate() {
        let centre = &centres[i % 16 * WIDTH..][..WIDTH];
        row.iter_mut().zip(centre).for_each(|(value, centre)| *value = *value * 2.0 + centre);
    }
    let call = move || {
        let found = kmeans(
            &Matrix::new(&rows, count, WIDTH)?,
            &KMeansConfig { engine: scgs_cluster::Engine::Stable, ..KMeansConfig::new(8) },
        )?;
        anyhow::ensure!(found.inertia.is_finite(), "inertia {}", found.inertia);
        Ok(())
    };
    Prepared { call: Box::new(call), parameters: 0 }
}

fn sd_unet(device: &Device) -> anyhow::Result<Prepared> {
    let network = UNetConfig::stable_diffusion_1_5_inpainting().init(Weights::random(1), device)?;
    let (latents, text) = (noise([1, 9, 64, 64], device), noise([1, 77, 768], device));
    let call = move || wait(network.forward(latents.clone(), 741.0, text.clone(), 7.5, 0));
    Ok(Prepared { call: Box::new(call), parameters: 0 })
}

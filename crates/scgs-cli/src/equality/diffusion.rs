//! Schedulers, the networks of Stable Diffusion in a small shape, and the small diffusion model.

use std::path::Path;

use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::{Device, Tensor},
};
use scgs_diffusion::{
    sd::{SchedulerConfig, SchedulerKind, UNetConfig, VaeConfig, Weights},
    small::UnetConfig,
};

use super::{Part, networks::gradients, noise};

/// Every scheduler from noise to the end of six steps, with a stand-in for the UNet that mixes its input.
pub(super) fn schedulers(device: &Device) -> anyhow::Result<Vec<Part>> {
    const STEPS: usize = 6;
    let shape = [1, 4, 8, 8];
    let text = r#"{"_class_name": "PNDMScheduler", "beta_start": 0.00085, "beta_end": 0.012,
        "beta_schedule": "scaled_linear", "skip_prk_steps": true, "set_alpha_to_one": false, "steps_offset": 1}"#;
    let config = SchedulerConfig::parse(text, Path::new("scheduler_config.json"))?;
    let mut parts = Vec::new();
    for kind in SchedulerKind::ALL {
        let mut scheduler = config.scheduler(kind, STEPS)?;
        let timesteps = scheduler.timesteps().to_vec();
        let mut latents = noise(shape, 1, device).mul_scalar(scheduler.init_noise_sigma());
        for (i, timestep) in timesteps.iter().enumerate() {
            let input = scheduler.scale_model_input(latents.clone(), i);
            let answer = input.clone().tanh() * 0.8 + input.flip([3]) * (0.1 + f64::from(*timestep) / 5000.0);
            let mut draw = || noise(shape, 100 + i as u64, device);
            latents = scheduler.step(answer, i, latents, &mut draw);
        }
        parts.push(Part::of(kind.name(), latents)?);
    }
    Ok(parts)
}

/// One call with text and two levels, attention whole and head by head.
pub(super) fn unet(device: &Device) -> anyhow::Result<Vec<Part>> {
    let config = UNetConfig {
        sample_size: 8,
        block_out_channels: vec![32, 64],
        down_attention: vec![true, false],
        up_attention: vec![false, true],
        layers_per_block: vec![1; 2],
        heads: vec![4; 2],
        transformer_layers: vec![1; 2],
        cross_attention_dim: 32,
        norm_num_groups: 8,
        ..UNetConfig::stable_diffusion_1_5_inpainting()
    };
    let network = config.init(Weights::random(1), device)?;
    let (latents, text) = (noise([2, 9, 12, 8], 1, device), noise([2, 11, 32], 2, device));
    Ok(vec![
        Part::of("prediction", network.forward(latents.clone(), 741.0, text.clone(), 7.5, 0))?,
        Part::of("prediction, head by head", network.forward(latents, 741.0, text, 7.5, 1))?,
    ])
}

/// There and back.
pub(super) fn vae(device: &Device) -> anyhow::Result<Vec<Part>> {
    let config = VaeConfig {
        block_out_channels: vec![16, 32],
        layers_per_block: 1,
        norm_num_groups: 8,
        sample_size: 32,
        ..VaeConfig::stable_diffusion()
    };
    let network = config.init(Weights::random(2), device)?;
    let posterior = network.encode(noise([1, 3, 32, 24], 1, device));
    Ok(vec![
        Part::of("encoded", posterior.mode())?,
        Part::of("log variance", posterior.log_variance())?,
        Part::of("decoded", network.decode(noise([1, 4, 16, 12], 2, device)))?,
    ])
}

/// Adds noise to every weight.
struct Shake<'a> {
    device: &'a Device,
    seed: u64,
}

impl ModuleMapper for Shake<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.seed += 1;
        param.map(|weight| {
            let shaken = weight.clone().detach() + noise(weight.dims(), self.seed, self.device) * 0.02;
            // Only a tensor that comes from nowhere can ask for gradients.
            Tensor::from_data(shaken.into_data(), self.device).require_grad()
        })
    }
}

/// Forward and backward of the network that the project's runs paint with.
pub(super) fn small(device: &Device) -> anyhow::Result<Vec<Part>> {
    let recorded = device.clone().autodiff();
    let network = UnetConfig::default().init_seeded(0, &recorded);
    // Fresh weights make it the constant 0, in which nothing could differ.
    let network = network.map(&mut Shake { device: &recorded, seed: 1000 });
    let [channels, side] = UnetConfig::INPUT;
    let x = || noise([2, channels, side, side], 1, device);
    let (times, classes) = ([0.2, 0.8], [0, 2]);
    let y = network.forward(Tensor::from_data(x().into_data(), &recorded), &times, &classes);
    let found = gradients(&network, &y.clone().square().mean().backward());
    anyhow::ensure!(!found.is_empty(), "the network has no gradients");
    Ok(vec![
        Part::of("velocity in training", y)?,
        Part { what: "gradients of all layers", values: found.concat() },
        Part::of("velocity in painting", network.valid().forward(x(), &times, &classes))?,
    ])
}

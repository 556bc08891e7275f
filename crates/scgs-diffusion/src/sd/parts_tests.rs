//! UNet and VAE against diffusers, each on its own.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use scgs_models::{LazyTensor, open_tensors};

use super::{ModelFolder, UNet, UNetConfig, Vae, VaeConfig, Variant, WeightType, Weights};

/// The largest difference that counts as rounding.
const TOLERANCE: f32 = 1e-4;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/diffusion")
}

/// Inputs and outputs of single parts.
struct Parts(std::collections::BTreeMap<String, LazyTensor>);

impl Parts {
    fn read() -> Self {
        Self(open_tensors(&fixtures().join("parts.safetensors")).unwrap())
    }

    fn tensor<const D: usize>(&self, name: &str) -> Tensor<D> {
        let tensor = &self.0[name];
        let shape: [usize; D] = tensor.shape().try_into().unwrap();
        Tensor::from_data(TensorData::new(tensor.read().unwrap(), shape), &Device::flex())
    }

    /// The largest difference of `found` from the tensor `name`.
    fn difference(&self, found: Tensor<4>, name: &str) -> f32 {
        let expected = self.tensor::<4>(name);
        assert_eq!(found.dims(), expected.dims(), "{name}");
        let values = (found - expected).abs().into_data().try_into_vec::<f32>().unwrap();
        values.into_iter().fold(0.0, |most, value| if value.is_nan() { value } else { most.max(value) })
    }
}

fn unet(name: &str, kept: WeightType) -> UNet {
    let folder = fixtures().join("models").join(name);
    let (config, files) = match ModelFolder::open(&folder, Variant::Full) {
        Ok(folder) => (folder.config("unet"), folder.unet().to_vec()),
        // A network without a pipeline around it.
        Err(_) => (folder.join("config.json"), vec![folder.join("diffusion_pytorch_model.safetensors")]),
    };
    let weights = Weights::open(&files).unwrap().kept_as(kept);
    UNetConfig::read(&config).unwrap().init(weights, &Device::flex()).unwrap()
}

fn vae(name: &str, kept: WeightType) -> Vae {
    let folder = ModelFolder::open(&fixtures().join("models").join(name), Variant::Full).unwrap();
    let weights = Weights::open(folder.vae()).unwrap().kept_as(kept);
    VaeConfig::read(&folder.config("vae")).unwrap().init(weights, &Device::flex()).unwrap()
}

const UNETS: [(&str, &str, f64); 7] = [
    ("sd15", "8x8", 741.0),
    ("sd15", "5x9", 741.0),
    ("sd2", "8x8", 741.0),
    ("sd2", "6x10", 741.0),
    ("four", "8x12", 741.0),
    ("unet-lcm", "4x4", 21.0),
    ("unet-deep", "7x9", 21.0),
];

#[test]
fn unets_equal_those_of_diffusers() {
    let parts = Parts::read();
    for (name, size, timestep) in UNETS {
        let key = format!("unet.{name}.{size}");
        let (sample, text) = (parts.tensor(&format!("{key}.sample")), parts.tensor(&format!("{key}.text")));
        let net = unet(name, WeightType::F32);
        let all = net.forward(sample.clone(), timestep, text.clone(), 8.5, 0);
        let found = parts.difference(all, &format!("{key}.out"));
        let sliced = net.forward(sample, timestep, text, 8.5, 1);
        let found_sliced = parts.difference(sliced, &format!("{key}.out"));
        println!("{key}: {found:e}, attention head by head {found_sliced:e}");
        // Not `found > TOLERANCE`: that would let NaN through.
        assert!(found <= TOLERANCE && found_sliced <= TOLERANCE, "{key}: {found:e}, {found_sliced:e}");
    }
}

#[test]
fn the_vae_equals_that_of_diffusers_whole_and_in_tiles() {
    let parts = Parts::read();
    for name in ["sd15", "four"] {
        let image = parts.tensor::<4>(&format!("vae.{name}.image"));
        let latents = parts.tensor::<4>(&format!("vae.{name}.latents"));
        for (tiling, how) in [(false, "whole"), (true, "tiled")] {
            let vae = vae(name, WeightType::F32).with_tiling(tiling);
            let posterior = vae.encode(image.clone());
            for (what, found) in [
                ("mean", posterior.mode()),
                ("logvar", posterior.log_variance()),
                ("decoded", vae.decode(latents.clone())),
            ] {
                let key = format!("vae.{name}.{how}.{what}");
                let found = parts.difference(found, &key);
                println!("{key}: {found:e}");
                assert!(found <= TOLERANCE, "{key}: {found:e}");
            }
        }
    }
}

/// The fixtures' weights are numbers of f16, so that keeping them as such changes nothing; bf16 has fewer bits.
#[test]
fn weights_kept_as_f16_give_the_same_bits_and_as_bf16_nearly() {
    let parts = Parts::read();
    let key = "unet.sd15.8x8";
    let (sample, text) = (parts.tensor(&format!("{key}.sample")), parts.tensor(&format!("{key}.text")));
    let answer = |kept| unet("sd15", kept).forward(sample.clone(), 741.0, text.clone(), 8.5, 0);
    assert_eq!(answer(WeightType::F16).to_data(), answer(WeightType::F32).to_data());
    let found = parts.difference(answer(WeightType::BF16), &format!("{key}.out"));
    println!("{key} with bf16 weights: {found:e}");
    assert!(found > TOLERANCE && found < 0.1, "{found:e}");

    let image = parts.tensor::<4>("vae.sd15.image");
    let mean = |kept| vae("sd15", kept).encode(image.clone()).mode().to_data();
    assert_eq!(mean(WeightType::F16), mean(WeightType::F32));
}

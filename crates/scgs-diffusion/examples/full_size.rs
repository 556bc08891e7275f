//! Seconds and peak memory of the full-size Stable Diffusion 1.5 inpainting networks with random weights.
//!
//! ```sh
//! cargo build --release --workspace --bins --examples
//! target/release/examples/full_size unet 3      # calls of the UNet: 9 channels, 64 x 64 latents, 77 tokens, batch 1
//! target/release/examples/full_size vae 1       # encodes and decodes one 512 x 512 picture
//! target/release/examples/full_size unet 3 f16  # weights kept as f16
//! ```
//!
//! `tests/fixtures/diffusion/full_size.py` measures diffusers in the same way, and alternates the two.

#![expect(clippy::print_stdout, reason = "a program for the terminal")]
#![expect(clippy::unwrap_used, reason = "a measurement stops at the first surprise")]

use std::time::Instant;

use burn::tensor::{Device, Tensor, TensorData};
use scgs_diffusion::sd::{UNetConfig, VaeConfig, WeightType, Weights};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let part = words.first().map_or("unet", String::as_str);
    let calls: usize = words.get(1).map_or(1, |word| word.parse().unwrap());
    let kept = match words.get(2).map(String::as_str) {
        None | Some("f32") => WeightType::F32,
        Some("f16") => WeightType::F16,
        Some("bf16") => WeightType::BF16,
        Some(other) => panic!("unknown type of weights `{other}`"),
    };
    let device = Device::flex();
    let weights = Weights::random(1).kept_as(kept);
    let seconds: Vec<(&str, f64, f64)> = match part {
        "unet" => {
            let net = UNetConfig::stable_diffusion_1_5_inpainting().init(weights, &device).unwrap();
            let (latents, text) = (wave([1, 9, 64, 64], &device), wave([1, 77, 768], &device));
            (0..calls)
                .map(|_| timed("unet", || net.forward(latents.clone(), 741.0, text.clone(), 7.5, 0).into_data()))
                .collect()
        }
        "vae" => {
            let vae = VaeConfig::stable_diffusion().init(weights, &device).unwrap();
            let (picture, latents) = (wave([1, 3, 512, 512], &device), wave([1, 4, 64, 64], &device));
            let both = |_| {
                [
                    timed("encode", || vae.encode(picture.clone()).mode().into_data()),
                    timed("decode", || vae.decode(latents.clone()).into_data()),
                ]
            };
            (0..calls).flat_map(both).collect()
        }
        other => panic!("unknown part `{other}`: unet or vae"),
    };
    for (what, seconds, processor) in seconds {
        println!("{what} {seconds:.2} s, {processor:.2} s of all processors");
    }
    println!("peak {:.2} GiB", peak() / f64::from(1 << 30));
}

/// Numbers between -1 and 1.
fn wave<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    let values: Vec<f32> = (0..shape.iter().product::<usize>()).map(|i| (i as f32 * 0.7).sin()).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Seconds on the clock and of all processors together; on a busy machine the latter can be compared.
fn timed(what: &'static str, call: impl FnOnce() -> TensorData) -> (&'static str, f64, f64) {
    let (clock, before) = (Instant::now(), processor());
    let finite = call().try_into_vec::<f32>().unwrap().iter().all(|value| value.is_finite());
    assert!(finite, "{what}: NaN or infinity");
    (what, clock.elapsed().as_secs_f64(), processor() - before)
}

/// Seconds that this process has had of all processors, as Linux counts them: in hundredths.
fn processor() -> f64 {
    let stat = fs_err::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
    fields.skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap() / 100.0).sum()
}

/// The most bytes of memory that this process has had, as Linux counts them.
fn peak() -> f64 {
    let status = fs_err::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    1024.0 * line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap()
}

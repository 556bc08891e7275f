//! How much memory a forward pass and a training step take per picture, for the estimate behind `--max-memory`
//! (`scgs_debias::memory`). Linux alone: the peak is read from `/proc`.
//!
//!     cargo run --release -p scgs-models --features flex --example memory_per_picture
//!
//! Each figure comes from processes of its own, this program with arguments: the peak of one does not hide that of another.
#![expect(clippy::print_stdout, reason = "an example talks")]

use std::{env, error::Error, process::Command};

use burn::tensor::{Device, Tensor, TensorData};
use scgs_models::Architecture;

/// Side of the pictures in pixels.
const SIDE: usize = 224;
/// Two batches; their difference is what one more picture takes.
const BATCHES: [usize; 2] = [4, 12];

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = env::args().skip(1).collect();
    if let [architecture, what, batch] = words.as_slice() {
        println!("{}", peak_of(architecture.parse()?, what == "training", batch.parse()?)?);
        return Ok(());
    }
    println!("bytes per pixel of a picture of {SIDE} x {SIDE}\n{:<20} {:>9} {:>9}", "network", "forward", "training");
    for architecture in Architecture::ALL {
        let mut columns = Vec::new();
        for what in ["forward", "training"] {
            let [few, many] = BATCHES.map(|batch| -> Result<f64, Box<dyn Error>> {
                let own =
                    Command::new(env::current_exe()?).args([architecture.name(), what, &batch.to_string()]).output()?;
                Ok(String::from_utf8(own.stdout)?.trim().parse()?)
            });
            columns.push((many? - few?) / ((BATCHES[1] - BATCHES[0]) * SIDE * SIDE) as f64);
        }
        println!("{architecture:<20} {:>9.0} {:>9.0}", columns[0], columns[1]);
    }
    Ok(())
}

/// The largest memory of this process after three passes, in bytes.
fn peak_of(architecture: Architecture, training: bool, batch: usize) -> Result<f64, Box<dyn Error>> {
    let device = Device::flex();
    let values = || TensorData::new(vec![0.5_f32; batch * 3 * SIDE * SIDE], [batch, 3, SIDE, SIDE]);
    if training {
        let device = device.autodiff();
        let network = architecture.init(2, &device);
        for _ in 0..3 {
            let loss = network.forward(Tensor::<4>::from_data(values(), &device)).powi_scalar(2).mean();
            drop(loss.backward());
        }
    } else {
        let network = architecture.init(2, &device).fold_batch_norm();
        for _ in 0..3 {
            drop(network.forward(Tensor::<4>::from_data(values(), &device)).into_data());
        }
    }
    let status = fs_err::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM in /proc/self/status")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<f64>()? * 1024.0)
}

//! `scgs doctor`

use std::{path::PathBuf, process::ExitCode, time::Instant};

use burn::tensor::{Distribution, Tensor};
use serde::Serialize;

use super::{print, print_json};
use crate::{args::DoctorArgs, device};

/// Side of the square matrices of the speed probe.
const SIDE: usize = 1024;

/// What the commands on Habitat read, below the folder of data sets.
const FILES: [(&str, &str); 4] = [
    ("data set definitions", "habitat.toml"),
    ("Habitat's picture pack", "habitat/MANIFEST.tsv"),
    ("ImageNet weights", "weights/efficientnet_lite0.safetensors"),
    ("weights of the small inpainter", "weights/inpainter-habitat.safetensors"),
];

#[derive(Serialize)]
struct Row {
    device: &'static str,
    compiled_in: bool,
    /// Present when a small product could be computed.
    gflops: Option<f64>,
    hint: String,
}

pub(crate) fn run(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let rows: Vec<Row> = device::FAMILIES
        .iter()
        .map(|family| {
            if !family.compiled {
                let hint = format!("build with --features {}; needs {}", family.feature, family.needs);
                return Row { device: family.name, compiled_in: false, gflops: None, hint };
            }
            let (gflops, hint) = match probe(family.name) {
                Ok(speed) => (Some(speed), String::new()),
                Err(reason) => (None, format!("{reason}; needs {}", family.needs)),
            };
            Row { device: family.name, compiled_in: true, gflops, hint }
        })
        .collect();
    let files: Vec<(&str, PathBuf, bool)> = FILES
        .iter()
        .map(|(what, file)| {
            let path = args.datasets.join(file);
            let there = path.exists();
            (*what, path, there)
        })
        .collect();
    if args.common.json {
        let files =
            files.iter().map(|(what, path, there)| serde_json::json!({ "what": what, "path": path, "there": there }));
        print_json(&serde_json::json!({
            "schema": 1, "version": env!("CARGO_PKG_VERSION"), "threads": threads(), "devices": rows,
            "files": files.collect::<Vec<_>>(),
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    print(&format!(
        "scgs {} on {} {}, {} threads",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH,
        threads()
    ))?;
    print("\ndevices (--device)")?;
    for row in rows {
        let state = match (row.compiled_in, row.gflops) {
            (false, _) => "not compiled in".to_owned(),
            (true, Some(speed)) => format!("works, {speed:.0} GFLOP/s in f32 matrix products"),
            (true, None) => "does not work".to_owned(),
        };
        let hint = if row.hint.is_empty() { String::new() } else { format!(": {}", row.hint) };
        print(&format!("  {:<8} {state}{hint}", row.device))?;
    }
    print("\nfiles (--datasets, SCGS_DATASETS)")?;
    for (what, path, there) in &files {
        print(&format!("  {what:<32} {} {}", if *there { "found  " } else { "MISSING" }, path.display()))?;
    }
    if files.iter().any(|(_, _, there)| !there) {
        print("\nRun scgs inside the project, or name its datasets folder.")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Products per second of a second's work. A device whose driver is missing may panic inside its own crate.
fn probe(name: &'static str) -> Result<f64, String> {
    let attempt = std::panic::catch_unwind(|| {
        let device = device::open(name).map_err(|e| e.to_string())?;
        let a = Tensor::<2>::random([SIDE, SIDE], Distribution::Default, &device);
        let product = || a.clone().matmul(a.clone()).sum().into_scalar::<f32>();
        product();
        let clock = Instant::now();
        let mut rounds = 0;
        while clock.elapsed().as_secs_f64() < 1.0 {
            product();
            rounds += 1;
        }
        Ok(f64::from(rounds) * 2.0 * (SIDE as f64).powi(3) / clock.elapsed().as_secs_f64() / 1e9)
    });
    attempt.unwrap_or_else(|_| Err("the device's own code panicked".into()))
}

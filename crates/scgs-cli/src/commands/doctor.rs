//! `scgs doctor`

use std::{path::PathBuf, process::ExitCode, time::Instant};

use burn::tensor::{Device, Tensor, TensorData, ops::ConvOptions};
use serde::Serialize;

use super::{print, print_json};
use crate::{args_tools::DoctorArgs, device, equality, progress};

/// Side of the square matrices of the speed probe.
const SIDE: usize = 1024;
/// Pictures, channels (in and out), and side of the maps of its convolution with a 3 x 3 kernel.
const CONVOLUTION: [usize; 3] = [4, 64, 56];
/// How long either is repeated.
const SECONDS: f64 = 1.0;

/// What the commands on Habitat read, below the folder of data sets.
const FILES: [(&str, &str); 4] = [
    ("data set definitions", "habitat.toml"),
    ("Habitat's picture pack", "habitat/MANIFEST.tsv"),
    ("ImageNet weights", "weights/efficientnet_lite0.safetensors"),
    ("weights of the small inpainter", "weights/inpainter-habitat.safetensors"),
];

#[derive(Serialize)]
struct Row {
    device: String,
    compiled_in: bool,
    /// What the driver calls it.
    hardware: Option<String>,
    /// Matrix products; present when the device works.
    gflops: Option<f64>,
    /// Convolutions.
    convolution_gflops: Option<f64>,
    hint: String,
}

pub(crate) fn run(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let mut devices = Vec::new();
    let mut rows = Vec::new();
    if args.devices.is_empty() {
        for family in &device::FAMILIES {
            match device::open(family.name) {
                Ok(device) => devices.push((family.name.to_owned(), device)),
                Err(error) => rows.push(absent(family, &error)),
            }
        }
    } else {
        // Whoever names a device wants it.
        for name in &args.devices {
            devices.push((name.clone(), device::open(name)?));
        }
    }
    if args.equality {
        for row in rows.iter().filter(|row| row.compiled_in) {
            progress::line(&format!("{} is left out: {}", row.device, row.hint));
        }
        return compare(args, devices);
    }
    for (name, device) in &devices {
        rows.push(present(name, device));
    }
    rows.sort_by_key(|row| device::FAMILIES.iter().position(|family| family.name == row.device));
    show(args, &rows)
}

fn absent(family: &device::Family, error: &device::DeviceError) -> Row {
    let hint = match error {
        device::DeviceError::NotCompiled { .. } => {
            format!("build with --features {}; needs {}; {}", family.feature, family.needs, family.install)
        }
        other => other.to_string(),
    };
    Row {
        device: family.name.to_owned(),
        compiled_in: family.compiled,
        hardware: None,
        gflops: None,
        convolution_gflops: None,
        hint,
    }
}

/// A probe of two seconds: a second of matrix products, a second of convolutions.
fn present(name: &str, device: &Device) -> Row {
    let [pictures, channels, side] = CONVOLUTION;
    let a = counted([SIDE, SIDE], device);
    let product = || a.clone().matmul(a.clone()).sum().into_scalar::<f32>();
    let x = counted([pictures, channels, side, side], device);
    let weight = counted([channels, channels, 3, 3], device);
    let options = || ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
    let convolution = || scgs_models::conv2d(x.clone(), weight.clone(), None, options()).sum().into_scalar::<f32>();
    let measured = device::attempt(|| {
        (
            speed(&product, 2.0 * (SIDE as f64).powi(3)),
            speed(&convolution, 2.0 * 9.0 * (pictures * side * side) as f64 * (channels as f64).powi(2)),
        )
    });
    let (speeds, hint) = match measured {
        Ok(speeds) => (Some(speeds), String::new()),
        Err(reason) => (None, reason),
    };
    Row {
        device: name.to_owned(),
        compiled_in: true,
        hardware: device::hardware(device),
        gflops: speeds.map(|speeds| speeds.0),
        convolution_gflops: speeds.map(|speeds| speeds.1),
        hint,
    }
}

/// Small numbers that are not all equal.
fn counted<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    let values: Vec<f32> = (0..shape.iter().product::<usize>()).map(|i| (i % 17) as f32 / 17.0 - 0.5).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Billions of operations per second of a second's work, after a first call that compiles what has to be.
fn speed(call: &dyn Fn() -> f32, operations: f64) -> f64 {
    call();
    let clock = Instant::now();
    let mut rounds = 0;
    while clock.elapsed().as_secs_f64() < SECONDS {
        call();
        rounds += 1;
    }
    f64::from(rounds) * operations / clock.elapsed().as_secs_f64() / 1e9
}

fn show(args: &DoctorArgs, rows: &[Row]) -> anyhow::Result<ExitCode> {
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
    print(&machine())?;
    print("\ndevices (--device)")?;
    for row in rows {
        let state = match (row.compiled_in, row.gflops, row.convolution_gflops) {
            (false, ..) => "not compiled in".to_owned(),
            (true, Some(products), Some(convolutions)) => {
                let hardware = row.hardware.as_deref().map(|name| format!(" on {name}")).unwrap_or_default();
                format!(
                    "works{hardware}, {products:.0} GFLOP/s in f32 matrix products, {convolutions:.0} in convolutions"
                )
            }
            (true, ..) => "does not work".to_owned(),
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

/// Every device that works beside flex; ends with 1 where one gives other numbers.
fn compare(args: &DoctorArgs, devices: Vec<(String, Device)>) -> anyhow::Result<ExitCode> {
    let rows = equality::compare(&devices, &|next| {
        if !args.common.quiet {
            progress::line(next);
        }
    })?;
    let devices: Vec<_> = devices
        .iter()
        .map(|(name, device)| serde_json::json!({ "device": name, "hardware": device::hardware(device) }))
        .collect();
    let unequal = rows.iter().filter(|row| !row.equal).count();
    let table = equality::markdown(&rows);
    if let Some(path) = &args.markdown {
        let named: Vec<String> = devices
            .iter()
            .map(|device| match device["hardware"].as_str() {
                Some(hardware) => format!("{} is {hardware}", device["device"].as_str().unwrap_or_default()),
                None => device["device"].as_str().unwrap_or_default().to_owned(),
            })
            .collect();
        let text = format!("{}; {}. Largest differences from flex:\n\n{table}", machine(), named.join(", "));
        fs_err::write(path, text)?;
    }
    if args.common.json {
        print_json(&serde_json::json!({
            "schema": 1, "version": env!("CARGO_PKG_VERSION"), "threads": threads(), "tolerance": equality::TOLERANCE,
            "devices": devices, "unequal": unequal, "rows": rows,
        }))?;
    } else {
        print(&format!(
            "Largest difference from flex, of values scaled to 1; at most {} passes\n",
            equality::TOLERANCE
        ))?;
        print(&table)?;
        print(&match unequal {
            0 => "every device gives the numbers of flex".to_owned(),
            n => format!("{n} of {} comparisons failed: marked with **", rows.len()),
        })?;
    }
    Ok(if unequal == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn machine() -> String {
    let (system, processor) = (std::env::consts::OS, std::env::consts::ARCH);
    format!("scgs {} on {system} {processor}, {} threads", env!("CARGO_PKG_VERSION"), threads())
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

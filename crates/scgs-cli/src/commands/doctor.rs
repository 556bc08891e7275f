//! `scgs doctor`

use std::{process::ExitCode, time::Instant};

use burn::tensor::{Distribution, Tensor};
use serde::Serialize;

use super::{print, print_json};
use crate::{args::DoctorArgs, device};

/// Side of the square matrices of the speed probe.
const SIDE: usize = 1024;

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
    if args.common.json {
        print_json(&serde_json::json!({
            "schema": 1, "version": env!("CARGO_PKG_VERSION"), "threads": threads(), "devices": rows,
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
    for row in rows {
        let state = match (row.compiled_in, row.gflops) {
            (false, _) => "not compiled in".to_owned(),
            (true, Some(speed)) => format!("works, {speed:.0} GFLOP/s in f32 matrix products"),
            (true, None) => "does not work".to_owned(),
        };
        let hint = if row.hint.is_empty() { String::new() } else { format!(" ({})", row.hint) };
        print(&format!("  {:<8} {state}{hint}", row.device))?;
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

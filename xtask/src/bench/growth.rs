//! How cost grows: `scgs bench` with more pictures, larger pictures, more rows, on each device, with one thread and with all.

use std::num::NonZero;
use std::process::Command;

use anyhow::bail;
use serde_json::{Value, json};
use xshell::Shell;

use super::compute::Worker;
use super::{Args, Rounds, row};
use crate::workspace::Workspace;

/// What grows.
struct Sweep {
    /// In names of rows.
    name: &'static str,
    /// The option of `scgs bench`.
    option: &'static str,
    values: &'static [u64],
    /// Workloads, and what the page calls them.
    workloads: &'static [(&'static str, &'static str)],
    /// Items of a call where it is not the value itself.
    items: Option<u64>,
    /// Whether one thread is measured too.
    threads: bool,
    /// k-means is computed on the CPU whatever the device.
    devices: bool,
}

const NETWORK: &[(&str, &str)] =
    &[("infer-efficientnet-lite0-32x128", "inference"), ("train-efficientnet-lite0-32x128", "training")];

const SWEEPS: [Sweep; 3] = [
    Sweep {
        name: "batch",
        option: "--batch",
        values: &[1, 2, 4, 8, 16, 32, 64],
        workloads: NETWORK,
        items: None,
        threads: true,
        devices: true,
    },
    Sweep {
        name: "side",
        option: "--side",
        values: &[64, 96, 128, 160, 192, 224],
        workloads: NETWORK,
        items: Some(32),
        threads: false,
        devices: true,
    },
    Sweep {
        name: "rows",
        option: "--batch",
        values: &[5_000, 10_000, 20_000, 40_000],
        workloads: &[("kmeans-20000x2048", "k-means")],
        items: None,
        threads: true,
        devices: false,
    },
];

/// A row for every value, workload, device and number of threads.
pub(super) fn rows(workspace: &Workspace, shell: &Shell, args: &Args) -> anyhow::Result<Vec<Value>> {
    if args.vs_python {
        bail!("--vs-python: growth is that of `scgs` alone; `cargo xtask bench compute --vs-python` compares");
    }
    let scgs = workspace.scgs(shell)?;
    let all = std::thread::available_parallelism().map_or(1, NonZero::get);
    let mut rows = Vec::new();
    for sweep in &SWEEPS {
        let threads = if sweep.threads && all > 1 { vec![1, all] } else { vec![all] };
        let devices = if sweep.devices { args.devices.as_slice() } else { &args.devices[..1] };
        for &value in sweep.values {
            for (workload, what) in sweep.workloads {
                let mut workers = Vec::new();
                for device in devices {
                    for &threads in &threads {
                        let mut command = Command::new(&scgs);
                        command.args(["bench", workload, "--device", device, sweep.option]).arg(value.to_string());
                        // Rayon's threads are those of flex, OpenMP's those of tch.
                        command.envs(["RAYON_NUM_THREADS", "OMP_NUM_THREADS"].map(|name| (name, threads.to_string())));
                        workers.push((threads, Worker::start(device, &mut command)?));
                    }
                }
                for _ in 0..args.rounds.unwrap_or(3) {
                    workers.iter_mut().try_for_each(|(_, worker)| worker.call())?;
                }
                for (threads, worker) in &mut workers {
                    worker.end()?;
                    let device = if sweep.devices { worker.name.as_str() } else { "cpu" };
                    let name = format!("growth-{}-{value}-{what}-{threads}", sweep.name);
                    let mut row = row(&name, device, &worker.rounds, &Rounds::default(), 0.0);
                    let items = sweep.items.unwrap_or(value) as f64;
                    row["sweep"] = json!(sweep.name);
                    row["value"] = json!(value);
                    row["what"] = json!(what);
                    row["threads"] = json!(threads);
                    row["items_per_second"] = json!(row["seconds"].as_f64().map(|seconds| items / seconds));
                    println!("{}", super::table::line(&row));
                    rows.push(row);
                }
            }
        }
    }
    println!();
    Ok(rows)
}

//! `scgs bench`: one workload on one device, a call for every line that comes in. `cargo xtask bench` drives it.
//!
//! What it says is one JSON object per line: what is ready after a call to warm up, then the seconds of each call, and
//! at the end of its input the most memory that it had. Who drives it alternates it with another program that way.

mod workloads;

use std::{
    io::{BufRead as _, Write as _},
    process::ExitCode,
    time::Instant,
};

use anyhow::Context as _;
use clap::ValueEnum as _;
pub(crate) use workloads::Workload;

use crate::{args_tools::BenchArgs, device};

pub(crate) fn run(args: &BenchArgs) -> anyhow::Result<ExitCode> {
    let device = device::open(&args.device.device)?;
    let name = args.workload.to_possible_value().context("every workload has a name")?;
    let mut prepared = args.workload.prepare(args.batch, args.side, &device)?;
    (prepared.call)()?;
    say(&serde_json::json!({ "ready": name.get_name(), "parameters": prepared.parameters }))?;
    for line in std::io::stdin().lock().lines() {
        line.context("cannot read standard input")?;
        let clock = Instant::now();
        (prepared.call)()?;
        say(&serde_json::json!({ "seconds": clock.elapsed().as_secs_f64() }))?;
    }
    say(&serde_json::json!({ "peak_bytes": peak_bytes() }))?;
    Ok(ExitCode::SUCCESS)
}

fn say(value: &serde_json::Value) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{value}").and_then(|()| out.flush()).context("cannot write to standard output")
}

/// The most memory that this process has had at once, where the system tells.
fn peak_bytes() -> Option<u64> {
    let status = fs_err::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

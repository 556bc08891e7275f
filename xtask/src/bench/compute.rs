//! Whole computations: `scgs bench` on each device, and compute.py, a call of each in turn.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use xshell::Shell;

use super::{Args, Rounds, row};
use crate::workspace::Workspace;

/// The Python side.
const SCRIPT: &str = "xtask/src/bench/compute.py";

/// Every row, and how many times Python's speed it should have.
const ROWS: [(&str, f64); 12] = [
    ("train-resnet50-16x224", 1.0),
    ("train-resnet18-64x64", 1.0),
    ("train-efficientnet-lite0-32x128", 1.0),
    ("train-unet-4x64", 1.0),
    ("infer-resnet50-16x224", 1.2),
    ("infer-resnet18-64x64", 1.2),
    ("infer-efficientnet-lite0-32x128", 1.2),
    ("infer-unet-4x64", 1.2),
    ("gradcam++-resnet50-16x224", 3.0),
    ("gradcam++-layer3-resnet50-16x224", 3.0),
    ("kmeans-20000x2048", 2.0),
    ("sd-unet-512", 1.0),
];

/// A program that makes one call for every line that it gets.
pub(super) struct Worker {
    pub(super) name: String,
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
    /// Weights of its network.
    parameters: Value,
    pub(super) rounds: Rounds,
}

impl Worker {
    /// Starts it and waits for its call to warm up.
    pub(super) fn start(name: &str, command: &mut Command) -> anyhow::Result<Self> {
        let mut child = command
            .env("OMP_WAIT_POLICY", "PASSIVE")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let to = child.stdin.take();
        let from = BufReader::new(child.stdout.take().context("the program has no output")?);
        let mut worker =
            Self { name: name.to_owned(), child, to, from, parameters: Value::Null, rounds: Rounds::default() };
        worker.parameters = worker.answer("ready")?["parameters"].take();
        Ok(worker)
    }

    fn answer(&mut self, key: &str) -> anyhow::Result<Value> {
        let mut line = String::new();
        let read = self.from.read_line(&mut line).with_context(|| format!("{} cannot be read", self.name))?;
        ensure!(read > 0, "{} ended early; its own message is above", self.name);
        let value: Value = serde_json::from_str(&line).with_context(|| format!("{} said {line}", self.name))?;
        ensure!(value.get(key).is_some(), "{} said {line}, expected `{key}`", self.name);
        Ok(value)
    }

    pub(super) fn call(&mut self) -> anyhow::Result<()> {
        let to = self.to.as_mut().context("the program was ended")?;
        to.write_all(b"\n").and_then(|()| to.flush()).with_context(|| format!("{} does not listen", self.name))?;
        let said = self.answer("seconds")?;
        self.rounds.add(&said)
    }

    /// Ends it, and takes its peak of memory.
    pub(super) fn end(&mut self) -> anyhow::Result<()> {
        self.to = None;
        self.rounds.peak = self.answer("peak_bytes")?["peak_bytes"].as_u64();
        let status = self.child.wait()?;
        ensure!(status.success(), "{} ended with {status}", self.name);
        Ok(())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Where another worker failed this one still waits. It may have ended already: nothing to do then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The rows that `--rows` asks for, on every device.
pub(super) fn rows(workspace: &Workspace, shell: &Shell, args: &Args) -> anyhow::Result<Vec<Value>> {
    let wanted: Vec<_> = ROWS.iter().filter(|(name, _)| chosen(name, &args.rows)).collect();
    if wanted.is_empty() {
        let names: Vec<_> = ROWS.iter().map(|row| row.0).collect();
        bail!("--rows {}: no such row; there are {}", args.rows.join(","), names.join(", "));
    }
    let scgs = workspace.scgs(shell)?;
    let mut rows = Vec::new();
    for (name, goal) in wanted {
        let mut workers = Vec::new();
        for device in &args.devices {
            workers.push(Worker::start(device, Command::new(&scgs).args(["bench", name, "--device", device]))?);
        }
        if args.vs_python {
            let script = workspace.root().join(SCRIPT);
            let layout = args.channels_last.then_some("--channels-last");
            workers.push(Worker::start("Python", Command::new(&args.python).arg(script).arg(name).args(layout))?);
        }
        if let Some(other) = workers.iter().find(|worker| worker.parameters != workers[0].parameters) {
            let (a, b) = (&workers[0], other);
            bail!("{name}: {} has {} weights, {} has {}", a.name, a.parameters, b.name, b.parameters);
        }
        for _ in 0..args.rounds.unwrap_or(5) {
            workers.iter_mut().try_for_each(Worker::call)?;
        }
        workers.iter_mut().try_for_each(Worker::end)?;
        let python = if args.vs_python { workers.pop() } else { None };
        let python = python.map(|mut worker| std::mem::take(&mut worker.rounds)).unwrap_or_default();
        for worker in &workers {
            let mut row = row(name, &worker.name, &worker.rounds, &python, *goal);
            if worker.name != workers[0].name {
                row["first_device"] = json!(workers[0].name);
                row["speed_vs_first_device"] = json!(worker.rounds.speed_against(&workers[0].rounds));
            }
            println!("{}", super::table::line(&row));
            rows.push(row);
        }
    }
    println!();
    Ok(rows)
}

fn chosen(name: &str, parts: &[String]) -> bool {
    parts.is_empty() || parts.iter().any(|part| name.contains(part.as_str()))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{Worker, chosen};

    #[test]
    fn rows_are_chosen_by_parts_of_their_names() {
        assert!(chosen("train-unet-4x64", &[]) && chosen("train-unet-4x64", &["unet".into()]));
        assert!(!chosen("train-unet-4x64", &["kmeans".into(), "infer".into()]));
    }

    #[cfg(unix)]
    #[test]
    fn a_worker_is_warmed_up_called_and_ended() {
        let script = r#"echo '{"ready":"x","parameters":3}'; while read l; do echo '{"seconds":0.5}'; done; echo '{"peak_bytes":7}'"#;
        let mut worker = Worker::start("shell", Command::new("sh").args(["-c", script])).unwrap();
        worker.call().unwrap();
        worker.call().unwrap();
        worker.end().unwrap();
        assert_eq!((worker.parameters.as_u64(), worker.rounds.peak), (Some(3), Some(7)));
        assert_eq!(worker.rounds.seconds, [0.5, 0.5]);
    }

    #[cfg(unix)]
    #[test]
    fn a_worker_that_dies_is_named() {
        let failed = Worker::start("shell", Command::new("sh").args(["-c", "exit 3"]));
        assert!(failed.err().unwrap().to_string().contains("shell ended early"));
    }
}

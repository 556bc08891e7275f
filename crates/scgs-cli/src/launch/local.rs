//! Processes of this machine: one shard per device at a time.

use std::{
    fmt::Write as _,
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, bail};

use super::{Job, Launcher, quoted};
use crate::{CANCELLED, progress};

/// Starts processes and waits for them.
#[derive(Debug)]
pub(super) struct Local;

/// How often a shard that was killed is started again.
const RESTARTS: u32 = 2;

impl Launcher for Local {
    fn plan(&self, job: &Job) -> String {
        let scgs = quoted(&job.scgs.display().to_string());
        let mut text = String::new();
        let line = |words: Vec<String>| words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
        for seed in job.seeds.iter().map(u64::to_string) {
            let _ = writeln!(text, "{scgs} {}", line(job.run(&seed, &["--until", "masks"])));
            for shard in 0..job.shards {
                let _ = writeln!(text, "{scgs} {} &", line(shard_words(job, &seed, shard)));
            }
            let _ = writeln!(text, "wait\n{scgs} merge RUN_DIR\n{scgs} {}", line(job.run(&seed, &[])));
        }
        text.trim_end().to_owned()
    }

    fn launch(&self, job: &Job) -> anyhow::Result<String> {
        fs_err::create_dir_all(job.folder.join("logs"))?;
        for seed in job.seeds.iter().map(u64::to_string) {
            let prepared = Command::new(&job.scgs)
                .args(job.run(&seed, &["--until", "masks"]))
                .stderr(Stdio::inherit())
                .output()
                .context("cannot start scgs")?;
            succeeded("the part before the new pictures", prepared.status.code())?;
            let run_dir = String::from_utf8_lossy(&prepared.stdout).lines().last().unwrap_or_default().to_owned();
            shards(job, &seed)?;
            for words in [vec!["merge".to_owned(), run_dir], job.run(&seed, &[])] {
                let what = words[0].clone();
                let status = Command::new(&job.scgs).args(words).stdout(Stdio::null()).status()?;
                succeeded(&what, status.code())?;
            }
        }
        Ok(format!("done; logs of the shards in {}", job.folder.join("logs").display()))
    }
}

/// The words of a shard, counted from 0, with its device.
fn shard_words(job: &Job, seed: &str, shard: u32) -> Vec<String> {
    let device = &job.devices[shard as usize % job.devices.len()];
    job.synthesize(seed, &format!("{}/{}", shard + 1, job.shards), &["--on", device])
}

/// Paints all shards, as many at once as there are devices. A shard whose process was killed is started again and goes on.
fn shards(job: &Job, seed: &str) -> anyhow::Result<()> {
    let mut waiting: Vec<(u32, u32)> = (0..job.shards).rev().map(|shard| (shard, 0)).collect();
    let mut busy: Vec<Option<(u32, u32, Child)>> = job.devices.iter().map(|_| None).collect();
    let mut failed = Vec::new();
    while !waiting.is_empty() || busy.iter().any(Option::is_some) {
        for (slot, device) in busy.iter_mut().zip(&job.devices) {
            if let Some((shard, tries, mut child)) = slot.take() {
                match child.try_wait()? {
                    None => *slot = Some((shard, tries, child)),
                    Some(status) if status.success() => {
                        progress::notice(&format!("  shard {}/{} done", shard + 1, job.shards))
                    }
                    // No exit code: a signal ended it.
                    Some(status) if status.code().is_none() && tries < RESTARTS => waiting.push((shard, tries + 1)),
                    Some(_) => failed.push(shard + 1),
                }
            }
            let stopped = CANCELLED.load(std::sync::atomic::Ordering::Relaxed) || !failed.is_empty();
            if slot.is_none()
                && !stopped
                && let Some((shard, tries)) = waiting.pop()
            {
                let log =
                    job.folder.join("logs").join(format!("seed-{seed}-shard-{}-of-{}.log", shard + 1, job.shards));
                let log = fs_err::OpenOptions::new().create(true).append(true).open(log)?;
                let words = job.synthesize(seed, &format!("{}/{}", shard + 1, job.shards), &["--on", device]);
                let child =
                    Command::new(&job.scgs).args(words).stdout(Stdio::null()).stderr(log.into_parts().0).spawn()?;
                *slot = Some((shard, tries, child));
            } else if slot.is_none() && stopped {
                waiting.clear();
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    if !failed.is_empty() {
        bail!("shards {failed:?} of {} failed; see {}", job.shards, job.folder.join("logs").display());
    }
    if CANCELLED.load(std::sync::atomic::Ordering::Relaxed) {
        return Err(scgs_debias::Error::Interrupted { stage: "the shards".into() }.into());
    }
    Ok(())
}

fn succeeded(what: &str, code: Option<i32>) -> anyhow::Result<()> {
    match code {
        Some(0) => Ok(()),
        Some(130) => Err(scgs_debias::Error::Interrupted { stage: what.to_owned() }.into()),
        Some(code) => bail!("{what} ended with exit code {code}"),
        None => bail!("{what} was ended by a signal; the same command goes on"),
    }
}

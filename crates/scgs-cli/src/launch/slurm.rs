//! Slurm: one script per part, an array job for the shards, and a script that submits them as a chain.
//!
//! A job that is pre-empted, runs into its limit by a signal, or loses its node is put into the queue again and goes on from
//! its checkpoint or its last picture; a failed part keeps the later ones from starting. Every task has a log of its own.

use std::{fmt::Write as _, process::Command};

use anyhow::{Context as _, ensure};

use super::{Job, Launcher, quoted};

/// Writes scripts and calls `sbatch`.
#[derive(Debug)]
pub(super) struct Slurm;

/// Where the script of a part finds the folder of its seed.
const RUN_DIR: &str = "\"$(tail -n 1 \"$LAUNCH/logs/run-dir-$SEED\")\"";

impl Launcher for Slurm {
    fn plan(&self, job: &Job) -> String {
        let mut text = String::new();
        for (name, content) in scripts(job) {
            let _ = writeln!(text, "# ---- {}\n{content}", job.folder.join(name).display());
        }
        text.trim_end().to_owned()
    }

    fn launch(&self, job: &Job) -> anyhow::Result<String> {
        fs_err::create_dir_all(job.folder.join("logs"))?;
        for (name, content) in scripts(job) {
            scgs_data::atomic::write(job.folder.join(name), content)?;
        }
        let submit = job.folder.join("submit.sh");
        let output = Command::new("sh").arg(&submit).output().context("cannot start sh")?;
        ensure!(
            output.status.success(),
            "{}: {}; is this a machine from which jobs can be submitted (sbatch --version)?",
            submit.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        let said = String::from_utf8_lossy(&output.stdout);
        Ok(format!(
            "{}\nlogs in {}; `squeue --me` shows what waits",
            said.trim_end(),
            job.folder.join("logs").display()
        ))
    }
}

/// The scripts by name.
fn scripts(job: &Job) -> Vec<(&'static str, String)> {
    let seed = "$SEED";
    let scgs = quoted(&job.scgs.display().to_string());
    let line = |words: Vec<String>| {
        let words: Vec<String> =
            words.iter().map(|word| if word.starts_with('$') { format!("\"{word}\"") } else { quoted(word) }).collect();
        format!("{scgs} {}", words.join(" "))
    };
    let shard = format!("$SLURM_ARRAY_TASK_ID/{}", job.shards);
    let mut prepare = line(job.run(seed, &["--until", "masks"]));
    prepare += " > \"$LAUNCH/logs/run-dir-$SEED\"";
    let merge = format!("{scgs} merge {RUN_DIR}");
    let report = format!("{scgs} report {RUN_DIR}");
    let array = format!("#SBATCH --array=1-{}\n", job.shards);
    vec![
        ("1-masks.sh", script(job, "masks", "%x-%j.log", "", &prepare)),
        ("2-shards.sh", script(job, "shards", "%x-%A_%a.log", &array, &line(job.synthesize(seed, &shard, &[])))),
        ("3-merge.sh", script(job, "merge", "%x-%j.log", "", &merge)),
        ("4-retrain.sh", script(job, "retrain", "%x-%j.log", "", &line(job.run(seed, &[])))),
        ("5-report.sh", script(job, "report", "%x-%j.log", "", &report)),
        ("submit.sh", submit(job)),
    ]
}

fn script(job: &Job, part: &str, log: &str, more: &str, command: &str) -> String {
    let mut text = format!("#!/bin/sh\n#SBATCH --job-name=scgs-{}-{part}\n", job.dataset);
    let _ = writeln!(text, "#SBATCH --output={}", job.folder.join("logs").join(log).display());
    let _ = writeln!(text, "#SBATCH --time={}", job.time_limit);
    // A task that was taken away goes on in its old log.
    text += "#SBATCH --open-mode=append\n#SBATCH --requeue\n";
    text += more;
    for option in &job.options {
        let _ = writeln!(text, "#SBATCH {option}");
    }
    // Exit codes of bad input are for people; an interrupted task (128 + signal) goes back into the queue.
    let _ = write!(
        text,
        "set -u\n{command}\ncode=$?\nif [ \"$code\" -ge 128 ]; then\n  scontrol requeue \"${{SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}}${{SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}}\"\nfi\nexit \"$code\"\n"
    );
    text
}

/// Submits the chain of every seed.
fn submit(job: &Job) -> String {
    let folder = quoted(&job.folder.display().to_string());
    let mut text = format!("#!/bin/sh\nset -eu\nLAUNCH={folder}\nmkdir -p \"$LAUNCH/logs\"\n");
    let _ = writeln!(text, "for SEED in {}; do", job.seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(" "));
    text += "  export SEED LAUNCH\n  after=\n  chain=\n";
    text += "  for part in 1-masks 2-shards 3-merge 4-retrain 5-report; do\n";
    text += "    id=$(sbatch --parsable --export=ALL ${after:+--dependency=afterok:$after --kill-on-invalid-dep=yes} \"$LAUNCH/$part.sh\")\n";
    text += "    after=${id%%;*}\n    chain=\"$chain $part=$after\"\n  done\n";
    text += "  echo \"seed $SEED:$chain\"\ndone\n";
    text
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn job() -> Job {
        Job {
            scgs: PathBuf::from("/opt/scgs/scgs"),
            words: [
                "--dataset",
                "celeba",
                "--set",
                "synthesis.diffusion.prompts=[\"a photo of {class}\"]",
                "--device",
                "cuda:0",
            ]
            .map(str::to_owned)
            .to_vec(),
            run_words: Vec::new(),
            dataset: "celeba".to_owned(),
            seeds: vec![0, 1, 2],
            shards: 8,
            devices: Vec::new(),
            folder: PathBuf::from("launch"),
            time_limit: "0-12:00:00".to_owned(),
            options: vec!["--partition=gpu".to_owned(), "--gres=gpu:1".to_owned()],
        }
    }

    /// After a wanted change: `INSTA_UPDATE=always cargo test --release --workspace --bin scgs`.
    #[test]
    fn the_scripts_are_as_they_were() {
        let mut settings = insta::Settings::clone_current();
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!("slurm", Slurm.plan(&job())));
    }

    #[cfg(unix)]
    #[test]
    fn a_shell_reads_every_script() {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in scripts(&job()) {
            let path = dir.path().join(name);
            fs_err::write(&path, content).unwrap();
            let read = Command::new("sh").arg("-n").arg(&path).output().unwrap();
            assert!(read.status.success(), "{name}: {}", String::from_utf8_lossy(&read.stderr));
        }
    }

    /// With a stand-in for `sbatch` that writes down how it was called.
    #[cfg(unix)]
    #[test]
    fn every_part_waits_for_the_one_before_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let sbatch = dir.path().join("sbatch");
        fs_err::write(&sbatch, "#!/bin/sh\necho \"$SEED $@\" >> \"$CALLS\"\nwc -l < \"$CALLS\" | tr -d ' '\n").unwrap();
        fs_err::set_permissions(&sbatch, std::fs::Permissions::from_mode(0o755)).unwrap();
        let job = Job { folder: dir.path().join("launch"), seeds: vec![4, 5], ..job() };
        fs_err::create_dir_all(&job.folder).unwrap();
        let submit = job.folder.join("submit.sh");
        fs_err::write(&submit, super::submit(&job)).unwrap();
        let calls = dir.path().join("calls");
        let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap_or_default());
        let output = Command::new("sh").arg(&submit).env("PATH", path).env("CALLS", &calls).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let calls = fs_err::read_to_string(calls).unwrap();
        let lines: Vec<&str> = calls.lines().collect();
        assert_eq!(lines.len(), 10, "{calls}");
        assert!(lines[0].starts_with("4 ") && !lines[0].contains("dependency") && lines[0].ends_with("1-masks.sh"));
        assert!(lines[1].contains("--dependency=afterok:1 ") && lines[1].ends_with("2-shards.sh"), "{}", lines[1]);
        assert!(lines[4].contains("--dependency=afterok:4 ") && lines[4].ends_with("5-report.sh"), "{}", lines[4]);
        assert!(lines[5].starts_with("5 ") && !lines[5].contains("dependency"), "a seed waits for no other");
        assert!(String::from_utf8_lossy(&output.stdout).contains("seed 5: 1-masks=6 2-shards=7"));
    }
}

//! What fuzzing came to: `docs/experiments/fuzz.json` and the page beside it.

use std::{fmt::Write as _, path::Path};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// The last run of a target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Row {
    /// Name in `fuzz/fuzz_targets`.
    pub(super) target: String,
    /// What it reads.
    what: String,
    /// Inputs tried.
    pub(super) executions: u64,
    /// How long it ran.
    seconds: u64,
    /// Largest resident memory in MiB, that of the address sanitizer included.
    peak_mib: u64,
    /// Inputs that reached code which no input before them had reached, over all runs.
    corpus: usize,
    /// Inputs that crashed, hung or needed too much memory, by libFuzzer's names.
    pub(super) findings: Vec<String>,
}

/// All targets.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Log {
    schema: u32,
    rows: Vec<Row>,
}

/// Something that fuzzing found and that is mended.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mended {
    target: String,
    what: String,
    mended: String,
    test: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct MendedFindings {
    finding: Vec<Mended>,
}

/// A row from libFuzzer's output; `None` where its statistics are missing.
pub(super) fn row(target: String, what: String, text: &str, corpus: usize, findings: Vec<String>) -> Option<Row> {
    let stat = |key: &str| {
        let line = text.lines().rev().find_map(|line| line.trim().strip_prefix("stat::")?.strip_prefix(key))?;
        line.trim_start_matches(':').trim().parse::<u64>().ok()
    };
    // Its rate is a whole number; the time is in the line that ends a run, but not in that of a crash.
    let ended = text.lines().rev().find_map(|line| {
        let rest = line.strip_prefix("Done ")?;
        rest.split(" in ").nth(1)?.split(' ').next()?.parse::<u64>().ok()
    });
    let executions = stat("number_of_executed_units")?;
    let per_second = stat("average_exec_per_sec")?.max(1);
    let seconds = ended.unwrap_or(executions / per_second);
    Some(Row { target, what, executions, seconds, peak_mib: stat("peak_rss_mb")?, corpus, findings })
}

impl Log {
    /// The log beside `page`; empty where there is none.
    pub(super) fn read(page: &Path) -> anyhow::Result<Self> {
        let path = page.with_extension("json");
        if !path.is_file() {
            return Ok(Self { schema: 1, rows: Vec::new() });
        }
        let text = fs_err::read_to_string(&path)?;
        serde_json::from_str(&text).with_context(|| format!("{} is no log of this command", path.display()))
    }

    /// With the row of a target in the place of its old one.
    pub(super) fn with(mut self, row: Row) -> Self {
        self.rows.retain(|old| old.target != row.target);
        self.rows.push(row);
        self.rows.sort_by(|a, b| a.target.cmp(&b.target));
        self
    }

    /// Writes the log and the page.
    pub(super) fn write(&self, page: &Path, findings: &Path) -> anyhow::Result<()> {
        let mended: MendedFindings = toml::from_str(&fs_err::read_to_string(findings)?)
            .with_context(|| format!("{} is not as expected", findings.display()))?;
        fs_err::write(page.with_extension("json"), serde_json::to_string_pretty(self)? + "\n")?;
        Ok(fs_err::write(page, self.page(&mended))?)
    }

    fn page(&self, mended: &MendedFindings) -> String {
        let mut out = String::from(
            "# Damaged files\n\n\
             Made by `cargo xtask fuzz`, which builds the targets in `fuzz/` with coverage and the address sanitizer and gives each\n\
             seeds from the repository. A crash, more than 1024 MiB of memory, or 20 seconds for one input is a finding. The peak\n\
             includes the sanitizer's own memory.\n\n\
             | target | reads | executions | minutes | peak MiB | inputs kept | findings |\n\
             | --- | --- | ---: | ---: | ---: | ---: | --- |\n",
        );
        for row in &self.rows {
            let findings = if row.findings.is_empty() { "none".to_owned() } else { row.findings.join(", ") };
            let minutes = row.seconds as f64 / 60.0;
            let Row { target, what, executions, peak_mib, corpus, .. } = row;
            // Writing to a `String` cannot fail.
            let _ = writeln!(
                out,
                "| `{target}` | {what} | {executions} | {minutes:.1} | {peak_mib} | {corpus} | {findings} |"
            );
        }
        out += "\n## Found and mended\n\n";
        if mended.finding.is_empty() {
            out += "Nothing so far.\n";
            return out;
        }
        out += "| target | what happened | mended by | test |\n| --- | --- | --- | --- |\n";
        for Mended { target, what, mended, test } in &mended.finding {
            let _ = writeln!(out, "| `{target}` | {what} | {mended} | `{test}` |");
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDED: &str = "\
#2\tINITED cov: 10
Done 4096 runs in 61 second(s)
stat::number_of_executed_units: 4096
stat::average_exec_per_sec:     67
stat::new_units_added:          3
stat::slowest_unit_time_sec:    0
stat::peak_rss_mb:              87
";

    fn made(text: &str, findings: &[&str]) -> Option<Row> {
        let findings = findings.iter().map(|&f| f.to_owned()).collect();
        row("picture".to_owned(), "pictures".to_owned(), text, 12, findings)
    }

    #[test]
    fn the_statistics_are_read() {
        let row = made(ENDED, &[]).expect("statistics");
        assert_eq!((row.executions, row.seconds, row.peak_mib), (4096, 61, 87));
        let crash = ENDED.replace("Done 4096 runs in 61 second(s)\n", "");
        assert_eq!(made(&crash, &["crash-1"]).expect("statistics").seconds, 61);
        assert_eq!(made("Done 1 runs in 1 second(s)\n", &[]), None);
    }

    #[test]
    fn a_new_row_takes_the_place_of_the_old_one() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (page, findings) = (folder.path().join("fuzz.md"), folder.path().join("findings.toml"));
        fs_err::write(&findings, "[[finding]]\ntarget = \"t\"\nwhat = \"w\"\nmended = \"m\"\ntest = \"f\"\n").unwrap();
        for text in [ENDED.to_owned(), ENDED.replace("4096", "9000")] {
            let row = made(&text, &["crash-1"]).expect("statistics");
            Log::read(&page).unwrap().with(row).write(&page, &findings).unwrap();
        }
        let text = fs_err::read_to_string(&page).unwrap();
        assert_eq!(text.matches("`picture`").count(), 1);
        assert!(text.contains("| `picture` | pictures | 9000 | 1.0 | 87 | 12 | crash-1 |"), "{text}");
        assert!(text.contains("| `t` | w | m | `f` |"), "{text}");
    }
}

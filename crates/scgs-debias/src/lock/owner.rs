//! The note of a lock's owner, for people and for other hosts.

use std::{
    fmt,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use scgs_data::atomic;
use serde::{Deserialize, Serialize};

use super::STALE;
use crate::{Error, run_folder};

/// Who writes a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Process id on its host.
    pub pid: u32,
    /// Name of the host.
    pub host: String,
    /// What was called.
    pub command: String,
    /// Seconds since 1970 at which it began.
    pub started: u64,
    /// Seconds since 1970 of its last sign of life.
    pub heartbeat: u64,
}

impl Owner {
    /// This process, now.
    pub fn this() -> Self {
        let words: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
        let now = now();
        Self { pid: std::process::id(), host: host(), command: words.join(" "), started: now, heartbeat: now }
    }

    /// Reads a note; `None` where there is none, or none that can be read.
    pub fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs_err::read(path).ok()?).ok()
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(self).map_err(|e| run_folder::table_error(path, &e))?;
        Ok(atomic::write(path, text + "\n")?)
    }

    pub(super) fn beat(&mut self) {
        self.heartbeat = now();
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        (self.pid, &self.host, self.started) == (other.pid, &other.host, other.started)
    }

    fn silent(&self) -> u64 {
        now().saturating_sub(self.heartbeat)
    }

    /// Whether it is on another host and gave a sign of life lately.
    pub(super) fn lives_elsewhere(&self) -> bool {
        self.host != host() && self.silent() <= STALE.as_secs()
    }

    /// Whether it is another process of this host and gave a sign of life lately.
    pub(super) fn lives_here(&self) -> bool {
        self.host == host() && self.pid != std::process::id() && self.silent() <= STALE.as_secs()
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let age = |seconds: u64| match seconds {
            s if s < 120 => format!("{s} s"),
            s if s < 7200 => format!("{} min", s / 60),
            s => format!("{} h", s / 3600),
        };
        let since = now().saturating_sub(self.started);
        write!(f, "process {} on {} (`{}`", self.pid, self.host, self.command)?;
        write!(f, ", started {} ago, last sign of life {} ago)", age(since), age(self.silent()))
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// The name of this host: that of the kernel, or what the environment says.
pub(super) fn host() -> String {
    let kernel = fs_err::read_to_string("/proc/sys/kernel/hostname").ok().map(|name| name.trim().to_owned());
    let named = || ["HOSTNAME", "COMPUTERNAME"].iter().find_map(|name| std::env::var(name).ok());
    kernel.filter(|name| !name.is_empty()).or_else(named).unwrap_or_else(|| "unknown".to_owned())
}

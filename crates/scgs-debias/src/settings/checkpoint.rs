//! How often a training writes what an interrupted one goes on from: `[checkpoint]`.

use serde::{Deserialize, Serialize};

use super::Checks;

/// `[checkpoint]`: changes no result, and is no part of a run's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointSettings {
    /// Steps between two checkpoints of a training in mode `full`, 1 to 1000000. A shorter training begins anew.
    pub every: usize,
    /// How many stay, 1 to 1000: the newest.
    pub keep: usize,
}

impl Default for CheckpointSettings {
    fn default() -> Self {
        Self { every: 100, keep: 2 }
    }
}

impl CheckpointSettings {
    pub(super) fn check(&self, checks: &mut Checks) {
        checks.require((1..=1_000_000).contains(&self.every), "checkpoint.every", &self.every, "1 to 1000000");
        checks.require((1..=1000).contains(&self.keep), "checkpoint.keep", &self.keep, "1 to 1000");
    }
}

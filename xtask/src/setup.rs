//! `cargo xtask setup`: installs what the tests need beyond Rust.

use anyhow::Context;

use crate::Outcome;
use crate::workspace::Workspace;

/// The version that continuous integration and contributors share.
const NEXTEST: &str = "cargo-nextest@0.9.143";

/// Installs each missing tool from source.
///
/// # Errors
/// When a tool cannot be built or downloaded.
pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<Outcome> {
    let shell = workspace.shell()?;
    if workspace.has_subcommand(&shell, "nextest") {
        println!("cargo-nextest is installed");
    } else {
        // Its artefacts have no place among the project's, which clones share.
        workspace
            .cargo(&shell, &["install", "--locked", NEXTEST])
            .env_remove("CARGO_TARGET_DIR")
            .run()
            .with_context(|| format!("cannot install {NEXTEST}; the tests fall back to `cargo test` without it"))?;
    }
    Ok(Outcome::Done)
}

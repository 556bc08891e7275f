//! Where the workspace is, and how cargo is called in it.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use xshell::{Cmd, Shell, cmd};

/// The package selection that every build of this workspace uses.
///
/// Cargo unifies features over what it is asked to build, so `-p scgs-cli` here and `--workspace` there compile burn
/// twice (some eight minutes each). `--workspace` alone is not enough either: dev-dependencies join the unification
/// only when a test or example target is selected, and `predicates` turns on features of `regex`, on which burn-core
/// depends. `--examples` makes cargo count the dev-dependencies while, with no example in the workspace, building
/// nothing more.
pub(crate) const BINARIES: [&str; 4] = ["--release", "--workspace", "--bins", "--examples"];

/// The checkout this program works on.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
    cargo: PathBuf,
}

impl Workspace {
    /// Finds the workspace from the environment that `cargo run` sets.
    ///
    /// The environment and not `env!`: clones may share a target directory, and a path baked into the binary would be
    /// that of whoever built it last.
    ///
    /// # Errors
    /// When the program was not started by cargo.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let manifest_dir = std::env::var_os("CARGO_MANIFEST_DIR")
            .context("CARGO_MANIFEST_DIR is not set: start this program as `cargo xtask <command>`")?;
        let root = Path::new(&manifest_dir)
            .parent()
            .with_context(|| format!("{} has no parent folder", Path::new(&manifest_dir).display()))?;
        let cargo = std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
        Ok(Self { root: root.to_path_buf(), cargo })
    }

    /// The folder of the workspace's `Cargo.toml`.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A shell in the workspace root.
    ///
    /// # Errors
    /// When the current folder does not exist any more.
    pub(crate) fn shell(&self) -> anyhow::Result<Shell> {
        let shell = Shell::new()?;
        shell.change_dir(&self.root);
        Ok(shell)
    }

    /// `cargo <args>` as a person would call it from a terminal.
    ///
    /// `cargo run` leaves `CARGO_PKG_*` and `CARGO_MANIFEST_*` of this package behind. A build script that watches one
    /// would run again, and all that depends on it be built again, at every change between `cargo build` and
    /// `cargo xtask`.
    pub(crate) fn cargo<'a>(&self, shell: &'a Shell, args: &[&str]) -> Cmd<'a> {
        let cargo = &self.cargo;
        let mut command = cmd!(shell, "{cargo} {args...}");
        for (name, _) in std::env::vars_os() {
            let Some(name) = name.to_str() else { continue };
            if left_by_cargo_run(name) {
                command = command.env_remove(name);
            }
        }
        command
    }

    /// Whether the cargo subcommand `name` (such as `nextest`) is installed.
    pub(crate) fn has_subcommand(&self, shell: &Shell, name: &str) -> bool {
        self.cargo(shell, &[name, "--version"]).quiet().ignore_stdout().ignore_stderr().run().is_ok()
    }

    /// The folder into which cargo builds, wherever the environment or a configuration file puts it.
    ///
    /// # Errors
    /// When cargo cannot read the workspace.
    pub(crate) fn target_dir(&self, shell: &Shell) -> anyhow::Result<PathBuf> {
        let args = ["metadata", "--format-version", "1", "--no-deps", "--offline"];
        let text = self.cargo(shell, &args).quiet().read().context("cannot ask cargo for the target directory")?;
        let metadata: serde_json::Value = serde_json::from_str(&text).context("cargo metadata is not JSON")?;
        match metadata["target_directory"].as_str() {
            Some(path) => Ok(PathBuf::from(path)),
            None => bail!("cargo metadata names no target_directory"),
        }
    }

    /// Where [`BINARIES`] puts the `scgs` binary.
    ///
    /// # Errors
    /// As [`Workspace::target_dir`].
    pub(crate) fn scgs(&self, shell: &Shell) -> anyhow::Result<PathBuf> {
        let name = format!("scgs{}", std::env::consts::EXE_SUFFIX);
        Ok(self.target_dir(shell)?.join("release").join(name))
    }
}

/// Whether `cargo run` set this variable for us, as opposed to a person who configured cargo with it.
fn left_by_cargo_run(name: &str) -> bool {
    name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
}

#[cfg(test)]
mod tests {
    use super::left_by_cargo_run;

    #[test]
    fn only_what_cargo_run_sets_is_removed() {
        for name in ["CARGO_PKG_NAME", "CARGO_PKG_VERSION_MAJOR", "CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH"] {
            assert!(left_by_cargo_run(name), "{name} is ours");
        }
        for name in ["CARGO_TARGET_DIR", "CARGO_HOME", "CARGO_TERM_COLOR", "RUSTC_BOOTSTRAP", "RUSTFLAGS"] {
            assert!(!left_by_cargo_run(name), "{name} is a person's setting");
        }
    }
}

//! scgs-cam and scgs-cluster compute and nothing else: no file, no network.

use super::manifests::{Dependency, dependencies};
use super::{Problem, code, numbered};

/// The crates that promise it.
const PURE: [&str; 2] = ["crates/scgs-cam/", "crates/scgs-cluster/"];

/// Ways to a file or a socket, as they are written in code.
const FORBIDDEN_CODE: [&str; 11] = [
    "std::fs",
    "std::net",
    "fs_err",
    "File::",
    "OpenOptions",
    "tempfile",
    "ureq",
    "reqwest",
    "image::open",
    ".save(",
    "ImageReader::open",
];

/// Packages whose purpose is a file or a socket.
const FORBIDDEN_PACKAGES: [&str; 10] =
    ["fs-err", "tempfile", "memmap2", "csv", "ureq", "reqwest", "hf-hub", "tokio", "walkdir", "camino"];

/// Lines of a pure crate that reach outside. Its tests may read fixtures.
pub(super) fn source_problems(path: &str, text: &str) -> Vec<Problem> {
    if !PURE.iter().any(|folder| path.starts_with(&format!("{folder}src/"))) || path.ends_with("/tests.rs") {
        return Vec::new();
    }
    let mut out = Vec::new();
    // By convention the test module ends the file.
    let library = numbered(text).take_while(|(_, line)| line.trim() != "#[cfg(test)]");
    for (number, line) in library {
        for forbidden in FORBIDDEN_CODE {
            if code(line).contains(forbidden) {
                out.push(Problem::at(
                    number,
                    format!("`{forbidden}` in a crate that promises no files and no network"),
                ));
            }
        }
    }
    out
}

/// Dependencies of a pure crate that reach outside; what only its tests use is free.
pub(super) fn manifest_problems(path: &str, text: &str) -> Vec<Problem> {
    if !PURE.iter().any(|folder| path.starts_with(folder)) {
        return Vec::new();
    }
    dependencies(text)
        .into_iter()
        .filter(|Dependency { table, name, .. }| {
            !table.ends_with("dev-dependencies") && FORBIDDEN_PACKAGES.contains(&name.as_str())
        })
        .map(|Dependency { name, .. }| {
            Problem::whole(format!("depends on `{name}`, but promises no files and no network"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{FORBIDDEN_CODE, Problem, manifest_problems, source_problems};

    #[test]
    fn computing_passes() {
        let good = "//! No std::fs here.\nfn f() -> f32 { 1.0 }\n#[cfg(test)]\nmod tests { use fs_err as fs; }\n";
        assert_eq!(source_problems("crates/scgs-cam/src/lib.rs", good), []);
    }

    #[test]
    fn reaching_outside_is_found() {
        for forbidden in FORBIDDEN_CODE {
            let bad = format!("//! Bad.\nlet x = {forbidden};\n");
            for path in ["crates/scgs-cam/src/mask.rs", "crates/scgs-cluster/src/a/b.rs"] {
                assert_eq!(source_problems(path, &bad).len(), 1, "{forbidden} in {path}");
            }
            assert_eq!(source_problems("crates/scgs-data/src/lib.rs", &bad), []);
            assert_eq!(source_problems("crates/scgs-cam/tests/fixtures.rs", &bad), []);
        }
    }

    #[test]
    fn dependencies_that_reach_outside_are_found() {
        let text = "[dependencies]\nserde.workspace = true\nfs-err.workspace = true\n\
                    [dev-dependencies]\ntempfile.workspace = true\n";
        let expected = [Problem::whole("depends on `fs-err`, but promises no files and no network")];
        assert_eq!(manifest_problems("crates/scgs-cam/Cargo.toml", text), expected);
        assert_eq!(manifest_problems("crates/scgs-data/Cargo.toml", text), []);
    }
}

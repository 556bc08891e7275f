//! Members of the workspace take versions, lints and package facts from the root manifest.

use toml::{Table, Value};

use super::Problem;

/// Facts that are the same for every member.
const INHERITED: [&str; 4] = ["version", "edition", "rust-version", "license"];

/// A package of the workspace.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// Path of its `Cargo.toml`.
    pub(super) manifest: String,
    /// Its folder's name, which is its package's name in `crates/`.
    pub(super) folder: String,
}

/// One line of a dependency table.
pub(super) struct Dependency {
    /// Such as `dev-dependencies` or `target.cfg(unix).dependencies`.
    pub(super) table: String,
    /// The package as the member calls it.
    pub(super) name: String,
    /// Whether it says `workspace = true`.
    inherits: bool,
}

/// The members among these paths: `crates/*`, `tests` and `xtask`, as the root manifest lists them.
pub(super) fn members(paths: &[String]) -> Vec<Member> {
    let member = |path: &String| {
        let folder = path.strip_suffix("/Cargo.toml")?;
        let name = folder.strip_prefix("crates/").unwrap_or(folder);
        // What fuzzes is built with other flags and is no member.
        (!name.contains('/') && name != "fuzz").then(|| Member { manifest: path.clone(), folder: name.to_owned() })
    };
    paths.iter().filter_map(member).collect()
}

/// What a member's manifest says for itself although the root says it.
pub(super) fn problems(text: &str) -> Vec<Problem> {
    let table: Table = match text.parse() {
        Ok(table) => table,
        Err(error) => return vec![Problem::whole(format!("not TOML: {error}"))],
    };
    let mut out = Vec::new();
    for key in INHERITED {
        if !inherits(table.get("package").and_then(|package| package.get(key))) {
            out.push(Problem::whole(format!("`[package]` must say `{key}.workspace = true`")));
        }
    }
    if !inherits(table.get("lints")) {
        out.push(Problem::whole("`[lints]` must say `workspace = true`"));
    }
    for Dependency { table, name, inherits } in dependencies(text) {
        if !inherits {
            let message = format!(
                "`{name}` in `[{table}]` must say `workspace = true`; its version belongs in the root's \
                 `[workspace.dependencies]`"
            );
            out.push(Problem::whole(message));
        }
    }
    out
}

/// Every dependency of a manifest, in all its tables; none when it is not TOML.
pub(super) fn dependencies(text: &str) -> Vec<Dependency> {
    let Ok(root) = text.parse::<Table>() else {
        return Vec::new();
    };
    let mut out = Vec::new();
    collect(&root, "", &mut out);
    if let Some(targets) = root.get("target").and_then(Value::as_table) {
        for (target, table) in targets {
            if let Some(table) = table.as_table() {
                collect(table, &format!("target.{target}."), &mut out);
            }
        }
    }
    out
}

fn collect(parent: &Table, prefix: &str, out: &mut Vec<Dependency>) {
    for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
        for (name, value) in parent.get(kind).and_then(Value::as_table).into_iter().flatten() {
            let table = format!("{prefix}{kind}");
            out.push(Dependency { table, name: name.clone(), inherits: inherits(Some(value)) });
        }
    }
}

fn inherits(value: Option<&Value>) -> bool {
    value.and_then(|value| value.get("workspace")).and_then(Value::as_bool) == Some(true)
}

#[cfg(test)]
mod tests {
    use super::{Problem, members, problems};

    const GOOD: &str = r#"
        [package]
        name = "scgs-x"
        version.workspace = true
        edition.workspace = true
        rust-version.workspace = true
        license.workspace = true
        [lints]
        workspace = true
        [dependencies]
        burn = { workspace = true, features = ["flex"] }
        serde.workspace = true
    "#;

    #[test]
    fn an_inheriting_manifest_passes() {
        assert_eq!(problems(GOOD), []);
    }

    #[test]
    fn own_versions_are_found() {
        let own = "serde = \"1\"\n[dev-dependencies]\nrand = { version = \"0.10\" }\n\
                   [target.'cfg(unix)'.dependencies]\nlibc = \"0.2\"\n";
        let found = problems(&GOOD.replace("serde.workspace = true", own));
        let names: Vec<&str> = found.iter().filter_map(|problem| problem.message.split(" must").next()).collect();
        let expected = [
            "`serde` in `[dependencies]`",
            "`rand` in `[dev-dependencies]`",
            "`libc` in `[target.cfg(unix).dependencies]`",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn own_package_facts_and_lints_are_found() {
        let bad = GOOD.replace("edition.workspace = true", "edition = \"2021\"").replace("[lints]", "[other]");
        let expected = [
            Problem::whole("`[package]` must say `edition.workspace = true`"),
            Problem::whole("`[lints]` must say `workspace = true`"),
        ];
        assert_eq!(problems(&bad), expected);
    }

    #[test]
    fn members_are_packages_not_fixtures() {
        let paths = [
            "Cargo.toml",
            "fuzz/Cargo.toml",
            "crates/scgs-cam/Cargo.toml",
            "tests/fixtures/a/Cargo.toml",
            "xtask/Cargo.toml",
        ];
        let found = members(&paths.map(str::to_owned));
        let folders: Vec<&str> = found.iter().map(|member| member.folder.as_str()).collect();
        assert_eq!(folders, ["scgs-cam", "xtask"]);
    }
}

//! xtask links nothing heavy: the lock file shows no way from it to burn or to a crate of the project.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use toml::{Table, Value};

use super::Problem;

/// The package that must stay light.
const LIGHT: &str = "xtask";

/// Beginnings of the names of packages that it must not reach.
const HEAVY: [&str; 3] = ["burn", "cubecl", "scgs-"];

/// The ways from [`LIGHT`] to each [`HEAVY`] package, one shortest way each.
///
/// `text` is a `Cargo.lock`, which lists every dependency of every kind and platform: more than a build links, never
/// less.
pub(super) fn problems(text: &str) -> Vec<Problem> {
    let lock: Table = match text.parse() {
        Ok(lock) => lock,
        Err(error) => return vec![Problem::whole(format!("not TOML: {error}"))],
    };
    let edges = edges(&lock);
    if !edges.contains_key(LIGHT) {
        return vec![Problem::whole(format!("no package `{LIGHT}`"))];
    }
    let mut out = Vec::new();
    let mut seen = BTreeSet::from([LIGHT]);
    let mut ways = VecDeque::from([vec![LIGHT]]);
    while let Some(way) = ways.pop_front() {
        let last = way[way.len() - 1];
        for &next in edges.get(last).into_iter().flatten() {
            if !seen.insert(next) {
                continue;
            }
            let longer = [&way[..], &[next]].concat();
            if HEAVY.iter().any(|heavy| next.starts_with(heavy)) {
                out.push(Problem::whole(format!("{LIGHT} must stay light, but: {}", longer.join(" -> "))));
            } else {
                ways.push_back(longer);
            }
        }
    }
    out
}

/// Dependencies by name; versions of one package are taken together, which can only find more.
fn edges(lock: &Table) -> BTreeMap<&str, Vec<&str>> {
    let mut out: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in lock.get("package").and_then(Value::as_array).into_iter().flatten() {
        let Some(name) = package.get("name").and_then(Value::as_str) else {
            continue;
        };
        let dependencies = package.get("dependencies").and_then(Value::as_array);
        // A line is `name`, `name version` or `name version (source)`.
        let names = dependencies.into_iter().flatten().filter_map(|line| line.as_str()?.split(' ').next());
        out.entry(name).or_default().extend(names);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Problem, problems};

    fn lock(packages: &[(&str, &[&str])]) -> String {
        let package = |(name, dependencies): &(&str, &[&str])| {
            format!("[[package]]\nname = \"{name}\"\nversion = \"1.0.0\"\ndependencies = {dependencies:?}\n")
        };
        packages.iter().map(package).collect()
    }

    #[test]
    fn a_light_tree_passes() {
        let text = lock(&[("xtask", &["clap"]), ("clap", &[]), ("scgs-cli", &["burn"]), ("burn", &[])]);
        assert_eq!(problems(&text), []);
    }

    #[test]
    fn the_way_to_burn_is_shown() {
        let text = lock(&[
            ("xtask", &["clap", "helper 1.0.0"]),
            ("clap", &[]),
            ("helper", &["burn-core"]),
            ("burn-core", &["burn-tensor"]),
        ]);
        assert_eq!(problems(&text), [Problem::whole("xtask must stay light, but: xtask -> helper -> burn-core")]);
    }

    #[test]
    fn a_lock_file_without_the_package_proves_nothing() {
        assert_eq!(problems(&lock(&[("burn", &[])])), [Problem::whole("no package `xtask`")]);
    }
}

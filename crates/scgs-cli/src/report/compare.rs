//! A page that sets several runs side by side: their methods, and the settings in which they differ.

use std::{collections::BTreeMap, path::Path};

use anyhow::Context as _;
use maud::{Markup, html};
use scgs_debias::results::Summary;

use super::{Run, shell};
use crate::table::spread;

pub(super) fn render(runs: &[Run], out: &Path) -> anyhow::Result<Markup> {
    let folder = out.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let links = runs.iter().map(|run| way(folder, &run.page())).collect::<anyhow::Result<Vec<String>>>()?;
    let settings = runs.iter().map(|run| flat(&run.config()?)).collect::<anyhow::Result<Vec<_>>>()?;
    let body = html! {
        header {
            h1 { "Comparison of " (runs.len()) " runs" }
            div.wide tabindex="0" role="region" aria-label="The runs" { table {
                caption { "The runs" }
                thead { tr { th scope="col" { "run" } th scope="col" { "folder" } th scope="col" { "data set" } th scope="col" { "seeds" } th scope="col" { "methods" } } }
                tbody { @for (i, run) in runs.iter().enumerate() { tr {
                    th scope="row" { (letter(i)) }
                    td.text { a href=(links[i]) { (run.name()) } }
                    td.text { (run.results.dataset) }
                    td { (run.results.seeds().iter().map(u64::to_string).collect::<Vec<_>>().join(", ")) }
                    td { (run.results.arms().len()) }
                } } }
            } }
        }
        main id="main" {
            section { h2 { "Worst group on the test split" } (table(runs, "Worst-group accuracy", |s| spread(&s.worst_group), |s| s.worst_group.mean)) }
            section { h2 { "Plain average on the test split" } (table(runs, "Share of correct test pictures", |s| spread(&s.plain), |s| s.plain.mean)) }
            section { h2 { "Settings that differ" } (differences(&settings)) }
        }
    };
    Ok(shell("SCGS: comparison of runs", body, false))
}

/// A, B, ..., Z, 27, 28, ...
fn letter(i: usize) -> String {
    u8::try_from(i).ok().filter(|i| *i < 26).map_or_else(|| (i + 1).to_string(), |i| char::from(b'A' + i).to_string())
}

/// One measure, methods down, runs across.
fn table(runs: &[Run], caption: &str, shown: fn(&Summary) -> String, value: fn(&Summary) -> f64) -> Markup {
    let summaries: Vec<Vec<Summary>> = runs.iter().map(|run| run.results.summaries()).collect();
    let mut methods: Vec<(&str, bool)> = Vec::new();
    for summary in summaries.iter().flatten() {
        if !methods.iter().any(|(name, _)| *name == summary.method) {
            methods.push((&summary.method, summary.oracle));
        }
    }
    // Runs may have other methods: an oracle of the first must not stand above a method of the second.
    methods.sort_by_key(|(_, oracle)| *oracle);
    html! {
        div.wide tabindex="0" role="region" aria-label=(caption) { table {
            caption { (caption) "; mean ± sample standard deviation where a run has several seeds. Bold: the best run of a method." }
            thead { tr { th scope="col" { "method" } @for i in 0..runs.len() { th scope="col" { (letter(i)) } } } }
            tbody { @for (method, oracle) in &methods {
                @let found: Vec<Option<&Summary>> = summaries.iter().map(|run| run.iter().find(|s| s.method == *method)).collect();
                @let best = found.iter().flatten().map(|s| value(s)).fold(f64::NEG_INFINITY, f64::max);
                tr.oracle[*oracle] {
                    th scope="row" { (method) @if *oracle { " [oracle]" } }
                    @for summary in &found { td { @match summary {
                        Some(s) if value(s) == best => { b { (shown(s)) } }
                        Some(s) => { (shown(s)) }
                        None => { "–" }
                    } } }
                }
            } }
        } }
    }
}

fn differences(settings: &[BTreeMap<String, String>]) -> Markup {
    let mut keys: Vec<&String> = settings.iter().flat_map(BTreeMap::keys).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.retain(|key| settings.iter().any(|of| of.get(*key) != settings[0].get(*key)));
    html! {
        @if keys.is_empty() {
            p { "None: the runs differ in data, device, weights or methods only." }
        } @else {
            div.wide tabindex="0" role="region" aria-label="Settings that differ" { table {
                caption { "From config.toml" }
                thead { tr { th scope="col" { "setting" } @for i in 0..settings.len() { th scope="col" { (letter(i)) } } } }
                tbody { @for key in keys { tr {
                    th scope="row" { code { (key) } }
                    @for of in settings { td { (of.get(key).map_or("–", String::as_str)) } }
                } } }
            } }
        }
    }
}

/// `section.key` and value of every setting.
fn flat(config: &str) -> anyhow::Result<BTreeMap<String, String>> {
    fn walk(prefix: &str, value: &toml::Value, out: &mut BTreeMap<String, String>) {
        match value {
            toml::Value::Table(table) => {
                for (key, value) in table {
                    walk(&if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") }, value, out);
                }
            }
            other => {
                out.insert(prefix.to_owned(), other.to_string());
            }
        }
    }
    let table: toml::Table = config.parse().context("config.toml is damaged")?;
    let mut out = BTreeMap::new();
    walk("", &toml::Value::Table(table), &mut out);
    Ok(out)
}

/// The relative way from a folder to a file, with `/`, percent-encoded where an address needs it.
fn way(from: &Path, to: &Path) -> anyhow::Result<String> {
    fs_err::create_dir_all(from)?;
    let (from, to) = (fs_err::canonicalize(from)?, fs_err::canonicalize(to)?);
    let shared = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(shared).map(|_| "..".to_owned());
    let down = to.components().skip(shared).map(|c| escape(&c.as_os_str().to_string_lossy()));
    Ok(up.chain(down).collect::<Vec<_>>().join("/"))
}

fn escape(part: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~+".contains(&b);
    part.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_between_folders() {
        let dir = tempfile::tempdir().unwrap();
        let page = dir.path().join("a run/x");
        fs_err::create_dir_all(&page).unwrap();
        fs_err::write(page.join("index.html"), "").unwrap();
        assert_eq!(way(&dir.path().join("out"), &page.join("index.html")).unwrap(), "../a%20run/x/index.html");
        assert_eq!(way(dir.path(), &page.join("index.html")).unwrap(), "a%20run/x/index.html");
    }

    #[test]
    fn settings_are_flattened() {
        let flat = flat("a = 1\n[b]\nc = \"x\"\nd = [1, 2]\n").unwrap();
        let expected = [("a", "1"), ("b.c", "\"x\""), ("b.d", "[1, 2]")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(flat, BTreeMap::from(expected));
    }

    #[test]
    fn runs_are_lettered() {
        assert_eq!([letter(0), letter(25), letter(26)], ["A", "Z", "27"]);
    }
}

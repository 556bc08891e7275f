//! The page of the settings, from their documentation and their defaults.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use toml::Table;

use super::source::{Field, Shape, Type, Value};

const HEAD: &str = "\
# Settings

Every setting of a run, written by `cargo xtask reference` from the documentation in the code and from the program's defaults. A setting
is given as `--set section.key=value`, or in a TOML file with `--config`. Later layers win: the defaults below, the data set's `[recipe]`,
its `[profiles.<name>]` with `--profile`, the file, `--set`. `scgs run --dry-run` shows what a run would use.

Keys that are unset by default say so.
";

/// The whole page. `root` is the type of all settings.
///
/// # Errors
/// When a default has no documentation.
pub(super) fn settings(types: &BTreeMap<String, Type>, root: &str, defaults: &Table) -> anyhow::Result<String> {
    let mut page = HEAD.to_owned();
    let Shape::Struct(sections) = &types.get(root).with_context(|| format!("no struct {root}"))?.shape else {
        anyhow::bail!("{root} is no struct");
    };
    for key in defaults.keys() {
        ensure!(sections.iter().any(|s| s.name == *key), "the default [{key}] has no field in {root}");
    }
    for section in sections {
        let table = defaults.get(&section.name).and_then(toml::Value::as_table).cloned().unwrap_or_default();
        // What `BTreeMap<String, T>` holds has names of its own.
        let name = if section.kind.starts_with("BTreeMap") {
            format!("{}.<name>", section.name)
        } else {
            section.name.clone()
        };
        write_section(&mut page, types, &name, &section.kind, &section.doc, &table)?;
    }
    Ok(page)
}

fn write_section(
    page: &mut String,
    types: &BTreeMap<String, Type>,
    path: &str,
    kind: &str,
    doc: &str,
    defaults: &Table,
) -> anyhow::Result<()> {
    let ty = types.get(inner(kind)).with_context(|| format!("[{path}]: the type {kind} is in none of the files"))?;
    let Shape::Struct(fields) = &ty.shape else { anyhow::bail!("[{path}]: {kind} is no struct") };
    for key in defaults.keys() {
        ensure!(fields.iter().any(|f| f.name == *key), "{path}.{key} has no documentation in {kind}");
    }
    // The type's own words say more than the field's, unless they are its name.
    let own = ty.doc.split_once("`: ").filter(|(name, _)| name.starts_with("`[")).map(|(_, text)| text);
    let own = own.or_else(|| ty.doc.split_once("; ").filter(|(name, _)| name.starts_with("`[")).map(|(_, text)| text));
    let intro = sentence(&plain(own.unwrap_or(doc), path));
    let stop = if intro.ends_with('.') { "" } else { "." };
    *page += &format!("\n## [{path}]\n\n{intro}{stop}\n\n");
    let mut values = String::new();
    let mut inside: Vec<(&Field, Table)> = Vec::new();
    let mut rows = String::new();
    for field in fields {
        let key = format!("{path}.{}", field.name);
        let default = defaults.get(&field.name);
        let known = types.get(inner(&field.kind));
        if let Some(Type { shape: Shape::Struct(_), .. }) = known {
            inside.push((field, default.and_then(toml::Value::as_table).cloned().unwrap_or_default()));
            continue;
        }
        let default = default.map_or_else(|| "unset".to_owned(), |value| format!("`{}`", inline(value)));
        rows += &format!("| `{}` | {default} | {} |\n", field.name, cell(&plain(&field.doc, path)));
        match known.map(|t| (&t.shape, &t.doc)) {
            Some((Shape::Enum(all), _)) => values += &list(&key, all, path),
            Some((Shape::Text, doc)) => {
                let written = doc.split("\n\n").find_map(|p| p.split_once("As text"));
                values +=
                    &written.map_or_else(String::new, |(_, how)| format!("\n`{key}` as text{}\n", plain(how, path)));
            }
            _ => {}
        }
    }
    if !rows.is_empty() {
        *page += &format!("| key | default | what it sets |\n| --- | --- | --- |\n{rows}");
    }
    *page += &values;
    for (field, table) in inside {
        write_section(page, types, &format!("{path}.{}", field.name), &field.kind, &field.doc, &table)?;
    }
    Ok(())
}

/// The values of an enum as a list.
fn list(key: &str, values: &[Value], path: &str) -> String {
    let mut out = format!("\nValues of `{key}`:\n\n");
    for value in values {
        out += &format!("- `{}`: {}", value.name, plain(&value.doc, path).replace("\n\n", " "));
        for field in &value.fields {
            out += &format!(" `{}`: {}", field.name, plain(&field.doc, path));
        }
        out.push('\n');
    }
    out
}

/// `T` of `Option<T>`, `Vec<T>` and `BTreeMap<String, T>`.
fn inner(kind: &str) -> &str {
    let kind = ["Option<", "Vec<", "BTreeMap<String, "].iter().find_map(|p| kind.strip_prefix(p)).unwrap_or(kind);
    kind.trim_end_matches('>')
}

/// Documentation without the links of rustdoc: ``[`Type::field`](path)`` becomes `section.field` or the last name.
fn plain(doc: &str, path: &str) -> String {
    let mut out = String::new();
    let mut rest = doc;
    while let Some(start) = rest.find("[`") {
        let Some(length) = rest[start..].find("`]") else { break };
        out += &rest[..start];
        let name = &rest[start + 2..start + length];
        let name = match name.split_once("::") {
            Some(("TrainSettings", field)) => format!("train.{field}"),
            Some(("Self", field)) => format!("{path}.{field}"),
            Some((_, last)) => last.to_owned(),
            None => name.to_owned(),
        };
        // Settings are written `[section]` in documentation too.
        let link = !rest[start + 2..start + length].starts_with('[');
        out += &if link { format!("`{name}`") } else { rest[start..start + length + 2].to_owned() };
        rest = &rest[start + length + 2..];
        if let Some(target) = rest.strip_prefix('(') {
            rest = target.split_once(')').map_or(target, |(_, after)| after);
        }
    }
    out + rest
}

fn cell(text: &str) -> String {
    text.replace("\n\n", " ").replace('|', "\\|")
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// A value on one line; an enum with keys of its own as an inline table.
fn inline(value: &toml::Value) -> String {
    match value {
        toml::Value::Table(table) => {
            let pairs: Vec<String> = table.iter().map(|(key, value)| format!("{key} = {}", inline(value))).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::types;
    use super::{plain, settings};

    const SOURCE: &str = r#"
pub struct Settings {
    /// Which part is repainted.
    pub mask: MaskSettings,
}
/// `[mask]`
pub struct MaskSettings {
    /// The rule; see [`TrainSettings::c`].
    pub rule: Rule,
    /// A folder.
    pub folder: Option<PathBuf>,
    /// More.
    pub more: Inner,
}
/// The rule.
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// The top.
    TopShare,
}
/// `[mask.more]`: the rest of it.
pub struct Inner {
    /// How many, 1|2.
    pub n: usize,
}
"#;

    #[test]
    fn a_page_has_defaults_values_and_inner_tables() {
        let defaults = "[mask]\nrule = \"top-share\"\n[mask.more]\nn = 3\n".parse().unwrap();
        let page = settings(&types(SOURCE), "Settings", &defaults).unwrap();
        let body = page.strip_prefix(super::HEAD).unwrap();
        let expected = "\n## [mask]\n\nWhich part is repainted.\n\n| key | default | what it sets |\n| --- | --- | --- |\n\
            | `rule` | `\"top-share\"` | The rule; see `train.c`. |\n| `folder` | unset | A folder. |\n\n\
            Values of `mask.rule`:\n\n- `top-share`: The top.\n\n## [mask.more]\n\nThe rest of it.\n\n\
            | key | default | what it sets |\n| --- | --- | --- |\n| `n` | `3` | How many, 1\\|2. |\n";
        assert_eq!(body, expected);
    }

    #[test]
    fn a_default_without_documentation_is_an_error() {
        let defaults = "[mask]\nother = 1\n".parse().unwrap();
        let error = settings(&types(SOURCE), "Settings", &defaults).unwrap_err().to_string();
        assert!(error.contains("mask.other"), "{error}");
    }

    #[test]
    fn links_become_names() {
        assert_eq!(
            plain("see [`score_cam`](crate::score_cam) and [`Self::k`]; `[mask]`", "cluster"),
            "see `score_cam` and `cluster.k`; `[mask]`"
        );
    }
}

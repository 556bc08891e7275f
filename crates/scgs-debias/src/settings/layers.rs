//! Layers of TOML, one over the other.

use super::Settings;
use crate::Error;

pub(super) fn config_error(origin: &str, error: &toml::de::Error) -> Error {
    Error::Config { origin: origin.to_owned(), message: error.to_string().trim_end().to_owned() }
}

/// Lays `table` over `base`. Checking each layer by itself lets the message name the one that is wrong.
pub(super) fn layer(base: &mut toml::Table, table: toml::Table, origin: &str) -> Result<(), Error> {
    table.clone().try_into::<Settings>().map_err(|e: toml::de::Error| config_error(origin, &e))?;
    merge(base, table);
    Ok(())
}

/// Tables merge key by key; `mask.region` is replaced whole, because the parameters of two rules do not mix.
fn merge(base: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(toml::Value::Table(old)), toml::Value::Table(new)) if key != "region" => merge(old, new),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

/// `section.key=value`; the value is TOML, or a plain word.
pub(super) fn parse_set(set: &str) -> Result<toml::Table, Error> {
    let bad = |message: String| Error::Config { origin: format!("--set {set}"), message };
    let (path, value) = set.split_once('=').ok_or_else(|| bad("expected section.key=value".into()))?;
    let value = format!("v={value}")
        .parse::<toml::Table>()
        .ok()
        .and_then(|mut t| t.remove("v"))
        .unwrap_or_else(|| toml::Value::String(value.to_owned()));
    let mut keys: Vec<&str> = path.split('.').map(str::trim).collect();
    if keys.iter().any(|k| k.is_empty()) {
        return Err(bad("expected section.key=value".into()));
    }
    let last = keys.pop().expect("split yields at least one part");
    let mut table = toml::Table::from_iter([(last.to_owned(), value)]);
    for key in keys.into_iter().rev() {
        table = toml::Table::from_iter([(key.to_owned(), toml::Value::Table(table))]);
    }
    Ok(table)
}

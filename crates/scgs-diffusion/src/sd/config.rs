//! The `config.json` of a part: fields with diffusers' defaults, and values this crate cannot build refused by name.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Why a `config.json` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Occurs when the file cannot be read. The message of `fs_err` names the path.
    #[error("{0}; check the path: a part of a model has its config.json beside its weights")]
    Io(#[from] std::io::Error),
    /// Occurs when the file is no JSON object.
    #[error("{}: not a JSON object: {reason}; copy or download it again", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        reason: String,
    },
    /// Occurs when the file describes another kind of network.
    #[error("{}: `_class_name` is `{found}`, expected `{expected}`; is this the folder of another part or model?", path.display())]
    Class {
        /// The file.
        path: PathBuf,
        /// The class that is needed.
        expected: &'static str,
        /// The class in the file.
        found: String,
    },
    /// Occurs when a field has a value that this crate cannot build.
    #[error("{}: `{field}` is {found}, expected {expected}; this crate builds Stable Diffusion 1 and 2 only", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// Its value as JSON.
        found: String,
        /// What would work.
        expected: String,
    },
}

/// The fields of a `config.json`.
#[derive(Clone, Debug)]
pub(crate) struct Fields {
    path: PathBuf,
    values: Map<String, Value>,
}

impl Fields {
    /// Reads the file and checks its `_class_name`, if it has one.
    pub(crate) fn read(path: &Path, class: &'static str) -> Result<Self, ConfigError> {
        let text = fs_err::read_to_string(path)?;
        let path = path.to_owned();
        let values: Map<String, Value> = match serde_json::from_str(&text) {
            Ok(values) => values,
            Err(error) => return Err(ConfigError::Json { path, reason: error.to_string() }),
        };
        match values.get("_class_name").and_then(Value::as_str) {
            Some(found) if found != class => Err(ConfigError::Class { path, expected: class, found: found.to_owned() }),
            _ => Ok(Self { path, values }),
        }
    }

    /// The value of a field; diffusers' default where it is absent.
    pub(crate) fn get<T: DeserializeOwned>(&self, field: &str, default: T, expected: &str) -> Result<T, ConfigError> {
        match self.values.get(field) {
            None => Ok(default),
            Some(value) => serde_json::from_value(value.clone()).map_err(|_| self.refuse(field, expected)),
        }
    }

    /// A number from 1 to `most`.
    pub(crate) fn count(&self, field: &str, default: usize, most: usize) -> Result<usize, ConfigError> {
        let expected = format!("a whole number from 1 to {most}");
        let value = self.get(field, default, &expected)?;
        if (1..=most).contains(&value) { Ok(value) } else { Err(self.refuse(field, &expected)) }
    }

    /// `blocks` numbers from 1 to `most`, given as a list or as one number for all.
    pub(crate) fn counts(
        &self,
        field: &str,
        default: usize,
        most: usize,
        blocks: usize,
    ) -> Result<Vec<usize>, ConfigError> {
        let expected = format!("a whole number from 1 to {most} or a list of {blocks} such numbers");
        let values = match self.values.get(field) {
            Some(Value::Array(_)) => self.get(field, Vec::new(), &expected)?,
            _ => vec![self.get(field, default, &expected)?; blocks],
        };
        let fits = values.len() == blocks && values.iter().all(|value| (1..=most).contains(value));
        if fits { Ok(values) } else { Err(self.refuse(field, &expected)) }
    }

    /// Refuses any other value of a field than those given as JSON; the first is the default, and absence stands for it.
    pub(crate) fn only(&self, field: &str, allowed: &[Value]) -> Result<(), ConfigError> {
        // Python writes 1.0 where a number is 1.
        let same = |a: &Value, b: &Value| a == b || (a.is_number() && a.as_f64() == b.as_f64());
        match self.values.get(field) {
            Some(value) if !allowed.iter().any(|one| same(one, value)) => {
                let allowed: Vec<String> = allowed.iter().map(Value::to_string).collect();
                Err(self.refuse(field, &allowed.join(" or ")))
            }
            _ => Ok(()),
        }
    }

    /// The error for a field.
    pub(crate) fn refuse(&self, field: &str, expected: &str) -> ConfigError {
        let found = self.values.get(field).map_or_else(|| "absent".to_owned(), Value::to_string);
        ConfigError::Value { path: self.path.clone(), field: field.to_owned(), found, expected: expected.to_owned() }
    }
}

//! The doc comments of settings, read from the source: structs with their fields, enums with their values.
//!
//! A reader of lines, made for what rustfmt writes. It needs no compiler and links nothing.

use std::collections::BTreeMap;

/// A field of a settings struct.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: String,
    /// As written, such as `Option<f64>`.
    pub(super) kind: String,
    pub(super) doc: String,
}

/// A value of an enum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Value {
    /// As it is written in TOML.
    pub(super) name: String,
    pub(super) doc: String,
    /// Keys that come with it.
    pub(super) fields: Vec<Field>,
}

/// What a type consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shape {
    Struct(Vec<Field>),
    Enum(Vec<Value>),
    /// An enum that is written as a string of its own grammar, or as one of several types: its documentation says how.
    Text,
}

/// A type and its documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Type {
    pub(super) doc: String,
    pub(super) shape: Shape,
}

/// Documentation and attributes that wait for the item they belong to.
#[derive(Default)]
struct Above {
    doc: Vec<String>,
    attributes: String,
}

impl Above {
    /// Keeps the line if it is documentation or an attribute on one line.
    fn takes(&mut self, line: &str) -> bool {
        if let Some(text) = line.strip_prefix("///") {
            self.doc.push(text.trim().to_owned());
        } else if line.starts_with("#[") {
            self.attributes += line;
        } else {
            return false;
        }
        true
    }

    /// The lines as one, with an empty line between paragraphs.
    fn doc(&self) -> String {
        self.doc.split(String::is_empty).map(|paragraph| paragraph.join(" ")).collect::<Vec<_>>().join("\n\n")
    }
}

/// Every struct and enum of a file, by name.
pub(super) fn types(text: &str) -> BTreeMap<String, Type> {
    let mut found = BTreeMap::new();
    let mut above = Above::default();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if above.takes(line) {
            continue;
        }
        let item = |word: &str| {
            let name = line.trim_start_matches("pub(crate) ").trim_start_matches("pub ").strip_prefix(word)?;
            Some(name.strip_suffix(" {")?.trim().to_owned())
        };
        let above = std::mem::take(&mut above);
        if let Some(name) = item("struct ") {
            let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "}").collect();
            found.insert(name, Type { doc: above.doc(), shape: Shape::Struct(fields(&body, 4)) });
        } else if let Some(name) = item("enum ") {
            let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "}").collect();
            let other = ["into = ", "untagged"].iter().any(|word| above.attributes.contains(word));
            let shape = if other { Shape::Text } else { Shape::Enum(values(&body, &above.attributes)) };
            found.insert(name, Type { doc: above.doc(), shape });
        }
    }
    found
}

/// The fields among lines that are indented so far.
fn fields(body: &[&str], indent: usize) -> Vec<Field> {
    let mut above = Above::default();
    let mut out = Vec::new();
    for line in body {
        let Some(line) = line.get(indent..).filter(|rest| !rest.starts_with(' ')) else { continue };
        if above.takes(line) {
            continue;
        }
        let above = std::mem::take(&mut above);
        let field = line.trim_start_matches("pub(crate) ").trim_start_matches("pub ");
        if let Some((name, kind)) = field.strip_suffix(',').and_then(|f| f.split_once(": ")) {
            out.push(Field { name: name.to_owned(), kind: kind.to_owned(), doc: above.doc() });
        }
    }
    out
}

fn values(body: &[&str], attributes: &str) -> Vec<Value> {
    let mut above = Above::default();
    let mut out = Vec::new();
    let mut lines = body.iter();
    while let Some(line) = lines.next() {
        let line = line.trim_start();
        if above.takes(line) {
            continue;
        }
        let above = std::mem::take(&mut above);
        let (name, fields) = match line.strip_suffix(" {") {
            Some(name) => {
                let inner: Vec<&str> = lines.by_ref().copied().take_while(|line| line.trim() != "},").collect();
                (name, fields(&inner, 8))
            }
            None => (line.trim_end_matches(','), Vec::new()),
        };
        let name = match above.attributes.split_once("rename = \"") {
            Some((_, rest)) => rest.split('"').next().unwrap_or_default().to_owned(),
            None if attributes.contains("rename_all = \"lowercase\"") => name.to_lowercase(),
            None => kebab(name),
        };
        out.push(Value { name, doc: above.doc(), fields });
    }
    out
}

/// `MeanSd` as `mean-sd`.
fn kebab(name: &str) -> String {
    let mut out = String::new();
    for (i, c) in name.chars().enumerate() {
        if c.is_uppercase() && i > 0 {
            out.push('-');
        }
        out.extend(c.to_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Field, Shape, Type, Value, types};

    const SOURCE: &str = r#"
/// `[mask]`: which part.
#[derive(Debug)]
pub struct MaskSettings {
    /// How a map becomes a region,
    /// in two lines.
    pub region: MaskRule,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
}

impl MaskSettings {
    fn check(&self) {}
}

/// The rule.
#[serde(tag = "rule", rename_all = "kebab-case")]
pub enum MaskRule {
    /// The mean and more.
    MeanSd {
        /// Any number.
        k: f64,
    },
    /// Otsu's.
    #[serde(rename = "otsu1979")]
    Otsu,
}

/// A way.
///
/// As text:
/// `a/b`.
#[serde(into = "String", try_from = "String")]
pub(crate) enum Look {
    A,
}
"#;

    fn field(name: &str, kind: &str, doc: &str) -> Field {
        Field { name: name.into(), kind: kind.into(), doc: doc.into() }
    }

    #[test]
    fn structs_enums_and_text_types_are_read() {
        let types = types(SOURCE);
        let fields = vec![
            field("region", "MaskRule", "How a map becomes a region, in two lines."),
            field("folder", "Option<PathBuf>", ""),
        ];
        assert_eq!(types["MaskSettings"], Type { doc: "`[mask]`: which part.".into(), shape: Shape::Struct(fields) });
        let values = vec![
            Value {
                name: "mean-sd".into(),
                doc: "The mean and more.".into(),
                fields: vec![field("k", "f64", "Any number.")],
            },
            Value { name: "otsu1979".into(), doc: "Otsu's.".into(), fields: vec![] },
        ];
        assert_eq!(types["MaskRule"], Type { doc: "The rule.".into(), shape: Shape::Enum(values) });
        assert_eq!(types["Look"], Type { doc: "A way.\n\nAs text: `a/b`.".into(), shape: Shape::Text });
        assert_eq!(types.len(), 3);
    }
}

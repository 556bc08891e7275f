//! Group attributes stay out of training, identification, clustering, masking and synthesis.
//!
//! The type `Grouped` of scgs-data is the only way to a sample's attribute, so a file that does not name it cannot
//! use one.

use super::{Problem, code, has_word, numbered};

/// The type with the attributes.
const TYPE: &str = "Grouped";

/// Where the rule holds.
const LIBRARIES: &str = "crates/";

/// Files and folders that may name [`TYPE`], each with its reason. A new line here is a decision about the method:
/// whatever uses attributes must be marked as an oracle wherever its numbers are shown.
const MAY_SEE_GROUPS: &[(&str, &str)] = &[
    ("crates/scgs-data/", "defines it and reads it from metadata.csv"),
    ("crates/scgs-debias/src/evaluate", "evaluation: accuracy per group"),
    ("crates/scgs-debias/src/evaluation", "evaluation: accuracy per group"),
    (
        "crates/scgs-debias/src/oracle",
        "oracle methods, marked as such in every table",
    ),
];

/// Lines that name the attributes in a file that may not see them.
pub(super) fn problems(path: &str, text: &str) -> Vec<Problem> {
    let allowed = MAY_SEE_GROUPS.iter().any(|(prefix, _)| path.starts_with(prefix));
    if allowed || !path.starts_with(LIBRARIES) {
        return Vec::new();
    }
    numbered(text)
        .filter(|(_, line)| has_word(code(line), TYPE))
        .map(|(number, _)| {
            let message = format!(
                "`{TYPE}` outside evaluation and oracles: take the `Index`, or add the file with its reason to \
                 MAY_SEE_GROUPS in xtask/src/tidy/groups.rs"
            );
            Problem::at(number, message)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{MAY_SEE_GROUPS, problems};

    const USE: &str = "//! Not `Grouped`.\nfn f(index: &Index, x: &GroupedRows) {}\nfn g(data: &Grouped) {}\n";

    #[test]
    fn evaluation_and_oracles_may_see_groups() {
        for (prefix, reason) in MAY_SEE_GROUPS {
            assert_eq!(problems(&format!("{prefix}.rs"), USE), []);
            assert!(reason.len() > 10, "{prefix} needs a reason");
        }
    }

    #[test]
    fn training_may_not() {
        for path in ["crates/scgs-debias/src/stages/erm.rs", "crates/scgs-cluster/src/lib.rs"] {
            let found = problems(path, USE);
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].line, Some(3));
            assert!(found[0].message.starts_with("`Grouped` outside evaluation and oracles"));
        }
    }
}

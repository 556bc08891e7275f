//! Group attributes stay out of training, identification, clustering, masking and synthesis.
//!
//! The type `Grouped` of scgs-data is the only way to a sample's attribute. A file that neither names it nor calls
//! its accessors cannot use one.

use super::{Problem, code, has_word, numbered};

/// The type with the attributes.
const TYPE: &str = "Grouped";

/// Its methods that hand out a sample's attribute; a value whose type is inferred has them too.
const ACCESSORS: [&str; 2] = ["attribute", "attribute_of"];

/// Where the rule holds.
const LIBRARIES: &str = "crates/";

/// Files and folders that may use attributes, each with its reason. A new line here is a decision about the method:
/// whatever uses attributes must be marked as an oracle wherever its numbers are shown.
const MAY_SEE_GROUPS: &[(&str, &str)] = &[
    ("crates/scgs-data/", "defines the type and reads it from metadata.csv"),
    ("crates/scgs-debias/src/stages/evaluate.rs", "accuracy per group, and selection by worst group, marked as such"),
    (
        "crates/scgs-debias/src/stages/training_set.rs",
        "hands group numbers to the methods that are marked as seeing them",
    ),
    (
        "crates/scgs-cli/src/report/",
        "shows the reader the groups that diagnostics wrote down, after everything is computed",
    ),
    ("crates/scgs-debias/src/diagnostics.rs", "how well error set and masks hit, for the report; no stage reads it"),
    ("crates/scgs-debias/src/diagnostics/", "the same"),
];

/// Files that may hold a data set with its groups and hand it on, but not ask for an attribute.
const MAY_CARRY_GROUPS: &[(&str, &str)] = &[
    ("crates/scgs-debias/src/pipeline.rs", "reads the data set; stages get its index, evaluation all of it"),
    ("crates/scgs-debias/src/pipeline/single.rs", "the same for one arm"),
];

/// Lines that name or use the attributes in a file that may not.
pub(super) fn problems(path: &str, text: &str) -> Vec<Problem> {
    let listed = |table: &[(&str, &str)]| table.iter().any(|(prefix, _)| path.starts_with(prefix));
    if !path.starts_with(LIBRARIES) || listed(MAY_SEE_GROUPS) {
        return Vec::new();
    }
    let may_carry = listed(MAY_CARRY_GROUPS);
    let mut out = Vec::new();
    for (number, line) in numbered(text) {
        let code = code(line);
        if !may_carry && has_word(code, TYPE) {
            let message = format!(
                "`{TYPE}` outside evaluation and oracles: take the `Index`, or add the file with its reason to \
                 xtask/src/tidy/groups.rs"
            );
            out.push(Problem::at(number, message));
        }
        for accessor in ACCESSORS {
            if code.contains(&format!(".{accessor}(")) {
                let message = format!("`.{accessor}(..)` outside evaluation and oracles: this code may not see groups");
                out.push(Problem::at(number, message));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{MAY_CARRY_GROUPS, MAY_SEE_GROUPS, problems};

    const USE: &str = "//! Not `Grouped`, .attribute_of(1).\nfn f(x: &GroupedRows) {}\nfn g(data: &Grouped) {}\n\
                       let a = data.attribute_of(id);\nlet b = rows.attribute_names();\n";

    fn lines(path: &str) -> Vec<Option<usize>> {
        problems(path, USE).into_iter().map(|problem| problem.line).collect()
    }

    #[test]
    fn evaluation_and_oracles_may_see_groups() {
        for (path, _) in MAY_SEE_GROUPS {
            assert_eq!(lines(path), []);
        }
        assert_eq!(lines("xtask/src/main.rs"), []);
    }

    #[test]
    fn the_pipeline_may_carry_but_not_look() {
        for (path, _) in MAY_CARRY_GROUPS {
            assert_eq!(lines(path), [Some(4)]);
        }
    }

    #[test]
    fn training_may_do_neither() {
        for path in ["crates/scgs-debias/src/stages/erm.rs", "crates/scgs-cluster/src/lib.rs"] {
            assert_eq!(lines(path), [Some(3), Some(4)]);
        }
    }
}

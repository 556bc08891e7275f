//! Rules for every Rust file: short, documented, finished, and without backend generics.

use super::{Problem, code, numbered};

/// A longer file holds more than one thing.
const MAX_LINES: usize = 500;

/// Marks of unfinished work, in two halves so that this file does not contain them.
const UNFINISHED: [(&str, &str); 6] =
    [("to", "do!("), ("unimple", "mented!("), ("#[ig", "nore"), ("FIX", "ME"), ("TO", "DO"), ("XX", "X")];

/// Files that may be generic over burn's backend, each with its reason. burn's `Device` chooses the backend at run
/// time, so only the implementation of an own burn operation needs the generic.
const BACKEND_GENERICS: &[(&str, &str)] = &[
    ("crates/scgs-models/src/fast/conv/mod.rs", "an own operation with gradients"),
    ("crates/scgs-models/src/fast/batch_norm.rs", "an own operation with gradients"),
    ("crates/scgs-models/src/fast/group_norm.rs", "an own operation with gradients"),
    ("crates/scgs-models/src/fast/max_pool.rs", "an own operation with gradients"),
];

/// What follows `B:` in a backend generic.
const BACKEND_BOUNDS: [&str; 3] = ["Backend", "AutodiffBackend", "burn::tensor::backend::"];

/// What is wrong with the Rust file at `path`.
pub(super) fn problems(path: &str, text: &str) -> Vec<Problem> {
    let mut out = Vec::new();
    let first = text.lines().find(|line| !line.trim().is_empty());
    if !first.is_some_and(|line| line.starts_with("//!")) {
        out.push(Problem::whole("does not open with module documentation (`//!`): say what the file is for"));
    }
    let lines = text.lines().count();
    if lines > MAX_LINES {
        out.push(Problem::whole(format!("{lines} lines, more than {MAX_LINES}: split it by what it holds")));
    }
    let may_be_generic = BACKEND_GENERICS.iter().any(|(allowed, _)| path.starts_with(allowed));
    for (number, line) in numbered(text) {
        for (head, tail) in UNFINISHED {
            if line.contains(&format!("{head}{tail}")) {
                out.push(Problem::at(number, format!("`{head}{tail}`: finish it or take it out")));
            }
        }
        if !may_be_generic && has_backend_generic(code(line)) {
            out.push(Problem::at(number, "a backend generic: take a `Device` at run time instead"));
        }
    }
    out
}

/// Whether a type parameter is bound by burn's `Backend`, as in `<B: Backend>` or `B: AutodiffBackend`.
fn has_backend_generic(code: &str) -> bool {
    let squeezed: String = code.chars().filter(|c| !c.is_whitespace()).collect();
    BACKEND_BOUNDS.iter().any(|bound| squeezed.contains(&format!("B:{bound}")))
}

#[cfg(test)]
mod tests {
    use super::{BACKEND_BOUNDS, MAX_LINES, Problem, UNFINISHED, problems};

    const GOOD: &str = "//! What it is for.\n\n/// Never `<B: Backend>`.\nfn f(device: &Device) {}\n";

    #[test]
    fn a_good_file_passes() {
        assert_eq!(problems("a.rs", GOOD), []);
    }

    #[test]
    fn missing_module_documentation_is_found() {
        for bad in ["", "fn f() {}\n", "// no documentation\n", "#![allow(dead_code)]\n//! Late.\n"] {
            let found = problems("a.rs", bad);
            assert_eq!(found.len(), 1, "{bad:?}");
            assert!(found[0].message.starts_with("does not open with module documentation"));
        }
    }

    #[test]
    fn a_long_file_is_found() {
        let longest = format!("//! Long.\n{}", "\n".repeat(MAX_LINES - 1));
        assert_eq!(problems("a.rs", &longest), []);
        let found = problems("a.rs", &format!("{longest}\n"));
        assert_eq!(found, [Problem::whole("501 lines, more than 500: split it by what it holds")]);
    }

    #[test]
    fn unfinished_work_is_found() {
        for (head, tail) in UNFINISHED {
            let found = problems("a.rs", &format!("{GOOD}    {head}{tail}\n"));
            assert_eq!(found.len(), 1, "{head}{tail}");
            assert_eq!(found[0].line, Some(5));
        }
    }

    #[test]
    fn backend_generics_are_found() {
        for bound in BACKEND_BOUNDS {
            for bad in [format!("fn f<B: {bound}>()"), format!("where B : {bound}")] {
                let found = problems("a.rs", &format!("//! Generic.\n{bad}\n"));
                assert_eq!(found, [Problem::at(2, "a backend generic: take a `Device` at run time instead")]);
            }
        }
    }
}

//! Rules for every text file: no trailing white space, no path of one machine.

use super::{Problem, numbered};

/// First folders of absolute paths that exist on one machine only.
const MACHINE_FOLDERS: [&str; 7] = ["home", "root", "Users", "tmp", "work", "mnt", "scratch"];

/// Written by others, kept byte for byte.
const VERBATIM: [&str; 3] = ["LICENSE-APACHE", "Cargo.lock", "datasets/habitat/licenses/"];

/// Whether the rules hold for this file; licence texts and generated files are left as they are.
pub(super) fn applies_to(path: &str) -> bool {
    let data = [".LICENSE", ".tsv", ".csv", ".json"].iter().any(|ending| path.ends_with(ending));
    !data && !VERBATIM.iter().any(|verbatim| path.starts_with(verbatim))
}

/// Lines that break a rule.
pub(super) fn problems(text: &str) -> Vec<Problem> {
    let mut out = Vec::new();
    // `split` and not `lines`, which would hide a carriage return.
    for (position, line) in text.split('\n').enumerate() {
        if line.ends_with(char::is_whitespace) {
            out.push(Problem::at(position + 1, "white space at the end of the line"));
        }
    }
    for (number, line) in numbered(text) {
        if let Some(folder) = machine_path(line) {
            let message =
                format!("`/{folder}/..` is a path of one machine; take it from an argument, or `tempfile` in a test");
            out.push(Problem::at(number, message));
        }
    }
    out
}

/// The first folder of an absolute path in `line` that other machines do not have.
fn machine_path(line: &str) -> Option<&'static str> {
    MACHINE_FOLDERS.into_iter().find(|folder| {
        let path = format!("/{folder}/");
        line.match_indices(&path).any(|(start, _)| {
            // `runs/mnt/x`, `$HOME/scratch/x` and `https://host/home/` are no absolute paths.
            let inside = |c: char| c.is_alphanumeric() || "._-/}~*".contains(c);
            !line[..start].ends_with(inside)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::{Problem, applies_to, problems};

    #[test]
    fn good_text_passes() {
        let good = "see runs/mnt/x, https://host/home/page and ${HOME}/scratch/here\n\n\tindented\n";
        assert_eq!(problems(good), []);
    }

    #[test]
    fn white_space_at_the_end_is_found() {
        for bad in ["one\ntwo \n", "one\ntwo\t\n", "one\ntwo\r\n"] {
            assert_eq!(problems(bad), [Problem::at(2, "white space at the end of the line")], "{bad:?}");
        }
    }

    #[test]
    fn machine_paths_are_found() {
        for folder in super::MACHINE_FOLDERS {
            for before in ["", "\"", "see ", "(", "path="] {
                let found = problems(&format!("{before}/{folder}/data"));
                assert_eq!(found.len(), 1, "{before}/{folder}");
                assert!(found[0].message.starts_with(&format!("`/{folder}/..` is a path of one machine")));
            }
        }
    }

    #[test]
    fn licence_texts_and_data_stay_as_they_are() {
        for path in ["LICENSE-APACHE", "Cargo.lock", "datasets/habitat/MANIFEST.tsv", "datasets/weights/x.LICENSE"] {
            assert!(!applies_to(path), "{path}");
        }
        for path in ["README.md", ".ci/run", "crates/scgs-cli/src/main.rs", "tests/fixtures/a/generate.py"] {
            assert!(applies_to(path), "{path}");
        }
    }
}

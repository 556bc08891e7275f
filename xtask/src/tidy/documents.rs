//! The README shows how to start, and the architecture names every crate.

use super::manifests::Member;
use super::{Problem, has_word};

const README: &str = "README.md";
const ARCHITECTURE: &str = "docs/architecture.md";

/// What a newcomer types.
const COMMANDS: [&str; 2] = ["cargo xtask reproduce habitat", "cargo xtask test"];

/// What is missing, by document. `read` gives a document's text, or `None` when there is none.
///
/// # Errors
/// When `read` fails.
pub(super) fn problems(
    members: &[Member],
    read: impl Fn(&str) -> anyhow::Result<Option<String>>,
) -> anyhow::Result<Vec<(&'static str, Vec<Problem>)>> {
    let check = |path: &str, rule: &dyn Fn(&str) -> Vec<Problem>| -> anyhow::Result<Vec<Problem>> {
        Ok(read(path)?.map_or_else(|| vec![Problem::whole("is missing")], |text| rule(&text)))
    };
    Ok(vec![
        (README, check(README, &readme)?),
        (ARCHITECTURE, check(ARCHITECTURE, &|text| architecture(members, text))?),
    ])
}

fn readme(text: &str) -> Vec<Problem> {
    let missing = COMMANDS.iter().filter(|command| !text.contains(*command));
    missing.map(|command| Problem::whole(format!("does not show `{command}`"))).collect()
}

fn architecture(members: &[Member], text: &str) -> Vec<Problem> {
    let missing = members.iter().filter(|member| !has_word(text, &member.folder));
    missing.map(|member| Problem::whole(format!("does not name `{}`", member.folder))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::manifests::members;
    use super::{Problem, problems};

    fn found(readme: Option<&str>, architecture: &str) -> Vec<(&'static str, Vec<Problem>)> {
        let members = members(&["crates/scgs-cam/Cargo.toml".to_owned(), "xtask/Cargo.toml".to_owned()]);
        let read = |path: &str| {
            Ok(if path == super::README { readme.map(str::to_owned) } else { Some(architecture.to_owned()) })
        };
        problems(&members, read).unwrap()
    }

    #[test]
    fn good_documents_pass() {
        let readme = "Run `cargo xtask reproduce habitat`.\nThen `cargo xtask test`.";
        let expected = [(super::README, vec![]), (super::ARCHITECTURE, vec![])];
        assert_eq!(found(Some(readme), "scgs-cam and xtask"), expected);
    }

    #[test]
    fn what_is_missing_is_named() {
        let expected = [
            (super::README, vec![Problem::whole("does not show `cargo xtask test`")]),
            (super::ARCHITECTURE, vec![Problem::whole("does not name `scgs-cam`")]),
        ];
        assert_eq!(found(Some("cargo xtask reproduce habitat"), "xtask, scgs-cameras"), expected);
        assert_eq!(found(None, "xtask scgs-cam")[0].1, [Problem::whole("is missing")]);
    }
}

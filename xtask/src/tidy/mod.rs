//! `cargo xtask tidy`: the invariants of docs/architecture.md, as far as text can show them.
//!
//! Each rule is a function from text to [`Finding`]s, with tests on a good and a bad sample beside it; this file
//! reads the tree and applies them.

mod documents;
mod groups;
mod links;
mod manifests;
mod purity;
mod source;
mod text;
mod tree;

use std::fmt;
use std::path::Path;

use anyhow::Context;
use xshell::cmd;

use crate::Outcome;
use crate::workspace::Workspace;

/// One place that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Problem {
    /// Counted from 1; `None` for the file as a whole.
    line: Option<usize>,
    /// What is wrong and what to do.
    message: String,
}

impl Problem {
    fn at(line: usize, message: impl Into<String>) -> Self {
        Self { line: Some(line), message: message.into() }
    }

    fn whole(message: impl Into<String>) -> Self {
        Self { line: None, message: message.into() }
    }
}

/// A [`Problem`] and the file that has it; shown as `path:line: message`.
#[derive(Debug)]
pub(crate) struct Finding {
    path: String,
    problem: Problem,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, problem: Problem { line, message } } = self;
        match line {
            Some(line) => write!(f, "{path}:{line}: {message}"),
            None => write!(f, "{path}: {message}"),
        }
    }
}

/// Checks the tree and prints what is wrong.
///
/// # Errors
/// As [`check`].
pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<Outcome> {
    let findings = check(workspace)?;
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        println!("tidy: nothing to say");
        return Ok(Outcome::Done);
    }
    println!("tidy: {} problems", findings.len());
    Ok(Outcome::CheckFailed)
}

/// Applies every rule to every file that git tracks or would track.
///
/// # Errors
/// When git cannot list the files, or one cannot be read.
pub(crate) fn check(workspace: &Workspace) -> anyhow::Result<Vec<Finding>> {
    let paths = tracked_files(workspace)?;
    let mut findings = Vec::new();
    let mut add = |path: &str, problems: Vec<Problem>| {
        findings.extend(problems.into_iter().map(|problem| Finding { path: path.to_owned(), problem }));
    };

    let members = manifests::members(&paths);
    for path in &paths {
        let Some(text) = read_text(&workspace.root().join(path))? else {
            continue;
        };
        if text::applies_to(path) {
            add(path, text::problems(&text));
        }
        if path.ends_with(".rs") {
            add(path, source::problems(path, &text));
            add(path, groups::problems(path, &text));
            add(path, purity::source_problems(path, &text));
        }
        if members.iter().any(|member| *path == member.manifest) {
            add(path, manifests::problems(&text));
            add(path, purity::manifest_problems(path, &text));
        }
        if path.ends_with(".md") {
            add(path, links::problems(path, &text, |file| workspace.root().join(file).exists()));
        }
        if path == links::SUMMARY {
            add(path, links::missing_pages(&text, &paths));
        }
        if path == "Cargo.lock" {
            add(path, tree::problems(&text));
        }
    }
    for (path, problems) in documents::problems(&members, |path| read_text(&workspace.root().join(path)))? {
        add(path, problems);
    }
    Ok(findings)
}

/// Paths relative to the root, with `/`, in order.
fn tracked_files(workspace: &Workspace) -> anyhow::Result<Vec<String>> {
    let shell = workspace.shell()?;
    let list = cmd!(shell, "git ls-files -z --cached --others --exclude-standard")
        .quiet()
        .read()
        .context("tidy asks git for the list of files: it needs git and a clone")?;
    let mut paths: Vec<String> = list.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect();
    paths.sort();
    paths.dedup();
    Ok(paths)
}

/// The file's text; `None` when it is gone (deleted, not yet committed) or no text (a picture, weights).
fn read_text(path: &Path) -> anyhow::Result<Option<String>> {
    if !path.is_file() {
        return Ok(None);
    }
    Ok(String::from_utf8(fs_err::read(path)?).ok())
}

/// Lines with their numbers, from 1.
fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(position, line)| (position + 1, line))
}

/// The part of a line of Rust before a `//` comment. (A `//` in a string also ends it: URLs hold no code.)
fn code(line: &str) -> &str {
    line.find("//").map_or(line, |start| &line[..start])
}

/// Whether `word` stands in `text` with no identifier character on either side.
fn has_word(text: &str, word: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(start, _)| {
        !text[..start].ends_with(part_of_name) && !text[start + word.len()..].starts_with(part_of_name)
    })
}

#[cfg(test)]
mod tests {
    use super::{Finding, Problem, code, has_word};

    #[test]
    fn a_finding_is_a_place_to_click() {
        let finding = Finding { path: "a/b.rs".to_owned(), problem: Problem::at(3, "wrong") };
        assert_eq!(finding.to_string(), "a/b.rs:3: wrong");
        assert_eq!(Finding { problem: Problem::whole("wrong"), ..finding }.to_string(), "a/b.rs: wrong");
    }

    #[test]
    fn words_and_comments() {
        assert!(has_word("fn f(x: &Word)", "Word"));
        assert!(!has_word("MyWord, Words, Word_", "Word"));
        assert_eq!(code("let x = 1; // why"), "let x = 1; ");
        assert_eq!(code("/// Word"), "");
    }
}

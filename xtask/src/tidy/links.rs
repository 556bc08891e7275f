//! Markdown: relative links lead to files, and the book of docs has every page.

use std::collections::BTreeSet;

use super::{Problem, numbered};

/// The book's list of pages.
pub(super) const SUMMARY: &str = "docs/SUMMARY.md";

/// Links of the Markdown file at `path` that lead nowhere. `exists` knows files and folders, relative to the root.
pub(super) fn problems(path: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<Problem> {
    let mut out = Vec::new();
    for (line, target) in links(text) {
        match resolve(path, target) {
            Some(file) if exists(&file) => {}
            Some(file) => {
                out.push(Problem::at(line, format!("the link to `{target}` leads to {file}, which is not there")))
            }
            None => out.push(Problem::at(line, format!("the link to `{target}` leads out of the project"))),
        }
    }
    out
}

/// Pages below docs that the book's list at [`SUMMARY`] leaves out.
pub(super) fn missing_pages(summary: &str, paths: &[String]) -> Vec<Problem> {
    let listed: BTreeSet<String> = links(summary).filter_map(|(_, target)| resolve(SUMMARY, target)).collect();
    let page = |path: &&String| path.starts_with("docs/") && path.ends_with(".md") && *path != SUMMARY;
    let missing = paths.iter().filter(page).filter(|path| !listed.contains(*path));
    missing.map(|path| Problem::whole(format!("does not list {path}: add a line for it"))).collect()
}

/// Targets of relative links with their lines; code is passed over.
fn links(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    let lines = numbered(text).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence && !line.starts_with("    ")
    });
    lines.flat_map(|(number, line)| {
        let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let relative = targets.filter(|t| !t.contains("://") && !t.starts_with('#') && !t.starts_with("mailto:"));
        relative.map(move |target| (number, target.split('#').next().unwrap_or_default()))
    })
}

/// The path from the root that `target` means in the file at `path`.
fn resolve(path: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in target.trim_end_matches('/').split('/') {
        match part {
            "." | "" => {}
            ".." => {
                parts.pop()?;
            }
            other => parts.push(other),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::{Problem, missing_pages, problems};

    #[test]
    fn links_are_followed_from_where_they_stand() {
        let text = "[a](../README.md#top) [b](x.md)\n[c](https://host/x) [d](#here)\n```\n[e](nowhere)\n```\n![p](images/p.png)\n";
        let there = ["README.md", "docs/x.md", "docs/images/p.png"];
        assert_eq!(problems("docs/page.md", text, |f| there.contains(&f)), []);
        let found = problems("docs/page.md", text, |f| f != "docs/x.md");
        assert_eq!(found, [Problem::at(1, "the link to `x.md` leads to docs/x.md, which is not there")]);
        let found = problems("docs/page.md", "[a](../../up.md)", |_| true);
        assert_eq!(found, [Problem::at(1, "the link to `../../up.md` leads out of the project")]);
    }

    #[test]
    fn a_page_that_the_book_leaves_out_is_named() {
        let paths = ["docs/SUMMARY.md", "docs/a.md", "docs/b/c.md", "README.md"].map(str::to_owned);
        assert_eq!(missing_pages("- [A](a.md)\n- [C](b/c.md)\n", &paths), []);
        assert_eq!(
            missing_pages("- [A](a.md)\n", &paths),
            [Problem::whole("does not list docs/b/c.md: add a line for it")]
        );
    }
}

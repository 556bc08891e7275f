//! The page of a run.

use maud::{Markup, PreEscaped, html};
use scgs_debias::{Results, Spread};

use super::{Content, attention, chart, curves, sections, shell, table};

pub(super) fn render(content: &Content) -> anyhow::Result<Markup> {
    let results = &content.results;
    let chain = content.chain.as_ref().map(|chain| Ok::<_, anyhow::Error>((chain, chain.to_json()?))).transpose()?;
    // Name, anchor and content of every section that the run has.
    let mut parts: Vec<(&str, &str, Markup)> = vec![
        ("Results on the test split", "results", table::render(results)),
        ("Accuracy per group", "groups", chart::bars(results)),
    ];
    if let Some(changes) = &content.changes {
        parts.push(("What changed on the test split", "changes", sections::changes(changes)));
    }
    if let Some(set) = &content.error_set {
        parts.push((
            "The error set",
            "error-set",
            set.render(content.seed, chain.as_ref().is_some_and(|(chain, _)| chain.is_clustered())),
        ));
    }
    if let Some((chain, _)) = &chain {
        parts.push(("From mistake to new picture", "chain", sections::chain(chain, content)));
    }
    if !content.attention.is_empty() {
        parts.push(("Where it looks, before and after", "attention", attention::render(&content.attention)));
    }
    if !content.curves.is_empty() {
        parts.push(("Training", "training", curves::render(&content.curves)));
    }
    if content.histories.iter().any(|(_, history)| !history.seconds.is_empty()) {
        parts.push(("Cost", "cost", sections::cost(&content.histories)));
    }
    parts.push(("Diagnostics", "diagnostics", sections::diagnostics(&content.diagnostics)));
    parts.push(("How to repeat it", "settings", sections::settings(content)));
    let title = format!("SCGS on {}", results.dataset);
    let body = html! {
        header {
            h1 { (title) }
            (summary(results))
            nav.contents aria-label="Contents" { ul { @for (name, anchor, _) in &parts {
                li { a href=(format!("#to-{anchor}")) { (name) } }
            } } }
        }
        main id="main" { @for (name, anchor, part) in &parts {
            section aria-labelledby=(format!("to-{anchor}")) {
                h2 id=(format!("to-{anchor}")) { (name) }
                (part)
            }
        } }
        (heat_filter())
        @if let Some((_, json)) = &chain {
            script type="application/json" id="chain-data" { (PreEscaped(json)) }
        }
    };
    Ok(shell(&title, body, chain.is_some()))
}

/// The result in two sentences.
fn summary(results: &Results) -> Markup {
    let all = results.summaries();
    let find = |name: &str| all.iter().find(|s| s.method == name);
    let seeds = results.seeds();
    let worst = |s: &scgs_debias::results::Summary| {
        let lowest = |a: &(usize, &Spread), b: &(usize, &Spread)| a.1.mean.total_cmp(&b.1.mean);
        let place = s.groups.iter().enumerate().min_by(lowest).map(|(i, _)| i);
        place.and_then(|i| results.rows.first()?.groups.get(i)).map(|g| results.group_name(g))
    };
    html! {
        @if let (Some(erm), Some(scgs)) = (find("erm"), find("scgs")) {
            p.lead {
                "The plain classifier (ERM) is right in " (percent(&erm.plain)) " of the test pictures, but only in "
                b { (percent(&erm.worst_group)) } " of its worst group"
                @if let Some(group) = worst(erm) { " (" (group) ")" }
                ". Trained again with the new pictures (SCGS), the worst group is at "
                b { (percent(&scgs.worst_group)) } " and the average at " (percent(&scgs.plain)) "."
                @if let Some(control) = find("duplicate") {
                    " The control that repeats the same mistakes without painting anything reaches "
                    (percent(&control.worst_group)) "."
                }
            }
        } @else {
            p.lead { "The methods " (results.arms().join(", ")) " on " (results.dataset) "." }
        }
        p.quiet {
            (seeds.len()) " seed" @if seeds.len() != 1 { "s" } ": "
            (seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")) "."
            @if seeds.len() == 1 { " One seed has no spread: differences of a few points are noise." }
        }
    }
}

fn percent(s: &Spread) -> String {
    match s.sd {
        Some(sd) => format!("{:.1} ± {:.1} %", s.mean * 100.0, sd * 100.0),
        None => format!("{:.1} %", s.mean * 100.0),
    }
}

/// Colours a grey attention map and makes it transparent where it is dark. A filter and not a picture: the page holds
/// the map as the run does.
fn heat_filter() -> Markup {
    html! {
        svg.spoken aria-hidden="true" width="0" height="0" {
            filter id="heat" x="0" y="0" width="1" height="1" color-interpolation-filters="sRGB" {
                feColorMatrix values="1 0 0 0 0  1 0 0 0 0  1 0 0 0 0  1.1 0 0 0 0.05" {}
                feComponentTransfer {
                    feFuncR type="table" tableValues="0.15 0.55 0.9 1 1" {}
                    feFuncG type="table" tableValues="0.05 0.1 0.3 0.65 0.95" {}
                    feFuncB type="table" tableValues="0.4 0.45 0.2 0.05 0.4" {}
                    feFuncA type="linear" slope="0.75" {}
                }
            }
        }
    }
}

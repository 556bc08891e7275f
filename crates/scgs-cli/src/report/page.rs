//! The page.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use scgs_debias::{Results, Spread, results::Summary};

use super::{Content, chain::Chain, chart};
use crate::table::{spread, spread_or_dash};

const STYLE: &str = include_str!("style.css");

pub(crate) fn render(content: &Content) -> Markup {
    let results = &content.results;
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "SCGS on " (results.dataset) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "SCGS on " (results.dataset) }
                (summary(results))
                h2 { "Results on the test split" }
                (table(results))
                h2 { "Accuracy per group" }
                (chart::bars(results))
                @if let Some(map) = &content.map { (map.render()) }
                @if let Some(chain) = &content.chain { (chain_rows(chain)) }
                (diagnostics(content))
                h2 { "Settings" }
                details { summary { "config.toml" } pre { (content.config) } }
            }
        }
    }
}

/// The result in two sentences.
fn summary(results: &Results) -> Markup {
    let all = results.summaries();
    let find = |name: &str| all.iter().find(|s| s.method == name);
    let seeds = results.seeds();
    html! {
        @if let (Some(erm), Some(scgs)) = (find("erm"), find("scgs")) {
            p.lead {
                "The plain classifier (ERM) is right in " (percent(&erm.plain)) " of the test pictures but only in "
                b { (percent(&erm.worst_group)) } " of its worst group. Retrained with the new pictures (SCGS), the worst group is at "
                b { (percent(&scgs.worst_group)) } ", the average at " (percent(&scgs.plain)) "."
                @if let Some(control) = find("duplicate") {
                    " The control that only repeats the same mistakes without painting anything reaches " (percent(&control.worst_group)) "."
                }
            }
        }
        p { (seeds.len()) " seed" @if seeds.len() != 1 { "s" } ": " (seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")) "." }
    }
}

fn percent(s: &Spread) -> String {
    match s.sd {
        Some(sd) => format!("{:.1} ± {:.1} %", s.mean * 100.0, sd * 100.0),
        None => format!("{:.1} %", s.mean * 100.0),
    }
}

fn table(results: &Results) -> Markup {
    let groups = results.rows.first().map(|r| r.groups.clone()).unwrap_or_default();
    let best =
        results.summaries().iter().filter(|s| !s.oracle).map(|s| s.worst_group.mean).fold(f64::NEG_INFINITY, f64::max);
    html! {
        div.wide { table {
            thead { tr {
                th { "method" } th { "sees groups in training" } th { "worst group" } th { "plain average" } th { "train-weighted" } th { "group mean" }
                @for g in &groups { th { (results.group_name(g)) br; small { "n " (g.n) } } }
            } }
            tbody { @for s in &results.summaries() { (row(s, best)) } }
        } }
        p { small {
            @if results.seeds().len() > 1 { "Mean ± sample standard deviation over seeds. " }
            "Bold: best worst group among methods without group labels. Plain: share of correct pictures. Train-weighted: group accuracies weighted by the groups' shares of the training split. Group mean: unweighted."
        } }
    }
}

fn row(s: &Summary, best: f64) -> Markup {
    let bold = !s.oracle && s.worst_group.mean == best;
    html! {
        tr.oracle[s.oracle] {
            th scope="row" { (s.method) @if s.oracle { " [oracle]" } }
            td { @if s.oracle { "yes" } @else { "no" } }
            td { @if bold { b { (spread(&s.worst_group)) } } @else { (spread(&s.worst_group)) } }
            td { (spread(&s.plain)) } td { (spread_or_dash(s.train_weighted.as_ref())) } td { (spread(&s.group_mean)) }
            @for g in &s.groups { td { (spread(g)) } }
        }
    }
}

fn chain_rows(chain: &Chain) -> Markup {
    html! {
        h2 { "From mistake to new picture" }
        p { (chain.rows.len()) " of " (chain.total) " new pictures, drawn at random. White in the mask is repainted." }
        div.chain {
            @for link in &chain.rows {
                figure {
                    div.four {
                        img src=(link.picture) alt=(format!("training picture {} of class {}", link.source_id, link.class));
                        img src=(link.attention) alt="attention of the classifier";
                        img src=(link.mask) alt="mask, white is repainted";
                        img src=(link.painted) alt="new picture";
                    }
                    figcaption {
                        b { (link.class) } " #" (link.source_id) ", cluster " (link.cluster) ", " (format!("{:.0} %", link.area * 100.0)) " repainted"
                        br; small { (link.answer) }
                    }
                }
            }
        }
    }
}

fn diagnostics(content: &Content) -> Markup {
    let number = |v: Option<f64>| v.map_or_else(|| "–".into(), |v| format!("{v:.3}"));
    html! {
        h2 { "Diagnostics" }
        p { "Computed with group labels and true object masks, for this page only: no stage of the method has seen them." }
        div.wide { table {
            thead { tr { th { "seed" } th { "error set" } th { "precision for minority groups" } th { "recall" } th { "cluster purity" } th { "mask IoU with the object" } th { "random mask IoU" } } }
            tbody { @for (seed, d) in &content.diagnostics { tr {
                th scope="row" { (seed) }
                td { (d.error_set.map_or_else(|| "–".into(), |e| e.size.to_string())) }
                td { (number(d.error_set.map(|e| e.precision))) }
                td { (number(d.error_set.map(|e| e.recall))) }
                td { (number(d.cluster_purity)) }
                td { (number(d.mask_iou)) }
                td { (number(d.random_mask_iou)) }
            } } }
        } }
    }
}

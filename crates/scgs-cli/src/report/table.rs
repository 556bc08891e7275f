//! The table of results.

use maud::{Markup, html};
use scgs_debias::{Results, results::Summary};

use crate::table::{seen, spread, spread_or_dash};

pub(super) fn render(results: &Results) -> Markup {
    let groups = results.rows.first().map(|r| r.groups.clone()).unwrap_or_default();
    let seeds = results.seeds().len();
    let best =
        results.summaries().iter().filter(|s| !s.oracle).map(|s| s.worst_group.mean).fold(f64::NEG_INFINITY, f64::max);
    html! {
        div.wide tabindex="0" role="region" aria-label="Results on the test split" { table {
            caption {
                "Accuracy on the test split, "
                @if seeds > 1 { "mean ± sample standard deviation over n = " (seeds) " seeds. " } @else { "one seed. " }
                "Bold: the best worst group without group labels."
            }
            thead { tr {
                th scope="col" { "method" } th scope="col" { "groups seen in" } th scope="col" { "worst group" } th scope="col" { "plain average" }
                th scope="col" { "train-weighted" } th scope="col" { "group mean" }
                @for g in &groups { th scope="col" { (results.group_name(g)) br; small { "n " (g.n) } } }
            } }
            tbody { @for s in &results.summaries() { (row(s, best)) } }
        } }
        @if seeds > 1 && !results.comparisons.is_empty() { (comparisons(results)) }
        p { small {
            "Plain: share of correct pictures. Train-weighted: group accuracies weighted by the groups' shares of the training split. "
            "Group mean: unweighted. Methods marked [oracle] used group labels or true object masks, which a user does not have."
        } }
    }
}

fn row(s: &Summary, best: f64) -> Markup {
    let bold = !s.oracle && s.worst_group.mean == best;
    html! {
        tr.oracle[s.oracle] {
            th scope="row" { (s.method) @if s.oracle { " [oracle]" } }
            td { (seen(s.sees_groups)) }
            td { @if bold { b { (spread(&s.worst_group)) } } @else { (spread(&s.worst_group)) } }
            td { (spread(&s.plain)) } td { (spread_or_dash(s.train_weighted.as_ref())) } td { (spread(&s.group_mean)) }
            @for g in &s.groups { td { (spread(g)) } }
        }
    }
}

/// Every arm against the baseline, seed by seed.
fn comparisons(results: &Results) -> Markup {
    let signed = |v: f64| format!("{:+.3}", v);
    html! {
        details {
            summary { "Differences seed by seed" }
            div.wide tabindex="0" role="region" aria-label="Differences seed by seed" { table {
                caption { "Worst-group accuracy minus the baseline's on the same seed; p is the exact two-sided sign-flip test's." }
                thead { tr {
                    th scope="col" { "method" } th scope="col" { "baseline" } th scope="col" { "mean difference" } th scope="col" { "sd" }
                    th scope="col" { "n" } th scope="col" { "seeds better" } th scope="col" { "p" }
                } }
                tbody { @for c in &results.comparisons { tr {
                    th scope="row" { (c.method) } td { (c.baseline) } td { (signed(c.mean)) }
                    td { (c.sd.map_or_else(|| "–".into(), |v| format!("{v:.3}"))) }
                    td { (c.n) } td { (c.wins) } td { (c.p.map_or_else(|| "–".into(), |v| format!("{v:.3}"))) }
                } } }
            } }
        }
    }
}

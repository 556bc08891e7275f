//! Bars per group, one block per arm, as inline SVG.

use maud::{Markup, html};
use scgs_debias::Results;

const LABEL: f64 = 170.0;
const WIDTH: f64 = 520.0;
const BAR: f64 = 13.0;
const GAP: f64 = 12.0;

/// Accuracy of every arm in every group; whiskers are one standard deviation over seeds.
pub(crate) fn bars(results: &Results) -> Markup {
    let summaries = results.summaries();
    let groups = results.rows.first().map(|r| r.groups.clone()).unwrap_or_default();
    let block = groups.len() as f64 * BAR + GAP;
    let height = summaries.len() as f64 * block + 24.0;
    let ticks = [0.0, 0.25, 0.5, 0.75, 1.0];
    html! {
        ul.legend { @for (i, group) in groups.iter().enumerate() {
            li { span class=(format!("key g{}", i % 8)) {} (results.group_name(group)) }
        } }
        div.wide tabindex="0" role="region" aria-label="Bars" { svg.bars viewBox=(format!("0 0 {} {height}", LABEL + WIDTH + 70.0)) role="img" aria-label="Accuracy per group and method" {
            @for tick in ticks {
                line.grid x1=(x(tick)) x2=(x(tick)) y1="0" y2=(height - 20.0) {}
                text x=(x(tick)) y=(height - 6.0) text-anchor="middle" { (format!("{:.0} %", tick * 100.0)) }
            }
            @for (row, summary) in summaries.iter().enumerate() {
                @let top = row as f64 * block;
                text.name x=(LABEL - 8.0) y=(top + block / 2.0) text-anchor="end" {
                    (summary.method) @if summary.oracle { " [oracle]" }
                }
                @for (i, s) in summary.groups.iter().enumerate() {
                    @let y = top + i as f64 * BAR;
                    rect class=(format!("g{}", i % 8)) x=(LABEL) y=(y) width=(WIDTH * s.mean) height=(BAR - 2.0) {
                        title { (summary.method) ", " (groups.get(i).map(|g| results.group_name(g)).unwrap_or_default()) ": " (format!("{:.3}", s.mean)) }
                    }
                    @if let Some(sd) = s.sd {
                        line.whisker x1=(x(s.mean - sd)) x2=(x((s.mean + sd).min(1.0))) y1=(y + BAR / 2.0 - 1.0) y2=(y + BAR / 2.0 - 1.0) {}
                    }
                    text.value x=(x(s.mean) + 4.0) y=(y + BAR - 3.5) { (format!("{:.1}", s.mean * 100.0)) }
                }
            }
        } }
    }
}

fn x(share: f64) -> f64 {
    LABEL + WIDTH * share.max(0.0)
}

//! Worst-group accuracy of the recipe's arms as one SVG: the mean, its 95 % interval, and every seed.

use maud::html;
use scgs_debias::{Spread, measures::t_interval};

use super::Record;

const LABEL: f64 = 210.0;
const WIDTH: f64 = 480.0;
const ROW: f64 = 22.0;

/// Draws the rows of the default cell.
pub(crate) fn of_default(record: &Record) -> String {
    let arms: Vec<String> = record.results.arms().into_iter().filter(|a| !a.contains('@')).collect();
    let values: Vec<Vec<f64>> =
        arms.iter().map(|arm| record.values(arm, |r| r.worst_group).into_iter().map(|v| v.1).collect()).collect();
    let lowest = values.iter().flatten().copied().fold(1.0, f64::min);
    // Ticks of 5 points below the lowest value.
    let from = (lowest * 20.0).floor() / 20.0;
    let x = |v: f64| LABEL + (v - from) / (1.0 - from) * WIDTH;
    let height = arms.len() as f64 * ROW + 30.0;
    let ticks = (0..=20).map(|t| f64::from(t) / 20.0).filter(|t| *t >= from - 1e-9);
    let oracle = |name: &str| record.results.rows.iter().any(|r| r.method == name && r.sees_groups.any());
    let svg = html! {
        svg xmlns="http://www.w3.org/2000/svg" viewBox=(format!("0 0 {} {height}", LABEL + WIDTH + 20.0)) font-family="sans-serif" font-size="12" {
            title { "Worst-group accuracy per arm" }
            rect width="100%" height="100%" fill="white" {}
            @for tick in ticks {
                line x1=(x(tick)) x2=(x(tick)) y1="4" y2=(height - 22.0) stroke="#ddd" {}
                text x=(x(tick)) y=(height - 8.0) text-anchor="middle" fill="#555" { (format!("{:.0} %", tick * 100.0)) }
            }
            @for (i, (arm, values)) in arms.iter().zip(&values).enumerate() {
                @let y = i as f64 * ROW + ROW / 2.0 + 4.0;
                @let colour = if oracle(arm) { "#999" } else if arm.starts_with("scgs") && !arm.starts_with("scgs-") { "#0b6" } else { "#36c" };
                text x=(LABEL - 10.0) y=(y + 4.0) text-anchor="end" { (arm) @if oracle(arm) { " [oracle]" } }
                @if let Some([low, high]) = t_interval(values) {
                    line x1=(x(low.max(from))) x2=(x(high.min(1.0))) y1=(y) y2=(y) stroke=(colour) stroke-width="2" {}
                }
                @for value in values {
                    circle cx=(x(*value)) cy=(y) r="2.5" fill="none" stroke=(colour) {}
                }
                @if let Some(Spread { mean, .. }) = Spread::of(values) {
                    circle cx=(x(mean)) cy=(y) r="4.5" fill=(colour) {}
                }
            }
        }
    };
    format!("{}\n", svg.into_string())
}

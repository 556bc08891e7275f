//! Training curves of the arms that were trained in epochs, as inline SVG.

use maud::{Markup, html};
use scgs_debias::{Results, RunFolder};

use super::facts::{self, LogLine};

const WIDTH: f64 = 320.0;
const HEIGHT: f64 = 150.0;
const LEFT: f64 = 34.0;
const BOTTOM: f64 = 24.0;

/// One phase of one arm; at least two epochs.
pub(super) struct Curve {
    name: String,
    lines: Vec<LogLine>,
}

/// Reads the logs of stage 1 and of every arm.
pub(super) fn read(run: &RunFolder, results: &Results) -> anyhow::Result<Vec<Curve>> {
    let arms = results.arms().into_iter().map(|arm| format!("6-{arm}"));
    let stages = std::iter::once("1-erm".to_owned()).chain(arms);
    let mut curves = Vec::new();
    for stage in stages {
        let log = facts::log(run, &stage)?;
        let mut phases: Vec<&str> = Vec::new();
        for line in &log {
            if !phases.contains(&line.phase.as_str()) {
                phases.push(&line.phase);
            }
        }
        for &phase in &phases {
            let lines: Vec<LogLine> = log.iter().filter(|l| l.phase == phase).cloned().collect();
            let name = if phases.len() > 1 { format!("{stage}, {phase}") } else { stage.clone() };
            // One point is no curve.
            if lines.len() > 1 {
                curves.push(Curve { name, lines });
            }
        }
    }
    Ok(curves)
}

pub(super) fn render(curves: &[Curve]) -> Markup {
    html! {
        p { "Accuracy in the epoch's batches and on the validation split (without group labels), and the mean loss, which has its own scale: its highest value is the top of the frame." }
        ul.legend {
            li { span class="key s0" {} "training accuracy" } li { span class="key s1" {} "validation accuracy" } li { span class="key s2" {} "loss (dashed)" }
        }
        div.curves { @for curve in curves { figure { (draw(curve)) figcaption { (curve.name) } } } }
    }
}

fn draw(curve: &Curve) -> Markup {
    let lines = &curve.lines;
    let (first, last) = (lines[0].epoch as f64, lines[lines.len() - 1].epoch as f64);
    let x = |epoch: usize| LEFT + (epoch as f64 - first) / (last - first).max(1.0) * (WIDTH - LEFT - 6.0);
    let y = |share: f64| 6.0 + (1.0 - share.clamp(0.0, 1.0)) * (HEIGHT - BOTTOM - 6.0);
    let top = lines.iter().map(|l| l.loss).filter(|l| l.is_finite()).fold(f64::MIN_POSITIVE, f64::max);
    let path = |of: &dyn Fn(&LogLine) -> Option<f64>| -> String {
        let points = lines.iter().filter_map(|l| Some((l.epoch, of(l).filter(|v| v.is_finite())?)));
        points.map(|(epoch, v)| format!("{:.1},{:.1}", x(epoch), y(v))).collect::<Vec<_>>().join(" ")
    };
    let end = &lines[lines.len() - 1];
    let validation = end.validation.map_or_else(String::new, |v| format!(", validation accuracy {v:.3}"));
    let label = format!(
        "{}: after epoch {} training accuracy {:.3}{validation}, loss {:.4}",
        curve.name, end.epoch, end.accuracy, end.loss
    );
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(label) {
            title { (label) }
            @for share in [0.0, 0.5, 1.0] {
                line.grid x1=(LEFT) x2=(WIDTH - 6.0) y1=(y(share)) y2=(y(share)) {}
                text x=(LEFT - 5.0) y=(y(share) + 4.0) text-anchor="end" { (format!("{share:.1}")) }
            }
            text x=(LEFT) y=(HEIGHT - 8.0) { "epoch " (lines[0].epoch) }
            text x=(WIDTH - 6.0) y=(HEIGHT - 8.0) text-anchor="end" { (end.epoch) ", loss at most " (format!("{top:.3}")) }
            polyline class="curve s2" points=(path(&|l| Some(l.loss / top))) {}
            polyline class="curve s0" points=(path(&|l| Some(l.accuracy))) {}
            polyline class="curve s1" points=(path(&|l| l.validation)) {}
        }
    }
}

//! `scgs simulate`: the table and the figure of docs/scale.md.

use std::{fmt::Write as _, process::ExitCode};

use scgs_debias::{
    Context,
    simulation::{self, Block},
};

use super::{print, print_json};
use crate::{CANCELLED, args_runs::SimulateArgs, device, progress};

/// Width and height of the figure in pixels, and what its axes take.
const FIGURE: (f64, f64) = (720.0, 320.0);
const MARGIN: (f64, f64) = (64.0, 40.0);

pub(crate) fn run(args: &SimulateArgs) -> anyhow::Result<ExitCode> {
    let device = device::open("flex")?;
    let context = Context::new(device, &CANCELLED, &progress::show);
    let folder = tempfile::Builder::new().prefix("scgs-simulate-").tempdir_in(&args.folder)?;
    let blocks = simulation::run(folder.path(), args.items, args.shards, (args.items / 40).max(16), &context)?;
    let paint: Vec<&Block> = blocks.iter().filter(|block| block.phase == "paint").collect();
    let per_item = |blocks: &[&Block]| {
        let mut all: Vec<f64> = blocks.iter().map(|block| block.seconds / block.items as f64).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or_default()
    };
    let quarter = (paint.len() / 4).max(1);
    let (first, last) = (per_item(&paint[..quarter]), per_item(&paint[paint.len() - quarter..]));
    let record = serde_json::json!({
        "schema": 1, "items": args.items, "shards": args.shards,
        "seconds_per_item_first_quarter": first, "seconds_per_item_last_quarter": last, "blocks": blocks,
    });
    scgs_data::atomic::write(args.out.with_extension("json"), serde_json::to_string_pretty(&record)? + "\n")?;
    scgs_data::atomic::write(args.out.with_extension("svg"), figure(&blocks))?;
    if args.common.json {
        print_json(&record)?;
    } else {
        let mut text = format!(
            "{} pictures in {} shards: {:.2} ms each in the first quarter, {:.2} ms in the last (medians of blocks)\n",
            args.items,
            args.shards,
            first * 1e3,
            last * 1e3
        );
        for phase in ["resume", "check", "table", "kept"] {
            let of: Vec<&Block> = blocks.iter().filter(|block| block.phase == phase).collect();
            let (items, seconds) = of.iter().fold((0, 0.0), |(n, s), block| (n + block.items, s + block.seconds));
            let _ = writeln!(
                text,
                "{phase:<8} {items:>8} pictures  {seconds:>8.2} s  {:.3} ms each",
                seconds / items.max(1) as f64 * 1e3
            );
        }
        print(text.trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Milliseconds per picture against the pictures that are there.
fn figure(blocks: &[Block]) -> String {
    let ms = |block: &Block| block.seconds / block.items as f64 * 1e3;
    let shown: Vec<&Block> = blocks.iter().filter(|b| ["paint", "resume"].contains(&b.phase)).collect();
    let most = four_round_steps(shown.iter().map(|b| b.pictures).max().unwrap_or(1) as f64);
    let top = four_round_steps(shown.iter().map(|b| ms(b)).fold(1e-6, f64::max) * 1.1);
    let ((width, height), (left, below)) = (FIGURE, MARGIN);
    let x = |pictures: f64| left + pictures / most * (width - left - 16.0);
    let y = |ms: f64| height - below - ms / top * (height - below - 24.0);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n<title>Time per new picture against the number of pictures that are there</title>\n"
    );
    for i in 0..=4 {
        let (value, pictures) = (top * f64::from(i) / 4.0, most * f64::from(i) / 4.0);
        let _ = writeln!(
            text,
            "<path d=\"M{left} {y:.1}H{right}\" stroke=\"#ddd\"/><text x=\"{tx}\" y=\"{ty:.1}\" text-anchor=\"end\">{value:.2}</text>\
             <text x=\"{px:.1}\" y=\"{below:.1}\" text-anchor=\"{anchor}\">{pictures:.0}</text>",
            anchor = if i == 4 { "end" } else { "middle" },
            y = y(value),
            right = width - 16.0,
            tx = left - 6.0,
            ty = y(value) + 4.0,
            px = x(pictures),
            below = height - below + 18.0,
        );
    }
    for (phase, colour) in [("paint", "#1f5fa8"), ("resume", "#c2571a")] {
        for block in shown.iter().filter(|b| b.phase == phase) {
            let _ = writeln!(
                text,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>",
                x(block.pictures as f64),
                y(ms(block))
            );
        }
    }
    let _ = write!(
        text,
        "<text x=\"{left}\" y=\"16\">milliseconds per picture: <tspan fill=\"#1f5fa8\">painted and listed</tspan>, \
         <tspan fill=\"#c2571a\">checked again by a shard that goes on</tspan></text>\n\
         <text x=\"{}\" y=\"{}\" text-anchor=\"end\">pictures that are there</text>\n</svg>\n",
        width - 16.0,
        height - 6.0
    );
    text
}

/// The end of an axis with four steps of one or two digits that reaches `least`.
fn four_round_steps(least: f64) -> f64 {
    let magnitude = 10f64.powf((least / 4.0).log10().floor());
    let step = [1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0].into_iter().find(|s| 4.0 * s * magnitude >= least);
    4.0 * magnitude * step.unwrap_or(10.0)
}

#[cfg(test)]
mod tests {
    use super::four_round_steps;

    #[test]
    fn axes_end_at_round_numbers() {
        for (least, end) in [(0.43, 0.6), (0.09, 0.1), (195_032.0, 200_000.0), (200_000.0, 200_000.0), (1.0, 1.0)] {
            assert!((four_round_steps(least) - end).abs() < 1e-9 * end, "{least}: {}", four_round_steps(least));
        }
    }
}

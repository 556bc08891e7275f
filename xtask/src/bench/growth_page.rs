//! The page of `cargo xtask bench growth`, and its plot.

use std::path::Path;

use anyhow::anyhow;
use plotters::prelude::*;
use serde_json::Value;

/// A sweep on the page.
struct Panel {
    name: &'static str,
    title: &'static str,
    axis: &'static str,
    /// What is counted in a second.
    items: &'static str,
    text: &'static str,
}

const PANELS: [Panel; 3] = [
    Panel {
        name: "batch",
        title: "Batch size",
        axis: "pictures of 128 x 128 at once",
        items: "pictures",
        text: "EfficientNet-Lite0, pictures of 128 x 128.",
    },
    Panel {
        name: "side",
        title: "Picture size",
        axis: "side of a picture in pixels, 32 at once",
        items: "pictures",
        text: "EfficientNet-Lite0, 32 pictures at once.",
    },
    Panel {
        name: "rows",
        title: "Number of rows",
        axis: "rows of 2048 numbers, in thousands",
        items: "rows",
        text: "k-means, k 8, 10 restarts, 2048 columns: features of so many pictures.",
    },
];

const COLOURS: [RGBColor; 8] = [
    RGBColor(0x1b, 0x6c, 0xb5),
    RGBColor(0xd9, 0x5f, 0x02),
    RGBColor(0x1b, 0x9e, 0x77),
    RGBColor(0xb0, 0x30, 0x90),
    RGBColor(0x66, 0x66, 0x66),
    RGBColor(0xa6, 0x76, 0x1d),
    RGBColor(0x00, 0x8b, 0x8b),
    RGBColor(0xc0, 0x20, 0x30),
];

/// A line of a panel: its name, and per value items a second and megabytes.
struct Line {
    what: String,
    /// Device and threads.
    place: String,
    points: Vec<Point>,
}

/// What grows, items a second, megabytes.
type Point = (f64, f64, Option<f64>);

/// Writes the page to `path` and the plot beside it, with the extension svg.
pub(super) fn write(path: &Path, rows: &[Value], (command, machine): (&str, &Value)) -> anyhow::Result<()> {
    let plot = path.with_extension("svg");
    let file = plot.file_name().unwrap_or_default().to_string_lossy().into_owned();
    fs_err::write(path, page(rows, (command, machine), &file))?;
    draw(&plot, rows).map_err(|e| anyhow!("cannot draw {}: {e}", plot.display()))
}

fn lines(rows: &[Value], sweep: &str) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for row in rows.iter().filter(|row| row["sweep"] == sweep) {
        let text = |key: &str| row[key].as_str().unwrap_or_default();
        let plural = if row["threads"] == 1 { "" } else { "s" };
        let (what, place) = (text("what"), format!("{}, {} thread{plural}", text("device"), row["threads"]));
        let (Some(value), Some(speed)) = (row["value"].as_f64(), row["items_per_second"].as_f64()) else { continue };
        let point = (value, speed, row["peak_bytes"].as_f64().map(|bytes| bytes / 1e6));
        match lines.iter_mut().find(|line| line.what == what && line.place == place) {
            Some(line) => line.points.push(point),
            None => lines.push(Line { what: what.to_owned(), place, points: vec![point] }),
        }
    }
    lines
}

fn page(rows: &[Value], (command, machine): (&str, &Value), plot: &str) -> String {
    let mut page = format!(
        "# How cost grows\n\n```\n{command}\n```\n\n\
         {}, {} threads. `scgs bench` with other numbers and sizes than its names say: the middle of the rounds ({}), called \
         in turns. Peaks are those of whole processes, with the libraries of every device that the binary holds. `--devices` \
         adds devices.\n\n![How cost grows]({plot})\n",
        machine["processor"].as_str().unwrap_or("unknown processor"),
        machine["threads"],
        rows.first().map_or(&Value::Null, |row| &row["rounds"]),
    );
    for panel in &PANELS {
        let lines = lines(rows, panel.name);
        let Some(first) = lines.first() else { continue };
        page += &format!("\n## {}\n\n{} Each cell: {} a second, peak MB.\n\n", panel.title, panel.text, panel.items);
        let head: Vec<String> = lines.iter().map(|line| format!("{}, {}", line.what, line.place)).collect();
        page += &format!("| {} | {} |\n| ---: |{}\n", panel.name, head.join(" | "), " ---: |".repeat(lines.len()));
        for (i, point) in first.points.iter().enumerate() {
            let cells: Vec<String> = lines.iter().map(|line| line.points.get(i).map_or("-".into(), cell)).collect();
            page += &format!("| {} | {} |\n", point.0, cells.join(" | "));
        }
    }
    page
}

fn cell(&(_, speed, peak): &Point) -> String {
    let digits = usize::from(speed < 10.0);
    let peak = peak.map_or("-".into(), |peak| format!("{peak:.0}"));
    format!("{speed:.digits$}, {peak}")
}

type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Speed beside memory, a row per sweep and what is measured of it.
fn draw(path: &Path, rows: &[Value]) -> Drawn {
    let mut pairs: Vec<(&Panel, String, Vec<Line>)> = Vec::new();
    for panel in &PANELS {
        for line in lines(rows, panel.name) {
            match pairs.iter_mut().find(|(other, what, _)| other.name == panel.name && *what == line.what) {
                Some((_, _, lines)) => lines.push(line),
                None => pairs.push((panel, line.what.clone(), vec![line])),
            }
        }
    }
    let root = SVGBackend::new(path, (900, 300 * u32::try_from(pairs.len())?)).into_drawing_area();
    root.fill(&WHITE)?;
    for (area, (panel, what, lines)) in root.split_evenly((pairs.len(), 1)).iter().zip(&pairs) {
        let scale = if panel.name == "rows" { 1e-3 } else { 1.0 };
        let series = |of: fn(&Point) -> Option<f64>| -> Vec<(&str, Vec<(f64, f64)>)> {
            let points = |line: &Line| line.points.iter().filter_map(|p| Some((p.0 * scale, of(p)?))).collect();
            lines.iter().map(|line| (line.place.as_str(), points(line))).collect()
        };
        let title = format!("{}: {what}", panel.title);
        let speed = format!("{} a second", panel.items);
        let [left, right] = area.split_evenly((1, 2)).try_into().map_err(|_| "an area in two halves has two")?;
        draw_panel(&left, (&title, panel.axis, &speed), &series(|point| Some(point.1)))?;
        draw_panel(&right, (&title, panel.axis, "peak memory in MB"), &series(|point| point.2))?;
    }
    root.present()?;
    Ok(())
}

fn draw_panel(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    (title, axis, label): (&str, &str, &str),
    series: &[(&str, Vec<(f64, f64)>)],
) -> Drawn {
    let most = |of: fn(&(f64, f64)) -> f64| series.iter().flat_map(|s| s.1.iter().map(of)).fold(0.0, f64::max);
    let (right, top) = (most(|p| p.0).max(1.0), most(|p| p.1).max(1.0));
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(42)
        .y_label_area_size(64)
        // Room above the lines for their names.
        .build_cartesian_2d(0.0..right * 1.04, 0.0..top * (1.2 + 0.1 * series.len() as f64))?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(WHITE)
        .x_desc(axis)
        .y_desc(label)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y:.0}"))
        .label_style(("sans-serif", 13))
        .draw()?;
    for (i, (name, points)) in series.iter().enumerate() {
        let colour = COLOURS[i % COLOURS.len()];
        chart
            .draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        chart.draw_series(points.iter().map(|&point| Circle::new(point, 3, colour.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .label_font(("sans-serif", 12))
        .draw()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::write;

    fn row(sweep: &str, value: u64, threads: u64, seconds: f64) -> Value {
        json!({
            "sweep": sweep, "value": value, "what": "inference", "device": "flex", "threads": threads,
            "seconds": seconds, "items_per_second": value as f64 / seconds, "peak_bytes": 5_000_000,
        })
    }

    #[test]
    fn the_page_has_a_line_per_value_and_a_column_per_line_of_the_plot() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("growth.md");
        let rows = [
            row("batch", 1, 1, 0.5),
            row("batch", 1, 2, 0.25),
            row("batch", 2, 1, 0.5),
            row("batch", 2, 2, 0.125),
            row("rows", 5000, 2, 1.0),
        ];
        let machine = json!({ "processor": "a processor", "threads": 2 });
        write(&path, &rows, ("cargo xtask bench growth", &machine)).unwrap();
        let page = fs_err::read_to_string(&path).unwrap();
        let head = "| batch | inference, flex, 1 thread | inference, flex, 2 threads |\n| ---: | ---: | ---: |\n";
        assert!(page.contains(&format!("{head}| 1 | 2.0, 5 | 4.0, 5 |\n| 2 | 4.0, 5 | 16, 5 |\n")), "{page}");
        assert!(!page.contains("## Picture size"), "{page}");
        let plot = fs_err::read_to_string(path.with_extension("svg")).unwrap();
        for part in [
            "pictures a second",
            "peak memory in MB",
            "rows of 2048 numbers, in thousands",
            "Batch size: inference",
            "2 threads",
        ] {
            assert!(plot.contains(part), "{part}");
        }
    }
}

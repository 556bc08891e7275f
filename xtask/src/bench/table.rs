//! Rows for the terminal, for the documents, and beside those of an earlier commit.

use serde_json::{Value, json};

use super::KEEPS;

/// Ratios that a row may have; times are never compared between commits.
const RATIOS: [&str; 2] = ["speed_vs_python", "speed_vs_first_device"];

/// Notes in each row what part of its earlier ratio is left; name, ratio before and now of those that fell too far.
pub(super) fn compare(rows: &mut [Value], before: &[Value]) -> Vec<(String, f64, f64)> {
    let mut fallen = Vec::new();
    for row in rows {
        let Some(old) = before.iter().find(|old| old["name"] == row["name"] && old["device"] == row["device"]) else {
            continue;
        };
        for ratio in RATIOS {
            let (Some(old), Some(now)) = (old[ratio].as_f64(), row[ratio].as_f64()) else { continue };
            row[format!("{ratio}_before")] = json!(old);
            if now < KEEPS * old {
                let name = format!("{} on {}, {ratio}", text(row, "name"), text(row, "device"));
                fallen.push((name, old, now));
            }
        }
    }
    fallen
}

/// A row as a sentence.
pub(super) fn line(row: &Value) -> String {
    let mut line = format!("{:<32} {:<5} {:>9} s", text(row, "name"), text(row, "device"), seconds(row, "seconds"));
    if let Some(pictures) = row["pictures_per_second"].as_f64() {
        line += &format!(", {pictures:.0} pictures a second");
    }
    if let Some(peak) = row["peak_bytes"].as_f64() {
        line += &format!(", peak {:.0} MB", peak / 1e6);
    }
    if let Some(speed) = row["speed_vs_python"].as_f64() {
        line += &format!("; Python {} s", seconds(row, "python_seconds"));
        if let Some(peak) = row["python_peak_bytes"].as_f64() {
            line += &format!(", peak {:.0} MB", peak / 1e6);
        }
        line += &format!(": {speed:.2} times its speed (aim {})", row["goal"]);
    }
    if let Some(speed) = row["speed_vs_first_device"].as_f64() {
        line += &format!("; {speed:.2} times the speed of {}", text(row, "first_device"));
    }
    line
}

/// A table with one row per line.
pub(super) fn markdown(rows: &[Value], machine: &Value) -> String {
    let mut page = format!(
        "{}, {} threads. Seconds are the middle of the rounds, with the fastest and the slowest.\n\n",
        machine["processor"].as_str().unwrap_or("unknown processor"),
        machine["threads"]
    );
    page += "| what | device | seconds | Python | speed against Python | aim | before | peak MB | Python's |\n";
    page += "| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n";
    let number = |row: &Value, key: &str, digits: usize, scale: f64| match row[key].as_f64() {
        Some(value) => format!("{:.digits$}", value * scale),
        None => "-".into(),
    };
    for row in rows {
        let speed = match row["speed_vs_first_device"].as_f64() {
            Some(speed) => format!("{speed:.2} of {}", text(row, "first_device")),
            None => number(row, "speed_vs_python", 2, 1.0),
        };
        page += &format!(
            "| {} | {} | {} ({} to {}) | {} | {speed} | {} | {} | {} | {} |\n",
            text(row, "name"),
            text(row, "device"),
            seconds(row, "seconds"),
            seconds(row, "fastest"),
            seconds(row, "slowest"),
            seconds(row, "python_seconds"),
            number(row, "goal", 1, 1.0),
            number(row, "speed_vs_python_before", 2, 1.0),
            number(row, "peak_bytes", 0, 1e-6),
            number(row, "python_peak_bytes", 0, 1e-6),
        );
    }
    page
}

fn text<'a>(row: &'a Value, key: &str) -> &'a str {
    row[key].as_str().unwrap_or_default()
}

/// Three digits that matter.
fn seconds(row: &Value, key: &str) -> String {
    match row[key].as_f64() {
        Some(value) if value >= 100.0 => format!("{value:.0}"),
        Some(value) if value >= 10.0 => format!("{value:.1}"),
        Some(value) if value >= 1.0 => format!("{value:.2}"),
        Some(value) => format!("{value:.3}"),
        None => "-".into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{compare, line, markdown};

    #[test]
    fn a_ratio_that_falls_by_more_than_a_fifth_is_named_and_a_slower_machine_is_not() {
        let before = [
            json!({"name": "a", "device": "flex", "seconds": 1.0, "speed_vs_python": 2.0}),
            json!({"name": "b", "device": "flex", "seconds": 1.0, "speed_vs_python": 2.0}),
        ];
        let mut now = [
            json!({"name": "a", "device": "flex", "seconds": 9.0, "speed_vs_python": 1.7}),
            json!({"name": "b", "device": "flex", "seconds": 0.1, "speed_vs_python": 1.5}),
            json!({"name": "new", "device": "flex", "seconds": 0.1, "speed_vs_python": 0.1}),
        ];
        let fallen = compare(&mut now, &before);
        assert_eq!(fallen, [("b on flex, speed_vs_python".to_owned(), 2.0, 1.5)]);
        assert_eq!(now[0]["speed_vs_python_before"], 2.0);
        assert!(markdown(&now, &json!({"threads": 2})).contains("| 1.70 | - | 2.00 |"));
    }

    #[test]
    fn a_line_has_what_the_row_has() {
        let row = json!({
            "name": "train", "device": "flex", "seconds": 2.5, "peak_bytes": 4_000_000, "python_seconds": 5.0,
            "python_peak_bytes": 8_000_000, "speed_vs_python": 2.0, "goal": 1.0,
        });
        let line = line(&row);
        assert!(line.contains("2.50 s, peak 4 MB; Python 5.00 s, peak 8 MB: 2.00 times its speed (aim 1.0)"), "{line}");
    }
}

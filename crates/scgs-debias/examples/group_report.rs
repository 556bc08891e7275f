//! Accuracy per group of any classifier, from a CSV of its answers:
//! `cargo run --release -p scgs-debias --example group_report -- answers.csv`
//!
//! The file has the columns `label`, `attribute` and `predicted`: indices from 0, one row per test picture.

#![expect(clippy::print_stdout, reason = "a program of its own")]

use scgs_debias::GroupReport;
use serde::Deserialize;

#[derive(Deserialize)]
struct Answer {
    label: usize,
    attribute: usize,
    predicted: usize,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file] = &arguments[..] else {
        return Err("usage: group_report <answers.csv>".into());
    };
    let rows: Vec<Answer> = csv::Reader::from_path(file)?.deserialize().collect::<Result<_, _>>()?;
    let column = |of: fn(&Answer) -> usize| rows.iter().map(of).collect::<Vec<_>>();
    let (labels, attributes, predicted) = (column(|r| r.label), column(|r| r.attribute), column(|r| r.predicted));
    let count = |of: &[usize]| of.iter().max().map_or(0, |highest| highest + 1);

    // A group without a picture is an error, not 0: its accuracy is not known.
    let report = GroupReport::count(count(&labels), count(&attributes), &labels, &attributes, &predicted, "the file")?;
    println!("label  attribute  correct      n  accuracy");
    for group in report.groups() {
        let accuracy = group.accuracy();
        println!("{:>5} {:>10} {:>8} {:>6}  {accuracy:.3}", group.label, group.attribute, group.correct, group.n);
    }
    println!("\nplain {:.3}", report.plain());
    println!("group mean {:.3}", report.group_mean());
    println!("worst group {:.3}", report.worst_group());
    Ok(())
}

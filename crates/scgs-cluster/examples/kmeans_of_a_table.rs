//! k-means of the rows of a CSV:
//! `cargo run --release -p scgs-cluster --example kmeans_of_a_table -- features.csv 3`
//!
//! The file has a header and one row of numbers per sample. Prints `row,cluster` as CSV, then, on standard error, sizes,
//! inertia and silhouette. With `auto` in the place of the number the silhouette chooses from 2 to 8.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program of its own")]

use scgs_cluster::{KMeansConfig, Matrix, choose_k, kmeans, l2_normalise, silhouette};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (file, k, normalise) = match &arguments[..] {
        [file, k] => (file, k, false),
        [file, k, flag] if flag == "--l2" => (file, k, true),
        _ => return Err("usage: kmeans_of_a_table <features.csv> <k | auto> [--l2]".into()),
    };
    let mut values: Vec<f32> = Vec::new();
    let mut rows = 0;
    for record in csv::Reader::from_path(file)?.records() {
        let record = record?;
        rows += 1;
        for field in &record {
            values.push(field.trim().parse().map_err(|_| format!("row {rows} of {file}: `{field}` is no number"))?);
        }
    }
    let columns = values.len().checked_div(rows).unwrap_or(0);
    let mut matrix = Matrix::new(&values, rows, columns)?;
    let unit;
    if normalise {
        unit = l2_normalise(&matrix);
        matrix = Matrix::new(&unit, rows, columns)?;
    }

    let found = match k.as_str() {
        "auto" => choose_k(&matrix, &[2, 3, 4, 5, 6, 7, 8], &KMeansConfig::default())?.clustering,
        number => kmeans(&matrix, &KMeansConfig::new(number.parse()?))?,
    };
    println!("row,cluster");
    for (row, cluster) in found.assignments.iter().enumerate() {
        println!("{row},{cluster}");
    }
    eprint!("sizes {:?}, inertia {:.6}", found.sizes(), found.inertia);
    if found.k > 1 {
        eprint!(", silhouette {:.4}", silhouette(&matrix, &found.assignments, 0)?);
    }
    eprintln!();
    Ok(())
}

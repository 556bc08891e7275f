//! What `cargo xtask chaos` calls: `chaos KILLS SEED PAGE.md`, which writes the table and the same as JSON beside it.

#![expect(clippy::print_stdout, reason = "a program: its output is its progress")]

use std::{fmt::Write as _, path::Path, process::ExitCode};

use scgs_tests::chaos;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let ([kills, seed, page], Ok(dir)) = (words.as_slice(), tempfile::tempdir()) else {
        println!("usage: chaos KILLS SEED PAGE.md");
        return ExitCode::from(2);
    };
    let (Ok(kills), Ok(seed)) = (kills.parse::<usize>(), seed.parse::<u64>()) else {
        println!("KILLS and SEED are numbers");
        return ExitCode::from(2);
    };
    let written = chaos::run(dir.path(), &chaos::plans(), kills, seed, &|line| println!("{line}"))
        .and_then(|table| write(&table, seed, kills, Path::new(page)).map(|()| table));
    match written {
        Ok(table) if table.values().all(|row| row.differing.is_empty()) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            println!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn write(table: &chaos::Table, seed: u64, kills: usize, page: &Path) -> std::io::Result<()> {
    let mut text = format!(
        "# Killed and gone on\n\n`cargo xtask chaos --kills {kills} --seed {seed}` kills `scgs` with SIGKILL at random moments of every stage, \
         calls it again until it is done, and compares the sha256 of every file with those of a run that nobody touched.\n\n\
         | command | under way at the kill | kills | runs compared | identical |\n| --- | --- | ---: | ---: | --- |\n"
    );
    for ((plan, stage), row) in table {
        let same = if row.differing.is_empty() { "yes" } else { "no" };
        let _ = writeln!(text, "| {plan} | {stage} | {} | {} | {same} |", row.kills, row.runs);
    }
    text += "\nCommands:\n\n";
    for plan in chaos::plans() {
        let _ = writeln!(text, "- {}: `scgs {}`", plan.name, plan.words.join(" "));
    }
    text += "\nNot compared, by name:\n\n";
    for (name, why) in chaos::APART {
        let _ = writeln!(text, "- `{name}`: {why}");
    }
    fs_err::write(page, text)?;
    let json = serde_json::to_string_pretty(&chaos::json(table, seed))? + "\n";
    fs_err::write(page.with_extension("json"), json)
}

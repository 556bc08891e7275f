//! The result table on standard output.

use comfy_table::{Cell, CellAlignment, ContentArrangement, LineStyle, Table, presets};
use scgs_debias::{GroupReport, Results, Spread, arms::SeesGroups, results::Row, selection::Criterion, sweep};

/// One line per arm: worst group, averages, groups; mean, sd and n over seeds.
pub(crate) fn of_results(results: &Results) -> String {
    let mut table = plain_table();
    let mut header = vec![
        "method".to_owned(),
        "groups\nseen in".into(),
        "worst\ngroup".into(),
        "plain".into(),
        "train-\nweighted".into(),
        "group\nmean".into(),
    ];
    let groups = results.rows.first().map(|r: &Row| r.groups.clone()).unwrap_or_default();
    header.extend(groups.iter().map(|g| format!("{}\n(n {})", results.group_name(g), g.n)));
    table.set_header(header);
    for summary in results.summaries() {
        let name = if summary.oracle { format!("{} [oracle]", summary.method) } else { summary.method.clone() };
        let mut row = vec![Cell::new(name), Cell::new(seen(summary.sees_groups))];
        let averages =
            [Some(summary.worst_group), Some(summary.plain), summary.train_weighted, Some(summary.group_mean)];
        row.extend(averages.iter().map(|s| number(&spread_or_dash(s.as_ref()))));
        row.extend(summary.groups.iter().map(|s| number(&spread(s))));
        table.add_row(row);
    }
    let seeds = results.seeds();
    let list = seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    let meaning = if seeds.len() > 1 { "mean ± sample standard deviation" } else { "one seed, no spread" };
    format!(
        "{table}\ntest split, {meaning}, n = {} (seed {list}); [oracle] = used group labels, and where{}",
        seeds.len(),
        of_selection(results)
    )
}

/// Where group labels were used.
fn seen(sees: SeesGroups) -> &'static str {
    match (sees.training, sees.selection) {
        (false, false) => "-",
        (true, false) => "training",
        (false, true) => "selection",
        (true, true) => "training, selection",
    }
}

/// Worst-group accuracy of the models that the criteria chose in the same runs; empty where there was nothing to
/// choose.
fn of_selection(results: &Results) -> String {
    let mut table = plain_table();
    let oracle = |c: Criterion| if c.sees_groups() { " [oracle]" } else { "" };
    let titles = Criterion::ALL.iter().map(|&c| format!("{c}{}", oracle(c)));
    table.set_header(std::iter::once("method".to_owned()).chain(titles));
    let summaries = results.summaries();
    let chosen: Vec<_> = summaries.iter().filter(|s| s.selected.len() > 1).collect();
    if chosen.is_empty() {
        return String::new();
    }
    for summary in chosen {
        let mut row = vec![Cell::new(&summary.method)];
        row.extend(Criterion::ALL.iter().map(|criterion| {
            let found = summary.selected.iter().find(|(c, _)| c == criterion);
            number(&found.map_or_else(|| "-".to_owned(), |(_, s)| spread(s)))
        }));
        table.add_row(row);
    }
    format!("\n\n{table}\nworst group on the test split by what chose the epoch on the validation split")
}

/// The points of a search, best first, a line per method and point.
pub(crate) fn of_sweep(sweep: &sweep::Table) -> String {
    let mut table = plain_table();
    let axes: Vec<String> =
        sweep.rows.first().map(|r| r.point.iter().map(|p| p.0.clone()).collect()).unwrap_or_default();
    let mark = if sweep.sees_groups { " [oracle]" } else { "" };
    let mut header = vec!["".to_owned(), "method".into()];
    header.extend(axes);
    header.extend([
        format!("{}{mark}\n(validation)", sweep.criterion),
        "worst group\n(test)".into(),
        "plain\n(test)".into(),
    ]);
    table.set_header(header);
    for row in &sweep.rows {
        let name = if row.oracle { format!("{} [oracle]", row.method) } else { row.method.clone() };
        let mut cells = vec![Cell::new(if row.best { "*" } else { "" }), Cell::new(name)];
        cells.extend(row.point.iter().map(|(_, value)| number(value)));
        let value = |s: &Option<Spread>| number(&s.as_ref().map_or_else(|| "failed".to_owned(), spread));
        cells.extend([&row.score, &row.worst_group, &row.plain].map(value));
        table.add_row(cells);
    }
    let labels = if sweep.sees_groups { "which looks at group labels" } else { "without group labels" };
    let mut text = format!(
        "{table}\n* best of its method by {} accuracy on the validation split, {labels}, n = {}; the test split ranked nothing",
        sweep.criterion,
        sweep.seeds.len()
    );
    let mut failures: Vec<&str> = sweep.rows.iter().filter_map(|r| r.failed.as_deref()).collect();
    failures.dedup();
    for failure in failures {
        text.push_str(&format!("\nfailed: {failure}"));
    }
    text
}

/// One evaluated split.
pub(crate) fn of_report(
    report: &GroupReport,
    names: &dyn Fn(usize, usize) -> String,
    (train_counts, attributes): (&[usize], usize),
) -> String {
    let mut table = plain_table();
    table.set_header(["group", "n", "correct", "accuracy"]);
    for g in report.groups() {
        table.add_row([
            Cell::new(names(g.label, g.attribute)),
            number(&g.n.to_string()),
            number(&g.correct.to_string()),
            number(&format!("{:.3}", g.accuracy())),
        ]);
    }
    format!(
        "{table}\nworst group {:.3}, plain {:.3}, train-weighted {}, group mean {:.3}",
        report.worst_group(),
        report.plain(),
        report
            .train_weighted(train_counts, attributes)
            .map_or_else(|| "not defined (the split lacks groups of train)".to_owned(), |value| format!("{value:.3}")),
        report.group_mean()
    )
}

/// `0.812 ± 0.013`, without the deviation for one value.
pub(crate) fn spread(s: &Spread) -> String {
    match s.sd {
        Some(sd) => format!("{:.3} ± {sd:.3}", s.mean),
        None => format!("{:.3}", s.mean),
    }
}

/// The same, or `-` where there is no value.
pub(crate) fn spread_or_dash(s: Option<&Spread>) -> String {
    s.map_or_else(|| "-".to_owned(), spread)
}

fn plain_table() -> Table {
    let mut table = Table::new();
    let condensed = presets::UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none());
    table.load_style(condensed).set_content_arrangement(ContentArrangement::Dynamic);
    table
}

fn number(text: &str) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

//! The page of a suite: Markdown made from the record and from nothing else.

use std::fmt::Write as _;

use scgs_debias::{Spread, diagnostics::Diagnostics};

use super::{Cell, DEFAULT, Failed, Finished, Record, claims, row_name};

/// The whole page. `stem` is the page's file name without its ending, `legend` says what the examples show.
pub(crate) fn render(record: &Record, stem: &str, legend: &str) -> String {
    let suite = &record.suite;
    let mut page =
        format!("# {}\n\nMade by `{}`; not edited by hand.\n\n{}\n", suite.title, record.command, suite.about.trim());
    let seeds = record.results.seeds();
    let list = seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    let _ = write!(
        page,
        "\nSeeds {list}. Figures are fractions on the test split: mean ± sample standard deviation over seeds (n). Differences are \
         paired over seeds, in worst-group accuracy, with the 95 % interval of Student's t. [oracle]: told group labels \
         or true object masks.\n"
    );
    if suite.claims {
        page.push_str("\n## Claims\n\n| claim | found | |\n| --- | --- | --- |\n");
        for claim in claims::of(record) {
            let _ = writeln!(page, "| {} | {} | {} |", claim.text, claim.found, claims::verdict(&claim).trim());
        }
    }
    for section in &suite.sections {
        let cells: Vec<&Finished> = record.cells.iter().filter(|c| c.cell.section == section.name).collect();
        if cells.is_empty() {
            continue;
        }
        let _ = write!(page, "\n## {}\n\n{}\n\n", section.title, section.about.trim());
        let (search, tested): (Vec<&Finished>, Vec<&Finished>) = cells.into_iter().partition(|c| c.cell.search);
        if !tested.is_empty() {
            page.push_str(&tested_table(record, &tested));
        }
        if !search.is_empty() {
            page.push_str(&search_table(record, &search));
        }
        if tested.iter().any(|c| c.cell.name == DEFAULT) {
            let _ = write!(page, "\n![worst-group accuracy]({stem}.svg)\n\n{}", groups_table(record));
        }
    }
    let _ = write!(page, "\n## Where the gain comes from\n\n{}", diagnostics(record));
    let _ = write!(page, "\n## Examples\n\n![examples]({stem}-examples.png)\n\n{legend}\n");
    let _ = write!(page, "\n## Cells\n\n| cell | settings over the recipe | run |\n| --- | --- | --- |\n");
    for Finished { cell, run, .. } in &record.cells {
        let _ = writeln!(page, "| {} | {} | `{}` |", cell.name, settings(cell), run.display());
    }
    for Failed { cell, error } in &record.failed {
        let _ =
            writeln!(page, "| {} | {} | could not be run: {} |", cell.name, settings(cell), error.replace('\n', " "));
    }
    page
}

fn settings(cell: &Cell) -> String {
    let quoted: Vec<String> = cell.set.iter().map(|s| format!("`{s}`")).collect();
    if quoted.is_empty() { "none".into() } else { quoted.join(" ") }
}

fn spread(values: &[(u64, f64)]) -> String {
    let values: Vec<f64> = values.iter().map(|v| v.1).collect();
    match Spread::of(&values) {
        Some(Spread { mean, sd: Some(sd), n }) => format!("{mean:.3} ± {sd:.3} ({n})"),
        Some(Spread { mean, sd: None, n }) => format!("{mean:.3} ({n})"),
        None => "-".into(),
    }
}

/// The arms of a cell, in the order of the table.
fn arms(record: &Record, cell: &Cell) -> Vec<(String, String, bool)> {
    let of_cell = |name: &str| match name.split_once('@') {
        Some((arm, at)) => (at == cell.name).then(|| arm.to_owned()),
        None => (cell.name == DEFAULT).then(|| name.to_owned()),
    };
    let oracle = |name: &str| record.results.rows.iter().any(|r| r.method == name && r.sees_groups.any());
    let mut found: Vec<String> = Vec::new();
    for row in &record.results.rows {
        if of_cell(&row.method).is_some() && !found.contains(&row.method) {
            found.push(row.method.clone());
        }
    }
    found.into_iter().filter_map(|name| Some((of_cell(&name)?, name.clone(), oracle(&name)))).collect()
}

fn tested_table(record: &Record, cells: &[&Finished]) -> String {
    let several = cells.len() > 1;
    let mut table = String::new();
    if several {
        table.push_str("| cell | what is different ");
    }
    table
        .push_str("| arm | worst group | average | against ERM | against `duplicate` | against `scgs-random-mask` |\n");
    table.push_str(if several { "| --- | --- " } else { "" });
    table.push_str("| --- | --- | --- | --- | --- | --- |\n");
    for Finished { cell, .. } in cells {
        for (arm, name, oracle) in arms(record, cell) {
            if several {
                let _ = write!(table, "| {} | {} ", cell.name, cell.about);
            }
            let mark = if oracle { " [oracle]" } else { "" };
            let against = |base: &str| {
                // A cell without the control of its own is compared with the recipe's.
                let own = row_name(&cell.name, base);
                let base = if record.values(&own, |r| r.worst_group).is_empty() { base.to_owned() } else { own };
                let difference = (name != base).then(|| claims::difference(record, &name, &base)).flatten();
                difference.map_or_else(|| "-".into(), |d| claims::describe(&d))
            };
            let _ = writeln!(
                table,
                "| {arm}{mark} | {} | {} | {} | {} | {} |",
                spread(&record.values(&name, |r| r.worst_group)),
                spread(&record.values(&name, |r| r.plain)),
                against("erm"),
                against("duplicate"),
                against("scgs-random-mask"),
            );
        }
    }
    table
}

/// Ordered by what is chosen by, best first.
fn search_table(record: &Record, cells: &[&Finished]) -> String {
    let default = record.cells.iter().filter(|c| c.cell.name == DEFAULT);
    let mut rows: Vec<(f64, String)> = Vec::new();
    for Finished { cell, validation, .. } in default.chain(cells.iter().copied()) {
        let of = |f: &dyn Fn(&super::ValidationRow) -> f64| {
            validation.iter().filter(|v| v.method == "scgs").map(|v| (v.seed, f(v))).collect::<Vec<_>>()
        };
        let worst = of(&|v| v.worst_class);
        let mean = worst.iter().map(|v| v.1).sum::<f64>() / worst.len().max(1) as f64;
        let name = if cell.name == DEFAULT { format!("**{DEFAULT}**") } else { cell.name.clone() };
        let plain = spread(&of(&|v| v.plain));
        rows.push((mean, format!("| {name} | {} | {} | {plain} |", cell.about, spread(&worst))));
    }
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    let lines: Vec<String> = rows.into_iter().map(|r| r.1).collect();
    format!(
        "| cell | what is different | worst class on validation | average on validation |\n| --- | --- | --- | --- |\n{}\n",
        lines.join("\n")
    )
}

/// Accuracy of every group before and after.
fn groups_table(record: &Record) -> String {
    let Some(first) = record.results.rows.first() else { return String::new() };
    let names: Vec<String> = first.groups.iter().map(|g| record.results.group_name(g)).collect();
    let mut table = format!("| arm | {} |\n| --- {}|\n", names.join(" | "), "| --- ".repeat(names.len()));
    for arm in ["erm", "duplicate", "scgs-random-mask", "scgs", "scgs+jtt", "groupdro", "oracle-balanced"] {
        let of = |g: usize| record.values(arm, |r| r.groups[g].accuracy());
        if !of(0).is_empty() {
            let cells: Vec<String> = (0..names.len()).map(|g| spread(&of(g))).collect();
            let _ = writeln!(table, "| {arm} | {} |", cells.join(" | "));
        }
    }
    table
}

fn diagnostics(record: &Record) -> String {
    let mut text = String::from(
        "Group labels and object masks are used here, by no stage of a run. Precision and recall: share of the error set that \
         belongs to a minority group, and share of the minority pictures that it holds. Mask IoU: with the true object. Other \
         background: share of the new pictures whose background a probe (trained with group labels on the half of the last map with \
         the least activation) calls another kind than the source's.\n\n",
    );
    text.push_str("| cell | error set | precision | recall | mask IoU | random mask IoU | dropped | other background | probe is right |\n");
    text.push_str("| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n");
    for Finished { cell, diagnostics, .. } in record.cells.iter().filter(|c| !c.diagnostics.is_empty()) {
        let mean = |f: &dyn Fn(&Diagnostics) -> Option<f64>| {
            let values: Vec<(u64, f64)> = diagnostics.iter().filter_map(|(s, d)| Some((*s, f(d)?))).collect();
            if values.is_empty() { "-".to_owned() } else { spread(&values) }
        };
        let stage = "5-synthesis";
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            cell.name,
            mean(&|d| d.error_set.map(|e| e.size as f64)).replace(".000", ""),
            mean(&|d| d.error_set.map(|e| e.precision)),
            mean(&|d| d.error_set.map(|e| e.recall)),
            mean(&|d| d.mask_iou),
            mean(&|d| d.random_mask_iou),
            mean(&|d| d.dropped.get(stage).map(|&n| n as f64)).replace(".000", ""),
            mean(&|d| d.context.as_ref()?.changed.get(stage).copied()),
            mean(&|d| d.context.as_ref().map(|c| c.probe_accuracy)),
        );
    }
    text.push_str(
        "\nAttention of the recipe's arms on 50 test pictures of each group, at the last layer, mean over seeds.\n\n",
    );
    text.push_str("| arm | Grad-CAM inside the object | Grad-CAM++ inside the object | pointing game |\n| --- | --- | --- | --- |\n");
    let default = record.cells.iter().find(|c| c.cell.name == DEFAULT);
    let arms = default.and_then(|c| c.diagnostics.first()).map(|(_, d)| &d.attention);
    for arm in arms.into_iter().flatten() {
        if let Some([cam, plus, pointing]) = claims::attention_of(record, &arm.arm) {
            let _ = writeln!(text, "| {} | {cam:.3} | {plus:.3} | {pointing:.3} |", arm.arm);
        }
    }
    text
}

//! The smaller parts of the page.

use std::collections::BTreeMap;

use maud::{Markup, html};
use scgs_debias::diagnostics::Diagnostics;

use super::{
    Content,
    chain::Chain,
    facts::{Change, History},
};

/// What became of the test pictures from ERM to SCGS, by group.
pub(super) fn changes(changes: &[Change]) -> Markup {
    let total = |f: fn(&Change) -> usize| changes.iter().map(f).sum::<usize>();
    html! {
        div.wide tabindex="0" role="region" aria-label="What changed on the test split" { table {
            caption { "Test pictures by what ERM and SCGS say about them." }
            thead { tr {
                th scope="col" { "group" } th scope="col" { "pictures" } th scope="col" { "repaired" br; small { "ERM wrong, SCGS right" } }
                th scope="col" { "broken" br; small { "ERM right, SCGS wrong" } } th scope="col" { "wrong in both" } th scope="col" { "right in both" }
            } }
            tbody {
                @for c in changes { tr {
                    th scope="row" { (c.group) } td { (c.n) } td { (c.repaired) } td { (c.broken) } td { (c.wrong_in_both) } td { (c.right_in_both) }
                } }
                tr { th scope="row" { "all" } td { (total(|c| c.n)) } td { (total(|c| c.repaired)) } td { (total(|c| c.broken)) }
                    td { (total(|c| c.wrong_in_both)) } td { (total(|c| c.right_in_both)) } }
            }
        } }
    }
}

/// The frame into which `report.js` puts the rows.
pub(super) fn chain(chain: &Chain, content: &Content) -> Markup {
    let (total, embedded) = chain.counts();
    let dropped = chain.dropped();
    let kept = total - dropped.values().sum::<usize>();
    html! {
        p {
            (total) " new pictures of seed " (content.seed) ", " (kept) " of them kept. From left to right: the training picture, where the classifier looks in it, "
            "the mask (white is repainted) and the new picture. The order was drawn at random by the run's seed: nobody chose the first ones. "
            "Groups are shown to the reader only; the method has not seen them."
        }
        @if !dropped.is_empty() {
            p { "Dropped: " @for (i, (why, n)) in dropped.iter().enumerate() { @if i > 0 { ", " } (why) " (" (n) ")" } "." }
        }
        @if !content.skipped.is_empty() {
            p { "Without a mask, and therefore not repainted: " @for (i, (why, n)) in content.skipped.iter().enumerate() { @if i > 0 { "; " } (n) " × " (why) } "." }
        }
        @if embedded < total {
            p.quiet { "The pictures of the first " (embedded) " rows are inside this page; the others are read from the run's folder, in which it lies." }
        }
        noscript { p { "The rows need JavaScript; the pictures lie in the run's folders 4-masks and 5-synthesis." } }
        div id="chain" {
            form.filters id="chain-filters" hidden aria-label="Filter the new pictures" {
                @for (name, label) in [("class", "class of the new picture"), ("cluster", "cluster of the mistake"), ("group", "group of the training picture"), ("outcome", "outcome")] {
                    label { (label) select name=(name) { option value="" { "all" } } }
                }
                button type="button" name="reset" { "Show all" }
            }
            p id="chain-status" role="status" {}
            (pager("above"))
            ol.links id="chain-rows" {}
            (pager("below"))
        }
    }
}

fn pager(place: &str) -> Markup {
    html! {
        div class=(format!("pager {place}")) role="group" aria-label=(format!("Pages of new pictures, {place}")) hidden {
            button type="button" name="first" { "First" }
            button type="button" name="previous" { "Previous" }
            span.where {}
            button type="button" name="next" { "Next" }
            button type="button" name="last" { "Last" }
        }
    }
}

/// Wall time by stage and seed.
pub(super) fn cost(histories: &[(u64, History)]) -> Markup {
    let mut stages: BTreeMap<(&str, &str), Vec<Option<f64>>> = BTreeMap::new();
    for (place, (_, history)) in histories.iter().enumerate() {
        for (stage, &seconds) in &history.seconds {
            // `6-test` and the data come before the arms that need them; the number in front is the order.
            let (number, rest) = stage.split_once('-').filter(|(n, _)| n.parse::<u8>().is_ok()).unwrap_or(("", stage));
            stages.entry((number, rest)).or_insert_with(|| vec![None; histories.len()])[place] = Some(seconds);
        }
    }
    let total = |place: usize| histories[place].1.seconds.values().sum::<f64>();
    let name =
        |(number, rest): (&str, &str)| if number.is_empty() { rest.to_owned() } else { format!("{number}-{rest}") };
    html! {
        div.wide tabindex="0" role="region" aria-label="Cost by stage" { table {
            caption { "Seconds of wall time of the attempt that finished the stage; stages that an interrupted command had finished before are not timed." }
            thead { tr { th scope="col" { "stage" } @for (seed, _) in histories { th scope="col" { "seed " (seed) } } } }
            tbody {
                @for (stage, seconds) in &stages { tr {
                    th scope="row" { (name(*stage)) }
                    @for s in seconds { td { (s.map_or_else(|| "–".to_owned(), |s| format!("{s:.1}"))) } }
                } }
                tr { th scope="row" { b { "all" } } @for place in 0..histories.len() { td { b { (format!("{:.1}", total(place))) } } } }
            }
        } }
    }
}

pub(super) fn diagnostics(diagnostics: &[(u64, Diagnostics)]) -> Markup {
    let number = |v: Option<f64>| v.map_or_else(|| "–".into(), |v| format!("{v:.3}"));
    html! {
        p { "Computed with group labels and true object masks, for this page only: no stage of the method has seen them." }
        div.wide tabindex="0" role="region" aria-label="Diagnostics" { table {
            caption { "How well error set, clusters and masks hit." }
            thead { tr {
                th scope="col" { "seed" } th scope="col" { "error set" } th scope="col" { "precision for minority groups" } th scope="col" { "recall" }
                th scope="col" { "cluster purity" } th scope="col" { "mask IoU with the object" } th scope="col" { "random mask IoU" }
            } }
            tbody { @for (seed, d) in diagnostics { tr {
                th scope="row" { (seed) }
                td { (d.error_set.map_or_else(|| "–".into(), |e| e.size.to_string())) }
                td { (number(d.error_set.map(|e| e.precision))) }
                td { (number(d.error_set.map(|e| e.recall))) }
                td { (number(d.cluster_purity)) }
                td { (number(d.mask_iou)) }
                td { (number(d.random_mask_iou)) }
            } } }
        } }
    }
}

/// Commands, versions and settings.
pub(super) fn settings(content: &Content) -> Markup {
    let mut commands: Vec<&str> =
        content.histories.iter().flat_map(|(_, h)| h.commands.iter().map(String::as_str)).collect();
    commands.sort_unstable();
    commands.dedup();
    let seeds: Vec<String> = content.results.seeds().iter().map(u64::to_string).collect();
    html! {
        @if !commands.is_empty() {
            h3 { "Commands" }
            pre tabindex="0" { @for command in &commands { (command) "\n" } }
        }
        h3 { "Versions and machine" }
        div.wide { table { caption { "From environment.json" } tbody {
            @if let Some(fields) = content.environment.as_object() { @for (key, value) in fields {
                tr { th scope="row" { (key.replace('_', " ")) } td.text { (value.as_str().map_or_else(|| value.to_string(), str::to_owned)) } }
            } }
            tr { th scope="row" { "seeds" } td.text { (seeds.join(", ")) } }
        } } }
        h3 { "Every setting" }
        details { summary { "config.toml" } pre tabindex="0" { (content.config) } }
    }
}

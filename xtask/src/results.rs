//! The check of a `results.json`: the arms that must be there, and numbers that agree with one another.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// The arms that the quick profile compares.
pub(crate) const QUICK_ARMS: [&str; 8] =
    ["erm", "duplicate", "scgs-random-mask", "scgs", "jtt", "scgs+jtt", "oracle-reweight", "oracle-balanced"];

/// The only version of the schema this check knows.
const SCHEMA: u64 = 1;

/// Rounding that a stored fraction may have against the one computed from its counts.
const TOLERANCE: f64 = 1e-6;

/// `n` per (label, attribute).
type Sizes = BTreeMap<(u64, u64), u64>;

/// What is wrong with the text of a `results.json`, one sentence each; empty when nothing is.
///
/// `arms` must all have a row; others may. Fractions are in 0..=1.
pub(crate) fn problems(text: &str, dataset: &str, arms: &[&str]) -> Vec<String> {
    let results: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) => return vec![format!("not JSON: {error}")],
    };
    let mut out = Vec::new();
    if results["schema"].as_u64() != Some(SCHEMA) {
        out.push(format!("`schema` is {}, expected {SCHEMA}", results["schema"]));
    }
    if results["dataset"].as_str() != Some(dataset) {
        out.push(format!("`dataset` is {}, expected \"{dataset}\"", results["dataset"]));
    }
    let Some(rows) = results["rows"].as_array() else {
        out.push("`rows` is missing or no array".to_owned());
        return out;
    };

    let mut seen = BTreeSet::new();
    let mut first: Option<(String, Sizes)> = None;
    for (position, row) in rows.iter().enumerate() {
        let (Some(method), Some(seed)) = (row["method"].as_str(), row["seed"].as_u64()) else {
            out.push(format!("row {position}: `method` must be a text and `seed` a whole number"));
            continue;
        };
        let place = format!("{method}, seed {seed}");
        if !seen.insert((method, seed)) {
            out.push(format!("{place}: there twice"));
        }
        let Some(sizes) = check_row(row, &place, &mut out) else {
            continue;
        };
        check_marks(row, method, &place, &mut out);
        match &first {
            None => first = Some((place, sizes)),
            Some((other, expected)) if *expected != sizes => {
                out.push(format!("{place}: its groups differ from those of {other}; all arms are tested on one set"));
            }
            Some(_) => {}
        }
    }
    for arm in arms {
        if !seen.iter().any(|(method, _)| method == arm) {
            out.push(format!("no row for the arm `{arm}`"));
        }
    }
    out
}

/// What docs/examples/read_run.py says about each arm: its worst group, as the mean over seeds.
///
/// # Errors
/// When the text is no `results.json`.
pub(crate) fn worst_groups(text: &str) -> anyhow::Result<Vec<String>> {
    let results: Value = serde_json::from_str(text)?;
    let mut arms: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for row in results["rows"].as_array().into_iter().flatten() {
        if let (Some(method), Some(value)) = (row["method"].as_str(), row["worst_group"].as_f64()) {
            arms.entry(method).or_default().push(value);
        }
    }
    anyhow::ensure!(!arms.is_empty(), "no rows with a `method` and a `worst_group`");
    let line = |(method, values): (&str, Vec<f64>)| {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        format!("{method}: worst group {mean:.3} over {} seeds", values.len())
    };
    Ok(arms.into_iter().map(line).collect())
}

/// Checks one row's counts and averages; the group sizes when they can be read.
fn check_row(row: &Value, place: &str, out: &mut Vec<String>) -> Option<Sizes> {
    let groups = row["groups"].as_array().filter(|groups| !groups.is_empty());
    let Some(groups) = groups else {
        out.push(format!("{place}: `groups` is missing or empty"));
        return None;
    };
    let mut sizes = Sizes::new();
    let (mut total, mut total_correct, mut worst) = (0, 0, f64::INFINITY);
    for group in groups {
        let field = |name: &str| group[name].as_u64();
        let (Some(label), Some(attribute), Some(n), Some(correct)) =
            (field("label"), field("attribute"), field("n"), field("correct"))
        else {
            out.push(format!("{place}: a group lacks one of label, attribute, n, correct as whole numbers: {group}"));
            return None;
        };
        let name = format!("{place}, group ({label}, {attribute})");
        if n == 0 || correct > n {
            out.push(format!("{name}: {correct} correct of {n}"));
            return None;
        }
        if sizes.insert((label, attribute), n).is_some() {
            out.push(format!("{name}: there twice"));
        }
        total += n;
        total_correct += correct;
        worst = worst.min(fraction(correct, n));
    }
    for (name, expected) in [("plain", fraction(total_correct, total)), ("worst_group", worst)] {
        match row[name].as_f64() {
            Some(value) if (0.0..=1.0).contains(&value) && (value - expected).abs() <= TOLERANCE => {}
            _ => out.push(format!("{place}: `{name}` is {}, the group counts say {expected}", row[name])),
        }
    }
    Some(sizes)
}

/// Checks that an arm sees groups in training if and only if its name says so.
fn check_marks(row: &Value, method: &str, place: &str, out: &mut Vec<String>) {
    let sees = &row["sees_groups"];
    match (sees["training"].as_bool(), sees["selection"].as_bool()) {
        (Some(training), Some(selection)) => {
            let oracle = method.starts_with("oracle-");
            if oracle && !(training || selection) {
                out.push(format!("{place}: an oracle, but `sees_groups` says it sees none"));
            }
            if !oracle && training {
                out.push(format!("{place}: sees groups in training, but its name does not start with `oracle-`"));
            }
        }
        _ => out.push(format!("{place}: `sees_groups` must have `training` and `selection`, true or false")),
    }
}

fn fraction(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{QUICK_ARMS, problems};

    fn row(method: &str) -> Value {
        json!({
            "method": method, "seed": 0,
            "groups": [
                {"label": 0, "attribute": 0, "n": 200, "correct": 190},
                {"label": 0, "attribute": 1, "n": 200, "correct": 151},
            ],
            "plain": 0.8525, "worst_group": 0.755,
            "sees_groups": {"training": method.starts_with("oracle-"), "selection": false},
        })
    }

    fn good() -> Value {
        let rows: Vec<Value> = QUICK_ARMS.iter().map(|arm| row(arm)).collect();
        json!({"schema": 1, "dataset": "habitat", "rows": rows})
    }

    /// The problems after `change` was made to good results.
    fn after(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut results = good();
        change(&mut results);
        problems(&results.to_string(), "habitat", &QUICK_ARMS)
    }

    #[test]
    fn good_results_pass() {
        assert_eq!(after(|_| {}), Vec::<String>::new());
    }

    #[test]
    fn each_fault_is_named() {
        assert_eq!(after(|r| r["schema"] = json!(2)), ["`schema` is 2, expected 1"]);
        assert_eq!(after(|r| r["dataset"] = json!("celeba")), ["`dataset` is \"celeba\", expected \"habitat\""]);
        assert_eq!(after(|r| r["rows"][3]["method"] = json!("mine")), ["no row for the arm `scgs`"]);
        assert_eq!(
            after(|r| r["rows"][0]["plain"] = json!(0.855)),
            ["erm, seed 0: `plain` is 0.855, the group counts say 0.8525"]
        );
        assert_eq!(
            after(|r| r["rows"][0]["worst_group"] = json!(75.5)),
            ["erm, seed 0: `worst_group` is 75.5, the group counts say 0.755"]
        );
        assert_eq!(
            after(|r| r["rows"][0]["groups"][1]["correct"] = json!(201)),
            ["erm, seed 0, group (0, 1): 201 correct of 200"]
        );
        assert_eq!(after(|r| r["rows"][0]["groups"] = json!([])), ["erm, seed 0: `groups` is missing or empty"]);
        assert_eq!(
            after(|r| r["rows"][7]["sees_groups"]["training"] = json!(false)),
            ["oracle-balanced, seed 0: an oracle, but `sees_groups` says it sees none"]
        );
        assert_eq!(
            after(|r| r["rows"][3]["sees_groups"]["training"] = json!(true)),
            ["scgs, seed 0: sees groups in training, but its name does not start with `oracle-`"]
        );
    }

    #[test]
    fn arms_tested_on_other_groups_are_found() {
        let found = after(|r| {
            for (field, value) in [("n", 100), ("correct", 95)] {
                r["rows"][1]["groups"][0][field] = json!(value);
            }
            r["rows"][1]["plain"] = json!(246.0 / 300.0);
        });
        assert_eq!(
            found,
            ["duplicate, seed 0: its groups differ from those of erm, seed 0; all arms are tested on one set"]
        );
    }

    #[test]
    fn a_second_row_of_an_arm_is_found() {
        let found = after(|r| r["rows"].as_array_mut().unwrap().push(row("erm")));
        assert_eq!(found, ["erm, seed 0: there twice"]);
    }

    #[test]
    fn what_is_no_json_says_so() {
        assert!(problems("{", "habitat", &[])[0].starts_with("not JSON: "));
    }

    #[test]
    fn the_worst_group_is_a_mean_over_seeds() {
        let row = |method: &str, worst: f64| serde_json::json!({ "method": method, "worst_group": worst });
        let text = serde_json::json!({ "rows": [row("scgs", 0.5), row("erm", 0.25), row("scgs", 0.75)] }).to_string();
        let expected = ["erm: worst group 0.250 over 1 seeds", "scgs: worst group 0.625 over 2 seeds"];
        assert_eq!(super::worst_groups(&text).unwrap(), expected);
        assert!(super::worst_groups("{}").is_err());
    }
}

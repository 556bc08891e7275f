//! The paper's claims as comparisons of arms, each with what was aimed at and what came out.

use scgs_debias::{measures::Paired, results::Row};

use super::{DEFAULT, Record};

/// A comparison and its aim.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Claim {
    /// What is claimed.
    pub text: String,
    /// What came out.
    pub found: String,
    /// Whether the aim is reached; absent where an arm is missing.
    pub reached: Option<bool>,
}

/// Partners of SCGS that see no group labels.
const PARTNERS: [&str; 10] = [
    "scgs",
    "scgs+jtt",
    "scgs+reweight",
    "scgs+resample",
    "scgs+cvar-dro",
    "scgs+afr",
    "scgs+lff",
    "scgs+mixup",
    "scgs+cnc",
    "scgs+pretrain",
];

/// What must hold on the test split.
pub(crate) fn of(record: &Record) -> Vec<Claim> {
    let mut claims = Vec::new();
    let mut paired = |text: &str, arm: &str, base: &str, least: f64, certain: bool| {
        let difference = difference(record, arm, base);
        claims.push(Claim {
            text: text.to_owned(),
            found: difference.as_ref().map_or_else(|| "not run".into(), describe),
            reached: difference.map(|d| {
                let excludes = d.interval.is_some_and(|[low, _]| low > 0.0);
                d.mean >= least && (!certain || excludes)
            }),
        });
    };
    paired("SCGS raises worst-group accuracy: at least 12 points above ERM", "scgs", "erm", 0.12, false);
    for (what, base) in
        [("the error set repeated", "duplicate"), ("random masks of the same areas", "scgs-random-mask")]
    {
        let text = format!("SCGS is at least 2 points above {what} (`{base}`), the 95 % interval excludes 0");
        paired(&text, "scgs", base, 0.02, true);
    }
    claims.push(against_told(record));
    claims.push(attention(record));
    let mut plain = Claim {
        text: "Average accuracy is not more than 1 point below ERM's".into(),
        found: "not run".into(),
        reached: None,
    };
    let (ours, theirs) = record.paired("scgs", "erm", |r| r.plain);
    if let Some(d) = Paired::of("scgs", "erm", &ours, &theirs) {
        plain.found = describe(&d);
        plain.reached = Some(d.mean >= -0.01);
    }
    claims.push(plain);
    claims
}

/// The difference in worst-group accuracy on the seeds that both have.
pub(crate) fn difference(record: &Record, arm: &str, base: &str) -> Option<Paired> {
    let (values, others) = record.paired(arm, base, |r| r.worst_group);
    Paired::of(arm, base, &values, &others)
}

/// `+0.151 [+0.120, +0.182], 5/5 seeds`
pub(crate) fn describe(d: &Paired) -> String {
    let interval = d.interval.map_or_else(String::new, |[low, high]| format!(" [{low:+.3}, {high:+.3}]"));
    format!("{:+.3}{interval}, {}/{} seeds", d.mean, d.wins, d.n)
}

fn mean(record: &Record, arm: &str, of: impl Fn(&Row) -> f64) -> Option<f64> {
    let values = record.values(arm, of);
    (!values.is_empty()).then(|| values.iter().map(|v| v.1).sum::<f64>() / values.len() as f64)
}

/// The partner is chosen by validation, not by what is compared here.
fn against_told(record: &Record) -> Claim {
    let text = "SCGS, alone or with the label-free partner that is best on validation, is at least at the mean of GroupDRO and \
                group reweighting, which are told the groups";
    let claim = |found: String, reached| Claim { text: text.into(), found, reached };
    let told = ["groupdro", "oracle-reweight"].map(|arm| mean(record, arm, |r| r.worst_group));
    let best = PARTNERS
        .iter()
        .filter_map(|arm| Some((arm, mean(record, arm, |r| r.validation.worst_class)?)))
        .max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(a.0)));
    let ([Some(a), Some(b)], Some((best, _))) = (told, best) else { return claim("not run".into(), None) };
    let told = (a + b) / 2.0;
    let ours = mean(record, best, |r| r.worst_group).expect("it has rows");
    let alone = mean(record, "scgs", |r| r.worst_group).unwrap_or(f64::NEG_INFINITY);
    claim(
        format!("{best} {ours:.3}, scgs {alone:.3}, told {told:.3} (GroupDRO {a:.3}, group reweighting {b:.3})"),
        Some(ours.max(alone) >= told),
    )
}

/// Mean attention energy inside the object over the seeds of the default cell, before and after.
pub(crate) fn attention_of(record: &Record, arm: &str) -> Option<[f64; 3]> {
    let cell = record.cells.iter().find(|c| c.cell.name == DEFAULT)?;
    let found: Vec<[f64; 3]> = cell
        .diagnostics
        .iter()
        .filter_map(|(_, d)| d.attention.iter().find(|a| a.arm == arm))
        .map(|a| [a.gradcam, a.gradcam_plus_plus, a.pointing])
        .collect();
    let n = found.len() as f64;
    (!found.is_empty()).then(|| std::array::from_fn(|i| found.iter().map(|f| f[i]).sum::<f64>() / n))
}

fn attention(record: &Record) -> Claim {
    let text = "Attention moves to the object: its energy inside the object rises by at least a quarter (Grad-CAM of the true \
                class, test pictures)";
    match (attention_of(record, "erm"), attention_of(record, "scgs")) {
        (Some(before), Some(after)) => Claim {
            text: text.into(),
            found: format!(
                "{:.3} -> {:.3} ({:+.0} %); Grad-CAM++ {:.3} -> {:.3}",
                before[0],
                after[0],
                (after[0] / before[0] - 1.0) * 100.0,
                before[1],
                after[1]
            ),
            reached: Some(after[0] >= 1.25 * before[0]),
        },
        _ => Claim { text: text.into(), found: "not run".into(), reached: None },
    }
}

/// The claims for the terminal, or where there are none, the worst group of every arm.
pub(crate) fn text(record: &Record) -> String {
    let lines: Vec<String> = if record.suite.claims {
        of(record).iter().map(|c| format!("  {}  {}\n           {}", verdict(c), c.text, c.found)).collect()
    } else {
        let worst = |arm: &String| mean(record, arm, |r| r.worst_group).unwrap_or(f64::NAN);
        record.results.arms().iter().map(|arm| format!("  {:.3}  {arm}", worst(arm))).collect()
    };
    format!("{}: worst-group accuracy, test split\n{}", record.suite.title, lines.join("\n"))
}

/// `reached`, `missed` or `-`, all of one width.
pub(crate) fn verdict(claim: &Claim) -> &'static str {
    match claim.reached {
        Some(true) => "reached",
        Some(false) => "missed ",
        None => "-      ",
    }
}

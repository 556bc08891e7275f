//! `scgs train`

use std::process::ExitCode;

use anyhow::bail;
use scgs_data::atomic;
use scgs_debias::{
    Context, GroupReport, Settings,
    arms::Arm,
    pipeline::{self, Afterwards, Identity, Plan, Single},
    results::{Row, SCHEMA},
};
use serde::Serialize;

use super::{check_data_parallel, definition, print, print_json};
use crate::{CANCELLED, args_train::TrainArgs, device, files, hint, progress, table};

/// What `--json` prints: a row of `results.json` with what it is about.
#[derive(Serialize)]
struct Printed<'a> {
    schema: u32,
    dataset: &'a str,
    architecture: String,
    out: String,
    #[serde(flatten)]
    row: &'a Row,
}

pub(crate) fn run(args: &TrainArgs) -> anyhow::Result<ExitCode> {
    let (plan, arm) = plan(args)?;
    let replicas = device::open_all(&args.parallel.data_parallel)?;
    let context =
        Context { replicas: &replicas, ..Context::new(device::open(&plan.device)?, &CANCELLED, &progress::show) };
    let identity = Identity::of(&plan, arm, args.seed)?;
    progress::notice(&format!("{arm} on {} seed {} on {}", plan.definition.name, args.seed, plan.device));
    let single = pipeline::train_one(&plan, arm, args.seed, &context)?;
    write(args, &plan, &identity, &single)?;
    if args.common.json {
        print_json(&Printed {
            schema: SCHEMA,
            dataset: &plan.definition.name,
            architecture: plan.settings.backbone.architecture.to_string(),
            out: args.out.display().to_string(),
            row: &single.row,
        })?;
    } else {
        let (classes, attributes) = (&single.grouped.index().classes, single.grouped.attribute_names());
        let names = |label: usize, attribute: usize| format!("{} on {}", classes[label], attributes[attribute]);
        let report: GroupReport = GroupReport::from_groups(single.row.groups.clone());
        let attributes = single.grouped.attribute_names().len();
        print(&table::of_report(&report, &names, (&single.train_counts, attributes)))?;
        let seen = if arm.sees_groups().any() { " [oracle: told group labels]" } else { "" };
        print(&format!("{arm}{seen}, model of the {} epoch, {}", single.row.selection, args.out.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Everything that can be wrong before data is opened is collected and said at once.
fn plan(args: &TrainArgs) -> anyhow::Result<(Plan, Arm)> {
    let (definition, file) = definition(&args.data)?;
    let mut problems = Vec::new();
    let mut sets = vec![format!("backbone.architecture={}", args.arch)];
    sets.extend(args.weights.as_ref().map(|weights| format!("backbone.weights={weights:?}")));
    sets.extend(args.data.sets.iter().cloned());
    let settings = Settings::resolve(&definition, args.data.profile.as_deref(), file, &sets);
    let settings = settings.map_err(|e| problems.push(e.to_string())).ok();
    let arm = args.method.parse::<Arm>().map_err(|e| problems.push(e.to_string())).ok();
    let device = device::open(&args.device.device).map_err(|e| problems.push(e.to_string())).ok();
    if let Err(error) = files::check_output_folder(&args.out) {
        problems.push(hint::text(&error));
    }
    if let Some(settings) = &settings
        && settings.backbone.architecture != args.arch
    {
        let found = settings.backbone.architecture;
        problems.push(format!("--arch {} and --set backbone.architecture={found} contradict each other", args.arch));
    }
    if let Some(settings) = &settings
        && let Err(error) = check_data_parallel(&args.parallel.data_parallel, &args.device.device, settings)
    {
        problems.push(error.to_string());
    }
    if let (Some(settings), Some(arm), Some(device)) = (settings, arm, device) {
        let plan = Plan {
            definition,
            settings,
            arms: vec![arm],
            runs: args.runs.clone(),
            datasets: args.data.datasets.clone(),
            data_dir: args.data.data_dir.clone(),
            backgrounds: args.backgrounds.clone(),
            device: args.device.device.clone(),
            accept_counts: args.data.accept_counts,
            afterwards: Afterwards::Nothing,
            memory: None,
        };
        problems.extend(pipeline::refusals(&plan, arm, args.seed, &args.out, &device));
        if problems.is_empty() {
            return Ok((plan, arm));
        }
    }
    match problems.as_slice() {
        [one] => bail!("{one}"),
        many => bail!("{} things are wrong:\n- {}", many.len(), many.join("\n- ")),
    }
}

/// Copies the arm's files; `train.json`, by which the folder is known, comes first, so that the same command can go on
/// after an interruption.
fn write(args: &TrainArgs, plan: &Plan, identity: &Identity, single: &Single) -> anyhow::Result<()> {
    fs_err::create_dir_all(&args.out)?;
    let mut text = serde_json::to_string_pretty(identity)?;
    text.push('\n');
    atomic::write(args.out.join(Identity::FILE), text)?;
    for entry in fs_err::read_dir(&single.folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default();
        if path.is_file() && name != "done" {
            atomic::write(args.out.join(name), fs_err::read(&path)?)?;
        }
    }
    Ok(atomic::write(args.out.join("config.toml"), toml::to_string(&plan.settings)?)?)
}

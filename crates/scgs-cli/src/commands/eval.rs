//! `scgs eval`

use std::process::ExitCode;

use anyhow::Context as _;
use scgs_data::{ReadOptions, Split};
use scgs_debias::{Context, diagnostics, features::Input, stages::evaluate};
use scgs_models::HeadPolicy;
use serde::Serialize;

use super::{print, print_json, resolve};
use crate::{CANCELLED, args::EvalArgs, device, progress, table};

#[derive(Serialize)]
struct Evaluation<'a> {
    schema: u32,
    dataset: &'a str,
    split: &'a str,
    groups: &'a [scgs_debias::Group],
    plain: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    train_weighted: Option<f64>,
    group_mean: f64,
    worst_group: f64,
}

pub(crate) fn run(args: &EvalArgs) -> anyhow::Result<ExitCode> {
    let (definition, settings) = resolve(&args.data)?;
    let root = args.data.data_dir.as_ref().context(
        "where are the pictures? give --data-dir DIR (for habitat, a folder written by `scgs compose` or a run's data folder)",
    )?;
    let options = ReadOptions { accept_counts: args.data.accept_counts, ..ReadOptions::default() };
    let grouped = scgs_data::read(&definition, root, options)?;
    let split = match args.split.as_str() {
        "train" => Split::Train,
        "val" => Split::Val,
        _ => Split::Test,
    };
    let device = device::open(&args.device.device)?;
    let classes = grouped.index().classes.len();
    let network = scgs_models::load(args.arch, &args.weights, Some(classes), HeadPolicy::Keep, &device)?;
    let context = Context::new(device, &CANCELLED, &progress::show);
    let samples = grouped.index().of(split);
    let input = Input::new(args.arch, settings.backbone.input_size);
    let predictions =
        evaluate::predict_pictures(&context, &network.fold_batch_norm(), input, grouped.index(), &samples)?;
    let report = evaluate::report(&grouped, &predictions, split)?;
    let train_counts = diagnostics::train_counts(&grouped);
    if args.common.json {
        print_json(&Evaluation {
            schema: scgs_debias::results::SCHEMA,
            dataset: &definition.name,
            split: &args.split,
            groups: report.groups(),
            plain: report.plain(),
            train_weighted: report.train_weighted(&train_counts, grouped.attribute_names().len()),
            group_mean: report.group_mean(),
            worst_group: report.worst_group(),
        })?;
    } else {
        let names = |label: usize, attribute: usize| {
            format!("{} on {}", grouped.index().classes[label], grouped.attribute_names()[attribute])
        };
        print(&table::of_report(&report, &names, (&train_counts, grouped.attribute_names().len())))?;
    }
    Ok(ExitCode::SUCCESS)
}

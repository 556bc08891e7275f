//! `scgs predict`

use std::{process::ExitCode, time::Instant};

use anyhow::ensure;
use burn::tensor::{Tensor, TensorData};
use scgs_data::{Normalisation, load_batch};
use scgs_debias::{Context, Event};
use scgs_models::HeadPolicy;

use super::{print, print_json};
use crate::{CANCELLED, args_tools::PredictArgs, device, files, progress};

/// Pictures per forward pass; bounds memory.
const BATCH: usize = 16;
const STAGE: &str = "predict";

pub(crate) fn run(args: &PredictArgs) -> anyhow::Result<ExitCode> {
    let clock = Instant::now();
    let pictures = files::pictures(&args.network.images)?;
    let names = args.out.with_extension("csv");
    ensure!(names != args.out, "--out {} is where the names go; give a name in .safetensors", args.out.display());
    files::check_output_file(&args.out, &[&args.network.weights])?;
    files::check_output_file(&names, &[&args.network.weights])?;
    let device = device::open(&args.network.device.device)?;
    let architecture = args.network.arch;
    let network = scgs_models::load(architecture, &args.network.weights, None, HeadPolicy::Keep, &device)?;
    let network = network.fold_batch_norm();
    let classes = network.classes();

    let normalisation = Normalisation { mean: architecture.mean(), std: architecture.std() };
    let size = args.network.size();
    let context = Context::new(device, &CANCELLED, &progress::show);
    progress::show(Event::Started { stage: STAGE.into(), total: pictures.len() });
    let mut logits: Vec<f32> = Vec::with_capacity(pictures.len() * classes);
    let mut bad = Vec::new();
    let mut done = 0;
    for batch in pictures.chunks(BATCH) {
        let paths: Vec<_> = batch.iter().map(|picture| picture.path.clone()).collect();
        match load_batch(&paths, size as u32, &normalisation) {
            // After a bad picture the rest is only decoded, to name every other bad one as well.
            Ok(values) if bad.is_empty() => {
                let data = TensorData::new(values, [batch.len(), 3, size, size]);
                let rows = network.forward(Tensor::from_data(data, &context.device)).into_data();
                logits.extend(rows.convert::<f32>().try_into_vec::<f32>().expect("converted to f32"));
            }
            Ok(_) => {}
            Err(errors) => bad.extend(errors),
        }
        done += batch.len();
        context.advance(STAGE, done)?;
    }
    files::refuse(&bad, pictures.len())?;
    if let Some(at) = logits.iter().position(|value| !value.is_finite()) {
        anyhow::bail!(
            "{}: the network answers with NaN or infinity; its weights ({}) are finite, so they diverged or belong to \
             another way of scaling pictures",
            pictures[at / classes].path.display(),
            args.network.weights.display()
        );
    }

    files::make_parent(&args.out)?;
    files::save_csv(&names, &["name"], pictures.iter().map(|picture| vec![picture.name.clone()]))?;
    files::save_tensor(&args.out, "logits", [pictures.len(), classes], &logits)?;
    let summary = format!("{} picture(s), {classes} classes", pictures.len());
    let seconds = clock.elapsed().as_secs_f64();
    progress::show(Event::Finished { stage: STAGE.into(), summary, seconds, reused: false });
    if args.common.json {
        print_json(&serde_json::json!({
            "schema": 1, "logits": args.out, "names": names, "pictures": pictures.len(), "classes": classes,
        }))?;
    } else {
        print(&format!("logits  {}\nnames   {}", args.out.display(), names.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

//! `scgs train-inpainter`

use std::{path::PathBuf, process::ExitCode, sync::atomic::Ordering, time::Instant};

use anyhow::{Context as _, bail};
use scgs_data::habitat;
use scgs_debias::{Error, Event};
use scgs_diffusion::small::{Scenes, Trainer, TrainerConfig, UnetConfig};

use super::{print, print_json};
use crate::{CANCELLED, args_inpainter::TrainInpainterArgs, device, progress};

/// The last fifth of the steps lowers the learning rate: with --minutes it begins after this share of the time.
const CONSTANT_SHARE: f64 = 0.8;

pub(crate) fn run(args: &TrainInpainterArgs) -> anyhow::Result<ExitCode> {
    if args.minutes.is_some_and(|minutes| !(minutes > 0.0 && minutes <= 1e6)) {
        bail!("--minutes is {}, expected more than 0", args.minutes.unwrap_or_default());
    }
    let device = device::open(&args.device.device)?;
    let core = habitat::core(&args.datasets.join(&args.dataset))?;
    let scenes = Scenes::new(core.backgrounds, core.cutouts.into()).context("the picture pack has an empty folder")?;
    let (backgrounds, cutouts) = scenes.counts();
    let network = UnetConfig { classes: scenes.classes(), ..UnetConfig::default() };
    let config = TrainerConfig { network, batch: args.batch, rate: args.rate, seed: args.seed };
    let mut trainer = Trainer::new(config, scenes, &device)?;
    progress::notice(&format!(
        "{} weights; scenes of {backgrounds} backgrounds and {cutouts:?} cut-outs, the core of {}: no validation or test picture of any seed",
        trainer.weights(),
        args.dataset
    ));
    if let Some(folder) = args.out.parent().filter(|f| !f.as_os_str().is_empty()) {
        fs_err::create_dir_all(folder)?;
    }
    let states = [args.out.with_extension("decay.safetensors"), args.out.with_extension("state.safetensors")];
    trainer = resumed(trainer, &states, args.steps)?;
    let total = train(&mut trainer, args, &states)?;
    trainer.save(&args.out)?;
    let done = trainer.progress();
    let repeat = format!(
        "scgs train-inpainter --dataset {} --out {} --steps {total} --batch {} --rate {} --seed {}",
        args.dataset,
        args.out.display(),
        args.batch,
        args.rate,
        args.seed
    );
    if args.common.json {
        print_json(&serde_json::json!({
            "schema": 1, "file": args.out, "steps": done.step, "loss": done.loss, "repeat": repeat
        }))?;
    } else {
        print(&format!("{} steps, loss {:.4}, in {}\nagain: {repeat}", done.step, done.loss, args.out.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The training, from the state on disk that is furthest on its way.
fn resumed(mut trainer: Trainer, states: &[PathBuf; 2], steps: Option<u64>) -> anyhow::Result<Trainer> {
    for state in states.iter().filter(|state| state.is_file()) {
        trainer = trainer.resume(state)?;
        let fits = match steps {
            Some(total) => trainer.leads_to(total),
            // A training by the clock begins its last part anew.
            None => trainer.progress().decaying_to.is_none(),
        };
        if fits {
            progress::notice(&format!("going on after step {} in {}", trainer.progress().step, state.display()));
            return Ok(trainer);
        }
    }
    if trainer.progress().step > 0 {
        bail!(
            "{} is after step {}, too far for --steps {}: delete it or train longer",
            states[1].display(),
            trainer.progress().step,
            steps.unwrap_or_default()
        );
    }
    Ok(trainer)
}

/// Trains to the end; the number of steps of the whole training.
fn train(trainer: &mut Trainer, args: &TrainInpainterArgs, states: &[PathBuf; 2]) -> anyhow::Result<u64> {
    let stage = "train-inpainter";
    let mut total = args.steps;
    let first = trainer.progress().step;
    progress::show(Event::Started { stage: stage.into(), total: total.unwrap_or(0) as usize });
    let start = Instant::now();
    let mut since = (Instant::now(), first);
    loop {
        let step = trainer.progress().step;
        let minutes = start.elapsed().as_secs_f64() / 60.0;
        if let Some(limit) = args.minutes
            && total.is_none()
            && step > first
            && minutes >= CONSTANT_SHARE * limit
        {
            // The state before the decay stays, so that a longer training can go on from it.
            trainer.checkpoint(&states[1])?;
            total = Some(trainer.total_if_decaying_now());
        }
        if total.is_some_and(|total| step >= total) {
            break;
        }
        let cancelled = CANCELLED.load(Ordering::Relaxed);
        if cancelled || (step > first && step.is_multiple_of(args.every)) {
            let decaying = trainer.progress().decaying_to.is_some();
            trainer.checkpoint(&states[usize::from(!decaying)])?;
            let rate = (step - since.1) as f64 / since.0.elapsed().as_secs_f64();
            let loss = trainer.progress().loss;
            progress::notice(&format!("  step {step:>7}  loss {loss:.4}  {rate:.2} steps/s  {minutes:.1} min"));
            since = (Instant::now(), step);
        }
        if cancelled {
            return Err(Error::Interrupted { stage: stage.into() }.into());
        }
        let report = trainer.step(total)?;
        progress::show(Event::Advanced { done: report.step as usize });
    }
    let seconds = start.elapsed().as_secs_f64();
    let summary = format!("{} steps, loss {:.4}", trainer.progress().step, trainer.progress().loss);
    progress::show(Event::Finished { stage: stage.into(), summary, seconds, reused: false });
    Ok(trainer.progress().step)
}

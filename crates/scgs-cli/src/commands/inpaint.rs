//! `scgs inpaint`

use std::{process::ExitCode, sync::atomic::Ordering, time::Instant};

use anyhow::{Context as _, ensure};
use image::{GrayImage, RgbImage};
use scgs_data::read_rgb;
use scgs_debias::{Error, Event};
use scgs_diffusion::{
    save_png_with_text,
    sd::{
        Fit, HubCache, Job, Latents, LoadOptions, ModelFolder, PaintOptions, PipelineError, StableDiffusionInpaint,
        TorchNoise, Variant, WeightType, mask_sha256,
    },
};
use serde_json::{Value, json};

use super::{print, print_json};
use crate::{CANCELLED, args_inpaint::InpaintArgs, device, files, progress};

const STAGE: &str = "inpaint";

pub(crate) fn run(args: &InpaintArgs) -> anyhow::Result<ExitCode> {
    let clock = Instant::now();
    // Everything that can be wrong with the input is found before the weights are read.
    let options = options(args)?;
    let device = device::open(&args.device.device)?;
    check_out(args)?;
    let picture = read_rgb(&args.image)?;
    let mask = mask(args)?;
    let latents = args.latents.as_deref().map(Latents::read).transpose().context("--latents")?;
    let variant = if args.dtype == crate::args_inpaint::Dtype::F16 { Variant::Half } else { Variant::Full };
    let folder = ModelFolder::find(&args.model, HubCache::from_environment().as_ref(), variant)?;
    let checked = StableDiffusionInpaint::check(&folder, &options, &picture, &mask, &args.prompt, latents.as_ref());
    checked.map_err(|error| hinted(error, args))?;

    let mask_sha256 = mask_sha256(&mask);
    let software = ("Software".to_owned(), concat!("scgs ", env!("CARGO_PKG_VERSION")).to_owned());
    let mut texts = vec![software, ("model".to_owned(), args.model.clone())];
    if !StableDiffusionInpaint::repaints(&mask, &options) {
        progress::notice(&format!(
            "{}: no pixel is white (128 and above), so there is nothing to repaint: the picture is copied through",
            args.mask.display()
        ));
        texts.push(("mask_sha256".to_owned(), mask_sha256));
        return finished(args, &picture, &texts, json!({ "repainted": false }), clock);
    }

    progress::show(Event::Started { stage: "model".into(), total: 0 });
    let load = LoadOptions {
        weights: WeightType::from(args.dtype),
        loras: args.lora.iter().map(|lora| (lora.0.clone(), lora.1)).collect(),
        embeddings: args.embedding.iter().map(|word| (word.0.clone(), word.1.clone())).collect(),
    };
    let model = StableDiffusionInpaint::load(&folder, &load, &device)?;
    texts.extend(model.provenance(&options, &args.prompt, args.seed, &mask_sha256)?);
    let cut = model.cut_off(&args.prompt);
    let seconds = clock.elapsed().as_secs_f64();
    progress::show(Event::Finished { stage: "model".into(), summary: args.model.clone(), seconds, reused: false });
    if let Some(cut) = &cut {
        progress::notice(&format!("warning: the prompt is longer than 77 tokens; without effect is: {cut}"));
    }

    let mut noise = TorchNoise::new(args.seed);
    let job =
        Job { picture: &picture, mask: &mask, prompt: &args.prompt, latents: latents.as_ref(), noise: &mut noise };
    let mut started = false;
    let painted = model.paint(&mut [job], &options, &mut |step| {
        if !std::mem::replace(&mut started, true) {
            progress::show(Event::Started { stage: STAGE.into(), total: step.of });
        }
        progress::show(Event::Advanced { done: step.done });
        !CANCELLED.load(Ordering::Relaxed)
    });
    let painted = match painted {
        Err(PipelineError::Interrupted) => return Err(Error::Interrupted { stage: STAGE.to_owned() }.into()),
        other => other?.pop().context("one picture was asked for")?,
    };
    let (fit, said) = described(painted.fit, picture.dimensions(), painted.raw.dimensions());
    if let Some(said) = said {
        progress::notice(&said);
    }
    let out = if args.no_paste && painted.fit == Fit::Scaled { &painted.raw } else { &painted.picture };
    let more = json!({
        "repainted": true, "fit": fit, "working_size": painted.raw.dimensions(), "cut_off": cut,
        "region": match painted.fit {
            Fit::Cropped(r) => json!([r.left, r.top, r.width, r.height]),
            _ => Value::Null,
        },
    });
    finished(args, out, &texts, more, clock)
}

fn options(args: &InpaintArgs) -> anyhow::Result<PaintOptions> {
    if let Some(memory) = args.memory {
        ensure!(memory > 0.0 && memory < 1e6, "--memory is {memory}, expected a number of GiB above 0");
    }
    Ok(PaintOptions {
        steps: args.steps,
        guidance: args.guidance,
        strength: args.strength,
        scheduler: args.scheduler,
        v_prediction: args.v_prediction.then_some(true),
        negative_prompt: args.negative_prompt.clone(),
        unconditional: args.unconditional,
        clip_skip: args.clip_skip,
        dilate: args.dilate,
        blur: args.blur,
        padding_mask_crop: args.padding_crop,
        size: args.size.map(|size| (size.0, size.1)),
        paste: !args.no_paste,
        tiling: args.vae_tiling,
        heads_at_once: args.heads_at_once,
        memory: args.memory.map(|gib| (gib * f64::from(1 << 30)) as u64),
    })
}

fn check_out(args: &InpaintArgs) -> anyhow::Result<()> {
    let png = args.out.extension().is_some_and(|end| end.eq_ignore_ascii_case("png"));
    ensure!(png, "--out {}: a PNG is written; give a name that ends in .png", args.out.display());
    files::check_output_file(&args.out, &[&args.image, &args.mask])
}

/// The mask as grey values, as Pillow's `convert("L")` makes them (ITU-R 601).
fn mask(args: &InpaintArgs) -> anyhow::Result<GrayImage> {
    let mask = read_rgb(&args.mask)?;
    let grey = |x, y| {
        let [r, g, b] = mask.get_pixel(x, y).0.map(u32::from);
        image::Luma([((19_595 * r + 38_470 * g + 7_471 * b + 0x8000) >> 16) as u8])
    };
    Ok(GrayImage::from_fn(mask.width(), mask.height(), grey))
}

/// The library's error with the options of the command line that lead out of it.
fn hinted(error: PipelineError, args: &InpaintArgs) -> anyhow::Error {
    let hint = match &error {
        PipelineError::Size { .. } => "give --size WIDTHxHEIGHT or --padding-crop PIXELS".to_owned(),
        PipelineError::EmptyPrompt => "--prompt \"\" needs --unconditional".to_owned(),
        PipelineError::Latents { .. } => "--latents must fit --image or --size".to_owned(),
        PipelineError::MaskSize { .. } => format!("--image {}, --mask {}", args.image.display(), args.mask.display()),
        _ => return error.into(),
    };
    anyhow::anyhow!("{error} ({hint})")
}

/// How the picture was fitted, as a word and as a sentence where it is worth one.
fn described(fit: Fit, from: (u32, u32), to: (u32, u32)) -> (&'static str, Option<String>) {
    match fit {
        Fit::Exact => ("exact", None),
        Fit::Padded => (
            "padded",
            Some(format!(
                "{}x{} is no multiple of 8: painted at {}x{} with the border repeated, then cut back",
                from.0, from.1, to.0, to.1
            )),
        ),
        Fit::Scaled => ("scaled", Some(format!("painted at {}x{}, picture {}x{}", to.0, to.1, from.0, from.1))),
        Fit::Cropped(region) => {
            let place = format!("{}x{} pixels at ({}, {})", region.width, region.height, region.left, region.top);
            ("cropped", Some(format!("painted {place} at {}x{}", to.0, to.1)))
        }
    }
}

fn finished(
    args: &InpaintArgs,
    picture: &RgbImage,
    texts: &[(String, String)],
    more: Value,
    clock: Instant,
) -> anyhow::Result<ExitCode> {
    files::make_parent(&args.out)?;
    save_png_with_text(&args.out, picture, texts)?;
    if args.common.json {
        let mut all = json!({
            "schema": 1, "out": args.out, "size": picture.dimensions(), "seconds": clock.elapsed().as_secs_f64(),
        });
        if let Some(all) = all.as_object_mut() {
            // Numbers are text in PNG only.
            let typed = |key: &str, text: &str| match key {
                "seed" | "steps" | "guidance" | "strength" => {
                    serde_json::from_str(text).unwrap_or_else(|_| text.into())
                }
                _ => Value::from(text),
            };
            all.extend(texts.iter().map(|(key, text)| (key.clone(), typed(key, text))));
            all.extend(more.as_object().into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())));
        }
        print_json(&all)?;
    } else {
        print(&format!("picture  {}", args.out.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

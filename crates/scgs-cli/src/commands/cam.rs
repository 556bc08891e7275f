//! `scgs cam`

use std::{collections::BTreeMap, path::Path, process::ExitCode, time::Instant};

use anyhow::{Context as _, bail, ensure};
use burn::tensor::{Tensor, TensorData};
use image::{DynamicImage, RgbImage};
use rayon::prelude::*;
use scgs_cam::{
    AttentionMap, CamError, CamMethod, Score, attention, attention_linear_head, attention_of_predicted, score_cam,
};
use scgs_data::{Normalisation, PictureError, atomic, read_rgb, resize_bilinear, to_chw};
use scgs_debias::{Context, Event};
use scgs_models::{HeadPolicy, Network};
use serde::Serialize;

use super::{print, print_json};
use crate::{
    CANCELLED,
    args_tools::{CamArgs, Target},
    device,
    files::{self, Picture},
    overlay::{grey, overlay},
    progress,
};

/// Pictures per pass: a backward pass from an early layer keeps every activation after it.
const BATCH: usize = 8;
/// Masked pictures per forward pass of Score-CAM.
const SCORE_CAM_BATCH: usize = 16;
const STAGE: &str = "cam";

/// What became of a picture.
#[derive(Debug, Serialize)]
struct Row<'a> {
    name: &'a str,
    /// The class that was explained.
    target: usize,
    /// File name of the map; nothing where no place stands out.
    attention: Option<String>,
}

/// The network cut at a layer.
struct Explainer {
    network: Network,
    layer: String,
    method: CamMethod,
    target: Target,
    /// `[classes, channels]` of the last layer, where the closed form applies.
    head: Option<Vec<f32>>,
    size: usize,
}

pub(crate) fn run(args: &CamArgs) -> anyhow::Result<ExitCode> {
    let clock = Instant::now();
    let method = method(args)?;
    let pictures = files::pictures(&args.network.images)?;
    let stems = stems(&pictures)?;
    ensure!(
        !files::same(&args.out, &args.network.images),
        "--out {} is the folder of the pictures, which the overlays would replace; choose another",
        args.out.display()
    );
    files::check_output_folder(&args.out)?;
    let device = device::open(&args.network.device.device)?;
    let explainer = Explainer::open(args, method, &device)?;
    // Maps are written one by one, so every picture is decoded once before the first of them.
    check(&pictures)?;

    fs_err::create_dir_all(&args.out)?;
    let normalisation = Normalisation { mean: args.network.arch.mean(), std: args.network.arch.std() };
    let context = Context::new(device, &CANCELLED, &progress::show);
    progress::show(Event::Started { stage: STAGE.into(), total: pictures.len() });
    let mut rows: Vec<Row<'_>> = Vec::with_capacity(pictures.len());
    // Score-CAM takes a minute for a picture: progress and Ctrl-C come after each.
    let at_once = if method == CamMethod::ScoreCam { 1 } else { BATCH };
    for (batch, stems) in pictures.chunks(at_once).zip(stems.chunks(at_once)) {
        let seen = decode(batch, explainer.size as u32)?;
        let maps = explainer.explain(batch, &input(&seen, &normalisation, &context))?;
        for (((picture, stem), seen), (target, map)) in batch.iter().zip(stems).zip(&seen).zip(maps) {
            save(&args.out, stem, seen, map.as_ref())?;
            let attention = map.map(|_| format!("{stem}.safetensors"));
            rows.push(Row { name: &picture.name, target, attention });
        }
        context.advance(STAGE, rows.len())?;
    }

    let without: Vec<&str> = rows.iter().filter(|row| row.attention.is_none()).map(|row| row.name).collect();
    let summary = format!("{} map(s), {} picture(s) without attention", rows.len() - without.len(), without.len());
    let seconds = clock.elapsed().as_secs_f64();
    progress::show(Event::Finished { stage: STAGE.into(), summary, seconds, reused: false });
    for name in &without {
        progress::notice(&format!("no attention: {name}"));
    }
    if args.common.json {
        print_json(&serde_json::json!({
            "schema": 1, "out": args.out, "method": explainer.method, "layer": explainer.layer, "size": explainer.size,
            "rows": rows, "no_attention": without,
        }))?;
    } else {
        print(&format!("maps    {}", args.out.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The method with the epsilon that was asked for.
fn method(args: &CamArgs) -> anyhow::Result<CamMethod> {
    match (args.method, args.eps) {
        (CamMethod::GradCamPlusPlus { .. }, Some(epsilon)) => Ok(CamMethod::GradCamPlusPlus { epsilon }),
        (other, Some(_)) => bail!("--eps belongs to gradcam++; {other} has none, leave it out"),
        (other, None) => Ok(other),
    }
}

/// The file names without extensions, which the results are called by.
fn stems(pictures: &[Picture]) -> anyhow::Result<Vec<String>> {
    let mut names: BTreeMap<String, &str> = BTreeMap::new();
    let mut stems = Vec::with_capacity(pictures.len());
    for picture in pictures {
        let stem = Path::new(&picture.name).file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(other) = names.insert(stem.clone(), &picture.name) {
            bail!("{other} and {} would both be written as {stem}.safetensors; rename one of them", picture.name);
        }
        stems.push(stem);
    }
    Ok(stems)
}

fn check(pictures: &[Picture]) -> anyhow::Result<()> {
    let bad: Vec<PictureError> = pictures.par_iter().filter_map(|picture| read_rgb(&picture.path).err()).collect();
    files::refuse(&bad, pictures.len())
}

/// The pictures as the network sees them, before the values are scaled.
fn decode(pictures: &[Picture], size: u32) -> anyhow::Result<Vec<RgbImage>> {
    let read = |picture: &Picture| Ok(resize_bilinear(&read_rgb(&picture.path)?, size, size));
    pictures.par_iter().map(read).collect()
}

fn input(pictures: &[RgbImage], normalisation: &Normalisation, context: &Context<'_>) -> Tensor<4> {
    let side = pictures.first().map_or(0, |picture| picture.width() as usize);
    let mut values = vec![0.0; pictures.len() * 3 * side * side];
    for (picture, out) in pictures.iter().zip(values.chunks_mut(3 * side * side)) {
        to_chw(picture, normalisation, out);
    }
    Tensor::from_data(TensorData::new(values, [pictures.len(), 3, side, side]), &context.device)
}

/// Writes the two files of a picture, or takes away those of an earlier call where there is no attention any more.
fn save(folder: &Path, stem: &str, picture: &RgbImage, map: Option<&AttentionMap>) -> anyhow::Result<()> {
    let [tensor, drawing] = ["safetensors", "png"].map(|extension| folder.join(format!("{stem}.{extension}")));
    let Some(map) = map else {
        for stale in [tensor, drawing].iter().filter(|path| path.exists()) {
            fs_err::remove_file(stale)?;
        }
        return Ok(());
    };
    files::save_tensor(&tensor, "attention", [map.height, map.width], &map.values)?;
    Ok(atomic::save_png(&drawing, &DynamicImage::ImageRgb8(overlay(picture, &grey(map))))?)
}

impl Explainer {
    fn open(args: &CamArgs, method: CamMethod, device: &burn::tensor::Device) -> anyhow::Result<Self> {
        let network = scgs_models::load(args.network.arch, &args.network.weights, None, HeadPolicy::Keep, device)?;
        let network = network.fold_batch_norm();
        let classes = network.classes();
        if let Target::Index(class) = args.target
            && class >= classes
        {
            bail!("--target {class}: the network has {classes} class(es), 0 to {}", classes.saturating_sub(1));
        }
        let last = network.layers().pop().expect("every network has layers");
        let layer = args.layer.clone().unwrap_or_else(|| last.clone());
        // One pixel is enough to learn whether the layer exists.
        network.until(&layer, Tensor::zeros([1, 3, 1, 1], device)).context("--layer")?;
        let head = (layer == last && network.head_is_linear()).then(|| {
            let weight = network.linear().weight.val().transpose().into_data();
            weight.convert::<f32>().try_into_vec::<f32>().expect("converted to f32")
        });
        Ok(Self { network, layer, method, target: args.target, head, size: args.network.size() })
    }

    /// For each row of `x` the class and its map.
    fn explain(&self, pictures: &[Picture], x: &Tensor<4>) -> anyhow::Result<Vec<(usize, Option<AttentionMap>)>> {
        let activation = self.network.until(&self.layer, x.clone())?;
        let tail = |a| self.network.after(&self.layer, a).expect("the layer was found when the network was opened");
        let size = (self.size, self.size);
        let named = |error: CamError| match error {
            CamError::NotFinite { row, .. } => {
                let path = pictures[row].path.display().to_string();
                anyhow::Error::new(error).context(path)
            }
            other => other.into(),
        };
        if self.target == Target::Predicted && self.head.is_none() && self.method != CamMethod::ScoreCam {
            return attention_of_predicted(&self.method, activation, &tail, size).map_err(named);
        }
        let targets = match self.target {
            Target::Index(class) => vec![class; pictures.len()],
            Target::Predicted => {
                let logits = tail(activation.clone()).into_data();
                let logits = logits.convert::<f32>().try_into_vec::<f32>().expect("converted to f32");
                logits.chunks(self.network.classes()).map(highest).collect()
            }
        };
        let scores: Vec<Score> = targets.iter().map(|&class| Score::Class(class)).collect();
        let maps = match (&self.method, &self.head) {
            (CamMethod::ScoreCam, _) => {
                score_cam(activation, x.clone(), &|x| self.network.forward(x), &scores, size, SCORE_CAM_BATCH)
            }
            (method, Some(weight)) => attention_linear_head(method, activation, weight, &scores, size),
            (method, None) => attention(method, activation, &tail, &scores, size),
        };
        Ok(targets.into_iter().zip(maps.map_err(named)?).collect())
    }
}

fn highest(logits: &[f32]) -> usize {
    let mut best = 0;
    for (class, value) in logits.iter().enumerate() {
        if *value > logits[best] {
            best = class;
        }
    }
    best
}

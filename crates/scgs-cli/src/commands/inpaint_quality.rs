//! `scgs inpaint-quality`

use std::{process::ExitCode, sync::atomic::Ordering, time::Instant};

use anyhow::Context as _;
use burn::tensor::{Device, Tensor, TensorData};
use image::RgbImage;
use rayon::prelude::*;
use scgs_data::{Normalisation, atomic, habitat, resize_bilinear, stream, to_chw};
use scgs_debias::{Error, Event, logistic};
use scgs_diffusion::{
    BackgroundCrop, CopyPaste, Inpainter, TeleaFill,
    quality::{FeatureSet, frechet_distance, kernel_distance},
    small::{SmallDiffusion, SmallOptions},
};
use scgs_models::{Architecture, HeadPolicy, Network, pooled};

use super::{print, print_json};
use crate::{CANCELLED, args_inpainter::InpaintQualityArgs, device, progress};

mod scenes;
mod sheet;
mod table;

use scenes::{Half, Scene, Task};
use table::{Row, Table};

const ARCHITECTURE: Architecture = Architecture::EfficientNetLite0;
/// Pictures per forward pass.
const BATCH: usize = 32;
/// Leading components on which the Frechet distance is taken.
const COMPONENTS: usize = 64;
/// Regularisation of the judge, as the pipeline's own classifier head.
const JUDGE_C: f64 = 1e-3;
/// Blur of the classical seams in pixels.
const FEATHER: f32 = 1.5;
/// Pixels that the Telea fill looks at around a hole, as in the pilots.
const FILL_RADIUS: u8 = 3;

pub(crate) fn run(args: &InpaintQualityArgs) -> anyhow::Result<ExitCode> {
    let device = device::open(&args.device.device)?;
    let pack = args.datasets.join(&args.dataset);
    let options = SmallOptions { steps: args.steps, guidance: args.guidance, ..SmallOptions::default() };
    let background = SmallOptions { objects: false, ..options.clone() };
    let core = habitat::core(&pack)?;
    let [first, second] = Half::split(habitat::outside_core(&pack)?)?;
    let pasted = scenes::cut_outs(&core, args.seed)?;
    let fill = TeleaFill { radius: FILL_RADIUS };
    // The first two paint objects in the first task and background in the others.
    let painters = Painters {
        objects: vec![
            ("small diffusion", Box::new(SmallDiffusion::load(&args.weights, options, &device)?)),
            ("copy-paste", Box::new(CopyPaste::new(Box::new(fill.clone()), pasted)?)),
        ],
        background: vec![
            ("small diffusion", Box::new(SmallDiffusion::load(&args.weights, background, &device)?)),
            ("background crop", Box::new(BackgroundCrop::new(core.backgrounds, FEATHER)?)),
            ("Telea fill", Box::new(fill)),
        ],
    };
    let network = network(args, &device)?;
    let judge = Judge { network, device };
    let mut rows = Vec::new();
    let mut shown = Vec::new();
    for task in Task::ALL {
        let scenes: Vec<Scene> = (0..args.pictures).into_par_iter().map(|i| first.draw(task, args.seed, i)).collect();
        let references: Vec<Scene> =
            (0..args.pictures).into_par_iter().map(|i| second.draw(task, args.seed, i)).collect();
        let crops = |scenes: &[Scene]| scenes.iter().map(|s| s.crop(&s.picture)).collect::<Vec<_>>();
        let reference = judge.features(&format!("{task} references"), &crops(&references))?;
        let head = judge.head(&reference, &references)?;
        let mut add = |name: &str, pictures: &[RgbImage], wanted: &[Option<usize>], seconds: Option<f64>| {
            let cut: Vec<RgbImage> = scenes.iter().zip(pictures).map(|(scene, picture)| scene.crop(picture)).collect();
            let found = judge.features(&format!("{task} {name}"), &cut)?;
            rows.push(judge.row(task, name, &reference, &found, head.as_ref(), wanted, seconds)?);
            anyhow::Ok(())
        };
        let real: Vec<RgbImage> = scenes.iter().map(|s| s.picture.clone()).collect();
        let own: Vec<Option<usize>> = scenes.iter().map(|s| s.class).collect();
        add("real, other photos", &real, &own, None)?;
        // Objects are replaced by the other kind: the pictures stay half and half, and the scene gives nothing away.
        let wanted: Vec<Option<usize>> = own.iter().map(|class| class.map(|class| 1 - class)).collect();
        let mut columns = vec![real];
        for (name, painter) in painters.of(task) {
            let (painted, seconds) = paint(&format!("{task} {name}"), painter, &scenes, &wanted, args)?;
            add(name, &painted, &wanted, Some(seconds))?;
            columns.push(painted);
        }
        shown.push((task, scenes, columns));
    }
    finish(args, Table { command: command(args), pictures: args.pictures, rows }, &shown)
}

/// What paints, with its name in the table.
type Painter = (&'static str, Box<dyn Inpainter>);

struct Painters {
    objects: Vec<Painter>,
    background: Vec<Painter>,
}

impl Painters {
    /// Those of a task. What paints no object is a control where objects are asked for: it shows how much of a figure comes
    /// from the seam and the context.
    fn of(&self, task: Task) -> impl Iterator<Item = (&'static str, &dyn Inpainter)> {
        let (first, then) = match task {
            Task::Object => (self.objects.as_slice(), &self.background[1..]),
            Task::Background | Task::Surroundings => (&[][..], self.background.as_slice()),
        };
        first.iter().chain(then).map(|(name, painter)| (*name, painter.as_ref()))
    }
}

/// The ImageNet network that features are taken from.
fn network(args: &InpaintQualityArgs, device: &Device) -> anyhow::Result<Network> {
    let path = args.datasets.join("weights/efficientnet_lite0.safetensors");
    let network = scgs_models::load(ARCHITECTURE, &path, None, HeadPolicy::Keep, device)?;
    Ok(network.fold_batch_norm())
}

/// Repaints every scene; the pictures and seconds per picture.
fn paint(
    stage: &str,
    painter: &dyn Inpainter,
    scenes: &[Scene],
    classes: &[Option<usize>],
    args: &InpaintQualityArgs,
) -> anyhow::Result<(Vec<RgbImage>, f64)> {
    progress::show(Event::Started { stage: stage.into(), total: scenes.len() });
    let start = Instant::now();
    let mut painted = Vec::with_capacity(scenes.len());
    for (number, chunk) in scenes.chunks(BATCH).enumerate() {
        let some: Vec<Result<RgbImage, _>> = chunk
            .par_iter()
            .enumerate()
            .map(|(i, scene)| {
                let item = number * BATCH + i;
                let class = classes[item].unwrap_or(0);
                painter.inpaint(&scene.request(class), &mut stream(args.seed, "quality/paint", item as u64))
            })
            .collect();
        painted.extend(some.into_iter().collect::<Result<Vec<_>, _>>()?);
        advance(stage, painted.len())?;
    }
    let seconds = start.elapsed().as_secs_f64();
    progress::show(Event::Finished { stage: stage.into(), summary: "painted".into(), seconds, reused: false });
    Ok((painted, seconds / scenes.len() as f64))
}

fn advance(stage: &str, done: usize) -> Result<(), Error> {
    progress::show(Event::Advanced { done });
    if CANCELLED.load(Ordering::Relaxed) { Err(Error::Interrupted { stage: stage.into() }) } else { Ok(()) }
}

/// Looks at pictures with a network that has learned nothing from them.
struct Judge {
    network: Network,
    device: Device,
}

impl Judge {
    /// Pooled features, one row per picture.
    fn features(&self, stage: &str, pictures: &[RgbImage]) -> anyhow::Result<Vec<f32>> {
        let side = ARCHITECTURE.input_size();
        let scaling = Normalisation { mean: ARCHITECTURE.mean(), std: ARCHITECTURE.std() };
        let mut found = Vec::new();
        progress::show(Event::Started { stage: stage.into(), total: pictures.len() });
        for (number, chunk) in pictures.chunks(BATCH).enumerate() {
            let mut values = vec![0.0; chunk.len() * 3 * side * side];
            values.par_chunks_mut(3 * side * side).zip(chunk).for_each(|(values, picture)| {
                to_chw(&resize_bilinear(picture, side as u32, side as u32), &scaling, values);
            });
            let input = Tensor::from_data(TensorData::new(values, [chunk.len(), 3, side, side]), &self.device);
            let features = pooled(self.network.features(input)).into_data();
            found.extend(features.try_into_vec::<f32>().expect("features are f32"));
            advance(stage, number * BATCH + chunk.len())?;
        }
        Ok(found)
    }

    /// A classifier of the references' objects, if they have some.
    fn head(&self, features: &[f32], scenes: &[Scene]) -> anyhow::Result<Option<logistic::LinearHead>> {
        let Some(labels) = scenes.iter().map(|scene| scene.class).collect::<Option<Vec<usize>>>() else {
            return Ok(None);
        };
        let width = ARCHITECTURE.feature_width();
        let weights = vec![1.0; labels.len()];
        let examples = logistic::Examples { features, width, labels: &labels, weights: &weights };
        Ok(Some(logistic::fit(examples, 2, JUDGE_C, &logistic::Standardiser::fit(features, width))?))
    }

    #[expect(clippy::too_many_arguments, reason = "one row of a table has these parts")]
    fn row(
        &self,
        task: Task,
        name: &str,
        reference: &[f32],
        found: &[f32],
        head: Option<&logistic::LinearHead>,
        wanted: &[Option<usize>],
        seconds: Option<f64>,
    ) -> anyhow::Result<Row> {
        let width = ARCHITECTURE.feature_width();
        let (a, b) = (FeatureSet::new(reference, width)?, FeatureSet::new(found, width)?);
        let recognised = head.map(|head| {
            let right = found
                .chunks(width)
                .zip(wanted)
                .filter(|(row, wanted)| Some(logistic::most_probable(&head.probabilities(row)).0) == **wanted);
            right.count() as f64 / wanted.len() as f64
        });
        Ok(Row {
            task: task.to_string(),
            painter: name.to_owned(),
            frechet: frechet_distance(a, b, COMPONENTS)?,
            kernel: kernel_distance(a, b)?,
            recognised,
            seconds,
        })
    }
}

type Shown = (Task, Vec<Scene>, Vec<Vec<RgbImage>>);

fn finish(args: &InpaintQualityArgs, table: Table, shown: &[Shown]) -> anyhow::Result<ExitCode> {
    if let Some(folder) = args.out.parent().filter(|f| !f.as_os_str().is_empty()) {
        fs_err::create_dir_all(folder)?;
    }
    let picture = args.out.with_extension("png");
    let name = picture.file_name().and_then(|name| name.to_str()).context("--out has no file name")?.to_owned();
    atomic::save_png(&picture, &sheet::draw(shown).into())?;
    atomic::write(&args.out, table.markdown(&name))?;
    atomic::write(args.out.with_extension("json"), format!("{}\n", serde_json::to_string_pretty(&table)?))?;
    if args.common.json {
        print_json(&table)?;
    } else {
        print(&table.lines())?;
        print(&format!("\nin {} and {}", args.out.display(), picture.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The command that makes the table again.
fn command(args: &InpaintQualityArgs) -> String {
    format!(
        "scgs inpaint-quality --dataset {} --weights {} --pictures {} --steps {} --guidance {} --seed {} --out {}",
        args.dataset,
        args.weights.display(),
        args.pictures,
        args.steps,
        args.guidance,
        args.seed,
        args.out.display()
    )
}

//! What one picture costs on this device: a few seconds of the work that a run does for hours.

use std::{path::PathBuf, time::Instant};

use anyhow::Context as _;
use burn::{
    module::Module as _,
    tensor::{Device, Tensor, TensorData},
};
use rayon::prelude::*;
use scgs_cam::AttentionMap;
use scgs_data::{load_batch, read_rgb};
use scgs_debias::{
    features::Input,
    logistic::{self, Examples, Standardiser},
    settings::{Settings, TrainMode},
};
use serde::Serialize;

/// Pictures that are decoded and put through the network.
pub(super) const SAMPLE: usize = 16;
/// Pictures of the two training steps; their difference is what one more picture takes.
const BATCHES: [usize; 2] = [2, 4];
/// Pictures in which a region is cut out.
const REGIONS: usize = 8;
/// Rows of the trial fit of a last layer.
const ROWS: usize = 256;

/// Seconds and bytes per picture, unless said otherwise.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Calibration {
    /// Whose pictures were used.
    pub(super) pictures: String,
    /// Reading, decoding and scaling with all threads.
    pub(super) decode: f64,
    /// A forward pass at the run's input size.
    pub(super) forward: f64,
    /// Forward and backward pass; only where every layer is trained.
    pub(super) train: Option<f64>,
    /// One last layer, per row of features.
    pub(super) fit: f64,
    /// From an attention map to a region, by the run's rule, with all threads.
    pub(super) region: f64,
    /// Writing a PNG of the sample's mean size.
    pub(super) png: f64,
    /// Its bytes.
    pub(super) png_bytes: f64,
    /// Bytes of a decoded picture, 3 a pixel.
    pub(super) picture_bytes: f64,
    /// Bytes of the network's parameters.
    pub(super) model_bytes: f64,
    /// Largest memory of this process so far, where the system tells.
    pub(super) peak: Option<f64>,
    /// What one more picture in a training batch takes.
    pub(super) peak_per_picture: f64,
}

impl Calibration {
    /// Measures on the first pictures of `paths`.
    pub(super) fn measure(
        settings: &Settings,
        classes: usize,
        paths: &[PathBuf],
        pictures: String,
        device: &Device,
    ) -> anyhow::Result<Self> {
        let architecture = settings.backbone.architecture;
        let input = Input::new(architecture, settings.backbone.input_size);
        let step = (paths.len() / SAMPLE).max(1);
        let sample: Vec<PathBuf> = paths.iter().step_by(step).take(SAMPLE).cloned().collect();
        let n = sample.len() as f64;
        let load = || load_batch(&sample, input.size as u32, &input.normalisation());
        let values = load().map_err(|bad| anyhow::anyhow!("{}", bad[0])).context("calibration")?;
        let decode = fastest(3, || drop(load())) / n;

        let (mut png, mut png_bytes, mut picture_bytes) = (0.0, 0.0, 0.0);
        for path in &sample {
            let picture = read_rgb(path)?;
            picture_bytes += picture.as_raw().len() as f64 / n;
            let clock = Instant::now();
            let mut bytes = Vec::new();
            picture.write_with_encoder(image::codecs::png::PngEncoder::new(&mut bytes))?;
            png += clock.elapsed().as_secs_f64() / n;
            png_bytes += bytes.len() as f64 / n;
        }

        let looked = sample.iter().take(REGIONS).map(read_rgb).collect::<Result<Vec<_>, _>>()?;
        let clock = Instant::now();
        looked.par_iter().for_each(|picture| {
            let map = centred(picture.width() as usize, picture.height() as usize);
            // What a rule makes of a made-up map does not matter here, only how long it takes.
            let _ = settings.mask.region().of(&map, picture);
        });
        let region = clock.elapsed().as_secs_f64() / looked.len() as f64;

        let network = architecture.init(classes, device);
        let model_bytes = 4.0 * network.num_params() as f64;
        let each = values.len() / sample.len();
        let tensor = |count: usize, device: &Device| {
            let part = values.iter().copied().cycle().take(count * each).collect::<Vec<f32>>();
            Tensor::<4>::from_data(TensorData::new(part, [count, 3, input.size, input.size]), device)
        };
        let folded = network.fold_batch_norm();
        let half = sample.len().div_ceil(2);
        let forward = fastest(2, || drop(folded.forward(tensor(half, device)).into_data())) / half as f64;
        drop(folded);
        let (train, peak_per_picture) = match settings.train.mode {
            TrainMode::Head => (None, 0.0),
            TrainMode::Full => {
                let device = device.clone().autodiff();
                let network = architecture.init(classes, &device);
                let mut peaks = [0.0; 2];
                let mut seconds = 0.0;
                for (count, peak) in BATCHES.into_iter().zip(&mut peaks) {
                    let clock = Instant::now();
                    let loss = network.forward(tensor(count, &device)).powi_scalar(2).mean();
                    let value = loss.clone().into_scalar::<f32>();
                    drop((loss.backward(), value));
                    seconds = clock.elapsed().as_secs_f64() / count as f64;
                    *peak = peak_memory().unwrap_or_default();
                }
                (Some(seconds), (peaks[1] - peaks[0]).max(0.0) / (BATCHES[1] - BATCHES[0]) as f64)
            }
        };

        let width = architecture.feature_width();
        let rows: Vec<f32> = (0..ROWS * width).map(|i| ((i * 7919) % 1009) as f32 / 1009.0).collect();
        let labels: Vec<usize> = (0..ROWS).map(|i| i % classes).collect();
        let clock = Instant::now();
        let examples = Examples { features: &rows, width, labels: &labels, weights: &vec![1.0; ROWS] };
        logistic::fit(examples, classes, settings.train.c, &Standardiser::fit(&rows, width))?;
        let fit = clock.elapsed().as_secs_f64() / ROWS as f64;
        Ok(Self {
            pictures,
            decode,
            forward,
            train,
            fit,
            region,
            png,
            png_bytes,
            picture_bytes,
            model_bytes,
            peak: peak_memory(),
            peak_per_picture,
        })
    }
}

/// Attention that falls off from the middle.
fn centred(width: usize, height: usize) -> AttentionMap {
    let value = |i: usize| {
        let x = (i % width) as f32 / width as f32 - 0.5;
        let y = (i / width) as f32 / height as f32 - 0.5;
        (1.0 - 2.0 * x.hypot(y)).clamp(0.0, 1.0)
    };
    AttentionMap { width, height, values: (0..width * height).map(value).collect() }
}

fn fastest(times: usize, work: impl Fn()) -> f64 {
    (0..times)
        .map(|_| {
            let clock = Instant::now();
            work();
            clock.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min)
}

/// The largest memory of this process so far in bytes; `None` where the system does not tell.
fn peak_memory() -> Option<f64> {
    let status = fs_err::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024.0)
}

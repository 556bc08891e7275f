//! Whole pipelines against diffusers.

use std::{
    collections::{BTreeMap, VecDeque},
    path::{Path, PathBuf},
    sync::LazyLock,
};

use burn::tensor::Device;
use image::{GrayImage, RgbImage};
use safetensors::SafeTensors;
use serde_json::Value;

use super::*;
use crate::sd::{ModelFolder, Variant};

pub(super) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/diffusion")
}

pub(super) fn folder(name: &str) -> ModelFolder {
    ModelFolder::open(&fixtures().join("models").join(name), Variant::Full).unwrap()
}

pub(super) fn model(name: &str) -> StableDiffusionInpaint {
    StableDiffusionInpaint::load(&folder(name), &LoadOptions::default(), &Device::flex()).unwrap()
}

/// Tensors of a fixture: pictures of bytes and numbers of f32.
pub(super) struct Pictures(Vec<u8>);

impl Pictures {
    pub(super) fn open(name: &str) -> Self {
        Self(fs_err::read(fixtures().join(format!("{name}.safetensors"))).unwrap())
    }

    fn tensor(&self, name: &str) -> (Vec<usize>, Vec<u8>) {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let view = file.tensor(name).unwrap_or_else(|_| panic!("no tensor {name}"));
        (view.shape().to_vec(), view.data().to_vec())
    }

    pub(super) fn shape(&self, name: &str) -> Vec<usize> {
        self.tensor(name).0
    }

    pub(super) fn numbers(&self, name: &str) -> Vec<f32> {
        self.tensor(name).1.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }

    pub(super) fn rgb(&self, name: &str) -> RgbImage {
        let (shape, bytes) = self.tensor(name);
        RgbImage::from_raw(shape[1] as u32, shape[0] as u32, bytes).unwrap()
    }

    pub(super) fn grey(&self, name: &str) -> GrayImage {
        let (shape, bytes) = self.tensor(name);
        GrayImage::from_raw(shape[1] as u32, shape[0] as u32, bytes).unwrap()
    }
}

static FILE: LazyLock<Pictures> = LazyLock::new(|| Pictures::open("pipelines"));

pub(super) fn cases() -> Vec<Value> {
    serde_json::from_str(&fs_err::read_to_string(fixtures().join("pipelines.json")).unwrap()).unwrap()
}

/// The numbers that diffusers drew, in its order.
struct Recorded(BTreeMap<&'static str, VecDeque<Vec<f32>>>);

impl Recorded {
    fn of(case: &Value) -> Self {
        let name = case["name"].as_str().unwrap();
        let drawn = |kind: &'static str| {
            let count = case["drawn"][kind].as_u64().unwrap();
            (kind, (0..count).map(|i| FILE.numbers(&format!("{name}.{kind}.{i}"))).collect())
        };
        Self(["vae", "init", "step"].map(drawn).into())
    }
}

impl Noise for Recorded {
    fn normal(&mut self, draw: Draw, count: usize) -> Vec<f32> {
        let kind = match draw {
            Draw::Encoder => "vae",
            Draw::Initial => "init",
            Draw::Step => "step",
        };
        let values = self.0.get_mut(kind).and_then(VecDeque::pop_front);
        let values = values.unwrap_or_else(|| panic!("diffusers drew no further `{kind}`"));
        assert_eq!(values.len(), count, "{kind}");
        values
    }
}

pub(super) fn options(case: &Value) -> PaintOptions {
    let whole = |field: &str| case[field].as_u64().unwrap();
    let size = case["size"].as_array().unwrap();
    PaintOptions {
        steps: whole("steps") as usize,
        guidance: case["guidance"].as_f64().unwrap(),
        strength: case["strength"].as_f64().unwrap(),
        scheduler: Some(case["scheduler"].as_str().unwrap().parse().unwrap()),
        v_prediction: Some(case["prediction"] == "v_prediction"),
        negative_prompt: case["negative_prompt"].as_str().unwrap_or_default().to_owned(),
        unconditional: case["prompt"] == "",
        padding_mask_crop: case["padding_mask_crop"].as_u64().map(|padding| padding as u32),
        size: Some((size[0].as_u64().unwrap() as u32, size[1].as_u64().unwrap() as u32)),
        ..PaintOptions::default()
    }
}

pub(super) fn latents(case: &Value) -> Option<Latents> {
    let name = format!("{}.init.0", case["name"].as_str().unwrap());
    (case["start"] == "latents").then(|| Latents::new(FILE.shape(&name), FILE.numbers(&name)))
}

fn largest(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, |most, value| if value.is_nan() { value } else { most.max(value) })
}

/// How many pixels differ by more than 1 of 255, as a share of all.
pub(super) fn off(found: &RgbImage, expected: &RgbImage) -> f64 {
    assert_eq!(found.dimensions(), expected.dimensions());
    let differs = |(a, b): (&image::Rgb<u8>, &image::Rgb<u8>)| (0..3).any(|c| a[c].abs_diff(b[c]) > 1);
    found.pixels().zip(expected.pixels()).filter(|pair| differs(*pair)).count() as f64 / found.pixels().len() as f64
}

#[test]
fn every_pipeline_paints_what_diffusers_paints() {
    let models: BTreeMap<&str, StableDiffusionInpaint> =
        ["sd15", "sd2", "four"].into_iter().map(|name| (name, model(name))).collect();
    let mut wrong = Vec::new();
    let cases = cases();
    assert!(cases.len() >= 25);
    for case in &cases {
        let name = case["name"].as_str().unwrap();
        let (picture, mask) = (FILE.rgb(&format!("{name}.picture")), FILE.grey(&format!("{name}.mask")));
        let (latents, mut noise) = (latents(case), Recorded::of(case));
        let prompt = case["prompt"].as_str().unwrap();
        let job = Job { picture: &picture, mask: &mask, prompt, latents: latents.as_ref(), noise: &mut noise };
        let options = options(case);
        let painted = models[case["model"].as_str().unwrap()].paint(&mut [job], &options, &mut |_| true);
        let painted = painted.unwrap_or_else(|error| panic!("{name}: {error}")).remove(0);
        let left: usize = noise.0.iter().filter(|(kind, _)| **kind != "init").map(|(_, draws)| draws.len()).sum();
        assert_eq!(left, 0, "{name}: diffusers drew more");
        let found = largest(&painted.latents, &FILE.numbers(&format!("{name}.latents")));
        let result = if options.padding_mask_crop.is_some() { &painted.picture } else { &painted.raw };
        let share = off(result, &FILE.rgb(&format!("{name}.result")));
        println!("{name}: latents {found:e}, pixels off by more than 1: {:.3} %", 100.0 * share);
        if found.is_nan() || found > 2e-3 || share > 0.001 {
            wrong.push(format!("{name}: {found:e}, {share}"));
        }
        // Pasted back: what is outside the mask is the picture's, bit for bit.
        assert_eq!(painted.picture.dimensions(), picture.dimensions());
        for (x, y, kept) in mask.enumerate_pixels() {
            assert!(kept[0] != 0 || painted.picture.get_pixel(x, y) == picture.get_pixel(x, y), "{name}: {x}, {y}");
        }
        assert_ne!(painted.picture, picture, "{name}");
    }
    assert!(wrong.is_empty(), "{} of {}\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// Nothing but a seed: the order of the draws, and the generator, are diffusers'.
#[test]
fn a_seed_paints_what_diffusers_paints_for_it() {
    let file = Pictures::open("seeds");
    let cases: Vec<Value> =
        serde_json::from_str(&fs_err::read_to_string(fixtures().join("seeds.json")).unwrap()).unwrap();
    assert!(cases.len() >= 8);
    let mut wrong = Vec::new();
    for case in &cases {
        let name = case["name"].as_str().unwrap();
        let (picture, mask) = (file.rgb(&format!("{name}.picture")), file.grey(&format!("{name}.mask")));
        let options = PaintOptions {
            blur: case["blur"].as_f64().unwrap_or(0.0) as f32,
            v_prediction: None,
            // Pictures of several seeds together.
            memory: Some(1 << 30),
            ..options(case)
        };
        let model = model(case["model"].as_str().unwrap());
        let seeds: Vec<u64> = case["seeds"].as_array().unwrap().iter().map(|seed| seed.as_u64().unwrap()).collect();
        let mut noises: Vec<TorchNoise> = seeds.iter().map(|seed| TorchNoise::new(*seed)).collect();
        let prompt = case["prompt"].as_str().unwrap();
        let mut jobs: Vec<Job<'_>> = noises
            .iter_mut()
            .map(|noise| Job { picture: &picture, mask: &mask, prompt, latents: None, noise })
            .collect();
        let mut batches = std::collections::BTreeSet::new();
        let painted = model.paint(&mut jobs, &options, &mut |step| {
            batches.insert(step.pictures.clone().collect::<Vec<_>>());
            true
        });
        assert_eq!(batches.len(), 1, "{name}: painted together");
        for (i, painted) in painted.unwrap().iter().enumerate() {
            let found = largest(&painted.latents, &file.numbers(&format!("{name}.latents.{i}")));
            let result = if options.padding_mask_crop.is_some() { &painted.picture } else { &painted.raw };
            let share = off(result, &file.rgb(&format!("{name}.result.{i}")));
            println!("{name} seed {}: latents {found:e}, pixels off by more than 1: {:.3} %", seeds[i], 100.0 * share);
            if found.is_nan() || found > 2e-3 || share > 0.001 {
                wrong.push(format!("{name} {i}: {found:e}, {share}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

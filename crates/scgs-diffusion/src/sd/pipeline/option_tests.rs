//! What options do to a picture, what is refused, and what a model is loaded with.

use burn::tensor::Device;
use image::{GrayImage, Luma, Rgb, RgbImage};
use rand::Rng as _;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng as _};

use super::tests::{fixtures, folder, model};
use super::*;
use crate::{
    InpaintError, Inpainter, Request,
    sd::{FolderError, SchedulerError, WeightType},
};

const PROMPT: &str = "a photo of a land bird on the water";

fn picture() -> RgbImage {
    RgbImage::from_fn(40, 32, |x, y| Rgb([(6 * x) as u8, (7 * y) as u8, 90]))
}

fn mask() -> GrayImage {
    GrayImage::from_fn(40, 32, |x, y| Luma([if (8..30).contains(&x) && (4..20).contains(&y) { 255 } else { 0 }]))
}

fn quick() -> PaintOptions {
    PaintOptions { steps: 2, guidance: 3.0, ..PaintOptions::default() }
}

fn paint(model: &StableDiffusionInpaint, prompt: &str, options: &PaintOptions) -> Result<Painted, PipelineError> {
    let (picture, mask, mut noise) = (picture(), mask(), TorchNoise::new(3));
    let job = Job { picture: &picture, mask: &mask, prompt, latents: None, noise: &mut noise };
    Ok(model.paint(&mut [job], options, &mut |_| true)?.remove(0))
}

fn close(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4)
}

#[test]
fn a_picture_does_not_depend_on_those_painted_with_it_nor_on_slices() {
    let model = model("sd15");
    let alone = paint(&model, PROMPT, &quick()).unwrap();
    let (picture, mask) = (picture(), mask());
    let together = PaintOptions { memory: Some(1 << 30), ..quick() };
    let mut noises = [TorchNoise::new(9), TorchNoise::new(3), TorchNoise::new(4)];
    let mut jobs: Vec<Job<'_>> = ["a cat", PROMPT, "snow"]
        .into_iter()
        .zip(&mut noises)
        .map(|(prompt, noise)| Job { picture: &picture, mask: &mask, prompt, latents: None, noise })
        .collect();
    let painted = model.paint(&mut jobs, &together, &mut |step| step.pictures == (0..3)).unwrap();
    assert!(close(&painted[1].latents, &alone.latents));
    assert_ne!(painted[0].picture, painted[2].picture);

    let sliced = PaintOptions { heads_at_once: 1, ..quick() };
    assert!(close(&paint(&model, PROMPT, &sliced).unwrap().latents, &alone.latents));
    // Too little memory: row by row, and the VAE in tiles.
    let narrow = paint(&model, PROMPT, &PaintOptions { memory: Some(1), ..quick() }).unwrap();
    let tiled = paint(&model, PROMPT, &PaintOptions { tiling: true, ..quick() }).unwrap();
    assert!(close(&narrow.latents, &tiled.latents));
    assert_eq!(paint(&model, PROMPT, &quick()).unwrap().picture, alone.picture, "the same seed, the same bytes");
}

#[test]
fn text_negative_prompt_strength_and_blur_have_an_effect() {
    let model = model("sd15");
    let plain = paint(&model, PROMPT, &quick()).unwrap();
    for (name, prompt, options) in [
        ("prompt", "snow", quick()),
        ("negative prompt", PROMPT, PaintOptions { negative_prompt: "blurry".into(), ..quick() }),
        ("strength", PROMPT, PaintOptions { strength: 0.5, ..quick() }),
        ("scheduler", PROMPT, PaintOptions { scheduler: Some(SchedulerKind::Euler), ..quick() }),
        ("clip skip", PROMPT, PaintOptions { clip_skip: 1, ..quick() }),
        ("v-prediction", PROMPT, PaintOptions { v_prediction: Some(true), ..quick() }),
        ("crop", PROMPT, PaintOptions { padding_mask_crop: Some(2), ..quick() }),
        ("dilation", PROMPT, PaintOptions { dilate: 4, ..quick() }),
        ("blur", PROMPT, PaintOptions { blur: 3.0, ..quick() }),
        ("size", PROMPT, PaintOptions { size: Some((64, 48)), ..quick() }),
        ("paste", PROMPT, PaintOptions { paste: false, ..quick() }),
        ("tiling", PROMPT, PaintOptions { tiling: true, ..quick() }),
    ] {
        let other = paint(&model, prompt, &options).unwrap();
        assert_ne!(other.picture, plain.picture, "{name}");
        assert_eq!(other.picture.dimensions(), (40, 32), "{name}");
        let kept = |x, y| other.picture.get_pixel(x, y) == picture().get_pixel(x, y);
        // Far outside the mask everything is as it was, unless that was not wanted.
        let rest = (0..40).flat_map(|x| (30..32).map(move |y| (x, y))).all(|(x, y)| kept(x, y));
        assert_eq!(rest, name != "paste", "{name}");
    }
}

#[test]
fn a_mask_that_leaves_nothing_gives_the_picture_back() {
    let model = model("four");
    let picture = picture();
    let mut noises = [TorchNoise::new(1), TorchNoise::new(1)];
    let masks = [GrayImage::new(40, 32), GrayImage::from_pixel(40, 32, Luma([127]))];
    assert!(masks.iter().all(|mask| !StableDiffusionInpaint::repaints(mask, &quick())));
    for options in [quick(), PaintOptions { padding_mask_crop: Some(4), ..quick() }] {
        let jobs = masks.iter().zip(&mut noises);
        let mut jobs: Vec<Job<'_>> =
            jobs.map(|(mask, noise)| Job { picture: &picture, mask, prompt: PROMPT, latents: None, noise }).collect();
        let painted = model.paint(&mut jobs, &options, &mut |_| panic!("nothing to do")).unwrap();
        assert!(painted.iter().all(|one| one.picture == picture));
    }
}

#[test]
fn what_cannot_be_painted_is_refused_by_kind() {
    let model = model("sd15");
    let refused = |prompt: &str, options: PaintOptions| paint(&model, prompt, &options).unwrap_err();
    assert!(matches!(refused(" ", quick()), PipelineError::EmptyPrompt));
    assert!(paint(&model, "", &PaintOptions { unconditional: true, ..quick() }).is_ok());
    let scheduler = |options| match refused(PROMPT, options) {
        PipelineError::Scheduler(error) => error,
        other => panic!("{other}"),
    };
    assert!(matches!(scheduler(PaintOptions { steps: 0, ..quick() }), SchedulerError::NoSteps));
    for strength in [0.0, -1.0, 1.5, 0.2, f64::NAN] {
        assert!(matches!(scheduler(PaintOptions { strength, ..quick() }), SchedulerError::Strength { .. }));
    }
    for (name, options) in [
        ("guidance", PaintOptions { guidance: f64::NAN, ..quick() }),
        ("guidance", PaintOptions { guidance: -1.0, ..quick() }),
        ("dilation", PaintOptions { dilate: 513, ..quick() }),
        ("blur", PaintOptions { blur: -1.0, ..quick() }),
        ("padding", PaintOptions { padding_mask_crop: Some(5000), ..quick() }),
    ] {
        let said = refused(PROMPT, options).to_string();
        assert!(said.contains(name) && said.contains("expected"), "{said}");
    }
    assert!(matches!(refused(PROMPT, PaintOptions { size: Some((60, 64)), ..quick() }), PipelineError::Size { .. }));

    let (picture, small) = (picture(), GrayImage::from_pixel(8, 8, Luma([255])));
    let mut noise = TorchNoise::new(0);
    let job = Job { picture: &picture, mask: &small, prompt: PROMPT, latents: None, noise: &mut noise };
    let error = model.paint(&mut [job], &quick(), &mut |_| true).unwrap_err();
    assert!(error.to_string().contains("the picture is 40x32 but its mask is 8x8"), "{error}");
    for (shape, values) in
        [(vec![1, 4, 4, 4], vec![0.0; 64]), (vec![4, 4, 5], vec![0.0; 79]), (vec![4, 4, 5], vec![f32::NAN; 80])]
    {
        let (mask, latents) = (mask(), Latents::new(shape, values));
        let job = Job { picture: &picture, mask: &mask, prompt: PROMPT, latents: Some(&latents), noise: &mut noise };
        let error = model.paint(&mut [job], &quick(), &mut |_| true).unwrap_err();
        assert!(error.to_string().contains("expected [1, 4, 4, 5]"), "{error}");
    }
    let mask = mask();
    let job = Job { picture: &picture, mask: &mask, prompt: PROMPT, latents: None, noise: &mut noise };
    let error = model.paint(&mut [job], &quick(), &mut |step| step.done < 1).unwrap_err();
    assert!(matches!(error, PipelineError::Interrupted));
}

/// Everything that the whole command refuses before it reads weights.
#[test]
fn the_check_without_weights_finds_the_same() {
    let (picture, mask) = (picture(), mask());
    let check = |options: &PaintOptions, prompt: &str, latents: Option<&Latents>| {
        StableDiffusionInpaint::check(&folder("sd15"), options, &picture, &mask, prompt, latents)
    };
    assert!(check(&quick(), PROMPT, None).is_ok());
    assert!(matches!(check(&quick(), "", None), Err(PipelineError::EmptyPrompt)));
    assert!(check(&PaintOptions { steps: 0, ..quick() }, PROMPT, None).is_err());
    assert!(check(&PaintOptions { strength: 0.0, ..quick() }, PROMPT, None).is_err());
    let wrong = Latents::new(vec![1, 4, 2, 2], vec![0.0; 16]);
    assert!(matches!(check(&quick(), PROMPT, Some(&wrong)), Err(PipelineError::Latents { .. })));
}

#[test]
fn loras_and_learned_words_change_the_picture_and_foreign_ones_are_refused() {
    let load = |options: &LoadOptions| StableDiffusionInpaint::load(&folder("sd15"), options, &Device::flex());
    let plain = model("sd15");
    let before = paint(&plain, "a photo of cat", &quick()).unwrap().picture;

    // A LoRA of one projection, in peft's names.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lora.safetensors");
    let name = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q";
    let ones = |count: usize| -> Vec<u8> { (0..count).flat_map(|_| 0.5_f32.to_le_bytes()).collect() };
    let (down, up) = (ones(32), ones(32));
    let view = |shape, bytes| safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape, bytes).unwrap();
    let tensors = [
        (format!("{name}.lora_A.weight"), view(vec![1, 32], &down)),
        (format!("{name}.lora_B.weight"), view(vec![32, 1], &up)),
    ];
    fs_err::write(&path, safetensors::serialize(tensors, None).unwrap()).unwrap();
    let with = |scale| LoadOptions { loras: vec![(path.clone(), scale)], ..LoadOptions::default() };
    let (changed, silent) = (load(&with(1.0)).unwrap(), load(&with(0.0)).unwrap());
    assert_ne!(paint(&changed, "a photo of cat", &quick()).unwrap().picture, before);
    assert_eq!(paint(&silent, "a photo of cat", &quick()).unwrap().picture, before, "a scale of 0 changes nothing");
    let hashes: std::collections::BTreeSet<String> =
        [&plain, &changed, &silent].map(|model| model.hash().unwrap()).into_iter().collect();
    assert_eq!(hashes.len(), 3, "the hash covers LoRAs and their scales");

    // The fixture's LoRA belongs to another network, its learned words to an encoder of 16 numbers.
    let foreign =
        LoadOptions { loras: vec![(fixtures().join("lora-kohya.safetensors"), 1.0)], ..LoadOptions::default() };
    assert!(matches!(load(&foreign), Err(PipelineError::Lora(_))));
    let words = vec![(fixtures().join("pictures.safetensors"), None)];
    assert!(matches!(
        load(&LoadOptions { embeddings: words, ..LoadOptions::default() }),
        Err(PipelineError::Embedding(_))
    ));

    let path = dir.path().join("word.safetensors");
    let values = ones(2 * 32);
    fs_err::write(&path, safetensors::serialize([("<own>", view(vec![2, 32], &values))], None).unwrap()).unwrap();
    let learned = load(&LoadOptions { embeddings: vec![(path, None)], ..LoadOptions::default() }).unwrap();
    assert_eq!(paint(&learned, "a photo of cat", &quick()).unwrap().picture, before);
    assert_ne!(
        paint(&learned, "a photo of <own>", &quick()).unwrap(),
        paint(&plain, "a photo of <own>", &quick()).unwrap()
    );
}

#[test]
fn half_precision_weights_paint_the_same_where_the_file_has_no_more() {
    let load = |weights| {
        let options = LoadOptions { weights, ..LoadOptions::default() };
        StableDiffusionInpaint::load(&folder("sd2"), &options, &Device::flex()).unwrap()
    };
    let full = paint(&load(WeightType::F32), PROMPT, &quick()).unwrap();
    assert_eq!(paint(&load(WeightType::F16), PROMPT, &quick()).unwrap(), full);
    assert_ne!(paint(&load(WeightType::BF16), PROMPT, &quick()).unwrap().latents, full.latents);
}

#[test]
fn parts_of_different_models_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let copy = |from: &Path, to: &Path| {
        fs_err::create_dir_all(to).unwrap();
        for entry in fs_err::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            if entry.path().is_file() {
                fs_err::copy(entry.path(), to.join(entry.file_name())).unwrap();
            }
        }
    };
    let models = fixtures().join("models");
    for part in ["", "scheduler", "tokenizer", "unet", "vae"] {
        copy(&models.join("sd15").join(part), &dir.path().join(part));
    }
    let open = || ModelFolder::open(dir.path(), crate::sd::Variant::Full);
    let missing = open().unwrap_err();
    assert!(matches!(&missing, FolderError::Missing { part: "text_encoder", .. }), "{missing}");
    copy(&models.join("sd2/text_encoder"), &dir.path().join("text_encoder"));
    let load = || StableDiffusionInpaint::load(&open().unwrap(), &LoadOptions::default(), &Device::flex());
    let said = load().unwrap_err().to_string();
    assert!(said.contains("`cross_attention_dim` is 32, expected the text encoder's `hidden_size`, 48"), "{said}");
    copy(&models.join("sd15/text_encoder"), &dir.path().join("text_encoder"));
    assert!(load().is_ok());
    copy(&models.join("sd2/unet"), &dir.path().join("unet"));
    assert!(load().unwrap_err().to_string().contains("cross_attention_dim"));
    // The configuration of one model, the weights of another: named, expected and found.
    fs_err::copy(models.join("sd15/unet/config.json"), dir.path().join("unet/config.json")).unwrap();
    let said = load().unwrap_err().to_string();
    assert!(said.contains("unexpected") && said.contains("of another shape") && said.contains("more"), "{said}");
}

#[test]
fn as_an_inpainter_a_stream_decides_the_seed() {
    let options = PaintOptions { steps: 1, ..quick() };
    let painter = StableDiffusionPainter::new(model("sd15"), options.clone()).unwrap();
    let (picture, mask) = (picture(), mask());
    let request = Request { picture: &picture, mask: &mask, prompt: PROMPT, class: 0 };
    let stream = |seed| ChaCha8Rng::seed_from_u64(seed);
    let one = painter.inpaint(&request, &mut stream(1)).unwrap();
    let all = painter.inpaint_all(&mut [(request, stream(1)), (request, stream(2))]);
    assert_eq!(all[0].as_ref(), Ok(&one));
    assert_ne!(all[1].as_ref(), Ok(&one));

    let facts = painter.provenance(PROMPT, &mask, &stream(1));
    let fact = |key: &str| facts.iter().find(|(k, _)| k == key).unwrap().1.clone();
    assert_eq!(fact("seed"), stream(1).next_u32().to_string());
    assert_eq!((fact("prompt"), fact("scheduler"), fact("steps")), (PROMPT.into(), "pndm".into(), "1".into()));
    assert_eq!((fact("model_sha256").len(), fact("mask_sha256")), (64, mask_sha256(&mask)));
    let mut noise = TorchNoise::new(fact("seed").parse().unwrap());
    let job = Job { picture: &picture, mask: &mask, prompt: PROMPT, latents: None, noise: &mut noise };
    assert_eq!(painter.model().paint(&mut [job], &options, &mut |_| true).unwrap()[0].picture, one);

    let grey = GrayImage::from_pixel(40, 32, Luma([9]));
    let error = painter.inpaint(&Request { mask: &grey, ..request }, &mut stream(1)).unwrap_err();
    assert!(matches!(error, InpaintError::GreyMask { .. }));
    let empty = Request { prompt: "", ..request };
    assert!(
        matches!(painter.inpaint(&empty, &mut stream(1)), Err(InpaintError::StableDiffusion(said)) if said.contains("prompt"))
    );
}

//! `scgs inpaint` on tiny random models: what diffusers paints, what the file says, what is refused.

#![expect(clippy::unwrap_used, reason = "a failed test panics")]

use std::path::{Path, PathBuf};

use image::{GrayImage, Luma, Rgb, RgbImage};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use scgs_tests::{Said, finish, hashes, root, scgs, tiny_run};
use serde_json::Value;
use tempfile::TempDir;

fn fixtures() -> PathBuf {
    root().join("tests/fixtures/diffusion")
}

fn model(name: &str) -> PathBuf {
    fixtures().join("models").join(name)
}

/// A folder with a picture of 40 x 30 pixels and a mask.
fn folder() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let picture = RgbImage::from_fn(40, 30, |x, y| Rgb([(6 * x) as u8, (8 * y) as u8, 90]));
    picture.save(dir.path().join("picture.png")).unwrap();
    mask(40, 30).save(dir.path().join("mask.png")).unwrap();
    dir
}

fn mask(width: u32, height: u32) -> GrayImage {
    GrayImage::from_fn(width, height, |x, y| Luma([if (8..30).contains(&x) && (4..20).contains(&y) { 255 } else { 0 }]))
}

/// `scgs inpaint` with what it needs and `more`, which may repeat an option to replace it.
fn inpaint(dir: &Path, model: &Path, more: &[&str]) -> Said {
    let mut words = vec!["inpaint".to_owned()];
    for (option, value) in [
        ("--model", model.to_str().unwrap()),
        ("--image", "picture.png"),
        ("--mask", "mask.png"),
        ("--prompt", "a photo of a bird"),
        ("--steps", "2"),
        ("--out", "out.png"),
    ] {
        if !more.contains(&option) {
            words.extend([option.to_owned(), value.to_owned()]);
        }
    }
    words.extend(more.iter().map(|word| (*word).to_owned()));
    finish(&mut scgs(dir, &words.iter().map(String::as_str).collect::<Vec<_>>()))
}

fn picture(dir: &Path, name: &str) -> RgbImage {
    image::open(dir.join(name)).unwrap().into_rgb8()
}

/// The text chunks of a PNG, read chunk by chunk: keyword and text.
fn texts(path: &Path) -> Vec<(String, String)> {
    let bytes = fs_err::read(path).unwrap();
    let mut found = Vec::new();
    let mut rest = &bytes[8..];
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let (kind, data) = (&after[..4], &after[4..4 + length]);
        let mut parts = data.splitn(2, |byte| *byte == 0);
        if kind == b"tEXt" || kind == b"iTXt" {
            let keyword = String::from_utf8(parts.next().unwrap().to_vec()).unwrap();
            let text = parts.next().unwrap();
            // Not compressed, no language, no translated keyword.
            let text = if kind == b"iTXt" { &text[4..] } else { text };
            found.push((keyword, String::from_utf8(text.to_vec()).unwrap()));
        }
        rest = &after[4 + length + 4..];
    }
    found
}

#[test]
fn a_seed_and_latents_paint_what_diffusers_paints() {
    let bytes = fs_err::read(fixtures().join("pipelines.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let case = "13-sd15-ddim-10";
    let dir = tempfile::tempdir().unwrap();
    let plane = |name: &str| file.tensor(&format!("{case}.{name}")).unwrap();
    let latents = plane("init.0");
    let view = TensorView::new(Dtype::F32, latents.shape().to_vec(), latents.data()).unwrap();
    fs_err::write(dir.path().join("noise.safetensors"), safetensors::serialize([("latents", view)], None).unwrap())
        .unwrap();
    let old = RgbImage::from_raw(96, 64, plane("picture").data().to_vec()).unwrap();
    let hole = GrayImage::from_raw(96, 64, plane("mask").data().to_vec()).unwrap();
    old.save(dir.path().join("picture.png")).unwrap();
    hole.save(dir.path().join("mask.png")).unwrap();
    let common = [
        "--scheduler",
        "ddim",
        "--steps",
        "10",
        "--guidance",
        "2",
        "--latents",
        "noise.safetensors",
        "--prompt",
        "a photo of a land bird on the water",
        "--seed",
        "5",
        "--json",
        "--quiet",
    ];
    let said = inpaint(dir.path(), &model("sd15"), &common);
    said.expect(0, &[]);
    assert_eq!(said.stderr, "", "--quiet");
    let json: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((&json["schema"], &json["fit"], &json["scheduler"]), (&1.into(), &"exact".into(), &"ddim".into()));
    // The encoder's noise is not the fixture's, so only the frame is: bit for bit the old picture.
    let new = picture(dir.path(), "out.png");
    assert!(hole.enumerate_pixels().all(|(x, y, p)| p[0] != 0 || new.get_pixel(x, y) == old.get_pixel(x, y)));
    assert!(hole.enumerate_pixels().any(|(x, y, p)| p[0] == 255 && new.get_pixel(x, y) != old.get_pixel(x, y)));

    // A seed alone is PyTorch's: the fixture of seeds has the result.
    let bytes = fs_err::read(fixtures().join("seeds.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let cases: Vec<Value> =
        serde_json::from_str(&fs_err::read_to_string(fixtures().join("seeds.json")).unwrap()).unwrap();
    for case in cases {
        let (name, size) = (case["name"].as_str().unwrap(), case["size"].as_array().unwrap());
        let (width, height) = (size[0].as_u64().unwrap() as u32, size[1].as_u64().unwrap() as u32);
        let data = |what: &str| file.tensor(&format!("{name}.{what}")).unwrap().data().to_vec();
        RgbImage::from_raw(width, height, data("picture")).unwrap().save(dir.path().join("picture.png")).unwrap();
        GrayImage::from_raw(width, height, data("mask")).unwrap().save(dir.path().join("mask.png")).unwrap();
        let text = |field: &str| case[field].to_string().trim_matches('"').to_owned();
        let mut words = vec!["--seed".to_owned(), case["seeds"][0].to_string(), "--quiet".into()];
        for option in ["scheduler", "steps", "guidance", "strength", "prompt"] {
            words.extend([format!("--{option}"), text(option)]);
        }
        for (field, option) in [("padding_mask_crop", "--padding-crop"), ("blur", "--blur")] {
            if !case[field].is_null() {
                words.extend([option.to_owned(), text(field)]);
            }
        }
        // diffusers pastes back only what it cropped.
        if case["padding_mask_crop"].is_null() {
            words.push("--no-paste".to_owned());
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        inpaint(dir.path(), &model(case["model"].as_str().unwrap()), &words).expect(0, &[]);
        let expected = RgbImage::from_raw(width, height, data("result.0")).unwrap();
        let found = picture(dir.path(), "out.png");
        let off =
            found.pixels().zip(expected.pixels()).filter(|(a, b)| (0..3).any(|c| a[c].abs_diff(b[c]) > 1)).count();
        assert!(off as f64 <= 0.001 * f64::from(width * height), "{name}: {off} pixels");
    }
}

#[test]
fn the_file_says_how_it_was_made_and_the_same_command_gives_the_same_bytes() {
    let dir = folder();
    let words = ["--prompt", "a bird, ❄", "--negative-prompt", "blurry", "--seed", "7", "--scheduler", "euler-a"];
    let said = inpaint(dir.path(), &model("sd15"), &words);
    said.expect(0, &["40x30 is no multiple of 8: painted at 40x32"]);
    assert_eq!(said.stdout, "picture  out.png\n");
    let texts = texts(&dir.path().join("out.png"));
    let text = |key: &str| texts.iter().find(|(k, _)| k == key).unwrap_or_else(|| panic!("no {key}")).1.clone();
    assert_eq!(
        (text("prompt"), text("negative_prompt"), text("seed")),
        ("a bird, ❄".into(), "blurry".into(), "7".into())
    );
    assert_eq!((text("scheduler"), text("steps"), text("strength")), ("euler-a".into(), "2".into(), "1".into()));
    assert!(text("Software").starts_with("scgs ") && text("model").ends_with("sd15"));
    assert_eq!((text("model_sha256").len(), text("mask_sha256").len()), (64, 64));
    inpaint(dir.path(), &model("sd15"), &[&words[..], &["--out", "again.png"]].concat()).expect(0, &[]);
    let bytes = |name: &str| fs_err::read(dir.path().join(name)).unwrap();
    assert!(bytes("out.png") == bytes("again.png"));
    // With few threads as well.
    let mut few = scgs(dir.path(), &["inpaint", "--model", model("sd15").to_str().unwrap(), "--image", "picture.png"]);
    few.args(["--mask", "mask.png", "--steps", "2", "--out", "one.png"]).args(words).env("RAYON_NUM_THREADS", "1");
    finish(&mut few).expect(0, &[]);
    assert!(bytes("out.png") == bytes("one.png"));
}

#[test]
fn options_reach_the_model() {
    let dir = folder();
    let plain = ["--seed", "1"];
    inpaint(dir.path(), &model("sd15"), &plain).expect(0, &[]);
    let before = picture(dir.path(), "out.png");
    for more in [
        &["--guidance", "1"][..],
        &["--strength", "0.5"],
        &["--padding-crop", "4"],
        &["--dilate", "5"],
        &["--blur", "3"],
        &["--size", "64x48"],
        &["--v-prediction"],
        &["--clip-skip", "1"],
        &["--dtype", "bf16"],
        &["--no-paste"],
        // The VAE in tiles.
        &["--memory", "0.0001"],
        &["--unconditional", "--prompt", ""],
    ] {
        let said = inpaint(dir.path(), &model("sd15"), &[&plain[..], more, &["--out", "other.png"]].concat());
        said.expect(0, &[]);
        assert_ne!(picture(dir.path(), "other.png"), before, "{more:?}");
    }
    for more in [&["--heads-at-once", "1"][..], &["--memory", "1"], &["--dtype", "f16"]] {
        let said = inpaint(dir.path(), &model("sd15"), &[&plain[..], more, &["--out", "other.png"]].concat());
        said.expect(0, &[]);
        let other = picture(dir.path(), "other.png");
        assert!(other.pixels().zip(before.pixels()).all(|(a, b)| (0..3).all(|c| a[c].abs_diff(b[c]) <= 1)), "{more:?}");
    }
    let long = format!("a bird {}", "on the water ".repeat(40));
    inpaint(dir.path(), &model("sd2"), &["--prompt", &long]).expect(0, &["longer than 77 tokens", "on the water"]);
}

#[test]
fn a_black_mask_copies_the_picture_through_and_says_so() {
    let dir = folder();
    GrayImage::new(40, 30).save(dir.path().join("mask.png")).unwrap();
    let said = inpaint(dir.path(), &model("sd15"), &["--json"]);
    said.expect(0, &["mask.png: no pixel is white", "copied through"]);
    let json: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(json["repainted"], false);
    assert_eq!(picture(dir.path(), "out.png"), picture(dir.path(), "picture.png"));
}

#[test]
fn bad_input_is_refused_before_the_weights_are_read() {
    let dir = folder();
    mask(20, 30).save(dir.path().join("small.png")).unwrap();
    fs_err::write(dir.path().join("text.png"), "no picture").unwrap();
    fs_err::create_dir(dir.path().join("empty")).unwrap();
    fs_err::create_dir(dir.path().join("folder.png")).unwrap();
    fs_err::copy(fixtures().join("pictures.safetensors"), dir.path().join("other.safetensors")).unwrap();
    // Whatever comes after these errors would take long: the weights are gone.
    let gone = model_copy("sd15");
    fs_err::write(gone.path().join("unet/diffusion_pytorch_model.safetensors"), "").unwrap();
    for (more, parts) in [
        (&["--mask", "small.png"][..], &["the picture is 40x30 but its mask is 20x30", "small.png"][..]),
        (&["--image", "none.png"], &["none.png"]),
        (&["--mask", "text.png"], &["text.png", "not a JPEG, PNG or WebP picture"]),
        (&["--steps", "0"], &["0 steps were asked for"]),
        (&["--strength", "0"], &["strength 0 of 2 steps leaves nothing to do"]),
        (&["--strength", "1.5"], &["strength 1.5"]),
        (&["--guidance", "-3"], &["guidance is -3, expected a number from 0 to 100"]),
        (&["--prompt", " "], &["the prompt is empty", "--unconditional"]),
        (&["--scheduler", "plms"], &["ddim, pndm, dpmpp-2m, euler, euler-a, lcm"]),
        (&["--size", "60x64"], &["60x64", "multiples of 8", "--size"]),
        (&["--memory", "0"], &["--memory is 0"]),
        (&["--latents", "none.safetensors"], &["none.safetensors"]),
        (&["--latents", "other.safetensors"], &["no tensor `latents`"]),
        (&["--out", "out.jpg"], &["ends in .png"]),
        (&["--out", "folder.png"], &["is a folder"]),
        (&["--out", "picture.png"], &["would replace the input"]),
        (&["--out", "mask.png/out.png"], &["mask.png is a file"]),
        (&["--device", "gpu"], &["unknown device `gpu`"]),
        (&["--model", "empty"], &["no model_index.json", "cargo xtask download weights-sd15-inpaint"]),
        (&["--model", "nothing"], &["no model `nothing`"]),
        (&["--lora", "none.safetensors"], &["none.safetensors"]),
        (&["--embedding", "none.pt"], &["none.pt"]),
    ] {
        let said = inpaint(dir.path(), gone.path(), more);
        said.expect(2, parts);
        assert!(!said.stderr.contains("panicked"), "{}", said.stderr);
        assert!(!dir.path().join("out.png").exists(), "{more:?}");
    }
    inpaint(dir.path(), gone.path(), &[]).expect(2, &["unet/diffusion_pytorch_model.safetensors", "too few"]);
}

fn model_copy(name: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for part in ["", "scheduler", "tokenizer", "unet", "vae", "text_encoder"] {
        fs_err::create_dir_all(dir.path().join(part)).unwrap();
        for entry in fs_err::read_dir(model(name).join(part)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                fs_err::copy(&path, dir.path().join(part).join(path.file_name().unwrap())).unwrap();
            }
        }
    }
    dir
}

#[test]
fn damaged_and_foreign_models_are_refused_by_file_and_tensor() {
    let dir = folder();
    let refused = |change: &dyn Fn(&Path), parts: &[&str]| {
        let copy = model_copy("sd15");
        change(copy.path());
        let said = inpaint(dir.path(), copy.path(), &[]);
        said.expect(2, parts);
        assert!(!said.stderr.contains("panicked") && !dir.path().join("out.png").exists(), "{}", said.stderr);
    };
    let unet = "unet/diffusion_pytorch_model.safetensors";
    refused(&|m| fs_err::remove_dir_all(m.join("vae")).unwrap(), &["the part `vae` is missing", "vae/config.json"]);
    refused(&|m| fs_err::remove_file(m.join(unet)).unwrap(), &["the part `unet` is missing", unet]);
    let cut = |m: &Path| {
        let bytes = fs_err::read(m.join(unet)).unwrap();
        fs_err::write(m.join(unet), &bytes[..bytes.len() / 2]).unwrap();
    };
    refused(&cut, &[unet, "not a whole file of weights"]);
    let edit = |m: &Path, file: &str, from: &str, to: &str| {
        let text = fs_err::read_to_string(m.join(file)).unwrap();
        assert!(text.contains(from), "{from} in {text}");
        fs_err::write(m.join(file), text.replace(from, to)).unwrap();
    };
    refused(
        &|m| edit(m, "model_index.json", "StableDiffusionInpaintPipeline", "StableDiffusionXLInpaintPipeline"),
        &["StableDiffusionXLInpaintPipeline", "only Stable Diffusion 1 and 2"],
    );
    refused(
        &|m| edit(m, "unet/config.json", "UNet2DConditionModel", "UNet1DModel"),
        &["`_class_name` is `UNet1DModel`"],
    );
    refused(&|m| edit(m, "unet/config.json", "\"silu\"", "\"mish\""), &["`act_fn` is \"mish\""]);
    refused(
        &|m| edit(m, "unet/config.json", "\"in_channels\": 9", "\"in_channels\": 8"),
        &["`in_channels` is 8", "9 (inpainting)"],
    );
    refused(
        &|m| edit(m, "text_encoder/config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3"),
        &["missing"],
    );
    refused(&|m| fs_err::write(m.join("vae/config.json"), "{").unwrap(), &["vae/config.json", "not a JSON object"]);

    let rewrite = |m: &Path, change: &dyn Fn(&str, &mut Vec<usize>, &mut Vec<u8>) -> Option<String>| {
        let bytes = fs_err::read(m.join(unet)).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = file
            .tensors()
            .into_iter()
            .map(|(name, view)| {
                let (mut shape, mut data) = (view.shape().to_vec(), view.data().to_vec());
                let name = change(&name, &mut shape, &mut data).unwrap_or(name);
                (name, shape, data)
            })
            .collect();
        let views =
            tensors.iter().map(|(name, shape, data)| (name, TensorView::new(Dtype::F16, shape.clone(), data).unwrap()));
        fs_err::write(m.join(unet), safetensors::serialize(views, None).unwrap()).unwrap();
    };
    let nan = |name: &str, _: &mut Vec<usize>, data: &mut Vec<u8>| {
        if name == "conv_out.bias" {
            data[2..4].copy_from_slice(&0x7e00_u16.to_le_bytes());
        }
        None
    };
    refused(&|m| rewrite(m, &nan), &[unet, "`conv_out.bias`", "NaN at element 1"]);
    let flat = |name: &str, shape: &mut Vec<usize>, _: &mut Vec<u8>| {
        if name == "conv_in.weight" {
            *shape = vec![shape.iter().product()];
        }
        None
    };
    refused(&|m| rewrite(m, &flat), &["conv_in.weight (expected [16, 9, 3, 3], found [1296])"]);
    let renamed =
        |name: &str, _: &mut Vec<usize>, _: &mut Vec<u8>| name.starts_with("down_blocks").then(|| format!("x.{name}"));
    refused(&|m| rewrite(m, &renamed), &["missing: down_blocks", "and ", "more", "unexpected: x.down_blocks"]);
}

/// A device without room, as Linux has one.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_nothing_behind() {
    let dir = folder();
    let words = ["inpaint", "--model", model("sd15").to_str().unwrap(), "--image", "picture.png", "--mask", "mask.png"]
        .map(str::to_owned);
    let rest = ["--prompt", "a bird", "--steps", "1", "--out", "out.png"].map(str::to_owned);
    // No file may be larger than one block: every write of a picture fails as on a full disk.
    let line = [&words[..], &rest[..]].concat().iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
    let mut limited = std::process::Command::new("bash");
    limited
        .current_dir(dir.path())
        .arg("-c")
        .arg(format!("ulimit -f 1; trap '' XFSZ; exec '{}' {line}", scgs_tests::binary().display()));
    let said = finish(&mut limited);
    said.expect(2, &["out.png", "File too large"]);
    let names: Vec<_> = fs_err::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

/// The rows of a table without commas in its fields, by column.
fn rows(path: &Path) -> Vec<std::collections::BTreeMap<String, String>> {
    let text = fs_err::read_to_string(path).unwrap();
    let mut lines = text.lines().map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
    let header = lines.next().unwrap();
    lines.map(|line| header.iter().cloned().zip(line).collect()).collect()
}

#[test]
fn a_run_paints_with_stable_diffusion_and_every_picture_can_be_painted_again() {
    let dir = tempfile::tempdir().unwrap();
    let set = |model: &Path| format!("synthesis.diffusion.model={}", model.display());
    let words = |model: &str| -> Vec<String> {
        let sets = [
            "synthesis.inpainter=stable-diffusion",
            model,
            "synthesis.diffusion.steps=2",
            "synthesis.diffusion.guidance=1.5",
            "synthesis.diffusion.scheduler=euler",
            "synthesis.diffusion.prompts=[\"a photo of a {class}\", \"{class} on snow\"]",
        ];
        let sets = sets.iter().flat_map(|set| ["--set", set]);
        tiny_run(&["--methods", "scgs", "--quiet"]).into_iter().chain(sets).map(str::to_owned).collect()
    };
    let run = |model: &str| {
        let words = words(model);
        finish(&mut scgs(dir.path(), &words.iter().map(String::as_str).collect::<Vec<_>>()))
    };
    let nothing = dir.path().join("nothing");
    run(&set(&nothing)).expect(2, &["synthesis.diffusion.model", "no model", "nothing"]);
    assert!(!dir.path().join("runs").exists(), "the model is looked for before anything is computed");
    run("synthesis.diffusion.model=").expect(2, &["synthesis.diffusion.model is empty, expected a model folder"]);

    run(&set(&model("sd15"))).expect(0, &[]);
    let files = hashes(&dir.path().join("runs")).unwrap();
    let find = |part: &str| {
        let found = files.keys().find(|path| path.to_string_lossy().contains(part));
        dir.path().join("runs").join(found.unwrap_or_else(|| panic!("no {part}")))
    };
    let painted = rows(&find("5-synthesis/metadata.csv"));
    assert!(painted.len() >= 20);
    let prompts: std::collections::BTreeSet<&str> = painted.iter().map(|row| row["prompt"].as_str()).collect();
    assert!(prompts.contains("a photo of a bird") && prompts.contains("a photo of a mammal"), "{prompts:?}");
    let seeds: std::collections::BTreeSet<&str> = painted.iter().map(|row| row["seed"].as_str()).collect();
    assert_eq!(seeds.len(), painted.len(), "every picture has its own seed");
    let row = &painted[0];
    assert_eq!((row["inpainter"].as_str(), row["scheduler"].as_str()), ("stable-diffusion", "euler"));
    let source = rows(
        &find("data/")
            .ancestors()
            .map(|folder| folder.join("metadata.csv"))
            .find(|path| path.is_file())
            .unwrap_or_else(|| find("metadata.csv")),
    );
    let source = source.iter().find(|other| other["img_id"] == row["source_id"]).unwrap();
    let out = find("5-synthesis/metadata.csv").with_file_name(&row["img_filename"]);
    for (path, name) in [
        (find(&source["img_filename"]), "picture.png"),
        (find(&format!("4-masks/{}.png", row["source_id"])), "mask.png"),
    ] {
        image::open(path).unwrap().save(dir.path().join(name)).unwrap();
    }
    let words =
        ["--prompt", &row["prompt"], "--seed", &row["seed"], "--guidance", "1.5", "--scheduler", "euler", "--quiet"];
    inpaint(dir.path(), &model("sd15"), &words).expect(0, &[]);
    assert_eq!(picture(dir.path(), "out.png"), image::open(&out).unwrap().into_rgb8());
    let (ours, again) = (texts(&out), texts(&dir.path().join("out.png")));
    assert!(ours.iter().all(|fact| again.contains(fact)), "{ours:?} {again:?}");
    assert!(ours.iter().any(|(key, text)| key == "mask_sha256" && *text == row["mask_sha256"]));
    assert!(ours.iter().any(|(key, text)| key == "model_sha256" && *text == row["model_sha256"]));
}

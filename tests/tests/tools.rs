//! `scgs predict`, `scgs cam` and `scgs cluster` on files of one's own.

#![expect(clippy::unwrap_used, reason = "a failed test panics")]

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use image::{GrayImage, Luma, Rgba, RgbaImage, imageops};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use scgs_tests::{Said, finish, hashes, root, scgs};
use tempfile::TempDir;

/// Side of the composited pictures, which is the network's input size.
const SIDE: u32 = 224;

/// Cut-outs in the sorted order of their file names, and their ImageNet classes.
const PHOTOS: [(&str, usize); 6] = [
    ("bird/duck.png", 97),
    ("mammal/gc_koala.png", 105),
    ("mammal/gc_panda.png", 388),
    ("bird/penguin.png", 145),
    ("bird/pink_flamingo.png", 130),
    ("mammal/zebra.png", 340),
];

fn weights() -> PathBuf {
    root().join("datasets/weights/efficientnet_lite0.safetensors")
}

fn said(folder: &Path, words: &[&str]) -> Said {
    finish(&mut scgs(folder, words))
}

fn name_of(photo: &str) -> &str {
    photo.rsplit('/').next().unwrap()
}

/// `<command> --arch efficientnet-lite0 --weights .. --images images`, then `more`.
fn tool(folder: &Path, command: &str, more: &[&str]) -> Said {
    let weights = weights();
    let fixed = [command, "--arch", "efficientnet-lite0", "--weights", weights.to_str().unwrap(), "--images", "images"];
    said(folder, &[&fixed, more].concat())
}

/// The cut-out in the middle of a grey square, and where it is.
fn on_grey(photo: &str) -> (RgbaImage, GrayImage) {
    let cutout = image::open(root().join("datasets/habitat/fg").join(photo)).unwrap().to_rgba8();
    let scale = 150.0 / f64::from(cutout.width().max(cutout.height()));
    let side = |pixels: u32| (f64::from(pixels) * scale).round() as u32;
    let cutout = imageops::resize(&cutout, side(cutout.width()), side(cutout.height()), imageops::FilterType::Triangle);
    let (x, y) = ((SIDE - cutout.width()) / 2, (SIDE - cutout.height()) / 2);
    let mut picture = RgbaImage::from_pixel(SIDE, SIDE, Rgba([128, 128, 128, 255]));
    imageops::overlay(&mut picture, &cutout, i64::from(x), i64::from(y));
    let inside = |px: u32, py: u32| {
        let (cx, cy) = (px.checked_sub(x)?, py.checked_sub(y)?);
        (cx < cutout.width() && cy < cutout.height()).then(|| cutout.get_pixel(cx, cy).0[3])
    };
    (picture, GrayImage::from_fn(SIDE, SIDE, |x, y| Luma([inside(x, y).unwrap_or(0)])))
}

/// A folder with the folder `images` of the first `count` photos.
fn photos(count: usize) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs_err::create_dir(dir.path().join("images")).unwrap();
    for (photo, _) in &PHOTOS[..count] {
        on_grey(photo).0.save(dir.path().join("images").join(name_of(photo))).unwrap();
    }
    dir
}

/// A folder with the folder `images` of one picture of one pixel.
fn one_pixel() -> TempDir {
    let dir = photos(0);
    RgbaImage::from_pixel(1, 1, Rgba([200, 30, 90, 255])).save(dir.path().join("images/pixel.png")).unwrap();
    dir
}

/// Shape and values of the one tensor of f32 in a file.
fn tensor(path: &Path, name: &str) -> (Vec<usize>, Vec<f32>) {
    let bytes = fs_err::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.names(), [name]);
    let view = file.tensor(name).unwrap();
    assert_eq!(view.dtype(), Dtype::F32);
    let values = view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    (view.shape().to_vec(), values)
}

fn write_tensor(path: &Path, name: &str, dtype: Dtype, shape: &[usize], bytes: &[u8]) {
    let view = TensorView::new(dtype, shape.to_vec(), bytes).unwrap();
    fs_err::write(path, safetensors::serialize([(name, view)], None).unwrap()).unwrap();
}

fn write_f32(path: &Path, shape: &[usize], values: &[f32]) {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    write_tensor(path, "features", Dtype::F32, shape, &bytes);
}

fn entries(folder: &Path) -> BTreeSet<String> {
    let entries = fs_err::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn predict_recognises_photos_in_the_order_of_their_names() {
    let dir = photos(PHOTOS.len());
    let images = dir.path().join("images");
    // None of these is a picture of the folder.
    fs_err::write(images.join("aaa.txt"), "notes").unwrap();
    fs_err::create_dir(images.join("more.png")).unwrap();
    let run = |threads: &str, out: &str| {
        let weights = weights();
        let words = ["predict", "--arch", "efficientnet-lite0", "--weights", weights.to_str().unwrap()];
        let more = ["--images", "images", "--out", out, "--json", "--quiet", "--seed", "3", "--device", "flex"];
        finish(scgs(dir.path(), &[&words[..], &more[..]].concat()).env("RAYON_NUM_THREADS", threads))
    };
    let said = run("1", "new/one.safetensors");
    said.expect(0, &[]);
    assert_eq!(said.stderr, "", "--quiet");
    let json: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((&json["schema"], &json["pictures"], &json["classes"]), (&1.into(), &6.into(), &1000.into()));

    let (shape, logits) = tensor(&dir.path().join("new/one.safetensors"), "logits");
    assert_eq!(shape, [PHOTOS.len(), 1000]);
    let classes: Vec<usize> =
        logits.chunks(1000).map(|row| (0..1000).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap()).collect();
    let mut expected = PHOTOS.map(|(photo, class)| (name_of(photo), class)).to_vec();
    expected.sort_unstable();
    assert_eq!(classes, expected.iter().map(|e| e.1).collect::<Vec<_>>());
    let names: Vec<&str> = expected.iter().map(|e| e.0).collect();
    assert_eq!(
        fs_err::read_to_string(dir.path().join("new/one.csv")).unwrap(),
        format!("name\n{}\n", names.join("\n"))
    );

    run("2", "new/two.safetensors").expect(0, &[]);
    let bytes = |name: &str| fs_err::read(dir.path().join("new").join(name)).unwrap();
    assert!(bytes("one.safetensors") == bytes("two.safetensors"), "two threads give other logits than one");
    assert_eq!(bytes("one.csv"), bytes("two.csv"));
}

#[test]
fn attention_lies_on_the_object_at_the_input_size() {
    let dir = photos(4);
    let share_of = |folder: &str, photo: &str| {
        let stem = name_of(photo).strip_suffix(".png").unwrap();
        let (shape, values) = tensor(&dir.path().join(folder).join(format!("{stem}.safetensors")), "attention");
        assert_eq!(shape, [224, 224]);
        assert!(values.iter().all(|v| (0.0..=1.0).contains(v)));
        assert_eq!(values.iter().copied().fold(0.0, f32::max), 1.0);
        let drawing = image::open(dir.path().join(folder).join(format!("{stem}.png"))).unwrap();
        assert_eq!((drawing.width(), drawing.height()), (SIDE, SIDE));
        let mask: Vec<bool> = on_grey(photo).1.pixels().map(|p| p.0[0] > 127).collect();
        let inside: f64 = values.iter().zip(&mask).filter(|(_, m)| **m).map(|(v, _)| f64::from(*v)).sum();
        let all: f64 = values.iter().map(|v| f64::from(*v)).sum();
        (inside / all, mask.iter().filter(|m| **m).count() as f64 / mask.len() as f64)
    };
    for method in ["gradcam", "gradcam++", "xgradcam", "layercam"] {
        let said = tool(dir.path(), "cam", &["--method", method, "--target", "predicted", "--out", method, "--json"]);
        said.expect(0, &["4 map(s)"]);
        let json: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
        assert_eq!((&json["layer"], &json["size"]), (&"head".into(), &224.into()));
        for (row, (photo, class)) in json["rows"].as_array().unwrap().iter().zip(&PHOTOS) {
            assert_eq!((&row["name"], &row["target"]), (&name_of(photo).into(), &(*class).into()));
            let (share, area) = share_of(method, photo);
            assert!(share > 2.0 * area, "{method} {photo}: {share:.2} of the attention on {area:.2} of the picture");
        }
        assert_eq!(entries(&dir.path().join(method)).len(), 8);
    }
    // The same layer by name, and a class by index.
    let cam = |out: &str, more: &[&str]| {
        tool(dir.path(), "cam", &[&["--method", "gradcam", "--out", out], more].concat()).expect(0, &[]);
        hashes(&dir.path().join(out)).unwrap()
    };
    let reference = hashes(&dir.path().join("gradcam")).unwrap();
    assert_eq!(cam("named", &["--layer", "head"]), reference);
    let panda = Path::new("gc_panda.safetensors");
    let (as_panda, as_duck) = (cam("panda", &["--target", "388"]), cam("duck", &["--target", "97"]));
    assert_eq!(as_panda[panda], reference[panda]);
    assert_ne!(as_duck[panda], reference[panda]);
}

#[test]
fn every_method_any_layer_and_the_epsilon() {
    let dir = photos(1);
    let cam = |out: &str, more: &[&str]| {
        tool(dir.path(), "cam", &[&["--input-size", "64", "--out", out, "--method"], more].concat()).expect(0, &[]);
        let (shape, values) = tensor(&dir.path().join(out).join("duck.safetensors"), "attention");
        assert_eq!(shape, [64, 64]);
        assert_eq!(values.iter().copied().fold(0.0, f32::max), 1.0);
        values
    };
    cam("eigen", &["eigencam"]);
    cam("score", &["scorecam", "--layer", "blocks.0"]);
    cam("layer", &["layercam", "--layer", "blocks.4", "--target", "97"]);
    let compatible = cam("compatible", &["gradcam++"]);
    assert_eq!(cam("number", &["gradcam++", "--eps", "1e-6"]), compatible);
    let free = cam("free", &["gradcam++", "--eps", "scale-free"]);
    assert_ne!(free, compatible);
    assert_eq!(cam("inside", &["gradcam++:scale-free"]), free);
}

#[test]
fn a_picture_without_attention_is_named_and_has_no_file() {
    let dir = one_pixel();
    let cam = |more: &[&str]| {
        let words = ["--method", "gradcam", "--out", "maps", "--json"];
        tool(dir.path(), "cam", &[&words[..], more].concat())
    };
    // What an earlier call wrote does not stay.
    fs_err::create_dir(dir.path().join("maps")).unwrap();
    ["safetensors", "png"]
        .iter()
        .for_each(|e| fs_err::write(dir.path().join("maps/pixel").with_extension(e), "").unwrap());
    // The last map of a small input is one cell: no place stands out.
    let said = cam(&["--input-size", "32"]);
    said.expect(0, &["no attention: pixel.png"]);
    let json: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(json["no_attention"], serde_json::json!(["pixel.png"]));
    assert!(json["rows"][0]["attention"].is_null());
    assert!(entries(&dir.path().join("maps")).is_empty());
}

#[test]
fn one_pixel_is_a_picture() {
    let dir = one_pixel();
    tool(dir.path(), "predict", &["--out", "l.safetensors"]).expect(0, &["1 picture(s)"]);
    let (shape, logits) = tensor(&dir.path().join("l.safetensors"), "logits");
    assert_eq!(shape, [1, 1000]);
    assert!(logits.iter().all(|v| v.is_finite()));
}

#[test]
fn bad_pictures_and_folders_are_named_and_nothing_is_written() {
    let dir = photos(1);
    let images = dir.path().join("images");
    let both = |parts: &[&str]| {
        let before = hashes(dir.path()).unwrap();
        tool(dir.path(), "predict", &["--out", "p/l.safetensors"]).expect(2, parts);
        tool(dir.path(), "cam", &["--method", "gradcam", "--out", "c"]).expect(2, parts);
        assert_eq!(hashes(dir.path()).unwrap(), before);
        assert_eq!(entries(dir.path()).into_iter().collect::<Vec<_>>(), ["images"]);
    };
    let whole = fs_err::read(images.join("duck.png")).unwrap();
    fs_err::write(images.join("a.png"), "").unwrap();
    fs_err::write(images.join("b.jpeg"), "no picture").unwrap();
    fs_err::write(images.join("c.GIF"), b"GIF89a").unwrap();
    fs_err::write(images.join("z.png"), &whole[..whole.len() / 2]).unwrap();
    both(&[
        "4 of 5 picture(s) cannot be used",
        "a.png: the file is empty",
        "b.jpeg: not a JPEG, PNG or WebP",
        "c.GIF: not a JPEG, PNG or WebP",
        "z.png: the file is truncated",
    ]);
    for name in ["a.png", "b.jpeg", "c.GIF", "z.png", "duck.png"] {
        fs_err::remove_file(images.join(name)).unwrap();
    }
    fs_err::write(images.join("notes.txt"), "").unwrap();
    both(&["--images images", "found no picture in it (1 other file(s))", ".webp"]);

    let weights = weights();
    let elsewhere = |images: &str, part: &str| {
        let words = ["predict", "--arch", "efficientnet-lite0", "--weights", weights.to_str().unwrap()];
        said(dir.path(), &[&words[..], &["--images", images, "--out", "l.safetensors"]].concat())
            .expect(2, &[images, part]);
    };
    elsewhere("none", "expected a folder of pictures");
    elsewhere("images/notes.txt", "this is a file");
}

#[test]
fn bad_weights_are_named_and_nothing_is_written() {
    let dir = photos(1);
    let whole = fs_err::read(weights()).unwrap();
    fs_err::write(dir.path().join("half.safetensors"), &whole[..whole.len() / 2]).unwrap();
    let before = hashes(dir.path()).unwrap();
    let run = |arch: &str, weights: &str| {
        let fixed = ["--arch", arch, "--weights", weights, "--images", "images", "--out", "out"];
        let predict = said(dir.path(), &[&["predict"], &fixed[..]].concat());
        let cam = said(dir.path(), &[&["cam", "--method", "layercam"], &fixed[..]].concat());
        // The hint names the command.
        assert_eq!(predict.stderr.lines().next(), cam.stderr.lines().next());
        assert_eq!(hashes(dir.path()).unwrap(), before);
        predict
    };
    let shipped = weights();
    run("efficientnet-lite0", "half.safetensors").expect(2, &["half.safetensors: not a whole file of weights"]);
    run("resnet18", shipped.to_str().unwrap())
        .expect(2, &["efficientnet_lite0.safetensors", "not the weights of resnet18", "missing"]);
    run("efficientnet-lite0", "none.pth").expect(2, &["none.pth", "check the path"]);
    run("vgg16", "half.safetensors").expect(2, &["no architecture `vgg16`", "resnet101"]);
}

#[test]
fn bad_settings_of_cam_and_predict() {
    let dir = photos(1);
    let images = dir.path().join("images");
    fs_err::write(dir.path().join("file"), "").unwrap();
    let before = hashes(dir.path()).unwrap();
    let run = |command: &str, more: &[&str], parts: &[&str]| {
        tool(dir.path(), command, more).expect(2, parts);
        assert_eq!(hashes(dir.path()).unwrap(), before);
    };
    let cam = |more: &[&str], parts: &[&str]| run("cam", &[&["--out", "c", "--method"], more].concat(), parts);
    cam(&["gradcam", "--layer", "blocks.16"], &["no layer `blocks.16`", "stem, blocks.0, ", "blocks.15, head"]);
    cam(&["gradcam", "--target", "1000"], &["--target 1000", "1000 class(es), 0 to 999"]);
    cam(&["gradcam", "--target", "duck"], &["duck", "the index of a class, from 0, or predicted"]);
    cam(&["smoothgrad"], &["`smoothgrad` is no attention method", "layercam"]);
    cam(&["gradcam", "--eps", "1e-6"], &["--eps belongs to gradcam++"]);
    cam(&["gradcam", "--target", "-1"], &["'-1'", "the index of a class, from 0, or predicted"]);
    cam(&["gradcam++", "--eps", "-1"], &["`-1` is no epsilon", "scale-free"]);
    cam(&["gradcam", "--input-size", "0"], &["--input-size", "0 is not in 1..=4096"]);
    cam(&["gradcam", "--device", "gpu"], &["unknown device `gpu`"]);
    run("cam", &["--method", "gradcam", "--out", "file/c"], &["--out: file is a file"]);
    run("cam", &["--method", "gradcam", "--out", "images/../images"], &["the folder of the pictures", "replace"]);
    run("predict", &["--out", "file/l.safetensors"], &["--out: file is a file"]);
    run("predict", &["--out", "images"], &["--out images is a folder"]);
    run("predict", &["--out", "l.csv"], &["--out l.csv", "where the names go"]);
    let shipped = weights();
    run("predict", &["--out", shipped.to_str().unwrap()], &["would replace the input"]);

    on_grey(PHOTOS[0].0).0.save(images.join("duck.webp")).unwrap();
    tool(dir.path(), "cam", &["--method", "gradcam", "--out", "c"])
        .expect(2, &["duck.png and duck.webp would both be written as duck.safetensors"]);
    assert!(!dir.path().join("c").exists());
}

/// Three blobs of 40 rows, 10 apart, row `i` in blob `i % 3`; spread below 1.
fn blobs() -> Vec<f32> {
    let noise = |i: usize| ((i * 7919) % 1009) as f32 / 1009.0 - 0.5;
    (0..120)
        .flat_map(|i| {
            let centre = [[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]][i % 3];
            [centre[0] + noise(2 * i), centre[1] + noise(2 * i + 1), noise(i + 500) / 4.0]
        })
        .collect()
}

/// The clusters of a table, after checking its header and its indices.
fn clusters(path: &Path) -> Vec<usize> {
    let text = fs_err::read_to_string(path).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("index,cluster"));
    let row = |(i, line): (usize, &str)| line.strip_prefix(&format!("{i},")).unwrap().parse().unwrap();
    lines.enumerate().map(row).collect()
}

/// Sum of squared distances to the means of the clusters, in f64.
fn inertia(values: &[f32], cols: usize, clusters: &[usize]) -> f64 {
    let mut total = 0.0;
    for cluster in BTreeSet::from_iter(clusters) {
        let rows: Vec<&[f32]> =
            values.chunks(cols).zip(clusters).filter(|(_, c)| *c == cluster).map(|(row, _)| row).collect();
        for column in 0..cols {
            let mean = rows.iter().map(|r| f64::from(r[column])).sum::<f64>() / rows.len() as f64;
            total += rows.iter().map(|r| (f64::from(r[column]) - mean).powi(2)).sum::<f64>();
        }
    }
    total
}

#[test]
fn separable_blobs_are_found_and_the_inertia_is_theirs() {
    let dir = tempfile::tempdir().unwrap();
    let values = blobs();
    write_f32(&dir.path().join("f.safetensors"), &[120, 3], &values);
    let run = |features: &str, k: &str, out: &str, more: &[&str]| {
        let words = ["cluster", "--features", features, "--k", k, "--seed", "0", "--out", out];
        let said = said(dir.path(), &[&words, more].concat());
        said.expect(0, &[]);
        (said.stdout, clusters(&dir.path().join(out)))
    };
    let (text, found) = run("f.safetensors", "3", "new/c.csv", &[]);
    assert_eq!(BTreeSet::from_iter(&found).len(), 3);
    assert!((0..120).all(|i| found[i] == found[i % 3]), "{found:?}");
    let expected = inertia(&values, 3, &found);
    let printed: f64 = text.lines().find_map(|l| l.strip_prefix("inertia ")).unwrap().parse().unwrap();
    assert!((printed - expected).abs() < 1e-5 * expected, "{printed} and {expected}");

    let (text, again) = run("f.safetensors", "auto", "auto.csv", &["--json", "--quiet", "--device", "flex"]);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["sizes"], serde_json::json!([40, 40, 40]));
    assert_eq!(json["schema"], 1);
    assert!(text.contains(&format!("\"inertia\": {printed}")), "{text}");
    assert!(json["iterations"].as_u64().is_some());
    assert_eq!(again, found, "--k auto chooses 3");

    // The same numbers in other types: multiples of 1/32 are exact in f16.
    let coarse: Vec<f32> = values.iter().map(|v| (v * 32.0).round() / 32.0).collect();
    write_f32(&dir.path().join("f32.safetensors"), &[120, 3], &coarse);
    let doubles: Vec<u8> = coarse.iter().flat_map(|v| f64::from(*v).to_le_bytes()).collect();
    write_tensor(&dir.path().join("f64.safetensors"), "features", Dtype::F64, &[120, 3], &doubles);
    let halves: Vec<u8> = coarse.iter().flat_map(|v| half_bits(*v).to_le_bytes()).collect();
    write_tensor(&dir.path().join("f16.safetensors"), "features", Dtype::F16, &[120, 3], &halves);
    let single = run("f32.safetensors", "3", "c32.csv", &[]);
    assert_eq!(run("f64.safetensors", "3", "c64.csv", &[]), single);
    assert_eq!(run("f16.safetensors", "3", "c16.csv", &[]), single);
}

/// IEEE half of a number that it holds exactly.
fn half_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    if bits << 1 == 0 {
        return (bits >> 16) as u16;
    }
    let exponent = ((bits >> 23) & 0xff) as i32 - 127 + 15;
    assert!((1..31).contains(&exponent) && bits & 0x1fff == 0, "{value} is not exact in f16");
    ((bits >> 16) & 0x8000) as u16 | (exponent as u16) << 10 | ((bits >> 13) & 0x3ff) as u16
}

#[test]
fn normalisation_and_projection_only_on_request() {
    let dir = tempfile::tempdir().unwrap();
    // Two directions, each short and long: lengths decide as they are, directions once normalised.
    let values: Vec<f32> = (0..40)
        .flat_map(|i| {
            let length = if i % 4 < 2 { 1.0 } else { 50.0 } + i as f32 / 100.0;
            if i % 2 == 0 { [length, 0.0, 0.0] } else { [0.0, length * 0.2, 0.0] }
        })
        .collect();
    write_f32(&dir.path().join("f.safetensors"), &[40, 3], &values);
    let run = |more: &[&str]| {
        let words = ["cluster", "--features", "f.safetensors", "--k", "2", "--out", "c.csv", "--n-init", "3"];
        let said = said(dir.path(), &[&words, more].concat());
        said.expect(0, &[]);
        let printed: f64 = said.stdout.lines().next().unwrap().strip_prefix("inertia ").unwrap().parse().unwrap();
        (printed, clusters(&dir.path().join("c.csv")))
    };
    let (plain, found) = run(&[]);
    assert!((plain - inertia(&values, 3, &found)).abs() < 1e-5 * plain);
    assert!(found[0] != found[2] && found[0] == found[1], "the long ones along the first axis stand alone");
    let (by_direction, found) = run(&["--l2-normalise"]);
    assert!(by_direction < 1e-9 && (0..40).all(|i| (found[i] == found[0]) == (i % 2 == 0)), "{found:?}");
    let (projected, found) = run(&["--pca", "1"]);
    assert!(projected < plain && found[0] != found[2], "{projected} of {plain}");
}

#[test]
fn bad_input_of_cluster() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    write_f32(&path("f.safetensors"), &[4, 2], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    write_f32(&path("nan.safetensors"), &[4, 2], &[0.0, 1.0, 2.0, f32::NAN, 4.0, 5.0, f32::INFINITY, 7.0]);
    write_f32(&path("cube.safetensors"), &[2, 2, 2], &[0.0; 8]);
    write_f32(&path("none.safetensors"), &[0, 2], &[]);
    write_tensor(&path("names.safetensors"), "pooled", Dtype::F32, &[1, 1], &[0; 4]);
    write_tensor(&path("ints.safetensors"), "features", Dtype::I64, &[1, 1], &[0; 8]);
    write_tensor(&path("huge.safetensors"), "features", Dtype::F64, &[1, 1], &1e300_f64.to_le_bytes());
    let whole = fs_err::read(path("f.safetensors")).unwrap();
    fs_err::write(path("half.safetensors"), &whole[..whole.len() - 8]).unwrap();
    let before = hashes(dir.path()).unwrap();
    let run = |features: &str, k: &str, more: &[&str], parts: &[&str]| {
        let words = ["cluster", "--features", features, "--k", k];
        let out: &[&str] = if more.contains(&"--out") { &[] } else { &["--out", "c.csv"] };
        said(dir.path(), &[&words, out, more].concat()).expect(2, parts);
        assert_eq!(hashes(dir.path()).unwrap(), before);
    };
    run("f.safetensors", "0", &[], &["k is 0, expected at least 1"]);
    run("f.safetensors", "5", &[], &["5 clusters need at least 5 rows, got 4"]);
    run("f.safetensors", "-1", &[], &["'-1'", "a number of clusters or auto"]);
    run("f.safetensors", "many", &[], &["many", "a number of clusters or auto"]);
    run("f.safetensors", "2", &["--n-init", "0"], &["n_init is 0, expected 1 to 1000"]);
    run("f.safetensors", "2", &["--pca", "3"], &["--pca", "dims is 3 for 4 row(s) x 2 column(s)"]);
    run("nan.safetensors", "2", &[], &["nan.safetensors", "2 of 4 feature row(s)", "[1, 3]", "rows counted from 0"]);
    run("huge.safetensors", "1", &[], &["row 0", "1e300", "scale the features down"]);
    run("cube.safetensors", "2", &[], &["shape [2, 2, 2]", "[N, D]"]);
    run("none.safetensors", "1", &[], &["none.safetensors", "0 row(s)"]);
    run("names.safetensors", "1", &[], &["no tensor `features`", "the file's tensors: pooled"]);
    run("ints.safetensors", "1", &[], &["numbers of type I64", "f16, bf16, f32 or f64"]);
    run("half.safetensors", "2", &[], &["half.safetensors: not a whole safetensors file"]);
    run("missing.safetensors", "2", &[], &["--features", "missing.safetensors"]);
    run("f.safetensors", "2", &["--out", "nan.safetensors/c.csv"], &["--out: nan.safetensors is a file"]);
    run("f.safetensors", "2", &["--out", "f.safetensors"], &["would replace the input f.safetensors"]);
    run("f.safetensors", "2", &["--out", "."], &["--out . is a folder"]);
}

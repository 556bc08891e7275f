//! Which files of a model folder are taken, and what is said about folders that will not do.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{HubCache, ModelFolder, Variant};

fn index() -> Value {
    json!({"_class_name": "StableDiffusionInpaintPipeline", "_diffusers_version": "0.6.0", "safety_checker": [null, null],
        "scheduler": ["diffusers", "DDIMScheduler"], "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"], "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"]})
}

const FILES: [&str; 10] = [
    "scheduler/scheduler_config.json",
    "tokenizer/vocab.json",
    "tokenizer/merges.txt",
    "tokenizer/tokenizer_config.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
];

fn put(folder: &Path, file: &str, text: &str) {
    let path = folder.join(file);
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    fs_err::write(path, text).unwrap();
}

fn remove(folder: &Path, file: &str) {
    fs_err::remove_file(folder.join(file)).unwrap();
}

fn fill(folder: &Path) {
    put(folder, "model_index.json", &index().to_string());
    FILES.iter().for_each(|file| put(folder, file, "{}"));
}

fn model() -> TempDir {
    let folder = TempDir::new().unwrap();
    fill(folder.path());
    folder
}

fn names(paths: &[PathBuf]) -> Vec<&str> {
    paths.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect()
}

fn refusal(folder: &Path) -> String {
    ModelFolder::open(folder, Variant::Full).unwrap_err().to_string()
}

#[test]
fn safetensors_come_first_and_the_variant_decides_among_them() {
    let folder = model();
    let dir = folder.path();
    let unet = |variant| {
        let model = ModelFolder::open(dir, variant).unwrap();
        names(model.unet()).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let (plain, half) = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors");
    assert_eq!(unet(Variant::Half), [plain], "there is no other");
    put(dir, &format!("unet/{half}"), "");
    put(dir, "unet/diffusion_pytorch_model.bin", "");
    assert_eq!((unet(Variant::Full), unet(Variant::Half)), (vec![plain.to_owned()], vec![half.to_owned()]));
    remove(dir, &format!("unet/{plain}"));
    assert_eq!(unet(Variant::Full), ["diffusion_pytorch_model.bin"], "full precision before half");
    remove(dir, "unet/diffusion_pytorch_model.bin");
    assert_eq!(unet(Variant::Full), [half], "a folder with half precision only");

    remove(dir, "text_encoder/model.safetensors");
    put(dir, "text_encoder/pytorch_model.bin", "");
    let model = ModelFolder::open(dir, Variant::Full).unwrap();
    assert_eq!(names(model.text_encoder()), ["pytorch_model.bin"]);
    assert_eq!(names(model.vae()), [plain]);
    assert_eq!((model.path(), model.pipeline()), (dir, "StableDiffusionInpaintPipeline"));
    for path in [model.config("vae"), model.scheduler(), model.tokenizer().join("vocab.json")] {
        assert!(path.is_file(), "{}", path.display());
    }
}

#[test]
fn shards_are_taken_from_their_index() {
    let folder = model();
    let dir = folder.path();
    remove(dir, "unet/diffusion_pytorch_model.safetensors");
    let index = "unet/diffusion_pytorch_model.safetensors.index.json";
    put(dir, index, &json!({"metadata": {}, "weight_map": {"a": "x-2.safetensors", "b": "x-1.safetensors", "c": "x-1.safetensors"}}).to_string());
    put(dir, "unet/x-1.safetensors", "");
    let message = refusal(dir);
    assert!(message.contains("`unet` is missing") && message.contains("unet/x-2.safetensors"), "{message}");
    put(dir, "unet/x-2.safetensors", "");
    assert_eq!(names(ModelFolder::open(dir, Variant::Full).unwrap().unet()), ["x-1.safetensors", "x-2.safetensors"]);
    for damaged in
        ["{}", r#"{"weight_map": {}}"#, r#"{"weight_map": {"a": "../x"}}"#, r#"{"weight_map": {"a": 1}}"#, "["]
    {
        put(dir, index, damaged);
        let message = refusal(dir);
        assert!(message.contains("index.json") && message.contains("download it again"), "{damaged}: {message}");
    }
}

#[test]
fn every_part_that_is_missing_is_named() {
    for file in FILES {
        let folder = model();
        remove(folder.path(), file);
        let message = refusal(folder.path());
        let part = file.split('/').next().unwrap();
        assert!(
            message.contains(&format!("the part `{part}` is missing")) && message.contains(file),
            "{file}: {message}"
        );
        assert!(message.contains("cargo xtask download weights-sd15-inpaint"), "{message}");
    }
    let empty = TempDir::new().unwrap();
    let message = refusal(empty.path());
    assert!(message.contains("no model_index.json") && message.contains("cargo xtask download"), "{message}");
}

#[test]
fn another_kind_of_model_is_refused_by_its_class() {
    for (field, value, found) in [
        ("_class_name", json!("StableDiffusionXLPipeline"), "StableDiffusionXLPipeline"),
        ("_class_name", Value::Null, "null"),
        ("unet", json!(["diffusers", "FluxTransformer2DModel"]), "FluxTransformer2DModel"),
        ("vae", json!(["diffusers", "VQModel"]), "VQModel"),
        ("text_encoder", json!(["transformers", "T5EncoderModel"]), "T5EncoderModel"),
        ("tokenizer", json!([null, null]), "null"),
    ] {
        let folder = model();
        let mut other = index();
        other[field] = value;
        put(folder.path(), "model_index.json", &other.to_string());
        let message = refusal(folder.path());
        assert!(message.contains(&format!("`{field}` is {found}, expected")), "{message}");
        assert!(message.contains("model_index.json"), "{message}");
    }
    let folder = model();
    put(folder.path(), "model_index.json", "{");
    assert!(refusal(folder.path()).contains("not a JSON object"));
}

#[test]
fn a_name_is_looked_up_in_the_cache_and_never_elsewhere() {
    let home = TempDir::new().unwrap();
    let cache = HubCache::at(home.path());
    let find = |name: &str| ModelFolder::find(name, Some(&cache), Variant::Full);
    let repository = home.path().join("models--org--some-model.v1");
    let message = find("org/some-model.v1").unwrap_err().to_string();
    assert!(
        message.contains("models--org--some-model.v1 does not exist") && message.contains("cargo xtask"),
        "{message}"
    );
    put(&repository, "refs/main", "abc123\n");
    assert!(find("org/some-model.v1").is_err(), "a reference to a snapshot that is not there");
    fill(&repository.join("snapshots/abc123"));
    let model = find("org/some-model.v1").unwrap();
    assert_eq!(model.path(), repository.join("snapshots/abc123"));
    assert!(ModelFolder::find("org/some-model.v1", None, Variant::Full).is_err());
    assert_eq!(ModelFolder::find(model.path().to_str().unwrap(), None, Variant::Full).unwrap().unet(), model.unet());
    for name in ["nothing", "../org/some-model.v1", "org/some/model", "/does/not/exist", "", "org/..", "a b/c"] {
        let message = find(name).unwrap_err().to_string();
        assert!(message.starts_with(&format!("no model `{name}`: it is no folder;")), "{message}");
    }
    put(&repository, "refs/main", "../../elsewhere");
    assert!(find("org/some-model.v1").unwrap_err().to_string().contains("not the name of a snapshot"));
}

#[test]
fn the_variables_of_the_cache_count_in_the_order_of_huggingface_hub() {
    let with = |set: &[(&str, &str)]| {
        let cache = HubCache::from_variables(|name| {
            set.iter().find(|(known, _)| *known == name).map(|(_, value)| PathBuf::from(value))
        });
        cache.map(|cache| cache.0)
    };
    let all = [("HF_HUB_CACHE", "/a"), ("HF_HOME", "/b"), ("XDG_CACHE_HOME", "/c"), ("HOME", "/d")];
    for (from, expected) in ["/a", "/b/hub", "/c/huggingface/hub", "/d/.cache/huggingface/hub"].iter().enumerate() {
        assert_eq!(with(&all[from..]), Some(PathBuf::from(expected)));
    }
    assert_eq!(with(&[]), None);
}

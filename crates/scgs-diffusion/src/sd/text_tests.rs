//! The text encoder against transformers, and what it refuses.

use std::path::Path;

use burn::tensor::{Device, Tensor};
use scgs_models::open_tensors;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{TextConfig, TextError};
use crate::sd::Weights;

fn fixture() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/diffusion/text.safetensors")
}

fn values(name: &str) -> (Vec<usize>, Vec<f32>) {
    let tensor = &open_tensors(&fixture()).unwrap()[name];
    (tensor.shape().to_vec(), tensor.read().unwrap())
}

/// The weights of one of the two encoders of the fixture.
fn weights(name: &str) -> Weights {
    let all = open_tensors(&fixture()).unwrap();
    let prefix = format!("{name}/weights/");
    let own = all.iter().filter_map(|(key, tensor)| {
        Some((key.strip_prefix(&prefix)?.to_owned(), tensor.shape().to_vec(), tensor.read().unwrap()))
    });
    Weights::from_values(name, own.collect::<Vec<_>>())
}

/// The three prompts of the fixture.
fn prompts() -> Vec<Vec<u32>> {
    let (shape, ids) = values("ids");
    ids.chunks(shape[1]).map(|row| row.iter().map(|id| *id as u32).collect()).collect()
}

fn config_json() -> Value {
    json!({"architectures": ["CLIPTextModel"], "model_type": "clip_text_model", "vocab_size": 120, "hidden_size": 32,
        "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "max_position_embeddings": 77,
        "layer_norm_eps": 1e-5, "hidden_act": "quick_gelu"})
}

fn read(config: &Value) -> Result<TextConfig, String> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("config.json");
    fs_err::write(&path, config.to_string()).unwrap();
    TextConfig::read(&path).map_err(|error| error.to_string())
}

fn difference(found: Tensor<3>, expected: &str) -> f32 {
    let (shape, expected) = values(expected);
    assert_eq!(found.dims().to_vec(), shape);
    let found = found.into_data().try_to_vec::<f32>().unwrap();
    found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, |a, b| if b.is_nan() { b } else { a.max(b) })
}

#[test]
fn embeddings_equal_those_of_transformers() {
    let device = Device::flex();
    for (name, act) in [("sd1", "quick_gelu"), ("sd2", "gelu")] {
        let mut config = config_json();
        config["hidden_act"] = json!(act);
        let encoder = read(&config).unwrap().init(weights(name), &device).unwrap();
        assert_eq!(encoder.width(), 32);
        for (skip, expected) in [(0, "last"), (1, "skip1"), (2, "skip2")] {
            let found = difference(encoder.encode(&prompts(), skip).unwrap(), &format!("{name}/{expected}"));
            println!("{name} {expected}: {found:e}");
            assert!(found < 2e-5, "{name} {expected}: off by {found:e}");
        }
        // A prompt does not depend on the others.
        let alone = encoder.encode(&prompts()[1..2], 0).unwrap();
        let all = encoder.encode(&prompts(), 0).unwrap().narrow(0, 1, 1);
        assert!((alone - all).abs().max().into_scalar::<f32>() < 1e-5);
    }
}

#[test]
fn the_activations_differ() {
    let encoder = read(&config_json()).unwrap().init(weights("sd2"), &Device::flex()).unwrap();
    let found = difference(encoder.encode(&prompts(), 0).unwrap(), "sd2/last");
    assert!(found > 1e-3, "quick_gelu in place of gelu changes only {found:e}");
}

#[test]
fn what_the_encoder_does_not_have_is_refused() {
    let encoder = read(&config_json()).unwrap().init(weights("sd1"), &Device::flex()).unwrap();
    let refused = |prompts: &[Vec<u32>], skip| encoder.encode(prompts, skip).err().unwrap();
    assert_eq!(refused(&[vec![118, 120]], 0), TextError::Token { id: 120, vocabulary: 120 });
    assert_eq!(refused(&[vec![1; 78]], 0), TextError::Length { found: 78, most: 77 });
    assert_eq!(refused(&[vec![1; 3], vec![1; 2]], 0), TextError::Length { found: 2, most: 77 });
    assert_eq!(refused(&[], 0), TextError::Length { found: 0, most: 77 });
    assert_eq!(refused(&[vec![1]], 4), TextError::ClipSkip { skip: 4, layers: 3 });
    assert!(encoder.encode(&[vec![1]], 3).is_ok());
}

#[test]
fn configurations_that_cannot_be_built_are_refused_by_field() {
    for (field, value) in [
        ("model_type", json!("t5")),
        ("architectures", json!(["CLIPTextModelWithProjection"])),
        ("hidden_act", json!("relu")),
        ("hidden_size", json!(0)),
        ("num_attention_heads", json!(5)),
        ("layer_norm_eps", json!(-1.0)),
        ("vocab_size", json!("many")),
        ("use_attention_mask", json!(true)),
    ] {
        let mut config = config_json();
        config[field] = value.clone();
        let message = read(&config).unwrap_err();
        assert!(message.contains(&format!("`{field}`")) && message.contains("config.json"), "{message}");
    }
    let mut config = config_json();
    config["hidden_size"] = json!(48);
    let message = read(&config).unwrap().init(weights("sd1"), &Device::flex()).unwrap_err().to_string();
    assert!(message.contains("text_model.embeddings.token_embedding.weight"), "{message}");
}

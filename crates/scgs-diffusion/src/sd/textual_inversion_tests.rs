//! Learned words against diffusers, in the forms of four files, and files that are none.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use scgs_models::open_tensors;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Embedding, TOKENS};
use crate::sd::{TextActivation, TextConfig, Tokenizer, Weights};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/diffusion").join(name)
}

fn facts() -> Value {
    serde_json::from_str(&fs_err::read_to_string(fixture("embeddings.json")).unwrap()).unwrap()
}

fn values(name: &str) -> Vec<f32> {
    open_tensors(&fixture("embeddings.safetensors")).unwrap()[name].read().unwrap()
}

fn model() -> (Tokenizer, TextConfig, Weights) {
    let folder = TempDir::new().unwrap();
    let tokens = facts()["vocab"].as_array().unwrap().clone();
    let vocab: serde_json::Map<String, Value> =
        tokens.iter().enumerate().map(|(i, token)| (token.as_str().unwrap().to_owned(), json!(i))).collect();
    let write = |name: &str, text: String| fs_err::write(folder.path().join(name), text).unwrap();
    write("vocab.json", Value::Object(vocab).to_string());
    write("merges.txt", "#version: 0.2\n".into());
    write("tokenizer_config.json", json!({"model_max_length": 16}).to_string());
    let config = TextConfig {
        vocab_size: 60,
        hidden_size: 8,
        intermediate_size: 12,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        max_position_embeddings: 16,
        layer_norm_eps: 1e-5,
        activation: TextActivation::QuickGelu,
    };
    let all = open_tensors(&fixture("embeddings.safetensors")).unwrap();
    let own = all.iter().filter_map(|(name, tensor)| {
        Some((name.strip_prefix("weights/")?.to_owned(), tensor.shape().to_vec(), tensor.read().unwrap()))
    });
    (Tokenizer::open(folder.path()).unwrap(), config, Weights::from_values("test", own.collect::<Vec<_>>()))
}

fn embedding(file: &str) -> Embedding {
    Embedding::read(&fixture(file), None).unwrap()
}

#[test]
fn learned_words_give_the_embeddings_of_diffusers() {
    let (mut tokenizer, mut config, mut weights) = model();
    for (file, token, count) in [
        ("embedding-diffusers.safetensors", "<bird>", 3),
        ("embedding-diffusers.bin", "<sky>", 1),
        ("embedding-a1111.safetensors", "embedding-a1111", 1),
        ("embedding-a1111.pt", "oldstyle", 2),
    ] {
        let embedding = embedding(file);
        assert_eq!((embedding.token(), embedding.count()), (token, count));
        embedding.add_to(&mut tokenizer, &mut config, &mut weights).unwrap();
    }
    let (shape, table) = weights.values(TOKENS).unwrap().unwrap();
    assert_eq!((shape, config.vocab_size, table), (vec![67, 8], 67, values("table")));
    let facts = facts();
    let prompts: Vec<Vec<u32>> =
        facts["prompts"].as_array().unwrap().iter().map(|p| tokenizer.encode(p.as_str().unwrap()).ids).collect();
    let expected: Vec<Vec<u32>> =
        values("ids").chunks(16).map(|row| row.iter().map(|id| *id as u32).collect()).collect();
    assert_eq!(prompts, expected);
    let encoder = config.init(weights, &Device::flex()).unwrap();
    let found = encoder.encode(&prompts, 0).unwrap().into_data().try_to_vec::<f32>().unwrap();
    let expected = values("embeddings");
    assert_eq!(found.len(), expected.len());
    let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    println!("learned words: {worst:e}");
    assert!(worst < 1e-5, "off by {worst:e}");
}

#[test]
fn a_word_can_be_renamed_but_must_be_new() {
    let (mut tokenizer, mut config, mut weights) = model();
    let renamed = Embedding::read(&fixture("embedding-diffusers.bin"), Some("cloud")).unwrap();
    assert_eq!(renamed.token(), "cloud");
    renamed.add_to(&mut tokenizer, &mut config, &mut weights).unwrap();
    let twice = renamed.add_to(&mut tokenizer, &mut config, &mut weights).unwrap_err().to_string();
    assert!(twice.contains("embedding-diffusers.bin") && twice.contains("`cloud` is in the vocabulary"), "{twice}");
}

#[test]
fn embeddings_that_do_not_fit_are_refused() {
    let (mut tokenizer, mut config, mut weights) = model();
    let bird = embedding("embedding-diffusers.safetensors");
    config.hidden_size = 16;
    let message = bird.add_to(&mut tokenizer, &mut config, &mut weights).unwrap_err().to_string();
    assert!(message.contains("have 8 numbers, the text encoder's have 16"), "{message}");
    config.hidden_size = 8;
    weights.set(TOKENS, vec![59, 8], vec![0.0; 59 * 8]);
    let message = bird.add_to(&mut tokenizer, &mut config, &mut weights).unwrap_err().to_string();
    assert!(message.contains("no table") && message.contains("60 tokens"), "{message}");

    let several = Embedding::read(&fixture("text.safetensors"), None).unwrap_err().to_string();
    assert!(several.contains("is this a textual inversion?"), "{several}");
    let folder = TempDir::new().unwrap();
    for (name, file) in [("a.safetensors", "embedding-diffusers.safetensors"), ("a.pt", "embedding-a1111.pt")] {
        let whole = fs_err::read(fixture(file)).unwrap();
        let path = folder.path().join(name);
        for length in [0, 9, whole.len() / 2, whole.len() - 1] {
            fs_err::write(&path, &whole[..length]).unwrap();
            let message = Embedding::read(&path, None).unwrap_err().to_string();
            assert!(message.contains(name), "{length}: {message}");
        }
    }
}

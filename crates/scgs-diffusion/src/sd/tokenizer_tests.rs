//! The tokenizer against transformers' `CLIPTokenizer` on a thousand texts, and damaged folders.

use std::{collections::BTreeMap, io::Read as _, path::Path};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{BYTES, END_OF_WORD, Tokenizer};

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/diffusion").join(name)
}

fn expected() -> Value {
    serde_json::from_str(&fs_err::read_to_string(fixture("tokens.json")).unwrap()).unwrap()
}

/// CLIP's whole vocabulary as a folder, as clip_tokenizer.py writes it. `pad` is that of Stable Diffusion 1 or 2.
pub(crate) fn folder(pad: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    let mut merges = String::new();
    let packed = fs_err::read(fixture("clip-merges.txt.gz")).unwrap();
    flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut merges).unwrap();
    let mut bytes: Vec<char> = BYTES.iter().copied().collect();
    bytes.sort_unstable();
    let mut tokens: Vec<String> = bytes.iter().map(char::to_string).collect();
    tokens.extend(bytes.iter().map(|c| format!("{c}{END_OF_WORD}")));
    tokens.extend(merges.lines().map(|line| line.replace(' ', "")));
    tokens.extend(["<|startoftext|>".into(), "<|endoftext|>".into()]);
    let vocab: BTreeMap<&String, usize> = tokens.iter().zip(0..).collect();
    let write = |name: &str, text: String| fs_err::write(folder.path().join(name), text).unwrap();
    write("vocab.json", serde_json::to_string(&vocab).unwrap());
    write("merges.txt", format!("#version: 0.2\n{merges}\n"));
    let end =
        json!({"content": "<|endoftext|>", "lstrip": false, "normalized": true, "rstrip": false, "single_word": false});
    let special = json!({"bos_token": "<|startoftext|>", "eos_token": end, "unk_token": end, "pad_token": pad});
    write("special_tokens_map.json", special.to_string());
    write("tokenizer_config.json", json!({"model_max_length": 77, "tokenizer_class": "CLIPTokenizer"}).to_string());
    folder
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

#[test]
fn a_thousand_texts_become_the_numbers_of_transformers() {
    let expected = expected();
    let texts = expected["texts"].as_array().unwrap();
    assert_eq!(texts.len(), 1000);
    for (name, pad) in [("sd1", "<|endoftext|>"), ("sd2", "!")] {
        let folder = folder(pad);
        // Files of before transformers 4.34, then those that it writes since.
        for newer in [false, true] {
            if newer {
                for (file, key) in [("tokenizer_config.json", "saved_config"), ("special_tokens_map.json", "saved_map")]
                {
                    fs_err::write(folder.path().join(file), expected[key][name].to_string()).unwrap();
                }
            }
            let tokenizer = Tokenizer::open(folder.path()).unwrap();
            assert_eq!((tokenizer.vocabulary(), tokenizer.length(), tokenizer.end()), (49_408, 77, 49_407));
            let mut wrong = Vec::new();
            for (index, text) in texts.iter().enumerate() {
                let text = text.as_str().unwrap();
                let whole = ids(&expected["ids"][name][index]);
                let found = tokenizer.tokens(text);
                if found != whole[1..whole.len() - 1] {
                    wrong.push(format!("{text:?}: {found:?}, expected {whole:?}"));
                }
                let encoded = tokenizer.encode(text);
                assert_eq!(encoded.ids.len(), 77);
                if encoded.cut.as_deref() != expected["cut"][name][index].as_str() {
                    wrong.push(format!("{text:?}: cut {:?}", encoded.cut));
                }
                if let Some(padded) = expected["padded"][name].get(index) {
                    assert_eq!(encoded.ids, ids(padded), "{text:?}");
                }
            }
            assert!(wrong.is_empty(), "{name}, {} of them:\n{}", wrong.len(), wrong.join("\n"));
        }
    }
}

#[test]
fn the_tokens_of_embeddings_are_those_of_diffusers() {
    let expected = &expected()["embeddings"];
    let folder = folder("<|endoftext|>");
    let mut tokenizer = Tokenizer::open(folder.path()).unwrap();
    for (token, id) in expected["tokens"].as_array().unwrap().iter().zip(ids(&expected["ids"])) {
        assert_eq!(tokenizer.add(token.as_str().unwrap()).unwrap(), id);
    }
    for (index, prompt) in expected["prompts"].as_array().unwrap().iter().enumerate() {
        let encoded = tokenizer.encode(prompt.as_str().unwrap());
        assert_eq!(encoded.ids, ids(&expected["encoded"][index]), "{prompt}");
        assert_eq!(encoded.cut.as_deref(), expected["cut"][index].as_str(), "{prompt}");
    }
    for (token, reason) in [("cat</w>", "already"), ("<bird>", "already"), ("  ", "no character")] {
        let message = tokenizer.add(token).unwrap_err().to_string();
        assert!(message.contains(reason) && message.contains(token), "{message}");
    }
}

#[test]
fn damaged_folders_are_refused_by_file() {
    let cases: [(&str, Option<&str>, &str); 11] = [
        ("vocab.json", None, "vocab.json"),
        ("vocab.json", Some("{\"a\": 0"), "expected an object of tokens"),
        ("vocab.json", Some("{\"a\": 0, \"b\": 0}"), "the same number"),
        ("vocab.json", Some("{\"a\": 0, \"<|endoftext|>\": 1}"), "does not belong to vocab.json"),
        ("merges.txt", None, "merges.txt"),
        ("merges.txt", Some("#version\na b\nc\n"), "line 3: expected two pieces, found `c`"),
        ("tokenizer_config.json", None, "tokenizer_config.json"),
        ("tokenizer_config.json", Some("[1]"), "not a JSON object"),
        ("tokenizer_config.json", Some(r#"{"tokenizer_class": "T5Tokenizer"}"#), "`tokenizer_class` is T5Tokenizer"),
        ("tokenizer_config.json", Some(r#"{"model_max_length": 1}"#), "`model_max_length` is 1"),
        ("special_tokens_map.json", Some(r#"{"pad_token": {"content": "!", "lstrip": true}}"#), "`lstrip`"),
    ];
    let folder = folder("!");
    for (file, text, reason) in cases {
        let path = folder.path().join(file);
        let before = fs_err::read(&path).unwrap();
        match text {
            Some(text) => fs_err::write(&path, text).unwrap(),
            None => fs_err::remove_file(&path).unwrap(),
        }
        let message = Tokenizer::open(folder.path()).unwrap_err().to_string();
        assert!(message.contains(reason), "{file} {text:?}: {message}");
        fs_err::write(&path, before).unwrap();
    }
    assert!(Tokenizer::open(folder.path()).is_ok());
}

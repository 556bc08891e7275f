//! CLIP's byte-pair tokenizer, equal to `CLIPTokenizer` of transformers 4.57 (the Python class that diffusers' Stable
//! Diffusion pipelines load, not `CLIPTokenizerFast`) where `ftfy` is not installed.
//!
//! The two classes differ: the Python one drops invisible characters (the joiners inside of emoji) and sets spaces around CJK
//! characters. With `ftfy` installed it also repairs damaged encodings and straightens curly quotes; that is an
//! option of a Python installation and no part of the model, so it is not done here.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use regex::Regex;
use serde_json::{Map, Value};
use tokenizers::{
    Model as _, NormalizedString,
    models::bpe::{BPE, Vocab},
};

/// The number of merges that CLIP reads, whatever follows in the file.
const MERGES: usize = 49_152 - 256 - 2;

/// The length of a prompt where the folder does not say another.
const LENGTH: usize = 77;

/// Marks the last piece of a word.
const END_OF_WORD: &str = "</w>";

/// How `CLIPTokenizer` cuts text into words; it has been normalised before. The whole pattern ignores case in Python, where
/// the last class then leaves out the one mark that is a letter in capitals, U+0345.
static WORDS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i:<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d)|\p{L}+|\p{N}|[^\s\p{L}\p{N}\x{345}]+")
        .expect("a fixed pattern")
});

/// What is dropped: control, format, private and unassigned characters, and the replacement character.
static INVISIBLE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"[\p{C}\x{FFFD}--\t\n\r]+").expect("a fixed pattern"));

/// What becomes a space.
static BLANK: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"[\p{Zs}\t\n\r]").expect("a fixed pattern"));

/// BERT's blocks of Chinese characters, which become words of their own.
static CHINESE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"[\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{20000}-\x{2A6DF}\x{2A700}-\x{2B73F}\x{2B740}-\x{2B81F}\x{2B820}-\x{2CEAF}\x{F900}-\x{FAFF}\x{2F800}-\x{2FA1F}]",
    )
    .expect("a fixed pattern")
});

/// The printable character that stands for each byte (GPT-2's table).
static BYTES: LazyLock<[char; 256]> = LazyLock::new(|| {
    let mut next = 256;
    std::array::from_fn(|byte| match byte {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => char::from(byte as u8),
        _ => {
            next += 1;
            char::from_u32(next - 1).expect("below the surrogates")
        }
    })
});

/// Why a tokenizer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// Occurs when a file cannot be read. The message of `fs_err` names the path.
    #[error(
        "{0}; the folder `tokenizer` of a model has vocab.json, merges.txt, special_tokens_map.json and tokenizer_config.json"
    )]
    Io(#[from] std::io::Error),
    /// Occurs when a file is not what CLIP's tokenizer has.
    #[error("{}: {reason}; copy or download the model's tokenizer again", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was expected and what was found.
        reason: String,
    },
    /// Occurs when a new token cannot be added.
    #[error("the token `{token}` {reason}; choose another name")]
    Token {
        /// The token.
        token: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// A prompt as numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Start, the prompt's tokens, end and padding: [`Tokenizer::length`] of them.
    pub ids: Vec<u32>,
    /// The end of the prompt that had no room and is not seen by the model. Show it as a warning.
    pub cut: Option<String>,
}

/// A piece of text that stands for itself and is never split.
#[derive(Clone, Debug)]
struct Added {
    text: String,
    id: u32,
    special: bool,
}

/// The tokenizer of one model folder.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    bpe: BPE,
    /// The tokens of vocab.json by number.
    names: HashMap<u32, String>,
    added: Vec<Added>,
    start: u32,
    end: u32,
    pad: u32,
    unknown: u32,
    length: usize,
}

impl Tokenizer {
    /// Reads the folder `tokenizer` of a model.
    ///
    /// # Errors
    /// [`TokenizerError::Io`] or [`TokenizerError::Malformed`].
    pub fn open(folder: &Path) -> Result<Self, TokenizerError> {
        let path = folder.join("vocab.json");
        let malformed = |path: &Path, reason: String| TokenizerError::Malformed { path: path.to_owned(), reason };
        let vocab: HashMap<String, u32> = serde_json::from_str(&fs_err::read_to_string(&path)?)
            .map_err(|error| malformed(&path, format!("expected an object of tokens and their numbers: {error}")))?;
        let names: HashMap<u32, String> = vocab.iter().map(|(token, id)| (*id, token.clone())).collect();
        if names.len() != vocab.len() {
            return Err(malformed(&path, "two tokens have the same number".into()));
        }
        let settings = Settings::read(folder)?;
        let path = folder.join("merges.txt");
        let text = fs_err::read_to_string(&path)?;
        let mut merges = Vec::new();
        // The first line is the version.
        for (number, line) in text.trim().split('\n').enumerate().skip(1).take(MERGES) {
            let mut pair = line.split_whitespace();
            let (Some(left), Some(right), None) = (pair.next(), pair.next(), pair.next()) else {
                return Err(malformed(&path, format!("line {}: expected two pieces, found `{line}`", number + 1)));
            };
            merges.push((left.to_owned(), right.to_owned()));
        }
        let table: Vocab = vocab.into_iter().collect();
        let bpe = BPE::builder()
            .vocab_and_merges(table, merges)
            .end_of_word_suffix(END_OF_WORD.to_owned())
            .unk_token(settings.unknown.clone())
            .build()
            .map_err(|error| malformed(&path, format!("does not belong to vocab.json: {error}")))?;
        let mut tokenizer =
            Self { bpe, names, added: Vec::new(), start: 0, end: 0, pad: 0, unknown: 0, length: settings.length };
        for (text, id) in settings.added {
            let special = settings.special.contains(&text);
            tokenizer.added.push(Added { text, id, special });
        }
        tokenizer.start = tokenizer.special(&settings.start);
        tokenizer.end = tokenizer.special(&settings.end);
        tokenizer.unknown = tokenizer.special(&settings.unknown);
        tokenizer.pad = tokenizer.special(&settings.pad);
        tokenizer.sort();
        Ok(tokenizer)
    }

    /// How many numbers a prompt has: 77.
    pub fn length(&self) -> usize {
        self.length
    }

    /// How many different tokens there are, added ones included.
    pub fn vocabulary(&self) -> usize {
        self.names.len() + self.added.iter().filter(|added| !self.names.contains_key(&added.id)).count()
    }

    /// The number of the end of a text.
    pub fn end(&self) -> u32 {
        self.end
    }

    /// Whether `token` is in the vocabulary or was added.
    pub fn contains(&self, token: &str) -> bool {
        self.id(token).is_some()
    }

    /// Adds a token that stands for itself wherever its text occurs, and gives its number.
    ///
    /// # Errors
    /// [`TokenizerError::Token`] when it is empty or there already.
    pub fn add(&mut self, token: &str) -> Result<u32, TokenizerError> {
        let refused = |reason: &str| Err(TokenizerError::Token { token: token.to_owned(), reason: reason.to_owned() });
        if token.trim().is_empty() {
            return refused("has no character");
        }
        if self.contains(token) {
            return refused("is in the vocabulary already");
        }
        let id = self.vocabulary() as u32;
        self.added.push(Added { text: token.to_owned(), id, special: false });
        self.sort();
        Ok(id)
    }

    /// The numbers of a prompt, cut or padded to [`Tokenizer::length`]. The token of an embedding with several vectors stands
    /// for all of them, as diffusers' `maybe_convert_prompt` has it.
    pub fn encode(&self, prompt: &str) -> Encoded {
        let mut ids = self.tokens(&self.expanded(prompt));
        let room = self.length - 2;
        let cut = (ids.len() > room).then(|| self.decode(&ids[room..]));
        ids.truncate(room);
        ids.insert(0, self.start);
        ids.push(self.end);
        ids.resize(self.length, self.pad);
        Encoded { ids, cut }
    }

    /// The numbers of a text without start, end and padding.
    pub fn tokens(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        let (mut plain, mut rest) = (0, 0);
        while let Some(next) = text[rest..].chars().next() {
            // The longest first.
            match self.added.iter().find(|added| text[rest..].starts_with(&added.text)) {
                Some(added) => {
                    self.words(&text[plain..rest], &mut ids);
                    ids.push(added.id);
                    rest += added.text.len();
                    plain = rest;
                }
                None => rest += next.len_utf8(),
            }
        }
        self.words(&text[plain..], &mut ids);
        ids
    }

    /// The text of some numbers as `batch_decode` writes it, spaces and all.
    pub fn decode(&self, ids: &[u32]) -> String {
        let mut texts = Vec::new();
        let mut pieces = String::new();
        for id in ids {
            match self.added.iter().find(|added| added.id == *id && !added.special) {
                Some(added) => {
                    texts.extend(some_text(&std::mem::take(&mut pieces)));
                    texts.push(added.text.clone());
                }
                None => {
                    let added = || self.added.iter().find(|added| added.id == *id).map(|added| &added.text);
                    pieces.push_str(self.names.get(id).or_else(added).map_or("", String::as_str));
                }
            }
        }
        texts.extend(some_text(&pieces));
        texts.join(" ")
    }

    fn id(&self, token: &str) -> Option<u32> {
        let added = self.added.iter().find(|added| added.text == token).map(|added| added.id);
        added.or_else(|| self.bpe.token_to_id(token))
    }

    /// Makes a token special; it gets a number if it is new.
    fn special(&mut self, token: &str) -> u32 {
        if let Some(known) = self.added.iter_mut().find(|added| added.text == token) {
            known.special = true;
            return known.id;
        }
        let id = self.bpe.token_to_id(token).unwrap_or(self.vocabulary() as u32);
        self.added.push(Added { text: token.to_owned(), id, special: true });
        id
    }

    fn sort(&mut self) {
        self.added.sort_by_key(|added| std::cmp::Reverse(added.text.len()));
    }

    fn expanded(&self, prompt: &str) -> String {
        let mut prompt = prompt.to_owned();
        if self.added.iter().all(|added| added.special) {
            return prompt;
        }
        let found = self.tokens(&prompt);
        for added in self.added.iter().filter(|added| found.contains(&added.id)) {
            let parts = (1..).map(|i| format!("{}_{i}", added.text)).take_while(|part| self.contains(part));
            let replacement = parts.fold(added.text.clone(), |all, part| format!("{all} {part}"));
            prompt = prompt.replace(&added.text, &replacement);
        }
        prompt
    }

    fn words(&self, text: &str, ids: &mut Vec<u32>) {
        for word in WORDS.find_iter(&normalized(text)) {
            let word = word.as_str();
            if let "<|startoftext|>" | "<|endoftext|>" = word {
                ids.push(self.id(word).unwrap_or(self.unknown));
                continue;
            }
            let bytes: String = word.bytes().map(|byte| BYTES[usize::from(byte)]).collect();
            match self.bpe.tokenize(&bytes) {
                Ok(tokens) => ids.extend(tokens.into_iter().map(|token| token.id)),
                // A vocabulary without this character and without a token for the unknown.
                Err(_) => ids.push(self.unknown),
            }
        }
    }
}

/// What BERT's `BasicTokenizer` does with `strip_accents=False, do_split_on_punc=False`.
fn normalized(text: &str) -> String {
    let text = INVISIBLE.replace_all(text, "");
    let text = BLANK.replace_all(&text, " ");
    let text = CHINESE.replace_all(&text, " $0 ");
    let mut composed = NormalizedString::from(text.as_ref());
    composed.nfc();
    let words: Vec<String> = composed.get().split_whitespace().map(str::to_lowercase).collect();
    words.join(" ")
}

/// Bytes written as printable characters, as text again.
fn some_text(pieces: &str) -> Option<String> {
    let byte = |c: char| BYTES.iter().position(|known| *known == c).map(|byte| byte as u8);
    let bytes: Vec<u8> = pieces.chars().filter_map(byte).collect();
    let text = String::from_utf8_lossy(&bytes).replace(END_OF_WORD, " ").trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// What the two JSON files beside the vocabulary say.
struct Settings {
    start: String,
    end: String,
    unknown: String,
    pad: String,
    length: usize,
    /// Tokens with numbers of their own.
    added: Vec<(String, u32)>,
    /// Those of them that are marked as special.
    special: Vec<String>,
}

impl Settings {
    fn read(folder: &Path) -> Result<Self, TokenizerError> {
        let path = folder.join("tokenizer_config.json");
        let mut fields = object(&path)?;
        let malformed = |reason: String| TokenizerError::Malformed { path: path.clone(), reason };
        if let Some(class) = fields.get("tokenizer_class").and_then(Value::as_str)
            && !matches!(class, "CLIPTokenizer" | "CLIPTokenizerFast")
        {
            return Err(malformed(format!("`tokenizer_class` is {class}, expected CLIPTokenizer")));
        }
        let (mut added, mut special) = (Vec::new(), Vec::new());
        match fields.remove("added_tokens_decoder") {
            Some(Value::Object(decoder)) => {
                for (id, token) in decoder {
                    let id = id.parse().map_err(|_| malformed(format!("`{id}` is not the number of a token")))?;
                    let text = content(&token, &malformed)?;
                    if token.get("special") == Some(&Value::Bool(true)) {
                        special.push(text.clone());
                    }
                    added.push((text, id));
                }
            }
            // Files of before transformers 4.34 have it in a file of its own, which then counts more.
            _ => {
                let map = folder.join("special_tokens_map.json");
                if map.exists() {
                    fields.extend(object(&map)?);
                }
            }
        }
        let token = |field: &str, default: &str| match fields.get(field) {
            None | Some(Value::Null) => Ok(default.to_owned()),
            Some(token) => content(token, &malformed),
        };
        // Python writes 1e30 where there is no limit.
        let length = fields.get("model_max_length").and_then(Value::as_f64).unwrap_or(LENGTH as f64);
        if length < 2.0 {
            return Err(malformed(format!("`model_max_length` is {length}, expected at least 2")));
        }
        Ok(Self {
            start: token("bos_token", "<|startoftext|>")?,
            end: token("eos_token", "<|endoftext|>")?,
            unknown: token("unk_token", "<|endoftext|>")?,
            pad: token("pad_token", "<|endoftext|>")?,
            length: if length > 100_000.0 { LENGTH } else { length as usize },
            added,
            special,
        })
    }
}

fn object(path: &Path) -> Result<Map<String, Value>, TokenizerError> {
    serde_json::from_str(&fs_err::read_to_string(path)?).map_err(|error| TokenizerError::Malformed {
        path: path.to_owned(),
        reason: format!("not a JSON object: {error}"),
    })
}

/// The text of a token that is written as text or as an object with options.
fn content(token: &Value, malformed: &impl Fn(String) -> TokenizerError) -> Result<String, TokenizerError> {
    let text = token.as_str().or_else(|| token.get("content").and_then(Value::as_str)).filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| malformed(format!("expected a token, found {token}")))?;
    match ["lstrip", "rstrip", "single_word"].iter().find(|option| token.get(option) == Some(&Value::Bool(true))) {
        Some(option) => Err(malformed(format!("the token {text} has `{option}`, which CLIP's tokens do not have"))),
        None => Ok(text.to_owned()),
    }
}

#[cfg(test)]
#[path = "tokenizer_tests.rs"]
mod tests;

//! Textual inversion (Gal et al. 2022): learned embeddings as new words of the prompt, as diffusers'
//! `load_textual_inversion`.

use std::path::{Path, PathBuf};

use pytorch_reader::{PickleValue, PytorchReader};
use scgs_models::{WeightsError, open_tensors};

use super::{PartError, TextConfig, Tokenizer, TokenizerError, Weights, text::TOKENS};

/// The key of A1111's safetensors files, which have no name inside.
const NAMELESS: &str = "emb_params";

/// The key of the vectors in A1111's PyTorch files.
const VECTORS: &str = "string_to_param.*";

/// Why an embedding cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddingError {
    /// Occurs when the file cannot be read or is damaged, or holds numbers that are not finite.
    #[error(transparent)]
    File(#[from] WeightsError),
    /// Occurs when the text encoder's table cannot be read.
    #[error(transparent)]
    Model(#[from] PartError),
    /// Occurs when the token cannot be added.
    #[error("{}: {source}", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: TokenizerError,
    },
    /// Occurs when a file is no embedding, or one of another text encoder.
    #[error("{}: {reason}", path.display())]
    Unsuitable {
        /// The file.
        path: PathBuf,
        /// What was expected and what was found.
        reason: String,
    },
}

/// A word and its learned vectors.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding {
    path: PathBuf,
    token: String,
    vectors: Vec<Vec<f32>>,
}

impl Embedding {
    /// Reads a `.safetensors` file or PyTorch's `.bin`/`.pt`, in diffusers' form (one tensor, named by its word) or
    /// A1111's. `token` is the word to use in place of the one in the file. A1111's safetensors files have none: there the
    /// file's name without its ending is the word.
    ///
    /// # Errors
    /// [`EmbeddingError::File`] or [`EmbeddingError::Unsuitable`].
    pub fn read(path: &Path, token: Option<&str>) -> Result<Self, EmbeddingError> {
        let unsuitable = |reason: String| EmbeddingError::Unsuitable { path: path.to_owned(), reason };
        let mut tensors = open_tensors(path)?;
        let (name, tensor) = match (tensors.remove(VECTORS), tensors.len()) {
            (Some(tensor), _) => {
                (name_inside(path).ok_or_else(|| unsuitable("there is no `name` in it".into()))?, tensor)
            }
            (None, 1) => tensors.pop_first().expect("there is one"),
            (None, found) => {
                let expected = "expected one tensor, named by the word, or A1111's `string_to_param`";
                return Err(unsuitable(format!("{expected}; found {found} tensors; is this a textual inversion?")));
            }
        };
        let stem = || path.file_stem().map_or_else(|| name.clone(), |stem| stem.to_string_lossy().into_owned());
        let own = if name == NAMELESS { stem() } else { name.clone() };
        let values = tensor.read()?;
        let width = match *tensor.shape() {
            [width] | [_, width] if !values.is_empty() => width,
            _ => {
                return Err(unsuitable(format!(
                    "the tensor `{name}` has the shape {:?}, expected [vectors, width]",
                    tensor.shape()
                )));
            }
        };
        Ok(Self {
            path: path.to_owned(),
            token: token.map_or(own, str::to_owned),
            vectors: values.chunks(width).map(<[f32]>::to_vec).collect(),
        })
    }

    /// The word to write in prompts.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// How many tokens the word stands for.
    pub fn count(&self) -> usize {
        self.vectors.len()
    }

    /// Adds the word to the tokenizer and its vectors to the text encoder, before that is built: `word`, and for further
    /// vectors `word_1`, `word_2` and so on, which [`Tokenizer::encode`] puts in wherever a prompt has the word.
    ///
    /// # Errors
    /// [`EmbeddingError`]: a word that exists, vectors of another width than the encoder's, a tokenizer that does not
    /// belong to the encoder. Let all three go after an error.
    pub fn add_to(
        &self,
        tokenizer: &mut Tokenizer,
        config: &mut TextConfig,
        weights: &mut Weights,
    ) -> Result<(), EmbeddingError> {
        let unsuitable = |reason: String| EmbeddingError::Unsuitable { path: self.path.clone(), reason };
        let width = config.hidden_size;
        if let Some(found) = self.vectors.iter().map(Vec::len).find(|found| *found != width) {
            return Err(unsuitable(format!(
                "its vectors have {found} numbers, the text encoder's have {width}; take an embedding that was made for this model"
            )));
        }
        let known = tokenizer.vocabulary();
        let table =
            weights.values(TOKENS)?.filter(|(shape, _)| shape.len() == 2 && shape[1] == width && shape[0] >= known);
        let Some((_, mut table)) = table else {
            return Err(unsuitable(format!(
                "the text encoder has no table {TOKENS} of {known} tokens or more with {width} numbers each; take tokenizer \
                 and text encoder from one model"
            )));
        };
        // Rows beyond the tokenizer's are padding that no prompt can name.
        table.truncate(known * width);
        let numbered = (1..self.vectors.len()).map(|i| format!("{}_{i}", self.token));
        for (token, vector) in [self.token.clone()].into_iter().chain(numbered).zip(&self.vectors) {
            tokenizer.add(&token).map_err(|source| EmbeddingError::Token { path: self.path.clone(), source })?;
            table.extend(vector);
        }
        config.vocab_size = tokenizer.vocabulary();
        weights.set(TOKENS, vec![config.vocab_size, width], table);
        Ok(())
    }
}

/// The word in a file of A1111, which is plain text beside the tensors. The file has been checked before.
fn name_inside(path: &Path) -> Option<String> {
    let PickleValue::Dict(entries) = PytorchReader::read_pickle_data(path, None).ok()? else { return None };
    match entries.get("name") {
        Some(PickleValue::String(name)) => Some(name.clone()),
        _ => None,
    }
}

#[cfg(test)]
#[path = "textual_inversion_tests.rs"]
mod tests;

//! CLIP's text encoder (Radford et al. 2021), equal to `CLIPTextModel` of transformers 4.57.

use std::path::Path;

use burn::{
    module::{Module, Param},
    tensor::{Device, Int, Tensor, TensorData, activation, module, ops::AttentionModuleOptions},
};
use serde_json::json;

use super::{
    ConfigError, Part, PartError, Weights,
    config::Fields,
    layers::{LayerNorm, Linear, full},
};

/// The largest extent that is believed; that of published models is 4096, vocabularies apart.
const MOST: usize = 1 << 16;

/// The table of token embeddings in a file of weights.
pub(super) const TOKENS: &str = "text_model.embeddings.token_embedding.weight";

/// Why prompts cannot be encoded.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TextError {
    /// Occurs when a token is not one of the encoder's.
    #[error(
        "the token {id} is not one of the text encoder's {vocabulary}; take tokenizer and text encoder from one model"
    )]
    Token {
        /// The token's number.
        id: u32,
        /// How many tokens the encoder has.
        vocabulary: usize,
    },
    /// Occurs when prompts have different lengths, none or more tokens than the encoder has places.
    #[error("a prompt has {found} tokens; all must have the same number, from 1 to {most}")]
    Length {
        /// The length.
        found: usize,
        /// The largest length.
        most: usize,
    },
    /// Occurs when more layers are to be skipped than there are.
    #[error("{skip} layers of the text encoder cannot be skipped, it has {layers}")]
    ClipSkip {
        /// How many layers were to be skipped.
        skip: usize,
        /// How many there are.
        layers: usize,
    },
}

/// The activation inside of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextActivation {
    /// `x sigmoid(1.702 x)`: OpenAI's CLIP, Stable Diffusion 1.
    QuickGelu,
    /// The exact Gaussian error linear unit: OpenCLIP, Stable Diffusion 2.
    Gelu,
}

/// The `config.json` of a text encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct TextConfig {
    /// How many tokens there are; 49,408 without added ones.
    pub vocab_size: usize,
    /// The width of an embedding: 768 (Stable Diffusion 1) or 1024 (2).
    pub hidden_size: usize,
    /// The width inside of a layer.
    pub intermediate_size: usize,
    /// How many layers are computed. Stable Diffusion 2 leaves out the last one of its encoder: 23.
    pub num_hidden_layers: usize,
    /// How many heads attention has; a divisor of the width.
    pub num_attention_heads: usize,
    /// The longest prompt: 77 tokens.
    pub max_position_embeddings: usize,
    /// What layer norms add to the variance.
    pub layer_norm_eps: f64,
    /// The activation.
    pub activation: TextActivation,
}

impl TextConfig {
    /// Reads the `config.json` at `path`.
    ///
    /// # Errors
    /// [`ConfigError`]: no such file, another kind of network, or a value that this crate cannot build.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let fields = Fields::read(path, "CLIPTextModel")?;
        fields.only("model_type", &[json!("clip_text_model")])?;
        fields.only("architectures", &[json!(["CLIPTextModel"])])?;
        fields.only("use_attention_mask", &[json!(false)])?;
        let activation = match fields.get("hidden_act", "quick_gelu".to_owned(), "quick_gelu or gelu")?.as_str() {
            "quick_gelu" => TextActivation::QuickGelu,
            "gelu" => TextActivation::Gelu,
            _ => return Err(fields.refuse("hidden_act", "quick_gelu or gelu")),
        };
        let layer_norm_eps: f64 = fields.get("layer_norm_eps", 1e-5, "a positive number")?;
        if layer_norm_eps.is_nan() || layer_norm_eps <= 0.0 {
            return Err(fields.refuse("layer_norm_eps", "a positive number"));
        }
        let config = Self {
            vocab_size: fields.count("vocab_size", 49_408, 1 << 24)?,
            hidden_size: fields.count("hidden_size", 512, MOST)?,
            intermediate_size: fields.count("intermediate_size", 2048, MOST)?,
            num_hidden_layers: fields.count("num_hidden_layers", 12, 1000)?,
            num_attention_heads: fields.count("num_attention_heads", 8, MOST)?,
            max_position_embeddings: fields.count("max_position_embeddings", 77, MOST)?,
            layer_norm_eps,
            activation,
        };
        if !config.hidden_size.is_multiple_of(config.num_attention_heads) {
            return Err(
                fields.refuse("num_attention_heads", &format!("a divisor of hidden_size, {}", config.hidden_size))
            );
        }
        Ok(config)
    }

    /// Builds the encoder from its weights.
    ///
    /// # Errors
    /// [`PartError`]: tensors that are missing, unexpected, of another shape or not finite, damaged files.
    pub fn init(&self, weights: Weights, device: &Device) -> Result<TextEncoder, PartError> {
        weights.build(device, |part| TextEncoder::new(self, part.at("text_model")))
    }
}

/// The text encoder of Stable Diffusion.
#[derive(Module, Debug)]
pub struct TextEncoder {
    tokens: Param<Tensor<2>>,
    positions: Param<Tensor<2>>,
    layers: Vec<Layer>,
    last_norm: LayerNorm,
}

impl TextEncoder {
    fn new(config: &TextConfig, mut part: Part<'_>) -> Self {
        let (width, epsilon) = (config.hidden_size, config.layer_norm_eps);
        Self {
            tokens: part.tensor("embeddings.token_embedding.weight", [config.vocab_size, width]),
            positions: part.tensor("embeddings.position_embedding.weight", [config.max_position_embeddings, width]),
            layers: (0..config.num_hidden_layers)
                .map(|index| Layer::new(config, part.at(format!("encoder.layers.{index}"))))
                .collect(),
            last_norm: LayerNorm::new(part.at("final_layer_norm"), width, epsilon),
        }
    }

    /// The embeddings `[N, L, width]` of `N` prompts of `L` tokens each, which condition the UNet.
    ///
    /// With `clip_skip` that many of the last layers are left out, as with diffusers' option of this name; the last norm
    /// is applied anyhow.
    ///
    /// # Errors
    /// [`TextError`]: a token that the encoder does not have, prompts of different lengths, too large a `clip_skip`.
    pub fn encode(&self, prompts: &[Vec<u32>], clip_skip: usize) -> Result<Tensor<3>, TextError> {
        let ([vocabulary, width], [most, _]) = (self.tokens.val().dims(), self.positions.val().dims());
        let layers = self.layers.len();
        if clip_skip > layers {
            return Err(TextError::ClipSkip { skip: clip_skip, layers });
        }
        let length = prompts.first().map_or(0, Vec::len);
        if let Some(found) =
            [length].into_iter().chain(prompts.iter().map(Vec::len)).find(|l| *l != length || *l == 0 || *l > most)
        {
            return Err(TextError::Length { found, most });
        }
        let ids: Vec<i32> = prompts.iter().flatten().map(|id| *id as i32).collect();
        if let Some(id) = prompts.iter().flatten().find(|id| **id as usize >= vocabulary) {
            return Err(TextError::Token { id: *id, vocabulary });
        }
        let count = ids.len();
        let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [count]), &self.tokens.val().device());
        let tokens: Tensor<3> = full(self.tokens.val().select(0, ids)).reshape([prompts.len(), length, width]);
        let positions = full(self.positions.val().narrow(0, 0, length)).unsqueeze::<3>();
        let hidden = self.layers[..layers - clip_skip].iter().fold(tokens + positions, |x, layer| layer.forward(x));
        Ok(self.last_norm.forward(hidden))
    }

    /// How many numbers an embedding has.
    pub fn width(&self) -> usize {
        self.tokens.val().dims()[1]
    }
}

/// Attention of every token to those before it, then two linear maps.
#[derive(Module, Debug)]
struct Layer {
    norm1: LayerNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    heads: usize,
    quick: bool,
}

impl Layer {
    fn new(config: &TextConfig, mut part: Part<'_>) -> Self {
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        let mut square = |name: &str| Linear::new(part.at(format!("self_attn.{name}")), [width; 2]);
        let (query, key, value, output) = (square("q_proj"), square("k_proj"), square("v_proj"), square("out_proj"));
        Self {
            norm1: LayerNorm::new(part.at("layer_norm1"), width, config.layer_norm_eps),
            query,
            key,
            value,
            output,
            norm2: LayerNorm::new(part.at("layer_norm2"), width, config.layer_norm_eps),
            fc1: Linear::new(part.at("mlp.fc1"), [width, inner]),
            fc2: Linear::new(part.at("mlp.fc2"), [inner, width]),
            heads: config.num_attention_heads,
            quick: config.activation == TextActivation::QuickGelu,
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, length, width] = x.dims();
        let normed = self.norm1.forward(x.clone());
        let split = |linear: &Linear| {
            let y = linear.forward(normed.clone());
            y.reshape([batch, length, self.heads, width / self.heads]).swap_dims(1, 2)
        };
        let options = AttentionModuleOptions { is_causal: true, ..Default::default() };
        let attended = module::attention(split(&self.query), split(&self.key), split(&self.value), None, None, options);
        let x = x + self.output.forward(attended.swap_dims(1, 2).reshape([batch, length, width]));
        let inner = self.fc1.forward(self.norm2.forward(x.clone()));
        let inner = if self.quick {
            inner.clone() * activation::sigmoid(inner.mul_scalar(1.702))
        } else {
            activation::gelu(inner)
        };
        x + self.fc2.forward(inner)
    }
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;

//! diffusers' `Transformer2DModel`: every pixel looks at every other pixel, and at the text.

use burn::{
    module::Module,
    tensor::{Tensor, activation},
};

use super::Guide;
use crate::sd::{
    Part,
    attention::Attention,
    layers::{GroupNorm, LayerNorm, Linear},
};

/// How a [`Transformer`] is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct TransformerShape {
    pub(super) channels: usize,
    pub(super) heads: usize,
    pub(super) layers: usize,
    /// Width of the text embedding.
    pub(super) context: usize,
    pub(super) groups: usize,
    /// Whether the outer projections are stored as linear layers.
    pub(super) linear: bool,
}

/// A stack of transformer layers over the pixels of a map, with a way around it.
#[derive(Module, Debug)]
pub(super) struct Transformer {
    norm: GroupNorm,
    proj_in: Linear,
    transformer_blocks: Vec<Block>,
    proj_out: Linear,
}

impl Transformer {
    pub(super) fn new(mut part: Part<'_>, shape: TransformerShape) -> Self {
        let square = [shape.channels; 2];
        let project = if shape.linear { Linear::new } else { Linear::of_convolution };
        Self {
            norm: GroupNorm::new(part.at("norm"), shape.channels, shape.groups, 1e-6),
            proj_in: project(part.at("proj_in"), square),
            transformer_blocks: (0..shape.layers)
                .map(|i| Block::new(part.at(format_args!("transformer_blocks.{i}")), shape))
                .collect(),
            proj_out: project(part.at("proj_out"), square),
        }
    }

    /// `[N, C, H, W]` to the same shape.
    pub(super) fn forward(&self, x: Tensor<4>, guide: &Guide) -> Tensor<4> {
        let [batch, channels, height, width] = x.dims();
        let tokens = self.norm.forward(x.clone()).reshape([batch, channels, height * width]).swap_dims(1, 2);
        let mut h = self.proj_in.forward(tokens);
        for block in &self.transformer_blocks {
            h = block.forward(h, guide);
        }
        self.proj_out.forward(h).swap_dims(1, 2).reshape([batch, channels, height, width]) + x
    }
}

/// diffusers' `BasicTransformerBlock`.
#[derive(Module, Debug)]
struct Block {
    norm1: LayerNorm,
    attn1: Attention,
    norm2: LayerNorm,
    attn2: Attention,
    norm3: LayerNorm,
    gate: Linear,
    out: Linear,
}

impl Block {
    fn new(mut part: Part<'_>, shape: TransformerShape) -> Self {
        let (width, inner) = (shape.channels, 4 * shape.channels);
        let mut norm = |name: &str| LayerNorm::new(part.at(name), width, 1e-5);
        let (norm1, norm2, norm3) = (norm("norm1"), norm("norm2"), norm("norm3"));
        Self {
            norm1,
            attn1: Attention::new(part.at("attn1"), width, width, shape.heads),
            norm2,
            attn2: Attention::new(part.at("attn2"), width, shape.context, shape.heads),
            norm3,
            gate: Linear::new(part.at("ff.net.0.proj"), [width, 2 * inner]),
            out: Linear::new(part.at("ff.net.2"), [inner, width]),
        }
    }

    /// `[N, L, C]` to the same shape.
    fn forward(&self, x: Tensor<3>, guide: &Guide) -> Tensor<3> {
        let x = self.attn1.forward(self.norm1.forward(x.clone()), None, guide.heads_at_once) + x;
        let text = Some(guide.text.clone());
        let x = self.attn2.forward(self.norm2.forward(x.clone()), text, guide.heads_at_once) + x;
        // GEGLU (Shazeer 2020): one half of the projection gates the other.
        let [h, gate]: [Tensor<3>; 2] =
            self.gate.forward(self.norm3.forward(x.clone())).chunk(2, 2).try_into().expect("2");
        self.out.forward(h * activation::gelu(gate)) + x
    }
}

//! Attention as in diffusers' `Attention`: several heads over tokens, to themselves or to a text.

use burn::{module::Module, tensor::Tensor};
use scgs_models::attention;

use super::{Part, layers::Linear};

/// Scaled dot-product attention with projections.
#[derive(Module, Debug)]
pub(crate) struct Attention {
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
    heads: usize,
}

impl Attention {
    /// Of tokens of `width` to a context of `context` numbers each, without biases in the projections of query, key and
    /// value.
    pub(crate) fn new(mut part: Part<'_>, width: usize, context: usize, heads: usize) -> Self {
        Self {
            to_q: Linear::without_bias(part.at("to_q"), [width; 2]),
            to_k: Linear::without_bias(part.at("to_k"), [context, width]),
            to_v: Linear::without_bias(part.at("to_v"), [context, width]),
            to_out: Linear::new(part.at("to_out.0"), [width; 2]),
            heads,
        }
    }

    /// Of tokens to themselves with one head and biases everywhere: the attention of the VAE.
    pub(crate) fn single(mut part: Part<'_>, width: usize) -> Self {
        let mut linear = |name: &str| Linear::new(part.at(name), [width; 2]);
        Self { to_q: linear("to_q"), to_k: linear("to_k"), to_v: linear("to_v"), to_out: linear("to_out.0"), heads: 1 }
    }

    /// `x: [N, L, width]`; `context: [N, M, context]`, or nothing for attention to itself. Heads are computed
    /// `at_once` at a time, 0 for all together; fewer need less memory on devices whose attention is not fused.
    pub(crate) fn forward(&self, x: Tensor<3>, context: Option<Tensor<3>>, at_once: usize) -> Tensor<3> {
        let [batch, length, width] = x.dims();
        let context = context.unwrap_or_else(|| x.clone());
        let split = |x: Tensor<3>| {
            let [_, length, _] = x.dims();
            x.reshape([batch, length, self.heads, width / self.heads]).swap_dims(1, 2)
        };
        let query = split(self.to_q.forward(x));
        let key = split(self.to_k.forward(context.clone()));
        let value = split(self.to_v.forward(context));
        let heads = if (1..self.heads).contains(&at_once) {
            let parts = query
                .split(at_once, 1)
                .into_iter()
                .zip(key.split(at_once, 1))
                .zip(value.split(at_once, 1))
                .map(|((q, k), v)| attention(q, k, v));
            Tensor::cat(parts.collect(), 1)
        } else {
            attention(query, key, value)
        };
        self.to_out.forward(heads.swap_dims(1, 2).reshape([batch, length, width]))
    }
}

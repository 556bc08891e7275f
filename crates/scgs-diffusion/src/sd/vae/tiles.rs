//! Pictures in overlapping tiles, with diffusers' sizes and blending.

use burn::tensor::{Tensor, TensorData};

/// Share of a tile that the next one repeats.
const OVERLAP: f64 = 0.25;

/// `picture: [1, 3, H, W]` through `encode`, tile by tile.
pub(super) fn encode(
    tile: usize,
    scale: usize,
    picture: Tensor<4>,
    encode: impl Fn(Tensor<4>) -> Tensor<4>,
) -> Tensor<4> {
    through(tile, tile / scale, picture, encode)
}

/// `latents: [1, C, h, w]` through `decode`, tile by tile.
pub(super) fn decode(
    tile: usize,
    scale: usize,
    latents: Tensor<4>,
    decode: impl Fn(Tensor<4>) -> Tensor<4>,
) -> Tensor<4> {
    through(tile / scale, tile, latents, decode)
}

/// Tiles of side `size` of `x`, each of which becomes a tile of side `out`. Neighbours fade into each other.
fn through(size: usize, out: usize, x: Tensor<4>, each: impl Fn(Tensor<4>) -> Tensor<4>) -> Tensor<4> {
    let [_, _, height, width] = x.dims();
    let step = ((size as f64 * (1.0 - OVERLAP)) as usize).max(1);
    let blend = (out as f64 * OVERLAP) as usize;
    let limit = out - blend;
    let mut above: Vec<Tensor<4>> = Vec::new();
    let mut rows = Vec::new();
    for top in (0..height).step_by(step) {
        let mut row: Vec<Tensor<4>> = Vec::new();
        let mut shown = Vec::new();
        for (column, left) in (0..width).step_by(step).enumerate() {
            let (bottom, right) = ((top + size).min(height), (left + size).min(width));
            let mut tile = each(x.clone().slice([0..1, 0..x.dims()[1], top..bottom, left..right]));
            if let Some(above) = above.get(column) {
                tile = fade(above, tile, blend, 2);
            }
            if let Some(left) = row.last() {
                tile = fade(left, tile, blend, 3);
            }
            shown.push(corner(tile.clone(), limit));
            // diffusers blends in place: later neighbours see the blended tile.
            row.push(tile);
        }
        rows.push(Tensor::cat(shown, 3));
        above = row;
    }
    Tensor::cat(rows, 2)
}

fn corner(tile: Tensor<4>, limit: usize) -> Tensor<4> {
    let [n, c, height, width] = tile.dims();
    tile.slice([0..n, 0..c, 0..height.min(limit), 0..width.min(limit)])
}

/// The first `extent` lines of `tile` along `dim` fade in from the last ones of `before`.
fn fade(before: &Tensor<4>, tile: Tensor<4>, extent: usize, dim: usize) -> Tensor<4> {
    let (from, length) = (before.dims()[dim], tile.dims()[dim]);
    let extent = extent.min(from).min(length);
    if extent == 0 {
        return tile;
    }
    let weights: Vec<f32> = (0..extent).map(|i| (i as f64 / extent as f64) as f32).collect();
    let rest: Vec<f32> = (0..extent).map(|i| (1.0 - i as f64 / extent as f64) as f32).collect();
    let mut shape = [1; 4];
    shape[dim] = extent;
    let line = |values: Vec<f32>| Tensor::<4>::from_data(TensorData::new(values, shape), &tile.device());
    let (weights, rest) = (line(weights), line(rest));
    let start = before.clone().narrow(dim, from - extent, extent);
    let blended = start * rest + tile.clone().narrow(dim, 0, extent) * weights;
    if extent == length {
        return blended;
    }
    Tensor::cat(vec![blended, tile.narrow(dim, extent, length - extent)], dim)
}

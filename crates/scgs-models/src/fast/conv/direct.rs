//! Convolution with larger kernels without a column matrix, which would be as many times larger than the input as the
//! kernel has elements.
//!
//! A tile of the input is copied once into planes that are padded with zeros, their columns sorted by the remainder modulo
//! the stride. What a kernel element contributes to a vector of outputs is then one run of numbers, at a fixed distance. So
//! that small maps fill vectors too, the planes hold some images side by side: `[channel, row, remainder, column, image]`.
//! The products are summed in registers ([`super::block`]), always in the order of the weights: how many images lie side
//! by side moves no bit. For processors with AVX-512; others take matrix products for these convolutions too.

use std::ops::Range;

use rayon::prelude::*;

use super::{
    block::{self, BLOCK, CHANNELS, Operands, Taps, VECTORS, WIDTH},
    kernel::{JOBS, Output, added},
    tiles::Geometry,
};
use crate::fast::{
    product::with_buffer,
    simd::{LANES, has_avx512},
};

/// Numbers in a tile of planes: 1 MiB, which is read again for every few output channels.
const PLANES_LIMIT: usize = 1 << 18;

/// How input planes lie in a buffer.
#[derive(Clone, Copy)]
pub(super) struct Planes {
    g: Geometry,
    /// Images side by side.
    together: usize,
}

/// Rows of output of some images.
struct Tile {
    images: Range<usize>,
    rows: Range<usize>,
}

impl Planes {
    /// The layout for a convolution, if it has one. Whether it has must not depend on the number of images: another way
    /// rounds differently, and pictures are the same in a batch of any size.
    pub(super) fn of(g: Geometry) -> Option<Self> {
        if g.depthwise || g.kernel == [1, 1] || !has_avx512() {
            return None;
        }
        let planes = [1, 2, 4, 8, LANES].map(|together| Self { g, together });
        let possible = planes.into_iter().filter(|planes| planes.together <= g.images);
        possible.reduce(|best, other| if other.filled() > 1.02 * best.filled() { other } else { best })
    }

    /// The layout for a gradient of the weights: a tile must have many vectors, since each of its sums is a sum over lanes
    /// in the end.
    pub(super) fn for_weights(g: Geometry) -> Option<Self> {
        Self::of(g).filter(|planes| {
            let tile = &planes.tiles()[0];
            tile.rows.len() * planes.vectors() >= 48 && planes.filled() > 0.6
        })
    }

    /// The share of a map's blocks that is output.
    fn filled(&self) -> f64 {
        let blocks = (self.vectors() * self.g.output[0]).div_ceil(VECTORS);
        (self.g.positions() * self.together) as f64 / (blocks * VECTORS * LANES) as f64
    }

    /// Numbers of one row with the same remainder.
    fn part(&self) -> usize {
        (self.g.output[1] + (self.g.kernel[1] - 1) / self.g.stride[1]) * self.together
    }

    /// Numbers between rows of a plane.
    fn pitch(&self) -> usize {
        self.part() * self.g.stride[1]
    }

    /// Vectors of one row of output.
    fn vectors(&self) -> usize {
        (self.g.output[1] * self.together).div_ceil(LANES)
    }

    /// Input rows under some output rows.
    fn input_rows(&self, rows: usize) -> usize {
        (rows - 1) * self.g.stride[0] + self.g.kernel[0]
    }

    fn plane(&self, tile: &Tile) -> usize {
        self.input_rows(tile.rows.len()) * self.pitch()
    }

    /// Numbers of the buffer of a tile. Vectors go beyond the last row's end.
    fn buffer_len(&self, tile: &Tile) -> usize {
        self.g.channels * self.plane(tile) + self.vectors() * LANES
    }

    fn tiles(&self) -> Vec<Tile> {
        let g = &self.g;
        let row = g.channels * self.pitch();
        let limit = ((PLANES_LIMIT / row).saturating_sub(g.kernel[0]) / g.stride[0] + 1).max(2);
        // About equally high, and enough of them for several threads.
        let groups = g.images.div_ceil(self.together);
        let parts = g.output[0].div_ceil(limit).max((JOBS / groups).min(g.output[0] / 4)).max(1);
        let rows = g.output[0].div_ceil(parts);
        let mut tiles = Vec::new();
        for first in (0..g.images).step_by(self.together) {
            for top in (0..g.output[0]).step_by(rows) {
                let images = first..(first + self.together).min(g.images);
                tiles.push(Tile { images, rows: top..(top + rows).min(g.output[0]) });
            }
        }
        tiles
    }

    /// Copies the input under a tile into its buffer.
    fn gather(&self, x: &[f32], tile: &Tile, buffer: &mut [f32]) {
        let g = &self.g;
        let (height, top, plane) = (g.input[0], g.padding[0], self.plane(tile));
        // What is read behind the end is multiplied by 0, which NaN would survive.
        buffer[g.channels * plane..].fill(0.0);
        for (channel, plane) in buffer.chunks_exact_mut(plane).take(g.channels).enumerate() {
            for (row, target) in plane.chunks_exact_mut(self.pitch()).enumerate() {
                match (tile.rows.start * g.stride[0] + row).checked_sub(top).filter(|&y| y < height) {
                    Some(y) => self.gather_row(|image| (image * g.channels + channel) * height + y, x, tile, target),
                    None => target.fill(0.0),
                }
            }
        }
    }

    /// One row of a plane; `row` is asked for an image's row in `x`.
    fn gather_row(&self, row: impl Fn(usize) -> usize, x: &[f32], tile: &Tile, target: &mut [f32]) {
        let (together, stride, width, left) = (self.together, self.g.stride[1], self.g.input[1], self.g.padding[1]);
        for (remainder, target) in target.chunks_exact_mut(self.part()).enumerate() {
            // Columns c with left <= c * stride + remainder < left + width.
            let end = (left + width).saturating_sub(remainder).div_ceil(stride).min(target.len() / together);
            let first = left.saturating_sub(remainder).div_ceil(stride).min(end);
            target[..first * together].fill(0.0);
            target[end * together..].fill(0.0);
            let target = &mut target[first * together..end * together];
            if target.is_empty() {
                continue;
            }
            if tile.images.len() < together {
                target.fill(0.0);
            }
            for (lane, image) in tile.images.clone().enumerate() {
                let source = &x[row(image) * width..][..width][first * stride + remainder - left..];
                if together == 1 && stride == 1 {
                    target.copy_from_slice(&source[..target.len()]);
                } else {
                    let target = target[lane..].iter_mut().step_by(together);
                    target.zip(source.iter().step_by(stride)).for_each(|(to, &from)| *to = from);
                }
            }
        }
    }

    /// Copies the output's gradient at a tile: `[channels, rows, vectors, LANES]`, zeros where there is no output.
    fn gather_output(&self, dy: &[f32], tile: &Tile, buffer: &mut [f32]) {
        let (g, together) = (&self.g, self.together);
        let (width, row) = (g.output[1], self.vectors() * LANES);
        buffer.fill(0.0);
        for (channel, rows) in buffer.chunks_exact_mut(tile.rows.len() * row).take(g.channels_out).enumerate() {
            for (y, target) in tile.rows.clone().zip(rows.chunks_exact_mut(row)) {
                for (lane, image) in tile.images.clone().enumerate() {
                    let source = &dy[image * g.output_len() + channel * g.positions() + y * width..][..width];
                    let target = target[lane..].iter_mut().step_by(together);
                    target.zip(source).for_each(|(to, &from)| *to = from);
                }
            }
        }
    }

    /// Adds what a tile contributes to the gradient of the weights, `[O, depth]`.
    fn add_products(&self, tile: &Tile, input: &[f32], output: &[f32], sum: &mut [f32]) {
        let (depth, taps) = (self.g.depth(), self.taps(tile));
        let places: Vec<usize> = (0..tile.rows.len() * self.vectors()).map(|v| self.place(v)).collect();
        let row = places.len() * LANES;
        let outputs = output.chunks_exact(CHANNELS * row);
        for (dy, sum) in outputs.zip(sum.chunks_mut(CHANNELS * depth)) {
            for first in (0..depth).step_by(VECTORS) {
                let mut made = [[0.0; VECTORS]; CHANNELS];
                block::correlate(dy, input, &places, taps.some(first), &mut made);
                for (sum, made) in sum.chunks_exact_mut(depth).zip(&made) {
                    sum[first..].iter_mut().zip(made).for_each(|(sum, made)| *sum += made);
                }
            }
        }
    }

    /// How far from its output's place a number of the input lies that each row of the weights multiplies.
    fn taps(&self, tile: &Tile) -> Taps {
        let ([kh, kw], stride, plane) = (self.g.kernel, self.g.stride[1], self.plane(tile));
        let column = |kx: usize| kx % stride * self.part() + kx / stride * self.together;
        let distance = |d: usize| d / (kh * kw) * plane + d / kw % kh * self.pitch() + column(d % kw);
        Taps::new((0..self.g.depth()).map(distance).collect())
    }

    /// Where vector `v` of a tile begins in a plane.
    fn place(&self, v: usize) -> usize {
        v / self.vectors() * self.g.stride[0] * self.pitch() + v % self.vectors() * LANES
    }
}

/// Weights `[O, depth]` as `[O / CHANNELS, depth, CHANNELS]`, zeros where there is no channel.
pub(super) fn pack(weight: &[f32], channels: usize, depth: usize) -> Vec<f32> {
    let mut packed = vec![0.0; channels.div_ceil(CHANNELS) * depth * CHANNELS];
    packed.par_chunks_mut(depth * CHANNELS).zip(weight.par_chunks(CHANNELS * depth)).for_each(|(packed, weight)| {
        for (m, row) in weight.chunks_exact(depth).enumerate() {
            packed[m..].iter_mut().step_by(CHANNELS).zip(row).for_each(|(to, &from)| *to = from);
        }
    });
    packed
}

/// Weights `[O, C, kernel]` as those of the convolution that makes the input's gradient from the output's, in the layout of
/// [`pack`]: the channels change places and the kernels are turned by half a circle.
pub(super) fn pack_turned(weight: &[f32], outputs: usize, channels: usize, kernel: usize) -> Vec<f32> {
    let mut packed = vec![0.0; channels.div_ceil(CHANNELS) * outputs * kernel * CHANNELS];
    packed.par_chunks_mut(outputs * kernel * CHANNELS).enumerate().for_each(|(block, packed)| {
        let first = block * CHANNELS;
        let some = CHANNELS.min(channels - first);
        let rows = weight.chunks_exact(channels * kernel);
        for (packed, row) in packed.chunks_exact_mut(kernel * CHANNELS).zip(rows) {
            for (m, row) in row[first * kernel..][..some * kernel].chunks_exact(kernel).enumerate() {
                packed[m..].iter_mut().step_by(CHANNELS).zip(row.iter().rev()).for_each(|(to, &from)| *to = from);
            }
        }
    });
    packed
}

/// `[N, O, h, w]`, of weights from [`pack`].
pub(super) fn forward(planes: Planes, x: &[f32], weights: &[f32], bias: &[f32]) -> Vec<f32> {
    let g = planes.g;
    let length = g.images * g.output_len();
    let mut y: Vec<f32> = Vec::with_capacity(length);
    let output = Output::of(y.as_mut_ptr());
    let blocks = 0..g.channels_out.div_ceil(CHANNELS);
    let tiles = planes.tiles();
    let gathered = |tile: &Tile, use_it: &(dyn Fn(&[f32], &Taps) + Sync)| {
        with_buffer(0, planes.buffer_len(tile), |buffer| {
            planes.gather(x, tile, buffer);
            use_it(buffer, &planes.taps(tile));
        });
    };
    let make = |tile: &Tile, block: usize, input: &[f32], taps: &Taps| {
        let depth = g.depth();
        let weights = &weights[block * depth * CHANNELS..][..depth * CHANNELS];
        // SAFETY: no two jobs have both a tile and a channel in common.
        unsafe { write_block(planes, tile, block, Operands { weights, taps, input }, bias, output) }
    };
    if tiles.len() >= JOBS {
        tiles.par_iter().for_each(|tile| {
            gathered(tile, &|input, taps| blocks.clone().for_each(|block| make(tile, block, input, taps)));
        });
    } else {
        for tile in &tiles {
            gathered(tile, &|input, taps| {
                blocks.clone().into_par_iter().for_each(|block| make(tile, block, input, taps));
            });
        }
    }
    // SAFETY: the tiles cover every position and the blocks every channel, so all of it was written.
    unsafe { y.set_len(length) };
    y
}

/// Computes [`CHANNELS`] output channels of a tile.
///
/// # Safety
/// `output` is the whole output; nobody else writes these channels at the tile's positions meanwhile.
unsafe fn write_block(planes: Planes, tile: &Tile, block: usize, operands: Operands<'_>, bias: &[f32], output: Output) {
    let g = planes.g;
    let channels = block * CHANNELS..((block + 1) * CHANNELS).min(g.channels_out);
    let mut start = [0.0; CHANNELS];
    start[..channels.len()].copy_from_slice(&bias[channels.clone()]);
    let (in_row, together) = (planes.vectors(), planes.together);
    let count = tile.rows.len() * in_row;
    let mut made = [0.0; BLOCK];
    for first in (0..count).step_by(VECTORS) {
        // Where vectors run out the last may be computed again.
        let places = std::array::from_fn(|v| planes.place((first + v).min(count - 1)));
        block::convolve(operands, (places, count - first), start, g.activation.range(), &mut made);
        for v in first..(first + VECTORS).min(count) {
            let column = v % in_row * LANES / together;
            let columns = (LANES / together).min(g.output[1] - column);
            let position = (tile.rows.start + v / in_row) * g.output[1] + column;
            for (channel, made) in channels.clone().zip(made.chunks_exact(WIDTH)) {
                for (lane, image) in tile.images.clone().enumerate() {
                    let at = image * g.output_len() + channel * g.positions() + position;
                    let from = made[(v - first) * LANES..][..LANES][lane..].iter().step_by(together).take(columns);
                    for (i, &value) in from.enumerate() {
                        // SAFETY: `columns` places of one output row; ours alone by the contract.
                        unsafe { output.at(at + i).write(value) };
                    }
                }
            }
        }
    }
}

/// `[O, C, kh, kw]`.
pub(super) fn weight_gradient(planes: Planes, dy: &[f32], x: &[f32]) -> Vec<f32> {
    let (g, tiles) = (planes.g, planes.tiles());
    let depth = g.depth();
    let blocks = g.channels_out.div_ceil(CHANNELS);
    let parts = tiles.len().min(JOBS / 2);
    let sums: Vec<Vec<f32>> = (0..parts)
        .into_par_iter()
        .map(|part| {
            let mut sum = vec![0.0; g.channels_out * depth];
            for tile in &tiles[tiles.len() * part / parts..tiles.len() * (part + 1) / parts] {
                let row = tile.rows.len() * planes.vectors() * LANES;
                with_buffer(0, planes.buffer_len(tile), |input| {
                    planes.gather(x, tile, input);
                    with_buffer(1, blocks * CHANNELS * row, |output| {
                        planes.gather_output(dy, tile, output);
                        planes.add_products(tile, input, output, &mut sum);
                    });
                });
            }
            sum
        })
        .collect();
    added(sums)
}

//! Convolution with kernels of 3 x 3 by Winograd's F(2x2, 3x3): 16 products make four outputs, which otherwise are sums of
//! 36 (Lavin and Gray 2016, "Fast algorithms for convolutional neural networks").
//!
//! The output is cut into tiles of 2 x 2 that each see 4 x 4 inputs. Tiles and kernels are transformed ([`super::transforms`]);
//! at each of the 16 points the transformed input is a matrix `[C, tiles]` whose product with the kernels `[O, C]` is taken in
//! registers ([`super::block`]), and the products are transformed back. All tiles of all images stand in one line, so small
//! maps fill vectors as well as large ones, and no tile knows where it stands: a picture is the same in a batch of any size.
//! Rounding errors are not larger than those of plain sums in f32, which have nine times as many terms.

use std::ops::Range;

use rayon::prelude::*;

use super::{
    block::{self, BLOCK, CHANNELS, Operands, Taps, VECTORS, WIDTH},
    kernel::{JOBS, Output, added},
    tiles::Geometry,
    transforms::{self, KERNELS, Maps, POINTS, Run, Target},
};
use crate::fast::{
    product::{Matrix, product_into, with_buffer},
    simd::{LANES, has_avx512},
};

/// Channels from which the transforms cost little beside the products.
const LEAST_CHANNELS: usize = 16;
/// Kernels from which their own transform costs more than it saves, unless many tiles share it.
const MANY_KERNELS: usize = 1 << 18;
/// Tiles of a map that are many.
const MANY_TILES: usize = 64;
/// Vectors of tiles in one matrix product of the gradient of the weights.
const SUMMED: usize = 16;

/// A convolution that is done this way.
#[derive(Clone, Copy)]
pub(super) struct Winograd(Geometry);

/// The runs of a vector of tiles.
type Lanes = Vec<Run>;

impl Winograd {
    /// The way for a convolution, if it pays. Whether it does must not depend on the number of images, as elsewhere.
    pub(super) fn of(g: Geometry) -> Option<Self> {
        let tiles = g.output.map(|length| length.div_ceil(2));
        let wide = g.channels.min(g.channels_out) >= LEAST_CHANNELS;
        let shared = g.channels * g.channels_out <= MANY_KERNELS || tiles[0] * tiles[1] >= MANY_TILES;
        // Kernels see too much padding in a single tile, and too much of a tile is cut off from a single row.
        let filled = g.output.iter().all(|&length| length > 2);
        let centred = g.kernel == [3, 3] && g.stride == [1, 1] && g.padding == [1, 1] && g.output == g.input;
        let possible = centred && !g.depthwise && has_avx512();
        (possible && wide && shared && filled).then_some(Self(g))
    }

    /// All tiles of all images, in vectors.
    fn lanes(&self) -> Vec<Lanes> {
        let g = &self.0;
        let [down, across] = g.output.map(|length| length.div_ceil(2));
        let count = g.images * down * across;
        let of = |first: usize| {
            let mut lanes = Vec::new();
            let mut next = first;
            while next < count.min(first + LANES) {
                let (row, column) = (next / across, next % across);
                let some = (across - column).min(count.min(first + LANES) - next);
                lanes.push(Run::new(g.output, row / down, [row % down, column], next - first, some));
                next += some;
            }
            lanes
        };
        (0..count).step_by(LANES).map(of).collect()
    }

    /// Transforms one channel of the input or of the output's gradient at some vectors of tiles: to `[POINTS, channels, width]`.
    ///
    /// # Safety
    /// `target` is as long; the rows of this channel are nobody else's meanwhile.
    unsafe fn transform(&self, from: Source<'_>, channel: usize, lanes: &[Lanes], (target, width): (Output, usize)) {
        let Self(g) = self;
        let apart = from.channels * g.positions();
        assert!(
            lanes.len() * LANES <= width && channel < from.channels && from.values.len() == g.images * apart,
            "all maps are there"
        );
        let maps = Maps { first: from.values[channel * g.positions()..].as_ptr(), apart, width: g.input[1] };
        for (v, runs) in lanes.iter().enumerate() {
            // SAFETY: runs lie in the maps, on a processor that was asked in `of`; the target by the contract of this function.
            unsafe {
                let to = target.at(channel * width + v * LANES);
                (from.map)(runs, maps, Target { to, apart: from.channels * width });
            }
        }
    }
}

/// What is transformed.
#[derive(Clone, Copy)]
struct Source<'a> {
    values: &'a [f32],
    channels: usize,
    map: unsafe fn(&[Run], Maps<*const f32>, Target),
}

impl<'a> Source<'a> {
    fn input(x: &'a [f32], g: &Geometry) -> Self {
        Self { values: x, channels: g.channels, map: transforms::input }
    }

    fn gradient(dy: &'a [f32], g: &Geometry) -> Self {
        Self { values: dy, channels: g.channels_out, map: transforms::gradient }
    }
}

/// Kernels transformed, `[O / CHANNELS, POINTS, C, CHANNELS]`, zeros where there is no channel. `kernel` is asked for the one of
/// an output and an input channel.
pub(super) fn pack(outputs: usize, channels: usize, kernel: impl Fn(usize, usize) -> [f32; 9] + Sync) -> Vec<f32> {
    let length = POINTS * channels * CHANNELS;
    let mut packed = Vec::with_capacity(outputs.div_ceil(CHANNELS) * length);
    let blocks = packed.spare_capacity_mut()[..outputs.div_ceil(CHANNELS) * length].par_chunks_exact_mut(length);
    blocks.enumerate().for_each(|(block, packed)| {
        let some = CHANNELS.min(outputs - block * CHANNELS);
        let (mut plain, mut points) = ([[0.0; KERNELS]; 9], [[0.0; KERNELS]; POINTS]);
        for channel in 0..channels {
            for m in 0..some {
                for (plain, value) in plain.iter_mut().zip(kernel(block * CHANNELS + m, channel)) {
                    plain[m] = value;
                }
            }
            transforms::kernels(&plain, &mut points);
            for (point, values) in points.iter().enumerate() {
                packed[(point * channels + channel) * CHANNELS..][..CHANNELS].write_copy_of_slice(&values[..CHANNELS]);
            }
        }
    });
    // SAFETY: every block wrote all its points, channels and kernels.
    unsafe { packed.set_len(outputs.div_ceil(CHANNELS) * length) };
    packed
}

/// `[N, O, h, w]`, of weights from [`pack`].
pub(super) fn forward(way: Winograd, x: &[f32], weights: &[f32], bias: &[f32]) -> Vec<f32> {
    let Winograd(g) = way;
    let length = g.images * g.output_len();
    let mut y: Vec<f32> = Vec::with_capacity(length);
    let output = Output::of(y.as_mut_ptr());
    let lanes = way.lanes();
    let pieces: Vec<&[Lanes]> = lanes.chunks(VECTORS).collect();
    let piece_len = POINTS * g.channels * WIDTH;
    let blocks = g.channels_out.div_ceil(CHANNELS);
    let taps = Taps::new((0..g.channels).map(|channel| channel * WIDTH).collect());
    let source = Source::input(x, &g);
    let make = |lanes: &[Lanes], input: &[f32], some: Range<usize>| {
        // SAFETY: no two jobs have both a tile and a channel in common.
        unsafe { write_blocks(way, (lanes, input), some, (weights, &taps), bias, output) }
    };
    if pieces.len() >= JOBS {
        pieces.par_iter().for_each(|lanes| {
            with_buffer(0, piece_len, |input| {
                let to = (Output::of(input.as_mut_ptr()), WIDTH);
                // SAFETY: the buffer is as long, and this job's own.
                (0..g.channels).for_each(|channel| unsafe { way.transform(source, channel, lanes, to) });
                make(lanes, input, 0..blocks);
            });
        });
    } else {
        // Few pieces: channels are the jobs, many in each so that what they read of a piece stays in the cache.
        with_buffer(0, pieces.len() * piece_len, |inputs| {
            for (lanes, input) in pieces.iter().zip(inputs.chunks_exact_mut(piece_len)) {
                let to = (Output::of(input.as_mut_ptr()), WIDTH);
                // SAFETY: the part of the buffer is as long, and every job has a channel of its own.
                (0..g.channels)
                    .into_par_iter()
                    .for_each(|channel| unsafe { way.transform(source, channel, lanes, to) });
            }
            let step = blocks.div_ceil(JOBS / pieces.len());
            let jobs: Vec<_> = (0..pieces.len())
                .flat_map(|piece| (0..blocks).step_by(step).map(move |first| (piece, first)))
                .collect();
            jobs.into_par_iter().for_each(|(piece, first)| {
                let input = &inputs[piece * piece_len..][..piece_len];
                make(pieces[piece], input, first..(first + step).min(blocks));
            });
        });
    }
    // SAFETY: the pieces cover every position and the blocks every channel, so all of it was written.
    unsafe { y.set_len(length) };
    y
}

/// Computes some blocks of output channels at a piece's tiles; `input` is `[POINTS, C, WIDTH]`.
///
/// # Safety
/// `output` is the whole output; nobody else writes these channels at these tiles meanwhile.
unsafe fn write_blocks(
    way: Winograd,
    (lanes, input): (&[Lanes], &[f32]),
    blocks: Range<usize>,
    (weights, taps): (&[f32], &Taps),
    bias: &[f32],
    output: Output,
) {
    let Winograd(g) = way;
    let depth = g.channels * CHANNELS;
    // Where the last piece has fewer vectors its last may be computed again.
    let places = std::array::from_fn(|v| v.min(lanes.len() - 1) * LANES);
    let open = [f32::NEG_INFINITY, f32::INFINITY];
    with_buffer(1, blocks.len() * POINTS * BLOCK, |made| {
        for (point, input) in input.chunks_exact(g.channels * WIDTH).enumerate() {
            for (block, made) in blocks.clone().zip(made.chunks_exact_mut(POINTS * BLOCK)) {
                let weights = &weights[(block * POINTS + point) * depth..][..depth];
                let made = made[point * BLOCK..].first_chunk_mut().expect("a block for each point");
                block::convolve(Operands { weights, taps, input }, (places, lanes.len()), [0.0; CHANNELS], open, made);
            }
        }
        for (block, made) in blocks.zip(made.chunks_exact(POINTS * BLOCK)) {
            for (row, channel) in (block * CHANNELS..g.channels_out).take(CHANNELS).enumerate() {
                for (v, runs) in lanes.iter().enumerate() {
                    let points = made[row * WIDTH + v * LANES..].as_ptr();
                    // SAFETY: points lie a block apart in the buffer; the channel's maps, which have the size of the
                    // input's, are in the output, of which the runs' places are ours by the contract.
                    unsafe {
                        let first = output.at(channel * g.positions());
                        let maps = Maps { first, apart: g.output_len(), width: g.output[1] };
                        transforms::output((points, BLOCK), bias[channel], g.activation.range(), runs, maps);
                    }
                }
            }
        }
    });
}

/// `[O, C, 3, 3]`.
pub(super) fn weight_gradient(way: Winograd, dy: &[f32], x: &[f32]) -> Vec<f32> {
    let Winograd(g) = way;
    let (c, o) = (g.channels, g.channels_out);
    let lanes = way.lanes();
    let pieces: Vec<&[Lanes]> = lanes.chunks(SUMMED).collect();
    let parts = pieces.len().min(JOBS / 2);
    let transformed = |source: Source<'_>, lanes: &[Lanes], buffer: &mut [f32]| {
        let to = (Output::of(buffer.as_mut_ptr()), lanes.len() * LANES);
        // SAFETY: the buffers below are as long, and every job has a channel of its own.
        (0..source.channels).into_par_iter().for_each(|channel| unsafe { way.transform(source, channel, lanes, to) });
    };
    let sums: Vec<Vec<f32>> = (0..parts)
        .into_par_iter()
        .map(|part| {
            let mut sum = vec![0.0; POINTS * o * c];
            for (i, lanes) in pieces[pieces.len() * part / parts..pieces.len() * (part + 1) / parts].iter().enumerate()
            {
                let width = lanes.len() * LANES;
                with_buffer(0, POINTS * c * width, |input| {
                    transformed(Source::input(x, &g), lanes, input);
                    with_buffer(1, POINTS * o * width, |output| {
                        transformed(Source::gradient(dy, &g), lanes, output);
                        let points = sum.par_chunks_exact_mut(o * c).zip(output.par_chunks_exact(o * width));
                        points.zip(input.par_chunks_exact(c * width)).for_each(|((sum, dy), x)| {
                            let x = Matrix::rows(x, width).transposed();
                            product_into([o, c, width], (sum, c), i > 0, Matrix::rows(dy, width), x);
                        });
                    });
                });
            }
            sum
        })
        .collect();
    let sum = added(sums);
    let mut gradient = vec![0.0; o * c * 9];
    gradient.par_chunks_exact_mut(9).enumerate().for_each(|(i, gradient)| {
        let points = std::array::from_fn(|point| sum[point * o * c + i]);
        gradient.copy_from_slice(&transforms::kernel_gradient(&points));
    });
    gradient
}

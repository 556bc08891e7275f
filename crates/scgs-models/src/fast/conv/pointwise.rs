//! Convolution with kernels of 1 x 1: a matrix product of the weights with all positions, in the registers of AVX-512.
//!
//! The positions of all images stand in one line that is cut into pieces of some vectors. Within one image the channels
//! of a piece are read where they are; a piece that goes beyond an image's end is copied first, so small maps fill vectors
//! too. Products are added in the order of the channels: a picture is the same in a batch of any size.

use std::ops::Range;

use rayon::prelude::*;

use super::{
    block::{self, BLOCK, CHANNELS, Operands, Taps, WIDTH},
    kernel::{JOBS, Output},
    tiles::Geometry,
};
use crate::fast::{
    product::with_buffer,
    simd::{LANES, has_avx512},
};

/// Numbers of the input that a job goes over for each block of weights: 256 KiB.
const NEAR: usize = 1 << 16;

/// A convolution that is done this way.
#[derive(Clone, Copy)]
pub(super) struct Pointwise(Geometry);

/// Where a piece's numbers are: place in the input of its first channel, and where the others follow.
#[derive(Clone, Copy)]
struct Piece<'a> {
    /// The first of its positions, counted over all images.
    first: usize,
    count: usize,
    input: &'a [f32],
    taps: &'a Taps,
}

impl Pointwise {
    pub(super) fn of(g: Geometry) -> Option<Self> {
        (g.is_pointwise() && !g.depthwise && has_avx512()).then_some(Self(g))
    }

    /// The first positions of all pieces.
    fn pieces(&self) -> Vec<usize> {
        (0..self.0.images * self.0.positions()).step_by(WIDTH).collect()
    }

    /// Where a piece is in the input, if its vectors lie in one image.
    fn in_place<'a>(&self, x: &'a [f32], first: usize, taps: &'a Taps) -> Option<Piece<'a>> {
        let Self(g) = self;
        let (image, at) = (first / g.positions(), first % g.positions());
        let input = &x[image * g.input_len() + at..(image + 1) * g.input_len()];
        (at + WIDTH <= g.positions()).then_some(Piece { first, count: WIDTH, input, taps })
    }

    /// Copies a piece to `[C, WIDTH]`, zeros behind the last image.
    fn copied<'a>(&self, x: &[f32], first: usize, taps: &'a Taps, buffer: &'a mut [f32]) -> Piece<'a> {
        let Self(g) = self;
        let count = WIDTH.min(g.images * g.positions() - first);
        for (channel, row) in buffer.chunks_exact_mut(WIDTH).enumerate() {
            row[count..].fill(0.0);
            for (range, image, at) in self.parts(first, count) {
                let from = image * g.input_len() + channel * g.positions() + at;
                row[range.clone()].copy_from_slice(&x[from..from + range.len()]);
            }
        }
        Piece { first, count, input: buffer, taps }
    }

    /// The images of a piece: which of its numbers, which image, the first position there.
    fn parts(&self, first: usize, count: usize) -> impl Iterator<Item = (Range<usize>, usize, usize)> + use<> {
        let positions = self.0.positions();
        let mut next = first;
        std::iter::from_fn(move || {
            let left = (first + count).checked_sub(next).filter(|&left| left > 0)?;
            let (image, at) = (next / positions, next % positions);
            let some = left.min(positions - at);
            next += some;
            Some((next - some - first..next - first, image, at))
        })
    }
}

/// `[N, O, h, w]`, of weights from [`super::direct::pack`].
pub(super) fn forward(way: Pointwise, x: &[f32], weights: &[f32], bias: &[f32]) -> Vec<f32> {
    let Pointwise(g) = way;
    let length = g.images * g.output_len();
    let mut y: Vec<f32> = Vec::with_capacity(length);
    let output = Output::of(y.as_mut_ptr());
    let blocks = g.channels_out.div_ceil(CHANNELS);
    let [apart, copied] = [g.positions(), WIDTH].map(|row| Taps::new((0..g.channels).map(|c| c * row).collect()));
    let buffer_len = g.channels * WIDTH;
    let gathered = |firsts: &[usize], use_it: &(dyn Fn(&[Piece<'_>]) + Sync)| {
        with_buffer(0, firsts.len() * buffer_len, |buffer| {
            let found = firsts.iter().zip(buffer.chunks_exact_mut(buffer_len)).map(|(&first, buffer)| {
                way.in_place(x, first, &apart).unwrap_or_else(|| way.copied(x, first, &copied, buffer))
            });
            use_it(&found.collect::<Vec<_>>());
        });
    };
    // Every block of weights is used for all pieces while it is near.
    let make = |pieces: &[Piece<'_>], blocks: Range<usize>| {
        for block in blocks {
            // SAFETY: no two jobs have both a piece and a channel in common.
            pieces.iter().for_each(|&piece| unsafe { write_block(way, piece, block, weights, bias, output) });
        }
    };
    let pieces = way.pieces();
    if pieces.len() >= JOBS {
        let together = (NEAR / buffer_len).min(pieces.len() / JOBS).max(1);
        pieces.par_chunks(together).for_each(|firsts| gathered(firsts, &|pieces| make(pieces, 0..blocks)));
    } else {
        // Few pieces: channels are the jobs.
        gathered(&pieces, &|pieces| {
            let step = blocks.div_ceil(JOBS / pieces.len());
            let jobs = pieces.iter().flat_map(|piece| (0..blocks).step_by(step).map(move |first| (piece, first)));
            jobs.collect::<Vec<_>>().into_par_iter().for_each(|(piece, first)| {
                make(std::slice::from_ref(piece), first..(first + step).min(blocks));
            });
        });
    }
    // SAFETY: the pieces cover every position and the blocks every channel, so all of it was written.
    unsafe { y.set_len(length) };
    y
}

/// Computes [`CHANNELS`] output channels of a piece.
///
/// # Safety
/// `output` is the whole output; nobody else writes these channels at the piece's positions meanwhile.
unsafe fn write_block(way: Pointwise, piece: Piece<'_>, block: usize, weights: &[f32], bias: &[f32], output: Output) {
    let Pointwise(g) = way;
    let Piece { first, count, input, taps } = piece;
    let channels = block * CHANNELS..((block + 1) * CHANNELS).min(g.channels_out);
    let mut start = [0.0; CHANNELS];
    start[..channels.len()].copy_from_slice(&bias[channels.clone()]);
    let depth = g.channels * CHANNELS;
    let operands = Operands { weights: &weights[block * depth..][..depth], taps, input };
    let vectors = (std::array::from_fn(|v| v * LANES), count.div_ceil(LANES));
    let place = |image: usize, channel: usize, at: usize| image * g.output_len() + channel * g.positions() + at;
    let (image, at) = (first / g.positions(), first % g.positions());
    if channels.len() == CHANNELS && at + WIDTH <= g.positions() {
        // SAFETY: rows of whole vectors in one image; ours alone by the contract.
        unsafe {
            let to = (output.at(place(image, channels.start, at)), g.positions());
            block::convolve_to(operands, vectors, start, g.activation.range(), to);
        }
        return;
    }
    let mut made = [0.0; BLOCK];
    block::convolve(operands, vectors, start, g.activation.range(), &mut made);
    for (range, image, at) in way.parts(first, count) {
        for (channel, made) in channels.clone().zip(made.chunks_exact(WIDTH)) {
            // SAFETY: positions of this piece in the image; ours alone by the contract.
            unsafe {
                output
                    .at(place(image, channel, at))
                    .copy_from_nonoverlapping(made[range.clone()].as_ptr(), range.len());
            }
        }
    }
}

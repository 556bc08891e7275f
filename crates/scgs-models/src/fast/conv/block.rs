//! Sums of a convolution in vector registers.
//!
//! For AVX-512 they are written with the processor's own operations: a block is 24 registers, which the compiler does not
//! find from loops. Other processors get loops over smaller blocks.

use crate::fast::simd::{LANES, Range, clamped, for_each_processor, multiply_add};

/// Output channels of a block.
pub(super) const CHANNELS: usize = 6;
/// Vectors of output positions of a block; with [`CHANNELS`] they fill 24 of the 32 registers of AVX-512.
pub(super) const VECTORS: usize = 4;

/// What a block of outputs is made of.
#[derive(Clone, Copy)]
pub(super) struct Operands<'a> {
    /// `[depth, CHANNELS]`.
    pub(super) weights: &'a [f32],
    pub(super) taps: &'a Taps,
    pub(super) input: &'a [f32],
}

/// How far from its output's place a number of the input lies.
pub(super) struct Taps {
    /// For each row of the weights.
    distances: Vec<usize>,
    farthest: usize,
}

impl Taps {
    pub(super) fn new(distances: Vec<usize>) -> Self {
        Self { farthest: farthest(&distances), distances }
    }

    /// [`VECTORS`] of them from `first` on; where they run out the last again.
    pub(super) fn some(&self, first: usize) -> [usize; VECTORS] {
        std::array::from_fn(|k| self.distances[(first + k).min(self.distances.len() - 1)])
    }
}

/// One block of outputs.
pub(super) type Block = [[[f32; LANES]; VECTORS]; CHANNELS];

/// `out[m][v][i] = clamp(start[m] + sum over depth d of weights[d][m] * input[places[v] + taps[d] + i])`.
pub(super) fn convolve(
    operands: Operands<'_>,
    places: [usize; VECTORS],
    start: [f32; CHANNELS],
    range: Range,
    out: &mut Block,
) {
    let Operands { weights, taps: Taps { distances: taps, .. }, input } = operands;
    let last = farthest(&places) + operands.taps.farthest + LANES;
    assert!(last <= input.len() && weights.len() == taps.len() * CHANNELS, "a block stays inside");
    #[cfg(target_arch = "x86_64")]
    if crate::fast::simd::has_avx512() {
        // SAFETY: the processor has the features; the assertion is what the function asks for.
        unsafe { avx512::convolve(operands, places, start, out) };
    } else {
        convolve_elsewhere(operands, places, start, out);
    }
    #[cfg(not(target_arch = "x86_64"))]
    convolve_elsewhere(operands, places, start, out);
    if range != [f32::NEG_INFINITY, f32::INFINITY] {
        out.iter_mut().flatten().flatten().for_each(|value| *value = clamped(*value, range));
    }
}

/// `sums[m][k] += sum over vectors v and lanes i of dy[m][v][i] * input[places[v] + taps[k] + i]`, for the rows of `dy`.
pub(super) fn correlate(
    dy: &[f32],
    input: &[f32],
    places: &[usize],
    taps: [usize; VECTORS],
    sums: &mut [[f32; VECTORS]; CHANNELS],
) {
    let last = farthest(places) + farthest(&taps) + LANES;
    assert!(last <= input.len() && dy.len() == CHANNELS * places.len() * LANES, "a block stays inside");
    #[cfg(target_arch = "x86_64")]
    if crate::fast::simd::has_avx512() {
        // SAFETY: the processor has the features; the assertion is what the function asks for.
        unsafe { avx512::correlate(dy, input, places, taps, sums) };
        return;
    }
    correlate_elsewhere(dy, input, places, taps, sums);
}

fn farthest(distances: &[usize]) -> usize {
    distances.iter().copied().max().unwrap_or(0)
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::{
        __m512, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_reduce_add_ps, _mm512_set1_ps, _mm512_setzero_ps,
        _mm512_storeu_ps,
    };

    use super::{Block, CHANNELS, LANES, Operands, VECTORS};

    /// # Safety
    /// Every place plus every tap plus [`LANES`] lies inside the input, and there are [`CHANNELS`] weights for every tap.
    #[target_feature(enable = "avx512f,fma")]
    pub(super) unsafe fn convolve(
        Operands { weights, taps, input }: Operands<'_>,
        places: [usize; VECTORS],
        start: [f32; CHANNELS],
        out: &mut Block,
    ) {
        let mut sums: [[__m512; VECTORS]; CHANNELS] = start.map(|start| [_mm512_set1_ps(start); VECTORS]);
        // SAFETY: by the contract of this function.
        let from = places.map(|place| unsafe { input.as_ptr().add(place) });
        for (weights, &tap) in weights.chunks_exact(CHANNELS).zip(&taps.distances) {
            // SAFETY: by the contract of this function.
            let values = from.map(|from| unsafe { _mm512_loadu_ps(from.add(tap)) });
            for (sums, &weight) in sums.iter_mut().zip(weights) {
                let weight = _mm512_set1_ps(weight);
                for (sum, &value) in sums.iter_mut().zip(&values) {
                    *sum = _mm512_fmadd_ps(weight, value, *sum);
                }
            }
        }
        for (out, sums) in out.iter_mut().flatten().zip(sums.into_iter().flatten()) {
            // SAFETY: `out` is as long as a vector.
            unsafe { _mm512_storeu_ps(out.as_mut_ptr(), sums) };
        }
    }

    /// # Safety
    /// Every place plus every tap plus [`LANES`] lies inside the input, and `dy` is [`CHANNELS`] rows of a vector for every
    /// place.
    #[target_feature(enable = "avx512f,fma")]
    pub(super) unsafe fn correlate(
        dy: &[f32],
        input: &[f32],
        places: &[usize],
        taps: [usize; VECTORS],
        sums: &mut [[f32; VECTORS]; CHANNELS],
    ) {
        let mut made: [[__m512; VECTORS]; CHANNELS] = [[_mm512_setzero_ps(); VECTORS]; CHANNELS];
        let row = places.len() * LANES;
        for (v, &place) in places.iter().enumerate() {
            // SAFETY: by the contract of this function.
            let values = taps.map(|tap| unsafe { _mm512_loadu_ps(input.as_ptr().add(place + tap)) });
            for (m, made) in made.iter_mut().enumerate() {
                // SAFETY: by the contract of this function.
                let dy = unsafe { _mm512_loadu_ps(dy.as_ptr().add(m * row + v * LANES)) };
                for (made, &value) in made.iter_mut().zip(&values) {
                    *made = _mm512_fmadd_ps(dy, value, *made);
                }
            }
        }
        for (sum, made) in sums.iter_mut().flatten().zip(made.into_iter().flatten()) {
            *sum += _mm512_reduce_add_ps(made);
        }
    }
}

for_each_processor! {
    /// [`convolve`] in loops.
    fn convolve_elsewhere(operands: Operands<'_>, places: [usize; VECTORS], start: [f32; CHANNELS], out: &mut Block)
        = convolve_loops
}

#[inline(always)]
fn convolve_loops<const FUSED: bool>(
    Operands { weights, taps, input }: Operands<'_>,
    places: [usize; VECTORS],
    start: [f32; CHANNELS],
    out: &mut Block,
) {
    for m in 0..CHANNELS {
        for (v, place) in places.into_iter().enumerate() {
            let mut sums = [start[m]; LANES];
            for (weights, &tap) in weights.chunks_exact(CHANNELS).zip(&taps.distances) {
                let values = &input[place + tap..][..LANES];
                for (sum, &value) in sums.iter_mut().zip(values) {
                    *sum = multiply_add::<FUSED>(weights[m], value, *sum);
                }
            }
            out[m][v] = sums;
        }
    }
}

for_each_processor! {
    /// [`correlate`] in loops.
    fn correlate_elsewhere(
        dy: &[f32], input: &[f32], places: &[usize], taps: [usize; VECTORS], sums: &mut [[f32; VECTORS]; CHANNELS]
    ) = correlate_loops
}

#[inline(always)]
fn correlate_loops<const FUSED: bool>(
    dy: &[f32],
    input: &[f32],
    places: &[usize],
    taps: [usize; VECTORS],
    sums: &mut [[f32; VECTORS]; CHANNELS],
) {
    for (dy, sums) in dy.chunks_exact(places.len() * LANES).zip(sums) {
        for (sum, tap) in sums.iter_mut().zip(taps) {
            let mut made = [0.0_f32; LANES];
            for (dy, place) in dy.chunks_exact(LANES).zip(places) {
                let values = &input[place + tap..][..LANES];
                for ((made, &dy), &value) in made.iter_mut().zip(dy).zip(values) {
                    *made = multiply_add::<FUSED>(dy, value, *made);
                }
            }
            *sum += made.iter().sum::<f32>();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_processors_code_computes_the_same_sums() {
        let numbers = |count: usize, step: usize| (0..count).map(move |i| (i * step % 101) as f32 / 50.0 - 1.0);
        let (weights, input): (Vec<f32>, Vec<f32>) = (numbers(20 * CHANNELS, 37).collect(), numbers(400, 53).collect());
        let taps = Taps::new((0..20).map(|d| d * 7).collect());
        let operands = Operands { weights: &weights, taps: &taps, input: &input };
        let start = std::array::from_fn(|m| m as f32);
        let (mut chosen, mut loops) = ([[[0.0; LANES]; VECTORS]; CHANNELS], [[[0.0; LANES]; VECTORS]; CHANNELS]);
        convolve(operands, [0, 16, 230, 90], start, [-1.0, 6.0], &mut chosen);
        convolve_loops::<false>(operands, [0, 16, 230, 90], start, &mut loops);
        for (a, b) in chosen.iter().flatten().flatten().zip(loops.iter().flatten().flatten()) {
            assert!((a - b.clamp(-1.0, 6.0)).abs() < 1e-4, "{a} instead of {b}");
        }
        let (dy, places): (Vec<f32>, Vec<usize>) =
            (numbers(CHANNELS * 10 * LANES, 29).collect(), (0..10).map(|v| v * 20).collect());
        let (mut chosen, mut loops) = ([[1.0; VECTORS]; CHANNELS], [[1.0; VECTORS]; CHANNELS]);
        correlate(&dy, &input, &places, [0, 3, 90, 41], &mut chosen);
        correlate_loops::<false>(&dy, &input, &places, [0, 3, 90, 41], &mut loops);
        for (a, b) in chosen.iter().flatten().zip(loops.iter().flatten()) {
            assert!((a - b).abs() < 1e-3, "{a} instead of {b}");
        }
    }
}

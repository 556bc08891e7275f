//! Sums of a convolution in the vector registers of AVX-512, written with the processor's own operations: a block is 24
//! registers, which the compiler does not find from loops.

use std::arch::x86_64::{
    __m512, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_max_ps, _mm512_min_ps, _mm512_reduce_add_ps, _mm512_set1_ps,
    _mm512_setzero_ps, _mm512_storeu_ps,
};

use crate::fast::simd::{LANES, Range, has_avx512};

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

/// Positions of a block.
pub(super) const WIDTH: usize = VECTORS * LANES;

/// Numbers of a block of outputs, `[CHANNELS, VECTORS, LANES]`.
pub(super) const BLOCK: usize = CHANNELS * WIDTH;

/// `out[m][v][i] = clamp(start[m] + sum over depth d of weights[d][m] * input[places[v] + taps[d] + i])` for the first
/// `vectors` of `v`; what is in the others is unspecified.
pub(super) fn convolve(
    operands: Operands<'_>,
    vectors: ([usize; VECTORS], usize),
    start: [f32; CHANNELS],
    range: Range,
    out: &mut [f32; BLOCK],
) {
    // SAFETY: rows of the block are as long as its vectors.
    unsafe { convolve_to(operands, vectors, start, range, (out.as_mut_ptr(), WIDTH)) }
}

/// [`convolve`] to rows that lie `pitch` numbers apart in memory that need not be initialised.
///
/// # Safety
/// From `to` on there are [`CHANNELS`] rows for as many vectors, which nobody else uses meanwhile.
pub(super) unsafe fn convolve_to(
    operands: Operands<'_>,
    (places, vectors): ([usize; VECTORS], usize),
    start: [f32; CHANNELS],
    range: Range,
    to: (*mut f32, usize),
) {
    let Operands { weights, taps, input } = operands;
    let last = farthest(&places) + taps.farthest + LANES;
    let inside = last <= input.len() && weights.len() == taps.distances.len() * CHANNELS;
    assert!(inside && has_avx512(), "a block stays inside, on a processor that knows it");
    let [a, b, ..] = places;
    let clamped = range != [f32::NEG_INFINITY, f32::INFINITY];
    // SAFETY: the assertion and the contract of this function are what these ask for.
    unsafe {
        match (vectors, clamped) {
            (1, false) => convolve_avx512::<1, false>(operands, [a], start, range, to),
            (1, true) => convolve_avx512::<1, true>(operands, [a], start, range, to),
            (2, false) => convolve_avx512::<2, false>(operands, [a, b], start, range, to),
            (2, true) => convolve_avx512::<2, true>(operands, [a, b], start, range, to),
            (_, false) => convolve_avx512::<VECTORS, false>(operands, places, start, range, to),
            (_, true) => convolve_avx512::<VECTORS, true>(operands, places, start, range, to),
        }
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
    let inside = last <= input.len() && dy.len() == CHANNELS * places.len() * LANES;
    assert!(inside && has_avx512(), "a block stays inside, on a processor that knows it");
    // SAFETY: the assertion is what the function asks for.
    unsafe { correlate_avx512(dy, input, places, taps, sums) };
}

fn farthest(distances: &[usize]) -> usize {
    distances.iter().copied().max().unwrap_or(0)
}

/// # Safety
/// The processor has AVX-512. Every place plus every tap plus [`LANES`] lies inside the input, there are [`CHANNELS`] weights for
/// every tap, and there is room for `V` vectors in each of as many rows.
#[target_feature(enable = "avx512f,fma")]
unsafe fn convolve_avx512<const V: usize, const CLAMPED: bool>(
    Operands { weights, taps, input }: Operands<'_>,
    places: [usize; V],
    start: [f32; CHANNELS],
    range: Range,
    (to, pitch): (*mut f32, usize),
) {
    let mut sums = [[_mm512_setzero_ps(); V]; CHANNELS];
    for (sums, &start) in sums.iter_mut().zip(&start) {
        *sums = [_mm512_set1_ps(start); V];
    }
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
    let (low, high) = (_mm512_set1_ps(range[0]), _mm512_set1_ps(range[1]));
    // By reference: an array that is taken apart goes through memory several times.
    for (m, sums) in sums.iter().enumerate() {
        for (v, &sum) in sums.iter().enumerate() {
            // In this order of operands NaN stays.
            let sum = if CLAMPED { _mm512_min_ps(high, _mm512_max_ps(low, sum)) } else { sum };
            // SAFETY: by the contract of this function.
            unsafe { _mm512_storeu_ps(to.add(m * pitch + v * LANES), sum) };
        }
    }
}

/// # Safety
/// The processor has AVX-512. Every place plus every tap plus [`LANES`] lies inside the input, and `dy` is [`CHANNELS`] rows of a vector for every
/// place.
#[target_feature(enable = "avx512f,fma")]
unsafe fn correlate_avx512(
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

//! Depthwise convolution straight from a plane to its output, in the vector registers of AVX-512.
//!
//! A vector of neighbouring outputs needs, of each row under it, one run of numbers per column of the kernel; masks leave
//! out what lies beside the plane, so nothing is padded or copied. Some rows of outputs are summed together, because each
//! row of inputs is then read once for all of them. Products are added in the order of the kernel's elements, as in the
//! plain way, so both give the same digits.

use std::arch::x86_64::{
    __m512, _mm512_fmadd_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_max_ps, _mm512_min_ps,
    _mm512_reduce_add_ps, _mm512_set1_ps, _mm512_setzero_ps,
};

use rayon::prelude::*;

use super::super::{tiles::Geometry, transforms::pairs};
use crate::fast::simd::{LANES, Range, has_avx512};

/// Rows of outputs that are summed together.
const ROWS: usize = 4;

/// One channel: what its outputs are made of beside the plane.
#[derive(Clone, Copy)]
pub(super) struct Kernel<'a> {
    /// Row by row.
    pub(super) weights: &'a [f32],
    pub(super) bias: f32,
    pub(super) range: Range,
}

/// A convolution that is done this way.
#[derive(Clone, Copy)]
pub(super) struct Wide {
    input: [usize; 2],
    output: [usize; 2],
    padding: [usize; 2],
    kernel: usize,
    forward: Forward,
    gradient: Gradient,
}

/// A plane `[H, W]` to an output `[h, w]`.
type Forward = unsafe fn(Wide, *const f32, Kernel<'_>, *mut f32);
/// Adds what a plane `[H, W]` and the gradient of its output `[h, w]` contribute to the gradient of the kernel.
type Gradient = unsafe fn(Wide, *const f32, *const f32, &mut [f64]);

impl Wide {
    /// The way for square kernels of 3 or 5, with a stride of 1 or 2.
    pub(super) fn of(g: Geometry) -> Option<Self> {
        let (forward, gradient): (Forward, Gradient) = match (g.kernel, g.stride) {
            ([3, 3], [1, 1]) => (convolve::<3, 1>, correlate::<3, 1>),
            ([5, 5], [1, 1]) => (convolve::<5, 1>, correlate::<5, 1>),
            ([3, 3], [2, 2]) => (convolve::<3, 2>, correlate::<3, 2>),
            ([5, 5], [2, 2]) => (convolve::<5, 2>, correlate::<5, 2>),
            _ => return None,
        };
        let Geometry { input, output, padding, kernel, .. } = g;
        has_avx512().then_some(Self { input, output, padding, kernel: kernel[0], forward, gradient })
    }

    /// Adds what a plane and the gradient `dy` of its output contribute to the gradient of the kernel.
    pub(super) fn correlate(self, plane: &[f32], dy: &[f32], sums: &mut [f64]) {
        assert!(
            plane.len() == self.input.iter().product::<usize>()
                && dy.len() == self.output.iter().product::<usize>()
                && sums.len() == self.kernel * self.kernel,
            "a plane, its output and a kernel"
        );
        // SAFETY: the lengths are those of the shapes, on a processor that was asked in `of`.
        unsafe { (self.gradient)(self, plane.as_ptr(), dy.as_ptr(), sums) };
    }

    /// The output of one plane into memory that need not be initialised.
    pub(super) fn convolve(self, plane: &[f32], kernel: Kernel<'_>, output: &mut [std::mem::MaybeUninit<f32>]) {
        assert!(
            plane.len() == self.input.iter().product::<usize>()
                && output.len() == self.output.iter().product::<usize>()
                && kernel.weights.len() == self.kernel * self.kernel,
            "a plane, its output and a kernel"
        );
        // SAFETY: the lengths are those of the shapes, on a processor that was asked in `of`.
        unsafe { (self.forward)(self, plane.as_ptr(), kernel, output.as_mut_ptr().cast()) };
    }
}

/// The outputs of all planes; `kernel` is asked for that of a channel.
pub(super) fn planes<'a>(way: Wide, x: &[f32], g: Geometry, kernel: impl Fn(usize) -> Kernel<'a> + Sync) -> Vec<f32> {
    let (length, plane) = (g.images * g.output_len(), g.input[0] * g.input[1]);
    let mut y: Vec<f32> = Vec::with_capacity(length);
    let outputs = y.spare_capacity_mut()[..length].par_chunks_exact_mut(g.positions());
    outputs.zip(x.par_chunks_exact(plane)).enumerate().for_each(|(job, (output, plane))| {
        way.convolve(plane, kernel(job % g.channels), output);
    });
    // SAFETY: every plane wrote its whole output.
    unsafe { y.set_len(length) };
    y
}

/// Which of 32 numbers from place `first` of a row on lie in it.
fn inside(first: isize, width: usize) -> u32 {
    let below = |lane: isize| u32::MAX.checked_shr(32 - lane.clamp(0, 32) as u32).unwrap_or(0);
    below(width as isize - first) & !below(-first)
}

/// For each column of a kernel of `K` columns the first input in a row that a vector of outputs from `column` on takes, and which of
/// the inputs from there on lie in the row. With a stride `S` of 2 a run is that of a pair of columns.
fn runs<const K: usize, const S: usize>(column: usize, left: usize, width: usize) -> ([isize; K], [u32; K]) {
    let starts: [isize; K] = std::array::from_fn(|k| (column + k) as isize * S as isize - left as isize);
    (starts, starts.map(|start| inside(start, width)))
}

/// What each column of the kernel multiplies, from a row of the plane.
///
/// # Safety
/// The processor has AVX-512; what the masks have can be read.
#[target_feature(enable = "avx512f,avx512dq,fma")]
#[inline]
unsafe fn values<const K: usize, const S: usize>(row: *const f32, starts: [isize; K], masks: [u32; K]) -> [__m512; K] {
    let mut values = [_mm512_setzero_ps(); K];
    for k in 0..K.div_ceil(S) {
        let from = row.wrapping_offset(starts[k]);
        // SAFETY: by the contract of this function.
        unsafe {
            if S == 1 {
                values[k] = _mm512_maskz_loadu_ps(masks[k] as u16, from);
            } else {
                let [even, odd] = pairs(from, masks[k]);
                values[2 * k] = even;
                if 2 * k + 1 < K {
                    values[2 * k + 1] = odd;
                }
            }
        }
    }
    values
}

/// # Safety
/// The processor has AVX-512; plane, gradient and kernel are as large as the shapes say.
#[target_feature(enable = "avx512f,avx512dq,fma")]
unsafe fn correlate<const K: usize, const S: usize>(w: Wide, plane: *const f32, dy: *const f32, sums: &mut [f64]) {
    let Wide { input: [height, width], output: [rows, columns], padding: [top, left], .. } = w;
    for column in (0..columns).step_by(LANES) {
        let (starts, masks) = runs::<K, S>(column, left, width);
        let kept = inside(column as isize, columns) as u16;
        let mut made = [[_mm512_setzero_ps(); K]; K];
        for row in 0..rows {
            // SAFETY: the mask has what lies in the row of the gradient.
            let dy = unsafe { _mm512_maskz_loadu_ps(kept, dy.add(row * columns + column)) };
            for (ky, made) in made.iter_mut().enumerate() {
                let Some(y) = (row * S + ky).checked_sub(top).filter(|&y| y < height) else { continue };
                // SAFETY: the masks have what lies in the row.
                let values = unsafe { values::<K, S>(plane.wrapping_add(y * width), starts, masks) };
                for (made, &value) in made.iter_mut().zip(&values) {
                    *made = _mm512_fmadd_ps(dy, value, *made);
                }
            }
        }
        for (sum, &made) in sums.iter_mut().zip(made.as_flattened()) {
            *sum += f64::from(_mm512_reduce_add_ps(made));
        }
    }
}

/// # Safety
/// The processor has AVX-512; plane, output and kernel are as large as the shapes say.
#[target_feature(enable = "avx512f,avx512dq,fma")]
unsafe fn convolve<const K: usize, const S: usize>(w: Wide, plane: *const f32, kernel: Kernel<'_>, output: *mut f32) {
    let Wide { input: [height, width], output: [rows, columns], padding: [top, left], .. } = w;
    let mut weights = [[_mm512_setzero_ps(); K]; K];
    for (to, &weight) in weights.iter_mut().flatten().zip(kernel.weights) {
        *to = _mm512_set1_ps(weight);
    }
    let [low, high] = kernel.range.map(|bound| _mm512_set1_ps(bound));
    for column in (0..columns).step_by(LANES) {
        let (starts, masks) = runs::<K, S>(column, left, width);
        let kept = inside(column as isize, columns) as u16;
        for row in (0..rows).step_by(ROWS) {
            let mut sums = [_mm512_set1_ps(kernel.bias); ROWS];
            for i in 0..(ROWS - 1) * S + K {
                let Some(y) = (row * S + i).checked_sub(top).filter(|&y| y < height) else { continue };
                // SAFETY: the masks have what lies in the row.
                let values = unsafe { values::<K, S>(plane.wrapping_add(y * width), starts, masks) };
                for (r, sum) in sums.iter_mut().enumerate() {
                    if let Some(weights) = i.checked_sub(r * S).and_then(|ky| weights.get(ky)) {
                        for (&weight, &value) in weights.iter().zip(&values) {
                            *sum = _mm512_fmadd_ps(weight, value, *sum);
                        }
                    }
                }
            }
            for (r, &sum) in sums.iter().take(rows - row).enumerate() {
                // In this order of operands NaN stays.
                let sum = _mm512_min_ps(high, _mm512_max_ps(low, sum));
                // SAFETY: the mask has what lies in the row of the output.
                unsafe { _mm512_mask_storeu_ps(output.add((row + r) * columns + column), kept, sum) };
            }
        }
    }
}

//! Depthwise convolution: every channel has a kernel of its own, so there is no matrix product to make.
//!
//! A plane (one channel of one picture) is copied into a zero-padded buffer whose columns and rows are sorted by their
//! remainder modulo the stride. Then what a kernel element contributes is a shifted copy of one run of numbers, whatever
//! the stride, and the sum over the kernel is made in vector registers. Rows of the buffer are as long as an output row
//! plus what the kernel reaches over; values computed there are dropped. With AVX-512 nothing is copied ([`wide`]).

#[cfg(target_arch = "x86_64")]
mod wide;

use burn::backend::flex::FlexTensor;
use rayon::prelude::*;

use super::tiles::Geometry;
#[cfg(target_arch = "x86_64")]
use wide::{Kernel, Wide};

use crate::fast::{
    product::with_buffer,
    simd::{self, Tap},
    tensor,
};

/// How a plane lies in its buffer.
#[derive(Clone, Copy)]
struct Layout {
    g: Geometry,
    /// Distance between rows.
    pitch: usize,
    rows: usize,
}

impl Layout {
    fn new(g: Geometry) -> Self {
        let reach = |axis: usize| (g.kernel[axis] - 1) / g.stride[axis];
        Self { g, pitch: g.output[1] + reach(1), rows: g.output[0] + reach(0) }
    }

    /// Numbers of one remainder's part. Vector code goes beyond the end of a run by up to a block.
    fn part(&self) -> usize {
        self.pitch * (self.rows + 1) + simd::BLOCK
    }

    fn input_len(&self) -> usize {
        self.part() * self.g.stride[0] * self.g.stride[1]
    }

    /// Output rows in the buffer's pitch.
    fn output_len(&self) -> usize {
        self.pitch * self.g.output[0]
    }

    /// Zeros in front of an output gradient, as far as the kernel reaches back.
    fn margin(&self) -> usize {
        (self.rows - self.g.output[0]) * self.pitch + self.pitch - self.g.output[1]
    }

    /// Part and distance within it of the number that kernel element `(ky, kx)` reads for the first output.
    fn tap(&self, ky: usize, kx: usize) -> (usize, usize) {
        let [sy, sx] = self.g.stride;
        (ky % sy * sx + kx % sx, ky / sy * self.pitch + kx / sx)
    }

    /// For every number of the buffer that lies inside the picture: its place there, row by row. `visit` gets the range of
    /// the buffer, the first place in the plane and the distance between places.
    fn runs(&self, mut visit: impl FnMut(std::ops::Range<usize>, usize, usize)) {
        let [sy, sx] = self.g.stride;
        let [height, width] = self.g.input;
        let [top, left] = self.g.padding;
        for py in 0..sy {
            for px in 0..sx {
                // Columns c with left <= c * sx + px < left + width.
                let first = left.saturating_sub(px).div_ceil(sx);
                let end = (left + width).saturating_sub(px).div_ceil(sx).min(self.pitch);
                if first >= end {
                    continue;
                }
                for row in 0..self.rows {
                    let Some(y) = (row * sy + py).checked_sub(top).filter(|&y| y < height) else { continue };
                    let at = (py * sx + px) * self.part() + row * self.pitch;
                    visit(at + first..at + end, y * width + first * sx + px - left, sx);
                }
            }
        }
    }

    /// The plane into its buffer.
    fn spread(&self, plane: &[f32], buffer: &mut [f32]) {
        buffer.fill(0.0);
        self.runs(|range, from, step| {
            let target = &mut buffer[range];
            if step == 1 {
                target.copy_from_slice(&plane[from..from + target.len()]);
            } else {
                target.iter_mut().zip(plane[from..].iter().step_by(step)).for_each(|(to, &from)| *to = from);
            }
        });
    }

    /// The buffer back into the plane.
    fn collect(&self, buffer: &[f32], plane: &mut [f32]) {
        self.runs(|range, from, step| {
            let source = &buffer[range];
            plane[from..].iter_mut().step_by(step).zip(source).for_each(|(to, &from)| *to = from);
        });
    }

    /// An output gradient with its margin in front, in the buffer's pitch, zero elsewhere.
    fn spread_output(&self, dy: &[f32], buffer: &mut [f32]) {
        buffer.fill(0.0);
        let rows = buffer[self.margin()..].chunks_mut(self.pitch);
        for (to, from) in rows.zip(dy.chunks_exact(self.g.output[1])) {
            to[..from.len()].copy_from_slice(from);
        }
    }

    fn output_buffer_len(&self) -> usize {
        self.margin() + self.pitch * self.rows + simd::BLOCK
    }
}

/// `[N, C, h, w]`.
pub(super) fn forward(x: &[f32], weight: &[f32], bias: &[f32], g: Geometry) -> FlexTensor {
    let shape = [g.images, g.channels, g.output[0], g.output[1]];
    #[cfg(target_arch = "x86_64")]
    if let Some(wide) = Wide::of(g) {
        let elements = g.kernel[0] * g.kernel[1];
        let kernel = |channel: usize| Kernel {
            weights: &weight[channel * elements..][..elements],
            bias: bias[channel],
            range: g.activation.range(),
        };
        return tensor(wide::planes(wide, x, g, kernel), shape);
    }
    let layout = Layout::new(g);
    let ([kh, kw], plane, positions) = (g.kernel, g.input[0] * g.input[1], g.positions());
    let mut y = vec![0.0; g.images * g.output_len()];
    y.par_chunks_mut(positions).zip(x.par_chunks(plane)).enumerate().for_each(|(job, (y, x))| {
        let channel = job % g.channels;
        let weight = &weight[channel * kh * kw..][..kh * kw];
        let taps: Vec<Tap> = (0..kh * kw)
            .map(|k| {
                let (part, offset) = layout.tap(k / kw, k % kw);
                Tap { weight: weight[k], at: part * layout.part() + offset }
            })
            .collect();
        with_buffer(0, layout.input_len(), |input| {
            layout.spread(x, input);
            with_buffer(1, layout.output_len() + simd::BLOCK, |made| {
                simd::weighted_sum(&taps, input, bias[channel], layout.output_len(), made);
                for (y, made) in y.chunks_exact_mut(g.output[1]).zip(made.chunks(layout.pitch)) {
                    y.copy_from_slice(&made[..y.len()]);
                }
                simd::add_and_clamp(y, 0.0, g.activation.range());
            });
        });
    });
    tensor(y, shape)
}

/// `[N, C, H, W]`.
pub(super) fn input_gradient(dy: &[f32], weight: &[f32], g: Geometry) -> FlexTensor {
    #[cfg(target_arch = "x86_64")]
    if let Some((turned, wide)) = g.turned().and_then(|turned| Some((turned, Wide::of(turned)?))) {
        // Kernels turned by half a circle.
        let elements = g.kernel[0] * g.kernel[1];
        let weights: Vec<f32> = weight.chunks_exact(elements).flat_map(|kernel| kernel.iter().rev().copied()).collect();
        let kernel = |channel: usize| Kernel {
            weights: &weights[channel * elements..][..elements],
            bias: 0.0,
            range: turned.activation.range(),
        };
        return tensor(wide::planes(wide, dy, turned, kernel), [g.images, g.channels, g.input[0], g.input[1]]);
    }
    let layout = Layout::new(g);
    let ([kh, kw], [sy, sx]) = (g.kernel, g.stride);
    let plane = g.input[0] * g.input[1];
    let mut dx = vec![0.0; g.images * g.input_len()];
    dx.par_chunks_mut(plane).zip(dy.par_chunks(g.positions())).enumerate().for_each(|(job, (dx, dy))| {
        let weight = &weight[job % g.channels * kh * kw..][..kh * kw];
        with_buffer(0, layout.output_buffer_len(), |output| {
            layout.spread_output(dy, output);
            with_buffer(1, layout.input_len(), |made| {
                for part in 0..sy * sx {
                    let taps: Vec<Tap> = (0..kh * kw)
                        .filter_map(|k| {
                            let (of, offset) = layout.tap(k / kw, k % kw);
                            (of == part).then(|| Tap { weight: weight[k], at: layout.margin() - offset })
                        })
                        .collect();
                    let made = &mut made[part * layout.part()..][..layout.part()];
                    simd::weighted_sum(&taps, output, 0.0, layout.pitch * layout.rows, made);
                }
                layout.collect(made, dx);
            });
        });
    });
    tensor(dx, [g.images, g.channels, g.input[0], g.input[1]])
}

/// `[C, 1, kh, kw]`: per channel, picture after picture.
pub(super) fn weight_gradient(dy: &[f32], x: &[f32], g: Geometry) -> FlexTensor {
    let layout = Layout::new(g);
    let ([kh, kw], plane, positions) = (g.kernel, g.input[0] * g.input[1], g.positions());
    let mut dw = vec![0.0; g.channels * kh * kw];
    #[cfg(target_arch = "x86_64")]
    let wide = Wide::of(g);
    dw.par_chunks_mut(kh * kw).enumerate().for_each(|(channel, dw)| {
        let mut sums = vec![0.0_f64; kh * kw];
        for image in 0..g.images {
            let job = image * g.channels + channel;
            #[cfg(target_arch = "x86_64")]
            if let Some(wide) = wide {
                wide.correlate(&x[job * plane..][..plane], &dy[job * positions..][..positions], &mut sums);
                continue;
            }
            with_buffer(0, layout.input_len(), |input| {
                layout.spread(&x[job * plane..][..plane], input);
                with_buffer(1, layout.output_buffer_len(), |output| {
                    layout.spread_output(&dy[job * positions..][..positions], output);
                    let output = &output[layout.margin()..][..layout.output_len()];
                    for (k, sum) in sums.iter_mut().enumerate() {
                        let (part, offset) = layout.tap(k / kw, k % kw);
                        let input = &input[part * layout.part() + offset..][..output.len()];
                        *sum += f64::from(simd::dot(input, output));
                    }
                });
            });
        }
        dw.iter_mut().zip(sums).for_each(|(to, sum)| *to = sum as f32);
    });
    tensor(dw, [g.channels, 1, kh, kw])
}

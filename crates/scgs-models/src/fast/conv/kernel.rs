//! The convolution and its gradients on slices of f32.

use std::ops::Range;

use burn::backend::flex::FlexTensor;
use rayon::prelude::*;

use super::tiles::{Geometry, Tile};
#[cfg(target_arch = "x86_64")]
use super::{
    direct::{self, Planes},
    pointwise::{self, Pointwise},
    winograd::{self, Winograd},
};
use crate::fast::{
    product::{Matrix, product, product_into, with_buffer},
    simd, tensor,
};

/// Into how many jobs one call is cut. A fixed number: how sums are grouped must not depend on the number of threads.
pub(super) const JOBS: usize = 16;
/// Least output channels of a job.
const CHANNELS_PER_JOB: usize = 16;

/// The output, written to by several threads.
#[derive(Clone, Copy)]
pub(super) struct Output(*mut f32);

// SAFETY: every job writes places of its own, see the two users.
unsafe impl Send for Output {}
// SAFETY: as above.
unsafe impl Sync for Output {}

impl Output {
    /// `values` may be a vector's capacity.
    pub(super) fn of(values: *mut f32) -> Self {
        Self(values)
    }

    /// # Safety
    /// `offset` lies inside the allocation.
    pub(super) unsafe fn at(&self, offset: usize) -> *mut f32 {
        // SAFETY: by the contract of this function.
        unsafe { self.0.add(offset) }
    }
}

/// `[N, O, h, w]`.
pub(super) fn forward(x: &[f32], weight: &[f32], bias: &[f32], g: Geometry) -> FlexTensor {
    #[cfg(target_arch = "x86_64")]
    if let Some(way) = Winograd::of(g) {
        let kernels = weight.as_chunks::<9>().0;
        let weights = winograd::pack(g.channels_out, g.channels, |o, c| kernels[o * g.channels + c]);
        let y = winograd::forward(way, x, &weights, bias);
        return tensor(y, [g.images, g.channels_out, g.output[0], g.output[1]]);
    }
    #[cfg(target_arch = "x86_64")]
    if let Some(way) = Pointwise::of(g) {
        let weights = direct::pack(weight, g.channels_out, g.depth());
        let y = pointwise::forward(way, x, &weights, bias);
        return tensor(y, [g.images, g.channels_out, g.output[0], g.output[1]]);
    }
    #[cfg(target_arch = "x86_64")]
    if let Some(planes) = Planes::of(g) {
        let weights = direct::pack(weight, g.channels_out, g.depth());
        let y = direct::forward(planes, x, &weights, bias);
        return tensor(y, [g.images, g.channels_out, g.output[0], g.output[1]]);
    }
    let length = g.images * g.output_len();
    let mut y: Vec<f32> = Vec::with_capacity(length);
    let output = Output::of(y.as_mut_ptr());
    let tiles = g.tiles();
    if tiles.len() >= JOBS {
        tiles.par_iter().for_each(|tile| {
            with_columns(x, tile, g, |columns| {
                // SAFETY: no two tiles share an output position.
                unsafe { write_channels(weight, bias, columns, tile, 0..g.channels_out, g, output) }
            });
        });
    } else {
        // Few tiles: the output channels of each are the jobs.
        let step = (g.channels_out * tiles.len()).div_ceil(JOBS).max(CHANNELS_PER_JOB);
        let channels: Vec<usize> = (0..g.channels_out).step_by(step).collect();
        for tile in &tiles {
            with_columns(x, tile, g, |columns| {
                channels.par_iter().for_each(|&first| {
                    let some = first..(first + step).min(g.channels_out);
                    // SAFETY: no two jobs share an output channel.
                    unsafe { write_channels(weight, bias, columns, tile, some, g, output) }
                });
            });
        }
    }
    // SAFETY: the tiles cover every position and the jobs every channel, so all of it was written.
    unsafe { y.set_len(length) };
    tensor(y, [g.images, g.channels_out, g.output[0], g.output[1]])
}

/// The column matrix `[depth, columns]` of a tile: of a pointwise convolution the input itself.
fn with_columns<R>(x: &[f32], tile: &Tile, g: Geometry, use_it: impl FnOnce(Matrix<'_>) -> R) -> R {
    if g.is_pointwise() && tile.images.len() == 1 {
        let from = tile.images.start * g.input_len() + tile.start(&g);
        return use_it(Matrix::rows(&x[from..(tile.images.start + 1) * g.input_len()], g.positions()));
    }
    let columns = tile.columns(&g);
    with_buffer(0, g.depth() * columns, |buffer| {
        g.gather(x, tile, buffer);
        use_it(Matrix::rows(buffer, columns))
    })
}

/// Computes some output channels of a tile.
///
/// # Safety
/// `output` is the whole output; nobody else writes these channels at the tile's positions meanwhile.
unsafe fn write_channels(
    weight: &[f32],
    bias: &[f32],
    columns: Matrix<'_>,
    tile: &Tile,
    channels: Range<usize>,
    g: Geometry,
    output: Output,
) {
    let (depth, width) = (g.depth(), tile.columns(&g));
    let (positions, part) = (g.positions(), tile.positions(&g));
    let weight = Matrix::rows(&weight[channels.start * depth..channels.end * depth], depth);
    let shape = [channels.len(), width, depth];
    if tile.images.len() == 1 {
        let start = tile.images.start * g.output_len() + channels.start * positions + tile.start(&g);
        // SAFETY: rows of `part` numbers, `positions` apart, inside the tile's image; ours alone by the contract.
        unsafe { product(shape, (output.at(start), positions), false, weight, columns) };
        for (i, channel) in channels.enumerate() {
            // SAFETY: the same rows.
            let row = unsafe { std::slice::from_raw_parts_mut(output.at(start + i * positions), part) };
            simd::add_and_clamp(row, bias[channel], g.activation.range());
        }
        return;
    }
    with_buffer(1, channels.len() * width, |made| {
        product_into(shape, (made, width), false, weight, columns);
        for (channel, row) in channels.zip(made.chunks_exact(width)) {
            for (image, from) in tile.images.clone().zip(row.chunks_exact(part)) {
                let start = image * g.output_len() + channel * positions + tile.start(&g);
                // SAFETY: a row of `part` numbers of this channel, written before it is a slice; ours alone by the contract.
                let to = unsafe {
                    output.at(start).copy_from_nonoverlapping(from.as_ptr(), part);
                    std::slice::from_raw_parts_mut(output.at(start), part)
                };
                simd::add_and_clamp(to, bias[channel], g.activation.range());
            }
        }
    });
}

/// `[N, O, h, w]`: the gradient where the output lies inside the activation's range, else 0.
pub(super) fn activation_gradient(dy: &[f32], y: &[f32], g: Geometry) -> FlexTensor {
    let mut gradient = dy.to_vec();
    let planes = gradient.par_chunks_exact_mut(g.positions()).zip(y.par_chunks_exact(g.positions()));
    planes.for_each(|(gradient, y)| simd::keep_inside(gradient, y, g.activation.range()));
    tensor(gradient, [g.images, g.channels_out, g.output[0], g.output[1]])
}

/// `[N, C, H, W]`.
pub(super) fn input_gradient(dy: &[f32], weight: &[f32], g: Geometry) -> FlexTensor {
    #[cfg(target_arch = "x86_64")]
    if let Some(way) = g.turned().and_then(Winograd::of) {
        let kernels = weight.as_chunks::<9>().0;
        // Turned by half a circle.
        let turned = |c: usize, o: usize| std::array::from_fn(|i| kernels[o * g.channels + c][8 - i]);
        let weights = winograd::pack(g.channels, g.channels_out, turned);
        let dx = winograd::forward(way, dy, &weights, &vec![0.0; g.channels]);
        return tensor(dx, [g.images, g.channels, g.input[0], g.input[1]]);
    }
    #[cfg(target_arch = "x86_64")]
    if let Some(way) = g.turned().and_then(Pointwise::of) {
        let weights = direct::pack_turned(weight, g.channels_out, g.channels, 1);
        let dx = pointwise::forward(way, dy, &weights, &vec![0.0; g.channels]);
        return tensor(dx, [g.images, g.channels, g.input[0], g.input[1]]);
    }
    #[cfg(target_arch = "x86_64")]
    if let Some(planes) = g.turned().and_then(Planes::of) {
        let weights = direct::pack_turned(weight, g.channels_out, g.channels, g.kernel[0] * g.kernel[1]);
        let dx = direct::forward(planes, dy, &weights, &vec![0.0; g.channels]);
        return tensor(dx, [g.images, g.channels, g.input[0], g.input[1]]);
    }
    let mut dx = vec![0.0; g.images * g.input_len()];
    let (together, depth) = (g.images_per_tile(), g.depth());
    let weight = Matrix::rows(weight, depth).transposed();
    dx.par_chunks_mut(together * g.input_len()).enumerate().for_each(|(chunk, dx)| {
        let first = chunk * together;
        for tile in g.tiles_of(first..(first + together).min(g.images)) {
            let columns = tile.columns(&g);
            let shape = [depth, columns, g.channels_out];
            with_output_gradient(dy, &tile, g, |dy| {
                if g.is_pointwise() && tile.images.len() == 1 {
                    product_into(shape, (&mut dx[tile.start(&g)..], g.positions()), false, weight, dy);
                    return;
                }
                with_buffer(0, depth * columns, |buffer| {
                    product_into(shape, (buffer, columns), false, weight, dy);
                    g.scatter(buffer, &tile, dx);
                });
            });
        }
    });
    tensor(dx, [g.images, g.channels, g.input[0], g.input[1]])
}

/// The gradient of the output at a tile as a matrix `[O, columns]`.
fn with_output_gradient<R>(dy: &[f32], tile: &Tile, g: Geometry, use_it: impl FnOnce(Matrix<'_>) -> R) -> R {
    let positions = g.positions();
    if tile.images.len() == 1 {
        let from = tile.images.start * g.output_len() + tile.start(&g);
        return use_it(Matrix::rows(&dy[from..(tile.images.start + 1) * g.output_len()], positions));
    }
    let columns = tile.columns(&g);
    with_buffer(1, g.channels_out * columns, |buffer| {
        for (channel, row) in buffer.chunks_exact_mut(columns).enumerate() {
            for (image, to) in tile.images.clone().zip(row.chunks_exact_mut(positions)) {
                to.copy_from_slice(&dy[image * g.output_len() + channel * positions..][..positions]);
            }
        }
        use_it(Matrix::rows(buffer, columns))
    })
}

/// `[O, C, kh, kw]`.
pub(super) fn weight_gradient(dy: &[f32], x: &[f32], g: Geometry) -> FlexTensor {
    #[cfg(target_arch = "x86_64")]
    if let Some(way) = Winograd::of(g) {
        return tensor(winograd::weight_gradient(way, dy, x), [g.channels_out, g.channels, 3, 3]);
    }
    #[cfg(target_arch = "x86_64")]
    if let Some(planes) = Planes::for_weights(g) {
        let dw = direct::weight_gradient(planes, dy, x);
        return tensor(dw, [g.channels_out, g.channels, g.kernel[0], g.kernel[1]]);
    }
    let (depth, tiles) = (g.depth(), g.tiles());
    let parts = tiles.len().min(JOBS / 2);
    let sums: Vec<Vec<f32>> = (0..parts)
        .into_par_iter()
        .map(|part| {
            let mut sum = vec![0.0; g.channels_out * depth];
            for (i, tile) in tiles[tiles.len() * part / parts..tiles.len() * (part + 1) / parts].iter().enumerate() {
                let shape = [g.channels_out, depth, tile.columns(&g)];
                with_output_gradient(dy, tile, g, |dy| {
                    with_columns(x, tile, g, |columns| {
                        product_into(shape, (&mut sum, depth), i > 0, dy, columns.transposed());
                    });
                });
            }
            sum
        })
        .collect();
    tensor(added(sums), [g.channels_out, g.channels, g.kernel[0], g.kernel[1]])
}

/// The sum of equally long rows, in their order.
pub(super) fn added(rows: Vec<Vec<f32>>) -> Vec<f32> {
    let mut rows = rows.into_iter();
    let mut total = rows.next().expect("a convolution has at least one tile");
    for row in rows {
        total.iter_mut().zip(row).for_each(|(total, value)| *total += value);
    }
    total
}

/// `[O]`, summed in f64 over positions within an image, then over images.
pub(super) fn bias_gradient(dy: &[f32], g: Geometry) -> FlexTensor {
    let positions = g.positions();
    let sum = |channel: usize| {
        let of = |image: usize| {
            let values = &dy[image * g.output_len() + channel * positions..][..positions];
            values.iter().map(|&value| f64::from(value)).sum::<f64>()
        };
        (0..g.images).map(of).sum::<f64>() as f32
    };
    tensor((0..g.channels_out).into_par_iter().map(sum).collect(), [g.channels_out])
}

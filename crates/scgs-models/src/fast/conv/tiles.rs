//! The geometry of a convolution, and how it is cut into matrix products.

use std::ops::Range;

use crate::layers::Activation;

/// Shapes of one convolution. Everything is at least 1 but the padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) images: usize,
    pub(crate) channels: usize,
    /// Height and width.
    pub(crate) input: [usize; 2],
    pub(crate) channels_out: usize,
    pub(crate) output: [usize; 2],
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: [usize; 2],
    /// Zeros above and left of the input; those below and right follow from the output's size.
    pub(crate) padding: [usize; 2],
    /// Whether each output channel sees its own input channel alone.
    pub(crate) depthwise: bool,
    /// What is done with the outputs; only where no gradients are recorded.
    pub(crate) activation: Activation,
}

/// Numbers in a column buffer: 2 MiB, so that it stays in the second-level cache and one matrix product is still large.
const COLUMN_LIMIT: usize = 1 << 19;
/// Columns from which more images in one matrix product gain nothing.
const ENOUGH_COLUMNS: usize = 256;

/// The part of the output that one matrix product makes: some rows of one image, or some images as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tile {
    pub(crate) images: Range<usize>,
    pub(crate) rows: Range<usize>,
}

impl Geometry {
    /// Numbers that one output value is a sum of.
    pub(crate) fn depth(&self) -> usize {
        self.channels * self.kernel[0] * self.kernel[1]
    }

    /// Positions in one output map.
    pub(crate) fn positions(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// Numbers of one input image.
    pub(crate) fn input_len(&self) -> usize {
        self.channels * self.input[0] * self.input[1]
    }

    /// Numbers of one output image.
    pub(crate) fn output_len(&self) -> usize {
        self.channels_out * self.positions()
    }

    /// The convolution that makes the gradient of the input from that of the output, if it is one.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn turned(&self) -> Option<Self> {
        let padding = |axis: usize| (self.kernel[axis] - 1).checked_sub(self.padding[axis]);
        (self.stride == [1, 1]).then_some(Self {
            channels: self.channels_out,
            input: self.output,
            channels_out: self.channels,
            output: self.input,
            padding: [padding(0)?, padding(1)?],
            activation: Activation::None,
            ..*self
        })
    }

    /// Whether the columns of the product are the input itself.
    pub(crate) fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.stride == [1, 1] && self.padding == [0, 0] && self.input == self.output
    }

    /// How many whole images go into one matrix product: small maps alone make it too narrow.
    pub(crate) fn images_per_tile(&self) -> usize {
        let columns = ENOUGH_COLUMNS.min(COLUMN_LIMIT / self.depth());
        (columns / self.positions()).clamp(1, self.images)
    }

    /// Rows of one image that go into one matrix product, all tiles about equally high.
    fn rows_per_tile(&self) -> usize {
        // The columns of a pointwise convolution are not copied; several tiles only give several threads work.
        let limit = COLUMN_LIMIT / (self.depth() * self.output[1]);
        self.output[0].div_ceil(self.output[0].div_ceil(limit.max(1)))
    }

    /// The tiles of some images.
    pub(crate) fn tiles_of(&self, images: Range<usize>) -> Vec<Tile> {
        let (together, rows) = (self.images_per_tile(), self.rows_per_tile());
        let mut tiles = Vec::new();
        for first in images.clone().step_by(together) {
            let some = first..(first + together).min(images.end);
            if together > 1 {
                tiles.push(Tile { images: some, rows: 0..self.output[0] });
                continue;
            }
            for top in (0..self.output[0]).step_by(rows) {
                tiles.push(Tile { images: some.clone(), rows: top..(top + rows).min(self.output[0]) });
            }
        }
        tiles
    }

    /// The tiles of everything.
    pub(crate) fn tiles(&self) -> Vec<Tile> {
        self.tiles_of(0..self.images)
    }

    /// Output columns whose input column lies inside the picture for column `kx` of the kernel.
    fn inside(&self, kx: usize) -> Range<usize> {
        let (stride, padding) = (self.stride[1], self.padding[1]);
        let first = padding.saturating_sub(kx).div_ceil(stride);
        let end = match (self.input[1] + padding).checked_sub(kx + 1) {
            Some(last) => (last / stride + 1).min(self.output[1]),
            None => 0,
        };
        first.min(end)..end
    }

    /// The input row under row `ky` of the kernel at output row `y`, if it is not padding.
    fn input_row(&self, y: usize, ky: usize) -> Option<usize> {
        (y * self.stride[0] + ky).checked_sub(self.padding[0]).filter(|&row| row < self.input[0])
    }

    /// Channel, row and column in the kernel of a row of the column matrix.
    fn kernel_place(&self, row: usize) -> (usize, usize, usize) {
        let [kh, kw] = self.kernel;
        (row / (kh * kw), row / kw % kh, row % kw)
    }

    /// Writes the column matrix `[depth, tile.columns]` of a tile. `x` is the whole input.
    pub(crate) fn gather(&self, x: &[f32], tile: &Tile, columns: &mut [f32]) {
        let [height, width] = self.input;
        let length = tile.columns(self);
        for (depth, row) in columns.chunks_exact_mut(length).enumerate() {
            let (channel, ky, kx) = self.kernel_place(depth);
            let inside = self.inside(kx);
            let places = tile.images.clone().flat_map(|image| tile.rows.clone().map(move |y| (image, y)));
            for ((image, y), target) in places.zip(row.chunks_exact_mut(self.output[1])) {
                let Some(input_row) = self.input_row(y, ky).filter(|_| !inside.is_empty()) else {
                    target.fill(0.0);
                    continue;
                };
                let source = &x[((image * self.channels + channel) * height + input_row) * width..][..width];
                target[..inside.start].fill(0.0);
                target[inside.end..].fill(0.0);
                let first = inside.start * self.stride[1] + kx - self.padding[1];
                if self.stride[1] == 1 {
                    target[inside.clone()].copy_from_slice(&source[first..first + inside.len()]);
                } else {
                    for (value, &from) in
                        target[inside.clone()].iter_mut().zip(source[first..].iter().step_by(self.stride[1]))
                    {
                        *value = from;
                    }
                }
            }
        }
    }

    /// Adds the column matrix of a tile back to where [`Self::gather`] took it from. `x` starts at the tile's first image.
    pub(crate) fn scatter(&self, columns: &[f32], tile: &Tile, x: &mut [f32]) {
        let [height, width] = self.input;
        let length = tile.columns(self);
        for (depth, row) in columns.chunks_exact(length).enumerate() {
            let (channel, ky, kx) = self.kernel_place(depth);
            let inside = self.inside(kx);
            let places = (0..tile.images.len()).flat_map(|image| tile.rows.clone().map(move |y| (image, y)));
            for ((image, y), source) in places.zip(row.chunks_exact(self.output[1])) {
                let Some(input_row) = self.input_row(y, ky).filter(|_| !inside.is_empty()) else { continue };
                let target = &mut x[((image * self.channels + channel) * height + input_row) * width..][..width];
                let first = inside.start * self.stride[1] + kx - self.padding[1];
                let source = &source[inside.clone()];
                if self.stride[1] == 1 {
                    for (value, from) in target[first..first + source.len()].iter_mut().zip(source) {
                        *value += from;
                    }
                } else {
                    for (value, from) in target[first..].iter_mut().step_by(self.stride[1]).zip(source) {
                        *value += from;
                    }
                }
            }
        }
    }
}

impl Tile {
    /// Output positions of the tile.
    pub(crate) fn columns(&self, geometry: &Geometry) -> usize {
        self.images.len() * self.rows.len() * geometry.output[1]
    }

    /// Where the tile's rows begin in one output map.
    pub(crate) fn start(&self, geometry: &Geometry) -> usize {
        self.rows.start * geometry.output[1]
    }

    /// Output positions of the tile in one image.
    pub(crate) fn positions(&self, geometry: &Geometry) -> usize {
        self.rows.len() * geometry.output[1]
    }
}

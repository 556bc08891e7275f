//! The linear maps of Winograd's F(2x2, 3x3) (Lavin and Gray 2016, "Fast algorithms for convolutional neural networks",
//! section 4.1), for a vector of tiles at a time, in the registers of AVX-512.
//!
//! A tile is 2 x 2 outputs and the 4 x 4 inputs under them. Neighbouring tiles of a map's row read a run of numbers whose
//! even and odd places a permutation separates; a vector of tiles may consist of several such runs.

use std::arch::x86_64::{
    __m512, __m512i, _mm512_add_ps, _mm512_loadu_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_max_ps,
    _mm512_min_ps, _mm512_or_ps, _mm512_permutex2var_ps, _mm512_set1_ps, _mm512_setr_epi32, _mm512_setzero_ps,
    _mm512_storeu_ps, _mm512_sub_ps,
};

use crate::fast::simd::{LANES, Range, for_each_processor};

/// Numbers of a transformed tile, 4 x 4.
pub(super) const POINTS: usize = 16;
/// Kernels that are transformed at a time; a vector of AVX2.
pub(super) const KERNELS: usize = 8;

/// Neighbouring tiles of one row of a map, in one vector of tiles. Lanes have numbers of a row in pairs, and the places of
/// all runs are counted as if the run began in the first lane.
#[derive(Clone, Copy)]
pub(super) struct Run {
    image: usize,
    /// Where the upper left input of the first lane's tile would be in the image's map.
    at: isize,
    /// Which of the four rows of inputs lie in the map, a bit each.
    rows: u8,
    /// Which of 32 numbers from there on are inputs of the run's tiles in the first two columns of each.
    first: u32,
    /// The same of the last two columns, two places further on.
    last: u32,
    /// Which of 32 numbers are outputs, one row and one column further on.
    outputs: u32,
}

impl Run {
    /// `count` tiles from the one at `[row, column]` of an image's tiles on, from `lane` on. `[height, width]` is a map's size.
    pub(super) fn new(
        [height, width]: [usize; 2],
        image: usize,
        [row, column]: [usize; 2],
        lane: usize,
        count: usize,
    ) -> Self {
        let lanes = |from: usize, to: usize| if from < to { (u32::MAX >> (32 - (to - from))) << from } else { 0 };
        let tiles = lanes(2 * lane, 2 * (lane + count));
        // The column of the first of the 32 numbers, one of padding included.
        let left = 2 * column as isize - 2 * lane as isize - 1;
        let inside = |left: isize| {
            let from = (-left).clamp(0, 32) as usize;
            let to = (width as isize - left).clamp(0, 32) as usize;
            tiles & lanes(from, to)
        };
        let rows = (0..4).filter(|i| (1..=height).contains(&(2 * row + i))).fold(0, |rows, i| rows | 1 << i);
        let at = (2 * row * width) as isize - width as isize + left;
        Self { image, at, rows, first: inside(left), last: inside(left + 2), outputs: inside(left + 1) }
    }
}

/// The maps of one channel, the same in all images.
#[derive(Clone, Copy)]
pub(super) struct Maps<T> {
    /// That of the first image.
    pub(super) first: T,
    /// Numbers from one image to the next.
    pub(super) apart: usize,
    pub(super) width: usize,
}

/// Where the points of a vector of tiles go: `apart` numbers from one point to the next.
#[derive(Clone, Copy)]
pub(super) struct Target {
    pub(super) to: *mut f32,
    pub(super) apart: usize,
}

impl Target {
    /// # Safety
    /// The points lie in one allocation, and nobody else uses them meanwhile.
    #[target_feature(enable = "avx512f")]
    unsafe fn set(self, point: usize, values: __m512) {
        // SAFETY: by the contract of this function.
        unsafe { _mm512_storeu_ps(self.to.add(point * self.apart), values) };
    }
}

/// The even and the odd ones of 32 numbers.
#[target_feature(enable = "avx512f")]
fn halves() -> [__m512i; 2] {
    [
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30),
        _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31),
    ]
}

/// Even and odd numbers of the 32 from `from` on that `mask` has; the others are 0 and are not read.
///
/// # Safety
/// What the mask has can be read.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn pairs(from: *const f32, mask: u32) -> [__m512; 2] {
    // SAFETY: by the contract of this function.
    let (low, high) = unsafe {
        (
            _mm512_maskz_loadu_ps(mask as u16, from),
            _mm512_maskz_loadu_ps((mask >> LANES) as u16, from.wrapping_add(LANES)),
        )
    };
    halves().map(|half| _mm512_permutex2var_ps(low, half, high))
}

/// `B^T d B` of a vector of tiles.
///
/// # Safety
/// The processor has AVX-512; the maps that the runs are of can be read, and `target` be written.
#[target_feature(enable = "avx512f,avx512dq")]
pub(super) unsafe fn input(runs: &[Run], maps: Maps<*const f32>, target: Target) {
    let mut along = [[_mm512_setzero_ps(); 4]; 4];
    for (row, along) in along.iter_mut().enumerate() {
        let mut columns = [_mm512_setzero_ps(); 4];
        for run in runs.iter().filter(|run| run.rows >> row & 1 == 1) {
            let from = maps.first.wrapping_add(run.image * maps.apart + row * maps.width).wrapping_offset(run.at);
            // SAFETY: the masks have what lies in the run's row of the map.
            let ([a, b], [c, d]) = unsafe { (pairs(from, run.first), pairs(from.wrapping_add(2), run.last)) };
            for (column, part) in columns.iter_mut().zip([a, b, c, d]) {
                *column = _mm512_or_ps(*column, part);
            }
        }
        *along = input_map(columns);
    }
    for column in 0..4 {
        for (row, values) in input_map(along.map(|row| row[column])).into_iter().enumerate() {
            // SAFETY: by the contract of this function.
            unsafe { target.set(4 * row + column, values) };
        }
    }
}

/// `B^T`.
#[target_feature(enable = "avx512f")]
fn input_map([a, b, c, d]: [__m512; 4]) -> [__m512; 4] {
    [_mm512_sub_ps(a, c), _mm512_add_ps(b, c), _mm512_sub_ps(c, b), _mm512_sub_ps(b, d)]
}

/// `A d A^T` of the output's gradient at a vector of tiles.
///
/// # Safety
/// As for [`input`].
#[target_feature(enable = "avx512f,avx512dq")]
pub(super) unsafe fn gradient(runs: &[Run], maps: Maps<*const f32>, target: Target) {
    let map_pair = |a, b| [a, _mm512_add_ps(a, b), _mm512_sub_ps(a, b), _mm512_sub_ps(_mm512_setzero_ps(), b)];
    let mut along = [[_mm512_setzero_ps(); 4]; 2];
    for (row, along) in along.iter_mut().enumerate() {
        let mut columns = [_mm512_setzero_ps(); 2];
        for run in runs.iter().filter(|run| run.rows >> (row + 1) & 1 == 1) {
            let place = run.image * maps.apart + (row + 1) * maps.width + 1;
            let from = maps.first.wrapping_add(place).wrapping_offset(run.at);
            // SAFETY: the mask has what lies in the run's row of the map.
            let parts = unsafe { pairs(from, run.outputs) };
            for (column, part) in columns.iter_mut().zip(parts) {
                *column = _mm512_or_ps(*column, part);
            }
        }
        *along = map_pair(columns[0], columns[1]);
    }
    let [upper, lower] = along;
    for (column, (upper, lower)) in upper.into_iter().zip(lower).enumerate() {
        for (row, values) in map_pair(upper, lower).into_iter().enumerate() {
            // SAFETY: by the contract of this function.
            unsafe { target.set(4 * row + column, values) };
        }
    }
}

/// `A^T m A + start`, kept in a range, of a vector of tiles whose points are `apart` numbers apart, into the channel's maps.
///
/// # Safety
/// The processor has AVX-512; the points can be read. The maps that the runs are of can be written, and the places of the
/// runs' outputs are nobody else's meanwhile.
#[target_feature(enable = "avx512f,avx512dq")]
pub(super) unsafe fn output(
    (points, apart): (*const f32, usize),
    start: f32,
    [low, high]: Range,
    runs: &[Run],
    maps: Maps<*mut f32>,
) {
    let map_points =
        |[a, b, c, d]: [__m512; 4]| [_mm512_add_ps(_mm512_add_ps(a, b), c), _mm512_sub_ps(_mm512_sub_ps(b, c), d)];
    let mut across = [[_mm512_setzero_ps(); 4]; 2];
    let [upper, lower] = &mut across;
    for (column, (upper, lower)) in upper.iter_mut().zip(lower).enumerate() {
        let point = |row: usize| points.wrapping_add((4 * row + column) * apart);
        // SAFETY: by the contract of this function.
        let rows = [0, 1, 2, 3].map(|row| unsafe { _mm512_loadu_ps(point(row)) });
        [*upper, *lower] = map_points(rows);
    }
    let mix = [
        _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23),
        _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31),
    ];
    for (row, across) in across.into_iter().enumerate() {
        let [even, odd] = map_points(across).map(|values| {
            let values = _mm512_add_ps(values, _mm512_set1_ps(start));
            // In this order of operands NaN stays.
            _mm512_min_ps(_mm512_set1_ps(high), _mm512_max_ps(_mm512_set1_ps(low), values))
        });
        let mixed = mix.map(|mix| _mm512_permutex2var_ps(even, mix, odd));
        for run in runs.iter().filter(|run| run.rows >> (row + 1) & 1 == 1) {
            let place = run.image * maps.apart + (row + 1) * maps.width + 1;
            let to = maps.first.wrapping_add(place).wrapping_offset(run.at);
            // SAFETY: the mask has what lies in the run's row of the map.
            unsafe {
                _mm512_mask_storeu_ps(to, run.outputs as u16, mixed[0]);
                _mm512_mask_storeu_ps(to.wrapping_add(LANES), (run.outputs >> LANES) as u16, mixed[1]);
            }
        }
    }
}

for_each_processor! {
    /// `G g G^T` of some kernels, row by row.
    fn kernels(g: &[[f32; KERNELS]; 9], points: &mut [[f32; KERNELS]; POINTS]) = kernels_body
}

#[inline(always)]
fn kernels_body<const FUSED: bool>(g: &[[f32; KERNELS]; 9], points: &mut [[f32; KERNELS]; POINTS]) {
    for k in 0..KERNELS {
        let spread = |x: f32, y: f32, z: f32| [x, 0.5 * (x + y + z), 0.5 * (x - y + z), z];
        let rows = [0, 3, 6].map(|row: usize| spread(g[row][k], g[row + 1][k], g[row + 2][k]));
        for column in 0..4 {
            let values = spread(rows[0][column], rows[1][column], rows[2][column]);
            for (row, value) in values.into_iter().enumerate() {
                points[4 * row + column][k] = value;
            }
        }
    }
}

/// `G^T s G`, the gradient of a kernel.
pub(super) fn kernel_gradient(s: &[f32; POINTS]) -> [f32; 9] {
    let gather = |x: f32, y: f32, z: f32, w: f32| [x + 0.5 * (y + z), 0.5 * (y - z), 0.5 * (y + z) + w];
    let rows = [0, 4, 8, 12].map(|row: usize| gather(s[row], s[row + 1], s[row + 2], s[row + 3]));
    let columns: [[f32; 3]; 3] = std::array::from_fn(|c| gather(rows[0][c], rows[1][c], rows[2][c], rows[3][c]));
    std::array::from_fn(|place| columns[place % 3][place / 3])
}

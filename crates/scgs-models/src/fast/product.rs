//! Matrix products on one thread, and the buffers that their operands are copied into.

use std::cell::Cell;

/// Numbers of a line of the cache.
const ALIGNED: usize = 16;

/// A matrix in a slice: distance between rows, distance between columns.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    values: &'a [f32],
    row: usize,
    column: usize,
}

impl<'a> Matrix<'a> {
    pub(super) fn rows(values: &'a [f32], row: usize) -> Self {
        Self { values, row, column: 1 }
    }

    pub(super) fn transposed(self) -> Self {
        Self { values: self.values, row: self.column, column: self.row }
    }

    fn holds(&self, rows: usize, columns: usize) -> bool {
        (rows - 1) * self.row + (columns - 1) * self.column < self.values.len()
    }
}

/// `target = a b`, or `target += a b`, for `a` `[m, k]`, `b` `[k, n]` and `target` `[m, n]` with rows `row` apart.
///
/// # Safety
/// `target` points to `(m - 1) * row + n` numbers; rows of `n` numbers in it are read and written by nobody else.
pub(super) unsafe fn product(
    [m, n, k]: [usize; 3],
    (target, row): (*mut f32, usize),
    add: bool,
    a: Matrix<'_>,
    b: Matrix<'_>,
) {
    assert!(a.holds(m, k) && b.holds(k, n), "a matrix product stays inside its operands");
    // SAFETY: reads stay inside the two slices by the assertion, writes by the contract of this function. `None` keeps
    // the product on this thread.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            target,
            1,
            row as isize,
            add,
            a.values.as_ptr(),
            a.column as isize,
            a.row as isize,
            b.values.as_ptr(),
            b.column as isize,
            b.row as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// As [`product`] into a slice.
pub(super) fn product_into(
    shape: [usize; 3],
    (target, row): (&mut [f32], usize),
    add: bool,
    a: Matrix<'_>,
    b: Matrix<'_>,
) {
    assert!((shape[0] - 1) * row + shape[1] <= target.len(), "a matrix product stays inside its target");
    // SAFETY: the slice is exclusive and long enough by the assertion.
    unsafe { product(shape, (target.as_mut_ptr(), row), add, a, b) }
}

/// Runs `use_it` with a buffer of `length` numbers that the thread keeps for the next call. What is in it is unspecified.
pub(super) fn with_buffer<R>(which: usize, length: usize, use_it: impl FnOnce(&mut [f32]) -> R) -> R {
    thread_local!(static BUFFERS: [Cell<Vec<f32>>; 2] = const { [const { Cell::new(Vec::new()) }; 2] });
    // Taken out while in use: rayon may run another job on this thread in between.
    let mut buffer = BUFFERS.with(|buffers| buffers[which].take());
    if buffer.len() < length + ALIGNED {
        buffer.resize(length + ALIGNED, 0.0);
    }
    // A vector that lies across two lines of the cache is read in two parts.
    let start = buffer.as_ptr().align_offset(ALIGNED * size_of::<f32>());
    let result = use_it(&mut buffer[start..start + length]);
    BUFFERS.with(|buffers| buffers[which].set(buffer));
    result
}

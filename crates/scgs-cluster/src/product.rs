//! Blocked matrix products. A block's rows never depend on the number of threads, so neither do its sums.

/// Rows of one block: large enough that packing the other operand does not matter, small enough for the cache.
pub(crate) const BLOCK_ROWS: usize = 512;

/// `out[i, j] = a[i] . b[j]` for rows of `d` values each; `out` is row-major.
pub(crate) fn dots(a: &[f32], b: &[f32], d: usize, out: &mut [f32]) {
    let (m, n) = (a.len() / d, b.len() / d);
    assert!(a.len() == m * d && b.len() == n * d && out.len() == m * n, "operands of {m} x {n} x {d}");
    // SAFETY: the assertion makes the slices exactly m x d, n x d and m x n values long; with the row-major strides (d, 1),
    // the transposed strides (1, d) and (n, 1) every access is inside them, and `out` is borrowed mutably, so it
    // overlaps neither operand.
    unsafe {
        matrixmultiply::sgemm(
            m,
            d,
            n,
            1.0,
            a.as_ptr(),
            d as isize,
            1,
            b.as_ptr(),
            1,
            d as isize,
            0.0,
            out.as_mut_ptr(),
            n as isize,
            1,
        );
    }
}

/// [`dots`] in f64.
pub(crate) fn dots_f64(a: &[f64], b: &[f64], d: usize, out: &mut [f64]) {
    let (m, n) = (a.len() / d, b.len() / d);
    assert!(a.len() == m * d && b.len() == n * d && out.len() == m * n, "operands of {m} x {n} x {d}");
    // SAFETY: as in `dots`.
    unsafe {
        matrixmultiply::dgemm(
            m,
            d,
            n,
            1.0,
            a.as_ptr(),
            d as isize,
            1,
            b.as_ptr(),
            1,
            d as isize,
            0.0,
            out.as_mut_ptr(),
            n as isize,
            1,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_dot_products() {
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let b = [1.0, 0.0, -1.0];
        let mut out = [f32::NAN; 2];
        dots(&a, &b, 3, &mut out);
        assert_eq!(out, [-2.0, -2.0]);
        let mut wide = [f64::NAN; 4];
        let a = a.map(f64::from);
        dots_f64(&a, &a, 3, &mut wide);
        assert_eq!(wide, [14.0, 32.0, 32.0, 77.0]);
    }
}

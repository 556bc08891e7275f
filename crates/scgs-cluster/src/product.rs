//! Blocked matrix products and sums of rows. A block's rows never depend on the number of threads, so neither do its sums.

use pulp::{Arch, Simd, WithSimd};

/// Rows of one block: large enough that packing the other operand does not matter, small enough for the cache.
pub(crate) const BLOCK_ROWS: usize = 512;

/// `out[i, j] = a[i] . b[j]` for rows of `d` values each; `out` is row-major.
pub(crate) fn dots(a: &[f32], b: &[f32], d: usize, out: &mut [f32]) {
    products(a, b, d, out, [0.0, 1.0]);
}

/// [`dots`] in f64.
pub(crate) fn dots_f64(a: &[f64], b: &[f64], d: usize, out: &mut [f64]) {
    products(a, b, d, out, [0.0, 1.0]);
}

fn products<T: 'static>(a: &[T], b: &[T], d: usize, out: &mut [T], [zero, one]: [T; 2]) {
    let (m, n) = (a.len() / d, b.len() / d);
    assert!(a.len() == m * d && b.len() == n * d && out.len() == m * n, "operands of {m} x {n} x {d}");
    // SAFETY: the assertion makes the slices exactly m x d, n x d and m x n values long; with the row-major strides (d, 1),
    // the transposed strides (1, d) and (n, 1) every access is inside them, and `out` is borrowed mutably, so it
    // overlaps neither operand. `T` is one of the two types above, which `gemm` knows. `None` keeps to this thread.
    unsafe {
        gemm::gemm(
            m,
            n,
            d,
            out.as_mut_ptr(),
            1,
            n as isize,
            false,
            a.as_ptr(),
            1,
            d as isize,
            b.as_ptr(),
            d as isize,
            1,
            zero,
            one,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Adds a row times `sign`, 1 or -1, in f64. On every processor the same sums: wider vectors only hold more columns.
pub(crate) fn add_row(sums: &mut [f64], row: &[f32], sign: f64) {
    struct Add<'a>(&'a mut [f64], &'a [f32], f64);
    impl WithSimd for Add<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) {
            let Self(sums, row, sign) = self;
            sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += sign * f64::from(value));
        }
    }
    Arch::new().dispatch(Add(sums, row, sign));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_added_and_taken_away() {
        let row: Vec<f32> = (0..131).map(|i| i as f32 * 0.1).collect();
        let mut sums = vec![1.0; row.len()];
        add_row(&mut sums, &row, 1.0);
        assert!(sums.iter().zip(&row).all(|(&sum, &value)| sum == 1.0 + f64::from(value)));
        let before = sums.clone();
        add_row(&mut sums, &row, -1.0);
        assert!(sums.iter().zip(&before).zip(&row).all(|((&sum, &old), &value)| sum == old - f64::from(value)));
    }

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

//! The largest eigenvalues of a symmetric matrix and their eigenvectors, exact to rounding and deterministic.
//!
//! Householder tridiagonalisation, Sturm bisection for the eigenvalues and inverse iteration for the eigenvectors, as in
//! G. Golub and C. Van Loan, "Matrix Computations", 4th edition, sections 8.3.1, 8.4.1 and 8.4.2.

use rayon::prelude::*;

/// Rows that one task reduces; the order of the sums over a row is fixed.
const ROWS: usize = 64;

/// Steps of inverse iteration. Two suffice from an eigenvalue exact to rounding (LAPACK's `dstein` allows five).
const INVERSE_STEPS: usize = 4;

/// The `count` largest eigenvalues of the symmetric `n x n` matrix `a`, descending, and unit eigenvectors of `n` values each.
/// Destroys `a`. Signs are arbitrary but deterministic.
pub(crate) fn largest(mut a: Vec<f64>, n: usize, count: usize) -> (Vec<f64>, Vec<Vec<f64>>) {
    let mut reflectors = Vec::with_capacity(n);
    for step in 0..n.saturating_sub(2) {
        reflectors.push(reflect(&mut a, n, step));
    }
    let diagonal: Vec<f64> = (0..n).map(|i| a[i * n + i]).collect();
    let off: Vec<f64> = (1..n).map(|i| a[i * n + i - 1]).collect();
    let values: Vec<f64> = (0..count).into_par_iter().map(|index| eigenvalue(&diagonal, &off, index)).collect();
    let mut vectors: Vec<Vec<f64>> = Vec::with_capacity(count);
    for &value in &values {
        let vector = eigenvector(&diagonal, &off, value, &vectors);
        vectors.push(vector);
    }
    vectors.par_iter_mut().for_each(|vector| {
        for (step, (v, beta)) in reflectors.iter().enumerate().rev() {
            let tail = &mut vector[step + 1..];
            let factor = beta * tail.iter().zip(v).map(|(x, y)| x * y).sum::<f64>();
            tail.iter_mut().zip(v).for_each(|(x, y)| *x -= factor * y);
        }
    });
    (values, vectors)
}

/// One Householder step (algorithm 8.3.1): makes column `step` zero below the subdiagonal, as `H a H` with
/// `H = I - beta v v^T` on the rows and columns after `step`. Returns `(v, beta)`.
fn reflect(a: &mut [f64], n: usize, step: usize) -> (Vec<f64>, f64) {
    let mut v: Vec<f64> = (step + 1..n).map(|row| a[row * n + step]).collect();
    let tail: f64 = v[1..].iter().map(|x| x * x).sum();
    if tail == 0.0 {
        return (v, 0.0);
    }
    let length = (v[0] * v[0] + tail).sqrt();
    let alpha = if v[0] > 0.0 { -length } else { length };
    v[0] -= alpha;
    let beta = 2.0 / (v[0] * v[0] + tail);
    let rest = &mut a[(step + 1) * n..];
    // p = beta A v, w = p - (beta p.v / 2) v, A -= v w^T + w v^T: whole rows, so no sum depends on the sharing of work.
    let p: Vec<f64> = rest
        .par_chunks_exact(n)
        .with_min_len(ROWS)
        .map(|row| beta * row[step + 1..].iter().zip(&v).map(|(x, y)| x * y).sum::<f64>())
        .collect();
    let half = beta * p.iter().zip(&v).map(|(x, y)| x * y).sum::<f64>() / 2.0;
    let w: Vec<f64> = p.iter().zip(&v).map(|(x, y)| x - half * y).collect();
    rest.par_chunks_exact_mut(n).with_min_len(ROWS).enumerate().for_each(|(i, row)| {
        for ((x, vj), wj) in row[step + 1..].iter_mut().zip(&v).zip(&w) {
            *x -= v[i] * wj + w[i] * vj;
        }
    });
    a[(step + 1) * n + step] = alpha;
    (v, beta)
}

/// The eigenvalue with `index` larger ones, by bisection on the number of eigenvalues above a point (section 8.4.1).
fn eigenvalue(diagonal: &[f64], off: &[f64], index: usize) -> f64 {
    let at = |i: usize| if i < off.len() { off[i].abs() } else { 0.0 };
    let radius = |i: usize| if i > 0 { at(i - 1) + at(i) } else { at(i) };
    let mut low = (0..diagonal.len()).map(|i| diagonal[i] - radius(i)).fold(f64::INFINITY, f64::min);
    let mut high = (0..diagonal.len()).map(|i| diagonal[i] + radius(i)).fold(f64::NEG_INFINITY, f64::max);
    loop {
        let middle = low + (high - low) / 2.0;
        if middle <= low || middle >= high {
            return middle;
        }
        if count_above(diagonal, off, middle) > index {
            low = middle;
        } else {
            high = middle;
        }
    }
}

/// Number of eigenvalues above `point`: the positive pivots of `T - point I`.
fn count_above(diagonal: &[f64], off: &[f64], point: f64) -> usize {
    let mut pivot = 1.0;
    let mut above = 0;
    for (i, d) in diagonal.iter().enumerate() {
        let e = if i > 0 { off[i - 1] } else { 0.0 };
        pivot = d - point - if e == 0.0 { 0.0 } else { e * e / pivot };
        if pivot == 0.0 {
            // As if the point were the smallest step lower.
            pivot = f64::MIN_POSITIVE.max(e.abs() * f64::EPSILON);
        }
        above += usize::from(pivot > 0.0);
    }
    above
}

/// A unit eigenvector of the tridiagonal matrix to `value`, orthogonal to `found`, by inverse iteration (section 8.4.2).
fn eigenvector(diagonal: &[f64], off: &[f64], value: f64, found: &[Vec<f64>]) -> Vec<f64> {
    let n = diagonal.len();
    let norm = diagonal.iter().chain(off).fold(0.0_f64, |m, v| m.max(v.abs()));
    let smallest = (norm * f64::EPSILON).max(f64::MIN_POSITIVE);
    // A start without symmetry, other for each vector so that equal eigenvalues get different ones.
    let mut state = found.len() as u32 + 1;
    let mut x: Vec<f64> = (0..n)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 8) / f64::from(1 << 24) + 0.1
        })
        .collect();
    for _ in 0..INVERSE_STEPS {
        solve(diagonal, off, value, smallest, &mut x);
        // Twice is enough for orthogonality to rounding.
        for _ in 0..2 {
            for other in found {
                let share: f64 = x.iter().zip(other).map(|(a, b)| a * b).sum();
                x.iter_mut().zip(other).for_each(|(a, b)| *a -= share * b);
            }
            let largest = x.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
            x.iter_mut().for_each(|v| *v /= largest);
            let length = x.iter().map(|v| v * v).sum::<f64>().sqrt();
            x.iter_mut().for_each(|v| *v /= length);
        }
    }
    x
}

/// Solves `(T - value I) y = x` in place by Gaussian elimination with row exchanges; pivots are at least `smallest`.
fn solve(diagonal: &[f64], off: &[f64], value: f64, smallest: f64, x: &mut [f64]) {
    let n = diagonal.len();
    // Row i of the upper triangle has up to three entries: at i, i + 1 and i + 2.
    let mut upper = vec![[0.0_f64; 3]; n];
    let mut current = [diagonal[0] - value, off.first().copied().unwrap_or(0.0), 0.0];
    for i in 0..n.saturating_sub(1) {
        let mut next = [off[i], diagonal[i + 1] - value, off.get(i + 1).copied().unwrap_or(0.0)];
        if next[0].abs() > current[0].abs() {
            std::mem::swap(&mut current, &mut next);
            x.swap(i, i + 1);
        }
        if current[0].abs() < smallest {
            current[0] = smallest;
        }
        let factor = next[0] / current[0];
        upper[i] = current;
        x[i + 1] -= factor * x[i];
        current = [next[1] - factor * current[1], next[2] - factor * current[2], 0.0];
    }
    if current[0].abs() < smallest {
        current[0] = smallest;
    }
    upper[n - 1] = current;
    for i in (0..n).rev() {
        let one = if i + 1 < n { upper[i][1] * x[i + 1] } else { 0.0 };
        let two = if i + 2 < n { upper[i][2] * x[i + 2] } else { 0.0 };
        x[i] = (x[i] - one - two) / upper[i][0];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Largest `|A v - value v|` over all pairs, and largest deviation of `V^T V` from the identity.
    fn errors(a: &[f64], n: usize, values: &[f64], vectors: &[Vec<f64>]) -> (f64, f64) {
        let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(a, b)| a * b).sum::<f64>();
        let (mut residual, mut skew) = (0.0_f64, 0.0_f64);
        for (i, (value, v)) in values.iter().zip(vectors).enumerate() {
            for row in 0..n {
                residual = residual.max((dot(&a[row * n..(row + 1) * n], v) - value * v[row]).abs());
            }
            for (j, w) in vectors.iter().enumerate() {
                skew = skew.max((dot(v, w) - f64::from(u8::from(i == j))).abs());
            }
        }
        (residual, skew)
    }

    #[test]
    fn the_second_difference_matrix_has_its_known_eigenvalues() {
        let n = 50;
        let mut a = vec![0.0; n * n];
        for i in 0..n {
            a[i * n + i] = 2.0;
            if i > 0 {
                a[i * n + i - 1] = -1.0;
                a[(i - 1) * n + i] = -1.0;
            }
        }
        let (values, vectors) = largest(a.clone(), n, n);
        for (j, value) in values.iter().enumerate() {
            let angle = std::f64::consts::PI * (n - j) as f64 / (n + 1) as f64;
            assert!((value - (2.0 - 2.0 * angle.cos())).abs() < 1e-14);
        }
        let (residual, skew) = errors(&a, n, &values, &vectors);
        assert!(residual < 1e-13 && skew < 1e-13, "{residual} {skew}");
    }

    #[test]
    fn dense_repeated_and_zero_eigenvalues_keep_orthogonal_vectors() {
        // Twice the identity plus rank two: eigenvalues 2 (n - 2 times) and two above.
        let n = 40;
        let x = |i: usize| ((i * 7) % 11) as f64 - 5.0;
        let y = |i: usize| ((i * 5) % 13) as f64 - 6.0;
        for shift in [2.0, 0.0] {
            let a: Vec<f64> = (0..n * n)
                .map(|e| {
                    let (i, j) = (e / n, e % n);
                    x(i) * x(j) + y(i) * y(j) + if i == j { shift } else { 0.0 }
                })
                .collect();
            let (values, vectors) = largest(a.clone(), n, 6);
            assert!(values[1] > 100.0 && values[2..].iter().all(|v| (v - shift).abs() < 1e-12), "{values:?}");
            let (residual, skew) = errors(&a, n, &values, &vectors);
            assert!(residual < 1e-11 && skew < 1e-13, "{residual} {skew}");
        }
    }

    #[test]
    fn one_and_two_rows_and_a_zero_matrix_work() {
        assert_eq!(largest(vec![3.0], 1, 1), (vec![3.0], vec![vec![1.0]]));
        let (values, vectors) = largest(vec![0.0, 2.0, 2.0, 0.0], 2, 2);
        let (residual, skew) = errors(&[0.0, 2.0, 2.0, 0.0], 2, &values, &vectors);
        assert!((values[0] - 2.0).abs() < 1e-15 && (values[1] + 2.0).abs() < 1e-15 && residual < 1e-14 && skew < 1e-14);
        let (values, vectors) = largest(vec![0.0; 9], 3, 3);
        let (residual, skew) = errors(&[0.0; 9], 3, &values, &vectors);
        assert!(values.iter().all(|v| v.abs() < 1e-300) && residual < 1e-300 && skew < 1e-14);
    }
}

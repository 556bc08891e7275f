//! Logistic regression with an L1 penalty: `|w|_1 + C * sum_i s_i loss_i`, intercepts unpenalised: scikit-learn's
//! `LogisticRegression(penalty="l1", solver="liblinear")`, which DFR uses, but for its penalty on the intercept.
//!
//! FISTA (Beck and Teboulle 2009) with the restarts of O'Donoghue and Candès 2015: a gradient step on the smooth part,
//! soft thresholding, momentum that is dropped when it points uphill.

use argmin::core::Gradient as _;

use super::{Examples, LinearHead, Problem, Standardiser, to_head};
use crate::Error;

const MAX_ITERATIONS: usize = 50_000;
/// The largest change of a parameter in one step at which the iteration ends, relative to the largest parameter.
const TOLERANCE: f64 = 1e-9;

/// Fits a sparse head on standardised features and expresses it for raw ones.
///
/// # Errors
/// [`Error::Optimiser`] if the iteration does not converge.
///
/// # Panics
/// If the slices of `examples` do not belong together.
pub fn fit(examples: Examples<'_>, classes: usize, c: f64, scale: &Standardiser) -> Result<LinearHead, Error> {
    let problem = Problem::new(examples, classes, c, scale);
    let width = problem.width;
    let step = 1.0 / lipschitz(&problem);
    let mut point = vec![0.0; problem.outputs * (width + 1)];
    let mut ahead = point.clone();
    let mut inertia = 1.0f64;
    for _ in 0..MAX_ITERATIONS {
        let gradient = problem.data_gradient(&ahead).map_err(|e| Error::Optimiser(e.to_string()))?;
        let next: Vec<f64> = ahead
            .iter()
            .zip(&gradient)
            .enumerate()
            .map(|(i, (x, g))| if i % (width + 1) == width { x - step * g } else { shrink(x - step * g, step) })
            .collect();
        let uphill: f64 = (0..next.len()).map(|i| (ahead[i] - next[i]) * (next[i] - point[i])).sum();
        let moved = next.iter().zip(&ahead).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        let size = next.iter().map(|v| v.abs()).fold(1.0, f64::max);
        let following = if uphill > 0.0 { 1.0 } else { (1.0 + (1.0 + 4.0 * inertia * inertia).sqrt()) / 2.0 };
        let push = if uphill > 0.0 { 0.0 } else { (inertia - 1.0) / following };
        ahead = next.iter().zip(&point).map(|(n, p)| n + push * (n - p)).collect();
        point = next;
        inertia = following;
        if moved <= TOLERANCE * size {
            return Ok(to_head(&point, classes, width, scale));
        }
    }
    Err(Error::Optimiser(format!("no minimum of the L1 problem after {MAX_ITERATIONS} iterations")))
}

/// Soft thresholding.
fn shrink(value: f64, by: f64) -> f64 {
    value.signum() * (value.abs() - by).max(0.0)
}

/// An upper bound of the curvature of the data term: `C / 4` (two classes) or `C / 2` times the largest eigenvalue of
/// `sum_i s_i x_i x_i^T` with a 1 appended to every row, by power iteration, rounded up.
fn lipschitz(problem: &Problem<'_>) -> f64 {
    let width = problem.width;
    let mut v = vec![1.0 / ((width + 1) as f64).sqrt(); width + 1];
    let mut eigenvalue = 0.0;
    for _ in 0..100 {
        let mut next = vec![0.0; width + 1];
        for (row, &weight) in problem.features.chunks(width).zip(problem.weights) {
            let along = weight * (v[width] + super::dot(&v[..width], row));
            next[..width].iter_mut().zip(row).for_each(|(n, x)| *n += along * x);
            next[width] += along;
        }
        eigenvalue = next.iter().map(|x| x * x).sum::<f64>().sqrt();
        if eigenvalue == 0.0 {
            break;
        }
        v = next.iter().map(|x| x / eigenvalue).collect();
    }
    let share = if problem.outputs == 1 { 0.25 } else { 0.5 };
    (1.05 * share * problem.c * eigenvalue).max(f64::MIN_POSITIVE)
}

impl Problem<'_> {
    /// The gradient without the squared penalty.
    fn data_gradient(&self, parameters: &[f64]) -> Result<Vec<f64>, argmin::core::Error> {
        let mut gradient = self.gradient(&parameters.to_vec())?;
        self.penalised(parameters).for_each(|(i, w)| gradient[i] -= w);
        Ok(gradient)
    }
}

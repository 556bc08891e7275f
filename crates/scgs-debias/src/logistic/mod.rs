//! L2-regularised logistic regression with example weights: how the last layer is trained on frozen features.
//!
//! The objective is scikit-learn's (`sklearn.linear_model.LogisticRegression`, L2 penalty, unpenalised intercept): for
//! two classes `|w|^2 / 2 + C * sum_i s_i * log(1 + exp(-y_i (w x_i + b)))`, for more the multinomial form. It is convex,
//! so the solution depends on the data alone; L-BFGS of the `argmin` crate finds it. [`fit_sparse`] puts `|w|_1` in
//! place of the squares.

mod sparse;

use argmin::{
    core::{CostFunction, Executor, Gradient, State, TerminationReason, TerminationStatus},
    solver::{linesearch::MoreThuenteLineSearch, quasinewton::LBFGS},
};
use rayon::prelude::*;

use crate::Error;

pub use sparse::fit as fit_sparse;

/// Rows summed by one task. A constant, so that sums do not depend on the number of threads.
const ROWS: usize = 128;
const MAX_ITERATIONS: u64 = 2000;

/// A linear classifier: `logits = weight * features + bias`.
#[derive(Debug, Clone, PartialEq)]
pub struct LinearHead {
    /// Number of classes, at least 2.
    pub classes: usize,
    /// Number of features.
    pub width: usize,
    /// `[classes, width]`, row major.
    pub weight: Vec<f32>,
    /// `[classes]`
    pub bias: Vec<f32>,
}

impl LinearHead {
    /// Class probabilities of one row of features.
    pub fn probabilities(&self, features: &[f32]) -> Vec<f64> {
        let logits: Vec<f64> = self
            .weight
            .chunks(self.width)
            .zip(&self.bias)
            .map(|(w, &b)| {
                f64::from(b) + w.iter().zip(features).map(|(&w, &x)| f64::from(w) * f64::from(x)).sum::<f64>()
            })
            .collect();
        softmax(&logits)
    }
}

/// Index and value of the largest probability.
pub fn most_probable(probabilities: &[f64]) -> (usize, f64) {
    probabilities
        .iter()
        .copied()
        .enumerate()
        .fold((0, f64::NEG_INFINITY), |best, (i, p)| if p > best.1 { (i, p) } else { best })
}

/// Mean and standard deviation per column, for scaling features before regularisation.
#[derive(Debug, Clone, PartialEq)]
pub struct Standardiser {
    mean: Vec<f64>,
    sd: Vec<f64>,
}

impl Standardiser {
    /// Population statistics of the rows of `[n, width]`; a constant column gets the deviation 1 as in scikit-learn's
    /// `StandardScaler`.
    pub fn fit(features: &[f32], width: usize) -> Self {
        let n = (features.len() / width) as f64;
        let mut mean = vec![0.0; width];
        for row in features.chunks(width) {
            mean.iter_mut().zip(row).for_each(|(m, &x)| *m += f64::from(x));
        }
        mean.iter_mut().for_each(|m| *m /= n);
        let mut sd = vec![0.0; width];
        for row in features.chunks(width) {
            sd.iter_mut().zip(&mean).zip(row).for_each(|((s, m), &x)| *s += (f64::from(x) - m).powi(2));
        }
        sd.iter_mut().for_each(|s| *s = if *s > 0.0 { (*s / n).sqrt() } else { 1.0 });
        Self { mean, sd }
    }

    /// The head on raw features that answers as `weight` (`[classes, width]`) and `bias` do on scaled ones:
    /// `w (x - m) / s + b = (w / s) x + (b - sum w m / s)`.
    pub fn to_raw(&self, weight: &[f64], bias: &[f64]) -> LinearHead {
        let width = self.mean.len();
        let scaled: Vec<f64> = weight.chunks(width).flat_map(|w| w.iter().zip(&self.sd).map(|(w, s)| w / s)).collect();
        let shift = |w: &[f64]| w.iter().zip(&self.mean).map(|(w, m)| w * m).sum::<f64>();
        LinearHead {
            classes: bias.len(),
            width,
            bias: scaled.chunks(width).zip(bias).map(|(w, b)| (b - shift(w)) as f32).collect(),
            weight: scaled.iter().map(|&w| w as f32).collect(),
        }
    }

    /// The inverse of [`Self::to_raw`]: weight and bias on scaled features.
    pub fn to_scaled(&self, head: &LinearHead) -> (Vec<f64>, Vec<f64>) {
        let rows = || head.weight.chunks(head.width);
        let weight = rows().flat_map(|w| w.iter().zip(&self.sd).map(|(&w, s)| f64::from(w) * s)).collect();
        let shift = |w: &[f32]| w.iter().zip(&self.mean).map(|(&w, m)| f64::from(w) * m).sum::<f64>();
        (weight, rows().zip(&head.bias).map(|(w, &b)| f64::from(b) + shift(w)).collect())
    }

    /// Scales rows to mean 0 and deviation 1.
    pub fn apply(&self, features: &[f32]) -> Vec<f64> {
        let width = self.mean.len();
        features
            .chunks(width)
            .flat_map(|row| row.iter().zip(&self.mean).zip(&self.sd).map(|((&x, m), s)| (f64::from(x) - m) / s))
            .collect()
    }
}

/// Rows to learn from.
#[derive(Debug, Clone, Copy)]
pub struct Examples<'a> {
    /// `[n, width]`, row major.
    pub features: &'a [f32],
    /// Number of columns.
    pub width: usize,
    /// `[n]`, below the number of classes.
    pub labels: &'a [usize],
    /// `[n]`, 0 or more: an example of weight 2 counts as two.
    pub weights: &'a [f64],
}

/// Fits a head on standardised features and expresses it for raw ones.
///
/// # Errors
/// [`Error::Optimiser`] if the iteration does not converge.
///
/// # Panics
/// If the slices of `examples` do not belong together.
pub fn fit(examples: Examples<'_>, classes: usize, c: f64, scale: &Standardiser) -> Result<LinearHead, Error> {
    let problem = Problem::new(examples, classes, c, scale);
    let start = vec![0.0; problem.outputs * (examples.width + 1)];
    // A gradient this small relative to the data term leaves logits exact to about 1e-6.
    let total: f64 = examples.weights.iter().sum();
    let tolerance = 1e-6 * (c * total).max(1e-3);
    let solver = LBFGS::new(MoreThuenteLineSearch::new(), 10)
        .with_tolerance_grad(tolerance)
        .and_then(|s| s.with_tolerance_cost(1e-13))
        .map_err(|e| Error::Optimiser(e.to_string()))?;
    let result = Executor::new(problem, solver)
        .configure(|s| s.param(start).max_iters(MAX_ITERATIONS))
        .run()
        .map_err(|e| Error::Optimiser(e.to_string()))?;
    if let TerminationStatus::Terminated(TerminationReason::MaxItersReached) = result.state().get_termination_status() {
        return Err(Error::Optimiser(format!("no minimum after {MAX_ITERATIONS} iterations")));
    }
    let solution = result.state().get_best_param().ok_or_else(|| Error::Optimiser("no solution".into()))?;
    Ok(to_head(solution, classes, examples.width, scale))
}

/// One row of parameters per output, bias last, as a head on raw features.
fn to_head(solution: &[f64], classes: usize, width: usize, scale: &Standardiser) -> LinearHead {
    let (mut weight, mut bias): (Vec<f64>, Vec<f64>) = (Vec::new(), Vec::new());
    for row in solution.chunks(width + 1) {
        weight.extend(&row[..width]);
        bias.push(row[width]);
    }
    if bias.len() == 1 && classes == 2 {
        // One score for two classes becomes two symmetric logits with the same difference.
        weight = weight.iter().map(|w| -w / 2.0).chain(weight.iter().map(|w| w / 2.0)).collect();
        bias = vec![-bias[0] / 2.0, bias[0] / 2.0];
    }
    scale.to_raw(&weight, &bias)
}

struct Problem<'a> {
    /// Standardised, `[n, width]`.
    features: Vec<f64>,
    width: usize,
    labels: &'a [usize],
    weights: &'a [f64],
    /// 1 for two classes, else the number of classes. A parameter vector is `[outputs, width + 1]`, bias last.
    outputs: usize,
    c: f64,
}

impl<'a> Problem<'a> {
    fn new(examples: Examples<'a>, classes: usize, c: f64, scale: &Standardiser) -> Self {
        let n = examples.labels.len();
        assert!(examples.features.len() == n * examples.width && examples.weights.len() == n, "parallel slices");
        Self {
            features: scale.apply(examples.features),
            width: examples.width,
            labels: examples.labels,
            weights: examples.weights,
            outputs: if classes == 2 { 1 } else { classes },
            c,
        }
    }
}

impl Problem<'_> {
    /// Loss and, per output, its derivative for one row.
    fn row_loss(&self, parameters: &[f64], row: &[f64], label: usize) -> (f64, Vec<f64>) {
        let scores: Vec<f64> =
            parameters.chunks(self.width + 1).map(|p| p[self.width] + dot(&p[..self.width], row)).collect();
        if self.outputs == 1 {
            let target = label as f64;
            // log(1 + exp(s)) - target * s without overflow
            let loss = scores[0].max(0.0) + (-scores[0].abs()).exp().ln_1p() - target * scores[0];
            return (loss, vec![1.0 / (1.0 + (-scores[0]).exp()) - target]);
        }
        let mut p = softmax(&scores);
        let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let log_sum = top + scores.iter().map(|s| (s - top).exp()).sum::<f64>().ln();
        p[label] -= 1.0;
        (log_sum - scores[label], p)
    }

    /// The weighted sum over rows of `f`, in an order that does not depend on the number of threads.
    fn over_chunks<T: Send>(&self, f: impl Fn(&mut dyn Iterator<Item = (&[f64], usize, f64)>) -> T + Sync) -> Vec<T> {
        self.features
            .par_chunks(ROWS * self.width)
            .zip(self.labels.par_chunks(ROWS))
            .zip(self.weights.par_chunks(ROWS))
            .map(|((x, y), s)| f(&mut x.chunks(self.width).zip(y).zip(s).map(|((x, &y), &s)| (x, y, s))))
            .collect()
    }

    fn penalised<'p>(&self, parameters: &'p [f64]) -> impl Iterator<Item = (usize, &'p f64)> + 'p {
        let width = self.width;
        parameters.iter().enumerate().filter(move |(i, _)| i % (width + 1) != width)
    }
}

impl CostFunction for Problem<'_> {
    type Param = Vec<f64>;
    type Output = f64;

    fn cost(&self, parameters: &Vec<f64>) -> Result<f64, argmin::core::Error> {
        let losses = self.over_chunks(|rows| rows.map(|(x, y, s)| s * self.row_loss(parameters, x, y).0).sum::<f64>());
        let penalty: f64 = self.penalised(parameters).map(|(_, w)| w * w).sum::<f64>() / 2.0;
        Ok(penalty + self.c * losses.iter().sum::<f64>())
    }
}

impl Gradient for Problem<'_> {
    type Param = Vec<f64>;
    type Gradient = Vec<f64>;

    fn gradient(&self, parameters: &Vec<f64>) -> Result<Vec<f64>, argmin::core::Error> {
        let parts = self.over_chunks(|rows| {
            let mut sum = vec![0.0; parameters.len()];
            for (x, y, s) in rows {
                for (g, d) in sum.chunks_mut(self.width + 1).zip(self.row_loss(parameters, x, y).1) {
                    let d = d * s * self.c;
                    g[..self.width].iter_mut().zip(x).for_each(|(g, x)| *g += d * x);
                    g[self.width] += d;
                }
            }
            sum
        });
        let mut gradient = vec![0.0; parameters.len()];
        for part in parts {
            gradient.iter_mut().zip(part).for_each(|(g, p)| *g += p);
        }
        self.penalised(parameters).for_each(|(i, w)| gradient[i] += w);
        Ok(gradient)
    }
}

/// Eight partial sums let the compiler use vector registers; the order is fixed.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (a8, a_rest) = a.as_chunks::<8>();
    let (b8, b_rest) = b.as_chunks::<8>();
    for (a, b) in a8.iter().zip(b8) {
        for ((s, a), b) in sums.iter_mut().zip(a).zip(b) {
            *s += a * b;
        }
    }
    sums.iter().sum::<f64>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f64>()
}

pub(crate) fn softmax(logits: &[f64]) -> Vec<f64> {
    let top = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exponentials: Vec<f64> = logits.iter().map(|l| (l - top).exp()).collect();
    let sum: f64 = exponentials.iter().sum();
    exponentials.iter().map(|e| e / sum).collect()
}

#[cfg(test)]
mod tests;

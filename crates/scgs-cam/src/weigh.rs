//! The formulas: one picture's activation and gradient in, its raw map out. Plain loops in double precision, so that
//! the result depends on nothing but the numbers.

use crate::{CamMethod, Epsilon};

/// One picture's layer.
pub(crate) struct Layer<'a> {
    /// `channels * cells` values, channel by channel.
    pub(crate) activation: &'a [f32],
    /// As `activation`; the gradient of the score.
    pub(crate) gradient: &'a [f32],
    /// `h * w`.
    pub(crate) cells: usize,
}

impl Layer<'_> {
    /// The raw map (`cells` values, any sign) of a method that uses gradients.
    pub(crate) fn raw_map(&self, method: &CamMethod) -> Vec<f64> {
        let mut map = vec![0.0f64; self.cells];
        let scale_free = match method {
            CamMethod::GradCamPlusPlus { epsilon: Epsilon::ScaleFree } => {
                1e-6 * self.gradient.iter().fold(0.0f64, |max, &g| max.max(f64::from(g).powi(2)))
            }
            _ => 0.0,
        };
        for (a, g) in self.activation.chunks_exact(self.cells).zip(self.gradient.chunks_exact(self.cells)) {
            let weight = match method {
                CamMethod::GradCam => sum(g) / self.cells as f64,
                CamMethod::XGradCam => {
                    quotient(a.iter().zip(g).map(|(&a, &g)| f64::from(a) * f64::from(g)).sum(), sum(a) + 1e-7)
                }
                CamMethod::GradCamPlusPlus { epsilon: Epsilon::Absolute(epsilon) } => plus_plus_weight(a, g, *epsilon),
                CamMethod::GradCamPlusPlus { epsilon: Epsilon::ScaleFree } => plus_plus_weight(a, g, scale_free),
                CamMethod::LayerCam => {
                    for ((map, &a), &g) in map.iter_mut().zip(a).zip(g) {
                        *map += f64::from(g).max(0.0) * f64::from(a);
                    }
                    continue;
                }
                CamMethod::EigenCam => return principal_component(self.activation, self.cells),
                // Has weights of its own, see `score_cam`.
                CamMethod::ScoreCam => continue,
            };
            map.iter_mut().zip(a).for_each(|(map, &a)| *map += weight * f64::from(a));
        }
        map
    }
}

fn sum(values: &[f32]) -> f64 {
    values.iter().map(|&v| f64::from(v)).sum()
}

/// 0 where the denominator is 0: such a channel carries no evidence.
fn quotient(numerator: f64, denominator: f64) -> f64 {
    if denominator == 0.0 { 0.0 } else { numerator / denominator }
}

/// Grad-CAM++'s weight of a channel: `sum relu(g) alpha`, `alpha = g^2 / (2 g^2 + sum(A) g^3 + epsilon)`.
fn plus_plus_weight(a: &[f32], g: &[f32], epsilon: f64) -> f64 {
    let total = sum(a);
    g.iter()
        .map(|&g| f64::from(g))
        .filter(|&g| g > 0.0)
        .map(|g| g * quotient(g * g, 2.0 * g * g + total * g.powi(3) + epsilon))
        .sum()
}

/// Rounds of power iteration: enough to tell singular values apart that differ by 1 %.
const ROUNDS: usize = 2000;

/// The cells' coordinate along the first principal component of their channel vectors, up to scale: the first left
/// singular vector of the centred `[cells, channels]` matrix.
///
/// A singular vector has no sign of its own, and pytorch-grad-cam takes the one LAPACK happens to return. Here cells
/// with larger activations are positive: the map's product with the cells' squared norms is at least 0.
pub(crate) fn principal_component(activation: &[f32], cells: usize) -> Vec<f64> {
    let channels = activation.len() / cells;
    let mut energy = vec![0.0f64; cells];
    let mut centred = Vec::with_capacity(activation.len());
    for a in activation.chunks_exact(cells) {
        let mean = sum(a) / cells as f64;
        centred.extend(a.iter().map(|&a| f64::from(a) - mean));
        energy.iter_mut().zip(a).for_each(|(e, &a)| *e += f64::from(a).powi(2));
    }
    // Start from the strongest cell's column of the Gram matrix: it lies in the space looked for, and is 0 only if all
    // is.
    let norm_of = |cell: usize| (0..channels).map(|k| centred[k * cells + cell].powi(2)).sum::<f64>();
    let strongest = (0..cells).fold((0, -1.0), |best, cell| {
        let norm = norm_of(cell);
        if norm > best.1 { (cell, norm) } else { best }
    });
    let mut vector = vec![0.0; cells];
    vector[strongest.0] = 1.0;
    for _ in 0..ROUNDS {
        let mut next = vec![0.0; cells];
        for row in centred.chunks_exact(cells) {
            let along: f64 = row.iter().zip(&vector).map(|(x, v)| x * v).sum();
            next.iter_mut().zip(row).for_each(|(n, x)| *n += along * x);
        }
        let norm = next.iter().map(|n| n * n).sum::<f64>().sqrt();
        if norm == 0.0 {
            return vec![0.0; cells];
        }
        next.iter_mut().for_each(|n| *n /= norm);
        let moved: f64 = next.iter().zip(&vector).map(|(n, v)| (n - v).powi(2)).sum();
        vector = next;
        if moved < 1e-24 {
            break;
        }
    }
    let agreement: f64 = vector.iter().zip(&energy).map(|(v, e)| v * e).sum();
    if agreement < 0.0 {
        vector.iter_mut().for_each(|v| *v = -*v);
    }
    vector
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(method: CamMethod, activation: &[f32], gradient: &[f32], cells: usize) -> Vec<f64> {
        Layer { activation, gradient, cells }.raw_map(&method)
    }

    /// By hand: A = [1, 3], g = [2, -1].
    #[test]
    fn one_channel_by_hand() {
        let (a, g) = ([1.0, 3.0], [2.0, -1.0]);
        assert_eq!(raw(CamMethod::GradCam, &a, &g, 2), [0.5, 1.5]);
        assert_eq!(raw(CamMethod::LayerCam, &a, &g, 2), [2.0, 0.0]);
        let x = raw(CamMethod::XGradCam, &a, &g, 2)[0];
        assert!((x - (-1.0 / 4.0)).abs() < 1e-7, "{x}");
        let plus = raw(CamMethod::GradCamPlusPlus { epsilon: Epsilon::Absolute(0.0) }, &a, &g, 2);
        assert!((plus[0] - 2.0 * 4.0 / (8.0 + 4.0 * 8.0)).abs() < 1e-12, "{plus:?}");
    }

    /// With gradients of a pooled head (about 1e-5 here) the fixed epsilon silences the weaker channel; the scale-free
    /// one leaves alpha at 1/2, as in equation 19 without epsilon.
    #[test]
    fn the_fixed_epsilon_bends_small_gradients_and_the_scale_free_one_does_not() {
        let (a, g) = ([1.0, 0.0, 0.0, 1.0], [1e-5, 1e-5, 5e-6, 5e-6]);
        let ratio = |epsilon| {
            let map = raw(CamMethod::GradCamPlusPlus { epsilon }, &a, &g, 2);
            map[0] / map[1]
        };
        assert!((ratio(Epsilon::ScaleFree) - 2.0).abs() < 1e-3, "{}", ratio(Epsilon::ScaleFree));
        assert!((ratio(Epsilon::Absolute(1e-6)) - 8.0).abs() < 1e-2, "{}", ratio(Epsilon::Absolute(1e-6)));
    }

    #[test]
    fn a_zero_denominator_gives_no_weight() {
        assert_eq!(
            raw(CamMethod::GradCamPlusPlus { epsilon: Epsilon::Absolute(0.0) }, &[-1.0, -1.0], &[1.0, 1.0], 2),
            [0.0; 2]
        );
        assert_eq!(raw(CamMethod::XGradCam, &[0.0, 0.0], &[1.0, 1.0], 2), [0.0; 2]);
    }

    /// Three cells on a line in channel space: coordinates -1, 0, 1 along (1, 1), the far cell has the larger norm.
    #[test]
    fn the_principal_component_points_to_the_stronger_cells() {
        let found = principal_component(&[1.0, 2.0, 3.0, 1.0, 2.0, 3.0], 3);
        for (found, expected) in found.iter().zip([-0.5f64.sqrt(), 0.0, 0.5f64.sqrt()]) {
            assert!((found - expected).abs() < 1e-9, "{found} {expected}");
        }
        assert_eq!(principal_component(&[2.0; 6], 3), [0.0; 3]);
    }
}

//! Five Gaussians in RGB.

use super::{Colour, kmeans};

/// Gaussians per side.
const COMPONENTS: usize = 5;

/// A mixture of Gaussians over colours.
#[derive(Debug, Clone)]
pub(super) struct ColourModel {
    components: Vec<Component>,
}

/// One Gaussian with its share of the samples.
#[derive(Debug, Clone)]
struct Component {
    mean: Colour,
    inverse: [[f64; 3]; 3],
    /// `ln(1 / sqrt(det))`; the constant factor of the density is the same everywhere and left out.
    log_scale: f64,
    log_share: f64,
}

impl ColourModel {
    /// Fitted to k-means clusters. `samples` is not empty.
    pub(super) fn start(samples: &[Colour]) -> Self {
        Self::fitted(samples, &kmeans::clusters(samples, COMPONENTS))
    }

    /// Fitted again, every sample to the component that explains it best.
    pub(super) fn refit(&self, samples: &[Colour]) -> Self {
        let labels: Vec<usize> = samples
            .iter()
            .map(|colour| {
                let log_densities = self.components.iter().map(|c| c.log_density(colour)).enumerate();
                log_densities.fold((0, f64::NEG_INFINITY), |best, here| if here.1 > best.1 { here } else { best }).0
            })
            .collect();
        Self::fitted(samples, &labels)
    }

    fn fitted(samples: &[Colour], labels: &[usize]) -> Self {
        let components = (0..COMPONENTS).filter_map(|wanted| {
            let own: Vec<&Colour> = samples.iter().zip(labels).filter(|&(_, &l)| l == wanted).map(|(c, _)| c).collect();
            Component::fitted(&own, samples.len())
        });
        Self { components: components.collect() }
    }

    /// The logarithm of the mixture's density, up to a constant. In logarithms throughout: far from every component the
    /// densities themselves are 0.
    pub(super) fn log_density(&self, colour: &Colour) -> f64 {
        let terms = || self.components.iter().map(|c| c.log_share + c.log_density(colour));
        let highest = terms().fold(f64::NEG_INFINITY, f64::max);
        highest + terms().map(|term| (term - highest).exp()).sum::<f64>().ln()
    }
}

impl Component {
    /// Mean and covariance of the samples, `None` when there are none.
    fn fitted(samples: &[&Colour], total: usize) -> Option<Self> {
        if samples.is_empty() {
            return None;
        }
        let count = samples.len() as f64;
        let mean: Colour = std::array::from_fn(|i| samples.iter().map(|c| c[i]).sum::<f64>() / count);
        let mut covariance: [[f64; 3]; 3] = std::array::from_fn(|i| {
            std::array::from_fn(|j| samples.iter().map(|c| (c[i] - mean[i]) * (c[j] - mean[j])).sum::<f64>() / count)
        });
        if determinant(&covariance) <= 1e-6 {
            // Flat colours: a little noise keeps the Gaussian from collapsing.
            (0..3).for_each(|i| covariance[i][i] += 0.01);
        }
        let determinant = determinant(&covariance);
        Some(Self {
            mean,
            inverse: inverse(&covariance, determinant),
            log_scale: -0.5 * determinant.ln(),
            log_share: (count / total as f64).ln(),
        })
    }

    fn log_density(&self, colour: &Colour) -> f64 {
        let off: Colour = std::array::from_fn(|i| colour[i] - self.mean[i]);
        let square: f64 = (0..3).map(|i| off[i] * (0..3).map(|j| self.inverse[i][j] * off[j]).sum::<f64>()).sum();
        self.log_scale - 0.5 * square
    }
}

/// The 2 x 2 determinant left without row `i` and column `j`, with the sign of the cofactor.
fn cofactor(m: &[[f64; 3]; 3], i: usize, j: usize) -> f64 {
    // Cyclic indices give the sign by themselves.
    let (r1, r2, c1, c2) = ((i + 1) % 3, (i + 2) % 3, (j + 1) % 3, (j + 2) % 3);
    m[r1][c1] * m[r2][c2] - m[r1][c2] * m[r2][c1]
}

fn determinant(m: &[[f64; 3]; 3]) -> f64 {
    (0..3).map(|j| m[0][j] * cofactor(m, 0, j)).sum()
}

fn inverse(m: &[[f64; 3]; 3], determinant: f64) -> [[f64; 3]; 3] {
    std::array::from_fn(|i| std::array::from_fn(|j| cofactor(m, j, i) / determinant))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inverse_inverts() {
        let m = [[4.0, 1.0, 0.5], [1.0, 3.0, 0.2], [0.5, 0.2, 2.0]];
        let inverse = inverse(&m, determinant(&m));
        for (i, row) in m.iter().enumerate() {
            let products: Colour = std::array::from_fn(|j| row.iter().zip(&inverse).map(|(a, b)| a * b[j]).sum());
            for (j, product) in products.iter().enumerate() {
                assert!((product - f64::from(u8::from(i == j))).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn a_flat_colour_is_likeliest_at_itself_and_finite_far_away() {
        let model = ColourModel::start(&[[10.0, 20.0, 30.0]; 8]);
        let (here, far) = (model.log_density(&[10.0, 20.0, 30.0]), model.log_density(&[255.0, 255.0, 255.0]));
        assert!(here > 0.0 && far.is_finite() && far < -1e6, "{here} {far}");
    }
}

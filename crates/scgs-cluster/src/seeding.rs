//! Greedy k-means++ seeding, as scikit-learn does it, for all restarts in the same passes over the features.
//!
//! D. Arthur and S. Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007, section 2.2, with the
//! greedy variant of its last paragraph: `2 + ln k` candidates are drawn for every centre and the one that lowers the
//! potential most is kept (scikit-learn's `_kmeans_plusplus`).

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::prepare::Prepared;
use crate::product::dots;

/// Rows chosen as the first centres of each restart in `restarts`: `k` row indices for each.
///
/// Restart `r` draws from its own stream of `seed`, so its seeds do not depend on which restarts run with it.
pub(crate) fn seeds(data: &Prepared, k: usize, restarts: std::ops::Range<usize>, seed: u64) -> Vec<Vec<usize>> {
    let trials = 2 + (k as f64).ln() as usize;
    let mut streams: Vec<ChaCha8Rng> = restarts
        .map(|restart| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(restart as u64);
            rng
        })
        .collect();
    let mut chosen: Vec<Vec<usize>> = streams.iter_mut().map(|rng| vec![rng.random_range(0..data.rows)]).collect();
    let first: Vec<usize> = chosen.iter().map(|c| c[0]).collect();
    let infinite = vec![f32::INFINITY; data.rows];
    let mut closest = vec![infinite; chosen.len()];
    let distances = Distances::to_rows(data, &first, 1, &closest);
    for (restart, nearest) in closest.iter_mut().enumerate() {
        distances.lower(restart, nearest);
    }
    for _ in 1..k {
        let candidates: Vec<usize> =
            streams.iter_mut().zip(&closest).flat_map(|(rng, nearest)| draw(rng, nearest, trials)).collect();
        let distances = Distances::to_rows(data, &candidates, trials, &closest);
        let best: Vec<usize> = (0..chosen.len())
            .map(|restart| {
                let own = restart * trials..(restart + 1) * trials;
                // The first of equal potentials wins.
                own.min_by(|&a, &b| distances.potential[a].total_cmp(&distances.potential[b])).expect("trials >= 2")
            })
            .collect();
        for (restart, &column) in best.iter().enumerate() {
            chosen[restart].push(candidates[column]);
        }
        closest.par_iter_mut().zip(&best).for_each(|(nearest, &column)| distances.lower(column, nearest));
    }
    chosen
}

/// Draws `trials` rows, each with a probability proportional to its squared distance to the nearest centre so far.
fn draw(rng: &mut ChaCha8Rng, nearest: &[f32], trials: usize) -> Vec<usize> {
    let mut total = 0.0;
    let cumulative: Vec<f64> = nearest
        .iter()
        .map(|&d| {
            total += f64::from(d);
            total
        })
        .collect();
    (0..trials)
        .map(|_| {
            let point = rng.random::<f64>() * total;
            if total > 0.0 {
                // The first row whose share reaches beyond the point, which is never a row of distance 0.
                cumulative.partition_point(|&c| c <= point).min(nearest.len() - 1)
            } else {
                rng.random_range(0..nearest.len())
            }
        })
        .collect()
}

/// Squared distances of every row to a list of rows, block by block, and the potential each of these would leave.
struct Distances {
    blocks: Vec<Vec<f32>>,
    columns: usize,
    potential: Vec<f64>,
}

impl Distances {
    /// `targets[j]` belongs to the restart `j / per_restart`.
    fn to_rows(data: &Prepared, targets: &[usize], per_restart: usize, closest: &[Vec<f32>]) -> Self {
        let columns = targets.len();
        let points: Vec<f32> = targets.iter().flat_map(|&t| data.row(t).iter().copied()).collect();
        let parts: Vec<(Vec<f32>, Vec<f64>)> = data
            .blocks()
            .map(|(start, x)| {
                let rows = x.len() / data.cols;
                let mut out = vec![0.0; rows * columns];
                dots(x, &points, data.cols, &mut out);
                let mut potential = vec![0.0; columns];
                for (row, line) in (start..).zip(out.chunks_exact_mut(columns)) {
                    for (j, v) in line.iter_mut().enumerate() {
                        *v = (data.norms[row] + data.norms[targets[j]] - 2.0 * *v).max(0.0);
                        potential[j] += f64::from(v.min(closest[j / per_restart][row]));
                    }
                }
                (out, potential)
            })
            .collect();
        let mut potential = vec![0.0; columns];
        let mut blocks = Vec::with_capacity(parts.len());
        for (out, part) in parts {
            potential.iter_mut().zip(part).for_each(|(sum, v)| *sum += v);
            blocks.push(out);
        }
        Self { blocks, columns, potential }
    }

    /// Lowers `nearest` to the distances of column `column`.
    fn lower(&self, column: usize, nearest: &mut [f32]) {
        let values = self.blocks.iter().flat_map(|block| block.iter().skip(column).step_by(self.columns));
        for (near, &v) in nearest.iter_mut().zip(values) {
            *near = near.min(v);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::Matrix;

    #[test]
    fn four_far_groups_are_all_seeded_in_every_restart() {
        let values: Vec<f32> = (0..400).map(|i| (i % 4) as f32 * 100.0 + (i / 4) as f32 * 0.01).collect();
        let data = Prepared::new(&Matrix::new(&values, 400, 1).unwrap());
        for mut rows in seeds(&data, 4, 0..10, 7) {
            rows.iter_mut().for_each(|r| *r %= 4);
            rows.sort_unstable();
            assert_eq!(rows, [0, 1, 2, 3]);
        }
    }

    #[test]
    fn a_restart_does_not_depend_on_its_company() {
        let values: Vec<f32> = (0..3000).map(|i| ((i * 7919) % 1009) as f32).collect();
        let data = Prepared::new(&Matrix::new(&values, 1500, 2).unwrap());
        let all = seeds(&data, 9, 0..6, 3);
        assert_eq!(all[4..], seeds(&data, 9, 4..6, 3));
        assert_ne!(all[0], all[1]);
        assert_ne!(all[0], seeds(&data, 9, 0..1, 4)[0]);
    }

    #[test]
    fn a_draw_never_takes_a_row_without_distance() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let drawn = draw(&mut rng, &[0.0, 0.0, 3.0, 0.0, 1.0, 0.0], 4000);
        let heavy = drawn.iter().filter(|&&r| r == 2).count();
        assert!(drawn.iter().all(|&r| r == 2 || r == 4));
        assert!((2850..3150).contains(&heavy), "{heavy} of 4000, expected 3000 with a standard deviation of 27");
    }
}

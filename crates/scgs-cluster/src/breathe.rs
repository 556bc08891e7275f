//! Getting out of a poor optimum: clusters are split where the error is largest and given up where they matter least.
//!
//! Lloyd's iterations never move a centre from a crowded place to one that lacks centres; on features without clear groups, the
//! best of ten restarts still differs by a percent of inertia from seed to seed. B. Fritzke, "The breathing k-means algorithm",
//! arXiv 2006.15666, 2020, algorithm 1, adds `m` centres, iterates, takes the `m` least useful away and iterates again, with `m`
//! falling from 5 where that does not help. Here a new centre starts half way to the farthest row of its cluster, where the
//! paper draws an offset, and utilities are computed anew after each removal, where the paper freezes neighbours.

use crate::lloyd::{Run, Stop, iterate};
use crate::prepare::Prepared;
use crate::product::dots;

/// Centres added at first.
const BREATH: usize = 5;

/// A breath counts as an improvement when it lowers inertia by this share.
const WORTH: f64 = 1e-6;

/// Improves `best` with at most about `passes` further passes over the rows.
pub(crate) fn breathe(data: &Prepared, best: Run, passes: usize, stop: Stop) -> Run {
    let k = best.clusters();
    let total = data.total();
    let mut best = best;
    let mut used = 0;
    let mut extra = BREATH.min(k).min(data.rows - k);
    while extra > 0 && used < passes {
        let mut wide = Run::from_centres(data, breathe_in(data, &best, extra).into_iter());
        iterate(data, std::slice::from_mut(&mut wide), stop);
        let mut centres = wide.centres_f32();
        for _ in 0..extra {
            let least = first_lowest(&look(data, &centres).utility);
            centres.drain(least * data.cols..(least + 1) * data.cols);
        }
        let mut narrow = Run::from_centres(data, centres.into_iter());
        iterate(data, std::slice::from_mut(&mut narrow), stop);
        used += wide.iterations + extra + narrow.iterations;
        if total + narrow.score() < (total + best.score()) * (1.0 - WORTH) {
            narrow.iterations += best.iterations;
            best = narrow;
        } else {
            extra -= 1;
        }
    }
    best
}

/// The centres with one more in each of the `extra` clusters of largest error.
fn breathe_in(data: &Prepared, run: &Run, extra: usize) -> Vec<f32> {
    let mut centres = run.centres_f32();
    let seen = look(data, &centres);
    let mut order: Vec<usize> = (0..run.clusters()).collect();
    order.sort_by(|&a, &b| seen.error[b].total_cmp(&seen.error[a]));
    for &j in &order[..extra] {
        let (own, far) = (j * data.cols, data.row(seen.farthest[j].1));
        let added: Vec<f32> = centres[own..own + data.cols].iter().zip(far).map(|(c, x)| (c + x) / 2.0).collect();
        centres.extend(added);
    }
    centres
}

fn first_lowest(values: &[f64]) -> usize {
    (0..values.len()).min_by(|&a, &b| values[a].total_cmp(&values[b])).expect("there is at least one centre")
}

/// What the rows tell about each centre.
struct Look {
    /// Sum of squared distances of its rows.
    error: Vec<f64>,
    /// How much the error would grow without it: its rows would go to their second nearest centre.
    utility: Vec<f64>,
    /// Squared distance and index of its farthest row, the first of equal ones.
    farthest: Vec<(f32, usize)>,
}

impl Look {
    fn new(k: usize) -> Self {
        Self { error: vec![0.0; k], utility: vec![0.0; k], farthest: vec![(-1.0, 0); k] }
    }
}

fn look(data: &Prepared, centres: &[f32]) -> Look {
    use rayon::prelude::*;

    let k = centres.len() / data.cols;
    let lengths: Vec<f32> = centres.chunks_exact(data.cols).map(|c| crate::prepare::squared_length(c) as f32).collect();
    let parts: Vec<Look> = data
        .blocks()
        .map(|(start, x)| {
            let mut products = vec![0.0; x.len() / data.cols * k];
            dots(x, centres, data.cols, &mut products);
            let mut part = Look::new(k);
            for (row, line) in (start..).zip(products.chunks_exact(k)) {
                let (mut best, mut lowest, mut second) = (0, f32::INFINITY, f32::INFINITY);
                for (j, (product, length)) in line.iter().zip(&lengths).enumerate() {
                    let distance = (data.norms[row] + length - 2.0 * product).max(0.0);
                    if distance < lowest {
                        (best, lowest, second) = (j, distance, lowest);
                    } else if distance < second {
                        second = distance;
                    }
                }
                part.error[best] += f64::from(lowest);
                part.utility[best] += f64::from(second - lowest);
                if lowest > part.farthest[best].0 {
                    part.farthest[best] = (lowest, row);
                }
            }
            part
        })
        .collect();
    let mut all = Look::new(k);
    for part in parts {
        for j in 0..k {
            all.error[j] += part.error[j];
            all.utility[j] += part.utility[j];
            if part.farthest[j].0 > all.farthest[j].0 {
                all.farthest[j] = part.farthest[j];
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::Matrix;

    #[test]
    fn a_breath_frees_a_start_that_lloyd_cannot_leave() {
        // Three groups far apart; two centres share the first, one lies between the others: a fixed point of Lloyd's steps.
        let values: Vec<f32> = (0..90).map(|i| [0.0, 1000.0, 1100.0][i % 3] + (i / 3) as f32 * 0.1).collect();
        let data = Prepared::new(&Matrix::new(&values, 90, 1).unwrap());
        let stop = Stop { max_iter: 100, tolerance: 0.0, exact: false };
        let start = [data.x[0], data.x[87], (data.x[1] + data.x[2]) / 2.0];
        let mut runs = [Run::from_centres(&data, start.into_iter())];
        iterate(&data, &mut runs, stop);
        assert_ne!(runs[0].labels[0], runs[0].labels[87]);
        assert_eq!(runs[0].labels[1], runs[0].labels[2]);
        let [stuck] = runs;
        let freed = breathe(&data, stuck, 100, stop);
        for row in 0..90 {
            assert_eq!(freed.labels[row], freed.labels[row % 3]);
        }
        assert_ne!(freed.labels[1], freed.labels[2]);
    }
}

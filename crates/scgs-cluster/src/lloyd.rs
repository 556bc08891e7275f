//! The stable engine: Lloyd's algorithm for several restarts in the same passes over the features.
//!
//! S. Lloyd, "Least squares quantization in PCM", IEEE Transactions on Information Theory 28(2), 1982. Distances are one
//! matrix product per block of rows with the centres of all restarts side by side, so that each row is read once for
//! all of them. Centres are f64 sums that only rows with a new label touch, always in row order: no result depends on
//! the number of threads.

use rayon::prelude::*;

use crate::prepare::{Prepared, squared_distance};
use crate::product::{add_row, dots};

/// Label of a row that has none yet.
const NONE: u32 = u32::MAX;

/// Columns whose sums one task owns.
const COLUMN_BLOCK: usize = 128;

/// One restart under way.
pub(crate) struct Run {
    /// Cluster of each row.
    pub(crate) labels: Vec<u32>,
    /// Rows of each cluster.
    counts: Vec<usize>,
    /// Sums of each cluster's rows by block of columns: `[block][cluster][column in block]`.
    sums: Vec<Vec<f64>>,
    /// `k * cols`, in the scaled unit.
    centres: Vec<f64>,
    /// Passes over the rows so far.
    pub(crate) iterations: usize,
    /// Whether no row changed its label in the last pass: the centres are the means of their rows.
    pub(crate) converged: bool,
}

impl Run {
    /// Starts from the centres `k * cols`, given in the scaled unit.
    pub(crate) fn from_centres(data: &Prepared, centres: impl Iterator<Item = f32>) -> Self {
        let centres: Vec<f64> = centres.map(f64::from).collect();
        let k = centres.len() / data.cols;
        let sums =
            (0..data.cols).step_by(COLUMN_BLOCK).map(|c| vec![0.0; k * COLUMN_BLOCK.min(data.cols - c)]).collect();
        Self { labels: vec![NONE; data.rows], counts: vec![0; k], sums, centres, iterations: 0, converged: false }
    }

    /// Number of centres.
    pub(crate) fn clusters(&self) -> usize {
        self.counts.len()
    }

    /// The centres, `k * cols`, as the matrix product takes them.
    pub(crate) fn centres_f32(&self) -> Vec<f32> {
        self.centres.iter().map(|&v| v as f32).collect()
    }

    /// Sum of squared distances of the rows to the means of their clusters, in the scaled unit, up to a constant that
    /// all runs over the same features share: `- sum |s_j|^2 / n_j`.
    pub(crate) fn score(&self) -> f64 {
        let k = self.counts.len();
        let mut explained = 0.0;
        for block in &self.sums {
            for (sums, &n) in block.chunks_exact(block.len() / k).zip(&self.counts) {
                explained += sums.iter().map(|s| s * s).sum::<f64>() / n.max(1) as f64;
            }
        }
        -explained
    }

    /// Replaces the centres by the means of their rows; returns the summed squared distance they moved.
    fn move_centres(&mut self, cols: usize) -> f64 {
        let k = self.counts.len();
        let mut moved = 0.0;
        for (b, block) in self.sums.iter().enumerate() {
            let width = block.len() / k;
            for (j, sums) in block.chunks_exact(width).enumerate() {
                let start = j * cols + b * COLUMN_BLOCK;
                for (centre, sum) in self.centres[start..start + width].iter_mut().zip(sums) {
                    let mean = sum / self.counts[j].max(1) as f64;
                    moved += (mean - *centre) * (mean - *centre);
                    *centre = mean;
                }
            }
        }
        moved
    }

    /// Gives every empty cluster the row farthest from its centre, as scikit-learn's `_relocate_empty_clusters` does,
    /// but never the last row of another cluster. Returns the changes of labels.
    fn fill_empty_clusters(&mut self, data: &Prepared) -> Vec<Change> {
        let empty: Vec<usize> = (0..self.counts.len()).filter(|&j| self.counts[j] == 0).collect();
        if empty.is_empty() {
            return Vec::new();
        }
        let cols = data.cols;
        let distance: Vec<f64> = (0..data.rows)
            .into_par_iter()
            .map(|row| {
                let own = self.labels[row] as usize * cols;
                squared_distance(data.row(row), &self.centres[own..own + cols])
            })
            .collect();
        let mut farthest: Vec<usize> = (0..data.rows).collect();
        farthest.sort_unstable_by(|&a, &b| distance[b].total_cmp(&distance[a]).then(a.cmp(&b)));
        let mut rows = farthest.into_iter();
        let mut changes = Vec::with_capacity(empty.len());
        for cluster in empty {
            let Some(row) = rows.by_ref().find(|&row| self.counts[self.labels[row] as usize] > 1) else {
                break;
            };
            let from = self.labels[row];
            self.labels[row] = cluster as u32;
            self.counts[from as usize] -= 1;
            self.counts[cluster] += 1;
            changes.push(Change { row, from, to: cluster as u32 });
        }
        changes
    }
}

/// A row that changed its cluster.
#[derive(Clone, Copy)]
struct Change {
    row: usize,
    from: u32,
    to: u32,
}

/// How long [`iterate`] goes on.
#[derive(Clone, Copy)]
pub(crate) struct Stop {
    /// Passes in all, counting those a run already had.
    pub(crate) max_iter: usize,
    /// A run also stops when its centres move less than this in all (squared, in the scaled unit).
    pub(crate) tolerance: f64,
    /// Decide labels that f32 cannot tell apart in f64.
    pub(crate) exact: bool,
}

/// Runs Lloyd's algorithm on all `runs` side by side until each of them stops.
pub(crate) fn iterate(data: &Prepared, runs: &mut [Run], stop: Stop) {
    let mut active: Vec<&mut Run> = runs.iter_mut().filter(|run| run.iterations < stop.max_iter).collect();
    while !active.is_empty() {
        let labels = assign(data, &active, stop.exact);
        let changes: Vec<Vec<Change>> =
            active.par_iter_mut().zip(labels).map(|(run, labels)| relabel(data, run, labels)).collect();
        add_rows(data, &mut active, &changes);
        let relocated: Vec<Vec<Change>> = active.iter_mut().map(|run| run.fill_empty_clusters(data)).collect();
        if relocated.iter().any(|c| !c.is_empty()) {
            add_rows(data, &mut active, &relocated);
        }
        let mut going = Vec::with_capacity(active.len());
        for (i, run) in active.into_iter().enumerate() {
            let moved = run.move_centres(data.cols);
            run.iterations += 1;
            run.converged = changes[i].is_empty() && relocated[i].is_empty();
            let settled = run.converged || moved <= stop.tolerance;
            if !settled && run.iterations < stop.max_iter {
                going.push(run);
            }
        }
        active = going;
    }
}

/// The nearest centre of every row, for every run; of equally near ones the first.
fn assign(data: &Prepared, runs: &[&mut Run], exact: bool) -> Vec<Vec<u32>> {
    let k = runs[0].counts.len();
    let columns = runs.len() * k;
    let centres: Vec<f32> = runs.iter().flat_map(|run| run.centres.iter().map(|&v| v as f32)).collect();
    let lengths: Vec<f32> = centres.chunks_exact(data.cols).map(|c| crate::prepare::squared_length(c) as f32).collect();
    let blocks: Vec<Vec<u32>> = data
        .blocks()
        .map(|(start, x)| {
            let rows = x.len() / data.cols;
            let mut products = vec![0.0; rows * columns];
            dots(x, &centres, data.cols, &mut products);
            let mut labels = vec![0; rows * runs.len()];
            for (i, line) in products.chunks_exact(columns).enumerate() {
                for (r, run) in runs.iter().enumerate() {
                    let own = r * k..(r + 1) * k;
                    let (mut best, near) = nearest(&line[own.clone()], &lengths[own.clone()]);
                    if exact && k > 1 {
                        let longest = lengths[own].iter().copied().fold(0.0, f32::max);
                        if near <= rounding(data.cols, data.norms[start + i], longest) {
                            best = nearest_exactly(&x[i * data.cols..(i + 1) * data.cols], &run.centres);
                        }
                    }
                    labels[r * rows + i] = best;
                }
            }
            labels
        })
        .collect();
    let mut out: Vec<Vec<u32>> = (0..runs.len()).map(|_| Vec::with_capacity(data.rows)).collect();
    for block in blocks {
        let rows = block.len() / runs.len();
        for (all, part) in out.iter_mut().zip(block.chunks_exact(rows)) {
            all.extend_from_slice(part);
        }
    }
    out
}

/// The index of the smallest `|c|^2 - 2 x.c`, and how far the second smallest is behind.
fn nearest(products: &[f32], lengths: &[f32]) -> (u32, f32) {
    let (mut best, mut lowest, mut second) = (0, f32::INFINITY, f32::INFINITY);
    for (j, (&product, &length)) in products.iter().zip(lengths).enumerate() {
        let value = length - 2.0 * product;
        if value < lowest {
            (best, lowest, second) = (j as u32, value, lowest);
        } else if value < second {
            second = value;
        }
    }
    (best, second - lowest)
}

/// Above the rounding error of the difference of two f32 scores: each product of `cols` terms is at most
/// `|x| |c| <= (|x|^2 + |c|^2) / 2`, with an error of about `sqrt(cols)` units in the last place of that.
fn rounding(cols: usize, x: f32, c: f32) -> f32 {
    4.0 * f32::EPSILON * (8.0 + (cols as f32).sqrt()) * (x + c)
}

fn nearest_exactly(row: &[f32], centres: &[f64]) -> u32 {
    let mut best = (0, f64::INFINITY);
    for (j, centre) in centres.chunks_exact(row.len()).enumerate() {
        let distance = squared_distance(row, centre);
        if distance < best.1 {
            best = (j as u32, distance);
        }
    }
    best.0
}

/// Takes over new labels; returns what changed, in row order.
fn relabel(data: &Prepared, run: &mut Run, labels: Vec<u32>) -> Vec<Change> {
    let changes: Vec<Change> = (0..data.rows)
        .filter(|&row| run.labels[row] != labels[row])
        .map(|row| Change { row, from: run.labels[row], to: labels[row] })
        .collect();
    for change in &changes {
        if change.from != NONE {
            run.counts[change.from as usize] -= 1;
        }
        run.counts[change.to as usize] += 1;
    }
    run.labels = labels;
    changes
}

/// Moves the changed rows from the sums of their old to those of their new cluster. A task owns a block of columns
/// and goes through all runs' changes in row order, so a row that changed in several runs is read once.
fn add_rows(data: &Prepared, runs: &mut [&mut Run], changes: &[Vec<Change>]) {
    let mut merged: Vec<(usize, usize)> =
        changes.iter().enumerate().flat_map(|(r, list)| (0..list.len()).map(move |i| (r, i))).collect();
    merged.sort_unstable_by_key(|&(r, i)| (changes[r][i].row, r, i));
    let blocks = runs[0].sums.len();
    let mut tasks: Vec<Vec<&mut Vec<f64>>> = (0..blocks).map(|_| Vec::with_capacity(runs.len())).collect();
    for run in runs.iter_mut() {
        for (task, block) in tasks.iter_mut().zip(run.sums.iter_mut()) {
            task.push(block);
        }
    }
    tasks.into_par_iter().enumerate().for_each(|(b, mut sums)| {
        let start = b * COLUMN_BLOCK;
        let width = COLUMN_BLOCK.min(data.cols - start);
        for &(r, i) in &merged {
            let change = changes[r][i];
            let values = &data.row(change.row)[start..start + width];
            if change.from != NONE {
                add_row(&mut sums[r][change.from as usize * width..][..width], values, -1.0);
            }
            add_row(&mut sums[r][change.to as usize * width..][..width], values, 1.0);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::Matrix;

    fn strict() -> Stop {
        Stop { max_iter: 100, tolerance: 0.0, exact: true }
    }

    #[test]
    fn two_pairs_settle_on_their_means() {
        let data = Prepared::new(&Matrix::new(&[0.0, 2.0, 10.0, 12.0], 4, 1).unwrap());
        let mut runs = [Run::from_centres(&data, [data.x[0], data.x[1]].into_iter())];
        iterate(&data, &mut runs, strict());
        assert_eq!(runs[0].labels, [0, 0, 1, 1]);
        // Mean 6, largest magnitude 6, so the scale is 1/8.
        assert_eq!(runs[0].centres, [-5.0 / 8.0, 5.0 / 8.0]);
        assert!(runs[0].converged);
    }

    #[test]
    fn an_empty_cluster_takes_the_farthest_row() {
        let data = Prepared::new(&Matrix::new(&[0.0, 1.0, 2.0, 30.0, 100.0], 5, 1).unwrap());
        // The third centre is so far off that it gets no row.
        let mut runs = [Run::from_centres(&data, [data.x[0], data.x[4], 9.0].into_iter())];
        iterate(&data, &mut runs, strict());
        assert_eq!(runs[0].labels, [0, 0, 0, 2, 1]);
        assert_eq!(runs[0].counts, [3, 1, 1]);
    }

    #[test]
    fn sums_kept_by_changes_equal_sums_made_afresh() {
        let values: Vec<f32> = (0..1300 * 3).map(|i| ((i * 7919) % 1009) as f32 / 7.0).collect();
        let data = Prepared::new(&Matrix::new(&values, 1300, 3).unwrap());
        let mut runs = [Run::from_centres(&data, data.x[..15].iter().copied())];
        iterate(&data, &mut runs, strict());
        let run = &runs[0];
        assert!(run.iterations > 3 && run.converged);
        for j in 0..5_usize {
            let own: Vec<usize> = (0..1300).filter(|&r| run.labels[r] as usize == j).collect();
            assert_eq!(own.len(), run.counts[j]);
            for c in 0..3 {
                let mean = own.iter().map(|&r| f64::from(data.row(r)[c])).sum::<f64>() / own.len() as f64;
                assert!((mean - run.centres[j * 3 + c]).abs() < 1e-14);
            }
        }
        for row in 0..1300 {
            assert_eq!(run.labels[row], nearest_exactly(data.row(row), &run.centres));
        }
    }

    #[test]
    fn runs_side_by_side_equal_runs_alone() {
        let values: Vec<f32> = (0..900 * 2).map(|i| ((i * 7919) % 1013) as f32).collect();
        let data = Prepared::new(&Matrix::new(&values, 900, 2).unwrap());
        let start = |at: usize| Run::from_centres(&data, data.x[at..at + 8].iter().copied());
        let mut both = [start(0), start(100)];
        iterate(&data, &mut both, strict());
        for (at, together) in [0, 100].into_iter().zip(&both) {
            let mut alone = [start(at)];
            iterate(&data, &mut alone, strict());
            assert_eq!(alone[0].labels, together.labels);
            assert_eq!(alone[0].iterations, together.iterations);
        }
    }
}

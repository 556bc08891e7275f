//! k-means on colours, to start the mixtures. Small and sequential: a picture has at most some ten thousand colours,
//! and the mixtures are fitted again at once.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::Colour;

/// Rounds of assigning and moving, as in OpenCV's GrabCut.
const ROUNDS: usize = 10;

/// Candidates for every further centre, of which the best is taken, as in OpenCV.
const CANDIDATES: usize = 3;

fn distance(a: &Colour, b: &Colour) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum()
}

/// Starts, of which the tightest clustering is kept. OpenCV makes one, which now and then ends in a poor optimum and
/// costs the final mask some hundredths of its overlap with the object.
const STARTS: usize = 4;

/// A label in `0..k` for every sample. The same for the same samples: the generator has a fixed seed.
pub(super) fn clusters(samples: &[Colour], k: usize) -> Vec<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let starts = (0..STARTS).map(|_| clusters_once(samples, k.min(samples.len()), &mut rng));
    starts.reduce(|best, next| if next.0 < best.0 { next } else { best }).expect("at least one start").1
}

/// The sum of squared distances and the labels from one start.
fn clusters_once(samples: &[Colour], k: usize, rng: &mut ChaCha8Rng) -> (f64, Vec<usize>) {
    let mut centres = spread_centres(samples, k, rng);
    let mut labels = assign(samples, &centres);
    for _ in 0..ROUNDS {
        let mut sums = vec![([0.0; 3], 0usize); centres.len()];
        for (sample, &label) in samples.iter().zip(&labels) {
            (0..3).for_each(|i| sums[label].0[i] += sample[i]);
            sums[label].1 += 1;
        }
        for (centre, (sum, count)) in centres.iter_mut().zip(sums) {
            if count > 0 {
                *centre = sum.map(|s| s / count as f64);
            }
        }
        let next = assign(samples, &centres);
        if next == labels {
            break;
        }
        labels = next;
    }
    (samples.iter().zip(&labels).map(|(s, &l)| distance(s, &centres[l])).sum(), labels)
}

fn assign(samples: &[Colour], centres: &[Colour]) -> Vec<usize> {
    let nearest = |sample: &Colour| {
        let distances = centres.iter().map(|c| distance(sample, c)).enumerate();
        distances.fold((0, f64::INFINITY), |best, here| if here.1 < best.1 { here } else { best }).0
    };
    samples.iter().map(nearest).collect()
}

/// k-means++ (Arthur and Vassilvitskii 2007): far samples are likelier to become centres.
fn spread_centres(samples: &[Colour], k: usize, rng: &mut ChaCha8Rng) -> Vec<Colour> {
    let mut centres = vec![samples[rng.random_range(0..samples.len())]];
    let mut nearest: Vec<f64> = samples.iter().map(|s| distance(s, &centres[0])).collect();
    while centres.len() < k {
        let total: f64 = nearest.iter().sum();
        let candidates = (0..CANDIDATES).map(|_| {
            let mut left = rng.random::<f64>() * total;
            let at = nearest.iter().position(|d| {
                left -= d;
                left < 0.0
            });
            let centre = samples[at.unwrap_or(samples.len() - 1)];
            let closer: Vec<f64> = samples.iter().zip(&nearest).map(|(s, d)| d.min(distance(s, &centre))).collect();
            (closer.iter().sum::<f64>(), centre, closer)
        });
        let best = candidates.reduce(|best, next| if next.0 < best.0 { next } else { best }).expect("three candidates");
        centres.push(best.1);
        nearest = best.2;
    }
    centres
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clear_groups_are_found() {
        let samples: Vec<Colour> = (0..50).map(|i| [f64::from(i / 10) * 50.0, f64::from(i % 10), 0.0]).collect();
        let labels = clusters(&samples, 5);
        for group in labels.chunks(10) {
            assert!(group.iter().all(|l| l == &group[0]), "{labels:?}");
        }
        let mut firsts: Vec<usize> = labels.chunks(10).map(|g| g[0]).collect();
        firsts.sort_unstable();
        assert_eq!(firsts, [0, 1, 2, 3, 4]);
        assert_eq!(clusters(&[[1.0; 3]; 2], 5).len(), 2);
    }
}

//! Batches: which examples meet in a step, and what is mixed with what.

use rand::{RngExt, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

/// A second example mixed into one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Partner {
    /// Its row.
    pub row: usize,
    /// Share of the first example, 0..=1: the weight of its label, and of its values unless `cut` is given.
    pub keep: f64,
    /// The rectangle that is replaced by the partner's: top, left, bottom, right as fractions of the sides (CutMix).
    pub cut: Option<[f64; 4]>,
}

/// One example of a batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Item {
    /// Its row.
    pub row: usize,
    /// What is mixed into it.
    pub partner: Option<Partner>,
}

/// The examples of one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// In order.
    pub items: Vec<Item>,
    /// In a contrastive batch item 0 is the anchor and so many items after it are positives, the rest negatives;
    /// 0 in every other batch.
    pub positives: usize,
    /// Its epoch, counted from 1, and its number within it; zeros outside of a training run.
    pub place: (usize, usize),
}

impl Batch {
    /// The first examples' rows.
    pub fn rows(&self) -> Vec<usize> {
        self.items.iter().map(|i| i.row).collect()
    }
}

/// Which examples meet.
#[derive(Debug, Clone, PartialEq)]
pub enum Sampler {
    /// Every row once per epoch, in a new order.
    Shuffle,
    /// As many draws with replacement as there are rows, each row with a probability in proportion to its weight
    /// (one weight per entry of the row list).
    Weighted(Vec<f64>),
    /// One anchor per batch, each row once per epoch in a new order, with positives and negatives drawn at random
    /// (Correct-n-Contrast).
    Contrastive(Contrast),
}

/// What belongs to an anchor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contrast {
    /// Number of positives, and of negatives.
    pub each: usize,
    /// Class per row of the data.
    pub labels: Vec<usize>,
    /// Answer of the first classifier per row of the data.
    pub answers: Vec<usize>,
}

impl Contrast {
    /// Rows of the anchor's class that were answered differently.
    fn positives(&self, rows: &[usize], anchor: usize) -> Vec<usize> {
        let same = |&&r: &&usize| self.labels[r] == self.labels[anchor] && self.answers[r] != self.answers[anchor];
        rows.iter().filter(same).copied().collect()
    }

    /// Rows of other classes that got the anchor's answer.
    fn negatives(&self, rows: &[usize], anchor: usize) -> Vec<usize> {
        let same = |&&r: &&usize| self.labels[r] != self.labels[anchor] && self.answers[r] == self.answers[anchor];
        rows.iter().filter(same).copied().collect()
    }
}

/// What is mixed with what.
#[derive(Debug, Clone, PartialEq)]
pub enum Mixing {
    /// Nothing.
    None,
    /// mixup (Zhang et al. 2018): one share per batch from Beta(alpha, alpha), partners by a permutation of the batch.
    Mixup {
        /// Above 0.
        alpha: f64,
    },
    /// CutMix (Yun et al. 2019): one share per batch from Beta(alpha, alpha), one rectangle of that area.
    Cutmix {
        /// Above 0.
        alpha: f64,
    },
    /// LISA (Yao et al. 2022): with probability `same_label` partners of the same class and another domain, else of
    /// the same domain and another class; one share per batch from Beta(alpha, alpha).
    Lisa {
        /// Above 0.
        alpha: f64,
        /// Probability of intra-label mixing, 0..=1.
        same_label: f64,
        /// Cut a rectangle as CutMix does, instead of a weighted mean.
        cut: bool,
        /// Class per row of the data.
        labels: Vec<usize>,
        /// Domain (value of the spurious attribute) per row of the data.
        domains: Vec<usize>,
    },
}

/// A number from Beta(alpha, alpha), by Jöhnk's or Cheng's algorithm of two gamma numbers.
pub(crate) fn symmetric_beta(alpha: f64, rng: &mut ChaCha8Rng) -> f64 {
    let (a, b) = (gamma(alpha, rng), gamma(alpha, rng));
    if a + b > 0.0 { a / (a + b) } else { 0.5 }
}

/// A number from Gamma(shape, 1): Marsaglia and Tsang 2000, with their boost for shapes below 1.
fn gamma(shape: f64, rng: &mut ChaCha8Rng) -> f64 {
    if shape < 1.0 {
        let u: f64 = 1.0 - rng.random::<f64>();
        return gamma(shape + 1.0, rng) * u.powf(1.0 / shape);
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = normal(rng);
        let v = (1.0 + c * x).powi(3);
        let u: f64 = 1.0 - rng.random::<f64>();
        if v > 0.0 && u.ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}

/// A standard normal number (Box and Muller 1958).
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let (u, v): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

/// The batches of an epoch over `rows` (a multiset of rows of the data), mixed.
pub(crate) fn epoch(
    rows: &[usize],
    size: usize,
    sampler: &Sampler,
    mixing: &Mixing,
    rng: &mut ChaCha8Rng,
) -> Vec<Batch> {
    let mut order = rows.to_vec();
    match sampler {
        Sampler::Shuffle => order.shuffle(rng),
        Sampler::Weighted(weights) => order = draw(rows, weights, rng),
        Sampler::Contrastive(contrast) => {
            order.shuffle(rng);
            return order.iter().filter_map(|&anchor| contrastive(rows, anchor, contrast, rng)).collect();
        }
    }
    order.chunks(size).map(|chunk| mix(chunk, rows, mixing, rng)).collect()
}

/// As many draws with replacement as rows, in proportion to the weights.
pub(crate) fn draw(rows: &[usize], weights: &[f64], rng: &mut ChaCha8Rng) -> Vec<usize> {
    let mut sum = 0.0;
    let cumulative: Vec<f64> = weights
        .iter()
        .map(|w| {
            sum += w;
            sum
        })
        .collect();
    (0..rows.len())
        .map(|_| {
            let at = rng.random::<f64>() * sum;
            rows[cumulative.partition_point(|&c| c <= at).min(rows.len() - 1)]
        })
        .collect()
}

/// An anchor with its positives and negatives; `None` where there are none of either.
fn contrastive(rows: &[usize], anchor: usize, contrast: &Contrast, rng: &mut ChaCha8Rng) -> Option<Batch> {
    let (positives, negatives) = (contrast.positives(rows, anchor), contrast.negatives(rows, anchor));
    if positives.is_empty() || negatives.is_empty() {
        return None;
    }
    let mut items = vec![Item { row: anchor, partner: None }];
    for pool in [&positives, &negatives] {
        for _ in 0..contrast.each {
            items.push(Item { row: pool[rng.random_range(0..pool.len())], partner: None });
        }
    }
    Some(Batch { items, positives: contrast.each, place: (0, 0) })
}

fn mix(chunk: &[usize], rows: &[usize], mixing: &Mixing, rng: &mut ChaCha8Rng) -> Batch {
    let plain = |row| Item { row, partner: None };
    let items = match mixing {
        Mixing::None => chunk.iter().copied().map(plain).collect(),
        Mixing::Mixup { alpha } | Mixing::Cutmix { alpha } => {
            let (keep, cut) = share(*alpha, matches!(mixing, Mixing::Cutmix { .. }), rng);
            let mut partners = chunk.to_vec();
            partners.shuffle(rng);
            let partner = |row| Some(Partner { row, keep, cut });
            chunk.iter().zip(partners).map(|(&row, p)| Item { row, partner: partner(p) }).collect()
        }
        Mixing::Lisa { alpha, same_label, cut, labels, domains } => {
            let (keep, cut) = share(*alpha, *cut, rng);
            let intra_label = rng.random::<f64>() < *same_label;
            chunk
                .iter()
                .map(|&row| {
                    let pool: Vec<usize> =
                        rows.iter().copied().filter(|&other| pairs(labels, domains, row, other, intra_label)).collect();
                    // An example without a partner stays as it is.
                    let partner = (!pool.is_empty()).then(|| pool[rng.random_range(0..pool.len())]);
                    Item { row, partner: partner.map(|row| Partner { row, keep, cut }) }
                })
                .collect()
        }
    };
    Batch { items, positives: 0, place: (0, 0) }
}

/// The kept share of a batch, and its rectangle where pictures are cut.
fn share(alpha: f64, cut: bool, rng: &mut ChaCha8Rng) -> (f64, Option<[f64; 4]>) {
    let keep = symmetric_beta(alpha, rng);
    if !cut {
        return (keep, None);
    }
    let [top, left, bottom, right] = rectangle(keep, rng);
    // At the border the rectangle is smaller than drawn; the labels follow what is really replaced.
    (1.0 - (bottom - top) * (right - left), Some([top, left, bottom, right]))
}

/// LISA's pairing rule: same class and another domain, or same domain and another class.
pub(crate) fn pairs(labels: &[usize], domains: &[usize], a: usize, b: usize, intra_label: bool) -> bool {
    let (same_label, same_domain) = (labels[a] == labels[b], domains[a] == domains[b]);
    if intra_label { same_label && !same_domain } else { same_domain && !same_label }
}

/// CutMix's rectangle for a kept share: sides `sqrt(1 - keep)`, a uniform centre, clipped to the picture.
fn rectangle(keep: f64, rng: &mut ChaCha8Rng) -> [f64; 4] {
    let half = (1.0 - keep).sqrt() / 2.0;
    let (y, x): (f64, f64) = (rng.random(), rng.random());
    [(y - half).max(0.0), (x - half).max(0.0), (y + half).min(1.0), (x + half).min(1.0)]
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;

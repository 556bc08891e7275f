//! The losses of the methods that learn by mini-batches.

use burn::tensor::{Int, Tensor, TensorData, activation::log_softmax};

use crate::minibatch::{Batch, Objective, Targets, column, cross_entropies, label_probabilities, numbers};

/// `sum_i w_i * loss_i / sum_i w_i`: empirical risk, with weights for the reweighting methods and mixed labels for the
/// mixing ones.
#[derive(Debug, Clone, Copy, Default)]
pub struct Risk;

impl Objective for Risk {
    fn loss(&mut self, outputs: &[Tensor<2>], batch: &Batch, targets: &Targets) -> Tensor<1> {
        let weights: Vec<f64> = batch.items.iter().map(|i| targets.weights[i.row]).collect();
        let total: f64 = weights.iter().sum();
        let weights: Vec<f64> = weights.iter().map(|w| w / total).collect();
        let device = outputs[0].device();
        (cross_entropies(outputs[0].clone(), batch, targets) * column(&weights, &device)).sum()
    }
}

/// Group distributionally robust optimisation (Sagawa et al. 2020, algorithm 1): `q_g <- q_g exp(eta loss_g)`,
/// normalised; the loss is `sum_g q_g loss_g`. A group's loss is the mean over its examples in the batch plus the
/// adjustment `C / sqrt(n_g)`; a group that is absent from a batch has the loss 0 there.
#[derive(Debug, Clone)]
pub struct GroupDro {
    /// Group per example.
    group_of: Vec<usize>,
    /// Added to each group's loss.
    adjustment: Vec<f64>,
    /// Step size eta.
    step: f64,
    /// The weight of each group; sums to 1.
    q: Vec<f64>,
}

impl GroupDro {
    /// Starts with equal weights. `counts` are the groups' numbers of training examples, each at least 1; `adjustment`
    /// is the paper's C, 0 or more.
    pub fn new(group_of: Vec<usize>, counts: &[usize], step: f64, adjustment: f64) -> Self {
        let q = vec![1.0 / counts.len() as f64; counts.len()];
        Self { group_of, adjustment: counts.iter().map(|&n| adjustment / (n as f64).sqrt()).collect(), step, q }
    }
}

impl Objective for GroupDro {
    fn loss(&mut self, outputs: &[Tensor<2>], batch: &Batch, targets: &Targets) -> Tensor<1> {
        let groups = self.q.len();
        let mut counts = vec![0usize; groups];
        batch.items.iter().for_each(|i| counts[self.group_of[i.row]] += 1);
        let losses = cross_entropies(outputs[0].clone(), batch, targets);
        let mut mean = vec![0.0; groups];
        for (item, loss) in batch.items.iter().zip(numbers(losses.clone().inner())) {
            let g = self.group_of[item.row];
            mean[g] += loss / counts[g] as f64;
        }
        let adjusted = |g: usize| if counts[g] > 0 { mean[g] + self.adjustment[g] } else { 0.0 };
        let raised: Vec<f64> = (0..groups).map(|g| self.q[g] * (self.step * adjusted(g)).exp()).collect();
        let sum: f64 = raised.iter().sum();
        self.q = raised.iter().map(|q| q / sum).collect();
        let weights: Vec<f64> =
            batch.items.iter().map(|i| self.group_of[i.row]).map(|g| self.q[g] / counts[g] as f64).collect();
        // The adjustment moves q and the value of the loss; its gradient is 0.
        let constant: f64 = (0..groups).filter(|&g| counts[g] > 0).map(|g| self.q[g] * self.adjustment[g]).sum();
        let device = outputs[0].device();
        (losses * column(&weights, &device)).sum().add_scalar(constant)
    }

    fn state(&self) -> Vec<f64> {
        self.q.clone()
    }

    fn remember(&mut self, memory: &[f64]) {
        self.q = memory.to_vec();
    }
}

/// Conditional value at risk (Levy et al. 2020): the mean of the largest `alpha` share of a batch's losses, with a
/// fraction of the last one where `alpha * n` is not whole.
#[derive(Debug, Clone, Copy)]
pub struct Cvar {
    /// Above 0, at most 1 (which is the plain mean).
    pub alpha: f64,
}

impl Objective for Cvar {
    fn loss(&mut self, outputs: &[Tensor<2>], batch: &Batch, targets: &Targets) -> Tensor<1> {
        let losses = cross_entropies(outputs[0].clone(), batch, targets);
        let weights = cvar_weights(&numbers(losses.clone().inner()), self.alpha);
        let device = outputs[0].device();
        (losses * column(&weights, &device)).sum()
    }
}

/// Weight per example: `1 / (alpha n)` for the largest losses until they sum to 1. Equal losses keep their order.
pub fn cvar_weights(losses: &[f64], alpha: f64) -> Vec<f64> {
    let size = alpha * losses.len() as f64;
    let mut order: Vec<usize> = (0..losses.len()).collect();
    order.sort_by(|&a, &b| losses[b].total_cmp(&losses[a]).then(a.cmp(&b)));
    let mut weights = vec![0.0; losses.len()];
    let mut left = size;
    for i in order {
        weights[i] = left.clamp(0.0, 1.0) / size;
        left -= 1.0;
    }
    weights
}

/// Learning from failure (Nam et al. 2020): a biased model learns by the generalised cross-entropy `(1 - p^q) / q`, a
/// second one by cross-entropy weighted with `W = CE_biased / (CE_biased + CE_debiased)`. Both losses enter W as moving
/// averages per example, divided by the largest of the example's class, as in the authors' code.
///
/// `outputs` are the logits of the debiased and of the biased model.
#[derive(Debug, Clone)]
pub struct Lff {
    q: f64,
    decay: f64,
    biased: Averages,
    debiased: Averages,
}

impl Lff {
    /// `q` above 0, at most 1 (the paper: 0.7); `decay` of the averages 0 up to 1 (the paper: 0.7). `examples` is the
    /// number of rows of the data.
    pub fn new(q: f64, decay: f64, examples: usize) -> Self {
        let averages = Averages { values: vec![None; examples] };
        Self { q, decay, biased: averages.clone(), debiased: averages }
    }

    /// The weights W of a batch from its losses under both models; updates the averages.
    fn weights(&mut self, biased: &[f64], debiased: &[f64], batch: &Batch, targets: &Targets) -> Vec<f64> {
        for (i, item) in batch.items.iter().enumerate() {
            self.biased.update(item.row, biased[i], self.decay);
            self.debiased.update(item.row, debiased[i], self.decay);
        }
        let classes = targets.labels.iter().max().map_or(0, |m| m + 1);
        let (top_b, top_d) = (self.biased.tops(targets, classes), self.debiased.tops(targets, classes));
        let share = |averages: &Averages, tops: &[f64], row: usize| {
            averages.values[row].unwrap_or_default() / (tops[targets.labels[row]] + 1e-8)
        };
        batch
            .items
            .iter()
            .map(|i| {
                let (b, d) = (share(&self.biased, &top_b, i.row), share(&self.debiased, &top_d, i.row));
                b / (b + d + 1e-8)
            })
            .collect()
    }
}

/// A moving average per example; `None` before its first value.
#[derive(Debug, Clone)]
struct Averages {
    values: Vec<Option<f64>>,
}

impl Averages {
    fn update(&mut self, row: usize, value: f64, decay: f64) {
        self.values[row] = Some(self.values[row].map_or(value, |old| decay * old + (1.0 - decay) * value));
    }

    /// The largest average per class.
    fn tops(&self, targets: &Targets, classes: usize) -> Vec<f64> {
        let mut tops = vec![0.0f64; classes];
        for (value, &label) in self.values.iter().zip(&targets.labels) {
            tops[label] = tops[label].max(value.unwrap_or_default());
        }
        tops
    }
}

impl Objective for Lff {
    fn loss(&mut self, outputs: &[Tensor<2>], batch: &Batch, targets: &Targets) -> Tensor<1> {
        let device = outputs[0].device();
        let n = batch.items.len() as f64;
        let debiased = cross_entropies(outputs[0].clone(), batch, targets);
        let biased = cross_entropies(outputs[1].clone(), batch, targets);
        let (b, d) = (numbers(biased.inner()), numbers(debiased.clone().inner()));
        let weights: Vec<f64> = self.weights(&b, &d, batch, targets).iter().map(|w| w / n).collect();
        // GCE's gradient is p^q times that of cross-entropy.
        let p = label_probabilities(outputs[1].clone(), batch, targets);
        let generalised = p.powf_scalar(self.q).neg().add_scalar(1.0).div_scalar(self.q).sum().div_scalar(n);
        generalised + (debiased * column(&weights, &device)).sum()
    }

    /// Both averages one after the other; an example without one yet is no number.
    fn memory(&self) -> Vec<f64> {
        let both = self.biased.values.iter().chain(&self.debiased.values);
        both.map(|value| value.unwrap_or(f64::NAN)).collect()
    }

    fn remember(&mut self, memory: &[f64]) {
        let (biased, debiased) = memory.split_at(self.biased.values.len());
        let values = |list: &[f64]| list.iter().map(|&v| (!v.is_nan()).then_some(v)).collect();
        self.biased.values = values(biased);
        self.debiased.values = values(debiased);
    }
}

/// Correct-n-Contrast (Zhang et al. 2022): cross-entropy and a supervised contrastive loss on the
/// normalised features of an anchor, its positives (same class, another answer of the first classifier) and its
/// negatives (another class, the same answer): `weight * contrastive + (1 - weight) * cross-entropy`.
///
/// `outputs` are logits and features of a contrastive batch.
#[derive(Debug, Clone, Copy)]
pub struct Cnc {
    /// Above 0.
    pub temperature: f64,
    /// Share of the contrastive loss, 0..=1.
    pub weight: f64,
}

impl Objective for Cnc {
    fn loss(&mut self, outputs: &[Tensor<2>], batch: &Batch, targets: &Targets) -> Tensor<1> {
        let risk = Risk.loss(outputs, batch, targets);
        let [n, width] = outputs[1].dims();
        let lengths = outputs[1].clone().square().sum_dim(1).sqrt().clamp_min(1e-12);
        let z = outputs[1].clone() / lengths;
        let anchor = z.clone().slice([0..1, 0..width]);
        let others = z.slice([1..n, 0..width]);
        let similar = others.matmul(anchor.transpose()).div_scalar(self.temperature).transpose();
        // -log softmax over positives and negatives, averaged over the positives
        let positives: Vec<i64> = (0..batch.positives as i64).collect();
        let device = similar.device();
        let index = Tensor::<2, Int>::from_data(TensorData::new(positives, [1, batch.positives]), &device);
        let contrast = log_softmax(similar, 1).gather(1, index).mean().neg();
        contrast.mul_scalar(self.weight) + risk.mul_scalar(1.0 - self.weight)
    }
}

//! AdamW and a running average of the weights, in one pass over one list of numbers.
//!
//! burn keeps the state of its optimiser under random parameter ids, so a state from a file would not find its
//! parameters in a new process; here it is three lists in the order of the weights. Equal to burn's AdamW (tested).

use rayon::prelude::*;

/// Numbers per job; fixed, although nothing is summed over.
const CHUNK: usize = 1 << 14;
const MOMENTUM: f32 = 0.9;
/// Shorter than the usual 0.999: a training of a few thousand steps must forget its beginning.
const SECOND_MOMENTUM: f32 = 0.99;
const EPSILON: f32 = 1e-8;
const WEIGHT_DECAY: f32 = 0.01;
/// The longest gradient; longer ones are shortened to it.
const LONGEST: f64 = 1.0;
/// How much of the average each step keeps, once there were many.
const AVERAGE: f32 = 0.998;

/// Weights and what training remembers of them. All lists have the same length.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct State {
    /// Steps taken.
    pub(super) step: u64,
    pub(super) weights: Vec<f32>,
    pub(super) first: Vec<f32>,
    pub(super) second: Vec<f32>,
    /// The running average of the weights, which is what gets used.
    pub(super) average: Vec<f32>,
}

impl State {
    pub(super) fn new(weights: Vec<f32>) -> Self {
        let zeros = vec![0.0; weights.len()];
        Self { step: 0, first: zeros.clone(), second: zeros, average: weights.clone(), weights }
    }

    /// One step of AdamW (Loshchilov and Hutter 2019) with the learning rate `rate`; the length of the gradient before
    /// it was shortened.
    pub(super) fn update(&mut self, gradient: &[f32], rate: f32) -> f64 {
        self.step += 1;
        // Chunk by chunk in order: the same sum on any number of threads.
        let squares: Vec<f64> =
            gradient.par_chunks(CHUNK).map(|chunk| chunk.iter().map(|&g| f64::from(g) * f64::from(g)).sum()).collect();
        let length = squares.iter().sum::<f64>().sqrt();
        let shorten = (LONGEST / length.max(LONGEST)) as f32;
        let power = |base: f32| 1.0 - f64::from(base).powf(self.step as f64) as f32;
        let (first_scale, second_scale) = (1.0 / power(MOMENTUM), 1.0 / power(SECOND_MOMENTUM));
        // Young averages follow quickly, or the first weights would stay in them for long.
        let keep = AVERAGE.min((1.0 + self.step as f32) / (10.0 + self.step as f32));
        let lists = self
            .weights
            .par_chunks_mut(CHUNK)
            .zip(self.first.par_chunks_mut(CHUNK))
            .zip(self.second.par_chunks_mut(CHUNK))
            .zip(self.average.par_chunks_mut(CHUNK))
            .zip(gradient.par_chunks(CHUNK));
        lists.for_each(|((((weights, first), second), average), gradient)| {
            for (i, g) in gradient.iter().enumerate() {
                let g = g * shorten;
                first[i] = MOMENTUM * first[i] + (1.0 - MOMENTUM) * g;
                second[i] = SECOND_MOMENTUM * second[i] + (1.0 - SECOND_MOMENTUM) * g * g;
                let change = first[i] * first_scale / ((second[i] * second_scale).sqrt() + EPSILON);
                weights[i] = weights[i] * (1.0 - rate * WEIGHT_DECAY) - rate * change;
                average[i] = keep * average[i] + (1.0 - keep) * weights[i];
            }
        });
        length
    }
}

#[cfg(test)]
mod tests {
    use burn::{
        optim::{AdamWConfig, Optimizer},
        tensor::{Device, Tensor, TensorData},
    };

    use super::*;

    #[test]
    fn steps_equal_burns_adamw() {
        let device = Device::flex();
        let start: Vec<f32> = (0..100).map(|i| (i as f32 * 0.37).sin()).collect();
        let mut state = State::new(start.clone());
        let burn = AdamWConfig::new().with_beta_2(0.99).with_epsilon(1e-8).with_weight_decay(0.01).build();
        let mut tensor = Tensor::<1>::from_data(TensorData::new(start, [100]), &device);
        let mut memory = None;
        for step in 0..6 {
            // Shorter than 1, so that nothing is shortened.
            let gradient: Vec<f32> = (0..100).map(|i| 0.05 * ((i * step) as f32).cos()).collect();
            state.update(&gradient, 0.01);
            let gradient = Tensor::<1>::from_data(TensorData::new(gradient, [100]), &device);
            (tensor, memory) = burn.step(0.01, tensor, gradient, memory);
        }
        let wanted: Vec<f32> = tensor.into_data().try_into_vec().unwrap();
        for (ours, wanted) in state.weights.iter().zip(wanted) {
            assert!((ours - wanted).abs() < 1e-5, "{ours} {wanted}");
        }
    }

    #[test]
    fn a_long_gradient_is_shortened_and_the_average_lags_behind() {
        let mut long = State::new(vec![0.0; 4]);
        assert_eq!(long.update(&[300.0, 0.0, 400.0, 0.0], 0.1), 500.0);
        let mut short = State::new(vec![0.0; 4]);
        short.update(&[0.6, 0.0, 0.8, 0.0], 0.1);
        assert_eq!(long, short);
        assert!(long.average[0] < 0.0 && long.average[0] > long.weights[0]);
    }
}

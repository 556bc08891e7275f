//! How long, how fast and by which optimiser a mini-batch run learns.

use burn::optim::{AdamWConfig, ModuleOptimizer, SgdConfig, decay::WeightDecayConfig, momentum::MomentumConfig};
use serde::{Deserialize, Serialize};

/// How the learning rate changes after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decay {
    /// It stays.
    Constant,
    /// It is multiplied by 0.1 after each third of the steps.
    Step,
    /// Half a cosine takes it to 0.
    Cosine,
}

/// The update rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptimiserKind {
    /// Stochastic gradient descent with momentum (no dampening), as `torch.optim.SGD`.
    Sgd,
    /// Adam with decoupled weight decay (betas 0.9 and 0.999, epsilon 1e-8), as `torch.optim.AdamW`.
    Adamw,
}

/// A pull of the parameters added to the gradient: `strength * (parameter - target)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pull {
    /// 0 or more.
    pub strength: f64,
    /// Towards the parameters at the start of the run (AFR); else towards 0.
    pub to_start: bool,
    /// Whether vectors (biases) are pulled too, or matrices only.
    pub biases: bool,
}

/// How long and how fast to learn.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// Number of updates, at least 1: the budget, the same for every arm whatever it trains on.
    pub steps: usize,
    /// Examples per update, counted before accumulation.
    pub batch: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// What follows the warm-up.
    pub decay: Decay,
    /// Steps in which the rate rises linearly to its peak.
    pub warmup: usize,
    /// The update rule.
    pub optimiser: OptimiserKind,
    /// As in PyTorch: added to the gradient (SGD) or decoupled (AdamW); 0 or more.
    pub weight_decay: f64,
    /// Momentum of SGD, 0 up to 1.
    pub momentum: f64,
    /// Gradients with a larger norm over all parameters are scaled down to it (`torch.nn.utils.clip_grad_norm_`).
    pub clip: Option<f64>,
    /// Batches whose gradients are averaged for one update, at least 1.
    pub accumulate: usize,
    /// Decay of the exponential moving average of the parameters, which is then the result.
    pub average: Option<f64>,
    /// A pull towards 0 or the start.
    pub pull: Option<Pull>,
    /// Names the random stream of the order of examples.
    pub stream: (u64, String),
}

impl Schedule {
    /// Learning rate of a step counted from 0.
    pub fn rate(&self, step: usize) -> f64 {
        if step < self.warmup {
            return self.learning_rate * (step + 1) as f64 / (self.warmup + 1) as f64;
        }
        let done = (step - self.warmup) as f64 / (self.steps.saturating_sub(self.warmup)).max(1) as f64;
        self.learning_rate
            * match self.decay {
                Decay::Constant => 1.0,
                Decay::Step => 0.1f64.powi((done * 3.0).floor() as i32),
                Decay::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
            }
    }

    /// The update rule with this schedule's constants.
    pub(super) fn optimiser(&self) -> ModuleOptimizer {
        match self.optimiser {
            OptimiserKind::Sgd => {
                let momentum = MomentumConfig::new().with_momentum(self.momentum).with_dampening(0.0);
                let decay = (self.weight_decay > 0.0).then(|| WeightDecayConfig::new(self.weight_decay as f32));
                SgdConfig::new()
                    .with_momentum((self.momentum > 0.0).then_some(momentum))
                    .with_weight_decay(decay)
                    .init()
            }
            OptimiserKind::Adamw => {
                AdamWConfig::new().with_epsilon(1e-8).with_weight_decay(self.weight_decay as f32).init()
            }
        }
    }
}

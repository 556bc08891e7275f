//! What a checkpoint of a whole network keeps beside the network: the models that were selected so far, and the log.

use std::collections::BTreeMap;

use scgs_models::Network;
use serde::{Deserialize, Serialize};

use super::Watch;
use crate::{
    Error,
    minibatch::{Beside, Metrics, numbers_of, with_numbers},
    selection::Criterion,
    training::{LogLine, Trained},
};

/// TOML: its numbers read back as they were written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    offered: usize,
    lines: Vec<Line>,
    choices: Vec<Choice>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    metrics: Metrics,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    validation: Option<f64>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Choice {
    criterion: Criterion,
    epoch: usize,
    score: f64,
}

impl Watch {
    /// What was chosen so far, with the log of `phase`.
    pub(super) fn keep(&self, phase: &str) -> Beside {
        let lines = self.chosen.log.iter().filter(|line| line.phase == phase);
        let lines = lines.map(|line| Line { metrics: line.metrics.clone(), validation: line.validation });
        let choices = self.selector.chosen().iter();
        let choices = choices.map(|(&criterion, &(epoch, score))| Choice { criterion, epoch, score });
        let kept = Kept { offered: self.selector.offered(), lines: lines.collect(), choices: choices.collect() };
        let mut models = BTreeMap::new();
        for (epoch, model) in self.chosen.models.values() {
            let Trained::Network(network) = model else { unreachable!("a network trainer keeps networks") };
            models.entry(epoch.to_string()).or_insert_with(|| numbers_of(network.as_ref()));
        }
        Beside { text: toml::to_string(&kept).expect("numbers and names are plain TOML values"), models }
    }

    /// Takes back what [`Self::keep`] gave. `like` is a network of the same shape, off the tape.
    pub(super) fn take_back(&mut self, phase: &'static str, like: &Network, beside: &Beside) -> Result<(), Error> {
        use burn::module::Module as _;
        let damaged = |message: String| Error::Config { origin: "checkpoint".into(), message };
        let kept: Kept = toml::from_str(&beside.text).map_err(|e| damaged(e.to_string()))?;
        let lines = kept.lines.into_iter();
        self.chosen.log.extend(lines.map(|line| LogLine { phase, metrics: line.metrics, validation: line.validation }));
        for choice in &kept.choices {
            let epoch = choice.epoch;
            let values = beside.models.get(&epoch.to_string());
            let values = values.ok_or_else(|| damaged(format!("the model of epoch {epoch} is missing")))?;
            // `valid` makes running statistics of its own, which clones share.
            let network = Trained::Network(Box::new(with_numbers(like.valid(), values)));
            self.chosen.models.insert(choice.criterion, (epoch, network));
        }
        let best = kept.choices.iter().map(|choice| (choice.criterion, (choice.epoch, choice.score)));
        self.selector.go_on(best.collect(), kept.offered);
        Ok(())
    }
}

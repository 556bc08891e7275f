//! The values of the next batches are made on another thread while a step is computed.

use std::{
    cell::RefCell,
    collections::VecDeque,
    sync::mpsc::{Receiver, Sender, channel},
};

use crate::{
    Error,
    minibatch::{self, Batch, Schedule, Visits},
};

/// The batches of a training run from some place on.
struct Plan<'a> {
    visits: &'a Visits,
    schedule: &'a Schedule,
    epoch: usize,
    batches: Vec<Batch>,
    at: usize,
}

impl Plan<'_> {
    /// Goes on after this batch.
    fn after(&mut self, batch: &Batch) {
        let (epoch, number) = batch.place;
        if self.epoch != epoch {
            self.epoch = epoch;
            self.batches = minibatch::batches(self.schedule, self.visits, epoch);
        }
        self.at = number + 1;
    }

    /// `None` after an epoch without batches, with which training ends.
    fn next(&mut self) -> Option<Batch> {
        if self.at >= self.batches.len() {
            self.epoch += 1;
            self.batches = minibatch::batches(self.schedule, self.visits, self.epoch);
            self.at = 0;
        }
        self.at += 1;
        self.batches.get(self.at - 1).cloned()
    }
}

/// What was asked for, and the way to ask.
struct Asked<'a> {
    plan: Plan<'a>,
    waiting: VecDeque<(usize, usize)>,
    ask: Sender<Batch>,
    given: Receiver<Result<Vec<f32>, Error>>,
    /// Batches made ahead of the one in use; bounds memory, does not change any result.
    ahead: usize,
}

impl Asked<'_> {
    fn ask(&mut self, batch: Batch) {
        self.waiting.push_back(batch.place);
        self.ask.send(batch).expect("the thread ends after this value");
    }

    fn values(&mut self, wanted: &Batch) -> Result<Vec<f32>, Error> {
        // The first batch of a run, which may be in the middle of its schedule.
        if self.waiting.is_empty() {
            self.plan.after(wanted);
            self.ask(wanted.clone());
        }
        assert_eq!(self.waiting.pop_front(), Some(wanted.place), "training asks in the order of its schedule");
        let values = self.given.recv().expect("the thread answers or the scope panics");
        while self.waiting.len() < self.ahead
            && let Some(batch) = self.plan.next()
        {
            self.ask(batch);
        }
        values
    }
}

/// Runs `train` with a function that gives the values of a batch. Batches are asked for in the order of `schedule` and
/// `visits`, from any place of it on; `make` works on another thread, up to `ahead` batches in advance.
pub(super) fn with_batches<R>(
    ahead: usize,
    visits: &Visits,
    schedule: &Schedule,
    make: impl Fn(&Batch) -> Result<Vec<f32>, Error> + Sync,
    train: impl FnOnce(&dyn Fn(&Batch) -> Result<Vec<f32>, Error>) -> R,
) -> R {
    let (ask, asked) = channel::<Batch>();
    let (give, given) = channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let give = give;
            for batch in asked {
                if give.send(make(&batch)).is_err() {
                    return;
                }
            }
        });
        let plan = Plan { visits, schedule, epoch: 0, batches: Vec::new(), at: 0 };
        let asked = RefCell::new(Asked { plan, waiting: VecDeque::new(), ask, given, ahead });
        train(&|batch| asked.borrow_mut().values(batch))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::minibatch::{Decay, Mixing, OptimiserKind, Sampler};

    fn schedule() -> Schedule {
        Schedule {
            steps: 8,
            batch: 3,
            learning_rate: 0.1,
            decay: Decay::Constant,
            warmup: 0,
            optimiser: OptimiserKind::Sgd,
            weight_decay: 0.0,
            momentum: 0.0,
            clip: None,
            accumulate: 1,
            average: None,
            pull: None,
            stream: (5, "t".to_owned()),
        }
    }

    fn visits() -> Visits {
        Visits { rows: (0..7).collect(), sampler: Sampler::Shuffle, mixing: Mixing::None }
    }

    fn drawn() -> Vec<Batch> {
        let (visits, schedule) = (visits(), schedule());
        (1..=3).flat_map(|epoch| minibatch::batches(&schedule, &visits, epoch)).take(8).collect()
    }

    fn rows(batch: &Batch) -> Result<Vec<f32>, Error> {
        Ok([batch.place.0, batch.place.1].into_iter().chain(batch.rows()).map(|v| v as f32).collect())
    }

    #[test]
    fn every_batch_gets_its_own_values_from_any_place_on() {
        let all = drawn();
        // Three batches an epoch: the second start is the second batch of epoch 2, the third one the last of it.
        for (from, ahead) in [(0, 2), (4, 2), (5, 2), (0, 1), (5, 1)] {
            with_batches(ahead, &visits(), &schedule(), rows, |values| {
                for batch in &all[from..] {
                    assert_eq!(values(batch).unwrap(), rows(batch).unwrap());
                }
            });
        }
    }

    #[test]
    fn an_error_arrives_with_its_batch() {
        let all = drawn();
        let make = |batch: &Batch| match batch.place {
            (1, 1) => Err(Error::NoBatch { stage: "t".to_owned() }),
            _ => rows(batch),
        };
        with_batches(2, &visits(), &schedule(), make, |values| {
            values(&all[0]).unwrap();
            assert!(matches!(values(&all[1]), Err(Error::NoBatch { .. })));
        });
    }
}

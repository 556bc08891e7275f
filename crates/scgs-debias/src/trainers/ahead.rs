//! The values of the next batches are made on another thread while a step is computed.

use std::{
    cell::RefCell,
    collections::VecDeque,
    sync::mpsc::{Receiver, Sender, channel},
};

use scgs_data::stream;

use crate::{
    Error,
    minibatch::{self, Batch, Schedule, Visits},
};

/// Batches made ahead of the one in use; bounds memory, does not change any result.
const AHEAD: usize = 2;

/// The place of a batch: epoch, counted from 1, and number within it.
pub(super) type Place = (usize, usize);

/// The batches of a training run, as [`minibatch::train`] draws them.
struct Plan<'a> {
    visits: &'a Visits,
    schedule: &'a Schedule,
    epoch: usize,
    batches: Vec<Batch>,
    at: usize,
}

impl Plan<'_> {
    /// `None` after an epoch without batches, with which training ends.
    fn next(&mut self) -> Option<(Place, Batch)> {
        if self.at == self.batches.len() {
            self.epoch += 1;
            self.at = 0;
            let mut rng = stream(self.schedule.stream.0, &self.schedule.stream.1, self.epoch as u64);
            let Visits { rows, sampler, mixing } = self.visits;
            self.batches = minibatch::epoch(rows, self.schedule.batch, sampler, mixing, &mut rng);
        }
        let batch = self.batches.get(self.at)?.clone();
        self.at += 1;
        Some(((self.epoch, self.at - 1), batch))
    }
}

/// What was asked for, and the way to ask.
struct Asked<'a> {
    plan: Plan<'a>,
    waiting: VecDeque<Batch>,
    ask: Sender<(Place, Batch)>,
    given: Receiver<Result<Vec<f32>, Error>>,
}

impl Asked<'_> {
    fn ask(&mut self, place: Place, batch: Batch) {
        self.waiting.push_back(batch.clone());
        self.ask.send((place, batch)).expect("the thread ends after this value");
    }

    fn receive(&mut self) -> Result<Vec<f32>, Error> {
        let values = self.given.recv().expect("the thread answers or the scope panics");
        while self.waiting.len() < AHEAD
            && let Some((place, batch)) = self.plan.next()
        {
            self.ask(place, batch);
        }
        values
    }

    fn values(&mut self, wanted: &Batch) -> Result<Vec<f32>, Error> {
        while let Some(batch) = self.waiting.pop_front() {
            let values = self.receive();
            if batch == *wanted {
                return values;
            }
        }
        // The first batch of a run, which may go on in the middle of its schedule.
        let batches = self.plan.schedule.steps * self.plan.schedule.accumulate;
        for _ in 0..=batches {
            let Some((place, batch)) = self.plan.next() else { break };
            if batch == *wanted {
                self.ask(place, batch);
                self.waiting.pop_back();
                return self.receive();
            }
        }
        unreachable!("training draws its batches from the same stream");
    }
}

/// Runs `train` with a function that gives the values of a batch. Batches are asked for in the order of `schedule` and
/// `visits`, from any place of it on; `make` works on another thread, up to two batches in advance.
pub(super) fn with_batches<R>(
    visits: &Visits,
    schedule: &Schedule,
    make: impl Fn(&Batch, Place) -> Result<Vec<f32>, Error> + Sync,
    train: impl FnOnce(&dyn Fn(&Batch) -> Result<Vec<f32>, Error>) -> R,
) -> R {
    let (ask, asked) = channel::<(Place, Batch)>();
    let (give, given) = channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let give = give;
            for (place, batch) in asked {
                if give.send(make(&batch, place)).is_err() {
                    return;
                }
            }
        });
        let plan = Plan { visits, schedule, epoch: 0, batches: Vec::new(), at: 0 };
        let asked = RefCell::new(Asked { plan, waiting: VecDeque::new(), ask, given });
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

    fn drawn(schedule: &Schedule) -> Vec<Batch> {
        let visits = visits();
        let mut plan = Plan { visits: &visits, schedule, epoch: 0, batches: Vec::new(), at: 0 };
        (0..8).map(|_| plan.next().unwrap().1).collect()
    }

    fn rows(batch: &Batch, place: Place) -> Result<Vec<f32>, Error> {
        Ok([place.0, place.1].into_iter().chain(batch.rows()).map(|v| v as f32).collect())
    }

    #[test]
    fn every_batch_gets_its_own_values_from_any_place_on() {
        let schedule = schedule();
        let all = drawn(&schedule);
        // Three batches an epoch: place 4 is the second batch of epoch 2.
        for from in [0, 4] {
            with_batches(&visits(), &schedule, rows, |values| {
                for (at, batch) in all.iter().enumerate().skip(from) {
                    assert_eq!(values(batch).unwrap(), rows(batch, (at / 3 + 1, at % 3)).unwrap(), "batch {at}");
                }
            });
        }
    }

    #[test]
    fn an_error_arrives_with_its_batch() {
        let schedule = schedule();
        let all = drawn(&schedule);
        let make = |batch: &Batch, place: Place| match place {
            (1, 1) => Err(Error::NoBatch { stage: "t".to_owned() }),
            _ => rows(batch, place),
        };
        with_batches(&visits(), &schedule, make, |values| {
            values(&all[0]).unwrap();
            assert!(matches!(values(&all[1]), Err(Error::NoBatch { .. })));
        });
    }
}

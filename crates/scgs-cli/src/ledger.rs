//! What a run costs (`run.json` in the seed's folder), kept while it goes on, and a watchdog.
//!
//! A thread writes the file every ten seconds and when a stage ends. Seconds add up over attempts: what a killed process
//! had spent on a stage stands under `under_way` and is counted by the next one. The watchdog names a stage in which nothing
//! was finished for a while; it never ends anything.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use scgs_debias::Event;
use serde::{Deserialize, Serialize};

use crate::progress;

/// Name of the file.
const FILE: &str = "run.json";
/// Time between two looks.
const TICK: Duration = Duration::from_secs(10);

/// `run.json`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Costs {
    pub(crate) schema: u32,
    /// Wall time of all stages.
    pub(crate) seconds: f64,
    /// The same in hours: one process uses one device.
    pub(crate) device_hours: f64,
    /// With --price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cost: Option<f64>,
    pub(crate) stages: BTreeMap<String, Cost>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) under_way: Option<UnderWay>,
}

/// What a stage cost so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cost {
    /// Wall time of all attempts.
    pub(crate) seconds: f64,
    /// Attempts that spent time on it.
    pub(crate) attempts: u32,
    /// Pictures, steps: what the stage counts; of the last attempt.
    pub(crate) items: usize,
    /// Of the last attempt.
    pub(crate) items_per_second: f64,
    pub(crate) finished: bool,
}

/// The present stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct UnderWay {
    pub(crate) stage: String,
    pub(crate) done: usize,
    /// 0 where it is not known.
    pub(crate) total: usize,
    pub(crate) seconds: f64,
    pub(crate) items_per_second: f64,
    /// Where the total is known and something was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) seconds_left: Option<f64>,
}

/// Keeps the file, and watches.
#[derive(Debug)]
pub(crate) struct Ledger {
    state: Arc<Mutex<State>>,
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    folder: Option<PathBuf>,
    costs: Costs,
    current: Option<Current>,
    price: Option<f64>,
}

#[derive(Debug)]
struct Current {
    stage: String,
    total: usize,
    /// The first sign: items, which an earlier attempt may have done, and when.
    first: Option<(usize, Instant)>,
    done: usize,
    begun: Instant,
    moved: Instant,
    /// Whether the watchdog has spoken since something moved.
    told: bool,
}

impl Ledger {
    /// Starts to watch: `patience` without a finished item is worth a word; zero is never. `price` is that of a device's hour.
    pub(crate) fn start(patience: Duration, price: Option<f64>) -> Self {
        let state = Arc::new(Mutex::new(State { price, ..State::default() }));
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = {
            let state = Arc::clone(&state);
            let tick = if patience.is_zero() { TICK } else { TICK.min(patience) };
            std::thread::spawn(move || {
                while stopped.recv_timeout(tick) == Err(mpsc::RecvTimeoutError::Timeout) {
                    let mut state = lock(&state);
                    let now = Instant::now();
                    if let Some(text) = state.stalled(now, patience) {
                        tracing::warn!("{text}");
                        progress::notice(&format!("  note: {text}"));
                    }
                    state.write(now);
                }
            })
        };
        Self { state, stop: Some(stop), thread: Some(thread) }
    }

    /// Takes note of an event.
    pub(crate) fn tell(&self, event: &Event) {
        lock(&self.state).tell(event, Instant::now());
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A ledger that broke is no reason to lose a run.
            let _ = thread.join();
        }
        lock(&self.state).write(Instant::now());
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Current {
    fn seconds(&self, now: Instant) -> f64 {
        now.duration_since(self.begun).as_secs_f64()
    }

    /// Items of this process per second.
    fn rate(&self, now: Instant) -> f64 {
        match self.first {
            Some((first, since)) if self.done > first => {
                (self.done - first) as f64 / now.duration_since(since).as_secs_f64().max(1e-9)
            }
            _ => self.done as f64 / self.seconds(now).max(1e-9),
        }
    }
}

impl State {
    fn tell(&mut self, event: &Event, now: Instant) {
        match event {
            Event::Opened { folder } => {
                self.costs = read(folder);
                self.folder = Some(folder.clone());
                // What a killed process had spent.
                if let Some(lost) = self.costs.under_way.take() {
                    let cost = self.costs.stages.entry(lost.stage).or_default();
                    cost.seconds += lost.seconds;
                    cost.attempts += 1;
                }
            }
            Event::Started { stage, total } => {
                let (stage, total) = (stage.clone(), *total);
                self.current =
                    Some(Current { stage, total, first: None, done: 0, begun: now, moved: now, told: false });
            }
            Event::Advanced { done } => {
                if let Some(current) = &mut self.current {
                    current.first.get_or_insert((*done, now));
                    current.done = *done;
                    (current.moved, current.told) = (now, false);
                }
            }
            Event::Finished { stage, reused, .. } => {
                if let Some(current) = self.current.take().filter(|current| current.stage == *stage && !reused) {
                    let cost = self.costs.stages.entry(stage.clone()).or_default();
                    cost.seconds += current.seconds(now);
                    cost.attempts += 1;
                    cost.items = current.done;
                    cost.items_per_second = current.rate(now);
                    cost.finished = true;
                    self.write(now);
                }
            }
            Event::Notice { .. } => {}
        }
    }

    /// What to say about a stage in which nothing moves; once for each time.
    fn stalled(&mut self, now: Instant, patience: Duration) -> Option<String> {
        let current = self.current.as_mut()?;
        let still = now.duration_since(current.moved);
        if patience.is_zero() || still < patience || current.told {
            return None;
        }
        current.told = true;
        let minutes = still.as_secs_f64() / 60.0;
        let of = if current.total > 0 { format!(" of {}", current.total) } else { String::new() };
        Some(format!("{}: nothing was finished for {minutes:.1} minutes, at item {}{of}", current.stage, current.done))
    }

    fn write(&mut self, now: Instant) {
        let Some(folder) = &self.folder else { return };
        let mut costs = self.costs.clone();
        costs.schema = 1;
        costs.under_way = self.current.as_ref().map(|current| {
            let rate = current.rate(now);
            let left = current.total.saturating_sub(current.done) as f64;
            UnderWay {
                stage: current.stage.clone(),
                done: current.done,
                total: current.total,
                seconds: current.seconds(now),
                items_per_second: rate,
                seconds_left: (current.total > 0 && rate > 0.0).then(|| left / rate),
            }
        });
        let present = costs.under_way.as_ref().map_or(0.0, |current| current.seconds);
        costs.seconds = costs.stages.values().map(|cost| cost.seconds).sum::<f64>() + present;
        costs.device_hours = costs.seconds / 3600.0;
        costs.cost = self.price.map(|price| price * costs.device_hours);
        let Ok(text) = serde_json::to_string_pretty(&costs) else { return };
        // Nothing reads it but people: a full disk is found by the stage.
        let _ = scgs_data::atomic::write(folder.join(FILE), text + "\n");
    }
}

/// The file of an earlier process; empty where there is none that can be read.
fn read(folder: &Path) -> Costs {
    let text = fs_err::read(folder.join(FILE)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(stage: &str, total: usize) -> Event {
        Event::Started { stage: stage.into(), total }
    }

    fn finished(stage: &str) -> Event {
        Event::Finished { stage: stage.into(), summary: String::new(), seconds: 0.0, reused: false }
    }

    #[test]
    fn seconds_add_up_over_attempts_and_what_is_left_follows_from_the_rate() {
        let dir = tempfile::tempdir().unwrap();
        let opened = Event::Opened { folder: dir.path().to_owned() };
        let zero = Instant::now();
        let at = |seconds: u64| zero + Duration::from_secs(seconds);
        // Killed after 20 s, at 40 of 100.
        let mut first = State::default();
        first.tell(&opened, zero);
        first.tell(&started("5-synthesis", 100), zero);
        first.tell(&Event::Advanced { done: 40 }, at(20));
        first.write(at(20));
        let seen = read(dir.path());
        let now = seen.under_way.unwrap();
        assert_eq!((now.done, now.items_per_second, now.seconds_left), (40, 2.0, Some(30.0)));
        // Goes on at 40 and takes 30 s.
        let mut second = State { price: Some(2.0), ..State::default() };
        second.tell(&opened, at(100));
        second.tell(&started("5-synthesis", 100), at(100));
        second.tell(&Event::Advanced { done: 40 }, at(100));
        second.tell(&Event::Advanced { done: 100 }, at(130));
        second.tell(&finished("5-synthesis"), at(130));
        let costs = read(dir.path());
        let stage = &costs.stages["5-synthesis"];
        assert_eq!((stage.seconds, stage.attempts, stage.items, stage.items_per_second), (50.0, 2, 100, 2.0));
        assert!(stage.finished && costs.under_way.is_none());
        assert_eq!((costs.seconds, costs.cost), (50.0, Some(2.0 * 50.0 / 3600.0)));
    }

    #[test]
    fn the_watchdog_names_the_stage_once_until_something_moves() {
        let zero = Instant::now();
        let at = |seconds: u64| zero + Duration::from_secs(seconds);
        let minute = Duration::from_secs(60);
        let mut state = State::default();
        assert_eq!(state.stalled(at(1000), minute), None, "between stages nothing is expected");
        state.tell(&started("4-masks", 9), zero);
        state.tell(&Event::Advanced { done: 3 }, at(10));
        assert_eq!(state.stalled(at(69), minute), None);
        let text = state.stalled(at(100), minute).unwrap();
        assert_eq!(text, "4-masks: nothing was finished for 1.5 minutes, at item 3 of 9");
        assert_eq!(state.stalled(at(500), minute), None, "once");
        state.tell(&Event::Advanced { done: 4 }, at(510));
        assert!(state.stalled(at(600), minute).is_some());
        assert_eq!(state.stalled(at(900), Duration::ZERO), None, "0 is never");
    }
}

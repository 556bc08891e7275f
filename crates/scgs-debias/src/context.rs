//! What a stage needs beside its inputs: a device, a way to be cancelled, and somebody to tell how far it is.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use burn::tensor::Device;

use crate::Error;

/// Something a person may want to see while a run goes on.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A stage starts; `total` items are ahead (0 = unknown).
    Started {
        /// The stage's folder name.
        stage: String,
        /// Number of items.
        total: usize,
    },
    /// `done` items of the current stage are finished.
    Advanced {
        /// Items so far.
        done: usize,
    },
    /// A run's folder is open for writing.
    Opened {
        /// The folder of the seed.
        folder: PathBuf,
    },
    /// Something that a person should know, and that changes no result.
    Notice {
        /// One line.
        text: String,
    },
    /// A stage is finished.
    Finished {
        /// The stage's folder name.
        stage: String,
        /// One line of facts.
        summary: String,
        /// Wall time of this process; 0 when the stage was finished before.
        seconds: f64,
        /// True if an earlier run had finished it.
        reused: bool,
    },
}

/// Device, cancellation and progress, handed to every stage.
pub struct Context<'a> {
    /// Where tensors live; a plain device (no autodiff).
    pub device: Device,
    /// Set by somebody else (Ctrl-C) to stop at the next safe point.
    pub cancelled: &'a AtomicBool,
    /// Receives events in order, from one thread at a time.
    pub report: &'a (dyn Fn(Event) + Sync),
    /// A folder for transformed pictures, so that a later run does not decode them again; the results are the same.
    pub cache: Option<&'a Path>,
    /// Further devices of the same kind, which take batches of a training step; the results are the same to rounding.
    pub replicas: &'a [Device],
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("device", &self.device).finish_non_exhaustive()
    }
}

impl<'a> Context<'a> {
    /// One device, and pictures that are decoded anew.
    pub fn new(device: Device, cancelled: &'a AtomicBool, report: &'a (dyn Fn(Event) + Sync)) -> Self {
        Self { device, cancelled, report, cache: None, replicas: &[] }
    }

    /// Tells how many items of the current stage are finished, and stops there if asked to.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if the run was cancelled.
    pub fn advance(&self, stage: &str, done: usize) -> Result<(), Error> {
        (self.report)(Event::Advanced { done });
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(Error::Interrupted { stage: stage.to_owned() });
        }
        Ok(())
    }

    /// Announces a stage and returns its clock.
    pub(crate) fn start(&self, stage: &str, total: usize) -> Instant {
        (self.report)(Event::Started { stage: stage.to_owned(), total });
        Instant::now()
    }
}

//! Batches of pictures for a network: decoded by all threads ahead of their use, or taken from a [`Pack`].

use std::{
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    },
    thread::JoinHandle,
};

use image::RgbImage;
use rayon::prelude::*;

use crate::{Normalisation, Pack, PictureError, Transform, TransformError, pixels::fill_chw, read_rgb, stream};

/// What is done with every picture: a transform without chance and with a known size, then a normalisation.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepare {
    transform: Transform,
    size: (u32, u32),
    normalisation: Normalisation,
}

impl Prepare {
    /// Checks the transform.
    ///
    /// # Errors
    /// [`TransformError`] where its settings are impossible, a step is random, or the size depends on the picture.
    pub fn new(transform: Transform, normalisation: Normalisation) -> Result<Self, TransformError> {
        transform.check()?;
        if transform.is_random() {
            return Err(TransformError(vec![
                "a step is random; what is loaded in order or kept must not be".to_owned(),
            ]));
        }
        let size = transform.size().ok_or_else(|| {
            TransformError(vec![
                "the size depends on the picture; end with resize or center-crop, so that pictures fit a batch"
                    .to_owned(),
            ])
        })?;
        Ok(Self { transform, size, normalisation })
    }

    /// The whole picture scaled to `side` x `side` pixels, whatever its aspect.
    ///
    /// # Panics
    /// When `side` is 0.
    pub fn square(side: u32, normalisation: Normalisation) -> Self {
        assert!(side > 0, "side must be at least 1 pixel");
        Self { transform: Transform::square(side), size: (side, side), normalisation }
    }

    /// Width and height of every picture in pixels.
    pub fn size(&self) -> (u32, u32) {
        self.size
    }

    /// The steps before the normalisation.
    pub fn transform(&self) -> &Transform {
        &self.transform
    }

    /// The normalisation.
    pub fn normalisation(&self) -> &Normalisation {
        &self.normalisation
    }

    /// Values of one picture: 3 * height * width.
    pub fn values(&self) -> usize {
        3 * self.size.0 as usize * self.size.1 as usize
    }

    /// A picture as it is before the normalisation.
    pub(crate) fn picture(&self, path: &std::path::Path) -> Result<RgbImage, PictureError> {
        // No step draws from the stream.
        Ok(self.transform.apply(&read_rgb(path)?, &mut stream(0, "", 0)))
    }

    /// Reads pictures into `out`, `[N, 3, height, width]`, row major, in the order of `paths` for any number of threads.
    ///
    /// # Errors
    /// One [`PictureError`] per picture that cannot be read, in the order of `paths`.
    ///
    /// # Panics
    /// When `out` has not exactly [`Self::values`] times as many values as there are paths.
    pub fn load_into(&self, paths: &[PathBuf], out: &mut [f32]) -> Result<(), Vec<PictureError>> {
        assert_eq!(out.len(), paths.len() * self.values(), "out must hold every picture");
        let table = self.normalisation.table();
        let results: Vec<Result<(), PictureError>> = out
            .par_chunks_mut(self.values())
            .zip(paths)
            .map(|(out, path)| {
                fill_chw(&self.picture(path)?, &table, out);
                Ok(())
            })
            .collect();
        let errors: Vec<PictureError> = results.into_iter().filter_map(Result::err).collect();
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}

/// Batches in order. While one is used, a thread makes the next ones, at most `ahead` of them.
///
/// ```no_run
/// use scgs_data::{Batches, Normalisation, Prepare};
/// let paths = vec!["a.jpg".into(), "b.jpg".into(), "c.jpg".into()];
/// let mut batches = Batches::new(paths, Prepare::square(224, Normalisation::IMAGENET), 2, 2, None);
/// while let Some(batch) = batches.next() {
///     let values = batch.expect("readable pictures");
///     assert_eq!(values.len() % (3 * 224 * 224), 0);
///     batches.recycle(values);
/// }
/// ```
#[derive(Debug)]
pub struct Batches {
    /// `None` once the batches are at an end or the value is dropped.
    made: Option<Receiver<Made>>,
    used: Sender<Vec<f32>>,
    worker: Option<JoinHandle<()>>,
}

type Made = Result<Vec<f32>, Vec<PictureError>>;

impl Batches {
    /// Starts the thread. With a `pack` of the same pictures and transform, nothing is decoded.
    ///
    /// # Panics
    /// When `batch` or `ahead` is 0, or `pack` has another number or size of pictures.
    pub fn new(paths: Vec<PathBuf>, prepare: Prepare, batch: usize, ahead: usize, pack: Option<Arc<Pack>>) -> Self {
        assert!(batch > 0 && ahead > 0, "a batch has a picture and one is made ahead");
        if let Some(pack) = &pack {
            assert!((pack.len(), pack.size()) == (paths.len(), prepare.size()), "the pack is of these pictures");
        }
        let (send, made) = sync_channel(ahead);
        let (used, recycled) = channel();
        let worker = std::thread::spawn(move || produce(&paths, &prepare, batch, pack.as_deref(), &send, &recycled));
        Self { made: Some(made), used, worker: Some(worker) }
    }

    /// Gives a batch back whose memory is used again: fresh memory costs more than decoding from a pack.
    pub fn recycle(&self, values: Vec<f32>) {
        // The thread may be gone already.
        let _ = self.used.send(values);
    }
}

impl Iterator for Batches {
    /// `[N, 3, height, width]`, row major, or one error per unreadable picture of the batch.
    type Item = Made;

    fn next(&mut self) -> Option<Made> {
        self.made.as_ref()?.recv().ok()
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        // Closes the channel, at which the thread stops.
        self.made = None;
        if let Some(worker) = self.worker.take() {
            // It only panics where a batch has panicked, which has been seen.
            let _ = worker.join();
        }
    }
}

fn produce(
    paths: &[PathBuf],
    prepare: &Prepare,
    batch: usize,
    pack: Option<&Pack>,
    send: &SyncSender<Made>,
    recycled: &Receiver<Vec<f32>>,
) {
    for (at, chunk) in paths.chunks(batch).enumerate() {
        let mut values = recycled.try_recv().unwrap_or_default();
        values.resize(chunk.len() * prepare.values(), 0.0);
        let made = match pack {
            Some(pack) => {
                pack.values_into(at * batch, prepare.normalisation(), &mut values);
                Ok(values)
            }
            None => prepare.load_into(chunk, &mut values).map(|()| values),
        };
        if send.send(made).is_err() {
            return;
        }
    }
}

#[cfg(test)]
#[path = "loader_tests.rs"]
mod tests;

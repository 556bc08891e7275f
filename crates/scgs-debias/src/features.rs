//! What the network makes of pictures: pooled features, and features of the background alone.

mod partial;

use std::{iter::Skip, path::Path, sync::Arc};

use burn::tensor::{Tensor, TensorData};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use scgs_data::{Batches, Normalisation, Pack, PackError, PictureError, Prepare, atomic, load_batch};
use scgs_models::{Architecture, Network};

use crate::{Context, Error, memory::Share, run_folder::table_error};

/// Pictures per forward pass. Convolutions compute them side by side, so another number would change last digits.
const BATCH: usize = 16;

/// Features of a list of pictures.
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    /// One id per row.
    pub ids: Vec<u64>,
    /// Columns of both matrices.
    pub width: usize,
    /// `[N, width]`, row major: the last map averaged over all cells, the input of the last layer.
    pub pooled: Vec<f32>,
    /// `[N, width]`, row major: the last map averaged over the half of its cells with the lowest activation norm.
    /// Objects excite the last map of a trained network, so that half is mostly background.
    pub background: Vec<f32>,
}

impl Features {
    /// One row of the pooled features.
    pub fn row(&self, i: usize) -> &[f32] {
        &self.pooled[i * self.width..(i + 1) * self.width]
    }

    /// Computes the features of pictures given as (id, file). `network` should have its batch norms folded.
    ///
    /// # Errors
    /// [`Error::BadPictures`] for unreadable files (they were readable when the run started), [`Error::Interrupted`].
    pub fn compute(
        context: &Context<'_>,
        stage: &str,
        network: &Network,
        input: Input,
        pictures: &[(u64, std::path::PathBuf)],
    ) -> Result<Self, Error> {
        Self::compute_kept(context, stage, network, input, pictures, None)
    }

    /// [`Self::compute`] that goes on from the file `partial`, if a process that was stopped left it there, and adds to it. The
    /// caller removes it when the features are saved (a finished stage loses its `.partial` files).
    ///
    /// # Errors
    /// Those of [`Self::compute`], and [`Error::Io`].
    pub fn compute_kept(
        context: &Context<'_>,
        stage: &str,
        network: &Network,
        input: Input,
        pictures: &[(u64, std::path::PathBuf)],
        partial: Option<&Path>,
    ) -> Result<Self, Error> {
        let width = input.architecture.feature_width();
        let mut features =
            Self { ids: pictures.iter().map(|p| p.0).collect(), width, pooled: Vec::new(), background: Vec::new() };
        let mut done = 0;
        let mut kept = None;
        if let Some(path) = partial {
            let (file, rows) = partial::Partial::open(path, &mut features, input.size)?;
            (kept, done) = (Some(file), rows);
            context.advance(stage, done)?;
        }
        let batches = input.batches(context, stage, pictures.iter().map(|p| p.1.clone()).collect(), done)?;
        for values in batches {
            let values = values.map_err(bad_pictures)?;
            let n = values.len() / (3 * input.size * input.size);
            done += n;
            let data = TensorData::new(values, [n, 3, input.size, input.size]);
            let map = network.features(Tensor::from_data(data, &context.device));
            let [n, channels, height, columns] = map.dims();
            let cells = height * columns;
            let values = map.into_data().convert::<f32>().try_into_vec::<f32>().expect("converted to f32");
            for picture in values.chunks(channels * cells).take(n) {
                features.pooled.extend(mean_of_cells(picture, cells, None));
                features.background.extend(mean_of_cells(picture, cells, Some(&quiet_cells(picture, cells))));
            }
            if let Some(kept) = &mut kept {
                kept.push(&features, n)?;
            }
            context.advance(stage, done)?;
        }
        Ok(features)
    }

    /// Writes tensors `ids`, `pooled` and `background`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        let ids: Vec<u8> = self.ids.iter().flat_map(|v| v.to_le_bytes()).collect();
        let matrix = |v: &[f32]| v.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        let (pooled, background) = (matrix(&self.pooled), matrix(&self.background));
        let shape = vec![self.ids.len(), self.width];
        let view =
            |dtype, shape: Vec<usize>, data| TensorView::new(dtype, shape, data).map_err(|e| table_error(path, &e));
        let tensors = [
            ("background", view(Dtype::F32, shape.clone(), background.as_slice())?),
            ("ids", view(Dtype::U64, vec![self.ids.len()], ids.as_slice())?),
            ("pooled", view(Dtype::F32, shape, pooled.as_slice())?),
        ];
        let bytes = safetensors::serialize(tensors, None).map_err(|e| table_error(path, &e))?;
        Ok(atomic::write(path, &bytes)?)
    }

    /// Reads what [`Self::save`] wrote.
    ///
    /// # Errors
    /// If the file is missing, damaged or of another shape.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let bytes = fs_err::read(path)?;
        let file = SafeTensors::deserialize(&bytes).map_err(|e| table_error(path, &e))?;
        let tensor = |name: &str, dtype: Dtype| match file.tensor(name) {
            Ok(t) if t.dtype() == dtype => Ok(t),
            Ok(t) => Err(table_error(path, &format!("tensor `{name}` is {:?}, expected {dtype:?}", t.dtype()))),
            Err(e) => Err(table_error(path, &e)),
        };
        let ids = tensor("ids", Dtype::U64)?;
        let (pooled, background) = (tensor("pooled", Dtype::F32)?, tensor("background", Dtype::F32)?);
        let &[n, width] = pooled.shape() else {
            return Err(table_error(path, &"tensor `pooled` is not a matrix"));
        };
        if ids.shape() != [n] || background.shape() != pooled.shape() {
            return Err(table_error(path, &"tensors `ids`, `pooled` and `background` do not belong together"));
        }
        Ok(Self {
            ids: ids.data().as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b)).collect(),
            width,
            pooled: floats(pooled.data()),
            background: floats(background.data()),
        })
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// How pictures enter a network.
#[derive(Debug, Clone, Copy)]
pub struct Input {
    /// Decides the scaling of the values.
    pub architecture: Architecture,
    /// Side of the square input in pixels.
    pub size: usize,
    /// How many batches are made ahead.
    pub memory: Share,
}

impl Input {
    /// Without a memory budget.
    pub fn new(architecture: Architecture, size: usize) -> Self {
        Self { architecture, size, memory: Share::default() }
    }

    /// Scaling of the architecture.
    pub fn normalisation(self) -> Normalisation {
        Normalisation { mean: self.architecture.mean(), std: self.architecture.std() }
    }

    /// Decodes, resizes and scales pictures: `[N, 3, size, size]`, row major.
    ///
    /// # Errors
    /// [`Error::BadPictures`].
    pub fn values(self, paths: &[std::path::PathBuf]) -> Result<Vec<f32>, Error> {
        load_batch(paths, self.size as u32, &self.normalisation()).map_err(bad_pictures)
    }

    /// Batches of pictures in order without the first `done`, a multiple of the batch or all; the next ones are made while one
    /// is used. They come from the packed cache of `stage` where the context has a folder for it, which is built first where
    /// it is missing or stale. The values are those of [`Self::values`].
    ///
    /// # Errors
    /// [`Error::Io`] for a cache that cannot be written, [`Error::BadPictures`] and [`Error::Interrupted`] while it is built.
    pub fn batches(
        self,
        context: &Context<'_>,
        stage: &str,
        mut paths: Vec<std::path::PathBuf>,
        done: usize,
    ) -> Result<Skip<Batches>, Error> {
        let pack = self.pack(context, stage, &paths)?;
        // A pack is of all pictures, and what is in it costs nothing; others are not decoded again.
        let skip = if pack.is_some() { done.div_ceil(BATCH) } else { 0 };
        if pack.is_none() {
            paths.drain(..done);
        }
        Ok(Batches::new(paths, self.prepare(), BATCH, self.memory.ahead.get(), pack.map(Arc::new)).skip(skip))
    }

    /// The packed cache of `stage` where the context has a folder for it; it is built first where it is missing or stale.
    ///
    /// # Errors
    /// Those of [`Self::batches`].
    pub fn pack(self, context: &Context<'_>, stage: &str, paths: &[std::path::PathBuf]) -> Result<Option<Pack>, Error> {
        let Some(folder) = context.cache else { return Ok(None) };
        let file = folder.join(format!("{stage}-{}.pack", self.size));
        let pack = Pack::open_or_build(&file, paths, &self.prepare(), &mut |_| {
            !context.cancelled.load(std::sync::atomic::Ordering::Relaxed)
        });
        pack.map(Some).map_err(|error| match error {
            PackError::Io(error) => Error::Io(error),
            PackError::Pictures(bad) => bad_pictures(bad),
            PackError::Stopped => Error::Interrupted { stage: stage.to_owned() },
        })
    }

    fn prepare(self) -> Prepare {
        Prepare::square(self.size as u32, self.normalisation())
    }

    /// Decodes, resizes and scales pictures: `[N, 3, size, size]` on the context's device.
    ///
    /// # Errors
    /// [`Error::BadPictures`].
    pub fn load(self, paths: &[std::path::PathBuf], context: &Context<'_>) -> Result<Tensor<4>, Error> {
        let values = self.values(paths)?;
        let data = TensorData::new(values, [paths.len(), 3, self.size, self.size]);
        Ok(Tensor::from_data(data, &context.device))
    }
}

pub(crate) fn bad_pictures(bad: Vec<PictureError>) -> Error {
    Error::BadPictures { bad: bad.iter().map(ToString::to_string).collect(), allowed: 0 }
}

/// The half of the cells (rounded up) with the lowest Euclidean norm over channels. `picture` is `[channels, cells]`.
fn quiet_cells(picture: &[f32], cells: usize) -> Vec<usize> {
    let mut norms: Vec<(f32, usize)> = (0..cells).map(|c| (0.0, c)).collect();
    for channel in picture.chunks(cells) {
        for (norm, v) in norms.iter_mut().zip(channel) {
            norm.0 += v * v;
        }
    }
    norms.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut quiet: Vec<usize> = norms[..cells.div_ceil(2)].iter().map(|n| n.1).collect();
    quiet.sort_unstable();
    quiet
}

/// Mean per channel over some cells (all for `None`).
fn mean_of_cells<'a>(picture: &'a [f32], cells: usize, chosen: Option<&'a [usize]>) -> impl Iterator<Item = f32> + 'a {
    picture.chunks(cells).map(move |channel| match chosen {
        None => channel.iter().sum::<f32>() / cells as f32,
        Some(chosen) => chosen.iter().map(|&c| channel[c]).sum::<f32>() / chosen.len() as f32,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn background_pooling_leaves_the_excited_cells_out() {
        // Two channels, four cells; cells 1 and 3 carry the object.
        let map = [1.0, 9.0, 2.0, 8.0, 0.5, 7.0, 0.5, 9.0];
        assert_eq!(quiet_cells(&map, 4), [0, 2]);
        let background: Vec<f32> = mean_of_cells(&map, 4, Some(&[0, 2])).collect();
        assert_eq!(background, [1.5, 0.5]);
        assert_eq!(mean_of_cells(&map, 4, None).collect::<Vec<_>>(), [5.0, 4.25]);
    }

    #[test]
    fn features_survive_the_disk_and_damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("features.safetensors");
        let f =
            Features { ids: vec![7, u64::MAX], width: 2, pooled: vec![1.0, 2.0, 3.0, 4.0], background: vec![0.5; 4] };
        f.save(&path).unwrap();
        assert_eq!(Features::load(&path).unwrap(), f);
        let bytes = fs_err::read(&path).unwrap();
        fs_err::write(&path, &bytes[..bytes.len() - 3]).unwrap();
        let message = Features::load(&path).unwrap_err().to_string();
        assert!(message.contains("features.safetensors"), "{message}");
    }
}

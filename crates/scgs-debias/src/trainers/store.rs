//! The pictures of a network's training: from the packed cache where there is one, else decoded; augmented where asked for.

use std::{collections::BTreeMap, path::PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;
use scgs_data::{Pack, PictureError, Split, Step, Transform, read_rgb, resize_bilinear, stream, to_chw};

use crate::{
    Context, Error,
    features::{self, Input},
    settings::Augment,
    stages::{Inputs, erm},
};

/// Reads pictures of a run.
#[derive(Debug)]
pub struct Store {
    input: Input,
    /// The pack of stage 1, and the place of each of its pictures.
    pack: Option<(Pack, BTreeMap<PathBuf, usize>)>,
}

impl Store {
    /// Opens the packed cache of the training and validation split where the context has a folder for it; it is the one that
    /// stage 1 reads, and is built first where it is missing or stale. New pictures are not in it: every arm has its own.
    ///
    /// # Errors
    /// Those of [`Input::pack`].
    pub fn open(inputs: Inputs<'_>, context: &Context<'_>) -> Result<Self, Error> {
        let input = inputs.input();
        if context.cache.is_none() {
            return Ok(Self { input, pack: None });
        }
        let files: Vec<PathBuf> = [Split::Train, Split::Val]
            .into_iter()
            .map(|split| Ok(inputs.files(&inputs.usable(split)?)))
            .collect::<Result<Vec<_>, Error>>()?
            .into_iter()
            .flatten()
            .map(|(_, path)| path)
            .collect();
        let pack = input.pack(context, erm::STAGE, &files)?;
        Ok(Self { input, pack: pack.map(|pack| (pack, files.into_iter().zip(0..).collect())) })
    }

    /// Values `[N, 3, size, size]` of pictures, row major.
    ///
    /// # Errors
    /// [`Error::BadPictures`].
    pub fn values(&self, paths: &[PathBuf]) -> Result<Vec<f32>, Error> {
        let packed = |path: &PathBuf| self.pack.as_ref().and_then(|(pack, places)| Some((pack, *places.get(path)?)));
        if !paths.iter().any(|path| packed(path).is_some()) {
            return self.input.values(paths);
        }
        let normalisation = self.input.normalisation();
        self.each(paths, |_, path, out| match packed(path) {
            Some((pack, at)) => {
                pack.values_into(at, &normalisation, out);
                Ok(())
            }
            None => {
                let (side, picture) = (self.input.size as u32, read_rgb(path)?);
                to_chw(&resize_bilinear(&picture, side, side), &normalisation, out);
                Ok(())
            }
        })
    }

    /// [`Self::values`] on a device.
    ///
    /// # Errors
    /// [`Error::BadPictures`].
    pub fn load(&self, paths: &[PathBuf], device: &Device) -> Result<Tensor<4>, Error> {
        let side = self.input.size;
        Ok(Tensor::from_data(TensorData::new(self.values(paths)?, [paths.len(), 3, side, side]), device))
    }

    /// As [`Self::values`], changed at random: `draws` names the random stream, each picture has its own by its place.
    ///
    /// # Errors
    /// [`Error::BadPictures`].
    pub fn augmented(&self, paths: &[PathBuf], augment: Augment, draws: (u64, &str)) -> Result<Vec<f32>, Error> {
        let side = self.input.size as u32;
        let first = match augment {
            Augment::None => return self.values(paths),
            Augment::Flip => Step::Resize { width: side, height: side },
            // `get_transform_cub` of group DRO (Sagawa et al. 2020).
            Augment::CropFlip => Step::RandomResizedCrop { side, scale: (0.7, 1.0), ratio: (3.0 / 4.0, 4.0 / 3.0) },
        };
        let transform = Transform { steps: vec![first, Step::HorizontalFlip { probability: 0.5 }] };
        let normalisation = self.input.normalisation();
        self.each(paths, |at, path, out| {
            let picture = transform.apply(&read_rgb(path)?, &mut stream(draws.0, draws.1, at as u64));
            to_chw(&picture, &normalisation, out);
            Ok(())
        })
    }

    fn each(
        &self,
        paths: &[PathBuf],
        fill: impl Fn(usize, &PathBuf, &mut [f32]) -> Result<(), PictureError> + Sync,
    ) -> Result<Vec<f32>, Error> {
        let each = 3 * self.input.size * self.input.size;
        let mut values = vec![0.0; paths.len() * each];
        let results: Vec<Result<(), PictureError>> =
            values.par_chunks_mut(each).zip(paths).enumerate().map(|(at, (out, path))| fill(at, path, out)).collect();
        let bad: Vec<PictureError> = results.into_iter().filter_map(Result::err).collect();
        if bad.is_empty() { Ok(values) } else { Err(features::bad_pictures(bad)) }
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;

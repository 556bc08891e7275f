//! Changed pictures: cut into each other (CutMix), or without what a model looks at most (MaskTune).

use std::path::PathBuf;

use burn::tensor::{Tensor, TensorData};
use scgs_cam::{CamMethod, MaskRule, Score, attention, object_region};
use scgs_models::Network;

use crate::{
    Context, Error,
    features::Input,
    logistic::{LinearHead, most_probable, softmax},
    minibatch::{Batch, Item},
};

/// Pictures per forward pass; bounds memory, does not change any result.
const BATCH: usize = 16;

/// Makes changed pictures of training examples.
#[derive(Debug, Clone, Copy)]
pub struct Changed<'a> {
    /// Device, cancellation and progress.
    pub context: &'a Context<'a>,
    /// For progress.
    pub stage: &'a str,
    /// How pictures enter the network.
    pub input: Input,
    /// Id and file per training example.
    pub files: &'a [(u64, PathBuf)],
    /// The frozen network, batch norms folded.
    pub network: &'a Network,
}

impl Changed<'_> {
    /// Features of the examples of some batches, mixed, one row per item in order.
    ///
    /// # Errors
    /// Those of reading pictures, and [`Error::Interrupted`].
    pub fn cut(&self, batches: &[Batch]) -> Result<Vec<f32>, Error> {
        let items: Vec<Item> = batches.iter().flat_map(|b| b.items.clone()).collect();
        let mut features = Vec::new();
        for (i, chunk) in items.chunks(BATCH).enumerate() {
            let values = mixed(self.input.size, chunk, &|_, rows| {
                self.input.values(&rows.iter().map(|&row| self.files[row].1.clone()).collect::<Vec<_>>())
            })?;
            features.extend(self.features(values, chunk.len()));
            self.context.advance(self.stage, i * BATCH + chunk.len())?;
        }
        Ok(features)
    }

    /// Features of all examples without what the network with this last layer looks at most.
    ///
    /// # Errors
    /// Those of reading pictures, and [`Error::Interrupted`].
    pub fn masked(&self, head: &LinearHead, sigmas: f64) -> Result<Vec<f32>, Error> {
        let network = self.network.clone().with_linear(head.weight.clone(), head.bias.clone());
        let mut features = Vec::new();
        for (i, chunk) in self.files.chunks(BATCH).enumerate() {
            let paths: Vec<PathBuf> = chunk.iter().map(|f| f.1.clone()).collect();
            let values = blackened(&network, self.input, self.context, &paths, sigmas)?;
            features.extend(self.features(values, chunk.len()));
            self.context.advance(self.stage, i * BATCH + chunk.len())?;
        }
        Ok(features)
    }

    fn features(&self, values: Vec<f32>, n: usize) -> Vec<f32> {
        let side = self.input.size;
        let x = Tensor::<4>::from_data(TensorData::new(values, [n, 3, side, side]), &self.context.device);
        let pooled = scgs_models::pooled(self.network.features(x));
        pooled.into_data().convert::<f32>().try_into_vec::<f32>().expect("converted to f32")
    }
}

/// Which picture of an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// Its own.
    Item,
    /// That of its partner.
    Partner,
}

/// Gives the values of rows.
pub(super) type Load<'a> = dyn Fn(Of, &[usize]) -> Result<Vec<f32>, Error> + 'a;

/// The values `[n, 3, side, side]` of examples, mixed with their partners: by a weighted mean, or by a rectangle of the
/// partner.
///
/// # Errors
/// Those of `load`.
pub(super) fn mixed(side: usize, items: &[Item], load: &Load<'_>) -> Result<Vec<f32>, Error> {
    let mut values = load(Of::Item, &items.iter().map(|i| i.row).collect::<Vec<_>>())?;
    if items.iter().all(|i| i.partner.is_none()) {
        return Ok(values);
    }
    let others: Vec<usize> = items.iter().map(|i| i.partner.map_or(i.row, |p| p.row)).collect();
    let others = load(Of::Partner, &others)?;
    let each = 3 * side * side;
    for (item, (a, b)) in items.iter().zip(values.chunks_mut(each).zip(others.chunks(each))) {
        let Some(partner) = item.partner else { continue };
        match partner.cut {
            None => {
                let (keep, rest) = (partner.keep as f32, (1.0 - partner.keep) as f32);
                a.iter_mut().zip(b).for_each(|(a, b)| *a = keep * *a + rest * b);
            }
            Some([top, left, bottom, right]) => {
                let at = |share: f64| (share * side as f64).round() as usize;
                for channel in 0..3 {
                    for y in at(top)..at(bottom) {
                        let start = channel * side * side + y * side;
                        a[start + at(left)..start + at(right)].copy_from_slice(&b[start + at(left)..start + at(right)]);
                    }
                }
            }
        }
    }
    Ok(values)
}

/// The values of pictures, black where the attention for the network's answer (XGrad-CAM on the last map) exceeds its
/// mean by `sigmas` standard deviations. A picture without attention stays as it is.
///
/// # Errors
/// [`Error::BadPictures`], and those of the attention map.
pub(super) fn blackened(
    network: &Network,
    input: Input,
    context: &Context<'_>,
    paths: &[PathBuf],
    sigmas: f64,
) -> Result<Vec<f32>, Error> {
    let mut values = input.values(paths)?;
    let side = input.size;
    let x = Tensor::<4>::from_data(TensorData::new(values.clone(), [paths.len(), 3, side, side]), &context.device);
    let map = network.features(x);
    let logits = network.head(map.clone()).into_data().convert::<f64>().try_into_vec::<f64>();
    let logits = logits.expect("converted to f64");
    let scores: Vec<Score> =
        logits.chunks(network.classes()).map(|row| Score::Class(most_probable(&softmax(row)).0)).collect();
    let maps = attention(&CamMethod::XGradCam, map, &|a| network.head(a), &scores, (side, side))?;
    let normalisation = input.normalisation();
    for (picture, map) in values.chunks_mut(3 * side * side).zip(maps) {
        let Some(map) = map else { continue };
        let mask = object_region(&map, None, &MaskRule::MeanSd { k: sigmas })?;
        for (channel, plane) in picture.chunks_mut(side * side).enumerate() {
            // A black pixel as the network sees it.
            let black = -normalisation.mean[channel] / normalisation.std[channel];
            plane.iter_mut().zip(mask.pixels()).filter(|(_, m)| **m).for_each(|(v, _)| *v = black);
        }
    }
    Ok(values)
}

#[cfg(test)]
#[path = "changed_tests.rs"]
mod tests;

//! Attention maps of a batch: through a backward pass, or in closed form for a linear head.

use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;

use crate::{AttentionMap, CamError, CamMethod, Score, fuse, weigh::Layer};

/// The attention maps of a batch at one layer.
///
/// * `activation`: `[N, channels, h, w]`, the output of the layer on a plain (non-autodiff) device.
/// * `tail`: the rest of the network in evaluation mode, activation to raw logits `[N, classes]`. It is run once, on a
///   leaf of the autodiff device; its parameters stay on the plain device and count as constants, so no graph is kept
///   for what comes before the layer. It must treat rows independently. Eigen-CAM does not call it.
/// * `scores`: what to explain, one per row.
/// * `size`: width and height of the maps, in pixels; usually the network's input size.
///
/// The maps equal pytorch-grad-cam 1.5.5 to 1e-4 (`BaseCAM.forward` with one layer): clipped at 0, scaled to 0..=1,
/// resampled as [`AttentionMap::resized`] does, scaled again. `None` is "no attention": nothing in the map is positive,
/// or all of it is equal (always so on a 1 x 1 layer), and no place stands out.
///
/// # Errors
/// [`CamError::ScoreCount`], [`CamError::NoSuchClass`], [`CamError::LogitRows`], [`CamError::Shape`] for arguments that
/// do not fit together; [`CamError::NotFinite`] with the row for NaN or infinite activations, logits or gradients;
/// [`CamError::NoGradient`] when `tail` cuts the graph; [`CamError::NeedsPictures`] for Score-CAM.
pub fn attention(
    method: &CamMethod,
    activation: Tensor<4>,
    tail: &dyn Fn(Tensor<4>) -> Tensor<2>,
    scores: &[Score],
    size: (usize, usize),
) -> Result<Vec<Option<AttentionMap>>, CamError> {
    finish(layer_attention(method, activation, tail, scores, size)?)
}

/// As [`attention`], without the last scaling: the maps to [`fuse`] over several layers. Their maximum lies a little
/// under 1, because resampling misses the peak; scaling each before taking the mean would weigh the layers differently
/// from pytorch-grad-cam.
///
/// # Errors
/// As [`attention`].
pub fn layer_attention(
    method: &CamMethod,
    activation: Tensor<4>,
    tail: &dyn Fn(Tensor<4>) -> Tensor<2>,
    scores: &[Score],
    size: (usize, usize),
) -> Result<Vec<Option<AttentionMap>>, CamError> {
    if *method == CamMethod::ScoreCam {
        return Err(CamError::NeedsPictures);
    }
    let shape = activation.dims();
    let values = checked_activation(&activation, scores.len(), size)?;
    let gradient = match method {
        CamMethod::EigenCam => values.clone(),
        _ => gradient(activation, tail, |_, _| scores.to_vec())?,
    };
    layer_maps(method, &values, &gradient, shape, size)
}

/// The class with the largest logit in every row, the first of equal ones, and what [`attention`] finds for its logit. The
/// logits are those of the pass that is explained: `tail` is run once; for Eigen-CAM too, without a
/// backward pass.
///
/// The arguments are those of [`attention`].
///
/// # Errors
/// As [`attention`].
pub fn attention_of_predicted(
    method: &CamMethod,
    activation: Tensor<4>,
    tail: &dyn Fn(Tensor<4>) -> Tensor<2>,
    size: (usize, usize),
) -> Result<Vec<(usize, Option<AttentionMap>)>, CamError> {
    if *method == CamMethod::ScoreCam {
        return Err(CamError::NeedsPictures);
    }
    let shape = activation.dims();
    let values = checked_activation(&activation, shape[0], size)?;
    let predicted = |logits: &[f32], classes| logits.chunks_exact(classes).map(largest).collect::<Vec<usize>>();
    let (classes, gradient) = if *method == CamMethod::EigenCam {
        let (logits, count) = checked_logits(&tail(activation.inner()), shape[0])?;
        (predicted(&logits, count), values.clone())
    } else {
        let mut classes = Vec::new();
        let gradient = gradient(activation, tail, |logits, count| {
            classes = predicted(logits, count);
            classes.iter().map(|&class| Score::Class(class)).collect()
        })?;
        (classes, gradient)
    };
    let maps = finish(layer_maps(method, &values, &gradient, shape, size)?)?;
    Ok(classes.into_iter().zip(maps).collect())
}

/// The place of the largest number, the first of equal ones.
fn largest(values: &[f32]) -> usize {
    (1..values.len()).fold(0, |best, i| if values[i] > values[best] { i } else { best })
}

/// The attention maps where the rest of the network is global average pooling and one linear layer: no backward pass,
/// because the gradient of logit `c` is `weight[c][k] / (h * w)` in every cell of channel `k`. Equals [`attention`] to
/// 1e-5.
///
/// `weight` is `[classes, channels]`, row by row; the bias moves no map. The other arguments are those of
/// [`attention`].
///
/// # Errors
/// [`CamError::HeadShape`] and [`CamError::HeadNotFinite`] for the weight; the rest as [`attention`].
pub fn attention_linear_head(
    method: &CamMethod,
    activation: Tensor<4>,
    weight: &[f32],
    scores: &[Score],
    size: (usize, usize),
) -> Result<Vec<Option<AttentionMap>>, CamError> {
    if *method == CamMethod::ScoreCam {
        return Err(CamError::NeedsPictures);
    }
    let shape @ [_, channels, height, width] = activation.dims();
    let values = checked_activation(&activation, scores.len(), size)?;
    if weight.is_empty() || !weight.len().is_multiple_of(channels) {
        return Err(CamError::HeadShape { channels, len: weight.len() });
    }
    if let Some(at) = weight.iter().position(|w| !w.is_finite()) {
        return Err(CamError::HeadNotFinite { class: at / channels });
    }
    let cells = height * width;
    let mut gradient = Vec::with_capacity(values.len());
    for (row, score) in scores.iter().enumerate() {
        let terms = score.terms(row, weight.len() / channels)?;
        for channel in 0..channels {
            let slope: f32 = terms.iter().map(|&(class, sign)| sign * weight[class * channels + channel]).sum();
            gradient.extend(std::iter::repeat_n(slope / cells as f32, cells));
        }
    }
    finish(layer_maps(method, &values, &gradient, shape, size)?)
}

/// The last scaling to 0..=1.
pub(crate) fn finish(maps: Vec<Option<AttentionMap>>) -> Result<Vec<Option<AttentionMap>>, CamError> {
    maps.into_iter().map(|map| map.map(|map| fuse(&[map])).transpose()).collect()
}

/// The activation's values, row by row, after checking them and everything that must fit them.
pub(crate) fn checked_activation(
    activation: &Tensor<4>,
    scores: usize,
    (width, height): (usize, usize),
) -> Result<Vec<f32>, CamError> {
    let shape = activation.dims();
    if shape.contains(&0) {
        let expected = "give [N, channels, h, w] with at least one of each";
        return Err(CamError::Shape { what: "an activation", shape: shape.to_vec(), expected });
    }
    if width == 0 || height == 0 {
        let expected = "give the width and the height of the picture in pixels";
        return Err(CamError::Shape { what: "a map", shape: vec![width, height], expected });
    }
    if scores != shape[0] {
        return Err(CamError::ScoreCount { scores, pictures: shape[0] });
    }
    finite_values("activation", activation.clone().inner().into_data(), shape[0])
}

/// All values as `f32`, or the first row that is not finite.
pub(crate) fn finite_values(what: &'static str, data: TensorData, rows: usize) -> Result<Vec<f32>, CamError> {
    let values = data.convert::<f32>().try_into_vec::<f32>().expect("just converted to f32");
    match values.iter().position(|v| !v.is_finite()) {
        Some(at) => Err(CamError::NotFinite { what, row: at / (values.len() / rows) }),
        None => Ok(values),
    }
}

/// `[rows, classes]` with the sign of every class in every row's score, to multiply the logits with.
fn selector(scores: &[Score], classes: usize) -> Result<Vec<f32>, CamError> {
    let mut selector = vec![0.0; scores.len() * classes];
    for (row, score) in scores.iter().enumerate() {
        for (class, sign) in score.terms(row, classes)? {
            selector[row * classes + class] += sign;
        }
    }
    Ok(selector)
}

/// The values of logits `[N, classes]`, after checking them, and the number of classes.
fn checked_logits(logits: &Tensor<2>, pictures: usize) -> Result<(Vec<f32>, usize), CamError> {
    let [rows, classes] = logits.dims();
    if rows != pictures {
        return Err(CamError::LogitRows { rows, pictures });
    }
    Ok((finite_values("logits", logits.clone().inner().into_data(), rows)?, classes))
}

/// The gradient of every row's score with respect to its activation; `choose` tells the scores from the logits and the number
/// of classes. One backward pass for the batch: the rows do not meet, so the gradient of the sum is every row's own.
fn gradient(
    activation: Tensor<4>,
    tail: &dyn Fn(Tensor<4>) -> Tensor<2>,
    choose: impl FnOnce(&[f32], usize) -> Vec<Score>,
) -> Result<Vec<f32>, CamError> {
    let [rows, ..] = activation.dims();
    // A fresh leaf: an intermediate of a graph cannot be asked for its gradient.
    let leaf = activation.inner().autodiff().require_grad();
    let logits = tail(leaf.clone());
    let (values, classes) = checked_logits(&logits, rows)?;
    let selector = TensorData::new(selector(&choose(&values, classes), classes)?, [rows, classes]);
    if !logits.is_tracked() {
        return Err(CamError::NoGradient);
    }
    let selector = Tensor::<2>::from_data(selector, &logits.device().inner());
    let mut gradients = (logits * selector.autodiff()).sum().backward();
    let gradient = leaf.grad_remove(&mut gradients).ok_or(CamError::NoGradient)?;
    finite_values("gradient", gradient.into_data(), rows)
}

/// Every row's map, resampled but not scaled again.
fn layer_maps(
    method: &CamMethod,
    activation: &[f32],
    gradient: &[f32],
    [_, channels, height, width]: [usize; 4],
    size: (usize, usize),
) -> Result<Vec<Option<AttentionMap>>, CamError> {
    let cells = height * width;
    let rows = activation.par_chunks_exact(channels * cells).zip(gradient.par_chunks_exact(channels * cells));
    let maps: Vec<_> = rows
        .enumerate()
        .map(|(row, (activation, gradient))| {
            let raw = Layer { activation, gradient, cells }.raw_map(method);
            finish_row(row, &raw, (width, height), size)
        })
        .collect();
    // One after another, so that the first bad row is the one that is named.
    maps.into_iter().collect()
}

/// A row's raw map, clipped, scaled and resampled.
pub(crate) fn finish_row(
    row: usize,
    raw: &[f64],
    layer: (usize, usize),
    size: (usize, usize),
) -> Result<Option<AttentionMap>, CamError> {
    if raw.iter().any(|v| !v.is_finite()) {
        return Err(CamError::NotFinite { what: "attention", row });
    }
    Ok(AttentionMap::from_raw(layer.0, layer.1, raw).map(|map| map.resized(size.0, size.1)))
}

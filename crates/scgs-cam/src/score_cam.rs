//! Score-CAM: which channels, shown alone, make the score.

use burn::tensor::{Tensor, TensorData};

use crate::{
    AttentionMap, CamError, Score,
    attention::{checked_activation, finish, finish_row, finite_values},
};

/// Score-CAM maps of a batch (Wang et al., arXiv 1910.01279): no gradient, but one run of the network per channel.
///
/// Every channel of `activation` (`[N, channels, h, w]`) is upsampled to the picture (bilinear, aligned corners, as
/// pytorch-grad-cam does), scaled to 0..=1 and multiplied with the picture; the softmax of the scores of these pictures
/// weighs the channels. `pictures` is `[N, c, height, width]`, normalised as the network expects; `network` maps
/// pictures to raw logits and is called with `batch` pictures at a time; the rest as in
/// [`attention`](crate::attention).
///
/// # Errors
/// As [`attention`](crate::attention); [`CamError::Shape`] also for pictures that do not belong to the activation, or a
/// `batch` of 0.
pub fn score_cam(
    activation: Tensor<4>,
    pictures: Tensor<4>,
    network: &dyn Fn(Tensor<4>) -> Tensor<2>,
    scores: &[Score],
    size: (usize, usize),
    batch: usize,
) -> Result<Vec<Option<AttentionMap>>, CamError> {
    finish(layer_score_cam(activation, pictures, network, scores, size, batch)?)
}

/// As [`score_cam`], without the last scaling: the maps to [`fuse`](crate::fuse) over several layers.
///
/// # Errors
/// As [`score_cam`].
pub fn layer_score_cam(
    activation: Tensor<4>,
    pictures: Tensor<4>,
    network: &dyn Fn(Tensor<4>) -> Tensor<2>,
    scores: &[Score],
    size: (usize, usize),
    batch: usize,
) -> Result<Vec<Option<AttentionMap>>, CamError> {
    let [rows, channels, h, w] = activation.dims();
    let values = checked_activation(&activation, scores.len(), size)?;
    let shape @ [count, colours, height, width] = pictures.dims();
    if count != rows || shape.contains(&0) || batch == 0 {
        let expected = "give one [c, height, width] picture per row of the activation, and a batch of at least 1";
        return Err(CamError::Shape { what: "pictures", shape: shape.to_vec(), expected });
    }
    let device = pictures.device().inner();
    let pixels = finite_values("picture", pictures.inner().into_data(), rows)?;
    let cells = h * w;
    let mut maps = Vec::with_capacity(rows);
    for (row, score) in scores.iter().enumerate() {
        let layer = &values[row * channels * cells..][..channels * cells];
        let picture = &pixels[row * colours * height * width..][..colours * height * width];
        let mut channel_scores = Vec::with_capacity(channels);
        for group in layer.chunks(batch * cells) {
            let masked: Vec<f32> =
                group.chunks_exact(cells).flat_map(|a| shown_through(picture, a, (w, h), (width, height))).collect();
            let shown = group.len() / cells;
            let data = TensorData::new(masked, [shown, colours, height, width]);
            let logits = network(Tensor::<4>::from_data(data, &device));
            let [returned, classes] = logits.dims();
            if returned != shown {
                return Err(CamError::LogitRows { rows: returned, pictures: shown });
            }
            let terms = score.terms(row, classes)?;
            let logits = finite_values("logits", logits.inner().into_data(), 1)
                .map_err(|_| CamError::NotFinite { what: "logits", row })?;
            channel_scores.extend(logits.chunks_exact(classes).map(|logits| {
                terms.iter().map(|&(class, sign)| f64::from(sign) * f64::from(logits[class])).sum::<f64>()
            }));
        }
        let mut raw = vec![0.0f64; cells];
        for (weight, a) in softmax(&channel_scores).into_iter().zip(layer.chunks_exact(cells)) {
            raw.iter_mut().zip(a).for_each(|(raw, &a)| *raw += weight * f64::from(a));
        }
        maps.push(finish_row(row, &raw, (w, h), size)?);
    }
    Ok(maps)
}

fn softmax(scores: &[f64]) -> Vec<f64> {
    let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = scores.iter().map(|s| (s - highest).exp()).collect();
    let total: f64 = powers.iter().sum();
    powers.iter().map(|p| p / total).collect()
}

/// The picture multiplied with a channel that was upsampled and scaled to 0..=1.
fn shown_through(picture: &[f32], channel: &[f32], from: (usize, usize), to: (usize, usize)) -> Vec<f32> {
    let mask = aligned_corners(channel, from, to);
    let (low, high) = mask.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)));
    let scale = 1.0 / (high - low + 1e-8);
    picture
        .chunks_exact(mask.len())
        .flat_map(|plane| plane.iter().zip(&mask).map(|(p, m)| p * (m - low) * scale))
        .collect()
}

/// Bilinear resampling where the corner cells' centres are the corner pixels' centres
/// (`torch.nn.UpsamplingBilinear2d`).
fn aligned_corners(channel: &[f32], from: (usize, usize), to: (usize, usize)) -> Vec<f32> {
    let taps = |source: usize, target: usize| -> Vec<(usize, usize, f32)> {
        let step = if target > 1 { (source - 1) as f32 / (target - 1) as f32 } else { 0.0 };
        (0..target)
            .map(|i| {
                let at = i as f32 * step;
                let low = (at as usize).min(source - 1);
                (low, (low + 1).min(source - 1), at - low as f32)
            })
            .collect()
    };
    let (columns, rows) = (taps(from.0, to.0), taps(from.1, to.1));
    let mut values = Vec::with_capacity(to.0 * to.1);
    for (y0, y1, fy) in rows {
        let (upper, lower) = (&channel[y0 * from.0..], &channel[y1 * from.0..]);
        values.extend(columns.iter().map(|&(x0, x1, fx)| {
            let top = upper[x0] * (1.0 - fx) + upper[x1] * fx;
            let bottom = lower[x0] * (1.0 - fx) + lower[x1] * fx;
            top * (1.0 - fy) + bottom * fy
        }));
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners_stay_corners() {
        let up = aligned_corners(&[0.0, 1.0, 2.0, 3.0], (2, 2), (3, 3));
        assert_eq!(up, [0.0, 0.5, 1.0, 1.0, 1.5, 2.0, 2.0, 2.5, 3.0]);
        assert_eq!(aligned_corners(&[4.0], (1, 1), (2, 1)), [4.0, 4.0]);
    }

    #[test]
    fn softmax_survives_large_scores() {
        assert_eq!(softmax(&[1000.0, 1000.0]), [0.5, 0.5]);
    }
}

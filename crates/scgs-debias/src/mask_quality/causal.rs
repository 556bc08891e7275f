//! Deletion and insertion: whether the classifier's answer depends on what a map shows.

use burn::tensor::{Tensor, TensorData, activation::softmax};
use image::{Rgb, RgbImage};
use rand::seq::SliceRandom as _;
use scgs_cam::{blurred, deletion_auc, insertion_auc};
use scgs_data::{resize_bilinear, stream, to_chw};
use scgs_models::Network;

use super::{BATCH, STAGE, Set, Subject, maps_of, subjects};
use crate::{Context, Error, Event, features::Input, look::Look, stages::Inputs};

/// Stages in which pixels are deleted or inserted.
const STEPS: usize = 8;
/// Blur of the picture that pixels are inserted into: sigma 5 at 224 pixels, as RISE has it.
const BLUR: f32 = 5.0 / 224.0;

/// Areas under the probability of the true class, 0..=1 (Petsiuk et al., RISE, arXiv 1806.07421).
#[derive(Debug, Clone, PartialEq)]
pub struct Causal {
    /// The seed.
    pub seed: u64,
    /// The look, as text.
    pub look: String,
    /// Mean over the pictures while the most attended pixels turn grey first: low is good.
    pub deletion: f64,
    /// Mean over the pictures while the most attended pixels are put on the blurred picture first: high is good.
    pub insertion: f64,
    /// Number of pictures that have this attention.
    pub n: usize,
}

/// Deletion and insertion for up to `pictures` random pictures of the error set. Costs 18 forward passes per picture
/// and look.
///
/// # Errors
/// As [`super::measure`].
pub fn causal(
    inputs: Inputs<'_>,
    context: &Context<'_>,
    looks: &[Look],
    pictures: usize,
) -> Result<Vec<Causal>, Error> {
    let stage = format!("{STAGE}-causal");
    let clock = context.start(&stage, 0);
    let network = inputs.erm_network(context)?;
    let mut chosen: Vec<Subject> = subjects(inputs)?.into_iter().filter(|s| s.set == Set::Errors).collect();
    chosen.shuffle(&mut stream(inputs.folder.seed, &stage, 0));
    chosen.truncate(pictures);
    (context.report)(Event::Started { stage: stage.clone(), total: chosen.len() });
    let mut found: Vec<Vec<(f64, f64)>> = vec![Vec::new(); looks.len()];
    let mut done = 0;
    for batch in chosen.chunks(BATCH) {
        let maps = maps_of(inputs, context, &network, looks, batch)?;
        for (subject, maps) in batch.iter().zip(maps) {
            let picture = &subject.picture;
            let grey = RgbImage::from_pixel(picture.width(), picture.height(), Rgb([127; 3]));
            let soft = blurred(picture, BLUR * picture.width() as f32)?;
            let mut score = |pictures: &[RgbImage]| {
                probabilities(&network, inputs.input(), context, pictures, subject.sample.label)
            };
            for (areas, map) in found.iter_mut().zip(&maps) {
                if let Some(map) = map {
                    areas.push((
                        deletion_auc(picture, &grey, map, STEPS, &mut score)?,
                        insertion_auc(picture, &soft, map, STEPS, &mut score)?,
                    ));
                }
            }
            done += 1;
            context.advance(&stage, done)?;
        }
    }
    let seconds = clock.elapsed().as_secs_f64();
    let summary = format!("{} pictures, {} looks", chosen.len(), looks.len());
    (context.report)(Event::Finished { stage, summary, seconds, reused: false });
    let rows = looks.iter().zip(found).filter(|(_, areas)| !areas.is_empty()).map(|(look, areas)| {
        let n = areas.len();
        let mean = |of: fn(&(f64, f64)) -> f64| areas.iter().map(of).sum::<f64>() / n as f64;
        Causal {
            seed: inputs.folder.seed,
            look: look.to_string(),
            deletion: mean(|a| a.0),
            insertion: mean(|a| a.1),
            n,
        }
    });
    Ok(rows.collect())
}

/// The probability of a class for each picture.
fn probabilities(
    network: &Network,
    input: Input,
    context: &Context<'_>,
    pictures: &[RgbImage],
    class: usize,
) -> Vec<f64> {
    let side = input.size as u32;
    let each = 3 * input.size * input.size;
    let mut values = vec![0.0; pictures.len() * each];
    for (picture, out) in pictures.iter().zip(values.chunks_mut(each)) {
        to_chw(&resize_bilinear(picture, side, side), &input.normalisation(), out);
    }
    let x =
        Tensor::<4>::from_data(TensorData::new(values, [pictures.len(), 3, input.size, input.size]), &context.device);
    let answer = softmax(network.forward(x), 1).narrow(1, class, 1).into_data().convert::<f32>();
    answer.try_into_vec::<f32>().expect("converted to f32").into_iter().map(f64::from).collect()
}

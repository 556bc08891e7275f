//! GrabCut: cutting an object out of a picture by its colours, started from seeds.
//!
//! Rother, Kolmogorov and Blake, "GrabCut: interactive foreground extraction using iterated graph cuts", SIGGRAPH 2004,
//! with the constants of OpenCV's `cv::grabCut`, which the tests compare with: five Gaussians per side, smoothness 50,
//! eight neighbours, seeds bound with 9 x 50.

mod colours;
mod cut;
mod kmeans;

use image::RgbImage;

use colours::ColourModel;
use cut::Network;

/// What is known about a pixel beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seed {
    /// Stays background.
    Background,
    /// Starts as background, may change.
    ProbablyBackground,
    /// Starts as object, may change.
    ProbablyObject,
    /// Stays object.
    Object,
}

/// A colour as three numbers in 0..=255.
type Colour = [f64; 3];

/// How much a border between two pixels of one colour costs.
const SMOOTHNESS: f64 = 50.0;

/// More than all borders around a pixel can cost, so that the cut never moves a sure pixel.
const BOUND: f64 = 9.0 * SMOOTHNESS;

/// The object's pixels (`true`) after `iterations` rounds of fitting colour models and cutting. `seeds` has one entry
/// per pixel of `picture`, row by row. Without any seed on one of the sides there is nothing to learn from: the seeds
/// are returned.
pub(crate) fn grab_cut(picture: &RgbImage, seeds: &[Seed], iterations: usize) -> Vec<bool> {
    let colours: Vec<Colour> = picture.pixels().map(|p| p.0.map(f64::from)).collect();
    let mut object: Vec<bool> = seeds.iter().map(|s| matches!(s, Seed::Object | Seed::ProbablyObject)).collect();
    let width = picture.width() as usize;
    let borders = borders(&colours, width);
    let side = |object: &[bool], wanted: bool| -> Vec<Colour> {
        colours.iter().zip(object).filter(|&(_, &o)| o == wanted).map(|(&c, _)| c).collect()
    };
    if side(&object, true).is_empty() || side(&object, false).is_empty() {
        return object;
    }
    let mut models = [false, true].map(|wanted| ColourModel::start(&side(&object, wanted)));
    for _ in 0..iterations {
        models = [false, true].map(|wanted| {
            let samples = side(&object, wanted);
            // The cut may empty a side that has no sure seeds; its last colours then stay.
            if samples.is_empty() {
                models[usize::from(wanted)].clone()
            } else {
                models[usize::from(wanted)].refit(&samples)
            }
        });
        let pull: Vec<f64> = colours
            .iter()
            .zip(seeds)
            .map(|(colour, seed)| match seed {
                Seed::Object => BOUND,
                Seed::Background => -BOUND,
                // Positive where the colour is likelier under the object's model.
                _ => models[1].log_density(colour) - models[0].log_density(colour),
            })
            .collect();
        object = Network::new(width, &pull, &borders).source_side();
        // A sure pixel's pull exceeds all its borders; equality cannot be broken by rounding, but costs nothing to
        // settle.
        for (object, seed) in object.iter_mut().zip(seeds) {
            match seed {
                Seed::Object => *object = true,
                Seed::Background => *object = false,
                _ => {}
            }
        }
    }
    object
}

/// The cost of separating each pixel from its left, upper left, upper and upper right neighbour: high where the colours agree, 0
/// where there is no neighbour.
fn borders(colours: &[Colour], width: usize) -> Vec<[f64; 4]> {
    let distances = [1.0, 2f64.sqrt(), 1.0, 2f64.sqrt()];
    let back = [1, width + 1, width, width.wrapping_sub(1)];
    let inside = |at: usize| {
        let (x, y) = (at % width, at / width);
        [x > 0, x > 0 && y > 0, y > 0, x + 1 < width && y > 0]
    };
    let contrast = |a: &Colour, b: &Colour| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
    let contrasts: Vec<[Option<f64>; 4]> = (0..colours.len())
        .map(|at| {
            let inside = inside(at);
            std::array::from_fn(|i| inside[i].then(|| contrast(&colours[at], &colours[at - back[i]])))
        })
        .collect();
    let pairs = || contrasts.iter().flatten().flatten();
    let mean = pairs().sum::<f64>() / pairs().count().max(1) as f64;
    let beta = if mean > 0.0 { 1.0 / (2.0 * mean) } else { 0.0 };
    let cost = |(contrast, distance): (Option<f64>, f64)| {
        contrast.map_or(0.0, |contrast| SMOOTHNESS / distance * (-beta * contrast).exp())
    };
    contrasts.into_iter().map(|of| std::array::from_fn(|i| cost((of[i], distances[i])))).collect()
}

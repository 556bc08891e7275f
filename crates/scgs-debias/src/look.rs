//! Ways of looking: attention method x layers x target, and what they give for a batch of pictures.
//!
//! The mask stage looks in the one way that `[attention]` sets; the mask-quality table compares many.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    fmt,
    str::FromStr,
};

use burn::tensor::{Tensor, TensorData};
use scgs_cam::{
    AttentionMap, CamError, CamMethod, Epsilon, Score, average_with_flip, fuse, layer_attention, score_cam,
};
use scgs_models::Network;
use serde::{Deserialize, Serialize};

use crate::Error;

/// Input sizes of a network in pixels that settings accept.
pub(crate) const INPUT_SIZES: std::ops::RangeInclusive<usize> = 32..=512;
/// Masked pictures per forward pass of Score-CAM; bounds memory.
const SCORE_CAM_BATCH: usize = 16;

/// Which class the attention map explains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttentionTarget {
    /// The class the classifier answers: what misled it.
    Predicted,
    /// The label: where the evidence for the right answer is.
    True,
    /// True minus the strongest other class.
    Difference,
}

/// `[attention]`: one way of making an attention map.
///
/// As text: `METHOD/LAYERS/TARGET`, then optionally `/flip` and `/<input size>`; layers are joined by `&` when their
/// maps are fused. Examples: `layercam/blocks.10/true`, `gradcam++:scale-free/last&blocks.10/predicted/flip/320`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Look {
    /// `gradcam`, `gradcam++`, `layercam`, ...
    pub method: CamMethod,
    /// Layers of the architecture, or `last`; the maps of several are averaged.
    pub layers: Vec<String>,
    /// The score whose cause is looked for: `predicted`, `true` or `difference`.
    pub target: AttentionTarget,
    /// Whether the map is averaged with that of the mirror image.
    pub flip: bool,
    /// Side of the network's input in pixels; left out, it is the run's `backbone.input_size`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_size: Option<usize>,
}

impl Default for Look {
    fn default() -> Self {
        Self::new(CamMethod::GradCamPlusPlus { epsilon: Epsilon::Absolute(1e-6) }, &["last"], AttentionTarget::True)
    }
}

impl Look {
    /// A look at the run's input size, without the mirror image.
    pub fn new(method: CamMethod, layers: &[&str], target: AttentionTarget) -> Self {
        let layers = layers.iter().map(|&l| l.to_owned()).collect();
        Self { method, layers, target, flip: false, input_size: None }
    }
}

impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = match self.target {
            AttentionTarget::Predicted => "predicted",
            AttentionTarget::True => "true",
            AttentionTarget::Difference => "difference",
        };
        write!(f, "{}/{}/{target}", self.method, self.layers.join("&"))?;
        if self.flip {
            f.write_str("/flip")?;
        }
        self.input_size.map_or(Ok(()), |size| write!(f, "/{size}"))
    }
}

impl FromStr for Look {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = |message: String| Error::Config { origin: format!("look `{text}`"), message };
        let expected = "expected METHOD/LAYERS/TARGET[/flip][/INPUT SIZE], such as layercam/blocks.10/true";
        let mut parts = text.split('/');
        let (Some(method), Some(layers), Some(target)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(bad(expected.into()));
        };
        let method: CamMethod = method.parse().map_err(|e: CamError| bad(e.to_string()))?;
        let target = match target {
            "true" => AttentionTarget::True,
            "predicted" => AttentionTarget::Predicted,
            "difference" => AttentionTarget::Difference,
            other => return Err(bad(format!("unknown target `{other}`; known are true, predicted, difference"))),
        };
        let mut look = Self::new(method, &layers.split('&').collect::<Vec<_>>(), target);
        for part in parts {
            match (part, part.parse()) {
                ("flip", _) => look.flip = true,
                (_, Ok(size)) if INPUT_SIZES.contains(&size) => look.input_size = Some(size),
                _ => return Err(bad(format!("`{part}` is neither `flip` nor an input size of 32 to 512; {expected}"))),
            }
        }
        Ok(look)
    }
}

/// What the network makes of a batch at one layer.
struct Seen {
    activation: Tensor<4>,
    /// Per number that is explained its gradient, shaped as the activation. With it every method and score is computed
    /// without another backward pass.
    gradients: Vec<Tensor<4>>,
    /// `[N, classes]`.
    logits: Vec<f32>,
}

/// Which logits of a batch have gradients.
enum Explained<'a> {
    /// Of every picture the one of its label.
    Labels(&'a [usize]),
    /// All of them.
    Classes,
}

impl Explained<'_> {
    /// The only ones that the looks need.
    fn by<'a>(looks: &[Look], labels: &'a [usize]) -> Explained<'a> {
        match looks.iter().all(|look| look.target == AttentionTarget::True) {
            true => Explained::Labels(labels),
            false => Explained::Classes,
        }
    }

    /// For each number the sum of logits `[N, classes]` whose gradient is that of every picture's own.
    fn sums(&self, classes: usize) -> Vec<Vec<f32>> {
        let chosen = |row: usize, class: usize| f32::from(u8::from(row == class));
        match self {
            Self::Labels(labels) => {
                vec![labels.iter().flat_map(|&label| (0..classes).map(move |class| chosen(label, class))).collect()]
            }
            Self::Classes => {
                (0..classes).map(|class| (0..classes).map(|other| chosen(class, other)).collect()).collect()
            }
        }
    }
}

impl Seen {
    /// At a layer that the network has.
    fn at(network: &Network, layer: &str, activation: Tensor<4>, explained: &Explained<'_>) -> Result<Self, Error> {
        let classes = network.classes();
        let mut logits = Vec::new();
        let gradients = explained
            .sums(classes)
            .into_iter()
            .map(|weights| {
                // A graph is used up by its backward pass, so each number has its own.
                let leaf = activation.clone().autodiff().require_grad();
                let all = network.after(layer, leaf.clone()).expect("the layer is known by now");
                let values = all.clone().inner().into_data().convert::<f32>();
                logits = values.try_into_vec().expect("converted to f32");
                let rows = weights.len() / classes;
                let weights = Tensor::<2>::from_data(TensorData::new(weights, [rows, classes]), &activation.device());
                let mut tape = (all * weights.autodiff()).sum().backward();
                leaf.grad_remove(&mut tape).ok_or(Error::Cam(CamError::NoGradient))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { activation, gradients, logits })
    }

    /// The explained numbers with the network's gradients at this activation: `sum(activation * gradient)` each. The maps
    /// depend on the activation and the gradient alone.
    fn linearised(&self, activation: Tensor<4>) -> Tensor<2> {
        let sums = self.gradients.iter().map(|gradient| {
            let gradient = if activation.is_autodiff() { gradient.clone().autodiff() } else { gradient.clone() };
            (activation.clone() * gradient).flatten::<2>(1, 3).sum_dim(1)
        });
        Tensor::cat(sums.collect(), 1)
    }
}

/// What a look found in one picture.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Found {
    /// The class that the map explains.
    pub(crate) target: usize,
    /// `None` where nothing is positive.
    pub(crate) map: Option<AttentionMap>,
}

/// The maps of a batch: one list per picture with one entry per look. `load` gives the batch `[N, 3, size, size]` for an input size; `labels` has one class per picture; `size` is that of the maps.
/// A look without an input size of its own uses `native`.
///
/// # Errors
/// [`Error::Config`] for an unknown layer, and those of loading and of the attention methods.
pub(crate) fn maps(
    network: &Network,
    looks: &[Look],
    native: usize,
    labels: &[usize],
    size: (usize, usize),
    load: &dyn Fn(usize) -> Result<Tensor<4>, Error>,
) -> Result<Vec<Vec<Found>>, Error> {
    let last = network.layers().pop().expect("a network has layers");
    let name = |layer: &String| if layer == "last" { last.clone() } else { layer.clone() };
    let explained = Explained::by(looks, labels);
    let mut seen: BTreeMap<(usize, bool, String), Seen> = BTreeMap::new();
    let mut inputs: BTreeMap<usize, Tensor<4>> = BTreeMap::new();
    for side in looks.iter().map(|l| l.input_size.unwrap_or(native)) {
        if let Entry::Vacant(entry) = inputs.entry(side) {
            entry.insert(load(side)?);
        }
    }
    for (&side, input) in &inputs {
        for mirrored in [false, true] {
            let looks = looks.iter().filter(|l| l.input_size.unwrap_or(native) == side && (l.flip || !mirrored));
            let layers: BTreeSet<String> = looks.flat_map(|look| look.layers.iter().map(name)).collect();
            if layers.is_empty() {
                continue;
            }
            let x = if mirrored { input.clone().flip([3]) } else { input.clone() };
            let activations = network
                .until_each(&layers.iter().map(String::as_str).collect::<Vec<_>>(), x)
                .map_err(|e| Error::Config { origin: "attention.layers".into(), message: e.to_string() })?;
            for (layer, activation) in layers.into_iter().zip(activations) {
                let at = Seen::at(network, &layer, activation, &explained)?;
                seen.insert((side, mirrored, layer), at);
            }
        }
    }
    let classes = network.classes();
    let mut of_picture = vec![Vec::with_capacity(looks.len()); labels.len()];
    for look in looks {
        let one = |mirrored: bool| -> Result<Vec<Option<AttentionMap>>, Error> {
            let side = look.input_size.unwrap_or(native);
            let mut layers = Vec::new();
            for layer in look.layers.iter().map(name) {
                let seen = &seen[&(side, mirrored, layer)];
                let rows = seen.logits.chunks(classes).zip(labels);
                let scores: Vec<Score> = rows.map(|(row, &label)| score(look.target, row, label)).collect();
                let activation = seen.activation.clone();
                layers.push(if look.method == CamMethod::ScoreCam {
                    let x = if mirrored { inputs[&side].clone().flip([3]) } else { inputs[&side].clone() };
                    score_cam(activation, x, &|pictures| network.forward(pictures), &scores, size, SCORE_CAM_BATCH)?
                } else {
                    let scores = match explained {
                        Explained::Labels(_) => vec![Score::Class(0); scores.len()],
                        Explained::Classes => scores,
                    };
                    layer_attention(&look.method, activation, &|a| seen.linearised(a), &scores, size)?
                });
            }
            // Layers without attention do not take part in the mean.
            (0..labels.len())
                .map(|i| {
                    let found: Vec<AttentionMap> = layers.iter().filter_map(|maps| maps[i].clone()).collect();
                    Ok(if found.is_empty() { None } else { Some(fuse(&found)?) })
                })
                .collect()
        };
        let plain = one(false)?;
        let mirror = if look.flip { one(true)? } else { vec![None; labels.len()] };
        let Seen { logits, .. } = &seen[&(look.input_size.unwrap_or(native), false, name(&look.layers[0]))];
        for (i, ((found, plain), mirror)) in of_picture.iter_mut().zip(plain).zip(mirror).enumerate() {
            let map = match (plain, mirror) {
                (Some(plain), Some(mirror)) => Some(average_with_flip(&plain, &mirror)?),
                (Some(plain), None) => Some(plain),
                (None, Some(mirror)) => Some(mirror.flipped()),
                (None, None) => None,
            };
            let target = match score(look.target, &logits[i * classes..(i + 1) * classes], labels[i]) {
                Score::Class(class) | Score::Difference { of: class, .. } => class,
            };
            found.push(Found { target, map });
        }
    }
    Ok(of_picture)
}

fn best(logits: &[f32], skip: Option<usize>) -> usize {
    (0..logits.len())
        .filter(|&c| Some(c) != skip)
        .max_by(|&a, &b| logits[a].total_cmp(&logits[b]))
        .expect("at least two classes")
}

fn score(target: AttentionTarget, logits: &[f32], label: usize) -> Score {
    match target {
        AttentionTarget::True => Score::Class(label),
        AttentionTarget::Predicted => Score::Class(best(logits, None)),
        AttentionTarget::Difference => Score::Difference { of: label, minus: best(logits, Some(label)) },
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};
    use scgs_cam::attention;
    use scgs_models::Architecture;

    use super::*;

    #[test]
    fn text_names_every_look_and_back() {
        for text in [
            "layercam/blocks.10/true",
            "gradcam++:scale-free/last&blocks.10/predicted/flip/320",
            "eigencam/last/difference/448",
        ] {
            assert_eq!(text.parse::<Look>().unwrap().to_string(), text);
        }
        for (text, reason) in [
            ("layercam/last", "expected METHOD/LAYERS/TARGET"),
            ("layercam/last/right", "unknown target `right`"),
            ("layercam/last/true/20", "`20` is neither `flip` nor an input size of 32 to 512"),
        ] {
            let message = text.parse::<Look>().unwrap_err().to_string();
            assert!(message.contains(reason), "{message}");
        }
    }

    /// One backward pass per class, or one for the labels, used for everything, gives what a backward pass per method gives.
    #[test]
    fn maps_equal_those_of_the_attention_crate() {
        let device = Device::flex();
        let network = Architecture::EfficientNetLite0.init_seeded(3, 5, false, &device).fold_batch_norm();
        let values: Vec<f32> = (0..2 * 3 * 64 * 64).map(|i| ((i * 7919) % 255) as f32 / 127.0 - 1.0).collect();
        let x = Tensor::<4>::from_data(TensorData::new(values, [2, 3, 64, 64]), &device);
        let methods = ["gradcam", "gradcam++:scale-free", "xgradcam", "layercam", "eigencam"];
        let load = |_| Ok(x.clone());
        let labels = [2, 0];
        let activation = network.until("blocks.10", x.clone()).unwrap();
        let logits = network.forward(x.clone()).into_data().try_into_vec::<f32>().unwrap();
        let tail = |a: Tensor<4>| network.after("blocks.10", a).unwrap();
        let mut compared = 0;
        let looks = ["difference", "true"]
            .map(|target| methods.map(|m| format!("{m}/blocks.10/{target}").parse::<Look>().unwrap()));
        let found = looks.each_ref().map(|looks| maps(&network, looks, 64, &labels, (32, 32), &load).unwrap());
        for (found, (at, look)) in found.iter().zip(&looks).flat_map(|(f, l)| l.iter().enumerate().map(move |l| (f, l)))
        {
            let scores: Vec<Score> =
                logits.chunks(3).zip(labels).map(|(row, label)| score(look.target, row, label)).collect();
            let expected = attention(&look.method, activation.clone(), &tail, &scores, (32, 32)).unwrap();
            for (row, expected) in expected.iter().enumerate() {
                assert_eq!(found[row][at].map.is_some(), expected.is_some(), "{look} row {row}");
                assert_eq!(found[row][at].target, labels[row]);
                if let (Some(found), Some(expected)) = (&found[row][at].map, expected) {
                    let worst =
                        found.values.iter().zip(&expected.values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                    assert!(worst < 1e-4, "{look} row {row}: {worst}");
                    compared += 1;
                }
            }
        }
        assert!(compared >= 10, "{compared} maps");
    }
}

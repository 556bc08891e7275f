//! Weights in files: safetensors and PyTorch in, safetensors out, under the reference's names.

mod error;
mod lazy;
mod safetensors;
mod torch;

use std::{collections::BTreeMap, path::Path};

use burn::tensor::Device;

pub use self::error::{Mismatch, WeightsError};
pub use self::lazy::{LazyTensor, open_tensors};
pub use self::safetensors::save;
use crate::{Architecture, Network, initial, names};

/// The largest file that is read: ten times the largest network here.
const FILE_LIMIT: u64 = 2 << 30;

/// The most classes that a last layer in a file may have; ImageNet-21k has 21,843.
const MOST_CLASSES: usize = 1 << 16;

/// What happens to the last layer when weights are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadPolicy {
    /// It is taken from the file, which must have the number of classes that is asked for.
    Keep,
    /// It is drawn anew; whatever last layer the file has, or none, does not matter.
    Replace {
        /// The same seed gives the same layer, see [`Architecture::init_seeded`].
        seed: u64,
    },
}

/// A tensor as it stands in a file, its numbers converted to f32.
pub(crate) struct FileTensor {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

/// Reads the weights of `architecture` from a `.safetensors` file or a PyTorch `.pth`/`.pt` file (zip or the older plain
/// pickle), told apart by their contents.
///
/// Names are torchvision's for the ResNets and those of `efficientnet-lite-pytorch` for EfficientNet-Lite0; the prefixes
/// `module.` and `model.` that training scripts put in front are taken off, `num_batches_tracked` is not needed. A pickle
/// is read by a small interpreter that knows tensors and nothing else, so that a file cannot execute anything. f16, bf16
/// and f64 become f32. `classes: None` means as many as the file's last layer has.
///
/// ```no_run
/// use burn::tensor::Device;
/// use scgs_models::{Architecture, HeadPolicy, load};
///
/// let network = load(
///     Architecture::EfficientNetLite0,
///     "datasets/weights/efficientnet_lite0.safetensors".as_ref(),
///     Some(2),
///     HeadPolicy::Replace { seed: 0 },
///     &Device::flex(),
/// )?;
/// assert_eq!(network.classes(), 2);
/// # Ok::<(), scgs_models::WeightsError>(())
/// ```
///
/// # Errors
/// [`WeightsError`], which names the file and the tensor: unreadable, truncated or foreign files, a pickle that refers to
/// anything but tensors, weights of another architecture, another number of classes, NaN or infinite values.
pub fn load(
    architecture: Architecture,
    path: &Path,
    classes: Option<usize>,
    head: HeadPolicy,
    device: &Device,
) -> Result<Network, WeightsError> {
    let mut tensors = read(path)?;
    let fc = if architecture == Architecture::EfficientNetLite0 { "_fc" } else { "fc" };
    let [weight, bias] = ["weight", "bias"].map(|leaf| format!("{fc}.{leaf}"));
    let found = tensors.get(&weight).and_then(|tensor| tensor.shape.first().copied());
    // An empty tensor may claim any shape, and the network is made before the shapes are compared.
    if let Some(found) = found.filter(|&found| found > MOST_CLASSES) {
        let reason = format!("its last layer has {found} classes, at most {MOST_CLASSES} are read");
        return Err(WeightsError::Malformed { path: path.to_owned(), reason });
    }
    let classes = classes.or(found);
    let network = architecture.skeleton(classes.unwrap_or(1), device);
    if let HeadPolicy::Replace { seed } = head
        && classes.is_some()
    {
        for (name, shape) in names::shapes(&network).into_iter().filter(|(name, _)| *name == weight || *name == bias) {
            let values = initial::values(&name, &shape, architecture.feature_width(), seed);
            tensors.insert(name, FileTensor { shape, values });
        }
    }
    let mismatch = compare(&network, &tensors);
    let others = mismatch.shapes.iter().any(|(name, ..)| *name != weight && *name != bias);
    match (found, classes) {
        (Some(found), Some(expected))
            if head == HeadPolicy::Keep
                && found != expected
                && !others
                && mismatch.missing.is_empty()
                && mismatch.unexpected.is_empty() =>
        {
            return Err(WeightsError::HeadWidth { path: path.to_owned(), found, expected });
        }
        _ if !mismatch.is_empty() => {
            return Err(WeightsError::WrongArchitecture { path: path.to_owned(), architecture, mismatch });
        }
        _ => {}
    }
    for (name, tensor) in &tensors {
        if let Some(index) = tensor.values.iter().position(|value| !value.is_finite()) {
            let (tensor, value) = (name.clone(), tensor.values[index]);
            return Err(WeightsError::NotFinite { path: path.to_owned(), tensor, index, value });
        }
    }
    tracing::debug!(%architecture, path = %path.display(), tensors = tensors.len(), "weights read");
    Ok(names::replace(network, |name, _| tensors.remove(name).expect("every name was compared").values))
}

/// All tensors of floats in a file under their names without prefixes.
pub(crate) fn read(path: &Path) -> Result<BTreeMap<String, FileTensor>, WeightsError> {
    let size = fs_err::metadata(path)?.len();
    if size > FILE_LIMIT {
        return Err(WeightsError::TooLarge { path: path.to_owned(), part: "the file", found: size, limit: FILE_LIMIT });
    }
    let bytes = fs_err::read(path)?;
    let tensors = if torch::is_torch(&bytes) { torch::read(path)? } else { safetensors::read(path, &bytes)? };
    let mut unique = BTreeMap::new();
    for (name, tensor) in tensors {
        let short = without_prefix(&name);
        if unique.insert(short.to_owned(), tensor).is_some() {
            let reason = format!("two tensors are called `{short}` without their prefixes");
            return Err(WeightsError::Malformed { path: path.to_owned(), reason });
        }
    }
    Ok(unique)
}

/// `DataParallel` puts `module.` in front of every name, many training scripts `model.`, some both.
fn without_prefix(mut name: &str) -> &str {
    while let Some(rest) = name.strip_prefix("module.").or_else(|| name.strip_prefix("model.")) {
        name = rest;
    }
    name
}

/// PyTorch's counters of training batches are integers that inference does not use.
fn is_counter(name: &str) -> bool {
    name.ends_with("num_batches_tracked")
}

fn compare(network: &Network, tensors: &BTreeMap<String, FileTensor>) -> Mismatch {
    let expected: BTreeMap<String, Vec<usize>> = names::shapes(network).into_iter().collect();
    let mut mismatch = Mismatch::default();
    for (name, shape) in &expected {
        match tensors.get(name) {
            None => mismatch.missing.push(name.clone()),
            Some(tensor) if tensor.shape != *shape => {
                mismatch.shapes.push((name.clone(), shape.clone(), tensor.shape.clone()));
            }
            Some(_) => {}
        }
    }
    mismatch.unexpected = tensors.keys().filter(|name| !expected.contains_key(*name)).cloned().collect();
    mismatch
}

/// Little-endian numbers of a float type as f32.
fn floats(bytes: &[u8], kind: FloatKind) -> Vec<f32> {
    match kind {
        FloatKind::F16 => numbers(bytes, |b| half::f16::from_le_bytes(b).to_f32()),
        FloatKind::BF16 => numbers(bytes, |b| half::bf16::from_le_bytes(b).to_f32()),
        FloatKind::F32 => numbers(bytes, f32::from_le_bytes),
        FloatKind::F64 => numbers(bytes, |b| f64::from_le_bytes(b) as f32),
    }
}

fn numbers<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    let (chunks, _) = bytes.as_chunks::<N>();
    chunks.iter().map(|chunk| number(*chunk)).collect()
}

/// The float types that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FloatKind {
    F16,
    BF16,
    F32,
    F64,
}

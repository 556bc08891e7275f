//! The tensors of one part of a model: read one by one, changed before the part is built, and all accounted for.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use burn::{
    module::Param,
    tensor::{DType, Device, Tensor, TensorData},
};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use scgs_models::{LazyTensor, Mismatch, WeightsError, open_tensors};
use sha2::{Digest as _, Sha256};

/// Endings of names that old files carry and no part needs: integer buffers.
const BUFFERS: [&str; 2] = ["position_ids", "num_batches_tracked"];

/// Why the weights of a part cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// Occurs when a file cannot be read, is damaged, or holds numbers that are not finite floats.
    #[error(transparent)]
    File(#[from] WeightsError),
    /// Occurs when the tensors are not those that `config.json` describes.
    #[error(
        "{origin}: these are not the weights that the part's config.json describes: {mismatch}\nTake weights and \
         config.json from the same model"
    )]
    Tensors {
        /// The files.
        origin: String,
        /// The differences, of each kind.
        mismatch: Mismatch,
    },
    /// Occurs when two files of one part hold the same tensor.
    #[error("{origin}: the tensor `{name}` is in two of the files; name only the files of one part")]
    Twice {
        /// The files.
        origin: String,
        /// The tensor.
        name: String,
    },
}

/// How numbers of weights are kept in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WeightType {
    /// 4 bytes each.
    #[default]
    F32,
    /// IEEE's 2 bytes; what published files marked `fp16` hold, so that nothing is lost of those.
    F16,
    /// 2 bytes with the range of f32 and 8 bits of precision.
    BF16,
}

impl WeightType {
    fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::BF16 => DType::BF16,
        }
    }

    /// Bytes of a number.
    pub fn bytes(self) -> u64 {
        if self == Self::F32 { 4 } else { 2 }
    }
}

/// The shape of a tensor and its numbers, row major.
pub type Shaped = (Vec<usize>, Vec<f32>);

/// The tensors of one part, by their names in diffusers or transformers.
///
/// Numbers stay in the files until a layer asks for them, so building a part needs little more memory than its layers.
/// [`Weights::values`] and [`Weights::set`] change tensors beforehand, which is how a LoRA is merged.
///
/// ```
/// use burn::tensor::Device;
/// use scgs_diffusion::sd::Weights;
///
/// let mut weights = Weights::from_values("example", [("scale".to_owned(), vec![2], vec![1.0, 2.0])]);
/// let (shape, mut values) = weights.values("scale")?.expect("it was put there");
/// values.iter_mut().for_each(|value| *value *= 10.0);
/// weights.set("scale", shape, values);
/// let scale = weights.build(&Device::flex(), |part| part.tensor("scale", [2]))?;
/// assert_eq!(scale.val().into_data().try_to_vec::<f32>().unwrap(), [10.0, 20.0]);
/// # Ok::<(), scgs_diffusion::sd::PartError>(())
/// ```
#[derive(Debug)]
pub struct Weights {
    origin: String,
    tensors: BTreeMap<String, Entry>,
    /// Makes up every tensor that is asked for.
    random: Option<u64>,
    kept: WeightType,
}

#[derive(Debug)]
enum Entry {
    File(LazyTensor),
    Memory(Vec<usize>, Vec<f32>),
}

impl Entry {
    fn shape(&self) -> &[usize] {
        match self {
            Self::File(tensor) => tensor.shape(),
            Self::Memory(shape, _) => shape,
        }
    }
}

impl Weights {
    /// The tensors of one or more files (`.safetensors` or PyTorch's `.bin`); several are the shards of one part.
    ///
    /// # Errors
    /// [`PartError::File`] for a missing, truncated or foreign file, [`PartError::Twice`].
    pub fn open(paths: &[PathBuf]) -> Result<Self, PartError> {
        let origin = paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
        let mut tensors = BTreeMap::new();
        for path in paths {
            for (name, tensor) in open_tensors(path)? {
                if BUFFERS.iter().any(|buffer| name.ends_with(buffer)) {
                    continue;
                }
                if tensors.insert(name.clone(), Entry::File(tensor)).is_some() {
                    return Err(PartError::Twice { origin, name });
                }
            }
        }
        Ok(Self { origin, tensors, random: None, kept: WeightType::F32 })
    }

    /// Tensors given as name, shape and values row by row; `origin` says in errors where they come from.
    pub fn from_values(origin: &str, values: impl IntoIterator<Item = (String, Vec<usize>, Vec<f32>)>) -> Self {
        let tensors = values.into_iter().map(|(name, shape, values)| (name, Entry::Memory(shape, values))).collect();
        Self { origin: origin.to_owned(), tensors, random: None, kept: WeightType::F32 }
    }

    /// Weights for a part that nobody trained: whatever is asked for is there, uniform within `±1 / sqrt(fan-in)` for
    /// tensors of two and more dimensions, 1 for vectors named `weight`, 0 for others. A function of seed and name.
    pub fn random(seed: u64) -> Self {
        Self {
            origin: format!("random weights of seed {seed}"),
            tensors: BTreeMap::new(),
            random: Some(seed),
            kept: WeightType::F32,
        }
    }

    /// Keeps the numbers of the built part as `kept`. Layers compute in f32 whatever it is.
    #[must_use]
    pub fn kept_as(mut self, kept: WeightType) -> Self {
        self.kept = kept;
        self
    }

    /// What the tensors take in memory once the part is built.
    pub fn bytes(&self) -> u64 {
        let numbers: usize = self.tensors.values().map(|entry| entry.shape().iter().product::<usize>()).sum();
        self.kept.bytes() * numbers as u64
    }

    /// Where the tensors come from, for messages.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The shape of a tensor.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(Entry::shape)
    }

    /// A copy of a tensor: its shape, and its values row by row.
    ///
    /// # Errors
    /// [`PartError::File`] if it cannot be read or is not finite.
    pub fn values(&self, name: &str) -> Result<Option<Shaped>, PartError> {
        Ok(match self.tensors.get(name) {
            None => None,
            Some(Entry::File(tensor)) => Some((tensor.shape().to_vec(), tensor.read()?)),
            Some(Entry::Memory(shape, values)) => Some((shape.clone(), values.clone())),
        })
    }

    /// Puts a tensor in, in place of the one of that name. It stays in memory until the part is built.
    pub fn set(&mut self, name: &str, shape: Vec<usize>, values: Vec<f32>) {
        self.tensors.insert(name.to_owned(), Entry::Memory(shape, values));
    }

    /// Renames every tensor for which `new_name` has another name.
    ///
    /// # Errors
    /// [`PartError::Twice`] if two tensors would have the same name.
    pub fn rename(&mut self, new_name: impl Fn(&str) -> Option<String>) -> Result<(), PartError> {
        let mut renamed = BTreeMap::new();
        for (name, entry) in std::mem::take(&mut self.tensors) {
            let name = new_name(&name).unwrap_or(name);
            if renamed.insert(name.clone(), entry).is_some() {
                return Err(PartError::Twice { origin: self.origin.clone(), name });
            }
        }
        self.tensors = renamed;
        Ok(())
    }

    /// Builds a part from its tensors; each is read once and let go. Every tensor must be asked for once, with the shape
    /// it has: what the part is built from is then exactly what the files hold.
    ///
    /// # Errors
    /// [`PartError::Tensors`] with all differences, or the first [`PartError::File`].
    pub fn build<T>(self, device: &Device, build: impl FnOnce(&mut Part<'_>) -> T) -> Result<T, PartError> {
        let (origin, random) = (self.origin.clone(), self.random);
        let mut state =
            State { weights: self, device: device.clone(), missing: BTreeSet::new(), shapes: Vec::new(), failed: None };
        let built = build(&mut Part { state: &mut state, prefix: String::new() });
        let State { weights, missing, shapes, failed, .. } = state;
        let unexpected: Vec<String> = if random.is_some() { Vec::new() } else { weights.tensors.into_keys().collect() };
        let mismatch = Mismatch { missing: missing.into_iter().collect(), unexpected, shapes };
        match failed {
            _ if !mismatch.is_empty() => Err(PartError::Tensors { origin, mismatch }),
            Some(error) => Err(error.into()),
            None => Ok(built),
        }
    }
}

/// What is left of the weights while a part is built, and what went wrong so far.
#[derive(Debug)]
struct State {
    weights: Weights,
    device: Device,
    missing: BTreeSet<String>,
    shapes: Vec<(String, Vec<usize>, Vec<usize>)>,
    failed: Option<WeightsError>,
}

/// The tensors below a name, handed to layers while a part is built.
#[derive(Debug)]
pub struct Part<'a> {
    state: &'a mut State,
    /// Empty, or ends in a dot.
    prefix: String,
}

impl Part<'_> {
    /// The tensors whose names start with `name` and a dot.
    pub fn at(&mut self, name: impl std::fmt::Display) -> Part<'_> {
        Part { prefix: format!("{}{name}.", self.prefix), state: self.state }
    }

    /// Where the part is put.
    pub fn device(&self) -> Device {
        self.state.device.clone()
    }

    /// Whether there is a tensor of this name; for what `config.json` does not say.
    pub fn has(&self, name: &str) -> bool {
        self.state.weights.tensors.contains_key(&format!("{}{name}", self.prefix))
    }

    /// Takes the tensor `name`, which must have `shape`.
    ///
    /// A tensor that is missing or different is noted for the error of [`Weights::build`], and a single zero stands in
    /// for it until then, so that all differences are found in one pass.
    pub fn tensor<const D: usize>(&mut self, name: &str, shape: [usize; D]) -> Param<Tensor<D>> {
        self.reshaped(name, &shape, shape)
    }

    /// As [`Part::tensor`] for a tensor that has the shape `in_file` in the file and `shape` here.
    pub fn reshaped<const D: usize>(&mut self, name: &str, in_file: &[usize], shape: [usize; D]) -> Param<Tensor<D>> {
        let values = self.take(format!("{}{name}", self.prefix), in_file);
        self.parameter(values, shape)
    }

    fn parameter<const D: usize>(&self, values: Option<Vec<f32>>, shape: [usize; D]) -> Param<Tensor<D>> {
        let data = match values {
            Some(values) => TensorData::new(values, shape),
            None => TensorData::new(vec![0.0_f32], [1; D]),
        };
        let kept = self.state.weights.kept.dtype();
        Param::from_tensor(Tensor::from_data(data.convert_dtype(kept), (&self.state.device, kept)))
    }

    fn take(&mut self, name: String, shape: &[usize]) -> Option<Vec<f32>> {
        if let Some(seed) = self.state.weights.random {
            return Some(random(seed, &name, shape));
        }
        let Some(entry) = self.state.weights.tensors.remove(&name) else {
            self.state.missing.insert(name);
            return None;
        };
        if entry.shape() != shape {
            self.state.shapes.push((name, shape.to_vec(), entry.shape().to_vec()));
            return None;
        }
        // After a failure nothing more is read, but the names are still compared.
        let failed = &mut self.state.failed;
        match entry {
            _ if failed.is_some() => None,
            Entry::Memory(_, values) => Some(values),
            Entry::File(tensor) => tensor.read().map_err(|error| *failed = Some(error)).ok(),
        }
    }
}

fn random(seed: u64, name: &str, shape: &[usize]) -> Vec<f32> {
    let count = shape.iter().product();
    let [_, inputs @ ..] = shape else { return vec![0.0; count] };
    if inputs.is_empty() {
        return vec![if name.ends_with("weight") { 1.0 } else { 0.0 }; count];
    }
    let mut key = Sha256::new();
    key.update(b"scgs-diffusion/random-weights");
    key.update(seed.to_le_bytes());
    key.update(name.as_bytes());
    let mut rng = ChaCha8Rng::from_seed(key.finalize().into());
    let bound = 1.0 / (inputs.iter().product::<usize>() as f32).sqrt();
    // In one go: a full-size UNet has 860 million of them.
    let mut bits = vec![0; 4 * count];
    rng.fill_bytes(&mut bits);
    let uniform = |bits: &[u8; 4]| (u32::from_le_bytes(*bits) >> 8) as f32 / (1 << 24) as f32;
    bits.as_chunks::<4>().0.iter().map(|bits| bound * (2.0 * uniform(bits) - 1.0)).collect()
}

#[cfg(test)]
#[path = "weights_tests.rs"]
mod tests;

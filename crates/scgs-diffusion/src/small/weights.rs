//! Files of the small model: weights for use (f16 safetensors), and the state of a training (f32).

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use scgs_data::atomic;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    optimiser::State,
    parameters,
    unet::{Unet, UnetConfig},
};

/// The key of the description in a file's metadata.
const KEY: &str = "scgs";
/// The largest file that is read: a training state of the largest sensible network.
const FILE_LIMIT: u64 = 1 << 30;
/// Names listed in an error.
const LISTED: usize = 10;

/// Why a file of the small model could not be used.
#[derive(Debug, thiserror::Error)]
pub enum SmallWeightsError {
    /// Occurs when a file cannot be read or written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Occurs when a file is not what it should be.
    #[error("{}: {message}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, what was expected, what to do.
        message: String,
    },
}

fn malformed(path: &Path, message: impl Into<String>) -> SmallWeightsError {
    SmallWeightsError::Malformed { path: path.to_owned(), message: message.into() }
}

fn write(
    path: &Path,
    description: &impl Serialize,
    tensors: &[(String, Dtype, Vec<usize>, Vec<u8>)],
) -> Result<(), SmallWeightsError> {
    let views = tensors.iter().map(|(name, kind, shape, bytes)| {
        (name.as_str(), TensorView::new(*kind, shape.clone(), bytes).expect("as many bytes as the shape has elements"))
    });
    // One entry only: the order of several would not be the same in every run.
    let text = serde_json::to_string(description).expect("numbers and names are plain JSON values");
    let bytes =
        safetensors::serialize(views, Some([(KEY.to_owned(), text)].into())).expect("names and shapes are valid");
    Ok(atomic::write(path, bytes)?)
}

/// The bytes of a file, and its description.
fn read<T: DeserializeOwned>(path: &Path) -> Result<(Vec<u8>, T), SmallWeightsError> {
    let size = fs_err::metadata(path)?.len();
    if size > FILE_LIMIT {
        return Err(malformed(path, format!("{size} bytes, expected at most {FILE_LIMIT}: this is another file")));
    }
    let bytes = fs_err::read(path)?;
    let (_, header) = SafeTensors::read_metadata(&bytes)
        .map_err(|error| malformed(path, format!("no complete safetensors file ({error}): get or make it again")))?;
    let text = header.metadata().as_ref().and_then(|entries| entries.get(KEY)).ok_or_else(|| {
        malformed(path, "holds no description of a small diffusion model; expected a file of `scgs train-inpainter`")
    })?;
    let description = serde_json::from_str(text)
        .map_err(|error| malformed(path, format!("its description does not fit this version ({error})")))?;
    Ok((bytes, description))
}

/// Writes weights in f16, named after the modules. The same weights give the same bytes.
pub(super) fn save(path: &Path, config: &UnetConfig, network: &Unet, weights: &[f32]) -> Result<(), SmallWeightsError> {
    let mut rest = weights;
    let mut tensors = Vec::new();
    for (name, shape) in parameters::shapes(network) {
        let (now, later) = rest.split_at(shape.iter().product());
        rest = later;
        let bytes = now.iter().flat_map(|&value| half::f16::from_f32(value).to_le_bytes()).collect();
        tensors.push((name, Dtype::F16, shape, bytes));
    }
    write(path, config, &tensors)
}

/// Reads weights that [`save`] wrote.
pub(super) fn load(path: &Path, device: &Device) -> Result<(Unet, UnetConfig), SmallWeightsError> {
    let (bytes, config): (_, UnetConfig) = read(path)?;
    if let Some(problem) = config.problem() {
        return Err(malformed(path, format!("describes an impossible network: {problem}")));
    }
    let file = SafeTensors::deserialize(&bytes).map_err(|error| malformed(path, error.to_string()))?;
    let network = config.init(device);
    let mut weights = Vec::new();
    let mut problems = Vec::new();
    let shapes = parameters::shapes(&network);
    for (name, shape) in &shapes {
        let Ok(view) = file.tensor(name) else {
            problems.push(format!("{name} {shape:?} is missing"));
            continue;
        };
        if view.shape() != shape || view.dtype() != Dtype::F16 {
            problems.push(format!("{name} is {:?} {:?}, expected F16 {shape:?}", view.dtype(), view.shape()));
            continue;
        }
        let start = weights.len();
        let (pairs, _) = view.data().as_chunks::<2>();
        weights.extend(pairs.iter().map(|pair| half::f16::from_le_bytes(*pair).to_f32()));
        if weights[start..].iter().any(|value| !value.is_finite()) {
            problems.push(format!("{name} holds values that are no numbers"));
        }
    }
    let known = |name: &str| shapes.iter().any(|(known, _)| known == name);
    let mut unknown: Vec<&str> = file.names().into_iter().filter(|name| !known(name)).collect();
    unknown.sort_unstable();
    problems.extend(unknown.into_iter().map(|name| format!("{name} is unknown")));
    if problems.is_empty() {
        return Ok((parameters::with_values(network, &weights, false), config));
    }
    let more = if problems.len() > LISTED { format!(" and {} more", problems.len() - LISTED) } else { String::new() };
    problems.truncate(LISTED);
    Err(malformed(path, format!("does not hold the network that it describes: {}{more}", problems.join("; "))))
}

/// Writes the state of a training with a description of it.
pub(super) fn save_state(path: &Path, description: &impl Serialize, state: &State) -> Result<(), SmallWeightsError> {
    let lists =
        [("average", &state.average), ("first", &state.first), ("second", &state.second), ("weights", &state.weights)];
    let tensors: Vec<_> = lists
        .into_iter()
        .map(|(name, list)| {
            let bytes = list.iter().flat_map(|value| value.to_le_bytes()).collect();
            (name.to_owned(), Dtype::F32, vec![list.len()], bytes)
        })
        .collect();
    write(path, description, &tensors)
}

/// Reads a state that [`save_state`] wrote; `step_of` takes the number of steps from its description.
pub(super) fn load_state<T: DeserializeOwned>(
    path: &Path,
    step_of: impl Fn(&T) -> u64,
) -> Result<(State, T), SmallWeightsError> {
    let (bytes, description): (_, T) = read(path)?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| malformed(path, error.to_string()))?;
    let list = |name: &str| -> Result<Vec<f32>, SmallWeightsError> {
        let view = file.tensor(name).map_err(|error| malformed(path, error.to_string()))?;
        if view.dtype() != Dtype::F32 || view.shape().len() != 1 {
            return Err(malformed(path, format!("{name} is {:?} {:?}, expected F32 [n]", view.dtype(), view.shape())));
        }
        let (chunks, _) = view.data().as_chunks::<4>();
        Ok(chunks.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect())
    };
    let state = State {
        step: step_of(&description),
        weights: list("weights")?,
        first: list("first")?,
        second: list("second")?,
        average: list("average")?,
    };
    let length = state.weights.len();
    if [&state.first, &state.second, &state.average].iter().any(|list| list.len() != length) {
        return Err(malformed(path, "its lists have different lengths: delete it and train again"));
    }
    Ok((state, description))
}

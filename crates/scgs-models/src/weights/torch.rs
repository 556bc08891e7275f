//! PyTorch's `.pth` files, zip archives and older plain pickles alike, read without executing them.
//!
//! `pytorch-reader` interprets the pickle with tensors, containers and plain values only; anything else stays a name.
//! Such a name anywhere in the file is refused here, so that nobody takes weights from a file that was made to do more.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use pytorch_reader::{DType, PickleError, PickleValue, PytorchError, PytorchReader};

use super::{FileTensor, FloatKind, WeightsError, floats, is_counter};

/// The largest tensor that is read, in bytes: the embedding table of SD 2's text encoder has 193 MiB.
const TENSOR_LIMIT: u64 = 256 << 20;

/// Keys under which training scripts put the weights beside optimizer and epoch.
const NESTED: [&str; 3] = ["state_dict", "model_state_dict", "model"];

/// Whether the contents start like a zip archive or a pickle. One safetensors file in 32 starts with the byte of a pickle
/// too, the low byte of its header's length; there four zeros and a brace follow.
pub(super) fn is_torch(bytes: &[u8]) -> bool {
    let safetensors = bytes.get(4..9) == Some(b"\0\0\0\0{".as_slice());
    bytes.starts_with(b"PK\x03\x04") || (bytes.first() == Some(&0x80) && !safetensors)
}

/// All tensors of a file, the counters of training batches left out.
pub(super) fn read(path: &Path) -> Result<Vec<(String, FileTensor)>, WeightsError> {
    let all = open(path)?.into_iter().filter(|(name, _)| !is_counter(name));
    all.map(|(name, tensor)| {
        let values = values(path, &name, &tensor)?;
        Ok((name, FileTensor { shape: tensor.shape().to_vec(), values }))
    })
    .collect()
}

/// The tensors of a file in the order of their names, so that the first bad one is the same in every run. Their numbers
/// are read by [`values`].
pub(super) fn open(path: &Path) -> Result<BTreeMap<String, pytorch_reader::Tensor>, WeightsError> {
    let malformed = |reason: String| WeightsError::Malformed { path: path.to_owned(), reason };
    let failed = |error: PytorchError| match error {
        PytorchError::Pickle(PickleError::UnsupportedType(name)) => {
            WeightsError::RefusedPickle { path: path.to_owned(), name }
        }
        other => malformed(other.to_string()),
    };
    let value = PytorchReader::read_pickle_data(path, None).map_err(failed)?;
    let mut names = BTreeSet::new();
    foreign_names(&value, &mut names);
    if let Some(name) = names.pop_first() {
        return Err(WeightsError::RefusedPickle { path: path.to_owned(), name });
    }
    let nested = match &value {
        PickleValue::Dict(entries) => {
            NESTED.into_iter().find(|key| matches!(entries.get(*key), Some(PickleValue::Dict(_))))
        }
        _ => None,
    };
    let reader = match nested {
        Some(key) => PytorchReader::with_top_level_key(path, key),
        None => PytorchReader::new(path),
    }
    .map_err(failed)?;
    Ok(reader.into_tensors().into_iter().collect())
}

/// The numbers of a tensor as f32.
pub(super) fn values(path: &Path, name: &str, tensor: &pytorch_reader::Tensor) -> Result<Vec<f32>, WeightsError> {
    let kind = match tensor.dtype() {
        DType::F16 => FloatKind::F16,
        DType::BF16 => FloatKind::BF16,
        DType::F32 => FloatKind::F32,
        DType::F64 => FloatKind::F64,
        other => {
            let found = format!("{other:?}");
            return Err(WeightsError::NumberType { path: path.to_owned(), tensor: name.to_owned(), found });
        }
    };
    let found = tensor.byte_len() as u64;
    if found > TENSOR_LIMIT {
        let path = path.to_owned();
        return Err(WeightsError::TooLarge { path, part: "a tensor", found, limit: TENSOR_LIMIT });
    }
    let bytes =
        tensor.read().map_err(|error| WeightsError::Malformed { path: path.to_owned(), reason: error.to_string() })?;
    Ok(floats(&bytes, kind))
}

/// Collects the Python names of everything that is neither a tensor nor a plain value.
fn foreign_names(value: &PickleValue, names: &mut BTreeSet<String>) {
    match value {
        PickleValue::Unsupported(name) if !is_tensor(name) => {
            names.insert(name.clone());
        }
        PickleValue::List(items) => items.iter().for_each(|item| foreign_names(item, names)),
        PickleValue::Dict(entries) => entries.values().for_each(|item| foreign_names(item, names)),
        _ => {}
    }
}

/// The names under which `pytorch-reader` shows tensors, storages and tensor attributes.
fn is_tensor(name: &str) -> bool {
    matches!(name, "torch.Tensor" | "torch.TypedStorage" | "torch.UntypedStorage" | "torch.Size" | "int")
}

//! The safetensors format, both ways.

use std::{io::Write, path::Path};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use super::{FileTensor, FloatKind, WeightsError, floats, is_counter};
use crate::{Network, names};

/// The largest header that is read: the ones of the networks here are below 64 KiB.
const HEADER_LIMIT: u64 = 8 << 20;
/// How the names of files begin that are being written, as in scgs-data: a run removes what a killed process left.
const TEMPORARY_PREFIX: &str = ".writing-";

pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<Vec<(String, FileTensor)>, WeightsError> {
    let malformed = |reason: String| WeightsError::Malformed { path: path.to_owned(), reason };
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(malformed(format!("{} bytes are too few for any format of weights", bytes.len())));
    };
    let length = u64::from_le_bytes(*length);
    if rest.first() != Some(&b'{') {
        return Err(malformed("it starts neither like safetensors nor like a PyTorch file".to_owned()));
    }
    if length > HEADER_LIMIT {
        let path = path.to_owned();
        return Err(WeightsError::TooLarge { path, part: "the header", found: length, limit: HEADER_LIMIT });
    }
    let file = SafeTensors::deserialize(bytes).map_err(|error| malformed(format!("safetensors: {error}")))?;
    let mut views = file.tensors();
    // In the order of their names, so that the first bad tensor is the same one in every run.
    views.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut tensors = Vec::with_capacity(views.len());
    for (name, view) in views {
        if is_counter(&name) {
            continue;
        }
        let kind = match view.dtype() {
            Dtype::F16 => FloatKind::F16,
            Dtype::BF16 => FloatKind::BF16,
            Dtype::F32 => FloatKind::F32,
            Dtype::F64 => FloatKind::F64,
            other => {
                return Err(WeightsError::NumberType {
                    path: path.to_owned(),
                    tensor: name,
                    found: format!("{other:?}"),
                });
            }
        };
        tensors.push((name, FileTensor { shape: view.shape().to_vec(), values: floats(view.data(), kind) }));
    }
    Ok(tensors)
}

/// Writes the weights under the reference's names as safetensors, so that [`super::load`] gives back the same bits and
/// `load_state_dict(safetensors.torch.load_file(path), strict=True)` accepts them in Python.
///
/// The file appears whole or not at all. The same network gives the same bytes.
///
/// # Errors
/// [`WeightsError::Io`] if the file cannot be written, [`WeightsError::Folded`] if batch norms were folded.
pub fn save(network: &Network, path: &Path) -> Result<(), WeightsError> {
    if network.is_folded() {
        return Err(WeightsError::Folded { path: path.to_owned() });
    }
    let mut parts: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
    for tensor in names::tensors(network) {
        if let Some(norm) = tensor.name.strip_suffix(".running_var") {
            // PyTorch uses the count only for cumulative averages (momentum None), which none of the references has.
            parts.push((format!("{norm}.num_batches_tracked"), Dtype::I64, Vec::new(), vec![0; 8]));
        }
        let bytes = tensor.values.iter().flat_map(|value| value.to_le_bytes()).collect();
        parts.push((tensor.name, Dtype::F32, tensor.shape, bytes));
    }
    let views = parts.iter().map(|(name, kind, shape, bytes)| {
        (name.as_str(), TensorView::new(*kind, shape.clone(), bytes).expect("as many bytes as the shape has elements"))
    });
    // One entry only: the order of several would not be the same in every run.
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    let bytes = safetensors::serialize(views, Some(metadata)).expect("names and shapes are valid");
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let named = |error: std::io::Error| std::io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY_PREFIX);
    // The default is readable for the owner only; the umask still applies.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder).map_err(named)?;
    file.write_all(&bytes).and_then(|()| file.as_file().sync_all()).map_err(named)?;
    file.persist(path).map_err(|error| named(error.error))?;
    Ok(())
}

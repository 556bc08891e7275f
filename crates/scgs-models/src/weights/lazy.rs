//! Files of weights whose tensors are read one by one, so that a network of gigabytes is never held twice.

use std::{
    collections::BTreeMap,
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use fs_err::File;
use safetensors::{Dtype, tensor::Metadata};

use super::{FloatKind, WeightsError, floats, torch};

/// The largest safetensors header that is read; that of a Stable Diffusion UNet has 0.1 MiB.
const HEADER_LIMIT: u64 = 16 << 20;

/// A tensor that stands in a file and is read when it is asked for.
#[derive(Clone, Debug)]
pub struct LazyTensor {
    name: String,
    path: Arc<PathBuf>,
    shape: Vec<usize>,
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    Safetensors { file: Arc<Mutex<File>>, start: u64, bytes: usize, kind: Dtype },
    Torch(pytorch_reader::Tensor),
}

impl LazyTensor {
    /// The name in the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The extents, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The numbers as f32, row by row. f16, bf16 and f64 are converted; NaN and infinities are refused.
    ///
    /// # Errors
    /// [`WeightsError`], which names file and tensor: a failed or short read, numbers that are no floats or not finite.
    pub fn read(&self) -> Result<Vec<f32>, WeightsError> {
        let values = match &self.source {
            Source::Safetensors { file, start, bytes, kind } => {
                let kind = float_kind(*kind).ok_or_else(|| self.number_type(format!("{kind:?}")))?;
                let mut buffer = vec![0; *bytes];
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.seek(SeekFrom::Start(*start))?;
                file.read_exact(&mut buffer)?;
                floats(&buffer, kind)
            }
            Source::Torch(tensor) => torch::values(&self.path, &self.name, tensor)?,
        };
        match values.iter().position(|value| !value.is_finite()) {
            Some(index) => Err(WeightsError::NotFinite {
                path: self.path.to_path_buf(),
                tensor: self.name.clone(),
                index,
                value: values[index],
            }),
            None => Ok(values),
        }
    }

    fn number_type(&self, found: String) -> WeightsError {
        WeightsError::NumberType { path: self.path.to_path_buf(), tensor: self.name.clone(), found }
    }
}

/// The tensors of a `.safetensors` file or a PyTorch `.bin`/`.pth`/`.pt` file, told apart by their contents, in the order
/// of their names. Only the header, or the pickle, is read now; a pickle cannot execute anything.
///
/// # Errors
/// [`WeightsError`] for an unreadable, truncated or foreign file and for a pickle that refers to anything but tensors.
pub fn open_tensors(path: &Path) -> Result<BTreeMap<String, LazyTensor>, WeightsError> {
    let malformed = |reason: String| WeightsError::Malformed { path: path.to_owned(), reason };
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut start = [0; 9];
    if size < start.len() as u64 {
        return Err(malformed(format!("{size} bytes are too few for any format of weights")));
    }
    file.read_exact(&mut start)?;
    let shared = Arc::new(path.to_owned());
    if torch::is_torch(&start) {
        let tensors = torch::open(path)?.into_iter().map(|(name, tensor)| {
            let (path, shape) = (Arc::clone(&shared), tensor.shape().to_vec());
            (name.clone(), LazyTensor { name, path, shape, source: Source::Torch(tensor) })
        });
        return Ok(tensors.collect());
    }
    if start[8] != b'{' {
        return Err(malformed("it starts neither like safetensors nor like a PyTorch file".to_owned()));
    }
    let length = u64::from_le_bytes(start[..8].try_into().expect("eight bytes"));
    if length > HEADER_LIMIT {
        let path = path.to_owned();
        return Err(WeightsError::TooLarge { path, part: "the header", found: length, limit: HEADER_LIMIT });
    }
    if 8 + length > size {
        return Err(malformed(format!("the header should have {length} bytes, the file has {size}")));
    }
    let mut header = vec![0; length as usize];
    file.seek(SeekFrom::Start(8))?;
    file.read_exact(&mut header)?;
    let header: Metadata =
        serde_json::from_slice(&header).map_err(|error| malformed(format!("safetensors: {error}")))?;
    let expected = 8 + length + header.data_len() as u64;
    if expected != size {
        return Err(malformed(format!("its tensors need {expected} bytes, the file has {size}")));
    }
    let file = Arc::new(Mutex::new(file));
    let all: BTreeMap<_, _> = header.tensors().into_iter().collect();
    let tensors = all.into_iter().map(|(name, info)| {
        let source = Source::Safetensors {
            file: Arc::clone(&file),
            start: 8 + length + info.data_offsets.0 as u64,
            bytes: info.data_offsets.1 - info.data_offsets.0,
            kind: info.dtype,
        };
        (name.clone(), LazyTensor { name, path: Arc::clone(&shared), shape: info.shape.clone(), source })
    });
    Ok(tensors.collect())
}

fn float_kind(kind: Dtype) -> Option<FloatKind> {
    Some(match kind {
        Dtype::F16 => FloatKind::F16,
        Dtype::BF16 => FloatKind::BF16,
        Dtype::F32 => FloatKind::F32,
        Dtype::F64 => FloatKind::F64,
        _ => return None,
    })
}

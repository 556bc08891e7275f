//! Why weights cannot be read or written.

use std::{fmt, path::PathBuf};

use crate::Architecture;

/// How many tensors of one kind a message lists; the rest is counted.
const LISTED: usize = 10;

/// Why a file of weights cannot be used, or written.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// Occurs when the file cannot be read or written. The message of `fs_err` names the path.
    #[error("{0}; check the path, its permissions and the free disk space")]
    Io(#[from] std::io::Error),
    /// Occurs when a file, or a part whose size it declares, is larger than any network here can need.
    #[error("{}: {part} has {found} bytes, more than the limit of {limit}; is this a file of weights?", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What is too large.
        part: &'static str,
        /// Its declared size in bytes.
        found: u64,
        /// The largest size that is read.
        limit: u64,
    },
    /// Occurs when the file ends before what it declares, or does not follow its format.
    #[error("{}: not a whole file of weights: {reason}; copy or download it again", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was expected and what was found.
        reason: String,
    },
    /// Occurs when a PyTorch file asks for anything but tensors. Nothing of it was executed.
    #[error(
        "{}: refused, because the pickle refers to `{name}`, which is no tensor; save the bare weights in Python with \
         `torch.save(model.state_dict(), file)` or as safetensors", path.display()
    )]
    RefusedPickle {
        /// The file.
        path: PathBuf,
        /// Module and name in Python, or the pickle instruction.
        name: String,
    },
    /// Occurs when a tensor's numbers are of a type that is no float.
    #[error("{}: the tensor `{tensor}` has numbers of type {found}; expected f16, bf16, f32 or f64", path.display())]
    NumberType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The type in the file.
        found: String,
    },
    /// Occurs when the tensors are not those of the architecture.
    #[error("{}: these are not the weights of {architecture}: {mismatch}\nChoose the architecture they belong to", path.display())]
    WrongArchitecture {
        /// The file.
        path: PathBuf,
        /// The architecture that was asked for.
        architecture: Architecture,
        /// The differences.
        mismatch: Mismatch,
    },
    /// Occurs when the last layer of the file has another number of classes than was asked for.
    #[error(
        "{}: the last layer has {found} classes, {expected} were asked for; ask for a fresh last layer \
         (`HeadPolicy::Replace`) or for {found} classes", path.display()
    )]
    HeadWidth {
        /// The file.
        path: PathBuf,
        /// Classes in the file.
        found: usize,
        /// Classes that were asked for.
        expected: usize,
    },
    /// Occurs when a weight is NaN or infinite.
    #[error(
        "{}: the tensor `{tensor}` has the value {value} at element {index}; the training that wrote it diverged or \
         the file is damaged", path.display()
    )]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Where, counted row by row.
        index: usize,
        /// NaN or an infinity.
        value: f32,
    },
    /// Occurs when a network whose batch norms were folded is to be saved: its tensors have no names in the reference.
    #[error("{}: not written, because the batch norms of this network are folded; save it before folding", path.display())]
    Folded {
        /// Where it was to be saved.
        path: PathBuf,
    },
}

/// The differences between the tensors in a file and those of an architecture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// Tensors the architecture has and the file does not.
    pub missing: Vec<String>,
    /// Tensors the file has and the architecture does not.
    pub unexpected: Vec<String>,
    /// Tensors of another shape: name, expected, found.
    pub shapes: Vec<(String, Vec<usize>, Vec<usize>)>,
}

impl Mismatch {
    /// Whether there is no difference.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.shapes.is_empty()
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shapes: Vec<String> = self
            .shapes
            .iter()
            .map(|(name, expected, found)| format!("{name} (expected {expected:?}, found {found:?})"))
            .collect();
        for (what, names) in
            [("missing", &self.missing), ("unexpected", &self.unexpected), ("of another shape", &shapes)]
        {
            if !names.is_empty() {
                write!(f, "\n{} tensor(s) {what}: {}", names.len(), names[..names.len().min(LISTED)].join(", "))?;
                if names.len() > LISTED {
                    write!(f, ", and {} more", names.len() - LISTED)?;
                }
            }
        }
        Ok(())
    }
}

//! Why a picture cannot be painted by Stable Diffusion.

use std::path::PathBuf;

use super::super::{
    ConfigError, EmbeddingError, FolderError, LoraError, PartError, SchedulerError, TextError, TokenizerError,
};

/// Why a model cannot be loaded, or a picture cannot be painted.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// An error of the model's folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// An error of a part's configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An error of a part's weights.
    #[error(transparent)]
    Part(#[from] PartError),
    /// An error of the scheduler: its configuration, the number of steps, the strength.
    #[error(transparent)]
    Scheduler(#[from] SchedulerError),
    /// An error of the tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// An error of the text encoder.
    #[error(transparent)]
    Text(#[from] TextError),
    /// An error of a LoRA.
    #[error(transparent)]
    Lora(#[from] LoraError),
    /// An error of a textual inversion.
    #[error(transparent)]
    Embedding(#[from] EmbeddingError),
    /// Occurs when a file cannot be read. The message of `fs_err` names the path.
    #[error("{0}; check the path and its permissions")]
    Io(#[from] std::io::Error),
    /// Occurs when the parts of a model do not belong together.
    #[error("{}: {what} is {found}, expected {expected}; take all parts from one model", folder.display())]
    Parts {
        /// The model's folder.
        folder: PathBuf,
        /// What does not fit.
        what: &'static str,
        /// What it is.
        found: usize,
        /// What would fit.
        expected: String,
    },
    /// Occurs when picture and mask have different sizes.
    #[error("the picture is {}x{} but its mask is {}x{}: give a mask of the picture's size", picture.0, picture.1, mask.0, mask.1)]
    MaskSize {
        /// Width and height of the picture.
        picture: (u32, u32),
        /// Width and height of the mask.
        mask: (u32, u32),
    },
    /// Occurs when the mask is black everywhere.
    #[error("the mask is black everywhere: there is nothing to repaint")]
    NothingToRepaint,
    /// Occurs when the network would work at an impossible size.
    #[error(
        "the network would work at {}x{} pixels; it can at multiples of {scale} from {scale} to {most}: give such a size, or \
         crop around the mask", size.0, size.1
    )]
    Size {
        /// Width and height.
        size: (u32, u32),
        /// What both must be a multiple of.
        scale: u32,
        /// The largest side.
        most: u32,
    },
    /// Occurs when there is no prompt.
    #[error("the prompt is empty: say what to paint, or ask for painting without a text (`unconditional`)")]
    EmptyPrompt,
    /// Occurs when a template of prompts cannot be filled in.
    #[error("the prompt template `{template}` {reason}; the only placeholder is {{class}}")]
    Template {
        /// The template.
        template: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Occurs when an option is out of range.
    #[error("{option} is {found}, expected {expected}")]
    Option {
        /// The option.
        option: &'static str,
        /// Its value.
        found: String,
        /// The values that are possible.
        expected: &'static str,
    },
    /// Occurs when the initial noise does not fit the picture.
    #[error(
        "the latents have the shape {found:?}, expected {expected:?} of finite numbers: standard normal noise of an eighth of the \
         size at which the network works"
    )]
    Latents {
        /// Their shape.
        found: Vec<usize>,
        /// The shape that is needed.
        expected: Vec<usize>,
    },
    /// Occurs when a file has no tensor `latents`.
    #[error("{}: there is no tensor `latents` in it, only {}", path.display(), found.join(", "))]
    NoLatents {
        /// The file.
        path: PathBuf,
        /// The first of its tensors.
        found: Vec<String>,
    },
    /// Occurs when the network answers with NaN or an infinity.
    #[error(
        "the model answered with NaN or infinity at step {step}; its weights are finite, so a LoRA or a scale may be too large"
    )]
    NotFinite {
        /// The step, from 1; 0 for the decoded picture.
        step: usize,
    },
    /// Occurs when the caller asked to stop.
    #[error("interrupted")]
    Interrupted,
}

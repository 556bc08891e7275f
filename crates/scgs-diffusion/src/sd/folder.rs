//! Model folders in diffusers' layout: from a path, or by name from a Hugging Face cache. Never from the network.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

/// What gets a model that is not there.
const DOWNLOAD: &str = "`cargo xtask download weights-sd15-inpaint` gets the inpainting model of Stable Diffusion 1.5";

/// The pipelines whose parts are those of Stable Diffusion 1 and 2.
const PIPELINES: [&str; 5] = [
    "StableDiffusionInpaintPipeline",
    "StableDiffusionInpaintPipelineLegacy",
    "StableDiffusionPipeline",
    "StableDiffusionImg2ImgPipeline",
    "LatentConsistencyModelPipeline",
];

/// Why a model cannot be found or taken.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Occurs when a file cannot be read. The message of `fs_err` names the path.
    #[error("{0}; check the path and its permissions")]
    Io(#[from] std::io::Error),
    /// Occurs when there is no model of that name.
    #[error("no model `{name}`: it is no folder{}; {DOWNLOAD}, and a model that other programs downloaded is found by its name, as org/name", match cache {
        Some(cache) => format!(" and {} does not exist", cache.display()),
        None => String::new(),
    })]
    NotFound {
        /// What was asked for.
        name: String,
        /// Where a model of this name would be in the cache.
        cache: Option<PathBuf>,
    },
    /// Occurs when a folder is no diffusers model.
    #[error("{}: not a model folder: there is no model_index.json in it; {DOWNLOAD}", folder.display())]
    NoIndex {
        /// The folder.
        folder: PathBuf,
    },
    /// Occurs when a JSON file is damaged.
    #[error("{}: {reason}; copy or download it again", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was expected and what was found.
        reason: String,
    },
    /// Occurs when the model, or one of its parts, is of another kind.
    #[error("{}: `{part}` is {found}, expected {expected}; only Stable Diffusion 1 and 2 are supported; {DOWNLOAD}", path.display())]
    Class {
        /// The file.
        path: PathBuf,
        /// Which part, or `_class_name` for the whole.
        part: String,
        /// Its class.
        found: String,
        /// The classes that would work.
        expected: String,
    },
    /// Occurs when a part of the model is missing.
    #[error("{}: the part `{part}` is missing: expected {expected}; download the model again, {DOWNLOAD}", folder.display())]
    Missing {
        /// The model's folder.
        folder: PathBuf,
        /// The part.
        part: &'static str,
        /// The files of which one would do.
        expected: String,
    },
}

/// The caches of Hugging Face's programs on this computer.
#[derive(Clone, Debug)]
pub struct HubCache(PathBuf);

impl HubCache {
    /// The cache at a path.
    pub fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// The cache that `huggingface_hub` would use, by its environment variables: `HF_HUB_CACHE`, `HF_HOME`,
    /// `XDG_CACHE_HOME`, `HOME`.
    pub fn from_environment() -> Option<Self> {
        Self::from_variables(|name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<Self> {
        let home = || variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
        let hub = || Some(variable("HF_HOME").or_else(|| Some(home()?.join("huggingface")))?.join("hub"));
        variable("HF_HUB_CACHE").or_else(hub).map(Self)
    }

    /// The newest snapshot of `org/name` on its branch `main`, if it is there.
    fn snapshot(&self, repository: &Path) -> Result<Option<PathBuf>, FolderError> {
        let reference = repository.join("refs/main");
        if !reference.exists() {
            return Ok(None);
        }
        let commit = fs_err::read_to_string(&reference)?;
        let commit = commit.trim();
        if commit.is_empty() || !commit.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Err(FolderError::Malformed { path: reference, reason: "not the name of a snapshot".into() });
        }
        let folder = repository.join("snapshots").join(commit);
        Ok(folder.is_dir().then_some(folder))
    }
}

/// Which of a part's files are preferred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Variant {
    /// Files of full precision; those marked `fp16` where there are no others.
    #[default]
    Full,
    /// Files marked `fp16`; the others where there are none.
    Half,
}

/// A model in diffusers' layout whose parts are all there.
#[derive(Clone, Debug)]
pub struct ModelFolder {
    path: PathBuf,
    pipeline: String,
    unet: Vec<PathBuf>,
    vae: Vec<PathBuf>,
    text_encoder: Vec<PathBuf>,
}

impl ModelFolder {
    /// Finds a model by the path of its folder or, failing that, by its name `org/name` in `cache`; checks by
    /// `model_index.json` that it is of a supported kind and that every part is there.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn find(name: &str, cache: Option<&HubCache>, variant: Variant) -> Result<Self, FolderError> {
        let path = Path::new(name);
        if path.is_dir() {
            return Self::open(path, variant);
        }
        let word = |text: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            !text.is_empty() && !text.starts_with('.') && text.chars().all(plain)
        };
        let (Some((org, model)), Some(cache)) =
            (name.split_once('/').filter(|(org, model)| word(org) && word(model)), cache)
        else {
            return Err(FolderError::NotFound { name: name.to_owned(), cache: None });
        };
        let repository = cache.0.join(format!("models--{org}--{model}"));
        match cache.snapshot(&repository)? {
            Some(folder) => Self::open(&folder, variant),
            None => Err(FolderError::NotFound { name: name.to_owned(), cache: Some(repository) }),
        }
    }

    /// Takes the model in a folder.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn open(folder: &Path, variant: Variant) -> Result<Self, FolderError> {
        let path = folder.join("model_index.json");
        if !path.exists() {
            return Err(FolderError::NoIndex { folder: folder.to_owned() });
        }
        let index = object(&path)?;
        let class = |part: &str, found: &Value, expected: &[&str]| FolderError::Class {
            path: path.clone(),
            part: part.to_owned(),
            found: found.as_str().map_or_else(|| found.to_string(), str::to_owned),
            expected: expected.join(" or "),
        };
        let pipeline = index.get("_class_name").unwrap_or(&Value::Null);
        let Some(pipeline) = PIPELINES.into_iter().find(|known| pipeline.as_str() == Some(*known)) else {
            return Err(class("_class_name", pipeline, &PIPELINES));
        };
        for (part, expected) in [
            ("unet", &["UNet2DConditionModel"][..]),
            ("vae", &["AutoencoderKL"]),
            ("text_encoder", &["CLIPTextModel"]),
            ("tokenizer", &["CLIPTokenizer", "CLIPTokenizerFast"]),
        ] {
            // A pair of library and class.
            let found = index.get(part).and_then(|pair| pair.get(1)).unwrap_or(&Value::Null);
            if !expected.iter().any(|expected| found.as_str() == Some(*expected)) {
                return Err(class(part, found, expected));
            }
        }
        for (part, files) in [
            ("scheduler", &["scheduler_config.json"][..]),
            ("tokenizer", &["vocab.json", "merges.txt", "tokenizer_config.json"]),
            ("unet", &["config.json"]),
            ("vae", &["config.json"]),
            ("text_encoder", &["config.json"]),
        ] {
            if let Some(file) = files.iter().find(|file| !folder.join(part).join(file).is_file()) {
                let expected = format!("{part}/{file}");
                return Err(FolderError::Missing { folder: folder.to_owned(), part, expected });
            }
        }
        Ok(Self {
            unet: weights(folder, "unet", "diffusion_pytorch_model", "diffusion_pytorch_model", variant)?,
            vae: weights(folder, "vae", "diffusion_pytorch_model", "diffusion_pytorch_model", variant)?,
            text_encoder: weights(folder, "text_encoder", "model", "pytorch_model", variant)?,
            path: folder.to_owned(),
            pipeline: pipeline.to_owned(),
        })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// diffusers' class of the whole, such as `StableDiffusionInpaintPipeline`.
    pub fn pipeline(&self) -> &str {
        &self.pipeline
    }

    /// The files of the UNet's weights; several are shards.
    pub fn unet(&self) -> &[PathBuf] {
        &self.unet
    }

    /// The files of the autoencoder's weights.
    pub fn vae(&self) -> &[PathBuf] {
        &self.vae
    }

    /// The files of the text encoder's weights.
    pub fn text_encoder(&self) -> &[PathBuf] {
        &self.text_encoder
    }

    /// The `config.json` of a part: `unet`, `vae` or `text_encoder`.
    pub fn config(&self, part: &str) -> PathBuf {
        self.path.join(part).join("config.json")
    }

    /// The folder of the tokenizer.
    pub fn tokenizer(&self) -> PathBuf {
        self.path.join("tokenizer")
    }

    /// The scheduler's configuration.
    pub fn scheduler(&self) -> PathBuf {
        self.path.join("scheduler/scheduler_config.json")
    }
}

/// The files of a part's weights: safetensors before PyTorch's, each whole or with an index of shards.
fn weights(
    folder: &Path,
    part: &'static str,
    safetensors: &str,
    torch: &str,
    variant: Variant,
) -> Result<Vec<PathBuf>, FolderError> {
    let variants = match variant {
        Variant::Full => ["", ".fp16"],
        Variant::Half => [".fp16", ""],
    };
    for mark in variants {
        for (stem, end) in [(safetensors, "safetensors"), (torch, "bin")] {
            let whole = folder.join(part).join(format!("{stem}{mark}.{end}"));
            if whole.is_file() {
                return Ok(vec![whole]);
            }
            // transformers writes the variant before `.index.json`, diffusers before it and, of old, after it.
            for name in [format!("{stem}.{end}.index{mark}.json"), format!("{stem}{mark}.{end}.index.json")] {
                let index = folder.join(part).join(name);
                if index.is_file() {
                    return shards(folder, part, &index);
                }
            }
        }
    }
    let expected =
        format!("{part}/{safetensors}.safetensors, {part}/{safetensors}.fp16.safetensors or {part}/{torch}.bin");
    Err(FolderError::Missing { folder: folder.to_owned(), part, expected })
}

/// The files that an index names.
fn shards(folder: &Path, part: &'static str, index: &Path) -> Result<Vec<PathBuf>, FolderError> {
    let malformed = |reason: String| FolderError::Malformed { path: index.to_owned(), reason };
    let fields = object(index)?;
    let map = fields.get("weight_map").and_then(Value::as_object);
    let map = map.filter(|map| !map.is_empty()).ok_or_else(|| malformed("expected an object `weight_map`".into()))?;
    let mut files = BTreeSet::new();
    for file in map.values() {
        let name =
            file.as_str().filter(|name| !name.is_empty() && !name.contains(['/', '\\']) && !name.starts_with('.'));
        files.insert(name.ok_or_else(|| malformed(format!("{file} is not the name of a file beside it")))?);
    }
    let paths: Vec<PathBuf> = files.iter().map(|name| folder.join(part).join(name)).collect();
    match paths.iter().zip(&files).find(|(path, _)| !path.is_file()) {
        Some((_, name)) => {
            Err(FolderError::Missing { folder: folder.to_owned(), part, expected: format!("{part}/{name}") })
        }
        None => Ok(paths),
    }
}

fn object(path: &Path) -> Result<Map<String, Value>, FolderError> {
    serde_json::from_str(&fs_err::read_to_string(path)?).map_err(|error| FolderError::Malformed {
        path: path.to_owned(),
        reason: format!("not a JSON object: {error}"),
    })
}

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;

//! Low-rank adaptations (Hu et al. 2022), merged into the weights before a network is built, as diffusers' `fuse_lora`.
//!
//! Read are the names of peft and diffusers (`unet.….to_q.lora_A.weight`, `.lora.down.weight`, `.processor.to_q_lora.down.
//! weight`) and those of kohya's scripts (`lora_unet_….lora_down.weight`, `.alpha`), which LCM-LoRA uses too; for
//! linear maps and convolutions. A merged network costs nothing at run time.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    io::Read as _,
    path::{Path, PathBuf},
};

use burn::tensor::{Device, Tensor, TensorData};
use fs_err::File;
use scgs_models::{LazyTensor, WeightsError, open_tensors};
use serde_json::{Map, Value};

use super::{PartError, Weights};

/// How many names a message lists; the rest is counted.
const LISTED: usize = 10;

/// Why a LoRA cannot be merged.
#[derive(Debug, thiserror::Error)]
pub enum LoraError {
    /// Occurs when the file cannot be read or is damaged, or holds numbers that are not finite.
    #[error(transparent)]
    File(#[from] WeightsError),
    /// Occurs when a tensor of the model cannot be read.
    #[error(transparent)]
    Model(#[from] PartError),
    /// Occurs when tensors are no factors of a LoRA, or not of a kind that is known.
    #[error(
        "{}: {}; supported are LoRAs of Stable Diffusion 1 and 2 with the names of peft, diffusers or kohya, without \
         LoHa, LoKr, DoRA and biases", path.display(), Listed("no factors of a LoRA", names)
    )]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The tensors.
        names: Vec<String>,
    },
    /// Occurs when a module has one of its two factors only.
    #[error("{}: {}; the file is not whole, download it again", path.display(), Listed("modules with one factor only", names))]
    Half {
        /// The file.
        path: PathBuf,
        /// The modules.
        names: Vec<String>,
    },
    /// Occurs when the model has no such modules.
    #[error("{}: {}; take a LoRA that was made for this model", path.display(), Listed("modules that the model does not have", names))]
    Unmatched {
        /// The file.
        path: PathBuf,
        /// The modules.
        names: Vec<String>,
    },
    /// Occurs when factors do not fit the model's weights.
    #[error("{}: {}; take a LoRA that was made for this model", path.display(), Listed("factors that do not fit", names))]
    Shapes {
        /// The file.
        path: PathBuf,
        /// The modules with the shapes of both sides.
        names: Vec<String>,
    },
    /// Occurs when the scale is no number, or the file scales in a way that is not known.
    #[error("{}: {reason}", path.display())]
    Scale {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// Up to ten names after what is wrong with them.
struct Listed<'a>(&'a str, &'a [String]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(what, names) = self;
        write!(f, "{} {what}: {}", names.len(), names[..names.len().min(LISTED)].join(", "))?;
        if names.len() > LISTED {
            write!(f, " and {} more", names.len() - LISTED)?;
        }
        Ok(())
    }
}

/// The networks that a LoRA changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LoraPart {
    /// The UNet.
    UNet,
    /// The text encoder.
    TextEncoder,
}

impl LoraPart {
    fn name(self) -> &'static str {
        match self {
            Self::UNet => "unet",
            Self::TextEncoder => "text_encoder",
        }
    }
}

/// The two factors of one module and what their product is multiplied by.
#[derive(Debug)]
struct Factors {
    /// As the file writes it, for messages.
    module: String,
    down: LazyTensor,
    up: LazyTensor,
    /// Divided by the rank.
    alpha: Option<f32>,
}

/// A LoRA file.
#[derive(Debug)]
pub struct Lora {
    path: PathBuf,
    /// By the part and the module's name with `_` for every dot, which kohya's names leave of it.
    modules: BTreeMap<(LoraPart, String), Factors>,
}

/// What a tensor of the file is for a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Down,
    Up,
    Alpha,
}

/// Endings of names, and whether the module's own name is written with `_lora` before a dot.
const ENDINGS: [(&str, Role, bool); 14] = [
    (".lora_A.weight", Role::Down, false),
    (".lora_B.weight", Role::Up, false),
    (".lora_A.default.weight", Role::Down, false),
    (".lora_B.default.weight", Role::Up, false),
    (".lora_down.weight", Role::Down, false),
    (".lora_up.weight", Role::Up, false),
    (".lora.down.weight", Role::Down, false),
    (".lora.up.weight", Role::Up, false),
    (".lora_linear_layer.down.weight", Role::Down, false),
    (".lora_linear_layer.up.weight", Role::Up, false),
    ("_lora.down.weight", Role::Down, true),
    ("_lora.up.weight", Role::Up, true),
    ("_lora.alpha", Role::Alpha, true),
    (".alpha", Role::Alpha, false),
];

/// The part, the module as the file writes it, and its name with `_` for every dot.
fn module(name: &str) -> Option<(LoraPart, String, String, Role)> {
    let (ending, role, processor) = ENDINGS.into_iter().find(|(ending, ..)| name.ends_with(ending))?;
    let written = &name[..name.len() - ending.len()];
    let prefixes = [
        ("lora_unet_", LoraPart::UNet),
        ("lora_te_", LoraPart::TextEncoder),
        ("unet.", LoraPart::UNet),
        ("text_encoder.", LoraPart::TextEncoder),
        ("base_model.model.", LoraPart::UNet),
    ];
    let found = prefixes.into_iter().find_map(|(prefix, part)| Some((part, written.strip_prefix(prefix)?)));
    // The UNet's attention processors were saved without a prefix once.
    let (part, module) = found.or_else(|| processor.then_some((LoraPart::UNet, written)))?;
    let mut module = module.replace(".processor.", ".");
    if processor {
        module = match part {
            LoraPart::UNet if module.ends_with("to_out") => format!("{module}.0"),
            LoraPart::UNet => module,
            LoraPart::TextEncoder => ["q", "k", "v", "out"]
                .into_iter()
                .find_map(|which| Some(format!("{}{which}_proj", module.strip_suffix(&format!("to_{which}"))?)))?,
        };
    }
    Some((part, written.to_owned(), module.replace('.', "_"), role))
}

/// A module's name as the file writes it, and its tensors: down, up, alpha.
type Found = (String, [Option<LazyTensor>; 3]);

impl Lora {
    /// Opens a `.safetensors` file or PyTorch's `.bin`.
    ///
    /// # Errors
    /// [`LoraError::File`], [`LoraError::Unknown`], [`LoraError::Half`] or [`LoraError::Scale`].
    pub fn open(path: &Path) -> Result<Self, LoraError> {
        let settings = Settings::read(path)?;
        let mut unknown = Vec::new();
        let mut found: BTreeMap<(LoraPart, String), Found> = BTreeMap::new();
        for (name, tensor) in open_tensors(path)? {
            match module(&name) {
                Some((part, written, key, role)) => {
                    let slots = &mut found.entry((part, key)).or_insert_with(|| (written, [None, None, None])).1;
                    // Two spellings of one module in one file.
                    if slots[role as usize].replace(tensor).is_some() {
                        unknown.push(name);
                    }
                }
                None => unknown.push(name),
            }
        }
        if !unknown.is_empty() || found.is_empty() {
            return Err(LoraError::Unknown { path: path.to_owned(), names: unknown });
        }
        let (mut modules, mut half) = (BTreeMap::new(), Vec::new());
        for ((part, key), (module, slots)) in found {
            let [Some(down), Some(up), alpha] = slots else {
                half.push(module);
                continue;
            };
            let alpha = match alpha {
                Some(alpha) => alpha.read()?.first().copied(),
                None => settings.alpha(part, &key),
            };
            modules.insert((part, key), Factors { module, down, up, alpha });
        }
        if !half.is_empty() {
            return Err(LoraError::Half { path: path.to_owned(), names: half });
        }
        Ok(Self { path: path.to_owned(), modules })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many modules of a part it changes.
    pub fn count(&self, part: LoraPart) -> usize {
        self.modules.keys().filter(|(own, _)| *own == part).count()
    }

    /// Adds `scale * alpha / rank * up * down` to every weight of `part` that the LoRA changes. Products are computed on
    /// `device`; the changed tensors stay in memory until the part is built. Gives the number of changed tensors.
    ///
    /// # Errors
    /// [`LoraError`]: modules that the model does not have, shapes that do not fit, numbers that are not finite, a scale
    /// that is not. Names and shapes are compared before anything is changed; let the weights go after any other error.
    pub fn merge(
        &self,
        part: LoraPart,
        weights: &mut Weights,
        scale: f64,
        device: &Device,
    ) -> Result<usize, LoraError> {
        if !scale.is_finite() {
            return Err(LoraError::Scale {
                path: self.path.clone(),
                reason: format!("the scale is {scale}, expected a number"),
            });
        }
        let targets: BTreeMap<String, String> = weights
            .names()
            .filter_map(|name| Some((name.strip_suffix(".weight")?.replace('.', "_"), name.to_owned())))
            .collect();
        let (mut work, mut unmatched, mut shapes) = (Vec::new(), Vec::new(), Vec::new());
        for ((_, key), factors) in self.modules.iter().filter(|((own, _), _)| *own == part) {
            let Some(name) = targets.get(key) else {
                unmatched.push(factors.module.clone());
                continue;
            };
            let shape = weights.shape(name).unwrap_or_default();
            match sizes(factors.down.shape(), factors.up.shape(), shape) {
                Some(sizes) => work.push((name, factors, sizes)),
                None => shapes.push(format!(
                    "{} with {:?} and {:?} for {shape:?}",
                    factors.module,
                    factors.down.shape(),
                    factors.up.shape()
                )),
            }
        }
        if !unmatched.is_empty() {
            return Err(LoraError::Unmatched { path: self.path.clone(), names: unmatched });
        }
        if !shapes.is_empty() {
            return Err(LoraError::Shapes { path: self.path.clone(), names: shapes });
        }
        let mut count = 0;
        for (name, factors, [output, rank, input]) in work {
            let matrix = |tensor: &LazyTensor, shape: [usize; 2]| -> Result<Tensor<2>, WeightsError> {
                Ok(Tensor::from_data(TensorData::new(tensor.read()?, shape), device))
            };
            let factor = scale * f64::from(factors.alpha.unwrap_or(rank as f32)) / rank as f64;
            let change = matrix(&factors.up, [output, rank])?.matmul(matrix(&factors.down, [rank, input])?);
            let change = change.mul_scalar(factor).into_data().try_to_vec::<f32>();
            let Some((shape, mut values)) = weights.values(name)? else { continue };
            for (value, change) in values.iter_mut().zip(change.expect("weights are f32")) {
                *value += change;
            }
            weights.set(name, shape, values);
            count += 1;
        }
        Ok(count)
    }
}

/// Outputs, rank and inputs (times the kernel's area) when the factors fit a weight.
fn sizes(down: &[usize], up: &[usize], weight: &[usize]) -> Option<[usize; 3]> {
    let ([rank, inner @ ..], [output, again, rest @ ..], [rows, columns @ ..]) = (down, up, weight) else {
        return None;
    };
    let input: usize = columns.iter().product();
    let fits = rank == again && output == rows && inner.iter().product::<usize>() == input;
    let plain = rest.iter().all(|extent| *extent == 1) && *rank > 0 && !columns.is_empty();
    // A 1x1 convolution may have the factors of a linear map and the other way round, but a kernel keeps its form.
    let kernel = |extents: &[usize]| extents.iter().skip(1).copied().filter(|extent| *extent != 1).collect::<Vec<_>>();
    (fits && plain && kernel(inner) == kernel(columns)).then_some([*output, *rank, input])
}

/// The configuration of peft that diffusers writes into the header since 0.34.
#[derive(Debug, Default)]
struct Settings(Map<String, Value>);

impl Settings {
    fn read(path: &Path) -> Result<Self, LoraError> {
        // Whether the file is sound is found when its tensors are opened; here it may be of any kind.
        let header = header(path).map_err(WeightsError::from)?;
        let text =
            header.as_ref().and_then(|header| header.get("__metadata__")?.get("lora_adapter_metadata")?.as_str());
        let Some(text) = text else { return Ok(Self::default()) };
        let fields = serde_json::from_str(text).map_err(|error| LoraError::Scale {
            path: path.to_owned(),
            reason: format!("lora_adapter_metadata is not a JSON object: {error}"),
        })?;
        let settings = Self(fields);
        for (part, option) in [LoraPart::UNet, LoraPart::TextEncoder]
            .into_iter()
            .flat_map(|part| ["use_dora", "use_rslora", "fan_in_fan_out"].map(|option| (part, option)))
        {
            if settings.field(part, option) == Some(&Value::Bool(true)) {
                let reason = format!("its metadata has `{}.{option}`, which is not supported", part.name());
                return Err(LoraError::Scale { path: path.to_owned(), reason });
            }
        }
        Ok(settings)
    }

    fn field(&self, part: LoraPart, option: &str) -> Option<&Value> {
        self.0.get(&format!("{}.{option}", part.name()))
    }

    /// The alpha of a module: by the pattern that its name ends in, or that of the part.
    fn alpha(&self, part: LoraPart, module: &str) -> Option<f32> {
        let own = |pattern: &String| {
            let pattern = pattern.replace('.', "_");
            module == pattern || module.ends_with(&format!("_{pattern}"))
        };
        let patterns = self.field(part, "alpha_pattern").and_then(Value::as_object);
        let special = patterns.and_then(|patterns| patterns.iter().find(|(pattern, _)| own(pattern)));
        let alpha = special.map(|(_, alpha)| alpha).or_else(|| self.field(part, "lora_alpha"));
        alpha.and_then(Value::as_f64).map(|alpha| alpha as f32)
    }
}

/// The header of a safetensors file; nothing for files of other kinds.
fn header(path: &Path) -> std::io::Result<Option<Value>> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut length = [0; 8];
    if size < 8 {
        return Ok(None);
    }
    file.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > size - 8 || length > 16 << 20 {
        return Ok(None);
    }
    let mut header = vec![0; length as usize];
    file.read_exact(&mut header)?;
    Ok(serde_json::from_slice(&header).ok())
}

/// The file and the parts that it changes.
impl fmt::Display for Lora {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: BTreeSet<&str> = self.modules.keys().map(|(part, _)| part.name()).collect();
        write!(f, "{} ({})", self.path.display(), parts.into_iter().collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
#[path = "lora_tests.rs"]
mod tests;

//! Every setting of a run: read from TOML, checked all at once, hashed into the run's folder name.
//!
//! Layers, later ones win: the defaults below, the data set's `[recipe]`, its `[profiles.<name>]`, a configuration
//! file, `--set section.key=value`.

use std::{fmt, path::PathBuf};

use scgs_cam::{CamMethod, Epsilon, MaskRule, Repaint};
use scgs_cluster::PickOrder;
use scgs_data::{Definition, HabitatConfig};
use scgs_models::Architecture;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::Error;

/// All settings that can change a result, except the seed and the list of arms.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How pictures are read.
    pub data: DataSettings,
    /// How the embedded data set is composed; without effect on others.
    pub habitat: HabitatConfig,
    /// The network.
    pub backbone: BackboneSettings,
    /// How every arm is trained.
    pub train: TrainSettings,
    /// Which training pictures count as mistakes.
    pub identify: IdentifySettings,
    /// How the mistakes are grouped.
    pub cluster: ClusterSettings,
    /// Where the classifier looks.
    pub attention: AttentionSettings,
    /// Which part of a picture is repainted.
    pub mask: MaskSettings,
    /// What is painted, and how often.
    pub synthesis: SynthesisSettings,
    /// Just Train Twice.
    pub jtt: JttSettings,
}

/// `[data]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataSettings {
    /// How many unreadable pictures may be left out of a run (they are listed by id and reason).
    pub max_bad_pictures: usize,
}

/// `[backbone]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BackboneSettings {
    /// The architecture.
    pub architecture: Architecture,
    /// `imagenet` (the file in `datasets/weights`), `none` (random, seeded), or a path to `.safetensors` or `.pth`.
    pub weights: String,
    /// Side of the square input in pixels, 32..=512.
    pub input_size: usize,
}

impl Default for BackboneSettings {
    fn default() -> Self {
        Self { architecture: Architecture::EfficientNetLite0, weights: "imagenet".into(), input_size: 224 }
    }
}

/// What is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrainMode {
    /// The last layer on frozen features, solved to convergence.
    Head,
    /// Every parameter, by mini-batches.
    Full,
}

/// `[train]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainSettings {
    /// `head` or `full`.
    pub mode: TrainMode,
    /// Inverse L2 strength of the head's logistic regression on standardised features (scikit-learn's `C`), above 0.
    pub c: f64,
    /// Passes over the real training set that fix the number of mini-batch steps of every arm (mode `full`).
    pub epochs: usize,
    /// Pictures per step (mode `full`).
    pub batch: usize,
    /// Peak learning rate of SGD with momentum 0.9 and a cosine schedule (mode `full`).
    pub learning_rate: f64,
    /// Weight decay as in PyTorch's SGD (mode `full`).
    pub weight_decay: f64,
}

impl Default for TrainSettings {
    fn default() -> Self {
        Self { mode: TrainMode::Head, c: 1e-3, epochs: 10, batch: 32, learning_rate: 1e-3, weight_decay: 1e-4 }
    }
}

/// Which training pictures count as mistakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdentifyRule {
    /// Training errors of a classifier stopped after `identify.epoch` epochs (JTT, Liu et al. 2021).
    EarlyEpoch,
    /// Errors of k-fold held-out predictions of a head on the ERM features.
    HeldOut,
    /// The same on features of the background: the mean over the half of the last map's cells with the lowest norm.
    Background,
}

impl IdentifyRule {
    /// The name used in configuration files.
    pub fn name(self) -> &'static str {
        match self {
            Self::EarlyEpoch => "early-epoch",
            Self::HeldOut => "held-out",
            Self::Background => "background",
        }
    }

    /// The settings that change what the rule finds, for messages.
    pub fn settings(self) -> &'static str {
        match self {
            Self::EarlyEpoch => {
                "identify.rule (background finds most), identify.epoch (lower) or identify.learning_rate (lower)"
            }
            Self::HeldOut => "identify.rule (background finds most), identify.c (lower) or identify.folds",
            Self::Background => "identify.c (lower) or identify.folds",
        }
    }
}

/// `[identify]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IdentifySettings {
    /// `early-epoch`, `held-out` or `background`.
    pub rule: IdentifyRule,
    /// Folds of the held-out rules, 2..=20; stratified by class.
    pub folds: usize,
    /// Inverse L2 strength of the held-out heads, above 0.
    pub c: f64,
    /// Epochs of the early-stopped head (rule `early-epoch`).
    pub epoch: usize,
    /// Learning rate of the early-stopped head (rule `early-epoch`).
    pub learning_rate: f64,
}

impl Default for IdentifySettings {
    fn default() -> Self {
        Self { rule: IdentifyRule::Background, folds: 5, c: 1e-3, epoch: 1, learning_rate: 1e-4 }
    }
}

/// How many clusters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ClusterCount {
    /// So many.
    Fixed(usize),
    /// As many as give the highest silhouette.
    Chosen(Auto),
}

/// The word `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Auto {
    /// `auto`
    Auto,
}

/// `[cluster]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClusterSettings {
    /// Clusters per class, or `auto`: by silhouette; a class with fewer mistakes gets as many clusters as mistakes.
    pub k: ClusterCount,
    /// Restarts of k-means.
    pub n_init: usize,
    /// Whether features are scaled to length 1 first.
    pub l2_normalise: bool,
    /// Principal components to keep; 0 keeps the features as they are.
    pub pca: usize,
    /// Which members of a cluster are picked first: `uniform` (at random) or `nearest-to-centre`.
    pub order: PickOrder,
}

impl Default for ClusterSettings {
    fn default() -> Self {
        Self { k: ClusterCount::Fixed(3), n_init: 10, l2_normalise: false, pca: 0, order: PickOrder::Uniform }
    }
}

/// Which class the attention map explains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttentionTarget {
    /// The class the classifier answers: what misled it.
    Predicted,
    /// The label: where the evidence for the right answer is.
    True,
    /// True minus the strongest other class.
    Difference,
}

/// `[attention]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AttentionSettings {
    /// `gradcam`, `gradcam++`, `layercam`, ...
    pub method: CamMethod,
    /// A layer of the architecture, or `last`.
    pub layer: String,
    /// `predicted`, `true` or `difference`.
    pub target: AttentionTarget,
}

impl Default for AttentionSettings {
    fn default() -> Self {
        Self {
            method: CamMethod::GradCamPlusPlus { epsilon: Epsilon::Absolute(1e-6) },
            layer: "last".into(),
            target: AttentionTarget::True,
        }
    }
}

/// `[mask]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MaskSettings {
    /// How an attention map becomes a region.
    pub region: MaskRule,
    /// Which side of the region is repainted.
    pub repaint: Repaint,
    /// Smallest repainted share of a picture that is accepted, 0..1.
    pub min_area: f64,
    /// Largest repainted share of a picture that is accepted, 0..=1.
    pub max_area: f64,
    /// The shape of the random masks of the control.
    pub control: ControlShape,
    /// A folder of your own masks, `<id>.png` of the picture's size, white = repaint, used instead of attention. A
    /// picture without one is skipped. The files are read once per run: give changed masks another folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
}

/// The shape of a random mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ControlShape {
    /// A rectangle.
    Box,
    /// A connected region with an irregular border.
    Blob,
}

impl Default for MaskSettings {
    fn default() -> Self {
        Self {
            region: MaskRule::default(),
            repaint: Repaint::Complement,
            min_area: 0.02,
            max_area: 0.98,
            control: ControlShape::Box,
            folder: None,
        }
    }
}

/// `[synthesis]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SynthesisSettings {
    /// New pictures as a share of the real training set, above 0, up to 10; split equally over the classes.
    pub share: f64,
    /// Width of the soft seam: sigma in pixels, 0..=32.
    pub feather: f32,
}

impl Default for SynthesisSettings {
    fn default() -> Self {
        Self { share: 0.5, feather: 1.5 }
    }
}

/// `[jtt]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JttSettings {
    /// How often each picture of the error set occurs in training (lambda of Liu et al. 2021), at least 1.
    pub upweight: usize,
}

impl Default for JttSettings {
    fn default() -> Self {
        Self { upweight: 20 }
    }
}

/// One impossible setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Such as `identify.folds`.
    pub key: &'static str,
    /// The value given.
    pub value: String,
    /// The values that are possible.
    pub expected: &'static str,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}, expected {}", self.key, self.value, self.expected)
    }
}

impl Settings {
    /// Merges the layers and checks the result. `file` is a configuration file's name and content.
    ///
    /// # Errors
    /// [`Error::Config`] for unreadable TOML, unknown keys and wrong types, naming the layer; [`Error::Settings`] for
    /// values out of range, all at once.
    pub fn resolve(
        definition: &Definition,
        profile: Option<&str>,
        file: Option<(String, toml::Table)>,
        sets: &[String],
    ) -> Result<Self, Error> {
        let mut merged = toml::Table::new();
        let name = &definition.name;
        layer(&mut merged, definition.recipe.clone(), &format!("[recipe] of data set {name}"))?;
        if let Some(profile) = profile {
            let table = definition.profiles.get(profile).ok_or_else(|| Error::Config {
                origin: "--profile".into(),
                message: format!(
                    "data set {name} has no profile `{profile}`; it has: {}",
                    definition.profiles.keys().cloned().collect::<Vec<_>>().join(", ")
                ),
            })?;
            layer(&mut merged, table.clone(), &format!("[profiles.{profile}] of data set {name}"))?;
        }
        if let Some((origin, table)) = file {
            layer(&mut merged, table, &origin)?;
        }
        for set in sets {
            layer(&mut merged, parse_set(set)?, &format!("--set {set}"))?;
        }
        let settings: Self = merged.try_into().map_err(|e: toml::de::Error| config_error("settings", &e))?;
        settings.check()?;
        Ok(settings)
    }

    /// Refuses impossible values, all at once, before anything long starts.
    ///
    /// # Errors
    /// [`Error::Settings`].
    pub fn check(&self) -> Result<(), Error> {
        self.habitat.check()?;
        let mut problems = Vec::new();
        let mut require = |holds: bool, key, value: &dyn fmt::Display, expected| {
            if !holds {
                problems.push(Problem { key, value: value.to_string(), expected });
            }
        };
        let positive = |v: f64| v > 0.0 && v.is_finite();
        let t = &self.train;
        require(
            (32..=512).contains(&self.backbone.input_size),
            "backbone.input_size",
            &self.backbone.input_size,
            "32 to 512",
        );
        require(positive(t.c), "train.c", &t.c, "a number above 0");
        require((1..=10_000).contains(&t.epochs), "train.epochs", &t.epochs, "1 to 10000");
        require((1..=4096).contains(&t.batch), "train.batch", &t.batch, "1 to 4096");
        require(positive(t.learning_rate), "train.learning_rate", &t.learning_rate, "a number above 0");
        require(
            t.weight_decay >= 0.0 && t.weight_decay.is_finite(),
            "train.weight_decay",
            &t.weight_decay,
            "0 or more",
        );
        let i = &self.identify;
        require((2..=20).contains(&i.folds), "identify.folds", &i.folds, "2 to 20");
        require(positive(i.c), "identify.c", &i.c, "a number above 0");
        require((1..=10_000).contains(&i.epoch), "identify.epoch", &i.epoch, "1 to 10000");
        require(positive(i.learning_rate), "identify.learning_rate", &i.learning_rate, "a number above 0");
        if let ClusterCount::Fixed(k) = self.cluster.k {
            require((1..=1000).contains(&k), "cluster.k", &k, "1 to 1000, or auto");
        }
        require((1..=1000).contains(&self.cluster.n_init), "cluster.n_init", &self.cluster.n_init, "1 to 1000");
        let m = &self.mask;
        require((0.0..1.0).contains(&m.min_area), "mask.min_area", &m.min_area, "0 up to, not including, 1");
        require(
            m.max_area > m.min_area && m.max_area <= 1.0,
            "mask.max_area",
            &m.max_area,
            "above mask.min_area, at most 1",
        );
        let s = &self.synthesis;
        require(positive(s.share) && s.share <= 10.0, "synthesis.share", &s.share, "above 0, at most 10");
        require((0.0..=32.0).contains(&s.feather), "synthesis.feather", &s.feather, "0 to 32");
        require((1..=1_000_000).contains(&self.jtt.upweight), "jtt.upweight", &self.jtt.upweight, "1 to 1000000");
        if problems.is_empty() { Ok(()) } else { Err(Error::Settings(problems)) }
    }

    /// Twelve hexadecimal digits that change with every setting and with `identity`: the data set, the device and the
    /// hash of the weights.
    pub fn hash(&self, identity: &[&str]) -> String {
        let text = toml::to_string(self).expect("settings are plain TOML values");
        let mut hasher = Sha256::new();
        for part in identity.iter().copied().chain([text.as_str()]) {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        hasher.finalize().iter().take(6).map(|b| format!("{b:02x}")).collect()
    }
}

fn config_error(origin: &str, error: &toml::de::Error) -> Error {
    Error::Config { origin: origin.to_owned(), message: error.to_string().trim_end().to_owned() }
}

/// Lays `table` over `base`. Checking each layer by itself lets the message name the one that is wrong.
fn layer(base: &mut toml::Table, table: toml::Table, origin: &str) -> Result<(), Error> {
    table.clone().try_into::<Settings>().map_err(|e: toml::de::Error| config_error(origin, &e))?;
    merge(base, table);
    Ok(())
}

/// Tables merge key by key; `mask.region` is replaced whole, because the parameters of two rules do not mix.
fn merge(base: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(toml::Value::Table(old)), toml::Value::Table(new)) if key != "region" => merge(old, new),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

/// `section.key=value`; the value is TOML, or a plain word.
fn parse_set(set: &str) -> Result<toml::Table, Error> {
    let bad = |message: String| Error::Config { origin: format!("--set {set}"), message };
    let (path, value) = set.split_once('=').ok_or_else(|| bad("expected section.key=value".into()))?;
    let value = format!("v={value}")
        .parse::<toml::Table>()
        .ok()
        .and_then(|mut t| t.remove("v"))
        .unwrap_or_else(|| toml::Value::String(value.to_owned()));
    let mut keys: Vec<&str> = path.split('.').map(str::trim).collect();
    if keys.iter().any(|k| k.is_empty()) {
        return Err(bad("expected section.key=value".into()));
    }
    let last = keys.pop().expect("split yields at least one part");
    let mut table = toml::Table::from_iter([(last.to_owned(), value)]);
    for key in keys.into_iter().rev() {
        table = toml::Table::from_iter([(key.to_owned(), toml::Value::Table(table))]);
    }
    Ok(table)
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;

//! Every setting of a run: read from TOML, checked all at once, hashed into the run's folder name.
//!
//! Layers, later ones win: the defaults below, the data set's `[recipe]`, its `[profiles.<name>]`, a configuration
//! file, `--set section.key=value`.

mod checkpoint;
mod diffusion;
mod identify;
mod input;
mod layers;
mod mask;
mod methods;
mod per_method;
mod relevance;
mod synthesis;
mod train;

use std::{collections::BTreeMap, fmt};

use scgs_data::{Definition, HabitatConfig};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use checkpoint::CheckpointSettings;
pub use diffusion::{DiffusionSettings, Dtype};
pub use identify::{Auto, ClusterCount, ClusterSettings, IdentifyRule, IdentifySettings};
pub use input::{BackboneSettings, DataSettings};
pub use mask::{ControlShape, MaskSettings};
pub use methods::{
    AfrSettings, CncSettings, CvarDroSettings, DfrSettings, DfrSplit, GroupDroSettings, JttSettings, LffSettings,
    LisaMix, LisaSettings, MasktuneSettings, MixSettings, Penalty, PretrainSettings,
};
pub use per_method::MethodTraining;
pub use synthesis::{FillKind, FilterSettings, InpainterKind, SmallSettings, SynthesisSettings};
pub use train::{Augment, HeadSettings, TrainMode, TrainSettings};

use crate::{Error, look::Look, methods::Method};
use layers::{config_error, layer, parse_set};

/// All settings, except the seed and the list of arms. But for [`CheckpointSettings`] each can change a result.
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
    pub attention: Look,
    /// Which part of a picture is repainted.
    pub mask: MaskSettings,
    /// What is painted, and how often.
    pub synthesis: SynthesisSettings,
    /// Just Train Twice.
    pub jtt: JttSettings,
    /// Group DRO.
    pub groupdro: GroupDroSettings,
    /// Conditional value at risk.
    pub cvar_dro: CvarDroSettings,
    /// Deep feature reweighting.
    pub dfr: DfrSettings,
    /// Automatic feature reweighting.
    pub afr: AfrSettings,
    /// Learning from failure.
    pub lff: LffSettings,
    /// mixup.
    pub mixup: MixSettings,
    /// CutMix.
    pub cutmix: MixSettings,
    /// LISA.
    pub lisa: LisaSettings,
    /// MaskTune.
    pub masktune: MasktuneSettings,
    /// Correct-n-Contrast.
    pub cnc: CncSettings,
    /// New pictures first, real ones after.
    pub pretrain: PretrainSettings,
    /// What interrupted trainings go on from.
    pub checkpoint: CheckpointSettings,
    /// What single methods are trained with instead of `[train]`, by their names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub methods: BTreeMap<String, MethodTraining>,
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

/// Collects what is wrong, so that all of it can be said at once.
#[derive(Debug, Default)]
struct Checks {
    problems: Vec<Problem>,
}

impl Checks {
    /// Notes a problem unless `holds`.
    fn require(&mut self, holds: bool, key: &'static str, value: &dyn fmt::Display, expected: &'static str) {
        if !holds {
            self.problems.push(Problem { key, value: value.to_string(), expected });
        }
    }
}

/// Above 0 and finite.
fn positive(v: f64) -> bool {
    v > 0.0 && v.is_finite()
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
        let mut checks = Checks::default();
        self.backbone.check(&mut checks);
        self.train.check(&mut checks);
        self.checkpoint.check(&mut checks);
        self.identify.check(&mut checks);
        self.cluster.check(&mut checks);
        self.attention.check(&mut checks);
        self.mask.check(&mut checks);
        self.synthesis.check(&mut checks);
        methods::check(self, &mut checks);
        per_method::check(&self.methods, &mut checks);
        let problems = checks.problems;
        if problems.is_empty() { Ok(()) } else { Err(Error::Settings(problems)) }
    }

    /// How `method` is trained: `[train]`, with `[methods.<name>]` over it.
    pub fn train_for(&self, method: Method) -> TrainSettings {
        self.methods.get(method.name()).map_or_else(|| self.train.clone(), |own| own.over(&self.train))
    }

    /// Twelve hexadecimal digits that change with every setting and with `identity`: the data set, the device and the
    /// hash of the weights.
    ///
    /// `[checkpoint]` changes no result and is left out. Only what differs from the defaults is hashed, so that a new setting leaves the names of finished runs as they are. A
    /// changed default is a new format of runs: a test asks for it.
    pub fn hash(&self, identity: &[&str]) -> String {
        let table = |settings: &Self| toml::Table::try_from(settings).expect("settings are plain TOML values");
        let named = Self { checkpoint: CheckpointSettings::default(), ..self.clone() };
        let text = differences(&table(&named), &table(&Self::default())).to_string();
        let mut hasher = Sha256::new();
        for part in identity.iter().copied().chain([text.as_str()]) {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        hasher.finalize().iter().take(6).map(|b| format!("{b:02x}")).collect()
    }
}

/// The keys whose values differ from those of `base`, tables key by key; a key that only `base` has is marked as unset.
fn differences(table: &toml::Table, base: &toml::Table) -> toml::Table {
    let mut found = toml::Table::new();
    for (key, value) in table {
        match (value, base.get(key)) {
            (value, Some(default)) if value == default => {}
            (toml::Value::Table(inner), Some(toml::Value::Table(default))) => {
                found.insert(key.clone(), differences(inner, default).into());
            }
            _ => {
                found.insert(key.clone(), value.clone());
            }
        }
    }
    for key in base.keys().filter(|key| !table.contains_key(*key)) {
        found.insert(key.clone(), "(unset)".into());
    }
    found
}

#[cfg(test)]
mod tests;

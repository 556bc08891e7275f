//! `scheduler_config.json` of a model folder.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{
    Prediction, Scheduler, SchedulerKind, ddim::Ddim, dpmpp::DpmPp, euler::Euler, euler_a::EulerA, lcm::Lcm,
    levels::Alphas, pndm::Pndm,
};

/// The most training steps that are believed; every published model has 1000.
const MOST_TRAIN_STEPS: usize = 1_000_000;

/// The fields that are true or false.
const SWITCHES: [&str; 12] = [
    "clip_sample",
    "set_alpha_to_one",
    "rescale_betas_zero_snr",
    "thresholding",
    "use_karras_sigmas",
    "use_exponential_sigmas",
    "use_beta_sigmas",
    "use_lu_lambdas",
    "use_flow_sigmas",
    "lower_order_final",
    "euler_at_final",
    "skip_prk_steps",
];

/// Why a scheduler cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SchedulerError {
    /// Occurs when the configuration cannot be read. The message of `fs_err` names the path.
    #[error("{0}; a Stable Diffusion folder has scheduler/scheduler_config.json")]
    Io(#[from] std::io::Error),
    /// Occurs when the configuration is no JSON object.
    #[error("{}: not a scheduler configuration: {reason}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What the JSON reader found.
        reason: String,
    },
    /// Occurs when a field has a value that no scheduler here knows.
    #[error("{}: `{field}` is {found}, supported: {supported}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The field's name.
        field: String,
        /// Its value.
        found: String,
        /// What it may be.
        supported: String,
    },
    /// Occurs when the folder's own scheduler is none of those here.
    #[error(
        "{}: the scheduler {class} is not supported; choose one of ddim, pndm, dpmpp-2m, euler, euler-a, lcm with --scheduler",
        path.display()
    )]
    Class {
        /// The file.
        path: PathBuf,
        /// diffusers' name of the class.
        class: String,
    },
    /// Occurs when a name is that of no scheduler.
    #[error("no scheduler is called `{0}`; choose one of ddim, pndm, dpmpp-2m, euler, euler-a, lcm")]
    UnknownKind(String),
    /// Occurs when no step is asked for.
    #[error("0 steps were asked for; ask for at least 1")]
    NoSteps,
    /// Occurs when the steps cannot be told apart.
    #[error("{steps} steps are too many for {kind}{}", match most { Some(most) => format!(": at most {most}"), None => ": ask for fewer".into() })]
    TooManySteps {
        /// How many were asked for.
        steps: usize,
        /// The scheduler.
        kind: SchedulerKind,
        /// How many it can do, where that is known.
        most: Option<usize>,
    },
    /// Occurs when a step falls where the network was not trained, by `steps_offset` or by too many steps.
    #[error("with {steps} steps one falls on the timestep {found}, outside of 0 to {}; ask for fewer steps", train_steps - 1)]
    Timestep {
        /// The timestep.
        found: f64,
        /// How many steps were asked for.
        steps: usize,
        /// How many training steps there are.
        train_steps: usize,
    },
    /// Occurs when the strength leaves no step, or is no share.
    #[error("strength {strength} of {steps} steps leaves nothing to do; give a strength in (0, 1], at least {}", 1.0 / *steps as f64)]
    Strength {
        /// The strength.
        strength: f64,
        /// How many steps were asked for.
        steps: usize,
    },
}

/// How the betas of the training steps rise.
#[derive(Clone, Debug)]
pub(super) enum Betas {
    Given(Vec<f32>),
    Linear,
    ScaledLinear,
    SquaredCosine,
}

/// Which training steps are taken: the rows of table 2 of Lin et al. (2024).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spacing {
    Leading,
    Trailing,
    Linspace,
}

/// The noise level after the last step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FinalSigma {
    Zero,
    Least,
}

/// A checked `scheduler_config.json`. Fields that a scheduler does not know are ignored and fields that are missing have the
/// default of the scheduler's class, as in diffusers' `from_config`.
#[derive(Clone, Debug)]
pub struct SchedulerConfig {
    path: PathBuf,
    fields: Map<String, Value>,
    /// Given by [`SchedulerConfig::scheduler`], whose class has its own defaults.
    kind: Option<SchedulerKind>,
    betas: Option<Betas>,
    train_steps: usize,
    steps_offset: Option<usize>,
}

impl SchedulerConfig {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`SchedulerError::Io`], [`SchedulerError::Json`] or [`SchedulerError::Unsupported`].
    pub fn read(path: &Path) -> Result<Self, SchedulerError> {
        Self::parse(&fs_err::read_to_string(path)?, path)
    }

    /// Reads the text of a file; `path` is for messages.
    ///
    /// # Errors
    /// [`SchedulerError::Json`] or [`SchedulerError::Unsupported`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, SchedulerError> {
        let json = |reason: String| SchedulerError::Json { path: path.to_owned(), reason };
        // Python writes infinities bare, as in `"lambda_min_clipped": -Infinity`, which JSON does not have.
        let text = text.replace(": -Infinity", ": null").replace(": Infinity", ": null").replace(": NaN", ": null");
        let Value::Object(mut fields) = serde_json::from_str(&text).map_err(|error| json(error.to_string()))? else {
            return Err(json("expected a JSON object".into()));
        };
        fields.retain(|_, value| !value.is_null());
        let mut config =
            Self { path: path.to_owned(), fields, kind: None, betas: None, train_steps: 1000, steps_offset: None };
        config.betas = config.read_betas()?;
        config.steps_offset = config.whole("steps_offset")?;
        let count = config.whole("num_train_timesteps")?;
        let given = if let Some(Betas::Given(betas)) = &config.betas { Some(betas.len()) } else { None };
        config.train_steps = count.or(given).unwrap_or(config.train_steps);
        if let Some(given) = given.filter(|given| *given != config.train_steps) {
            let supported = format!("{given}, the number of `trained_betas`");
            return Err(config.unsupported("num_train_timesteps", &config.train_steps.to_string(), &supported));
        }
        if !(2..=MOST_TRAIN_STEPS).contains(&config.train_steps) {
            return Err(config.unsupported("num_train_timesteps", &config.train_steps.to_string(), "2 to 1000000"));
        }
        config.prediction()?;
        for switch in SWITCHES {
            if config.fields.get(switch).is_some_and(|value| !value.is_boolean()) {
                return Err(config.unsupported(switch, &config.shown(switch), "true or false"));
            }
        }
        for (field, start) in [("beta_start", true), ("beta_end", false)] {
            let value = config.beta(start);
            if !(value > 0.0 && value < 1.0) || config.number(field).is_err() {
                return Err(config.unsupported(field, &config.shown(field), "a number between 0 and 1"));
            }
        }
        Ok(config)
    }

    /// The scheduler that the file names.
    ///
    /// # Errors
    /// [`SchedulerError::Class`] when it is none of those here.
    pub fn kind(&self) -> Result<SchedulerKind, SchedulerError> {
        let class = self.fields.get("_class_name").and_then(Value::as_str).unwrap_or("without _class_name");
        let found = SchedulerKind::ALL.into_iter().find(|kind| kind.class_name() == class);
        found.ok_or_else(|| SchedulerError::Class { path: self.path.clone(), class: class.to_owned() })
    }

    /// What diffusers' Stable Diffusion pipelines correct in a folder's configuration: `steps_offset` is 1, both for the
    /// folder's own scheduler and for every other one when the file has the field at all.
    #[must_use]
    pub fn in_pipeline(mut self, kind: SchedulerKind) -> Self {
        if self.steps_offset.is_some() || self.kind().is_ok_and(|own| own == kind) {
            self.steps_offset = Some(1);
        }
        self
    }

    /// The same settings for a network that predicts the velocity, or the noise.
    #[must_use]
    pub fn with_v_prediction(mut self, v_prediction: bool) -> Self {
        let prediction = if v_prediction { "v_prediction" } else { "epsilon" };
        self.fields.insert("prediction_type".to_owned(), prediction.into());
        self
    }

    /// Makes a scheduler of `kind` for `steps` steps from these settings, as `from_config` and `set_timesteps`.
    ///
    /// # Errors
    /// [`SchedulerError`] for 0 steps, more steps than the scheduler can tell apart, or a value that `kind` does not
    /// support.
    pub fn scheduler(&self, kind: SchedulerKind, steps: usize) -> Result<Box<dyn Scheduler>, SchedulerError> {
        if steps == 0 {
            return Err(SchedulerError::NoSteps);
        }
        if steps > self.train_steps {
            return Err(SchedulerError::TooManySteps { steps, kind, most: Some(self.train_steps) });
        }
        let config = Self { kind: Some(kind), ..self.clone() };
        Ok(match kind {
            SchedulerKind::Ddim => Box::new(Ddim::new(&config, steps)?),
            SchedulerKind::Pndm => Box::new(Pndm::new(&config, steps)?),
            SchedulerKind::DpmPp2M => Box::new(DpmPp::new(&config, steps)?),
            SchedulerKind::Euler => Box::new(Euler::new(&config, steps)?),
            SchedulerKind::EulerA => Box::new(EulerA::new(&config, steps)?),
            SchedulerKind::Lcm => Box::new(Lcm::new(&config, steps)?),
        })
    }

    pub(super) fn unsupported(&self, field: &str, found: &str, supported: &str) -> SchedulerError {
        SchedulerError::Unsupported {
            path: self.path.clone(),
            field: field.to_owned(),
            found: found.to_owned(),
            supported: supported.to_owned(),
        }
    }

    fn shown(&self, field: &str) -> String {
        self.fields.get(field).map_or_else(|| "missing".into(), Value::to_string)
    }

    fn read_betas(&self) -> Result<Option<Betas>, SchedulerError> {
        if let Some(given) = self.fields.get("trained_betas") {
            let betas: Option<Vec<f32>> =
                given.as_array().and_then(|list| list.iter().map(|v| v.as_f64().map(|v| v as f32)).collect());
            return match betas {
                Some(betas) if betas.iter().all(|beta| *beta > 0.0 && *beta < 1.0) => Ok(Some(Betas::Given(betas))),
                _ => Err(self.unsupported("trained_betas", "something else", "a list of numbers between 0 and 1")),
            };
        }
        Ok(Some(match self.require("beta_schedule", &["linear", "scaled_linear", "squaredcos_cap_v2"])? {
            None => return Ok(None),
            Some("linear") => Betas::Linear,
            Some("scaled_linear") => Betas::ScaledLinear,
            Some(_) => Betas::SquaredCosine,
        }))
    }

    /// LCM's class has other defaults than the rest.
    fn is_lcm(&self) -> bool {
        self.kind == Some(SchedulerKind::Lcm)
    }

    pub(super) fn betas(&self) -> Betas {
        self.betas.clone().unwrap_or(if self.is_lcm() { Betas::ScaledLinear } else { Betas::Linear })
    }

    fn beta(&self, start: bool) -> f64 {
        let (field, others, lcm) = if start { ("beta_start", 0.0001, 0.00085) } else { ("beta_end", 0.02, 0.012) };
        let default = if self.is_lcm() { lcm } else { others };
        self.fields.get(field).and_then(Value::as_f64).unwrap_or(default)
    }

    pub(super) fn alphas(&self, zero_snr: bool) -> Alphas {
        Alphas::new(&self.betas(), self.beta(true), self.beta(false), self.train_steps, zero_snr)
    }

    pub(super) fn train_steps(&self) -> usize {
        self.train_steps
    }

    pub(super) fn offset(&self) -> usize {
        self.steps_offset.unwrap_or(0)
    }

    pub(super) fn prediction(&self) -> Result<Prediction, SchedulerError> {
        Ok(match self.require("prediction_type", &["epsilon", "v_prediction", "sample"])? {
            None | Some("epsilon") => Prediction::Epsilon,
            Some("v_prediction") => Prediction::V,
            Some(_) => Prediction::Sample,
        })
    }

    pub(super) fn spacing(&self, default: Spacing) -> Result<Spacing, SchedulerError> {
        Ok(match self.require("timestep_spacing", &["leading", "trailing", "linspace"])? {
            None => default,
            Some("leading") => Spacing::Leading,
            Some("trailing") => Spacing::Trailing,
            Some(_) => Spacing::Linspace,
        })
    }

    pub(super) fn final_sigma(&self) -> Result<FinalSigma, SchedulerError> {
        Ok(match self.require("final_sigmas_type", &["zero", "sigma_min"])? {
            Some("sigma_min") => FinalSigma::Least,
            _ => FinalSigma::Zero,
        })
    }

    pub(super) fn zero_snr(&self) -> bool {
        self.flag("rescale_betas_zero_snr", false)
    }

    pub(super) fn karras(&self) -> bool {
        self.flag("use_karras_sigmas", false)
    }

    pub(super) fn alpha_to_one(&self, default: bool) -> bool {
        self.flag("set_alpha_to_one", default)
    }

    /// How far clean latents may go, where they are clipped.
    pub(super) fn clip(&self, default: bool) -> Option<f64> {
        let range = self.fields.get("clip_sample_range").and_then(Value::as_f64).unwrap_or(1.0);
        self.flag("clip_sample", default).then_some(range)
    }

    pub(super) fn flag(&self, field: &str, default: bool) -> bool {
        self.fields.get(field).and_then(Value::as_bool).unwrap_or(default)
    }

    pub(super) fn number(&self, field: &str) -> Result<Option<f64>, SchedulerError> {
        match self.fields.get(field) {
            None => Ok(None),
            Some(value) => match value.as_f64() {
                Some(number) => Ok(Some(number)),
                None => Err(self.unsupported(field, &value.to_string(), "a number")),
            },
        }
    }

    pub(super) fn whole(&self, field: &str) -> Result<Option<usize>, SchedulerError> {
        match self.fields.get(field) {
            None => Ok(None),
            Some(value) => match value.as_u64().and_then(|number| usize::try_from(number).ok()) {
                Some(number) if number <= MOST_TRAIN_STEPS => Ok(Some(number)),
                _ => Err(self.unsupported(field, &value.to_string(), "a whole number up to 1000000")),
            },
        }
    }

    /// The text of a field that must be one of `supported` if it is there.
    pub(super) fn require(
        &self,
        field: &str,
        supported: &[&'static str],
    ) -> Result<Option<&'static str>, SchedulerError> {
        let Some(value) = self.fields.get(field) else {
            return Ok(None);
        };
        match supported.iter().find(|name| value.as_str() == Some(**name)) {
            Some(name) => Ok(Some(name)),
            None => Err(self.unsupported(field, &value.to_string(), &supported.join(", "))),
        }
    }

    /// Dynamic thresholding is for pixels: diffusers calls it unsuitable for latents.
    pub(super) fn refuse_thresholding(&self) -> Result<(), SchedulerError> {
        self.refuse_switches(&["thresholding"])
    }

    /// Where there is nothing but noise, a prediction of the noise says nothing about the picture.
    pub(super) fn refuse_noise_alone(
        &self,
        prediction: Prediction,
        alphas: &Alphas,
        timesteps: &[f64],
    ) -> Result<(), SchedulerError> {
        if prediction == Prediction::Epsilon && timesteps.iter().any(|t| alphas.at(*t as usize) == 0.0) {
            let supported = "false, or true with `prediction_type` v_prediction or sample";
            return Err(self.unsupported("rescale_betas_zero_snr", "true", supported));
        }
        Ok(())
    }

    /// Refuses switches that are on.
    pub(super) fn refuse_switches(&self, switches: &[&str]) -> Result<(), SchedulerError> {
        match switches.iter().find(|field| self.flag(field, false)) {
            Some(field) => Err(self.unsupported(field, "true", "false")),
            None => Ok(()),
        }
    }
}

//! The debiasing methods of the field. A [`TrainingMethod`] tells a [`Trainer`] what to do; the trainers do it to the
//! last layer on frozen features or to a whole network.
//!
//! What a method is told about groups is part of it: [`Method::sees_groups`]. Group numbers reach a method as
//! [`Groups`], which exist only for those that may see them.

mod afr;
mod cnc;
mod dfr;
mod error_sets;
mod groups;
mod lff;
mod mixing;
pub mod objective;
mod robust;
mod weighting;

use std::fmt;

pub use groups::Groups;

use crate::{
    Error, Settings,
    arms::SeesGroups,
    minibatch::{Mixing, Objective, Pull, Sampler},
    settings::{DfrSplit, Penalty},
};
use objective::Risk;

/// How an arm learns from its pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// Empirical risk minimisation: every picture counts the same.
    Erm,
    /// ERM with `train.long` times the steps: the control for methods that train twice.
    ErmLong,
    /// Every class counts the same. SubpopBench's ReWeight without attributes; see [`Self::OracleReweight`].
    Reweight,
    /// Every class is drawn equally often. SubpopBench's ReSample without attributes; see [`Self::OracleResample`].
    Resample,
    /// Every group is cut down to the smallest (SUBG, Idrissi et al. 2022).
    Subg,
    /// Just Train Twice (Liu et al. 2021): mistakes count `jtt.upweight` times.
    Jtt,
    /// Group distributionally robust optimisation (Sagawa et al. 2020).
    GroupDro,
    /// Conditional value at risk over examples (Levy et al. 2020).
    CvarDro,
    /// Deep feature reweighting (Kirichenko et al. 2023): the last layer fitted again on group-balanced data.
    Dfr,
    /// Automatic feature reweighting (Qiu et al. 2023): the last layer fitted again on held-out data, by difficulty.
    Afr,
    /// Learning from failure (Nam et al. 2020).
    Lff,
    /// mixup (Zhang et al. 2018).
    Mixup,
    /// CutMix (Yun et al. 2019).
    Cutmix,
    /// LISA (Yao et al. 2022): mixes across domains within a class, or across classes within a domain.
    Lisa,
    /// MaskTune (Asgari et al. 2022): one more epoch on pictures without what the classifier looked at most.
    Masktune,
    /// Correct-n-Contrast (Zhang et al. 2022).
    Cnc,
    /// New pictures first, real ones after (From Fake to Real, Qraitem et al. 2024).
    Pretrain,
    /// Every group counts the same (oracle), as in group_DRO's `--reweight_groups`.
    OracleReweight,
    /// Every group is drawn equally often (oracle).
    OracleResample,
}

impl Method {
    /// Every method, in the order of the table.
    pub const ALL: [Self; 19] = [
        Self::Erm,
        Self::ErmLong,
        Self::Reweight,
        Self::Resample,
        Self::Subg,
        Self::Jtt,
        Self::GroupDro,
        Self::CvarDro,
        Self::Dfr,
        Self::Afr,
        Self::Lff,
        Self::Mixup,
        Self::Cutmix,
        Self::Lisa,
        Self::Masktune,
        Self::Cnc,
        Self::Pretrain,
        Self::OracleReweight,
        Self::OracleResample,
    ];

    /// The name in `--methods`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Erm => "erm",
            Self::ErmLong => "erm-long",
            Self::Reweight => "reweight",
            Self::Resample => "resample",
            Self::Subg => "subg",
            Self::Jtt => "jtt",
            Self::GroupDro => "groupdro",
            Self::CvarDro => "cvar-dro",
            Self::Dfr => "dfr",
            Self::Afr => "afr",
            Self::Lff => "lff",
            Self::Mixup => "mixup",
            Self::Cutmix => "cutmix",
            Self::Lisa => "lisa",
            Self::Masktune => "masktune",
            Self::Cnc => "cnc",
            Self::Pretrain => "pretrain",
            Self::OracleReweight => "oracle-reweight",
            Self::OracleResample => "oracle-resample",
        }
    }

    /// What the method is told about groups. Selection is a setting of the run (`train.selection`), not of a method.
    pub const fn sees_groups(self) -> SeesGroups {
        let training = matches!(
            self,
            Self::Subg | Self::GroupDro | Self::Dfr | Self::Lisa | Self::OracleReweight | Self::OracleResample
        );
        SeesGroups { training, selection: false }
    }

    /// Whether the method needs the error set of stage 2.
    pub const fn needs_errors(self) -> bool {
        matches!(self, Self::Jtt)
    }

    /// The method with its parameters.
    pub fn with(self, settings: &Settings) -> Box<dyn TrainingMethod> {
        match self {
            Self::Erm => Box::new(weighting::Erm { factor: 1.0 }),
            Self::ErmLong => Box::new(weighting::Erm { factor: settings.train.long }),
            Self::Reweight => Box::new(weighting::Reweight { by_group: false }),
            Self::OracleReweight => Box::new(weighting::Reweight { by_group: true }),
            Self::Resample => Box::new(weighting::Resample { by_group: false }),
            Self::OracleResample => Box::new(weighting::Resample { by_group: true }),
            Self::Subg => Box::new(weighting::Subg),
            Self::Jtt => Box::new(error_sets::Jtt { upweight: settings.jtt.upweight }),
            Self::GroupDro => Box::new(robust::GroupDroMethod(settings.groupdro.clone())),
            Self::CvarDro => Box::new(robust::CvarMethod(settings.cvar_dro.clone())),
            Self::Dfr => Box::new(dfr::Dfr(settings.dfr.clone())),
            Self::Afr => Box::new(afr::Afr(settings.afr.clone())),
            Self::Lff => Box::new(lff::LffMethod(settings.lff.clone())),
            Self::Mixup => Box::new(mixing::MixupMethod(settings.mixup.clone())),
            Self::Cutmix => Box::new(mixing::CutmixMethod(settings.cutmix.clone())),
            Self::Lisa => Box::new(mixing::LisaMethod(settings.lisa.clone())),
            Self::Masktune => Box::new(error_sets::Masktune(settings.masktune.clone())),
            Self::Cnc => Box::new(cnc::CncMethod(settings.cnc.clone())),
            Self::Pretrain => Box::new(error_sets::Pretrain { share: settings.pretrain.share }),
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A way to learn, with its parameters.
pub trait TrainingMethod: fmt::Debug {
    /// Tells `trainer` what to do with `data`. The last phase must be marked as such: models are selected in it.
    ///
    /// # Errors
    /// Those of the trainer, and [`Error::ImpossibleArm`] where the data lacks what the method needs.
    fn train(&self, data: &TrainingData, trainer: &mut dyn Trainer) -> Result<(), Error>;
}

/// The training examples of an arm, apart from their content, which the trainer has.
#[derive(Debug, Clone, Default)]
pub struct TrainingData {
    /// Class per example.
    pub labels: Vec<usize>,
    /// How often each example occurs: at least 1.
    pub repeats: Vec<usize>,
    /// Whether each example is a generated picture.
    pub synthetic: Vec<bool>,
    /// Number of classes.
    pub classes: usize,
    /// Examples of the error set; empty unless the method needs it.
    pub errors: Vec<usize>,
    /// Groups of the training examples, for methods that may see them.
    pub groups: Option<Groups>,
    /// Groups of the validation split, for methods that may see them.
    pub validation_groups: Option<Groups>,
    /// Class per picture of the validation split.
    pub validation_labels: Vec<usize>,
    /// Seed of the run and name of the arm, for random draws.
    pub stream: (u64, String),
}

impl TrainingData {
    /// Every example as often as it occurs.
    pub fn rows(&self) -> Vec<usize> {
        (0..self.labels.len()).flat_map(|i| std::iter::repeat_n(i, self.repeats[i])).collect()
    }

    /// The groups.
    ///
    /// # Errors
    /// [`Error::ImpossibleArm`] if the data has none.
    pub fn need_groups(&self, method: Method) -> Result<&Groups, Error> {
        self.groups.as_ref().ok_or_else(|| no_groups(method))
    }

    /// The groups of the validation split.
    ///
    /// # Errors
    /// [`Error::ImpossibleArm`] if the data has none.
    pub fn need_validation_groups(&self, method: Method) -> Result<&Groups, Error> {
        self.validation_groups.as_ref().ok_or_else(|| no_groups(method))
    }
}

fn no_groups(method: Method) -> Error {
    Error::ImpossibleArm {
        arm: method.name().into(),
        why: "it needs group labels and the data has none: leave it out of --methods".into(),
    }
}

/// Where a phase starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// From the starting weights.
    Fresh,
    /// From where the phase before ended.
    Continue,
}

/// What is computed for a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outputs {
    /// Logits.
    Logits,
    /// Logits of the model and of a second one beside it (LfF). The first is the result.
    TwoModels,
    /// Logits, and the features they are made from (CnC).
    Features,
}

/// What is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Whatever the trainer trains.
    Everything,
    /// The last layer alone.
    LastLayer,
}

/// How many steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Length {
    /// A multiple of the budget that all arms share, above 0.
    Budget(f64),
    /// Passes over the phase's own rows, at least 1.
    Epochs(usize),
}

/// What is changed in the pictures before a phase.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change {
    /// Nothing.
    None,
    /// The part the present model looks at most is blackened: attention above mean + `sigmas` standard deviations.
    MaskAttention {
        /// Above 0.
        sigmas: f64,
    },
}

/// A stretch of training.
pub struct Phase {
    /// For the log.
    pub name: &'static str,
    /// Where it starts.
    pub start: Start,
    /// What is trained.
    pub part: Part,
    /// A multiset of examples: one epoch.
    pub rows: Vec<usize>,
    /// Loss weight per example of the data.
    pub weights: Vec<f64>,
    /// The order of examples.
    pub sampler: Sampler,
    /// What is mixed.
    pub mixing: Mixing,
    /// What is minimised; `None` is weighted empirical risk, which has a unique solution for a last layer.
    pub objective: Option<Box<dyn Objective>>,
    /// What the objective needs.
    pub outputs: Outputs,
    /// How many steps.
    pub length: Length,
    /// Learning rate instead of the run's, for methods that publish one for their phase.
    pub rate: Option<f64>,
    /// All examples in every step, at a constant rate without momentum, with this pull instead of the run's
    /// regularisation.
    pub full_batch: Option<Pull>,
    /// What is changed in the pictures.
    pub change: Change,
    /// Whether this is the last phase: models are selected in it.
    pub last: bool,
}

impl fmt::Debug for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Phase").field("name", &self.name).field("rows", &self.rows.len()).finish_non_exhaustive()
    }
}

impl Phase {
    /// Plain empirical risk minimisation with the run's budget, as the last phase.
    pub fn risk(rows: Vec<usize>, examples: usize) -> Self {
        Self {
            name: "train",
            start: Start::Fresh,
            part: Part::Everything,
            rows,
            weights: vec![1.0; examples],
            sampler: Sampler::Shuffle,
            mixing: Mixing::None,
            objective: None,
            outputs: Outputs::Logits,
            length: Length::Budget(1.0),
            rate: None,
            full_batch: None,
            change: Change::None,
            last: true,
        }
    }

    /// The objective, plain empirical risk by default.
    pub fn objective(&mut self) -> Box<dyn Objective> {
        self.objective.take().unwrap_or_else(|| Box::new(Risk))
    }
}

/// A fit of the last layer to convergence.
#[derive(Debug, Clone)]
pub struct LastLayerFit {
    /// Which split it learns from.
    pub on: DfrSplit,
    /// Subsets of the split's rows; the weights of the fits are averaged.
    pub subsets: Vec<Vec<usize>>,
    /// The penalty.
    pub penalty: Penalty,
    /// Inverse strength, above 0.
    pub c: f64,
}

/// Does what a method asks for: to a last layer on frozen features, or to a network.
pub trait Trainer {
    /// Runs a phase.
    ///
    /// # Errors
    /// Those of the mini-batch loop and the solver.
    fn run(&mut self, phase: Phase) -> Result<(), Error>;

    /// Class probabilities of the present model, one row per training example.
    ///
    /// # Errors
    /// Those of reading pictures.
    fn probabilities(&mut self) -> Result<Vec<Vec<f64>>, Error>;

    /// Fits the last layer again on the present features, as the last phase.
    ///
    /// # Errors
    /// Those of the solver.
    fn fit_last_layer(&mut self, fit: LastLayerFit) -> Result<(), Error>;
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

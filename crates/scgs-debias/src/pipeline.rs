//! The whole loop for one seed: data, stages, arms, results.

mod parts;
mod single;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use scgs_data::{Definition, Grouped, Index, ReadOptions, Split, habitat};
use serde::Serialize;
use sha2::{Digest, Sha256};

pub use parts::{Merged, merge, paint_shard, until_masks};
pub use single::{Identity, Single, refusals, train_one};

use crate::{
    Context, Error, Event, Results, RunData, RunFolder, Settings,
    arms::{Arm, Pictures},
    diagnostics,
    lock::{self, Lock},
    memory::{MemoryBudget, Share},
    results, run_folder,
    selection::Criterion,
    settings::InpainterKind,
    shared::Shared,
    space::Needs,
    stages::{
        Inputs, chain, clusters, erm, errors, evaluate, masks, objects, pictures,
        sources::{self, Variant},
        synthesis, training_set,
    },
};

/// Raised when the same settings give other results than before, so that old runs are not mixed with new ones.
const FORMAT: &str = "scgs-run-3";
/// The weights that ship with the project.
const LITE0_WEIGHTS: &str = "weights/efficientnet_lite0.safetensors";
/// The small diffusion model that ships for the embedded data set.
const SMALL_MODEL: &str = "weights/inpainter-habitat.safetensors";

/// What to run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The data set.
    pub definition: Definition,
    /// Checked settings.
    pub settings: Settings,
    /// The rows of the table.
    pub arms: Vec<Arm>,
    /// Where runs lie.
    pub runs: PathBuf,
    /// Where data set definitions, the picture pack and weights lie.
    pub datasets: PathBuf,
    /// Where the pictures of a data set that is not composed lie.
    pub data_dir: Option<PathBuf>,
    /// Pictures without objects for the classical fill; composed data sets bring their own.
    pub backgrounds: Option<PathBuf>,
    /// Name of the device, part of the run's identity.
    pub device: String,
    /// Goes on when the data set's group counts differ from the published ones.
    pub accept_counts: bool,
    /// What is computed after the arms.
    pub afterwards: Afterwards,
    /// The memory that may be taken; no result depends on it, so it is no part of the run's identity.
    pub memory: Option<MemoryBudget>,
}

/// What is computed for people when the arms are finished: it takes seconds, and no stage reads it. Each includes the ones
/// before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Afterwards {
    /// Nothing: for a search.
    Nothing,
    /// `diagnostics.json`.
    Diagnostics,
    /// Stage `7-chain`, for the report.
    Chain,
}

/// What a finished seed leaves.
#[derive(Debug)]
pub struct Outcome {
    /// The folder of the seed.
    pub seed_folder: PathBuf,
    /// The folder of the configuration, with all its seeds.
    pub run_folder: PathBuf,
}

/// `environment.json`
#[derive(Serialize)]
struct Environment<'a> {
    scgs: &'a str,
    burn: &'a str,
    device: &'a str,
    os: &'a str,
    architecture: &'a str,
    weights_sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    small_model_sha256: Option<String>,
}

impl Plan {
    /// The weights file, or `None` for random weights.
    ///
    /// # Errors
    /// [`Error::Config`] if the architecture has no shipped weights or the file does not exist.
    pub fn weights(&self) -> Result<Option<PathBuf>, Error> {
        let backbone = &self.settings.backbone;
        let path = match (backbone.weights.as_str(), backbone.architecture) {
            ("none", _) => return Ok(None),
            ("imagenet", scgs_models::Architecture::EfficientNetLite0) => self.datasets.join(LITE0_WEIGHTS),
            ("imagenet", other) => {
                return Err(Error::Config {
                    origin: "backbone.weights".into(),
                    message: format!(
                        "no ImageNet weights of {other} ship with the project: name a .pth or .safetensors file, or `none` for random weights"
                    ),
                });
            }
            (path, _) => PathBuf::from(path),
        };
        if path.is_file() {
            Ok(Some(path))
        } else {
            Err(Error::Config {
                origin: "backbone.weights".into(),
                message: format!("{} does not exist; name an existing file, or `none`", path.display()),
            })
        }
    }

    /// The weights of the small diffusion model, where the settings ask for it. A model that is not to be had does not matter to
    /// arms that paint nothing.
    ///
    /// # Errors
    /// [`Error::Config`] if the file does not exist, or if the model that ships is asked for on other data.
    pub fn small_model(&self) -> Result<Option<PathBuf>, Error> {
        let paints = self.arms.iter().any(|arm| matches!(arm.pictures, Pictures::Scgs(_)));
        self.small_model_file().or_else(|error| if paints { Err(error) } else { Ok(None) })
    }

    fn small_model_file(&self) -> Result<Option<PathBuf>, Error> {
        let synthesis = &self.settings.synthesis;
        if !synthesis.needs_small_model() {
            return Ok(None);
        }
        let error = |message| Error::Config { origin: "synthesis.small.weights".into(), message };
        let path = match synthesis.small.weights.as_str() {
            "habitat" if self.has_core() => self.datasets.join(SMALL_MODEL),
            "habitat" => {
                let message = "the model that ships has learned Habitat's animals and backgrounds: train one on your pictures with `scgs train-inpainter` and name its file";
                return Err(error(message.into()));
            }
            path => PathBuf::from(path),
        };
        if path.is_file() {
            Ok(Some(path))
        } else {
            Err(error(format!("{} does not exist; name a file that `scgs train-inpainter` made", path.display())))
        }
    }

    /// Whether the pictures are composed by the run.
    pub fn composed(&self) -> bool {
        self.definition.composed && self.data_dir.is_none()
    }

    /// Whether the pictures are Habitat's, composed by the run or before it, whose core photos are in training always.
    fn has_core(&self) -> bool {
        let made = |folder: &Path| folder.join("composition.json").is_file();
        self.composed() || self.definition.composed && self.data_dir.as_deref().is_some_and(made)
    }

    /// Leaves out what only a composed data set has: for lists such as `core`, which name no arm.
    #[must_use]
    pub fn without_impossible_arms(mut self) -> Self {
        let composed = self.composed();
        self.arms.retain(|arm| composed || arm.pictures != Pictures::Balanced);
        self
    }
}

/// A seed's data set and its open run folder: what every stage works on.
#[derive(Debug)]
pub struct Opened {
    /// The data set with its groups, for evaluation only; stages get [`Self::inputs`].
    pub grouped: Grouped,
    balanced: Option<Grouped>,
    parent: PathBuf,
    folder: RunFolder,
    weights: Option<PathBuf>,
    small_model: Option<PathBuf>,
    backgrounds: Option<PathBuf>,
    prompts: Vec<Vec<String>>,
    memory: Share,
}

impl Opened {
    /// What stages may see: no group attribute is in there.
    pub fn inputs<'a>(&'a self, plan: &'a Plan) -> Inputs<'a> {
        Inputs {
            index: self.grouped.index(),
            settings: &plan.settings,
            folder: &self.folder,
            weights: self.weights.as_deref(),
            backgrounds: self.backgrounds.as_deref(),
            small_model: self.small_model.as_deref(),
            prompts: &self.prompts,
            memory: self.memory,
        }
    }
}

/// Reads (or composes) the data set of one seed, opens its run folder and writes `config.toml` and `environment.json`
/// there.
///
/// # Errors
/// Those of the data set, the weights file and the run folder.
pub fn open(plan: &Plan, seed: u64, context: &Context<'_>) -> Result<Opened, Error> {
    open_as(plan, seed, context, None)
}

/// [`open`] for who writes the whole folder, or the part of it with this name.
fn open_as(plan: &Plan, seed: u64, context: &Context<'_>, part: Option<&str>) -> Result<Opened, Error> {
    crate::stages::diffusion::check(&plan.settings)?;
    let weights = plan.weights()?;
    let weights_sha256 = weights.as_deref().map(sha256_of).transpose()?;
    let small_model = plan.small_model()?;
    let small_sha256 = small_model.as_deref().map(sha256_of).transpose()?;
    let (grouped, balanced) = data(plan, seed, context)?;
    let digest = index_digest(grouped.index());
    let content = if plan.composed() { String::new() } else { digest.clone() };
    let identity = [FORMAT, &plan.definition.name, &plan.device, weights_sha256.as_deref().unwrap_or("none"), &content];
    let runs = plan.runs.join(&plan.definition.name);
    // Runs differ by what is in the model's file, not by its name; so do the stages that paint, and no others.
    let mut keyed = plan.settings.clone();
    if let Some(sha256) = &small_sha256 {
        keyed.synthesis.small.weights.clone_from(sha256);
    }
    let own_backgrounds = plan.backgrounds.as_ref().map(|folder| folder.display().to_string());
    let identity: Vec<&str> = identity.into_iter().chain(own_backgrounds.as_deref()).collect();
    let parent = runs.join(keyed.hash(&identity));
    let shared = Shared::new(&runs, &identity, &keyed);
    let folder = RunFolder::open(&parent, seed)?.sharing(shared);
    let folder = match part {
        None => {
            let lock = Lock::whole(folder.root(), context)?;
            folder.held(lock).tidied()?
        }
        Some(part) => {
            let lock = Lock::part(folder.root(), part, context)?;
            folder.held(lock)
        }
    };
    RunData::write(&folder, &plan.runs, &plan.definition, grouped.index(), plan.accept_counts, digest)?;
    let config = toml::to_string(&plan.settings).expect("settings are plain TOML values");
    scgs_data::atomic::write(folder.root().join("config.toml"), config.as_bytes())?;
    run_folder::write_json(
        &folder.root().join("environment.json"),
        &Environment {
            scgs: env!("CARGO_PKG_VERSION"),
            burn: "0.22.1",
            device: &plan.device,
            os: std::env::consts::OS,
            architecture: std::env::consts::ARCH,
            weights_sha256,
            small_model_sha256: small_sha256,
        },
    )?;
    let backgrounds = plan.backgrounds.clone().or_else(|| {
        let shipped = grouped.index().root.join("backgrounds").join("train");
        shipped.is_dir().then_some(shipped)
    });
    let prompts = (0..grouped.index().classes.len()).map(|label| plan.definition.prompts_of(label)).collect();
    (context.report)(Event::Opened { folder: folder.root().to_owned() });
    let memory = Share::default();
    let mut opened = Opened { grouped, balanced, parent, folder, weights, small_model, backgrounds, prompts, memory };
    let needs = Needs::of(opened.inputs(plan));
    opened.memory = needs.memory(&plan.settings).share(plan.memory)?;
    opened.folder = opened.folder.needing(needs);
    Ok(opened)
}

/// Stages 0 to 3: readable pictures, the ERM classifier, the error set, its clusters.
///
/// # Errors
/// Those of the stages.
pub fn until_clusters(inputs: Inputs<'_>, context: &Context<'_>) -> Result<(), Error> {
    pictures::run(inputs, context)?;
    erm::run(inputs, context)?;
    errors::run(inputs, context)?;
    clusters::run(inputs, context)
}

/// Runs every stage and arm of one seed, skipping what is finished, and writes `results.json` and `results.csv` for the
/// seed and for all finished seeds of the configuration.
///
/// # Errors
/// Whatever stops a stage; what is finished stays, and the same call goes on from there.
pub fn run(plan: &Plan, seed: u64, context: &Context<'_>) -> Result<Outcome, Error> {
    if let Some(arm) = plan.arms.iter().find(|arm| arm.pictures == Pictures::Balanced && !plan.composed()) {
        return Err(training_set::no_balanced_set(*arm));
    }
    let opened = open(plan, seed, context)?;
    let inputs = opened.inputs(plan);
    let by_group = plan.settings.train.selection == Criterion::WorstGroup;
    training_set::check_groups(&plan.arms, by_group, &opened.grouped)?;
    stages(inputs, context, &plan.arms)?;
    evaluate::prepare(inputs, context)?;
    for &arm in &plan.arms {
        evaluate::run(inputs, context, arm, &opened.grouped, opened.balanced.as_ref())?;
    }
    if plan.afterwards >= Afterwards::Chain {
        chain::run(inputs, context)?;
    }
    let Opened { grouped, parent, folder, .. } = &opened;
    diagnostics::write_group_labels(inputs, grouped)?;
    if plan.afterwards >= Afterwards::Diagnostics {
        let path = folder.root().join("diagnostics.json");
        let finished = results::finished_arms(folder)?;
        if !diagnostics::covers(&path, &finished) {
            run_folder::write_json(&path, &diagnostics::compute(inputs, context, grouped, &finished)?)?;
        }
    }
    // Seeds of one configuration may end at once; none must leave the other out.
    let turn = lock::wait_for(&parent.join("lock"), "results.json", context)?;
    write_results(plan, parent, folder, grouped)?;
    drop(turn);
    Ok(Outcome { seed_folder: folder.root().to_owned(), run_folder: parent.clone() })
}

/// The stages before the arms, as far as the arms need them. Nothing here has seen a group label.
fn stages(inputs: Inputs<'_>, context: &Context<'_>, arms: &[Arm]) -> Result<(), Error> {
    stages_until(inputs, context, arms, None)
}

/// The variants whose pictures the arms train on, in their order.
fn variants(arms: &[Arm]) -> Vec<Variant> {
    let mut variants: Vec<Variant> = Vec::new();
    for arm in arms {
        if let Pictures::Scgs(variant) = arm.pictures
            && !variants.contains(&variant)
        {
            variants.push(variant);
        }
    }
    variants
}

/// [`stages`] without those whose number is `before` or higher.
fn stages_until(inputs: Inputs<'_>, context: &Context<'_>, arms: &[Arm], before: Option<char>) -> Result<(), Error> {
    pictures::run(inputs, context)?;
    erm::run(inputs, context)?;
    if arms.iter().any(|a| a.needs_errors()) {
        errors::run(inputs, context)?;
    }
    let variants = variants(arms);
    if !variants.is_empty() || arms.iter().any(|a| a.pictures == Pictures::Duplicate) {
        clusters::run(inputs, context)?;
    }
    // Two variants may share a stage; each is announced once.
    let mut seen = BTreeSet::new();
    for (stage, make) in variants.into_iter().flat_map(|variant| steps(inputs.settings, variant)) {
        let wanted = before.is_none_or(|before| stage.chars().next().is_some_and(|number| number < before));
        if wanted && seen.insert(stage) {
            make(inputs, context)?;
        }
    }
    Ok(())
}

type Make = Box<dyn Fn(Inputs<'_>, &Context<'_>) -> Result<(), Error>>;

/// The stages of a variant by the names of their folders, in order.
fn steps(settings: &Settings, variant: Variant) -> Vec<(String, Make)> {
    let mut steps: Vec<(String, Make)> = Vec::new();
    let mut add = |stage: String, make: Make| steps.push((stage, make));
    let pastes = settings.synthesis.inpainter == InpainterKind::CopyPaste && variant != Variant::ContextOnly;
    // Random masks have the areas of the method's masks.
    let followed = if variant == Variant::RandomMask { Some(Variant::Scgs) } else { None };
    add(variant.sources_stage().to_owned(), Box::new(move |i, c| sources::run(i, c, variant)));
    for variant in followed.into_iter().chain([variant]) {
        add(variant.masks_stage(), Box::new(move |i, c| masks::run(i, c, variant)));
        if pastes {
            add(objects::stage_name(variant), Box::new(move |i, c| objects::run(i, c, variant)));
        }
    }
    add(synthesis::stage_name(variant), Box::new(move |i, c| synthesis::run(i, c, variant)));
    steps
}

/// The data set, and where it is composed and an arm needs it, its balanced twin.
fn data(plan: &Plan, seed: u64, context: &Context<'_>) -> Result<(Grouped, Option<Grouped>), Error> {
    if !plan.composed() {
        let root = plan.data_dir.as_ref().ok_or_else(|| Error::Config {
            origin: format!("data set {}", plan.definition.name),
            message: format!(
                "its pictures do not ship with the project: name their folder with --data-dir DIR. {}",
                plan.definition.source
            ),
        })?;
        let options = ReadOptions { accept_counts: plan.accept_counts, ..ReadOptions::default() };
        let grouped = scgs_data::read(&plan.definition, root, options)?;
        return Ok((grouped, None));
    }
    let config = &plan.settings.habitat;
    let pack = plan.datasets.join("habitat");
    let text = toml::to_string(config).expect("settings are plain TOML values");
    let key: String = Sha256::digest(text).iter().take(6).map(|b| format!("{b:02x}")).collect();
    let root = plan.runs.join(&plan.definition.name).join("data").join(key).join(format!("seed-{seed}"));
    let compose = |stage: &str, folder: &Path, balanced: bool| -> Result<Grouped, Error> {
        let turn = lock::wait_for(&root.join("lock"), stage, context)?;
        let clock = context.start(stage, 0);
        let reused = folder.join("done").is_file();
        let progress = |done: usize, total: usize| {
            if done == 0 {
                (context.report)(Event::Started { stage: stage.to_owned(), total });
            }
            (context.report)(Event::Advanced { done });
        };
        if balanced {
            habitat::compose_balanced_train(&pack, folder, config, seed, &progress)?;
        } else {
            habitat::compose(&pack, folder, config, seed, &progress)?;
        }
        drop(turn);
        let summary = format!("composed from {}", pack.display());
        let seconds = if reused { 0.0 } else { clock.elapsed().as_secs_f64() };
        (context.report)(Event::Finished { stage: stage.to_owned(), summary, seconds, reused });
        // The balanced twin has a training split only.
        let options = ReadOptions { allow_empty_groups: balanced, ..ReadOptions::default() };
        Ok(scgs_data::read(&plan.definition, folder, options)?)
    };
    let grouped = compose("data", &root.join("biased"), false)?;
    let balanced = plan
        .arms
        .iter()
        .any(|a| a.pictures == Pictures::Balanced)
        .then(|| compose("data-balanced", &root.join("balanced"), true))
        .transpose()?;
    Ok((grouped, balanced))
}

fn write_results(plan: &Plan, parent: &Path, folder: &RunFolder, grouped: &Grouped) -> Result<(), Error> {
    let train_counts = diagnostics::train_counts(grouped);
    let finished = results::finished_arms(folder)?;
    let mut results = Results {
        schema: results::SCHEMA,
        dataset: plan.definition.name.clone(),
        classes: grouped.index().classes.clone(),
        attributes: grouped.attribute_names().to_vec(),
        rows: Results::rows_of_seed(
            folder,
            &finished,
            (&train_counts, grouped.attribute_names().len()),
            plan.settings.train.selection,
        )?,
        comparisons: Vec::new(),
    };
    results.write_into(folder.root())?;
    results.rows.clear();
    for seed in results::seed_folders(parent)? {
        let path = seed.join("results.json");
        if path.is_file() {
            results.rows.extend(Results::read(&path)?.rows);
        }
    }
    results.comparisons = results.compare();
    results.write_into(parent)
}

fn sha256_of(path: &Path) -> Result<String, Error> {
    Ok(Sha256::digest(fs_err::read(path)?).iter().map(|b| format!("{b:02x}")).collect())
}

/// Changes with every id, file name, label and split.
pub fn index_digest(index: &Index) -> String {
    let mut hasher = Sha256::new();
    for split in [Split::Train, Split::Val, Split::Test] {
        for s in index.of(split) {
            hasher.update(format!("{}\t{}\t{}\t{split}\n", s.id, s.path.display(), s.label));
        }
    }
    hasher.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

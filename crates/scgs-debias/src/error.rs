//! The error of every stage.

use std::path::PathBuf;

use scgs_cam::{CamError, MaskError};
use scgs_cluster::ClusterError;
use scgs_data::DataError;
use scgs_diffusion::InpaintError;
use scgs_models::WeightsError;

use crate::settings::Problem;

/// Why a run stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Occurs when settings are impossible; all problems are listed at once.
    #[error("{} setting(s) cannot be used:\n{}", .0.len(), list(.0))]
    Settings(Vec<Problem>),
    /// Occurs when a configuration file or `--set` cannot be read as settings.
    #[error("{origin}: {message}")]
    Config {
        /// The file or option.
        origin: String,
        /// What is wrong, with the known keys where a key is unknown.
        message: String,
    },
    /// Occurs when a file cannot be read or written. The message of `fs_err` names the path.
    #[error(
        "{0}; check the path, its permissions and the free disk space, then run the same command again: finished stages are kept"
    )]
    Io(#[from] std::io::Error),
    /// Occurs when a file of a run folder does not have the expected content.
    #[error("{}: {message}; delete the stage's folder and run again", path.display())]
    RunFolder {
        /// The file.
        path: PathBuf,
        /// What was expected and what was found.
        message: String,
    },
    /// Occurs when the error set is empty, or has no picture of a class.
    #[error(
        "the error set has {found}: the identification rule `{rule}` found nothing to learn from. Change {settings}"
    )]
    EmptyErrorSet {
        /// What was found, such as `0 pictures of class bird (3 of mammal)`.
        found: String,
        /// The rule.
        rule: &'static str,
        /// The settings that change the outcome.
        settings: &'static str,
    },
    /// Occurs when there is no picture that could become one of a class.
    #[error(
        "no training picture can become one of class {class}: for `mask.repaint = swap` the classifier must get pictures of another class right"
    )]
    NoSource {
        /// The class.
        class: String,
    },
    /// Occurs when the filter leaves no new picture of a class.
    #[error(
        "none of the {made} new pictures of class {class} is kept: loosen synthesis.filter, or paint otherwise (synthesis.inpainter, mask.repaint)"
    )]
    AllDropped {
        /// The class.
        class: String,
        /// Pictures made.
        made: usize,
    },
    /// Occurs when no picked picture of a class has a usable mask.
    #[error("no picture of class {class} has a usable mask ({skipped} skipped, see {}): change attention.method, attention.layers or the limits mask.min_area and mask.max_area", masks.display())]
    NoMask {
        /// The class.
        class: String,
        /// How many pictures were skipped.
        skipped: usize,
        /// The table of reasons.
        masks: PathBuf,
    },
    /// Occurs when more pictures are unreadable than `data.max_bad_pictures` allows.
    #[error("{} picture(s) cannot be used, data.max_bad_pictures is {allowed}; the first are:\n{}", .bad.len(), bad.iter().take(10).cloned().collect::<Vec<_>>().join("\n"))]
    BadPictures {
        /// One line per picture: path and reason.
        bad: Vec<String>,
        /// How many were allowed.
        allowed: usize,
    },
    /// Occurs when the loss is not a number.
    #[error("the loss is {loss} at step {step} (learning rate {rate}, pictures {ids:?}): lower train.learning_rate")]
    Diverged {
        /// The value.
        loss: f32,
        /// Counted from 1.
        step: usize,
        /// The learning rate of this step.
        rate: f64,
        /// The first ids of the batch.
        ids: Vec<String>,
    },
    /// Occurs when a group of the evaluated split has no picture.
    #[error(
        "group {group} has no picture in the {split} split: worst-group accuracy is not defined; use a split in which every group occurs"
    )]
    EmptyGroup {
        /// The group, as `label x attribute`.
        group: String,
        /// The split.
        split: String,
    },
    /// Occurs when groups have no picture in a split that something needs them in; all are listed.
    #[error(
        "groups without a picture: {}; use splits in which every group occurs, or leave out what needs them", .0.join("; ")
    )]
    EmptyGroups(Vec<String>),
    /// Occurs when arms of `--methods` cannot be used; all of them are listed.
    #[error("{}\nknown are {known}", .problems.join("\n"))]
    UnknownArms {
        /// One sentence per name.
        problems: Vec<String>,
        /// All names.
        known: String,
    },
    /// Occurs when a method finds no batch to learn from.
    #[error(
        "{stage}: no batch can be made: no example has both a positive and a negative partner; regularise the first classifier more (lower train.c) so that it makes mistakes in every class"
    )]
    NoBatch {
        /// The stage.
        stage: String,
    },
    /// Occurs when `train.freeze` names a layer that does not exist.
    #[error("train.freeze: the network has no layer {}; its layers are {}", .unknown.join(", "), .known.join(", "))]
    UnknownFrozen {
        /// The names that fit nothing.
        unknown: Vec<String>,
        /// The layers that exist.
        known: Vec<String>,
    },
    /// Occurs when an arm cannot be run on a data set.
    #[error("method `{arm}` is not possible here: {why}")]
    ImpossibleArm {
        /// The arm.
        arm: String,
        /// The reason and the way out.
        why: String,
    },
    /// Occurs when another process writes the run's folder.
    #[error("{} is being written by {holder}; wait for it, or end it and run the same command again", folder.display())]
    Held {
        /// The folder.
        folder: PathBuf,
        /// Who: process, host, command, last sign of life.
        holder: String,
    },
    /// Occurs when a picture of a shard is not as the shard left it.
    #[error("{}: {problem}; `scgs merge` lists every such picture", folder.display())]
    WrongPicture {
        /// The folder of the stage.
        folder: PathBuf,
        /// Which picture, what is wrong and what to do.
        problem: String,
    },
    /// Occurs when a stage is about to write more than there is room for.
    #[error(
        "{stage} writes about {:.0} MB, {:.0} MB are free in {}: make room, or give --runs on another disk; finished stages are kept",
        needed / 1e6, free / 1e6, folder.display()
    )]
    NoSpace {
        /// The stage.
        stage: String,
        /// Where.
        folder: PathBuf,
        /// Bytes, on the high side.
        needed: f64,
        /// Bytes.
        free: f64,
    },
    /// Occurs when a run cannot stay within its memory budget; nothing has begun.
    #[error("{what} needs about {needed}, --max-memory is {budget}: raise it, or {advice}")]
    Memory {
        /// What does not fit.
        what: String,
        /// The smallest budget with which it does.
        needed: String,
        /// The budget.
        budget: String,
        /// What makes the run smaller.
        advice: String,
    },
    /// Occurs when a stage is asked for alone and one before it is not finished.
    #[error("{stage} needs {needs}, which is not finished: run `scgs run --until masks` with the same options first")]
    NotReady {
        /// What was asked for.
        stage: String,
        /// What it needs.
        needs: String,
    },
    /// Occurs when the run was cancelled.
    #[error("interrupted during {stage}; the same command goes on from here")]
    Interrupted {
        /// The stage that was under way.
        stage: String,
    },
    /// Occurs when a numerical optimiser gives up.
    #[error("logistic regression did not converge: {0}; raise the regularisation (lower train.c)")]
    Optimiser(String),
    /// An error of the data set.
    #[error(transparent)]
    Data(#[from] DataError),
    /// An error of the weights file.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// An error of the clustering.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// An error of the attention maps.
    #[error(transparent)]
    Cam(#[from] CamError),
    /// An error of the masks.
    #[error(transparent)]
    Mask(#[from] MaskError),
    /// An error of the inpainter.
    #[error("picture {id}: {source}")]
    Inpaint {
        /// The source picture.
        id: u64,
        /// The reason.
        source: InpaintError,
    },
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(|p| format!("  {p}")).collect::<Vec<_>>().join("\n")
}

//! Stage `7-chain`: before and after. What the ERM classifier and the one of the arm `scgs` say about every repainted and
//! every new picture, and where both look in some of the mistakes. For the reader: nothing reads it but the report.

use std::collections::{BTreeMap, BTreeSet};

use rand::seq::SliceRandom;
use scgs_data::{Sample, Split, atomic, stream};
use scgs_models::{HeadPolicy, Network};
use serde::{Deserialize, Serialize};

use super::{Inputs, erm, errors, masks, sources::Variant, synthesis};
use crate::{
    Context, Error, RunFolder, features::Features, logistic::most_probable, run_folder, settings::TrainMode,
    training::Trained,
};

/// Folder name.
pub const STAGE: &str = "7-chain";
/// Mistakes whose attention is compared, drawn by the run's seed.
const LOOKS: usize = 12;

/// A row of `predictions.csv`: both classifiers on one picture. Confidences are the probability of the answer, 0..=1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answers {
    /// A training picture that was repainted, or a new picture.
    pub id: u64,
    /// Its class; of a new picture, the one it was made for.
    pub label: usize,
    /// The ERM classifier's answer.
    pub erm: usize,
    /// How sure it is.
    pub erm_confidence: f64,
    /// The answer after training with the new pictures.
    pub scgs: usize,
    /// How sure it is.
    pub scgs_confidence: f64,
}

/// A row of `attention.csv`: a mistake with `<id>-picture.png`, `<id>-erm.png` and `<id>-scgs.png` (grey, white = 1)
/// beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Looked {
    /// The picture.
    pub id: u64,
    /// Its class.
    pub label: usize,
}

/// Writes `predictions.csv`, `attention.csv` and its pictures. Does nothing unless the arm `scgs` is finished.
///
/// # Errors
/// If files of earlier stages are missing or damaged; those of the attention method.
pub fn run(inputs: Inputs<'_>, context: &Context<'_>) -> Result<(), Error> {
    let arm = format!("6-{}", Variant::Scgs.arm());
    if !(inputs.folder.is_done(&arm) && inputs.folder.is_done(synthesis::STAGE)) {
        return Ok(());
    }
    inputs.folder.stage(context, STAGE, LOOKS, |folder| {
        let before = inputs.erm_network(context)?;
        let after = network(inputs, context, &arm)?;
        let answers = answers(inputs, context, &before, &after)?;
        let changed = answers.iter().filter(|a| a.erm != a.scgs).count();
        let mut mistakes = errors::read(inputs.folder)?;
        mistakes.shuffle(&mut stream(inputs.folder.seed, STAGE, 0));
        mistakes.truncate(LOOKS);
        let samples = masks::samples(inputs);
        let mut looked = Vec::new();
        for (i, mistake) in mistakes.iter().enumerate() {
            let sample = samples.get(&mistake.id).expect("mistakes are training pictures");
            let picture = masks::picture(inputs, sample)?;
            let map =
                |network| masks::attention_of(inputs, context, network, &inputs.settings.attention, sample, &picture);
            // A map that is nowhere positive has nothing to compare.
            if let (Some(erm), Some(scgs)) = (map(&before)?.map, map(&after)?.map) {
                let file = |what: &str| folder.join(format!("{}-{what}.png", mistake.id));
                atomic::save_png(file("erm"), &masks::grey(&erm).into())?;
                atomic::save_png(file("scgs"), &masks::grey(&scgs).into())?;
                atomic::save_png(file("picture"), &picture.into())?;
                looked.push(Looked { id: mistake.id, label: mistake.label });
            }
            context.advance(STAGE, i + 1)?;
        }
        run_folder::write_csv(&folder.join("predictions.csv"), &answers)?;
        run_folder::write_csv(&folder.join("attention.csv"), &looked)?;
        Ok(format!("{changed} of {} pictures are answered otherwise by scgs than by erm", answers.len()))
    })
}

/// The answers of both classifiers; empty for a run without the stage.
///
/// # Errors
/// If the table is damaged.
pub fn read(folder: &RunFolder) -> Result<Vec<Answers>, Error> {
    if folder.is_done(STAGE) { run_folder::read_csv(&folder.path(STAGE, "predictions.csv")) } else { Ok(Vec::new()) }
}

/// The mistakes whose attention was compared; empty for a run without the stage.
///
/// # Errors
/// If the table is damaged.
pub fn looked(folder: &RunFolder) -> Result<Vec<Looked>, Error> {
    if folder.is_done(STAGE) { run_folder::read_csv(&folder.path(STAGE, "attention.csv")) } else { Ok(Vec::new()) }
}

/// The classifier of a finished arm, batch norms folded.
fn network(inputs: Inputs<'_>, context: &Context<'_>, stage: &str) -> Result<Network, Error> {
    let path = inputs.folder.path(stage, "model.safetensors");
    let architecture = inputs.settings.backbone.architecture;
    let classes = Some(inputs.classes());
    Ok(scgs_models::load(architecture, &path, classes, HeadPolicy::Keep, &context.device)?.fold_batch_norm())
}

fn answers(
    inputs: Inputs<'_>,
    context: &Context<'_>,
    before: &Network,
    after: &Network,
) -> Result<Vec<Answers>, Error> {
    let new = synthesis::read(inputs.folder, synthesis::STAGE)?;
    let wanted: BTreeSet<u64> = new.iter().map(|row| row.source_id).collect();
    let train = inputs.usable(Split::Train)?;
    let sources: Vec<&Sample> = train.into_iter().filter(|s| wanted.contains(&s.id)).collect();
    let pictures: Vec<(u64, usize)> =
        sources.iter().map(|s| (s.id, s.label)).chain(new.iter().map(|row| (row.img_id, row.y))).collect();
    let (first, second) = match inputs.settings.train.mode {
        // Both classifiers see the same frozen features, which are on the disk already.
        TrainMode::Head => {
            let real = erm::train_features(inputs.folder)?;
            let painted = synthesis::features(inputs.folder, synthesis::STAGE)?;
            let rows = rows(inputs.folder, &pictures, &[&real, &painted])?;
            (say(before, &rows), say(after, &rows))
        }
        TrainMode::Full => {
            let mut files = inputs.files(&sources);
            files.extend(new.iter().map(|row| (row.img_id, inputs.folder.path(synthesis::STAGE, &row.img_filename))));
            // The stage counts the pictures whose attention is compared.
            let quiet = Context::new(context.device.clone(), context.cancelled, &|_| {});
            let of = |network| {
                let features = Features::compute(&quiet, STAGE, network, inputs.input(), &files)?;
                Ok::<_, Error>(say(network, &rows(inputs.folder, &pictures, &[&features])?))
            };
            (of(before)?, of(after)?)
        }
    };
    let answers = pictures.iter().zip(first.into_iter().zip(second)).map(|(&(id, label), (before, after))| Answers {
        id,
        label,
        erm: before.0,
        erm_confidence: before.1,
        scgs: after.0,
        scgs_confidence: after.1,
    });
    Ok(answers.collect())
}

/// The feature rows of pictures, each from the first list that has it.
fn rows<'a>(folder: &RunFolder, pictures: &[(u64, usize)], lists: &[&'a Features]) -> Result<Vec<&'a [f32]>, Error> {
    let mut by_id: BTreeMap<u64, &[f32]> = BTreeMap::new();
    for features in lists.iter().rev() {
        by_id.extend(features.ids.iter().enumerate().map(|(i, &id)| (id, features.row(i))));
    }
    let row = |&(id, _): &(u64, usize)| {
        by_id.get(&id).copied().ok_or_else(|| {
            run_folder::table_error(&folder.path(synthesis::STAGE, "features.safetensors"), &format!("no picture {id}"))
        })
    };
    pictures.iter().map(row).collect()
}

/// Answer and confidence of a network's last layer per row of features.
fn say(network: &Network, rows: &[&[f32]]) -> Vec<(usize, f64)> {
    let head = Trained::head_of(network);
    rows.iter().map(|row| most_probable(&head.probabilities(row))).collect()
}

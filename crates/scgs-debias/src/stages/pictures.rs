//! Stage `0-pictures`: every picture of the data set is decoded once, so that a bad one shows in the first minute and
//! not in the fifth hour.

use std::collections::BTreeSet;

use rayon::prelude::*;
use scgs_data::read_rgb;
use serde::{Deserialize, Serialize};

use super::Inputs;
use crate::{Context, Error, RunFolder, run_folder};

/// Folder name.
pub const STAGE: &str = "0-pictures";
/// Pictures decoded between two looks at the cancel flag.
const CHUNK: usize = 256;

/// A row of `unreadable.csv`.
#[derive(Debug, Serialize, Deserialize)]
struct Unreadable {
    id: u64,
    path: String,
    reason: String,
}

/// Decodes every picture and writes `unreadable.csv` (id, path, reason).
///
/// # Errors
/// [`Error::BadPictures`] if more than `data.max_bad_pictures` cannot be decoded.
pub fn run(inputs: Inputs<'_>, context: &Context<'_>) -> Result<(), Error> {
    let samples = &inputs.index.samples;
    inputs.folder.stage(context, STAGE, samples.len(), |folder| {
        let mut bad = Vec::new();
        for (i, chunk) in samples.chunks(CHUNK).enumerate() {
            let found: Vec<Unreadable> = chunk
                .par_iter()
                .filter_map(|s| {
                    let error = read_rgb(inputs.index.absolute(s)).err()?;
                    Some(Unreadable { id: s.id, path: s.path.display().to_string(), reason: error.to_string() })
                })
                .collect();
            bad.extend(found);
            context.advance(STAGE, i * CHUNK + chunk.len())?;
        }
        run_folder::write_csv(&folder.join("unreadable.csv"), &bad)?;
        let allowed = inputs.settings.data.max_bad_pictures;
        if bad.len() > allowed {
            let bad = bad.iter().map(|b| format!("id {}: {}", b.id, b.reason)).collect();
            return Err(Error::BadPictures { bad, allowed });
        }
        Ok(format!("{} pictures, {} unreadable", samples.len(), bad.len()))
    })
}

/// Ids of the pictures that are left out.
///
/// # Errors
/// If the table is missing or damaged.
pub fn unreadable(folder: &RunFolder) -> Result<BTreeSet<u64>, Error> {
    let rows: Vec<Unreadable> = run_folder::read_csv(&folder.path(STAGE, "unreadable.csv"))?;
    Ok(rows.into_iter().map(|r| r.id).collect())
}

//! The composed folder on disk.

use std::{
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use image::{DynamicImage, RgbImage, RgbaImage};
use rayon::prelude::*;
use serde::Serialize;

use crate::{DataError, MetadataRow, Split, atomic, stream, waterbirds};

use super::{
    Cue, HabitatConfig, frame,
    pack::{Pack, Role},
    picture,
    plan::Planned,
    split::Sources,
};

/// Number of the composition rules. Raise it when a change of the code changes a pixel or a table.
const RULES: u32 = 2;

/// The file that says whose folder this is, written first.
const CLAIM: &str = "composition.json";

/// The file that says that the folder is complete, written last.
const DONE: &str = "done";

/// What is composed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    /// The correlated training set with validation and test sets.
    Biased,
    /// A training set without the correlation.
    BalancedTrain,
}

/// Everything that decides the content of a composed folder.
#[derive(Debug, Serialize)]
pub(super) struct Composition<'a> {
    kind: Kind,
    rules: u32,
    seed: u64,
    manifest_sha256: &'a str,
    config: &'a HabitatConfig,
}

impl<'a> Composition<'a> {
    pub(super) fn new(kind: Kind, config: &'a HabitatConfig, seed: u64, pack: &'a Pack) -> Self {
        Self { kind, rules: RULES, seed, manifest_sha256: &pack.hash, config }
    }

    fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("numbers and names are plain JSON values");
        text.push('\n');
        text
    }

    /// Makes `out` the folder of this composition; whether it is there and complete already.
    pub(super) fn claim(&self, out: &Path) -> Result<bool, DataError> {
        let wanted = self.to_json();
        let refuse = |message: String| Err(DataError::Occupied { path: out.to_owned(), message });
        let claim = out.join(CLAIM);
        if claim.is_file() {
            let found = fs_err::read_to_string(&claim)?;
            if found != wanted {
                return refuse(format!("holds another composition. Found\n{found}wanted\n{wanted}"));
            }
            let done = out.join(DONE);
            return Ok(done.is_file() && fs_err::read_to_string(&done)? == wanted);
        }
        fs_err::create_dir_all(out)?;
        // A file of ours that was being written when an earlier run was stopped is no reason to refuse.
        for entry in fs_err::read_dir(out)? {
            let name = entry?.file_name();
            if !name.to_string_lossy().starts_with(atomic::TEMPORARY_PREFIX) {
                return refuse(format!("holds `{}` and no {CLAIM}", name.to_string_lossy()));
            }
        }
        atomic::write(&claim, wanted)?;
        Ok(false)
    }
}

/// Composes all planned pictures and writes the folder.
pub(super) fn write(
    out: &Path,
    composition: &Composition<'_>,
    pack: &Pack,
    sources: &[DynamicImage],
    split: &Sources,
    plan: &[Planned],
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<(), DataError> {
    let classes = ["mammal", "bird"];
    for part in Split::ALL.into_iter().filter(|part| plan.iter().any(|planned| planned.split == *part)) {
        for class in classes {
            fs_err::create_dir_all(out.join(part.to_string()).join(class))?;
        }
    }
    fs_err::create_dir_all(out.join("masks"))?;

    let name = |planned: &Planned| format!("{}/{}/{:05}.png", planned.split, classes[planned.label], planned.id);
    let decoded = Decoded::new(pack, sources);
    progress(0, plan.len());
    let done = AtomicUsize::new(0);
    let stage = match composition.kind {
        Kind::Biased => "habitat/picture",
        Kind::BalancedTrain => "habitat/picture/balanced",
    };
    let one = |planned: &Planned| -> Result<(), DataError> {
        let mut rng = stream(composition.seed, stage, planned.id);
        let (background, foreground) = decoded.pair(planned);
        let config = composition.config;
        let mut composed = picture::compose(background, foreground, config.size, config.object_area, &mut rng);
        if config.cue == Cue::Frame {
            frame::draw(&mut composed.picture, &mut composed.mask, planned.place, &mut rng);
        }
        atomic::save_png(out.join(name(planned)), &composed.picture.into())?;
        atomic::save_png(out.join("masks").join(format!("{}.png", planned.id)), &composed.mask.into())?;
        progress(done.fetch_add(1, Ordering::Relaxed) + 1, plan.len());
        Ok(())
    };
    plan.par_iter().try_for_each(one)?;

    let file = |position: usize| pack.items[position].file.clone();
    let rows: Vec<MetadataRow> = plan
        .iter()
        .map(|planned| MetadataRow {
            img_id: planned.id,
            img_filename: name(planned),
            y: planned.label,
            split: planned.split,
            place: planned.place,
            place_filename: file(planned.background),
        })
        .collect();
    write_sources(&out.join("sources.csv"), pack, plan)?;
    if composition.kind == Kind::Biased {
        copy_backgrounds(&out.join("backgrounds/train"), pack, split)?;
    }
    waterbirds::write_metadata(&out.join(waterbirds::METADATA), &rows)?;
    atomic::write(out.join(DONE), composition.to_json())?;
    Ok(())
}

/// The pack's pictures in the colour types of the composer, at the positions of the pack.
struct Decoded {
    backgrounds: Vec<RgbImage>,
    foregrounds: Vec<RgbaImage>,
    /// Per pack position: the position in the list of its role.
    positions: Vec<usize>,
}

impl Decoded {
    fn new(pack: &Pack, sources: &[DynamicImage]) -> Self {
        let mut decoded = Self { backgrounds: Vec::new(), foregrounds: Vec::new(), positions: Vec::new() };
        for (item, picture) in pack.items.iter().zip(sources) {
            match item.role {
                Role::Foreground(_) => {
                    decoded.positions.push(decoded.foregrounds.len());
                    decoded.foregrounds.push(picture.to_rgba8());
                }
                Role::Background(_) => {
                    decoded.positions.push(decoded.backgrounds.len());
                    decoded.backgrounds.push(picture.to_rgb8());
                }
            }
        }
        decoded
    }

    fn pair(&self, planned: &Planned) -> (&RgbImage, &RgbaImage) {
        let background = &self.backgrounds[self.positions[planned.background]];
        (background, &self.foregrounds[self.positions[planned.foreground]])
    }
}

fn write_sources(path: &Path, pack: &Pack, plan: &[Planned]) -> std::io::Result<()> {
    atomic::write_with(path, |file| {
        let mut writer = csv::Writer::from_writer(file);
        writer.write_record(["img_id", "foreground", "background", "alien"])?;
        for planned in plan {
            let (id, alien) = (planned.id.to_string(), u8::from(planned.alien).to_string());
            let (foreground, background) = (&pack.items[planned.foreground].file, &pack.items[planned.background].file);
            writer.write_record([&id, foreground, background, &alien])?;
        }
        writer.flush()
    })
}

/// Copies the training split's photos under numbers, so that their names do not give the place away to code that must
/// not know it.
fn copy_backgrounds(folder: &Path, pack: &Pack, split: &Sources) -> Result<(), DataError> {
    fs_err::create_dir_all(folder)?;
    let both = [0, 1].map(|place| split.of(Split::Train, Role::Background(place)));
    let mut files: Vec<&Path> = both.concat().iter().map(|&position| Path::new(&pack.items[position].file)).collect();
    files.sort_by_key(|file| (file.file_name(), *file));
    for (number, file) in files.into_iter().enumerate() {
        let extension = file.extension().map_or_else(|| "jpg".into(), |extension| extension.to_string_lossy());
        let bytes = fs_err::read(pack.root.join(file))?;
        atomic::write(folder.join(format!("{number:03}.{extension}")), bytes)?;
    }
    Ok(())
}

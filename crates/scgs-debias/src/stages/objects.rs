//! Stage `4-objects`: the objects that copy-paste puts into pictures, each cut out of a training picture by the mask of its
//! own attention.

use std::collections::BTreeMap;

use rand::seq::SliceRandom;
use scgs_cam::Mask;
use scgs_data::{Sample, Split, stream};
use scgs_diffusion::CutOut;

use super::{
    Inputs,
    masks::{self, MaskRow},
    sources::Variant,
};
use crate::{
    Context, Error,
    look::{AttentionTarget, Found, Look},
    object_masks, run_folder,
};

/// Folder name of the objects that attention found.
pub const STAGE: &str = "4-objects";

/// Folder of a variant's objects. The control with random masks cuts random shapes out, as large as the objects.
pub fn stage_name(variant: Variant) -> String {
    match variant {
        Variant::RandomMask | Variant::OracleMask => format!("{STAGE}{}", variant.suffix()),
        Variant::Scgs | Variant::RandomSource | Variant::ContextOnly | Variant::Generic => STAGE.to_owned(),
    }
}

/// Writes `<id>.png` (white = object) and `objects.csv` for up to `synthesis.objects` random training pictures per class.
///
/// # Errors
/// [`Error::NoMask`] if nothing is found in any picture of a class; those of reading pictures and of the attention method.
pub fn run(inputs: Inputs<'_>, context: &Context<'_>, variant: Variant) -> Result<(), Error> {
    let stage = stage_name(variant);
    let chosen = donors(inputs)?;
    inputs.folder.stage(context, &stage, chosen.len(), |folder| {
        let network = match variant {
            Variant::RandomMask | Variant::OracleMask => None,
            _ => Some(inputs.erm_network(context)?),
        };
        // What speaks for the label is the object, whatever class the masks of sources explain.
        let look = Look { target: AttentionTarget::True, ..inputs.settings.attention.clone() };
        let found: BTreeMap<u64, MaskRow> = if variant == Variant::RandomMask {
            read(inputs, Variant::Scgs)?.into_iter().map(|row| (row.id, row)).collect()
        } else {
            BTreeMap::new()
        };
        let outcome = |sample: &Sample, seen: Option<masks::Seen>| -> Result<Result<Mask, String>, Error> {
            Ok(if let Some((picture, Found { map, .. })) = seen {
                masks::region(inputs, map.as_ref(), &picture)
            } else if variant == Variant::OracleMask {
                Ok(object_masks::read(inputs.index, sample.id)?)
            } else {
                match found.get(&sample.id).and_then(|row| row.area) {
                    Some(area) => {
                        let size = masks::load(inputs.folder, STAGE, sample.id)?.dimensions();
                        let mut rng = stream(inputs.folder.seed, &stage, sample.id);
                        Ok(masks::random_like(inputs, size, area, &mut rng)?)
                    }
                    None => Err("the attention found no object to follow".to_owned()),
                }
            })
        };
        let mut rows = Vec::new();
        for some in chosen.chunks(masks::AT_ONCE) {
            rows.extend(masks::overlapped(
                some,
                |sample| {
                    network.as_ref().map(|network| masks::seen(inputs, context, network, &look, sample)).transpose()
                },
                |sample, seen| {
                    let outcome = outcome(sample, seen)?.and_then(|mask| {
                        if mask.count() == 0 { Err("the region is empty".to_owned()) } else { Ok(mask) }
                    });
                    let (area, skipped) = masks::save(folder, sample.id, outcome)?;
                    Ok(MaskRow { id: sample.id, target: sample.label, area, skipped })
                },
            )?);
            context.advance(&stage, rows.len())?;
        }
        run_folder::write_csv(&folder.join("objects.csv"), &rows)?;
        for (class, name) in inputs.index.classes.iter().enumerate() {
            let of_class = rows.iter().filter(|row| row.target == class);
            if of_class.clone().all(|row| row.area.is_none()) {
                let (class, skipped) = (name.clone(), of_class.count());
                return Err(Error::NoMask { class, skipped, masks: folder.join("objects.csv") });
            }
        }
        Ok(format!("{} objects", rows.iter().filter(|r| r.area.is_some()).count()))
    })
}

/// The cut-outs of a variant, by class.
///
/// # Errors
/// If files of the stage are missing or damaged, or a picture cannot be read any more.
pub fn cut_outs(inputs: Inputs<'_>, variant: Variant) -> Result<Vec<Vec<CutOut>>, Error> {
    let samples = masks::samples(inputs);
    let mut objects = vec![Vec::new(); inputs.classes()];
    for row in read(inputs, variant)?.into_iter().filter(|row| row.area.is_some()) {
        let sample = samples.get(&row.id).ok_or_else(|| Error::RunFolder {
            path: inputs.folder.path(&stage_name(variant), "objects.csv"),
            message: format!("picture {} is not a training picture of the data set", row.id),
        })?;
        let mask = masks::load(inputs.folder, &stage_name(variant), row.id)?;
        let cut = CutOut::new(&masks::picture(inputs, sample)?, &mask, inputs.settings.synthesis.feather)
            .map_err(|source| Error::Inpaint { id: row.id, source })?;
        objects[sample.label].push(cut);
    }
    Ok(objects)
}

fn read(inputs: Inputs<'_>, variant: Variant) -> Result<Vec<MaskRow>, Error> {
    run_folder::read_csv(&inputs.folder.path(&stage_name(variant), "objects.csv"))
}

fn donors<'a>(inputs: Inputs<'a>) -> Result<Vec<&'a Sample>, Error> {
    let train = inputs.usable(Split::Train)?;
    let mut chosen = Vec::new();
    for class in 0..inputs.classes() {
        let mut pool: Vec<&Sample> = train.iter().copied().filter(|s| s.label == class).collect();
        pool.shuffle(&mut stream(inputs.folder.seed, STAGE, class as u64));
        pool.truncate(inputs.settings.synthesis.objects);
        pool.sort_by_key(|s| s.id);
        chosen.extend(pool);
    }
    Ok(chosen)
}

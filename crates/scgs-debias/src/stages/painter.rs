//! What a variant paints with.

use std::path::PathBuf;

use burn::tensor::Device;
use image::RgbImage;
use rayon::prelude::*;
use scgs_data::read_rgb;
use scgs_diffusion::{
    BackgroundCrop, CopyPaste, Inpainter, TeleaFill,
    small::{SmallDiffusion, SmallOptions},
};

use super::{Inputs, diffusion, objects, sources::Variant};
use crate::{
    Error,
    settings::{FillKind, InpainterKind},
};

/// Pixels around a hole that the Telea fill looks at: three, as in OpenCV's examples.
const TELEA_RADIUS: u8 = 3;

/// The inpainter of `synthesis.inpainter`; for `scgs-context-only`, `synthesis.fill` alone.
///
/// # Errors
/// [`Error::Config`] where pictures or weights are missing; those of reading them.
pub(super) fn of(inputs: Inputs<'_>, device: &Device, variant: Variant) -> Result<Box<dyn Inpainter>, Error> {
    Ok(match (variant, inputs.settings.synthesis.inpainter) {
        (Variant::ContextOnly, _) => Box::new(CopyPaste::context_only(fill(inputs, device)?)),
        (_, InpainterKind::BackgroundCrop) => Box::new(background_crop(inputs)?),
        (_, InpainterKind::CopyPaste) => {
            let paste = CopyPaste::new(fill(inputs, device)?, objects::cut_outs(inputs, variant)?);
            Box::new(paste.map_err(|e| Error::Config { origin: "synthesis".into(), message: e.to_string() })?)
        }
        (_, InpainterKind::StableDiffusion) => Box::new(diffusion::painter(inputs, device)?),
        (_, InpainterKind::SmallDiffusion) => {
            let model = small(inputs, device, true)?;
            if model.classes() < inputs.classes() {
                return Err(Error::Config {
                    origin: "synthesis.small.weights".into(),
                    message: format!(
                        "the model paints {} classes, the data set has {}: train one with `scgs train-inpainter`",
                        model.classes(),
                        inputs.classes()
                    ),
                });
            }
            Box::new(model)
        }
    })
}

fn fill(inputs: Inputs<'_>, device: &Device) -> Result<Box<dyn Inpainter>, Error> {
    Ok(match inputs.settings.synthesis.fill {
        FillKind::BackgroundCrop => Box::new(background_crop(inputs)?),
        FillKind::Telea => Box::new(TeleaFill { radius: TELEA_RADIUS }),
        FillKind::SmallDiffusion => Box::new(small(inputs, device, false)?),
    })
}

fn small(inputs: Inputs<'_>, device: &Device, objects: bool) -> Result<SmallDiffusion, Error> {
    let settings = &inputs.settings.synthesis;
    let path = inputs.small_model.expect("opened where the settings ask for it");
    let options = SmallOptions {
        objects,
        steps: settings.small.steps,
        guidance: settings.small.guidance,
        feather: settings.feather,
    };
    SmallDiffusion::load(path, options, device)
        .map_err(|e| Error::Config { origin: "synthesis.small.weights".into(), message: e.to_string() })
}

fn background_crop(inputs: Inputs<'_>) -> Result<BackgroundCrop, Error> {
    let folder = inputs.backgrounds.ok_or_else(|| Error::Config {
        origin: "synthesis".into(),
        message: "the background-crop fill needs pictures without objects: name their folder with --backgrounds DIR"
            .into(),
    })?;
    let mut paths: Vec<PathBuf> = fs_err::read_dir(folder)?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .filter(|p| p.is_file())
        .collect();
    paths.sort();
    let pictures: Result<Vec<RgbImage>, _> = paths.par_iter().map(read_rgb).collect();
    let pictures = pictures.map_err(|e| Error::BadPictures { bad: vec![e.to_string()], allowed: 0 })?;
    BackgroundCrop::new(pictures, inputs.settings.synthesis.feather)
        .map_err(|e| Error::Config { origin: folder.display().to_string(), message: e.to_string() })
}

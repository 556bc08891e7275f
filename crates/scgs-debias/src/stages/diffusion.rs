//! Stable Diffusion as what paints in stage `5-synthesis`.

use burn::tensor::Device;
use scgs_diffusion::sd::{
    HubCache, ModelFolder, PipelineError, PromptTemplates, StableDiffusionInpaint, StableDiffusionPainter, Variant,
};

use super::Inputs;
use crate::{
    Error,
    settings::{DiffusionSettings, Dtype, InpainterKind, Settings},
};

/// Finds out at the start of a run whether the model is there and fits the settings, without reading its weights; nothing to
/// do for other inpainters.
///
/// # Errors
/// [`Error::Config`] with what is missing or does not fit.
pub fn check(settings: &Settings) -> Result<(), Error> {
    if settings.synthesis.inpainter != InpainterKind::StableDiffusion {
        return Ok(());
    }
    let diffusion = &settings.synthesis.diffusion;
    if !diffusion.prompts.is_empty() {
        PromptTemplates::new(diffusion.prompts.iter().cloned()).map_err(|e| refused("prompts", &e))?;
    }
    let folder = folder(diffusion)?;
    StableDiffusionInpaint::check_model(&folder, &diffusion.load_options(), &diffusion.paint_options())
        .map_err(|e| refused("model", &e))
}

/// Loads the model.
pub(super) fn painter(inputs: Inputs<'_>, device: &Device) -> Result<StableDiffusionPainter, Error> {
    let diffusion = &inputs.settings.synthesis.diffusion;
    let folder = folder(diffusion)?;
    let loaded = StableDiffusionInpaint::load(&folder, &diffusion.load_options(), device)
        .and_then(|model| StableDiffusionPainter::new(model, diffusion.paint_options()));
    loaded.map_err(|e| refused("model", &e))
}

/// What to paint for the `number`-th picture made from a source: the settings' templates in turn, or the data set's prompts.
pub(super) fn prompt(inputs: Inputs<'_>, label: usize, number: usize) -> String {
    let templates = &inputs.settings.synthesis.diffusion.prompts;
    let own = inputs.prompts.get(label).map(Vec::as_slice).unwrap_or_default();
    match PromptTemplates::new(templates.iter().cloned()) {
        Ok(templates) => templates.prompt(&inputs.index.classes[label], number),
        Err(_) if own.is_empty() => String::new(),
        Err(_) => own[number % own.len()].clone(),
    }
}

fn folder(diffusion: &DiffusionSettings) -> Result<ModelFolder, Error> {
    let variant = if diffusion.dtype == Dtype::F16 { Variant::Half } else { Variant::Full };
    let found = ModelFolder::find(&diffusion.model, HubCache::from_environment().as_ref(), variant);
    found.map_err(|e| refused("model", &e.into()))
}

fn refused(key: &str, error: &PipelineError) -> Error {
    Error::Config { origin: format!("synthesis.diffusion.{key}"), message: error.to_string() }
}

//! What a painted picture says about its making.

use super::{PaintOptions, PipelineError, StableDiffusionInpaint};

impl StableDiffusionInpaint {
    /// Keywords and texts for the file of a picture: everything that decides its pixels beside the picture itself.
    /// `mask_sha256` is what [`mask_sha256`](super::mask_sha256) gives.
    ///
    /// # Errors
    /// [`PipelineError`] for options out of range, and for files of the model that can no longer be read for their hash.
    pub fn provenance(
        &self,
        options: &PaintOptions,
        prompt: &str,
        seed: u64,
        mask_sha256: &str,
    ) -> Result<Vec<(String, String)>, PipelineError> {
        let mut texts = vec![
            ("prompt", prompt.to_owned()),
            ("negative_prompt", options.negative_prompt.clone()),
            ("seed", seed.to_string()),
            ("scheduler", self.scheduler(options)?.name().to_owned()),
            ("steps", options.steps.to_string()),
            ("guidance", options.guidance.to_string()),
            ("strength", options.strength.to_string()),
            ("model_sha256", self.hash()?),
            ("mask_sha256", mask_sha256.to_owned()),
        ];
        let more = [
            ("size", options.size.map(|(width, height)| format!("{width}x{height}"))),
            ("padding_crop", options.padding_mask_crop.map(|padding| padding.to_string())),
            ("dilate", (options.dilate > 0).then(|| options.dilate.to_string())),
            ("blur", (options.blur > 0.0).then(|| options.blur.to_string())),
            ("clip_skip", (options.clip_skip > 0).then(|| options.clip_skip.to_string())),
        ];
        texts.extend(more.into_iter().filter_map(|(keyword, text)| Some((keyword, text?))));
        Ok(texts.into_iter().map(|(keyword, text)| (keyword.to_owned(), text)).collect())
    }
}

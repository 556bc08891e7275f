//! Several prompts per class, written once with a placeholder.

use super::PipelineError;

/// What stands for the name of a class.
const PLACEHOLDER: &str = "{class}";

/// Prompts with the placeholder `{class}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromptTemplates(Vec<String>);

impl PromptTemplates {
    /// Checks that each says something and has no other placeholder.
    ///
    /// ```
    /// use scgs_diffusion::sd::PromptTemplates;
    /// let templates = PromptTemplates::new(["a photo of a {class}".into(), "{class}, snow".into()])?;
    /// assert_eq!(templates.prompt("bird", 3), "bird, snow");
    /// assert!(PromptTemplates::new(["a {colour} bird".into()]).is_err());
    /// # Ok::<(), scgs_diffusion::sd::PipelineError>(())
    /// ```
    ///
    /// # Errors
    /// [`PipelineError::Template`].
    pub fn new(templates: impl IntoIterator<Item = String>) -> Result<Self, PipelineError> {
        let templates: Vec<String> = templates.into_iter().collect();
        for template in &templates {
            let refused =
                |reason: &str| Err(PipelineError::Template { template: template.clone(), reason: reason.to_owned() });
            if template.trim().is_empty() {
                return refused("is empty");
            }
            if template.replace(PLACEHOLDER, "").contains(['{', '}']) {
                return refused("has a brace that belongs to no placeholder");
            }
        }
        if templates.is_empty() {
            return Err(PipelineError::Template { template: String::new(), reason: "is missing: give one".into() });
        }
        Ok(Self(templates))
    }

    /// The prompt for the `number`-th picture of a class: the templates in turn.
    pub fn prompt(&self, class: &str, number: usize) -> String {
        self.0[number % self.0.len()].replace(PLACEHOLDER, class)
    }
}

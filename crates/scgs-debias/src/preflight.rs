//! What can be known to be wrong before a data set is opened: all of it is said at once.

use burn::tensor::Device;
use scgs_models::HeadPolicy;

use crate::{Error, arms::Pictures, minibatch, pipeline::Plan};

/// One sentence per problem of a plan: arms without meaning or without groups, starting weights that are missing, broken,
/// not finite or of another architecture, layers to freeze that do not exist. The settings themselves were checked when they were read.
pub fn problems(plan: &Plan, device: &Device) -> Vec<String> {
    let mut found = Vec::new();
    for arm in &plan.arms {
        if let Some(why) = arm.impossible(&plan.settings) {
            found.push(format!("method `{arm}` is not possible: {why}"));
        }
        if plan.definition.attributes.len() < 2 && arm.sees_groups().training {
            found.push(format!(
                "method `{arm}` needs group labels, and data set {} has no spurious attribute: choose another method, or \
                 give the definition `attributes` and a table of groups",
                plan.definition.name
            ));
        }
        if arm.pictures == Pictures::Balanced && !plan.composed() {
            found.push(format!(
                "method `{arm}` needs a balanced training set of the same size, which exists only where pictures are \
                 composed (habitat without --data-dir)"
            ));
        }
    }
    found.extend(plan.small_model().err().map(|error| error.to_string()));
    found.extend(of_network(plan, device).err().map(|error| error.to_string()));
    found
}

/// Reads the starting weights and freezes what is to be frozen, as training will.
fn of_network(plan: &Plan, device: &Device) -> Result<(), Error> {
    let architecture = plan.settings.backbone.architecture;
    let classes = plan.definition.classes.len();
    let freeze = &plan.settings.train.freeze;
    let network = match plan.weights()? {
        Some(path) => scgs_models::load(architecture, &path, Some(classes), HeadPolicy::Replace { seed: 0 }, device)?,
        None if freeze.is_empty() => return Ok(()),
        None => architecture.init_seeded(classes, 0, false, device),
    };
    let known = network.layers();
    let (_, unknown) = minibatch::freeze(vec![network], freeze);
    if unknown.is_empty() { Ok(()) } else { Err(Error::UnknownFrozen { unknown, known }) }
}

//! Whether a classifier looks at the object: attention of every arm on test pictures, against true object masks.

use burn::tensor::Tensor;
use scgs_cam::{CamMethod, Epsilon, Mask, Score, attention_linear_head, energy_inside, pointing_game};
use scgs_data::{Grouped, Sample, Split};
use scgs_models::{HeadPolicy, Network};
use serde::{Deserialize, Serialize};

use crate::{
    Context, Error,
    arms::Arm,
    object_masks,
    settings::TrainMode,
    stages::{Inputs, evaluate},
    training::Trained,
};

/// Name under which progress is shown.
const STAGE: &str = "diagnostics";
/// Test pictures of each group, the first ones: enough for a mean, few enough for every run.
const PER_GROUP: usize = 50;
/// Pictures per forward pass; bounds memory, does not change any result.
const BATCH: usize = 16;
/// Tolerance of the pointing game as a share of the width: the 15 of 500 pixels of Zhang et al. (arXiv 1608.00507).
const TOLERANCE: f64 = 0.03;

/// Where an arm looks: Grad-CAM of the true class at the last layer, which shows evidence against the class too, and
/// Grad-CAM++, which the paper uses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArmAttention {
    /// Name of the arm.
    pub arm: String,
    /// Test pictures looked at, equally many per group as far as there are.
    pub n: usize,
    /// Mean share of the attention that lies inside the object, 0..=1; a picture without attention counts as 0.
    pub gradcam: f64,
    /// The same for Grad-CAM++.
    pub gradcam_plus_plus: f64,
    /// Share of pictures whose strongest pixel (Grad-CAM) lies in the object or within 3 % of the width of it.
    pub pointing: f64,
}

/// Looks at test pictures with every finished arm.
///
/// # Errors
/// Those of reading pictures, masks and models.
pub(super) fn of_arms(
    inputs: Inputs<'_>,
    context: &Context<'_>,
    grouped: &Grouped,
    arms: &[Arm],
) -> Result<Vec<ArmAttention>, Error> {
    let chosen = chosen(inputs, grouped)?;
    let clock = context.start(STAGE, chosen.len());
    let full = inputs.settings.train.mode == TrainMode::Full;
    let erm = inputs.erm_network(context)?;
    let mut models = Vec::new();
    for &arm in arms {
        let path = inputs.folder.path(&evaluate::stage_name(arm), "model.safetensors");
        let architecture = inputs.settings.backbone.architecture;
        let network =
            scgs_models::load(architecture, &path, Some(inputs.classes()), HeadPolicy::Keep, &context.device)?;
        models.push(Model {
            arm,
            head: Trained::head_of(&network).weight,
            network: full.then(|| network.fold_batch_norm()),
        });
    }
    let methods = [CamMethod::GradCam, CamMethod::GradCamPlusPlus { epsilon: Epsilon::default() }];
    let mut sums = vec![[0.0; 3]; models.len()];
    for (i, batch) in chosen.chunks(BATCH).enumerate() {
        let paths: Vec<_> = batch.iter().map(|s| inputs.index.absolute(s)).collect();
        let x = inputs.input().load(&paths, context)?;
        let objects: Vec<Mask> =
            batch.iter().map(|s| object_masks::read(inputs.index, s.id)).collect::<Result<_, _>>()?;
        let size = (objects[0].width(), objects[0].height());
        let scores: Vec<Score> = batch.iter().map(|s| Score::Class(s.label)).collect();
        // Heads on one frozen network share its last map.
        let shared: Option<Tensor<4>> = (!full).then(|| erm.features(x.clone()));
        for (model, sums) in models.iter().zip(&mut sums) {
            let map = match (&shared, &model.network) {
                (Some(map), _) => map.clone(),
                (None, Some(network)) => network.features(x.clone()),
                (None, None) => unreachable!("a whole network is kept where the backbone is trained"),
            };
            for (m, method) in methods.iter().enumerate() {
                let found = attention_linear_head(method, map.clone(), &model.head, &scores, size)?;
                for (attention, object) in found.iter().zip(&objects) {
                    let Some(attention) = attention else { continue };
                    sums[m] += energy_inside(attention, object)?;
                    if m == 0 {
                        let tolerance = (TOLERANCE * size.0 as f64).round() as u8;
                        sums[2] += f64::from(u8::from(pointing_game(attention, object, tolerance)?));
                    }
                }
            }
        }
        context.advance(STAGE, (i * BATCH + batch.len()).min(chosen.len()))?;
    }
    let n = chosen.len();
    let summary = format!("attention of {} arms on {n} test pictures", models.len());
    let seconds = clock.elapsed().as_secs_f64();
    (context.report)(crate::Event::Finished { stage: STAGE.into(), summary, seconds, reused: false });
    let mean = |sum: f64| sum / n as f64;
    Ok(models
        .iter()
        .zip(sums)
        .map(|(model, [gradcam, plus_plus, pointing])| ArmAttention {
            arm: model.arm.name(),
            n,
            gradcam: mean(gradcam),
            gradcam_plus_plus: mean(plus_plus),
            pointing: mean(pointing),
        })
        .collect())
}

struct Model {
    arm: Arm,
    /// `[classes, channels]`, row major.
    head: Vec<f32>,
    /// Where the backbone is trained too.
    network: Option<Network>,
}

fn chosen<'a>(inputs: Inputs<'a>, grouped: &Grouped) -> Result<Vec<&'a Sample>, Error> {
    let attributes = grouped.attribute_names().len();
    let mut taken = vec![0; inputs.classes() * attributes];
    let mut chosen = inputs.usable(Split::Test)?;
    chosen.retain(|s| {
        let Some(attribute) = grouped.attribute_of(s.id) else { return false };
        let count = &mut taken[s.label * attributes + attribute];
        *count += 1;
        *count <= PER_GROUP
    });
    Ok(chosen)
}

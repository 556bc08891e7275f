//! What a run needs and does not find, known before anything long starts.

use std::{fmt, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    Error,
    arms::Pictures,
    pipeline::Plan,
    settings::{FillKind, InpainterKind, TrainMode},
    stages::sources::Variant,
};

/// Something that is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// What.
    pub what: String,
    /// How to get it.
    pub how: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
        for line in self.how.trim().lines() {
            write!(f, "\n    {line}")?;
        }
        Ok(())
    }
}

/// What a file of `datasets/sources` says to people; the rest of it is for the download.
#[derive(Deserialize)]
struct Source {
    by_hand: String,
}

/// Everything that is missing for a plan, in the order in which a run would ask for it.
pub fn missing(plan: &Plan) -> Vec<Missing> {
    let mut missing = Vec::new();
    missing.extend(data(plan));
    if let Err(error) = plan.weights() {
        let what = match error {
            Error::Config { origin, message } => format!("{origin}: {message}"),
            other => other.to_string(),
        };
        missing.push(Missing { what, how: how_to_get_weights(plan) });
    }
    if let Err(error) = plan.small_model() {
        missing.push(Missing { what: "the small diffusion model".into(), how: error.to_string() });
    }
    if needs_backgrounds(plan) && !has_backgrounds(plan) {
        let why = match plan.settings.train.mode {
            TrainMode::Head => "",
            TrainMode::Full => ", and the classifier is trained first",
        };
        missing.push(Missing {
            what: format!("pictures without objects, which the inpainter fills from{why}"),
            how: "name their folder with --backgrounds DIR, or choose another synthesis.inpainter".into(),
        });
    }
    missing
}

fn data(plan: &Plan) -> Option<Missing> {
    if plan.composed() {
        return None;
    }
    let what = match &plan.data_dir {
        None => format!(
            "the pictures of {}, which do not ship with the project: name their folder with --data-dir DIR",
            plan.definition.title
        ),
        Some(folder) if !folder.is_dir() => format!("the folder {} of --data-dir", folder.display()),
        Some(_) => return None,
    };
    // Two definitions may be of the same files, such as the corrected labels.
    let base = plan.definition.name.split('-').next().unwrap_or_default();
    let found = [plan.definition.name.as_str(), base].into_iter().find_map(|name| {
        let text = fs_err::read_to_string(sources(plan).join(format!("{name}.toml"))).ok()?;
        let source: Source = toml::from_str(&text).ok()?;
        Some(format!(
            "`cargo xtask download {name}` downloads them into data, verified; or by hand:\n{}",
            source.by_hand.trim()
        ))
    });
    Some(Missing { what, how: found.unwrap_or_else(|| plan.definition.source.clone()) })
}

fn sources(plan: &Plan) -> std::path::PathBuf {
    plan.datasets.join("sources")
}

/// The download whose list of files has the file's name.
fn how_to_get_weights(plan: &Plan) -> String {
    let wanted = Path::new(&plan.settings.backbone.weights).file_name().and_then(|name| name.to_str());
    let mut lists: Vec<_> = fs_err::read_dir(sources(plan)).into_iter().flatten().flatten().map(|e| e.path()).collect();
    lists.sort();
    let found = lists.iter().find(|list| {
        let text = fs_err::read_to_string(list).unwrap_or_default();
        wanted.is_some_and(|wanted| text.contains(&format!("/{wanted}\"")))
    });
    match found.and_then(|list| list.file_stem()?.to_str()) {
        Some(name) => format!("`cargo xtask download {name}` downloads them into data/weights, verified"),
        None => "name an existing file with --set backbone.weights=FILE".into(),
    }
}

fn needs_backgrounds(plan: &Plan) -> bool {
    let synthesis = &plan.settings.synthesis;
    let filled = synthesis.fill == FillKind::BackgroundCrop;
    let needs = |variant| match (variant, synthesis.inpainter) {
        (Variant::ContextOnly, _) | (_, InpainterKind::CopyPaste) => filled,
        (_, kind) => kind == InpainterKind::BackgroundCrop,
    };
    plan.arms.iter().any(|arm| matches!(arm.pictures, Pictures::Scgs(variant) if needs(variant)))
}

fn has_backgrounds(plan: &Plan) -> bool {
    let shipped = |folder: &Path| folder.join("backgrounds").join("train").is_dir();
    plan.composed()
        || plan.backgrounds.as_deref().is_some_and(Path::is_dir)
        || plan.data_dir.as_deref().is_some_and(shipped)
}

#[cfg(test)]
mod tests {
    use scgs_data::Definition;

    use super::*;
    use crate::{Settings, arms::Arm};

    fn plan(dataset: &str, profile: Option<&str>, sets: &[&str]) -> Plan {
        let datasets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets");
        let definition = Definition::read(datasets.join(format!("{dataset}.toml"))).unwrap();
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        let settings = Settings::resolve(&definition, profile, None, &sets).unwrap();
        Plan {
            arms: Arm::parse_list("erm,scgs", &settings).unwrap(),
            definition,
            settings,
            runs: "runs".into(),
            datasets,
            data_dir: None,
            backgrounds: None,
            device: "flex".into(),
            afterwards: crate::pipeline::Afterwards::Nothing,
            memory: None,
            accept_counts: false,
        }
    }

    fn texts(plan: &Plan) -> Vec<String> {
        missing(plan).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn habitat_needs_nothing() {
        assert_eq!(missing(&plan("habitat", None, &[])), []);
    }

    #[test]
    fn everything_that_a_published_set_lacks_is_said_at_once_with_the_way_to_it() {
        for (name, archive) in [("waterbirds", "tar.gz"), ("celeba", "kaggle"), ("metashift", "MetaDatasetCatDog")] {
            let sets = ["backbone.weights=nowhere/resnet50-0676ba61.pth", "synthesis.inpainter=background-crop"];
            let texts = texts(&plan(name, Some("paper"), &sets));
            assert_eq!(texts.len(), 3, "{texts:?}");
            assert!(texts[0].contains("--data-dir DIR") && texts[0].contains(archive), "{}", texts[0]);
            assert!(texts[0].contains(&format!("cargo xtask download {name}`")), "{}", texts[0]);
            assert!(texts[1].contains("nowhere/resnet50-0676ba61.pth does not exist"), "{}", texts[1]);
            assert!(texts[1].contains("cargo xtask download weights-resnet50`"), "{}", texts[1]);
            assert!(texts[2].contains("--backgrounds DIR"), "{}", texts[2]);
        }
    }

    #[test]
    fn corrected_labels_come_with_the_same_files() {
        let texts = texts(&plan("waterbirds-corrected", None, &[]));
        assert!(texts[0].contains("cargo xtask download waterbirds`"), "{}", texts[0]);
    }

    #[test]
    fn what_is_there_is_not_missing() {
        let folder = tempfile::tempdir().unwrap();
        let mut plan = plan("waterbirds", None, &[]);
        plan.data_dir = Some(folder.path().join("none"));
        plan.backgrounds = Some(folder.path().to_owned());
        let texts = texts(&plan);
        assert!(texts.len() == 1 && texts[0].contains("none of --data-dir"), "{texts:?}");
        plan.data_dir = Some(folder.path().to_owned());
        assert_eq!(missing(&plan), []);
        plan.backgrounds = None;
        assert_eq!(missing(&plan).len(), 1);
        // A data folder may bring its own.
        fs_err::create_dir_all(folder.path().join("backgrounds/train")).unwrap();
        assert_eq!(missing(&plan), []);
        plan.arms.retain(|arm| arm.name() == "erm");
        fs_err::remove_dir_all(folder.path().join("backgrounds")).unwrap();
        assert_eq!(missing(&plan), []);
    }
}

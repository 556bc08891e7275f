//! Which settings can change what a stage writes. Two configurations that agree in them may share the finished stage.

use super::{MaskSettings, MethodTraining, Settings, SynthesisSettings, TrainMode, TrainSettings};
use crate::{
    arms::{Arm, Pictures},
    methods::Method,
    stages::{clusters, evaluate, training_set},
};

impl Settings {
    /// These settings with everything at its default that has no influence on `stage`, the name of a stage's folder. A name
    /// that is not known keeps all settings: it is shared with equal configurations alone.
    pub(crate) fn relevant_to(&self, stage: &str) -> Self {
        let full = self.train.mode == TrainMode::Full;
        let pictures = Self {
            data: self.data.clone(),
            habitat: self.habitat.clone(),
            backbone: self.backbone.clone(),
            ..Self::default()
        };
        let own = |(name, _): &(&String, &MethodTraining)| full && name.as_str() == Method::Erm.name();
        let methods = self.methods.iter().filter(own).map(|(name, own)| (name.clone(), own.clone())).collect();
        let trained = Self { train: self.first_training(), methods, ..pictures.clone() };
        let identified = Self { identify: self.identify.clone(), ..trained.clone() };
        // The pick among the clusters follows from how many pictures are added; sources and masks do not.
        let clustered = Self {
            cluster: self.cluster.clone(),
            synthesis: SynthesisSettings { share: self.synthesis.share, ..SynthesisSettings::default() },
            ..identified.clone()
        };
        let sourced = Self {
            mask: MaskSettings { repaint: self.mask.repaint, ..MaskSettings::default() },
            synthesis: SynthesisSettings { sources: self.synthesis.sources, ..SynthesisSettings::default() },
            ..clustered.clone()
        };
        let masked = Self {
            attention: self.attention.clone(),
            mask: self.mask.clone(),
            synthesis: SynthesisSettings { objects: self.synthesis.objects, ..sourced.synthesis.clone() },
            ..sourced.clone()
        };
        let painted = Self { synthesis: self.synthesis.clone(), ..masked.clone() };
        if let Some(arm) = stage.strip_prefix("6-").and_then(|name| name.parse::<Arm>().ok()) {
            return self.relevant_to_arm(arm, [trained, clustered, painted]);
        }
        match stage.split('-').next() {
            Some("0") => pictures,
            Some("1") => trained,
            Some("2") => identified,
            Some("3") if stage == clusters::STAGE => clustered,
            Some("3") => sourced,
            Some("4") => masked,
            Some("5") => painted,
            // The features of pictures do not depend on the last layer that is trained on them.
            _ if [evaluate::TEST_STAGE, training_set::BALANCED_STAGE].contains(&stage) => {
                let train = TrainSettings { mode: self.train.mode, ..TrainSettings::default() };
                if full { trained } else { Self { train, ..pictures } }
            }
            _ => self.clone(),
        }
    }

    /// What of `[train]` concerns the first classifier, and so everything before the arms: in mode `head` its last layer is
    /// solved for.
    fn first_training(&self) -> TrainSettings {
        let default = TrainSettings::default();
        match self.train.mode {
            TrainMode::Head => TrainSettings { mode: self.train.mode, c: self.train.c, ..default },
            TrainMode::Full => TrainSettings { long: default.long, head: default.head, ..self.train.clone() },
        }
    }

    /// The arm's own method keeps every method's section: few of them are ever changed.
    fn relevant_to_arm(&self, arm: Arm, [trained, clustered, painted]: [Self; 3]) -> Self {
        let base = match arm.pictures {
            Pictures::Scgs(_) => painted,
            Pictures::Duplicate => clustered,
            Pictures::Real | Pictures::Balanced if arm.needs_errors() => {
                Self { identify: self.identify.clone(), ..trained }
            }
            Pictures::Real | Pictures::Balanced => trained,
        };
        Self {
            data: base.data,
            habitat: base.habitat,
            backbone: base.backbone,
            train: self.train.clone(),
            identify: base.identify,
            cluster: base.cluster,
            attention: base.attention,
            mask: base.mask,
            synthesis: base.synthesis,
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use scgs_cam::Repaint;

    use super::*;

    #[test]
    fn a_stage_depends_on_what_comes_before_it_and_on_nothing_after() {
        let base = Settings::default();
        let mut changed = base.clone();
        changed.synthesis.feather = 3.0;
        let differs = |changed: &Settings, stage: &str| base.relevant_to(stage) != changed.relevant_to(stage);
        for stage in [
            "0-pictures",
            "1-erm",
            "2-errors",
            "3-clusters",
            "4-masks",
            "4-objects",
            "6-test",
            "6-erm",
            "6-jtt",
            "6-duplicate",
        ] {
            assert!(!differs(&changed, stage), "{stage}");
        }
        for stage in ["5-synthesis", "5-synthesis-random-mask", "6-scgs", "6-scgs+jtt"] {
            assert!(differs(&changed, stage), "{stage}");
        }
        let mut changed = base.clone();
        changed.mask.repaint = Repaint::Swap;
        assert!(differs(&changed, "3-sources") && differs(&changed, "6-scgs") && !differs(&changed, "2-errors"));
        let mut changed = base.clone();
        changed.train.c = 1.0;
        assert!(differs(&changed, "1-erm") && differs(&changed, "6-erm") && !differs(&changed, "6-test"));
        changed.train.mode = TrainMode::Full;
        assert!(differs(&changed, "6-test"));
        let mut changed = base.clone();
        changed.synthesis.share = 1.0;
        assert!(
            differs(&changed, "3-clusters") && differs(&changed, "6-duplicate") && differs(&changed, "5-synthesis")
        );
        assert!(!differs(&changed, "3-sources") && !differs(&changed, "4-masks"));
        let mut changed = base.clone();
        changed.train.head.learning_rate = 0.5;
        assert!(!differs(&changed, "1-erm") && !differs(&changed, "5-synthesis") && differs(&changed, "6-groupdro"));
        let full = |smoothing| Settings {
            train: TrainSettings { mode: TrainMode::Full, smoothing, ..TrainSettings::default() },
            ..Settings::default()
        };
        assert_ne!(full(0.0).relevant_to("1-erm"), full(0.1).relevant_to("1-erm"), "every setting of mode full counts");
        let mut changed = base.clone();
        changed.jtt.upweight = 7;
        assert!(differs(&changed, "6-jtt") && differs(&changed, "6-scgs+jtt") && !differs(&changed, "5-synthesis"));
    }
}

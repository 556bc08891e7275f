//! The arms of a comparison: what a classifier is trained on, and how. The two are chosen independently.

use std::{cmp::Ordering, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    Error, Settings,
    methods::Method,
    settings::{LisaMix, TrainMode},
    stages::sources::Variant,
};

/// The training pictures of an arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pictures {
    /// The real training split.
    Real,
    /// Real, and each picked mistake once more for every new picture SCGS would make of it: the control without
    /// generation.
    Duplicate,
    /// Real, and the new pictures of the method or of one of its controls.
    Scgs(Variant),
    /// A training split of the same size in which every group is equally large (oracle).
    Balanced,
}

impl Pictures {
    /// Every source, in the order of the table.
    pub const ALL: [Self; 9] = [
        Self::Real,
        Self::Duplicate,
        Self::Scgs(Variant::RandomMask),
        Self::Scgs(Variant::RandomSource),
        Self::Scgs(Variant::Generic),
        Self::Scgs(Variant::ContextOnly),
        Self::Scgs(Variant::Scgs),
        Self::Scgs(Variant::OracleMask),
        Self::Balanced,
    ];

    /// The name in `--methods`; an arm on real pictures has the bare name of its method.
    pub fn name(self) -> &'static str {
        match self {
            Self::Real => "real",
            Self::Duplicate => "duplicate",
            Self::Scgs(variant) => variant.arm(),
            Self::Balanced => "oracle-balanced",
        }
    }

    /// Whether group labels, or true object masks, which no user has either, decide which pictures there are.
    pub fn sees_groups(self) -> bool {
        matches!(self, Self::Balanced | Self::Scgs(Variant::OracleMask))
    }

    /// Whether the error set decides which pictures there are.
    pub fn needs_errors(self) -> bool {
        matches!(self, Self::Duplicate | Self::Scgs(_))
    }

    /// Whether some of the pictures are generated.
    pub fn has_synthetic(self) -> bool {
        matches!(self, Self::Scgs(_))
    }
}

/// One row of the result table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Arm {
    /// What it is trained on.
    pub pictures: Pictures,
    /// How it learns.
    pub method: Method,
}

/// Whether group labels were used, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeesGroups {
    /// In training.
    pub training: bool,
    /// In choosing the model or its settings.
    pub selection: bool,
}

impl SeesGroups {
    /// Whether anything was told about groups: such an arm is an oracle.
    pub fn any(self) -> bool {
        self.training || self.selection
    }
}

impl Arm {
    /// The arms of a run that names none: SCGS, its controls, JTT and two oracles.
    pub const CORE: [Self; 9] = [
        Self { pictures: Pictures::Real, method: Method::Erm },
        Self { pictures: Pictures::Duplicate, method: Method::Erm },
        Self { pictures: Pictures::Scgs(Variant::RandomMask), method: Method::Erm },
        Self { pictures: Pictures::Scgs(Variant::ContextOnly), method: Method::Erm },
        Self { pictures: Pictures::Scgs(Variant::Scgs), method: Method::Erm },
        Self { pictures: Pictures::Real, method: Method::Jtt },
        Self { pictures: Pictures::Scgs(Variant::Scgs), method: Method::Jtt },
        Self { pictures: Pictures::Real, method: Method::OracleReweight },
        Self { pictures: Pictures::Balanced, method: Method::Erm },
    ];

    /// Every source of pictures with ERM, and every method alone and with SCGS, in the order of the table; without what
    /// has no meaning under the settings.
    pub fn all(settings: &Settings) -> Vec<Self> {
        let mut arms: Vec<Self> = Pictures::ALL.map(|pictures| Self { pictures, method: Method::Erm }).to_vec();
        for method in Method::ALL {
            arms.extend([Pictures::Real, Pictures::Scgs(Variant::Scgs)].map(|pictures| Self { pictures, method }));
        }
        arms.retain(|arm| arm.impossible(settings).is_none());
        arms.sort();
        arms.dedup();
        arms
    }

    /// The name in `--methods`, folders and `results.json`: that of the method on real pictures, that of the pictures
    /// with ERM, else both: `scgs+jtt`.
    pub fn name(self) -> String {
        match (self.pictures, self.method) {
            (Pictures::Real, method) => method.name().to_owned(),
            (pictures, Method::Erm) => pictures.name().to_owned(),
            (pictures, method) => format!("{}+{}", pictures.name(), method.name()),
        }
    }

    /// Whether the arm uses group labels in training. An arm that does is an oracle and marked in every table.
    pub fn sees_groups(self) -> SeesGroups {
        let method = self.method.sees_groups();
        SeesGroups { training: method.training || self.pictures.sees_groups(), selection: method.selection }
    }

    /// Whether the arm needs the error set.
    pub fn needs_errors(self) -> bool {
        self.method.needs_errors() || self.pictures.needs_errors()
    }

    /// Why the combination makes no sense, or has none under the settings.
    pub fn impossible(self, settings: &Settings) -> Option<&'static str> {
        match (self.pictures, self.method) {
            (Pictures::Scgs(Variant::ContextOnly), _) if !settings.mask.repaint.renews_object() => Some(
                "it removes the object that mask.repaint = swap, replace or every-class would renew; set mask.repaint, or leave it out",
            ),
            (Pictures::Scgs(Variant::Generic), _) if !settings.synthesis.inpainter.paints_pictures() => Some(
                "background-crop and copy-paste paint no whole picture; set synthesis.inpainter to one that does, or leave it out",
            ),
            (_, Method::Lisa) if settings.lisa.mix == LisaMix::Cutmix && settings.train.mode == TrainMode::Head => {
                Some(
                    "lisa.mix = cutmix cuts pictures, which have no place in train.mode = head: set lisa.mix = mixup, or train.mode = full",
                )
            }
            (pictures, Method::Pretrain) if !pictures.has_synthetic() => Some(
                "it learns from new pictures first and real ones after: combine it with pictures, as in scgs+pretrain",
            ),
            (Pictures::Balanced, method) if method.needs_errors() || method.sees_groups().training => {
                Some("the balanced training set has neither an error set nor unequal groups: leave the method out")
            }
            _ => None,
        }
    }

    /// Reads `all`, `core` or a comma-separated list; the order is that of the table, duplicates count once.
    ///
    /// # Errors
    /// [`Error::UnknownArms`] lists every name that cannot be used.
    pub fn parse_list(list: &str, settings: &Settings) -> Result<Vec<Self>, Error> {
        let mut arms = Vec::new();
        let mut problems = Vec::new();
        for name in list.split(',').map(str::trim) {
            match name {
                "all" => arms.extend(Self::all(settings)),
                "core" => {
                    arms.extend(Self::CORE.into_iter().filter(|arm| arm.impossible(settings).is_none()));
                }
                _ => match Self::read(name, settings) {
                    Ok(arm) => arms.push(arm),
                    Err(problem) => problems.push(problem),
                },
            }
        }
        if !problems.is_empty() {
            return Err(Error::UnknownArms { problems, known: known() });
        }
        arms.sort();
        arms.dedup();
        Ok(arms)
    }

    fn read(name: &str, settings: &Settings) -> Result<Self, String> {
        let arm = Self::named(name)?;
        match arm.impossible(settings) {
            Some(why) => Err(format!("method `{name}` is not possible: {why}")),
            None => Ok(arm),
        }
    }

    fn named(name: &str) -> Result<Self, String> {
        let pictures_of = |name: &str| Pictures::ALL.into_iter().find(|p| p.name() == name);
        let method_of = |name: &str| Method::ALL.into_iter().find(|m| m.name() == name);
        let found = match name.split_once('+') {
            Some((pictures, method)) => pictures_of(pictures).zip(method_of(method)),
            None => match (pictures_of(name), method_of(name)) {
                (_, Some(method)) => Some((Pictures::Real, method)),
                (Some(pictures), None) => Some((pictures, Method::Erm)),
                (None, None) => None,
            },
        };
        let (pictures, method) = found.ok_or_else(|| format!("unknown method `{name}`"))?;
        Ok(Self { pictures, method })
    }

    /// Oracles come last; then by method, then by pictures.
    fn rank(self) -> (u8, Method, Pictures) {
        let group = match (self.pictures, self.method) {
            (Pictures::Balanced, _) => 2,
            (Pictures::Scgs(Variant::OracleMask), _) | (_, Method::OracleReweight | Method::OracleResample) => 1,
            _ => 0,
        };
        (group, self.method, self.pictures)
    }
}

impl Ord for Arm {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl PartialOrd for Arm {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// All names, for messages.
fn known() -> String {
    let methods = Method::ALL.map(Method::name).join(", ");
    let pictures = Pictures::ALL.map(Pictures::name)[1..].join(", ");
    format!("methods: {methods}; pictures: {pictures}; both: <pictures>+<method>; sets: all, core")
}

impl FromStr for Arm {
    type Err = Error;

    /// Reads a name; whether the arm has a meaning is for [`Arm::impossible`].
    fn from_str(name: &str) -> Result<Self, Error> {
        Self::named(name).map_err(|problem| Error::UnknownArms { problems: vec![problem], known: known() })
    }
}

impl fmt::Display for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name())
    }
}

#[cfg(test)]
mod tests {
    use scgs_cam::Repaint;

    use super::*;

    fn parsed(name: &str) -> Arm {
        Arm::read(name, &Settings::default()).unwrap()
    }

    #[test]
    fn all_leaves_out_what_has_no_meaning_and_naming_it_is_an_error() {
        let mut settings = Settings::default();
        let all = Arm::all(&settings);
        assert!(!all.iter().any(|arm| arm.name() == "scgs-context-only"));
        let message = Arm::parse_list("scgs-context-only", &settings).unwrap_err().to_string();
        assert!(message.contains("set mask.repaint"), "{message}");
        settings.mask.repaint = Repaint::Swap;
        assert_eq!(Arm::all(&settings).len(), all.len() + 1);
        settings.lisa.mix = LisaMix::Cutmix;
        assert_eq!(Arm::all(&settings).len(), all.len() + 1 - 2, "neither lisa nor scgs+lisa");
    }

    #[test]
    fn names_round_trip() {
        let settings = Settings::default();
        for pictures in Pictures::ALL {
            for method in Method::ALL {
                let arm = Arm { pictures, method };
                let possible = arm.impossible(&settings).is_none();
                assert_eq!(Arm::read(&arm.name(), &settings).ok(), possible.then_some(arm), "{arm}");
            }
        }
    }

    #[test]
    fn the_names_that_scripts_use_are_known() {
        let names = "erm,erm-long,duplicate,reweight,resample,subg,jtt,groupdro,cvar-dro,dfr,afr,lff,mixup,cutmix,lisa,\
                     masktune,cnc,scgs,scgs-random-mask,scgs-random-source,scgs-context-only,oracle-mask,\
                     scgs+jtt,scgs+groupdro,oracle-reweight,oracle-balanced";
        let mut settings = Settings::default();
        settings.mask.repaint = Repaint::Swap;
        let arms = Arm::parse_list(names, &settings).unwrap();
        assert_eq!(arms.len(), names.split(',').count());
        let all = Arm::all(&settings);
        assert!(arms.iter().all(|arm| all.contains(arm)));
    }

    #[test]
    fn what_is_told_about_groups_is_part_of_the_arm() {
        let oracles = "resample lisa subg groupdro dfr oracle-reweight oracle-resample oracle-balanced scgs+groupdro";
        for name in oracles.split(' ').skip(1) {
            assert!(parsed(name).sees_groups().training, "{name}");
        }
        for name in "erm scgs jtt scgs+jtt reweight resample cvar-dro afr lff mixup cutmix masktune cnc".split(' ') {
            assert!(!parsed(name).sees_groups().any(), "{name}");
        }
    }

    #[test]
    fn lists_are_ordered_like_the_table() {
        let settings = Settings::default();
        let names = |list| Arm::parse_list(list, &settings).unwrap().iter().map(|a| a.name()).collect::<Vec<_>>();
        assert_eq!(names("scgs, erm,scgs"), ["erm", "scgs"]);
        let core =
            ["erm", "duplicate", "scgs-random-mask", "scgs", "jtt", "scgs+jtt", "oracle-reweight", "oracle-balanced"];
        assert_eq!(names("core"), core);
        assert_eq!(Arm::parse_list("all", &settings).unwrap(), Arm::all(&settings));
    }

    #[test]
    fn everything_wrong_with_a_list_is_said_at_once() {
        let message = Arm::parse_list("erm,scsg,pretrain,scgs+nothing", &Settings::default()).unwrap_err().to_string();
        for part in ["unknown method `scsg`", "`pretrain` is not possible", "`scgs+nothing`", "oracle-balanced"] {
            assert!(message.contains(part), "{part} in {message}");
        }
    }
}

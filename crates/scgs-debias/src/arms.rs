//! The arms of a comparison: what a classifier is trained on, and how. The two are chosen independently.

use std::{cmp::Ordering, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Error, methods::Method};

/// The training pictures of an arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pictures {
    /// The real training split.
    Real,
    /// Real, and each picked mistake once more for every new picture SCGS would make of it: the control without
    /// generation.
    Duplicate,
    /// Real, and new pictures made with random boxes of the masks' areas: the control for the attention maps.
    ScgsRandomMask,
    /// Real, and the new pictures.
    Scgs,
    /// A training split of the same size in which every group is equally large (oracle).
    Balanced,
}

impl Pictures {
    /// Every source, in the order of the table.
    pub const ALL: [Self; 5] = [Self::Real, Self::Duplicate, Self::ScgsRandomMask, Self::Scgs, Self::Balanced];

    /// The name in `--methods`; an arm on real pictures has the bare name of its method.
    pub fn name(self) -> &'static str {
        match self {
            Self::Real => "real",
            Self::Duplicate => "duplicate",
            Self::ScgsRandomMask => "scgs-random-mask",
            Self::Scgs => "scgs",
            Self::Balanced => "oracle-balanced",
        }
    }

    /// Whether group labels decide which pictures there are.
    pub fn sees_groups(self) -> bool {
        self == Self::Balanced
    }

    /// Whether the error set decides which pictures there are.
    pub fn needs_errors(self) -> bool {
        matches!(self, Self::Duplicate | Self::Scgs | Self::ScgsRandomMask)
    }

    /// Whether some of the pictures are generated.
    pub fn has_synthetic(self) -> bool {
        matches!(self, Self::Scgs | Self::ScgsRandomMask)
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
    pub const CORE: [Self; 8] = [
        Self { pictures: Pictures::Real, method: Method::Erm },
        Self { pictures: Pictures::Duplicate, method: Method::Erm },
        Self { pictures: Pictures::ScgsRandomMask, method: Method::Erm },
        Self { pictures: Pictures::Scgs, method: Method::Erm },
        Self { pictures: Pictures::Real, method: Method::Jtt },
        Self { pictures: Pictures::Scgs, method: Method::Jtt },
        Self { pictures: Pictures::Real, method: Method::OracleReweight },
        Self { pictures: Pictures::Balanced, method: Method::Erm },
    ];

    /// Every source of pictures with ERM, and every method alone and with SCGS, in the order of the table.
    pub fn all() -> Vec<Self> {
        let mut arms: Vec<Self> = Pictures::ALL.map(|pictures| Self { pictures, method: Method::Erm }).to_vec();
        for method in Method::ALL {
            arms.extend([Pictures::Real, Pictures::Scgs].map(|pictures| Self { pictures, method }));
        }
        arms.retain(|arm| arm.impossible().is_none());
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

    /// Why the combination makes no sense, if it does not.
    pub fn impossible(self) -> Option<&'static str> {
        match (self.pictures, self.method) {
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
    pub fn parse_list(list: &str) -> Result<Vec<Self>, Error> {
        let mut arms = Vec::new();
        let mut problems = Vec::new();
        for name in list.split(',').map(str::trim) {
            match name {
                "all" => arms.extend(Self::all()),
                "core" => arms.extend(Self::CORE),
                _ => match Self::read(name) {
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

    fn read(name: &str) -> Result<Self, String> {
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
        let arm = Self { pictures, method };
        match arm.impossible() {
            Some(why) => Err(format!("method `{name}` is not possible: {why}")),
            None => Ok(arm),
        }
    }

    /// Oracles come last; then by method, then by pictures.
    fn rank(self) -> (u8, Method, Pictures) {
        let group = match (self.pictures, self.method) {
            (Pictures::Balanced, _) => 2,
            (_, Method::OracleReweight | Method::OracleResample) => 1,
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

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::read(name).map_err(|problem| Error::UnknownArms { problems: vec![problem], known: known() })
    }
}

impl fmt::Display for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for pictures in Pictures::ALL {
            for method in Method::ALL {
                let arm = Arm { pictures, method };
                assert_eq!(arm.name().parse::<Arm>().ok(), arm.impossible().is_none().then_some(arm), "{arm}");
            }
        }
    }

    #[test]
    fn the_names_that_scripts_use_are_known() {
        let names = "erm,erm-long,duplicate,reweight,resample,subg,jtt,groupdro,cvar-dro,dfr,afr,lff,mixup,cutmix,lisa,\
                     masktune,cnc,scgs,scgs-random-mask,scgs+jtt,scgs+groupdro,oracle-reweight,oracle-balanced";
        let arms = Arm::parse_list(names).unwrap();
        assert_eq!(arms.len(), names.split(',').count());
        let all = Arm::all();
        assert!(arms.iter().all(|arm| all.contains(arm)));
    }

    #[test]
    fn what_is_told_about_groups_is_part_of_the_arm() {
        let oracles = "resample lisa subg groupdro dfr oracle-reweight oracle-resample oracle-balanced scgs+groupdro";
        for name in oracles.split(' ').skip(1) {
            assert!(name.parse::<Arm>().unwrap().sees_groups().training, "{name}");
        }
        for name in "erm scgs jtt scgs+jtt reweight resample cvar-dro afr lff mixup cutmix masktune cnc".split(' ') {
            assert!(!name.parse::<Arm>().unwrap().sees_groups().any(), "{name}");
        }
    }

    #[test]
    fn lists_are_ordered_like_the_table() {
        let names = |list| Arm::parse_list(list).unwrap().iter().map(|a| a.name()).collect::<Vec<_>>();
        assert_eq!(names("scgs, erm,scgs"), ["erm", "scgs"]);
        let core =
            ["erm", "duplicate", "scgs-random-mask", "scgs", "jtt", "scgs+jtt", "oracle-reweight", "oracle-balanced"];
        assert_eq!(names("core"), core);
        assert_eq!(Arm::parse_list("all").unwrap(), Arm::all());
    }

    #[test]
    fn everything_wrong_with_a_list_is_said_at_once() {
        let message = Arm::parse_list("erm,scsg,pretrain,scgs+nothing").unwrap_err().to_string();
        for part in ["unknown method `scsg`", "`pretrain` is not possible", "`scgs+nothing`", "oracle-balanced"] {
            assert!(message.contains(part), "{part} in {message}");
        }
    }
}

//! The arms of a comparison: what a classifier is trained on, and how.

use std::{fmt, str::FromStr};

use scgs_cam::Repaint;
use serde::Serialize;

use crate::{Error, Settings, stages::sources::Variant};

/// The training pictures of an arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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

/// How an arm learns from its pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// Every picture counts the same.
    Erm,
    /// Just Train Twice (Liu et al. 2021): mistakes count `jtt.upweight` times.
    Jtt,
    /// Every group counts the same (oracle).
    Reweight,
}

/// One row of the result table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arm {
    /// What it is trained on.
    pub pictures: Pictures,
    /// How it learns.
    pub method: Method,
}

/// Whether group labels were used, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct SeesGroups {
    /// In training.
    pub training: bool,
    /// In choosing the model or its settings.
    pub selection: bool,
}

impl Arm {
    /// Every arm, in the order of the table.
    pub const ALL: [Self; 12] = [
        Self { pictures: Pictures::Real, method: Method::Erm },
        Self { pictures: Pictures::Duplicate, method: Method::Erm },
        Self { pictures: Pictures::Scgs(Variant::RandomMask), method: Method::Erm },
        Self { pictures: Pictures::Scgs(Variant::RandomSource), method: Method::Erm },
        Self { pictures: Pictures::Scgs(Variant::Generic), method: Method::Erm },
        Self { pictures: Pictures::Scgs(Variant::ContextOnly), method: Method::Erm },
        Self { pictures: Pictures::Scgs(Variant::Scgs), method: Method::Erm },
        Self { pictures: Pictures::Real, method: Method::Jtt },
        Self { pictures: Pictures::Scgs(Variant::Scgs), method: Method::Jtt },
        Self { pictures: Pictures::Scgs(Variant::OracleMask), method: Method::Erm },
        Self { pictures: Pictures::Real, method: Method::Reweight },
        Self { pictures: Pictures::Balanced, method: Method::Erm },
    ];

    /// The name in `--methods`, folders and `results.json`.
    pub fn name(self) -> &'static str {
        match (self.pictures, self.method) {
            (Pictures::Real, Method::Erm) => "erm",
            (Pictures::Duplicate, Method::Erm) => "duplicate",
            (Pictures::Scgs(variant), Method::Erm) => variant.arm(),
            (Pictures::Real, Method::Jtt) => "jtt",
            (Pictures::Scgs(Variant::Scgs), Method::Jtt) => "scgs+jtt",
            (Pictures::Real, Method::Reweight) => "oracle-reweight",
            (Pictures::Balanced, Method::Erm) => "oracle-balanced",
            _ => unreachable!("arms are made from `ALL`"),
        }
    }

    /// Whether the arm uses group labels (or true object masks, which no user has either). An arm that does is an oracle
    /// and marked in every table.
    pub fn sees_groups(self) -> SeesGroups {
        let training = self.method == Method::Reweight
            || matches!(self.pictures, Pictures::Balanced | Pictures::Scgs(Variant::OracleMask));
        SeesGroups { training, selection: false }
    }

    /// Whether the arm needs the error set.
    pub fn needs_errors(self) -> bool {
        self.method == Method::Jtt || matches!(self.pictures, Pictures::Duplicate | Pictures::Scgs(_))
    }

    /// Why the arm has no meaning under these settings; `None` if it has one.
    pub fn impossible(self, settings: &Settings) -> Option<&'static str> {
        let Pictures::Scgs(variant) = self.pictures else { return None };
        match variant {
            Variant::ContextOnly if settings.mask.repaint != Repaint::Swap => {
                Some("it removes the object that mask.repaint = swap would replace; set mask.repaint, or leave it out")
            }
            Variant::Generic if !settings.synthesis.inpainter.paints_pictures() => Some(
                "background-crop and copy-paste paint no whole picture; set synthesis.inpainter to one that does, or leave it out",
            ),
            Variant::Scgs
            | Variant::RandomMask
            | Variant::RandomSource
            | Variant::ContextOnly
            | Variant::Generic
            | Variant::OracleMask => None,
        }
    }

    /// Reads `all`, which is every arm that has a meaning under the settings, or a comma-separated list; the order is that
    /// of the table, duplicates count once.
    ///
    /// # Errors
    /// [`Error::UnknownArm`] with the known names; [`Error::ImpossibleArm`] for one that is named and has no meaning.
    pub fn parse_list(list: &str, settings: &Settings) -> Result<Vec<Self>, Error> {
        if list.trim() == "all" {
            return Ok(Self::ALL.into_iter().filter(|arm| arm.impossible(settings).is_none()).collect());
        }
        let wanted = list.split(',').map(|name| name.trim().parse()).collect::<Result<Vec<Self>, _>>()?;
        for arm in &wanted {
            if let Some(why) = arm.impossible(settings) {
                return Err(Error::ImpossibleArm { arm: arm.name().to_owned(), why: why.to_owned() });
            }
        }
        Ok(Self::ALL.into_iter().filter(|arm| wanted.contains(arm)).collect())
    }
}

impl FromStr for Arm {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|arm| arm.name() == name)
            .ok_or_else(|| Error::UnknownArm { name: name.to_owned(), known: Self::ALL.map(Self::name).join(", ") })
    }
}

impl fmt::Display for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_only_oracles_see_groups() {
        for arm in Arm::ALL {
            assert_eq!(arm.name().parse::<Arm>().unwrap(), arm);
            assert_eq!(arm.sees_groups().training, arm.name().contains("oracle-"), "{arm}");
        }
    }

    #[test]
    fn lists_are_ordered_like_the_table() {
        let settings = Settings::default();
        let names = |list| Arm::parse_list(list, &settings).unwrap().iter().map(|a| a.name()).collect::<Vec<_>>();
        assert_eq!(names("scgs, erm,scgs"), ["erm", "scgs"]);
        let message = Arm::parse_list("erm,scsg", &settings).unwrap_err().to_string();
        assert!(message.contains("unknown method `scsg`") && message.contains("oracle-balanced"), "{message}");
    }

    #[test]
    fn all_leaves_out_what_has_no_meaning_and_naming_it_is_an_error() {
        let mut settings = Settings::default();
        settings.mask.repaint = Repaint::Complement;
        let all = Arm::parse_list("all", &settings).unwrap();
        assert!(!all.iter().any(|arm| arm.name() == "scgs-context-only"));
        let message = Arm::parse_list("scgs-context-only", &settings).unwrap_err().to_string();
        assert!(message.contains("set mask.repaint"), "{message}");
        settings.mask.repaint = Repaint::Swap;
        assert_eq!(Arm::parse_list("all", &settings).unwrap().len(), all.len() + 1);
    }
}

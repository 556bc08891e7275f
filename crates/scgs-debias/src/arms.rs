//! The arms of a comparison: what a classifier is trained on, and how.

use std::{fmt, str::FromStr};

use serde::Serialize;

use crate::Error;

/// The training pictures of an arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pictures {
    /// The real training split.
    Real,
    /// Real, and each picked mistake once more for every new picture SCGS would make of it: the control without
    /// generation.
    Duplicate,
    /// Real, and the new pictures.
    Scgs,
    /// Real, and new pictures made with random boxes of the masks' areas: the control for the attention maps.
    ScgsRandomMask,
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
    pub const ALL: [Self; 8] = [
        Self { pictures: Pictures::Real, method: Method::Erm },
        Self { pictures: Pictures::Duplicate, method: Method::Erm },
        Self { pictures: Pictures::ScgsRandomMask, method: Method::Erm },
        Self { pictures: Pictures::Scgs, method: Method::Erm },
        Self { pictures: Pictures::Real, method: Method::Jtt },
        Self { pictures: Pictures::Scgs, method: Method::Jtt },
        Self { pictures: Pictures::Real, method: Method::Reweight },
        Self { pictures: Pictures::Balanced, method: Method::Erm },
    ];

    /// The name in `--methods`, folders and `results.json`.
    pub fn name(self) -> &'static str {
        match (self.pictures, self.method) {
            (Pictures::Real, Method::Erm) => "erm",
            (Pictures::Duplicate, Method::Erm) => "duplicate",
            (Pictures::ScgsRandomMask, Method::Erm) => "scgs-random-mask",
            (Pictures::Scgs, Method::Erm) => "scgs",
            (Pictures::Real, Method::Jtt) => "jtt",
            (Pictures::Scgs, Method::Jtt) => "scgs+jtt",
            (Pictures::Real, Method::Reweight) => "oracle-reweight",
            (Pictures::Balanced, Method::Erm) => "oracle-balanced",
            _ => unreachable!("arms are made from `ALL`"),
        }
    }

    /// Whether the arm uses group labels. An arm that does is an oracle and marked in every table.
    pub fn sees_groups(self) -> SeesGroups {
        let training = self.method == Method::Reweight || self.pictures == Pictures::Balanced;
        SeesGroups { training, selection: false }
    }

    /// Whether the arm needs the error set.
    pub fn needs_errors(self) -> bool {
        self.method == Method::Jtt
            || matches!(self.pictures, Pictures::Duplicate | Pictures::Scgs | Pictures::ScgsRandomMask)
    }

    /// Reads `all` or a comma-separated list; the order is that of the table, duplicates count once.
    ///
    /// # Errors
    /// [`Error::UnknownArm`] with the known names.
    pub fn parse_list(list: &str) -> Result<Vec<Self>, Error> {
        if list.trim() == "all" {
            return Ok(Self::ALL.to_vec());
        }
        let wanted = list.split(',').map(|name| name.trim().parse()).collect::<Result<Vec<Self>, _>>()?;
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
            assert_eq!(arm.sees_groups().training, arm.name().starts_with("oracle-"), "{arm}");
        }
    }

    #[test]
    fn lists_are_ordered_like_the_table() {
        let names = |list| Arm::parse_list(list).unwrap().iter().map(|a| a.name()).collect::<Vec<_>>();
        assert_eq!(names("scgs, erm,scgs"), ["erm", "scgs"]);
        assert_eq!(Arm::parse_list("all").unwrap(), Arm::ALL);
        let message = Arm::parse_list("erm,scsg").unwrap_err().to_string();
        assert!(message.contains("unknown method `scsg`") && message.contains("oracle-balanced"), "{message}");
    }
}

//! Which side of a region is repainted, and which pictures are skipped.

use std::{fmt, str::FromStr};

use crate::{Mask, MaskError};

/// What of a picture is repainted, given a region found by attention.
///
/// `Attended` and `Complement` speak of the region that misled the classifier (the attention of the wrong, predicted
/// class); the others of the object (the attention of the true class). As text, also in config files: `attended`,
/// `complement`, `all-but-object`, `replace`, `every-class`, `swap`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Repaint {
    /// The attended region; the rest is kept.
    Attended,
    /// Everything but the attended region.
    Complement,
    /// Everything but the object: a new context.
    AllButObject,
    /// The object's region of a mistake, with a new object of its class: the context that misled is kept.
    Replace,
    /// The object's region of a mistake, with an object of every class in turn: the context says nothing any more.
    EveryClass,
    /// The object's region, with an object of another class: the context is kept.
    Swap,
}

impl Repaint {
    /// Whether the region is an object that makes room for a new one, and the context stays.
    #[must_use]
    pub fn renews_object(self) -> bool {
        matches!(self, Self::Replace | Self::EveryClass | Self::Swap)
    }

    /// Whether what is repainted is the region itself; else it is everything else.
    #[must_use]
    pub fn paints_region(self) -> bool {
        self == Self::Attended || self.renews_object()
    }
}

impl FromStr for Repaint {
    type Err = MaskError;

    fn from_str(text: &str) -> Result<Self, MaskError> {
        Ok(match text {
            "attended" => Self::Attended,
            "complement" => Self::Complement,
            "all-but-object" => Self::AllButObject,
            "replace" => Self::Replace,
            "every-class" => Self::EveryClass,
            "swap" => Self::Swap,
            _ => return Err(MaskError::UnknownRepaint(text.to_owned())),
        })
    }
}

impl fmt::Display for Repaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Attended => "attended",
            Self::Complement => "complement",
            Self::AllButObject => "all-but-object",
            Self::Replace => "replace",
            Self::EveryClass => "every-class",
            Self::Swap => "swap",
        })
    }
}

/// The pixels to repaint (`true`) for a region.
#[must_use]
pub fn to_repaint(region: &Mask, repaint: Repaint) -> Mask {
    if repaint.paints_region() { region.clone() } else { region.invert() }
}

/// The areas of masks that are worth repainting, as shares of the picture.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AreaLimits {
    /// The smallest area, 0..=1.
    pub min: f64,
    /// The largest area, 0..=1.
    pub max: f64,
}

impl AreaLimits {
    /// Why a mask is skipped, or `None` when its area is within the limits (both included).
    ///
    /// An empty mask and a full one are skipped whatever the limits say: there is nothing to repaint, or nothing to
    /// keep.
    #[must_use]
    pub fn skip(&self, mask: &Mask) -> Option<Skipped> {
        let area = mask.area();
        if area < self.min || area == 0.0 {
            Some(Skipped::TooSmall { area, min: self.min })
        } else if area > self.max || area == 1.0 {
            Some(Skipped::TooLarge { area, max: self.max })
        } else {
            None
        }
    }
}

/// Why a picture is not repainted.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "skipped", rename_all = "kebab-case")]
pub enum Skipped {
    /// Nothing in the attention map was positive.
    NoAttention,
    /// The mask is smaller than the limit.
    TooSmall {
        /// Area of the mask, 0..=1.
        area: f64,
        /// The limit.
        min: f64,
    },
    /// The mask is larger than the limit.
    TooLarge {
        /// Area of the mask, 0..=1.
        area: f64,
        /// The limit.
        max: f64,
    },
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAttention => f.write_str("no attention"),
            Self::TooSmall { area, min } => write!(f, "mask area {area:.4} below {min}"),
            Self::TooLarge { area, max } => write!(f, "mask area {area:.4} above {max}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mask::tests::drawn;

    #[test]
    fn sides() {
        let region = drawn(&["#.."]);
        for (name, expected) in [
            ("attended", "#.."),
            ("replace", "#.."),
            ("every-class", "#.."),
            ("swap", "#.."),
            ("complement", ".##"),
            ("all-but-object", ".##"),
        ] {
            let repaint: Repaint = name.parse().unwrap();
            assert_eq!(repaint.to_string(), name);
            assert_eq!(to_repaint(&region, repaint), drawn(&[expected]));
        }
        assert!("object".parse::<Repaint>().unwrap_err().to_string().contains("`object`"));
    }

    #[test]
    fn limits_say_why() {
        let limits = AreaLimits { min: 0.25, max: 0.5 };
        assert_eq!(limits.skip(&drawn(&["#..."])), None);
        assert_eq!(limits.skip(&drawn(&["##.."])), None);
        assert_eq!(limits.skip(&drawn(&["###."])).unwrap().to_string(), "mask area 0.7500 above 0.5");
        assert_eq!(limits.skip(&drawn(&["...."])).unwrap().to_string(), "mask area 0.0000 below 0.25");
        let all = AreaLimits { min: 0.0, max: 1.0 };
        assert!(matches!(all.skip(&drawn(&[".."])), Some(Skipped::TooSmall { .. })));
        assert!(matches!(all.skip(&drawn(&["##"])), Some(Skipped::TooLarge { .. })));
    }
}

//! Ways of turning a map into a region: a mask rule, then tidying up.
//!
//! The mask stage uses the one that `[mask]` sets; the mask-quality table compares many.

use std::{collections::VecDeque, fmt, str::FromStr};

use image::RgbImage;
use scgs_cam::{AttentionMap, Mask, MaskError, MaskRule, object_region};
use serde::{Deserialize, Serialize};

use crate::Error;

/// A step after the rule. As text: `largest`, `fill`, `dilateN`, `openN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Tidy {
    /// Keeps the largest piece.
    Largest,
    /// Fills holes: background that does not reach the picture's border.
    Fill,
    /// Grows by so many pixels.
    Dilate(u8),
    /// Removes what is thinner than twice so many pixels, by shrinking and growing.
    Open(u8),
}

impl fmt::Display for Tidy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Largest => f.write_str("largest"),
            Self::Fill => f.write_str("fill"),
            Self::Dilate(radius) => write!(f, "dilate{radius}"),
            Self::Open(radius) => write!(f, "open{radius}"),
        }
    }
}

impl From<Tidy> for String {
    fn from(tidy: Tidy) -> Self {
        tidy.to_string()
    }
}

impl TryFrom<String> for Tidy {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let radius = |name| text.strip_prefix(name).and_then(|n| n.parse::<u8>().ok());
        match text.as_str() {
            "largest" => Ok(Self::Largest),
            "fill" => Ok(Self::Fill),
            _ => radius("dilate").map(Self::Dilate).or_else(|| radius("open").map(Self::Open)).ok_or_else(|| {
                format!("unknown step `{text}`, expected largest, fill, dilateN or openN with N up to 255 pixels")
            }),
        }
    }
}

/// A mask rule with the steps after it.
///
/// As text: `quantile:0.2`, `absolute:0.5`, `mean-sd:1`, `otsu`, `knee`, `grab-cut` or
/// `grab-cut:SURE:PROBABLE:BACKGROUND:ITERATIONS`, followed by any of `+largest`, `+fill`, `+dilateN`, `+openN`.
#[derive(Debug, Clone, PartialEq)]
pub struct Region {
    /// The rule.
    pub rule: MaskRule,
    /// The steps after it, in order.
    pub tidy: Vec<Tidy>,
}

impl Region {
    /// The object's region in a picture of the map's size.
    ///
    /// # Errors
    /// Those of the rule.
    pub fn of(&self, map: &AttentionMap, picture: &RgbImage) -> Result<Mask, MaskError> {
        let start = object_region(map, Some(picture), &self.rule)?;
        self.tidied(&start)
    }

    /// The steps after the rule.
    ///
    /// # Errors
    /// None for the mask of a picture with pixels.
    pub(crate) fn tidied(&self, region: &Mask) -> Result<Mask, MaskError> {
        self.tidy.iter().try_fold(region.clone(), |region, step| match step {
            Tidy::Largest => Ok(region.largest_component()),
            Tidy::Fill => filled(&region),
            Tidy::Dilate(radius) => Ok(region.dilate(*radius)),
            Tidy::Open(radius) => Ok(region.invert().dilate(*radius).invert().dilate(*radius)),
        })
    }
}

/// The mask with its holes filled (four neighbours connect the outside).
fn filled(mask: &Mask) -> Result<Mask, MaskError> {
    let (width, height) = (mask.width(), mask.height());
    let mut outside = vec![false; width * height];
    let border = (0..width * height).filter(|at| {
        let (x, y) = (at % width, at / width);
        x == 0 || y == 0 || x + 1 == width || y + 1 == height
    });
    let mut queue: VecDeque<usize> = border.filter(|&at| !mask.pixels()[at]).collect();
    queue.iter().for_each(|&at| outside[at] = true);
    while let Some(at) = queue.pop_front() {
        let (x, y) = (at % width, at / width);
        let neighbours = [
            (x > 0).then(|| at - 1),
            (x + 1 < width).then_some(at + 1),
            (y > 0).then(|| at - width),
            (y + 1 < height).then_some(at + width),
        ];
        for next in neighbours.into_iter().flatten() {
            if !mask.pixels()[next] && !outside[next] {
                outside[next] = true;
                queue.push_back(next);
            }
        }
    }
    Mask::new(width, height, outside.into_iter().map(|o| !o).collect())
}

impl From<MaskRule> for Region {
    fn from(rule: MaskRule) -> Self {
        Self { rule, tidy: Vec::new() }
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rule {
            MaskRule::Quantile { share } => write!(f, "quantile:{share}"),
            MaskRule::Absolute { threshold } => write!(f, "absolute:{threshold}"),
            MaskRule::MeanSd { k } => write!(f, "mean-sd:{k}"),
            MaskRule::Otsu => f.write_str("otsu"),
            MaskRule::Knee => f.write_str("knee"),
            rule if rule == MaskRule::default() => f.write_str("grab-cut"),
            MaskRule::GrabCut { sure, probable, background, iterations } => {
                write!(f, "grab-cut:{sure}:{probable}:{background}:{iterations}")
            }
        }?;
        self.tidy.iter().try_for_each(|step| write!(f, "+{step}"))
    }
}

impl FromStr for Region {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let expected = "expected quantile:SHARE, absolute:THRESHOLD, mean-sd:K, otsu, knee, grab-cut or \
             grab-cut:SURE:PROBABLE:BACKGROUND:ITERATIONS, then any of +largest, +fill, +dilateN, +openN";
        let bad = || Error::Config { origin: format!("region `{text}`"), message: expected.into() };
        let mut parts = text.split('+');
        let rule: Vec<&str> = parts.next().unwrap_or_default().split(':').collect();
        let number = |text: &str| text.parse::<f64>().map_err(|_| bad());
        let rule = match rule.as_slice() {
            ["quantile", share] => MaskRule::Quantile { share: number(share)? },
            ["absolute", threshold] => MaskRule::Absolute { threshold: number(threshold)? },
            ["mean-sd", k] => MaskRule::MeanSd { k: number(k)? },
            ["otsu"] => MaskRule::Otsu,
            ["knee"] => MaskRule::Knee,
            ["grab-cut"] => MaskRule::default(),
            ["grab-cut", sure, probable, background, iterations] => MaskRule::GrabCut {
                sure: number(sure)?,
                probable: number(probable)?,
                background: number(background)?,
                iterations: iterations.parse().map_err(|_| bad())?,
            },
            _ => return Err(bad()),
        };
        let tidy = parts.map(|part| Tidy::try_from(part.to_owned()).map_err(|_| bad()));
        Ok(Self { rule, tidy: tidy.collect::<Result<_, _>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(rows: &[&str]) -> Mask {
        let pixels = rows.iter().flat_map(|row| row.chars().map(|c| c == '#')).collect();
        Mask::new(rows[0].len(), rows.len(), pixels).unwrap()
    }

    #[test]
    fn text_names_every_rule_and_back() {
        let grab_cut = MaskRule::GrabCut { sure: 0.9, probable: 0.8, background: 0.5, iterations: 2 };
        let tidy = vec![Tidy::Open(1), Tidy::Largest, Tidy::Fill, Tidy::Dilate(2)];
        let region = Region { rule: grab_cut, tidy };
        assert_eq!(region.to_string(), "grab-cut:0.9:0.8:0.5:2+open1+largest+fill+dilate2");
        for text in ["quantile:0.2", "absolute:0.5", "mean-sd:1", "otsu+fill", "knee", "grab-cut", &region.to_string()]
        {
            assert_eq!(text.parse::<Region>().unwrap().to_string(), text);
        }
        let message = "otsu+shrink".parse::<Region>().unwrap_err().to_string();
        assert!(message.starts_with("region `otsu+shrink`: expected quantile:SHARE"), "{message}");
    }

    #[test]
    fn tidying_fills_holes_keeps_the_largest_piece_and_drops_thin_lines() {
        let region = drawn(&["......#", ".####..", ".#..#..", ".####..", "......."]);
        let tidy = |tidy| Region { rule: MaskRule::Otsu, tidy }.tidied(&region).unwrap();
        let whole = drawn(&[".......", ".####..", ".####..", ".####..", "......."]);
        assert_eq!(tidy(vec![Tidy::Largest, Tidy::Fill]).pixels(), whole.pixels());
        let touching = drawn(&["###", "#.#", "#.#"]);
        assert_eq!(filled(&touching).unwrap().pixels(), touching.pixels());
        assert_eq!(tidy(vec![Tidy::Open(1)]).count(), 0);
        // The single pixel goes, the filled block of 4 x 3 loses its corners.
        let opened = drawn(&[".......", "..##...", ".####..", "..##...", "......."]);
        assert_eq!(tidy(vec![Tidy::Fill, Tidy::Open(1)]).pixels(), opened.pixels());
    }
}

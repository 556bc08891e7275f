//! The names of the attention methods and of the scores they explain.

use std::{fmt, str::FromStr};

use crate::CamError;

/// How an attention map is made from the activation of a layer and the gradient of a score.
///
/// `A` is the activation `[channels, h, w]`, `g` the gradient of the score (a raw logit) with respect to `A`. Every map
/// is clipped at 0. The formulas are those of pytorch-grad-cam 1.5.5, which the tests compare with.
///
/// As text (`FromStr`, `Display`, serde): `gradcam`, `gradcam++` (epsilon 1e-6), `gradcam++:1e-8`,
/// `gradcam++:scale-free`, `xgradcam`, `layercam`, `eigencam`, `scorecam`.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum CamMethod {
    /// `sum_k mean(g_k) A_k` (Selvaraju et al., arXiv 1610.02391, equations 1 and 2).
    GradCam,
    /// `sum_k w_k A_k`, `w_k = sum relu(g_k) g_k^2 / (2 g_k^2 + sum(A_k) g_k^3 + epsilon)` (Chattopadhay et al., arXiv
    /// 1710.11063, equation 19).
    GradCamPlusPlus {
        /// What keeps the division finite. Where the head is pooling + linear, `g^2` is about 1e-7, so it shapes the
        /// map.
        epsilon: Epsilon,
    },
    /// `sum_k w_k A_k`, `w_k = sum g_k A_k / sum A_k` (Fu et al., arXiv 2008.02312, equation 8).
    XGradCam,
    /// `sum_k relu(g_k) A_k`, cell by cell (Jiang et al., LayerCAM, IEEE TIP 2021, equation 6): the sharpest on early
    /// layers.
    LayerCam,
    /// The first principal component of the cells' channel vectors (Muhammad and Yeasin, arXiv 2008.00299); needs no
    /// score.
    EigenCam,
    /// `sum_k softmax(s)_k A_k`, where `s_k` is the score of the picture multiplied by the upsampled channel k (Wang et
    /// al., arXiv 1910.01279). One run of the whole network per channel: see [`score_cam`](crate::score_cam).
    ScoreCam,
}

/// What keeps the division in Grad-CAM++ finite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Epsilon {
    /// A fixed number added to the denominator; 1e-6 is pytorch-grad-cam's.
    Absolute(f64),
    /// 1e-6 of the largest `g^2` of the picture: small beside every gradient that matters, whatever the scale of the
    /// logits.
    ScaleFree,
}

impl Default for Epsilon {
    /// 1e-6, compatible with pytorch-grad-cam.
    fn default() -> Self {
        Self::Absolute(1e-6)
    }
}

impl FromStr for Epsilon {
    type Err = CamError;

    fn from_str(text: &str) -> Result<Self, CamError> {
        if text == "scale-free" {
            return Ok(Self::ScaleFree);
        }
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() && value >= 0.0 => Ok(Self::Absolute(value)),
            _ => Err(CamError::BadEpsilon(text.to_owned())),
        }
    }
}

impl fmt::Display for Epsilon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absolute(value) => write!(f, "{value:e}"),
            Self::ScaleFree => f.write_str("scale-free"),
        }
    }
}

impl FromStr for CamMethod {
    type Err = CamError;

    fn from_str(text: &str) -> Result<Self, CamError> {
        Ok(match text {
            "gradcam" => Self::GradCam,
            "gradcam++" => Self::GradCamPlusPlus { epsilon: Epsilon::default() },
            "xgradcam" => Self::XGradCam,
            "layercam" => Self::LayerCam,
            "eigencam" => Self::EigenCam,
            "scorecam" => Self::ScoreCam,
            _ => match text.strip_prefix("gradcam++:") {
                Some(epsilon) => Self::GradCamPlusPlus { epsilon: epsilon.parse()? },
                None => return Err(CamError::UnknownMethod(text.to_owned())),
            },
        })
    }
}

impl fmt::Display for CamMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GradCam => "gradcam",
            Self::GradCamPlusPlus { epsilon } if *epsilon == Epsilon::default() => "gradcam++",
            Self::GradCamPlusPlus { epsilon } => return write!(f, "gradcam++:{epsilon}"),
            Self::XGradCam => "xgradcam",
            Self::LayerCam => "layercam",
            Self::EigenCam => "eigencam",
            Self::ScoreCam => "scorecam",
        })
    }
}

impl From<CamMethod> for String {
    fn from(method: CamMethod) -> Self {
        method.to_string()
    }
}

impl TryFrom<String> for CamMethod {
    type Error = CamError;

    fn try_from(text: String) -> Result<Self, CamError> {
        text.parse()
    }
}

/// The number whose cause is looked for in one picture: a raw logit, or the difference of two.
///
/// Predicted, true and fixed classes are all `Class`: the caller knows which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Score {
    /// The logit of a class, from 0.
    Class(usize),
    /// Logit `of` minus logit `minus`: what speaks for one class and against the other. What moves both logits alike,
    /// and therefore decides nothing, drops out.
    Difference {
        /// The class whose evidence counts positive.
        of: usize,
        /// The class whose evidence counts negative.
        minus: usize,
    },
}

impl Score {
    /// The classes with their signs, each checked against the number of classes.
    pub(crate) fn terms(self, row: usize, classes: usize) -> Result<Vec<(usize, f32)>, CamError> {
        let terms = match self {
            Self::Class(class) => vec![(class, 1.0)],
            Self::Difference { of, minus } => vec![(of, 1.0), (minus, -1.0)],
        };
        match terms.iter().find(|(class, _)| *class >= classes) {
            Some(&(class, _)) => Err(CamError::NoSuchClass { row, class, classes }),
            None => Ok(terms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_strangers_are_refused() {
        for name in [
            "gradcam",
            "gradcam++",
            "gradcam++:1e-8",
            "gradcam++:scale-free",
            "xgradcam",
            "layercam",
            "eigencam",
            "scorecam",
        ] {
            let method: CamMethod = name.parse().unwrap();
            assert_eq!(method.to_string(), name);
        }
        assert_eq!("gradcam++:0.000001".parse::<CamMethod>().unwrap().to_string(), "gradcam++");
        let error = "smoothgrad".parse::<CamMethod>().unwrap_err().to_string();
        assert!(error.starts_with("`smoothgrad` is no attention method; use gradcam,"), "{error}");
        for bad in ["gradcam++:", "gradcam++:-1", "gradcam++:NaN", "gradcam++:inf"] {
            assert!(matches!(bad.parse::<CamMethod>(), Err(CamError::BadEpsilon(_))), "{bad}");
        }
    }

    #[test]
    fn a_class_that_is_not_there_is_named() {
        let error = Score::Difference { of: 0, minus: 4 }.terms(7, 2).unwrap_err().to_string();
        assert_eq!(error, "the score of row 7 asks for class 4, but there are 2 class(es), 0 to 1");
    }
}

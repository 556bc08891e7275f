//! What is said about an error: its text, and the line below it that says where to look next.

use scgs_debias::Error;

/// An error with its causes. A cause whose text stands there already is left out: the libraries' messages quote what they
/// come from.
pub(crate) fn text(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |text, cause| match cause.to_string() {
        cause if text.is_empty() => cause,
        cause if text.contains(&cause) => text,
        cause => format!("{text}: {cause}"),
    })
}

/// What helps with an error; `command` is the one that failed. Messages say what is wrong and what was expected; this
/// line names the command or page that shows more.
pub(crate) fn hint(error: &anyhow::Error, command: &str) -> Option<String> {
    let of_run = match error.downcast_ref::<Error>() {
        // Its message is about nothing but the next step.
        Some(Error::Interrupted { .. }) => return None,
        Some(Error::Config { origin, .. }) if origin.starts_with("data set ") => {
            Some("`cargo xtask download NAME` fetches waterbirds, celeba and metashift; README.md is about your own")
        }
        Some(Error::Settings(_) | Error::Config { .. }) if matches!(command, "run" | "compose" | "eval") => Some(
            "`scgs run --dataset NAME --dry-run` prints every setting; crates/scgs-debias/src/settings explains them",
        ),
        Some(Error::UnknownArms { .. } | Error::ImpossibleArm { .. }) => {
            Some("docs/methods/README.md says what each method does and what it needs")
        }
        Some(Error::EmptyErrorSet { .. } | Error::NoSource { .. } | Error::NoMask { .. }) => {
            Some("docs/architecture.md says how the error set, sources and masks are chosen")
        }
        Some(Error::NotReady { .. }) => Some("docs/scale.md shows a run in parts, from masks to report"),
        Some(Error::Held { .. }) => Some(
            "other seeds and settings have folders of their own, and --runs DIR starts elsewhere; docs/architecture.md is about locks",
        ),
        Some(Error::RunFolder { .. }) => Some("docs/architecture.md lists what each stage writes"),
        Some(Error::Data(_) | Error::BadPictures { .. } | Error::EmptyGroup { .. }) => {
            Some("datasets/waterbirds.toml shows the layout of a data set")
        }
        _ => None,
    };
    if let Some(hint) = of_run {
        return Some(hint.to_owned());
    }
    let text = text(error);
    if text.contains("device `") {
        return Some("`scgs doctor` lists the devices of this build and machine".to_owned());
    }
    Some(format!("`scgs {command} --help` shows the options, with examples"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let error = || Error::from(fs_err::read("no/such/file").unwrap_err());
        let (own, io) = (error().to_string(), std::error::Error::source(&error()).unwrap().to_string());
        assert!(own.contains(&io), "{own}");
        assert_eq!(text(&error().into()), own);
        assert_eq!(text(&anyhow::Error::from(error()).context("while reading")), format!("while reading: {own}"));
    }

    #[test]
    fn every_error_leads_somewhere() {
        let config = Error::Config { origin: "--set".into(), message: "unknown".into() };
        let interrupted = Error::Interrupted { stage: "1-erm".into() };
        assert!(hint(&config.into(), "run").unwrap().contains("--dry-run"));
        assert_eq!(hint(&interrupted.into(), "run"), None);
        assert!(hint(&anyhow::anyhow!("device `gpu` is not there"), "cam").unwrap().contains("scgs doctor"));
        assert!(hint(&anyhow::anyhow!("anything"), "cam").unwrap().contains("scgs cam --help"));
    }
}

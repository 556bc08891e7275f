//! Why a download did not work: which URL, what happened, what to do next.

use std::io;
use std::time::Duration;

/// Whether trying the same URL again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retry {
    /// The answer would be the same.
    Never,
    /// Soon; the wait grows from try to try.
    Soon,
    /// When the server said so.
    After(Duration),
}

/// A download from one URL that did not work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{url}: {cause}; {next}")]
pub(super) struct Failure {
    /// What was asked for.
    pub(super) url: String,
    /// What happened.
    pub(super) cause: String,
    /// What a person can do about it.
    pub(super) next: String,
    /// Whether another try can help.
    pub(super) retry: Retry,
}

impl Failure {
    /// A failure that another try does not mend.
    pub(super) fn lasting(url: &str, cause: impl Into<String>, next: impl Into<String>) -> Self {
        Self { url: url.to_owned(), cause: cause.into(), next: next.into(), retry: Retry::Never }
    }

    /// A failure that another try may mend.
    pub(super) fn passing(url: &str, cause: impl Into<String>, next: impl Into<String>) -> Self {
        Self { retry: Retry::Soon, ..Self::lasting(url, cause, next) }
    }

    /// A file of ours that cannot be written or read.
    pub(super) fn local(url: &str, error: &io::Error) -> Self {
        let next = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                "free space on the disk, or choose another with --data-dir, and call again: what has arrived is kept"
            }
            io::ErrorKind::PermissionDenied => "choose a folder you may write to with --data-dir",
            _ => "check the folder given with --data-dir and call again",
        };
        Self::lasting(url, format!("cannot write what arrives: {error}"), next)
    }
}

/// `1234` as `1.2 kB`, in powers of 1000 as file sizes are published.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_names_url_cause_and_next_step() {
        let failure = Failure::lasting("https://host/file", "status 404", "take another source");
        assert_eq!(failure.to_string(), "https://host/file: status 404; take another source");
    }

    #[test]
    fn a_full_disk_says_that_the_beginning_is_kept() {
        let failure = Failure::local("u", &io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(failure.retry, Retry::Never);
        assert!(failure.to_string().contains("free space on the disk"), "{failure}");
    }

    #[test]
    fn sizes_are_decimal() {
        assert_eq!([size(0), size(999), size(1000), size(1_308_557_312)], ["0 B", "999 B", "1.0 kB", "1.3 GB"]);
    }
}

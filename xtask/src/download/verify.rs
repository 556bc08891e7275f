//! Lengths and sha256 of files, and what they must be.

use std::fmt::Write as _;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::sources::Source;

/// The identity of a file's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fingerprint {
    /// Length.
    pub(super) bytes: u64,
    /// 64 small hexadecimal digits.
    pub(super) sha256: String,
}

/// What a file must be; `None` is not known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Expected {
    /// Exact length.
    pub(super) bytes: Option<u64>,
    /// The sha256, or its beginning, as published.
    pub(super) published: Option<String>,
    /// The sha256 that an earlier download recorded.
    pub(super) locked: Option<String>,
}

impl Expected {
    /// What is known of a source, and of its file from an earlier download.
    pub(super) fn new(source: &Source, locked: Option<String>) -> Self {
        Self { bytes: source.bytes, published: source.sha256.clone(), locked }
    }

    /// Whether a file of other bytes would be found out.
    pub(super) fn has_hash(&self) -> bool {
        self.published.is_some() || self.locked.is_some()
    }

    /// The first difference in words.
    pub(super) fn difference(&self, found: &Fingerprint) -> Option<String> {
        if let Some(bytes) = self.bytes.filter(|bytes| *bytes != found.bytes) {
            return Some(format!("it has {} bytes, expected {bytes}", found.bytes));
        }
        for (hash, origin) in [(&self.published, "as published"), (&self.locked, "as recorded in scgs-lock.toml")] {
            if let Some(hash) = hash.as_ref().filter(|hash| !found.sha256.starts_with(hash.as_str())) {
                return Some(format!("its sha256 is {}, expected {hash} {origin}", found.sha256));
            }
        }
        None
    }
}

/// Length and sha256 of a file.
///
/// # Errors
/// When it cannot be read.
pub(super) fn fingerprint(path: &Path) -> io::Result<Fingerprint> {
    let mut file = fs_err::File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Fingerprint { bytes, sha256: hex(&hash.finalize()) }),
            n => {
                hash.update(&buffer[..n]);
                bytes += n as u64;
            }
        }
    }
}

/// Bytes as small hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes everything");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_standard() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abc");
        fs_err::write(&path, "abc").unwrap();
        // FIPS 180-2, appendix B.1.
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(fingerprint(&path).unwrap(), Fingerprint { bytes: 3, sha256: sha256.to_owned() });
    }

    #[test]
    fn each_difference_is_named() {
        let found = Fingerprint { bytes: 3, sha256: "ba7816bf".to_owned() + &"0".repeat(56) };
        let good = Expected { bytes: Some(3), published: Some("ba7816bf".into()), locked: Some(found.sha256.clone()) };
        assert_eq!(good.difference(&found), None);
        let of = |expected: Expected| expected.difference(&found).unwrap();
        assert_eq!(of(Expected { bytes: Some(4), ..good.clone() }), "it has 3 bytes, expected 4");
        assert!(of(Expected { published: Some("cb7816bf".into()), ..good.clone() }).contains("as published"));
        assert!(of(Expected { locked: Some("1".repeat(64)), ..good }).contains("scgs-lock.toml"));
    }
}

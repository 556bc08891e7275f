//! Hugging Face: the address of a mirror and the token of an account, both from the environment.

use std::fmt;

use super::failure::Failure;

/// What URLs of the hub begin with in the lists of sources.
const HUB: &str = "https://huggingface.co/";

/// A secret: it is sent and never shown.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Token(String);

impl Token {
    /// The value of the header `Authorization`.
    pub(super) fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// How the hub is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Hub {
    endpoint: Option<String>,
    token: Option<Token>,
}

impl Hub {
    /// By `HF_ENDPOINT` and `HF_TOKEN`, the variables of `huggingface_hub`.
    pub(super) fn from_environment() -> Self {
        Self::new(std::env::var("HF_ENDPOINT").ok(), std::env::var("HF_TOKEN").ok())
    }

    /// The address of the hub or of a mirror, and a token. Empty ones are none.
    pub(super) fn new(endpoint: Option<String>, token: Option<String>) -> Self {
        let some = |text: Option<String>| text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        Self { endpoint: some(endpoint), token: some(token).map(Token) }
    }

    /// Where a URL of a list of sources is asked for, and with which token. Other hosts than the hub get none.
    ///
    /// # Errors
    /// When the mirror's address is none, the token cannot be sent in a header, or would be sent unencrypted.
    pub(super) fn resolve(&self, url: &str) -> Result<(String, Option<&Token>), Failure> {
        let Some(path) = url.strip_prefix(HUB) else { return Ok((url.to_owned(), None)) };
        let endpoint = self.endpoint.as_deref().unwrap_or(HUB).trim_end_matches('/');
        let resolved = format!("{endpoint}/{path}");
        let refused = |cause: &str, next: &str| Err(Failure::lasting(&resolved, cause, next));
        if !endpoint.starts_with("https://") && !endpoint.starts_with("http://") {
            return refused("HF_ENDPOINT is no address", "set it to one that begins with https://, or unset it");
        }
        let Some(token) = &self.token else { return Ok((resolved, None)) };
        if !token.0.bytes().all(|byte| byte.is_ascii_graphic()) {
            return refused("HF_TOKEN has characters that no token has", "copy it again, or unset it");
        }
        if !endpoint.starts_with("https://") && !is_local(endpoint) {
            return refused(
                "HF_TOKEN would be sent unencrypted",
                "set HF_ENDPOINT to an https:// address, or unset HF_TOKEN",
            );
        }
        Ok((resolved, Some(token)))
    }
}

/// Whether an `http://` address is this computer.
fn is_local(endpoint: &str) -> bool {
    let host = endpoint.strip_prefix("http://").and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    // Before an @ stands a user, not the host.
    !host.contains('@') && matches!(host.split(':').next(), Some("127.0.0.1" | "localhost"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "https://huggingface.co/org/name/resolve/main/unet/config.json";

    fn hub(endpoint: &str, token: &str) -> Hub {
        Hub::new(Some(endpoint.to_owned()), Some(token.to_owned()))
    }

    #[test]
    fn only_the_hub_is_replaced_and_gets_the_token() {
        let hub = hub("https://mirror.example/hf/", " hf_secret\n");
        let (url, token) = hub.resolve(FILE).unwrap();
        assert_eq!(url, "https://mirror.example/hf/org/name/resolve/main/unet/config.json");
        assert_eq!(token.unwrap().bearer(), "Bearer hf_secret");
        for other in ["https://host/file", "https://huggingface.co.evil.example/x", "http://huggingface.co/x"] {
            assert_eq!(hub.resolve(other).unwrap(), (other.to_owned(), None));
        }
        let plain = Hub::new(Some(String::new()), Some("  ".to_owned()));
        assert_eq!(plain.resolve(FILE).unwrap(), (FILE.to_owned(), None));
    }

    #[test]
    fn the_token_is_not_shown_and_not_sent_in_the_clear() {
        assert_eq!(format!("{:?}", hub("https://x", "hf_secret").token), "Some(Token(..))");
        for (endpoint, token, cause) in [
            ("http://mirror.example", "hf_secret", "sent unencrypted"),
            ("http://127.0.0.1@mirror.example", "hf_secret", "sent unencrypted"),
            ("http://localhost.example", "hf_secret", "sent unencrypted"),
            ("mirror.example", "hf_secret", "HF_ENDPOINT is no address"),
            ("https://mirror.example", "hf_secret\r\nX: y", "characters that no token has"),
        ] {
            let failure = hub(endpoint, token).resolve(FILE).unwrap_err();
            assert!(failure.cause.contains(cause), "{failure}");
            assert!(!format!("{failure} {failure:?}").contains("hf_secret"), "{failure:?}");
        }
        assert!(hub("http://127.0.0.1:8080", "hf_secret").resolve(FILE).unwrap().1.is_some());
        assert!(hub("http://mirror.example", "").resolve(FILE).is_ok());
    }
}

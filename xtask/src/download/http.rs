//! One HTTP request for a file from an offset on, and what its answer means.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ureq::config::RedirectAuthHeaders;
use ureq::http::{HeaderMap, Response, StatusCode, header};
use ureq::{Agent, Body, Error};

use super::Policy;
use super::failure::{Failure, Retry};
use super::hub::Token;

/// An answer that brings the file, or a part of it.
#[derive(Debug)]
pub(super) struct Reply {
    /// The offset of the first byte that comes.
    pub(super) start: u64,
    /// Length of the whole file; `None` when the server does not say.
    pub(super) total: Option<u64>,
    /// Whether the end of the body can be told from a broken line.
    pub(super) framed: bool,
    /// What tells this version of the file from another, for `If-Range`.
    pub(super) validator: Option<String>,
    /// The bytes.
    pub(super) body: Body,
}

/// What a server may answer to a request for the rest of a file.
#[derive(Debug)]
pub(super) enum Answer {
    /// Bytes, from the beginning or from where we asked.
    Bytes(Reply),
    /// What is there already cannot be continued: begin again.
    Restart(Failure),
}

/// A client with the time limits of `policy`.
///
/// The proxy is that of `ALL_PROXY`, `HTTPS_PROXY` or `HTTP_PROXY`, with the exceptions of `NO_PROXY`.
pub(super) fn client(policy: &Policy) -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .redirect_auth_headers(RedirectAuthHeaders::Never)
        .user_agent(concat!("scgs-xtask/", env!("CARGO_PKG_VERSION")))
        // The length and hash of a file are those of its bytes as they are stored.
        .accept_encoding("identity")
        .timeout_resolve(Some(policy.stall))
        .timeout_connect(Some(policy.stall))
        .timeout_recv_response(Some(policy.stall))
        .timeout_per_read(Some(policy.stall));
    match policy.proxy_from_environment {
        true => config,
        false => config.proxy(None),
    }
    .build()
    .new_agent()
}

/// Asks for `url` from byte `offset` on, provided that it is still the version `validator` belongs to. The token goes to
/// this host only: a redirect to another one, such as a store of large files, is followed without it.
///
/// # Errors
/// Everything that is not an [`Answer`].
pub(super) fn get(
    agent: &Agent,
    url: &str,
    token: Option<&Token>,
    offset: u64,
    validator: Option<&str>,
) -> Result<Answer, Failure> {
    // A source with https must not be led to plain http.
    let mut request = agent.get(url).config().https_only(url.starts_with("https://")).build();
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, token.bearer());
    }
    if offset > 0 {
        request = request.header(header::RANGE, format!("bytes={offset}-"));
        if let Some(validator) = validator {
            request = request.header(header::IF_RANGE, validator);
        }
    }
    let response = request.call().map_err(|error| connection(url, &error))?;
    classify(url, response, offset)
}

/// What the answer's status and headers mean.
fn classify(url: &str, response: Response<Body>, offset: u64) -> Result<Answer, Failure> {
    let status = response.status();
    let headers = response.headers().clone();
    let text = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    let length = text(header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    let framed = length.is_some() || headers.contains_key(header::TRANSFER_ENCODING);
    let page = text(header::CONTENT_TYPE).is_some_and(|kind| kind.trim_start().to_lowercase().starts_with("text/html"));
    // Only a strong tag says that all bytes are equal (RFC 9110, section 13.1.5).
    let tag = text(header::ETAG).filter(|tag| !tag.starts_with("W/"));
    let validator = tag.or_else(|| text(header::LAST_MODIFIED)).map(str::to_owned);
    let bytes = |start, total| Answer::Bytes(Reply { start, total, framed, validator, body: response.into_body() });
    match status {
        StatusCode::OK | StatusCode::PARTIAL_CONTENT if page => Err(web_page(url)),
        StatusCode::OK => Ok(bytes(0, length)),
        StatusCode::PARTIAL_CONTENT => match text(header::CONTENT_RANGE).and_then(content_range) {
            Some((start, end, total))
                if start == offset && total.is_none_or(|total| end.checked_add(1) == Some(total)) =>
            {
                Ok(bytes(start, total))
            }
            _ => {
                let sent = text(header::CONTENT_RANGE).unwrap_or("nothing");
                let cause = format!("asked for the bytes from {offset} on, the server says it sends `{sent}`");
                Ok(Answer::Restart(Failure::passing(url, cause, "its resuming does not work; try another source")))
            }
        },
        StatusCode::RANGE_NOT_SATISFIABLE if offset > 0 => {
            let cause = format!("the server has no bytes from {offset} on");
            Ok(Answer::Restart(Failure::passing(url, cause, "its file has changed; call again")))
        }
        _ => Err(refused(url, status, &headers)),
    }
}

/// A status that brings no file.
fn refused(url: &str, status: StatusCode, headers: &HeaderMap) -> Failure {
    let cause = format!("the server answers {status}");
    let after = headers.get(header::RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?, SystemTime::now()));
    let retry = |failure: Failure| match after {
        Some(wait) => Failure { retry: Retry::After(wait), ..failure },
        None => failure,
    };
    match status.as_u16() {
        403 if after.is_some() => {
            retry(Failure::passing(url, cause, "access is limited for the moment; call again later"))
        }
        401 | 403 | 407 => Failure::lasting(url, cause, "it may need a login or another network; get the file by hand"),
        404 | 410 => Failure::lasting(url, cause, "the file has moved; take a mirror with --from URL"),
        408 | 425 | 429 | 500 | 502 | 503 | 504 => {
            retry(Failure::passing(url, cause, "it is overloaded or out of order; call again later"))
        }
        _ => Failure::lasting(url, cause, "take a mirror with --from URL or get the file by hand"),
    }
}

/// The failure for a page where a file should be.
pub(super) fn web_page(url: &str) -> Failure {
    let next =
        "it is a login, a notice or an error page: open it in a browser, save the file and pass it with --from FILE";
    Failure::lasting(url, "a web page (HTML) came instead of the file", next)
}

/// Whether a file that begins like this is a web page.
pub(super) fn is_web_page(beginning: &[u8]) -> bool {
    let text = beginning.strip_prefix(b"\xef\xbb\xbf").unwrap_or(beginning).trim_ascii_start();
    [&b"<!doctype html"[..], b"<html", b"<head", b"<?xml version"]
        .iter()
        .any(|tag| text.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag)))
}

/// A request that got no answer.
fn connection(url: &str, error: &Error) -> Failure {
    match error {
        Error::TooManyRedirects => {
            Failure::lasting(url, "the server redirects again and again", "take a mirror with --from URL")
        }
        Error::RequireHttpsOnly(_) => {
            Failure::lasting(url, "the server redirects to an unencrypted address", "take a mirror with --from URL")
        }
        error if host_unknown(error) => Failure::lasting(
            url,
            "the name of the host is not found",
            "check the network connection; behind a proxy set HTTPS_PROXY",
        ),
        Error::BadUri(_) | Error::Http(_) => {
            Failure::lasting(url, format!("not a usable address: {error}"), "give a full https:// address")
        }
        Error::InvalidProxyUrl | Error::ConnectProxyFailed(_) => {
            Failure::lasting(url, format!("the proxy does not work: {error}"), "check HTTPS_PROXY and NO_PROXY")
        }
        Error::Tls(_) | Error::Rustls(_) => {
            let next = "check the clock of this computer and whether a proxy intercepts encrypted connections";
            Failure::lasting(url, format!("no secure connection: {error}"), next)
        }
        _ => Failure::passing(url, format!("no answer: {error}"), "check the network connection and call again"),
    }
}

/// Whether the name of the host has no address. Every further try would take as long to say the same.
fn host_unknown(error: &Error) -> bool {
    match error {
        Error::HostNotFound => true,
        // The standard library has no kind for it, only this beginning.
        Error::Io(error) => error.to_string().starts_with("failed to lookup address information"),
        _ => false,
    }
}

/// `bytes 5-9/10` as (5, 9, Some(10)); `*` for the total is `None`.
fn content_range(value: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, total) = value.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (start, end) = range.split_once('-')?;
    let (start, end) = (start.parse().ok()?, end.parse().ok()?);
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    (start <= end).then_some((start, end, total))
}

/// How long `Retry-After` asks to wait: seconds, or a date such as `Wed, 21 Oct 2015 07:28:00 GMT`
/// (RFC 9110, section 10.2.3).
fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let mut fields = value.strip_suffix(" GMT")?.split_once(", ")?.1.split(' ');
    let day: u64 = fields.next()?.parse().ok().filter(|day| (1..=31).contains(day))?;
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let name = fields.next()?;
    let month = months.iter().position(|month| *month == name)? as u64 + 1;
    let year: u64 = fields.next()?.parse().ok().filter(|year| (1970..10_000).contains(year))?;
    let mut clock = fields.next()?.split(':').map(|part| part.parse::<u64>().ok().filter(|value| *value <= 60));
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    // Days since 1970 in the Gregorian calendar, counting years from March so that the leap day comes last.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = (365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day).checked_sub(719_469)?;
    let then = UNIX_EPOCH + Duration::from_secs(((days * 24 + hour) * 60 + minute) * 60 + second);
    Some(then.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_computer_without_network_is_told_so_at_once() {
        let error = Error::Io(std::io::Error::other("failed to lookup address information: Name or service not known"));
        let failure = connection("https://host/file", &error);
        assert_eq!(failure.retry, Retry::Never);
        assert!(failure.to_string().contains("the name of the host is not found; check the network"), "{failure}");
        assert_eq!(connection("u", &Error::Io(std::io::ErrorKind::ConnectionReset.into())).retry, Retry::Soon);
    }

    #[test]
    fn content_ranges() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, 9, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, 9, None)));
        for bad in ["bytes 9-5/10", "bytes */10", "5-9/10", "bytes 5-9", "bytes x-9/10", ""] {
            assert_eq!(content_range(bad), None, "{bad}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        // 1445412480 is the second of RFC 9110's example, 21 October 2015 07:28:00.
        let now = UNIX_EPOCH + Duration::from_secs(1_445_412_480 - 90);
        let wait = |value| retry_after(value, now).map(|wait| wait.as_secs());
        assert_eq!(wait("120"), Some(120));
        assert_eq!(wait("Wed, 21 Oct 2015 07:28:00 GMT"), Some(90));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT"), Some(0));
        // 29 February 2016 00:00:00 is second 1456704000.
        assert_eq!(wait("Mon, 29 Feb 2016 00:00:00 GMT"), Some(1_456_704_000 - 1_445_412_480 + 90));
        for bad in ["", "soon", "-3", "Wed, 21 Okt 2015 07:28:00 GMT", "Wed, 99 Oct 2015 07:28:00 GMT", "Wed, 21 Oct"] {
            assert_eq!(wait(bad), None, "{bad}");
        }
    }

    #[test]
    fn web_pages_are_recognised() {
        for page in ["<!DOCTYPE html><html>", "\u{feff}\n <HTML lang=en>", "<head>", "<?xml version=\"1.0\"?><html>"] {
            assert!(is_web_page(page.as_bytes()), "{page}");
        }
        for file in [&b"PK\x03\x04"[..], b"\x1f\x8b", b"", b"<ht", b"img_id,img_filename"] {
            assert!(!is_web_page(file), "{file:?}");
        }
    }
}

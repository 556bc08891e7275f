//! One file from one URL into a [`Part`]: again and again where that helps, from where it stopped where that is safe.

use std::io::{Read, Write};
use std::thread::sleep;
use std::time::Instant;

use ureq::Agent;

use super::Policy;
use super::failure::{Failure, Retry, size};
use super::http::{self, Answer};
use super::hub::Token;
use super::part::{Origin, Part};
use super::progress::Progress;
use super::verify::Expected;

/// What to get.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    /// From where.
    pub(super) url: &'a str,
    /// The token of an account there.
    pub(super) token: Option<&'a Token>,
    /// Name for the progress.
    pub(super) name: &'a str,
    /// What the file must be.
    pub(super) expected: &'a Expected,
    /// About its length, when nobody says it.
    pub(super) about_bytes: u64,
    /// Whether its own check sums show that it is whole, as those of an archive do.
    pub(super) archive: bool,
    /// Disk space that is needed besides, to unpack it.
    pub(super) besides: u64,
}

/// Gets the whole file into `part`, its hash not yet checked, and says whether it may consist of more than one piece.
///
/// A try that brings the file further than any before starts the count of tries anew: a long download over a bad line
/// ends, and one that stands still ends too.
///
/// # Errors
/// The last failure when none of the tries allowed by `policy` brought the whole file.
pub(super) fn fetch(agent: &Agent, wanted: &Wanted<'_>, part: &Part, policy: &Policy) -> Result<bool, Failure> {
    eprintln!("{} from {}", wanted.name, wanted.url);
    let already = part.len();
    let mut furthest = already;
    let mut in_vain = 0;
    for tries in 1.. {
        let failure = match attempt(agent, wanted, part, policy) {
            Ok(()) => return Ok(already > 0 || tries > 1),
            Err(failure) => failure,
        };
        let there = part.len();
        in_vain = if there > furthest { 0 } else { in_vain + 1 };
        furthest = furthest.max(there);
        let wait = match failure.retry {
            Retry::Never => return Err(failure),
            Retry::Soon => policy.wait_first.saturating_mul(1 << in_vain.min(16)).min(policy.wait_max),
            Retry::After(wait) if wait > policy.retry_after_max => {
                let next = format!("the server asks to call again in {} s", wait.as_secs());
                return Err(Failure { next, ..failure });
            }
            Retry::After(wait) => wait,
        };
        if in_vain >= policy.tries_in_vain || tries >= policy.tries {
            return Err(Failure { cause: format!("{} (after {tries} tries)", failure.cause), ..failure });
        }
        eprintln!("{}: {}; again in {:.0} s", wanted.name, failure.cause, wait.as_secs_f64().ceil());
        sleep(wait);
    }
    unreachable!("the count of tries is bounded by the policy")
}

/// One request.
fn attempt(agent: &Agent, wanted: &Wanted<'_>, part: &Part, policy: &Policy) -> Result<(), Failure> {
    let url = wanted.url;
    let local = |error: std::io::Error| Failure::local(url, &error);
    let there = part.len();
    let origin = part.origin().filter(|origin| may_go_on(origin, wanted));
    if let Some(origin) = &origin {
        let total = wanted.expected.bytes.or(origin.total);
        if total == Some(there) {
            return Ok(());
        }
        if total.is_some_and(|total| there > total) {
            part.discard().map_err(local)?;
        }
    }
    let offset = if origin.is_some() { part.len() } else { 0 };
    let validator = origin.as_ref().filter(|origin| origin.url == url).and_then(|origin| origin.validator.as_deref());

    let reply = match http::get(agent, url, wanted.token, offset, validator)? {
        Answer::Bytes(reply) => reply,
        Answer::Restart(failure) => {
            part.discard().map_err(local)?;
            return Err(failure);
        }
    };
    let known = reply.total.or(origin.as_ref().filter(|_| reply.start > 0).and_then(|origin| origin.total));
    if let (Some(total), Some(expected)) = (known, wanted.expected.bytes)
        && total != expected
    {
        let cause = format!("the server offers {total} bytes, expected {expected}");
        return Err(Failure::lasting(url, cause, "it is another file; take another source with --from"));
    }
    if reply.start > 0 && origin.as_ref().is_some_and(|origin| origin.total.is_some() && origin.total != known) {
        part.discard().map_err(local)?;
        return Err(Failure::passing(url, "the file has another length than before", "it has changed; call again"));
    }
    let total = known.or(wanted.expected.bytes);
    if total.is_none() && !reply.framed && !wanted.expected.has_hash() && !wanted.archive {
        let cause = "neither the server nor the list of sources says the length, so a broken line would go unnoticed";
        return Err(Failure::lasting(url, cause, "take another source with --from"));
    }
    enough_space(wanted, part, total.unwrap_or(wanted.about_bytes).saturating_sub(reply.start), policy)?;

    let mut file = if reply.start > 0 {
        part.go_on(reply.start)
    } else {
        part.begin(&Origin { url: url.to_owned(), validator: reply.validator, total })
    }
    .map_err(local)?;
    // Without a length an endless answer has to end somewhere.
    let most = total.unwrap_or(wanted.about_bytes.saturating_mul(4));
    let mut body = reply.body.into_reader();
    let received = receive(&mut body, &mut file, reply.start, total, most, wanted, policy);
    // What came is kept for the next try, whatever ended this one; an error of the disk shows up here at the latest.
    let synced = file.sync_all().map_err(local);
    match received {
        Err(Stop::Foreign(failure)) => {
            part.discard().map_err(local)?;
            Err(failure)
        }
        Err(Stop::Cut(failure)) => Err(failure),
        Ok(()) => synced,
    }
}

/// Whether bytes of this origin may be continued by those of the URL.
///
/// Yes when a hash will find out a wrong mixture, or when the server compares versions; else a file that changed in
/// between would be mixed unnoticed.
fn may_go_on(origin: &Origin, wanted: &Wanted<'_>) -> bool {
    wanted.expected.has_hash() || (origin.url == wanted.url && origin.validator.is_some())
}

/// Checks the disk before the first byte and not after the last that fits.
fn enough_space(wanted: &Wanted<'_>, part: &Part, missing: u64, policy: &Policy) -> Result<(), Failure> {
    let folder = part.path().parent().expect("a part lies in a folder");
    let needed = missing.saturating_add(wanted.besides);
    match (policy.free_space)(folder) {
        Some(free) if free < needed => {
            let cause =
                format!("the disk of {} has {} free, {} are needed", folder.display(), size(free), size(needed));
            Err(Failure::lasting(wanted.url, cause, "free space, or choose another disk with --data-dir"))
        }
        _ => Ok(()),
    }
}

/// Why bytes stopped coming.
#[derive(Debug)]
enum Stop {
    /// What came is a beginning of the file.
    Cut(Failure),
    /// What came is something else.
    Foreign(Failure),
}

/// Copies the answer to the file, from offset `start` on.
fn receive(
    body: &mut impl Read,
    file: &mut impl Write,
    start: u64,
    total: Option<u64>,
    most: u64,
    wanted: &Wanted<'_>,
    policy: &Policy,
) -> Result<(), Stop> {
    let url = wanted.url;
    let cut = |cause: String| Stop::Cut(Failure::passing(url, cause, "call again: what has arrived is kept"));
    let of = total.map_or_else(String::new, |total| format!(" of {total}"));
    let mut progress = Progress::new(wanted.name, start);
    let mut beginning = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    let mut done = start;
    let (mut window, mut window_start) = (Instant::now(), start);
    loop {
        let n = body.read(&mut buffer).map_err(|error| cut(format!("the line broke at byte {done}{of}: {error}")))?;
        if n == 0 {
            break;
        }
        if start == 0 && beginning.len() < 512 {
            beginning.extend_from_slice(&buffer[..n.min(512)]);
            if http::is_web_page(&beginning) {
                return Err(Stop::Foreign(http::web_page(url)));
            }
        }
        if done + n as u64 > most {
            let cause = format!("more than {most} bytes come");
            return Err(Stop::Foreign(Failure::lasting(
                url,
                cause,
                "it is another file; take another source with --from",
            )));
        }
        file.write_all(&buffer[..n]).map_err(|error| Stop::Cut(Failure::local(url, &error)))?;
        done += n as u64;
        progress.at(done, total);
        // A limit per read alone is met by one byte now and then.
        if window.elapsed() >= policy.stall {
            let came = done - window_start;
            if came < policy.least_bytes {
                let cause = format!("only {came} bytes came in {} s, at byte {done}{of}", policy.stall.as_secs_f64());
                return Err(cut(cause));
            }
            (window, window_start) = (Instant::now(), done);
        }
    }
    match total {
        Some(total) if done < total => Err(cut(format!("the line ended at byte {done} of {total}"))),
        _ if done == 0 => Err(cut("an empty file came".to_owned())),
        _ => Ok(()),
    }
}

//! What servers do wrong.

use std::time::{Duration, Instant};

use super::server::{Act, Server};
use super::{Case, contents, policy};

#[test]
fn a_good_server_is_asked_once_and_never_again() {
    let file = contents(100_000);
    let server = Server::new(&file, &[Act::Serve]);
    let case = Case::new(&[&server.url]).with_hash(&file);
    case.arrives(&file);
    case.arrives(&file);
    assert_eq!(server.ranges(), ["-"]);
}

#[test]
fn statuses_that_will_not_change_are_asked_once() {
    for (line, word) in [
        ("403 Forbidden", "by hand"),
        ("401 Unauthorized", "login"),
        ("404 Not Found", "the file has moved; take a mirror with --from URL"),
        ("410 Gone", "moved"),
        ("418 I'm a teapot", "mirror"),
        ("404 Not Found\r\nRetry-After: 0", "moved"),
    ] {
        let server = Server::new(b"x", &[Act::Status(line, &[], "no")]);
        let status = &line[..3];
        Case::new(&[&server.url]).fails(&[
            &server.url,
            &format!("the server answers {status}"),
            word,
            "Get it by hand.",
        ]);
        assert_eq!(server.count(), 1, "{line}");
    }
}

#[test]
fn overloaded_servers_are_asked_again_a_few_times() {
    let file = contents(5000);
    for line in ["429 Too Many Requests", "503 Service Unavailable", "500 Internal Server Error", "504 Gateway Timeout"]
    {
        let busy = Act::Status(line, &[], "busy");
        let server = Server::new(&file, &[busy.clone(), busy.clone(), Act::Serve]);
        Case::new(&[&server.url]).arrives(&file);
        assert_eq!(server.count(), 3, "{line}");

        let server = Server::new(&file, &[busy]);
        Case::new(&[&server.url]).fails(&[&line[..3], "after 3 tries", "call again later"]);
        assert_eq!(server.count(), 3, "{line}");
    }
}

#[test]
fn retry_after_is_waited_for_up_to_a_limit() {
    let file = contents(5000);
    for line in ["429 Too Many Requests", "503 Service Unavailable", "403 Forbidden"] {
        let server = Server::new(&file, &[Act::Status(line, &["Retry-After: 1"], "busy"), Act::Serve]);
        let begun = Instant::now();
        Case::new(&[&server.url]).arrives(&file);
        assert!(begun.elapsed() >= Duration::from_secs(1), "{line} was not waited for");

        let server = Server::new(&file, &[Act::Status(line, &["Retry-After: 3600"], "busy"), Act::Serve]);
        let begun = Instant::now();
        Case::new(&[&server.url]).fails(&["the server asks to call again in 3600 s"]);
        assert!(begun.elapsed() < Duration::from_secs(1));
        assert_eq!(server.count(), 1, "{line}");
    }
}

#[test]
fn a_source_that_fails_is_followed_by_the_next_and_all_are_named() {
    let file = contents(5000);
    let dead = Server::new(b"x", &[Act::Status("404 Not Found", &[], "no")]);
    let page = Server::new(b"x", &[Act::Status("200 OK", &["Content-Type: text/html; charset=utf-8"], "<p>Log in")]);
    let good = Server::new(&file, &[Act::Serve]);
    Case::new(&[&dead.url, &page.url, &good.url]).arrives(&file);
    assert_eq!((dead.count(), page.count(), good.count()), (1, 1, 1));

    Case::new(&[&dead.url, &page.url]).fails(&[&dead.url, "404", &page.url, "web page", "Get it by hand."]);
}

#[test]
fn a_web_page_is_not_taken_for_the_file_however_it_is_labelled() {
    for (kind, body) in [
        (&["Content-Type: text/html"][..], "anything"),
        (&["Content-Type: application/octet-stream"], "\n<!DOCTYPE HTML><html>Quota exceeded</html>"),
        (&[], "<html><body>Virus scan warning</body></html>"),
    ] {
        let server = Server::new(b"x", &[Act::Status("200 OK", kind, body)]);
        let case = Case::new(&[&server.url]);
        case.fails(&[
            &server.url,
            "a web page (HTML) came instead of the file",
            "save the file and pass it with --from",
        ]);
        assert!(!case.part().exists(), "{body}");
    }
}

#[test]
fn lengths_that_are_wrong_are_found_out() {
    let file = contents(5000);
    // Said too long: the line ends early, and there is no more to ask for.
    let server = Server::new(&file, &[Act::Length(6000)]);
    Case::new(&[&server.url]).fails(&["the server has no bytes from 5000 on", "after 4 tries"]);
    // Said too short: what came is not the published file.
    let server = Server::new(&file, &[Act::Length(4000)]);
    Case::new(&[&server.url]).with_hash(&file).fails(&["the file came, but its sha256 is", "as published"]);
    // Another length than published is not even received.
    let server = Server::new(&file, &[Act::Serve]);
    let mut case = Case::new(&[&server.url]);
    case.sources.files[0].sources[0].bytes = Some(5001);
    case.fails(&["the server offers 5000 bytes, expected 5001"]);
    assert_eq!(server.count(), 1);
    // Without a word about the length, more than there can be ends it.
    let server = Server::new(&file, &[Act::Chunked(true)]);
    let mut case = Case::new(&[&server.url]);
    case.sources.files[0].sources[0].about_bytes = Some(1000);
    case.fails(&["more than 4000 bytes come"]);
}

#[test]
fn an_empty_file_is_no_file() {
    for act in [Act::Serve, Act::Chunked(true)] {
        let server = Server::new(b"", &[act]);
        Case::new(&[&server.url]).fails(&["an empty file came"]);
    }
}

#[test]
fn a_file_without_a_length_is_whole_when_its_end_mark_or_its_hash_says_so() {
    let file = contents(5500);
    let server = Server::new(&file, &[Act::Chunked(true)]);
    Case::new(&[&server.url]).arrives(&file);
    let server = Server::new(&file, &[Act::Chunked(false)]);
    Case::new(&[&server.url]).fails(&[&server.url, "the line broke"]);
    let server = Server::new(&file, &[Act::UntilClose]);
    Case::new(&[&server.url]).with_hash(&file).arrives(&file);
    let server = Server::new(&file[..5000], &[Act::UntilClose]);
    Case::new(&[&server.url]).with_hash(&file).fails(&["its sha256 is"]);
    let server = Server::new(&file, &[Act::UntilClose]);
    Case::new(&[&server.url]).fails(&["neither", "length"]);
}

#[test]
fn a_wrong_hash_leaves_nothing() {
    let file = contents(5000);
    let server = Server::new(&file, &[Act::Serve]);
    let case = Case::new(&[&server.url]).with_hash(b"another file");
    case.fails(&[&server.url, "its sha256 is", "as published", "--from"]);
    assert!(!case.part().exists());
    assert_eq!(server.count(), 1, "a file of one piece is what the server has");
}

#[test]
fn a_stalled_or_trickling_server_is_given_up() {
    let file = contents(50_000);
    for (act, word) in [(Act::Silence, "the line broke at byte 0 of 50000"), (Act::Trickle(20), "bytes came in 0.4 s")]
    {
        let server = Server::new(&file, &[act]);
        let begun = Instant::now();
        let mut policy = policy();
        policy.tries = 2;
        let case = Case::new(&[&server.url]);
        let message = format!("{:#}", case.run_with(None, &policy).unwrap_err());
        assert!(message.contains(word), "{message}");
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
        assert!(!case.target().exists());
    }
}

#[test]
fn redirects_are_followed_but_not_for_ever() {
    let file = contents(5000);
    let good = Server::new(&file, &[Act::Serve]);
    let way = Server::new(b"x", &[Act::Redirect(good.url.clone())]);
    Case::new(&[&way.url]).arrives(&file);

    let round = Server::new(b"x", &[Act::Redirect("/file.bin".to_owned())]);
    Case::new(&[&round.url]).fails(&[&round.url, "the server redirects again and again"]);
    assert!(round.count() <= 12, "{}", round.count());
}

#[test]
fn nobody_there_is_an_error_with_the_address() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/file.bin", listener.local_addr().unwrap());
    drop(listener);
    Case::new(&[&url]).fails(&[&url, "no answer", "check the network connection"]);
}

#[test]
fn a_disk_without_room_is_known_before_the_first_byte() {
    let file = contents(5000);
    let server = Server::new(&file, &[Act::Serve]);
    let case = Case::new(&[&server.url]);
    let mut policy = policy();
    policy.free_space = |_| Some(4999);
    let message = format!("{:#}", case.run_with(None, &policy).unwrap_err());
    assert!(message.contains("has 5.0 kB free, 5.0 kB are needed; free space"), "{message}");
    assert!(!case.part().exists() && !case.target().exists());
    policy.free_space = |_| Some(5000);
    case.run_with(None, &policy).unwrap();
}

/// `/dev/full` takes no byte, as a full disk does.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_fills_up_is_an_error_that_says_so() {
    let file = contents(5000);
    let server = Server::new(&file, &[Act::Serve]);
    let case = Case::new(&[&server.url]);
    fs_err::create_dir_all(case.part().parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/dev/full", case.part()).unwrap();
    case.fails(&[&server.url, "cannot write what arrives", "free space on the disk"]);
    assert_eq!(server.count(), 1, "another try meets the same disk");
}

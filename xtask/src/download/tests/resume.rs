//! Broken lines: what is continued, what is begun again.

use super::server::{Act, Server};
use super::{Case, contents, policy};

/// The connection ends at every tenth of the file, so that each request brings one tenth.
#[test]
fn ten_cuts_cost_no_byte_twice() {
    let file = contents(100_000);
    let cuts: Vec<Act> = (1..10).map(|tenth| Act::CutBefore(tenth * 10_000)).chain([Act::Serve]).collect();
    let server = Server::new(&file, &cuts);
    Case::new(&[&server.url]).with_hash(&file).arrives(&file);
    let range = |tenth| if tenth == 0 { "-".to_owned() } else { format!("bytes={}-", tenth * 10_000) };
    let expected: Vec<String> = (0..10).map(range).collect();
    assert_eq!(server.ranges(), expected);
}

/// A cut at each tenth, then a new call: the file is whole, or it is not there.
#[test]
fn a_call_goes_on_where_the_last_one_was_cut() {
    let file = contents(100_000);
    for tenth in 0..10 {
        for hash in [true, false] {
            let server = Server::new(&file, &[Act::CutBefore(tenth * 10_000)]);
            let mut case = Case::new(&[&server.url]);
            if hash {
                case = case.with_hash(&file);
            }
            case.fails(&[&server.url, &format!("at byte {} of 100000", tenth * 10_000), "call again"]);
            assert_eq!(fs_err::read(case.part()).unwrap(), file[..tenth * 10_000]);

            let before = server.count();
            server.set(&file, Some("\"v1\""), &[Act::Serve]);
            case.arrives(&file);
            let range = if tenth > 0 { format!("bytes={}-", tenth * 10_000) } else { "-".to_owned() };
            assert_eq!(server.ranges()[before..], [range]);
        }
    }
}

#[test]
fn a_server_without_ranges_starts_over_and_a_line_that_never_lasts_ends() {
    let file = contents(100_000);
    for tenth in 1..10 {
        let cut = Act::NoRangesCutBefore(tenth * 10_000);
        let server = Server::new(&file, &[cut.clone(), cut, Act::NoRanges]);
        Case::new(&[&server.url]).with_hash(&file).arrives(&file);
        assert_eq!(server.count(), 3);

        let server = Server::new(&file, &[Act::NoRangesCutBefore(tenth * 10_000)]);
        let case = Case::new(&[&server.url]).with_hash(&file);
        case.fails(&["after 4 tries", &format!("at byte {} of 100000", tenth * 10_000)]);
    }
}

#[test]
fn a_range_that_was_not_asked_for_is_not_used() {
    let file = contents(100_000);
    for range in ["bytes 0-99999/100000", "bytes 40001-99999/100000", "bytes 40000-99998/100000", "tea 1-2/3", ""] {
        let server = Server::new(&file, &[Act::CutBefore(40_000), Act::Range(range), Act::Serve]);
        // No hash: only the check of the range is in the way of a wrong file.
        Case::new(&[&server.url]).arrives(&file);
        assert_eq!(server.ranges(), ["-", "bytes=40000-", "-"], "{range}");
    }
    // The same range of a file of another length.
    let server = Server::new(&file, &[Act::CutBefore(40_000), Act::Range("bytes 40000-99999/*"), Act::Serve]);
    Case::new(&[&server.url]).arrives(&file);
}

#[test]
fn a_file_that_changed_is_not_mixed_with_its_old_version() {
    let (old, new) = (contents(100_000), contents(120_000)[7..].to_vec());
    for tag in [Some("\"v1\""), None, Some("W/\"v1\"")] {
        let server = Server::new(&old, &[Act::CutBefore(1)]);
        server.set(&old, tag, &[Act::CutBefore(40_000)]);
        let case = Case::new(&[&server.url]);
        case.fails(&["at byte 40000"]);
        server.set(&new, tag.map(|_| "\"v2\""), &[Act::Serve]);
        // Without a version to compare, the first bytes are asked for again.
        case.arrives(&new);
    }
    // The hash finds out a mixture of equal length, and the file is got anew.
    let new = new[..100_000].to_vec();
    let server = Server::new(&old, &[Act::CutBefore(40_000)]);
    let case = Case::new(&[&server.url]).with_hash(&new);
    case.fails(&["at byte 40000"]);
    let before = server.count();
    server.set(&new, Some("\"v1\""), &[Act::Serve]);
    case.arrives(&new);
    assert_eq!(server.ranges()[before..], ["bytes=40000-", "-"]);
}

#[test]
fn the_rest_may_come_from_another_source_when_the_hash_is_known() {
    let file = contents(100_000);
    let first = Server::new(&file, &[Act::CutBefore(60_000)]);
    let second = Server::new(&file, &[Act::Serve]);
    Case::new(&[&first.url, &second.url]).with_hash(&file).arrives(&file);
    assert_eq!(second.ranges(), ["bytes=60000-"]);

    let second = Server::new(&file, &[Act::Serve]);
    Case::new(&[&first.url, &second.url]).arrives(&file);
    assert_eq!(second.ranges(), ["-"]);
}

#[test]
fn redirects_keep_the_range() {
    let file = contents(100_000);
    let good = Server::new(&file, &[Act::CutBefore(30_000), Act::Serve]);
    let way = Server::new(b"x", &[Act::Redirect(good.url.clone())]);
    way.set(b"a file longer than nothing", None, &[Act::Redirect(good.url.clone())]);
    Case::new(&[&way.url]).with_hash(&file).arrives(&file);
    assert_eq!(good.ranges(), ["-", "bytes=30000-"]);
}

#[test]
fn a_part_of_unknown_origin_or_too_long_is_not_used() {
    let file = contents(5000);
    let server = Server::new(&file, &[Act::Serve]);
    let case = Case::new(&[&server.url]).with_hash(&file);
    fs_err::create_dir_all(case.part().parent().unwrap()).unwrap();
    fs_err::write(case.part(), "not the beginning").unwrap();
    case.arrives(&file);
    assert_eq!(server.ranges(), ["-"]);

    let server = Server::new(&file, &[Act::CutBefore(4000)]);
    let case = Case::new(&[&server.url]).with_hash(&file);
    case.fails(&["at byte 4000"]);
    fs_err::write(case.part(), contents(6000)).unwrap();
    server.set(&file, Some("\"v1\""), &[Act::Serve]);
    case.arrives(&file);
}

#[test]
fn a_download_that_was_complete_is_only_verified() {
    let file = contents(5000);
    let server = Server::new(&file, &[Act::CutBefore(4999)]);
    let case = Case::new(&[&server.url]).with_hash(&file);
    case.fails(&["at byte 4999"]);
    fs_err::write(case.part(), &file).unwrap();
    let before = server.count();
    case.arrives(&file);
    assert_eq!(server.count(), before);
}

#[test]
fn two_at_a_time_into_one_folder_are_refused() {
    let case = Case::new(&["http://127.0.0.1:1/file.bin"]);
    let policy = policy();
    let holder = crate::download::install::Installer::new(&case.data_dir(), &policy).unwrap();
    case.fails(&["another download into", "is running; wait for its end"]);
    drop(holder);
}

//! Archives made to do harm, and ordinary ones in every form they come in.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{EntryType, Header};
use zip::write::SimpleFileOptions;

use super::{UnpackError, unpack};
use crate::download::sources::Unpack;

const GOOD: (&str, &[u8]) = ("metadata.csv", b"img_id\n");

/// Unpacks bytes with room for 10 entries and 10,000 bytes; the folder above holds a file that must stay as it is.
fn run(archive: &[u8]) -> (tempfile::TempDir, Result<PathBuf, UnpackError>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("archive");
    fs_err::write(&path, archive).unwrap();
    fs_err::write(folder.path().join("victim"), "untouched").unwrap();
    let contents = vec!["metadata.csv".to_owned()];
    let limits = Unpack { contents, about_bytes: 0, max_bytes: 10_000, max_entries: 10 };
    let result = unpack(&path, &folder.path().join("into"), &limits);
    (folder, result)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// One entry of a tar, with a name that the `tar` crate would refuse to write.
fn entry(kind: EntryType, name: &str, link: &str, data: &[u8]) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o6755);
    header.set_size(data.len() as u64);
    header.set_cksum();
    let padding = vec![0; data.len().next_multiple_of(512) - data.len()];
    [header.as_bytes(), data, &padding].concat()
}

fn file(name: &str, data: &[u8]) -> Vec<u8> {
    entry(EntryType::Regular, name, "", data)
}

fn targz(entries: &[Vec<u8>]) -> Vec<u8> {
    gzip(&[entries.concat(), vec![0; 1024]].concat())
}

fn zipped(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, data) in files {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(data).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// Everything in the folder, in order.
fn tree(folder: &Path) -> Vec<String> {
    let mut out = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs_err::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            out.push(path.strip_prefix(folder).unwrap().display().to_string().replace('\\', "/"));
            if fs_err::symlink_metadata(&path).unwrap().is_dir() {
                folders.push(path);
            }
        }
    }
    out.sort();
    out
}

fn refuses(archive: &[u8], words: &[&str]) {
    let (folder, result) = run(archive);
    let message = result.unwrap_err().to_string();
    for word in words {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
    let outside: Vec<_> = tree(folder.path()).into_iter().filter(|path| !path.starts_with("into")).collect();
    assert_eq!(outside, ["archive", "victim"]);
    assert_eq!(fs_err::read(folder.path().join("victim")).unwrap(), b"untouched");
}

#[test]
fn names_that_lead_outside_are_refused() {
    for (name, why) in [
        ("../victim", "leads outside"),
        ("a/../../victim", "leads outside"),
        ("..", "leads outside"),
        ("/victim", "absolute"),
        ("a\\..\\..\\victim", "a character of paths"),
        ("C:victim", "a character of paths"),
    ] {
        refuses(&targz(&[file(name, b"harm"), file(GOOD.0, GOOD.1)]), &["refused", why, "do not use"]);
        refuses(&targz(&[entry(EntryType::Directory, name, "", b"")]), &["refused", why]);
        refuses(&zipped(&[(name, b"harm"), GOOD]), &["refused", why]);
    }
}

#[test]
fn names_of_long_headers_are_checked_too() {
    for name in ["../victim", "/victim"] {
        let gnu = entry(EntryType::GNULongName, "././@LongLink", "", format!("{name}\0").as_bytes());
        refuses(&targz(&[gnu, file("x", b"harm")]), &["refused"]);
        let length = format!("00 path={name}\n").len();
        let pax = entry(EntryType::XHeader, "x", "", format!("{length} path={name}\n").as_bytes());
        refuses(&targz(&[pax, file("x", b"harm")]), &["refused"]);
    }
}

#[test]
fn links_and_devices_are_refused() {
    for kind in [EntryType::Symlink, EntryType::Link] {
        for target in ["../victim", "/etc/passwd", "metadata.csv"] {
            let through = file("a/victim", b"harm");
            refuses(&targz(&[file(GOOD.0, GOOD.1), entry(kind, "a", target, b""), through]), &["`a`", "it is a link"]);
        }
    }
    for kind in [EntryType::Fifo, EntryType::Char, EntryType::Block, EntryType::GNUSparse] {
        refuses(&targz(&[entry(kind, "a", "", b"")]), &["neither a file nor a folder"]);
    }
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    zip.add_symlink("a", "../victim", SimpleFileOptions::default()).unwrap();
    refuses(&zip.finish().unwrap().into_inner(), &["it is a link"]);
}

#[test]
fn bombs_are_stopped_at_the_limit() {
    let zeros = vec![0; 50_000_000];
    let bomb = targz(&[file(GOOD.0, GOOD.1), file("zeros", &zeros)]);
    assert!(bomb.len() < 100_000, "{}", bomb.len());
    refuses(&bomb, &["more than 10000 bytes when unpacked"]);
    refuses(&zipped(&[GOOD, ("zeros", &zeros)]), &["more than 10000 bytes when unpacked"]);
    // Many small ones, and many of nothing.
    let small: Vec<_> = (0..9).map(|i| file(&format!("f{i}"), &[0; 2000])).collect();
    refuses(&targz(&small), &["more than 10000 bytes"]);
    let empty: Vec<_> = (0..11).map(|i| file(&format!("f{i}"), b"")).collect();
    refuses(&targz(&empty), &["more than 10 files and folders"]);
    let names: Vec<String> = (0..11).map(|i| format!("f{i}")).collect();
    refuses(&zipped(&names.iter().map(|name| (name.as_str(), &b""[..])).collect::<Vec<_>>()), &["more than 10 files"]);
    // Where no file is written: in a header, in an entry without contents, behind the end.
    refuses(&targz(&[entry(EntryType::GNULongName, "n", "", &zeros), file("x", b"")]), &["its header is too long"]);
    refuses(&targz(&[entry(EntryType::XGlobalHeader, "n", "", &zeros), file("x", b"")]), &["more than 10000 bytes"]);
    refuses(&gzip(&[file(GOOD.0, GOOD.1), vec![0; 1024], zeros].concat()), &["more bytes than the data set can have"]);
}

#[test]
fn a_name_that_comes_twice_is_refused() {
    refuses(&targz(&[file("a", b"1"), file("a", b"2")]), &["the name comes twice"]);
    refuses(&targz(&[file("a", b"1"), file("./a", b"2")]), &["the name comes twice"]);
}

#[test]
fn damage_anywhere_is_found() {
    let good = targz(&[file(GOOD.0, GOOD.1), file("picture", &(0..3000).map(|i| (i * i) as u8).collect::<Vec<_>>())]);
    for length in 5..good.len() {
        assert!(run(&good[..length]).1.is_err(), "{length} of {} bytes were taken for the whole", good.len());
    }
    let zip = zipped(&[GOOD, ("picture", &[7; 3000])]);
    for length in 5..zip.len() {
        assert!(run(&zip[..length]).1.is_err(), "{length} of {} bytes were taken for the whole", zip.len());
    }
    // One wrong byte in the contents of a zip's first file.
    let mut stored = zip::ZipWriter::new(Cursor::new(Vec::new()));
    stored.start_file(GOOD.0, SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored)).unwrap();
    stored.write_all(b"img_id\n").unwrap();
    let mut stored = stored.finish().unwrap().into_inner();
    let at = stored.windows(7).position(|bytes| bytes == b"img_id\n").unwrap();
    stored[at] ^= 1;
    assert!(run(&stored).1.is_err());
}

#[test]
fn every_ordinary_form_is_read() {
    let long = format!("{}/picture.jpg", "a".repeat(150));
    let gnu = entry(EntryType::GNULongName, "././@LongLink", "", format!("{long}\0").as_bytes());
    let length = format!("000 path={long}\n").len();
    let pax = entry(EntryType::XHeader, "x", "", format!("{length} path={long}\n").as_bytes());
    let global = entry(EntryType::XGlobalHeader, "g", "", b"20 comment=abcdefgh\n");
    for (archive, root, files) in [
        (targz(&[file(GOOD.0, GOOD.1)]), "", vec!["metadata.csv".to_owned()]),
        (targz(&[global, file("./top/metadata.csv", b"")]), "top", vec!["metadata.csv".to_owned()]),
        (targz(&[gnu, file("short", b"p"), file(GOOD.0, b"")]), "", vec![long.clone(), "metadata.csv".to_owned()]),
        (targz(&[pax, file("short", b"p"), file(GOOD.0, b"")]), "", vec![long.clone(), "metadata.csv".to_owned()]),
        (targz(&[file("top/", b""), file("top/in/metadata.csv", b"")]), "top/in", vec!["metadata.csv".to_owned()]),
        (
            zipped(&[("top/Grünspecht 鳥.jpg", b"p"), ("top/metadata.csv", b"")]),
            "top",
            vec!["Grünspecht 鳥.jpg".to_owned(), "metadata.csv".to_owned()],
        ),
    ] {
        let (folder, result) = run(&archive);
        let found = result.unwrap();
        assert_eq!(found, folder.path().join("into").join(root));
        let files_found: Vec<_> = tree(&found).into_iter().filter(|path| !found.join(path).is_dir()).collect();
        assert_eq!(files_found, files);
    }
    // An archive of several gzip members is one, and nobody's special rights come out of it.
    let half = file(GOOD.0, GOOD.1);
    let (_folder, result) = run(&[gzip(&half[..700]), gzip(&[&half[700..], &[0; 1024]].concat())].concat());
    let path = result.unwrap().join("metadata.csv");
    assert_eq!(fs_err::read(&path).unwrap(), GOOD.1);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs_err::metadata(&path).unwrap().permissions().mode() & 0o7111, 0);
    }
}

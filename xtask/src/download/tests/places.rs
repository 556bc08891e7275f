//! `--from`, the lock file, archives and what is there already.

use std::io::Write;
use std::path::PathBuf;

use super::server::{Act, Server};
use super::{Case, contents, hash_of, names, policy};

/// A tar.gz with `birds/metadata.csv` and a picture.
fn archive() -> Vec<u8> {
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default()));
    for (name, data) in [("./birds/metadata.csv", &b"img_id\n"[..]), ("./birds/001.Crow/a.jpg", &contents(3000))] {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, data).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

fn write(case: &Case, name: &str, bytes: &[u8]) -> String {
    let path = case.folder.path().join(name);
    fs_err::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

fn from(case: &Case, from: &str) -> anyhow::Result<PathBuf> {
    case.run_with(Some(from), &policy())
}

fn refused(case: &Case, path: &str, words: &[&str]) {
    let message = format!("{:#}", from(case, path).unwrap_err());
    for word in words {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
    assert!(!case.target().exists());
}

#[test]
fn an_archive_becomes_a_folder_once() {
    let server = Server::new(&archive(), &[Act::Serve]);
    let case = Case::new(&[&server.url]).with_archive();
    for _ in 0..2 {
        assert_eq!(case.run().unwrap(), case.target());
        assert_eq!(names(&case.target()), ["001.Crow", "metadata.csv"]);
        assert_eq!(fs_err::read(case.target().join("001.Crow/a.jpg")).unwrap(), contents(3000));
        assert_eq!(names(&case.data_dir().join(".download")), ["lock"]);
    }
    assert_eq!(server.count(), 1);
}

/// At every tenth, whatever the transport claims: the check sums inside of the archive notice.
#[test]
fn half_an_archive_never_becomes_a_folder() {
    let whole = archive();
    for tenth in 1..10 {
        for act in [Act::Serve, Act::UntilClose] {
            let server = Server::new(&whole[..whole.len() * tenth / 10], &[act]);
            let case = Case::new(&[&server.url]).with_archive();
            case.fails(&[&server.url, "the file came, but", "nothing of it was kept"]);
            assert_eq!(names(&case.data_dir().join(".download")), ["lock"]);
            assert!(!case.data_dir().join("scgs-lock.toml").exists(), "half a file was recorded");
        }
    }
    let server = Server::new(&whole[..whole.len() - 8], &[Act::Serve]);
    Case::new(&[&server.url]).with_archive().fails(&["the file came, but"]);
}

#[test]
fn an_archive_without_the_data_set_is_refused() {
    let server = Server::new(&archive(), &[Act::Serve]);
    let mut case = Case::new(&[&server.url]).with_archive();
    case.sources.files[0].unpack.as_mut().unwrap().contents.push("list.txt".to_owned());
    case.fails(&["no folder in it has metadata.csv and list.txt", "take another source"]);
    let server = Server::new(b"neither tar nor zip", &[Act::Serve]);
    Case::new(&[&server.url]).with_archive().fails(&["neither a tar.gz nor a zip file"]);
}

#[test]
fn leftovers_of_an_interrupted_unpacking_are_replaced() {
    let server = Server::new(&archive(), &[Act::Serve]);
    let case = Case::new(&[&server.url]).with_archive();
    let left = case.data_dir().join(".download/file.bin.unpacked/birds");
    fs_err::create_dir_all(&left).unwrap();
    fs_err::write(left.join("old.jpg"), "half").unwrap();
    case.run().unwrap();
    assert_eq!(names(&case.target()), ["001.Crow", "metadata.csv"]);
}

#[test]
fn the_first_download_is_recorded_and_the_next_must_equal_it() {
    let (first, second) = (contents(5000), contents(6000));
    let server = Server::new(&first, &[Act::Serve]);
    let case = Case::new(&[&server.url]);
    case.arrives(&first);
    let lock = fs_err::read_to_string(case.data_dir().join("scgs-lock.toml")).unwrap();
    for part in ["[files.\"file.bin\"]", "bytes = 5000", &hash_of(&first), &server.url] {
        assert!(lock.contains(part), "{part} is not in {lock}");
    }

    fs_err::remove_file(case.target()).unwrap();
    server.set(&second, None, &[Act::Serve]);
    case.fails(&["as recorded in scgs-lock.toml", "remove its entry from scgs-lock.toml"]);
    server.set(&first, None, &[Act::Serve]);
    case.arrives(&first);
    assert_eq!(fs_err::read_to_string(case.data_dir().join("scgs-lock.toml")).unwrap(), lock);
}

#[test]
fn what_is_in_the_place_but_wrong_is_named_and_kept() {
    let file = contents(5000);
    let server = Server::new(&file, &[Act::Serve]);
    let case = Case::new(&[&server.url]).with_hash(&file);
    fs_err::create_dir_all(case.target().parent().unwrap()).unwrap();
    fs_err::write(case.target(), "mine").unwrap();
    let message = format!("{:#}", case.run().unwrap_err());
    assert!(message.contains("is there, but its sha256 is") && message.contains("move it away"), "{message}");
    assert_eq!(fs_err::read(case.target()).unwrap(), b"mine");

    let case = Case::new(&[&server.url]).with_archive();
    fs_err::create_dir_all(case.target()).unwrap();
    let message = format!("{:#}", case.run().unwrap_err());
    assert!(message.contains("is there, but without metadata.csv"), "{message}");
    assert_eq!(server.count(), 0);
}

#[test]
fn a_file_one_has_is_verified_and_copied() {
    let file = contents(5000);
    let case = Case::new(&["http://127.0.0.1:1/file.bin"]).with_hash(&file);
    let wrong = write(&case, "file.bin", &contents(5001));
    refused(&case, &wrong, &["is not the file it should be: its sha256 is", "as published"]);
    let page = write(&case, "page.bin", b"<!doctype html><title>Log in</title>");
    refused(&case, &page, &["page.bin", "a web page (HTML)"]);
    refused(&case, &case.folder.path().join("none").to_string_lossy(), &["neither a URL nor a file", "none"]);
    refused(&case, &case.folder.path().to_string_lossy(), &["is no file"]);

    let right = write(&case, "any name.bin", &file);
    assert_eq!(from(&case, &right).unwrap(), case.target());
    assert_eq!(fs_err::read(case.target()).unwrap(), file);
    assert_eq!(fs_err::read(&right).unwrap(), file);
    assert_eq!(names(&case.data_dir().join(".download")), ["lock"]);
}

#[test]
fn an_archive_one_has_is_unpacked_and_stays() {
    let case = Case::new(&["http://127.0.0.1:1/file.bin"]).with_archive();
    let half = write(&case, "half.tar.gz", &archive()[..1000]);
    refused(&case, &half, &["half.tar.gz", "the archive is damaged"]);
    assert_eq!(fs_err::read(&half).unwrap().len(), 1000);

    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file("archive/celeba/metadata.csv", zip::write::SimpleFileOptions::default()).unwrap();
    zip.write_all(b"img_id\n").unwrap();
    let whole = write(&case, "archive.zip", &zip.finish().unwrap().into_inner());
    from(&case, &whole).unwrap();
    assert_eq!(names(&case.target()), ["metadata.csv"]);
    let lock = fs_err::read_to_string(case.data_dir().join("scgs-lock.toml")).unwrap();
    assert!(lock.contains("[files.\"archive.zip\"]") && lock.contains("source = \"archive.zip\""), "{lock}");
    assert!(PathBuf::from(whole).exists());
}

#[test]
fn a_mirror_is_checked_like_the_source() {
    let file = contents(5000);
    let mirror = Server::new(&file, &[Act::Serve]);
    let case = Case::new(&["http://127.0.0.1:1/file.bin"]).with_hash(&file);
    from(&case, &mirror.url).unwrap();
    assert_eq!(fs_err::read(case.target()).unwrap(), file);

    let wrong = Server::new(&contents(5001), &[Act::Serve]);
    let case = Case::new(&["http://127.0.0.1:1/file.bin"]).with_hash(&file);
    refused(&case, &wrong.url, &[&wrong.url, "as published"]);
    refused(&case, &format!("{}?download=1", wrong.url), &["as published"]);
}

#[test]
fn one_of_several_files_is_known_by_its_hash_or_its_name() {
    let (one, two) = (contents(5000), contents(6000));
    let mut case = Case::new(&["http://127.0.0.1:1/file.bin"]).with_hash(&one);
    let mut second = Case::new(&["http://127.0.0.1:1/second.bin"]).with_hash(&two).sources.files.remove(0);
    second.path = "second.bin".to_owned();
    second.sources[0].name = "second.bin".to_owned();
    case.sources.files.push(second);

    let path = write(&case, "renamed.bin", &two);
    assert_eq!(from(&case, &path).unwrap(), case.data_dir().join("second.bin"));
    let other = write(&case, "third.bin", b"3");
    refused(&case, &other, &["none of the expected files: file.bin, second.bin", "sha256"]);
    refused(&case, "http://127.0.0.1:1/third.bin", &["none of the expected files: file.bin, second.bin"]);
    let wrong = write(&case, "file.bin", b"1");
    refused(&case, &wrong, &["is not the file it should be"]);
}

/// The environment belongs to the process, so the download runs in a second one: this very test, called by itself.
#[test]
fn the_proxy_of_the_environment_is_used() {
    const MARK: &str = "SCGS_TEST_PROXY_CHILD";
    let test = "download::tests::places::the_proxy_of_the_environment_is_used";
    if std::env::var_os(MARK).is_some() {
        let mut policy = policy();
        policy.proxy_from_environment = true;
        let case = Case::new(&["https://data.invalid/file.bin"]);
        let error = case.run_with(None, &policy).unwrap_err();
        println!("{error:#}");
        return;
    }
    let proxy = Server::new(b"x", &[Act::Status("502 Bad Gateway", &[], "no")]);
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(MARK, "1")
        .env("HTTPS_PROXY", proxy.url.trim_end_matches("/file.bin"))
        .env_remove("ALL_PROXY")
        .env_remove("all_proxy")
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&child.stdout).into_owned();
    assert!(child.status.success(), "{text}");
    assert!(proxy.heads()[0].starts_with("CONNECT data.invalid:443 HTTP/1.1"), "{:?}\n{text}", proxy.heads());
    assert!(text.contains("proxy"), "{text}");
}

/// The lists that ship: readable, every weight with a hash, and no name without a list.
#[test]
fn every_name_has_its_list() {
    use clap::ValueEnum;
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../datasets/sources");
    let mut expected = Vec::new();
    for name in crate::download::Name::value_variants() {
        let file = format!("{}.toml", name.to_possible_value().unwrap().get_name());
        let sources = super::Sources::read(&folder.join(&file)).unwrap();
        for item in sources.files.iter().filter(|item| item.unpack.is_none()) {
            for source in &item.sources {
                if let Some((_, tail)) = source.url.split_once("/resolve/main/") {
                    // A folder of many files: where each lies in it, and a name of its own in the lock file.
                    assert!(item.path.ends_with(&format!("/{tail}")) && source.about_bytes.is_some(), "{}", item.path);
                    assert!(source.name.ends_with(&tail.replace('/', ".")), "{}", source.name);
                    continue;
                }
                let prefix = source.name.rsplit_once('-').unwrap().1.trim_end_matches(".pth");
                assert!(source.sha256.as_ref().unwrap().starts_with(prefix), "{}", source.name);
                assert!(item.path.ends_with(&source.name) && source.url.ends_with(&source.name), "{}", source.name);
            }
        }
        let mut names: Vec<&str> = sources.files.iter().map(|item| item.sources[0].name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), sources.files.len(), "{file}: two files with one name in the lock file");
        expected.push(file);
    }
    expected.sort();
    assert_eq!(names(&folder), expected);
}

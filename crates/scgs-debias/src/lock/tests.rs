//! Tests of locks within a process: the system's locks belong to open files, so that two of one process exclude each
//! other as those of two do. tests/tests/writers.rs does it with processes.

use std::sync::{Mutex, atomic::AtomicBool};

use burn::tensor::Device;

use super::*;

fn with_context<T>(work: impl FnOnce(&Context<'_>) -> T) -> (T, Vec<String>) {
    let never = AtomicBool::new(false);
    let notices = Mutex::new(Vec::new());
    let report = |event| {
        if let Event::Notice { text } = event {
            notices.lock().unwrap().push(text);
        }
    };
    let made = work(&Context::new(Device::flex(), &never, &report));
    (made, notices.into_inner().unwrap())
}

#[test]
fn a_second_writer_is_told_who_holds_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let (text, notices) = with_context(|context| {
        let first = Lock::whole(dir.path(), context).unwrap();
        first.check().unwrap();
        let text = Lock::whole(dir.path(), context).unwrap_err().to_string();
        let part = Lock::part(dir.path(), "shard-1-of-2", context).unwrap_err().to_string();
        assert!(part.contains("process"), "{part}");
        drop(first);
        Lock::whole(dir.path(), context).unwrap();
        text
    });
    for part in [format!("process {}", std::process::id()), owner::host(), "last sign of life".to_owned()] {
        assert!(text.contains(&part), "{part} in {text}");
    }
    assert!(notices.is_empty(), "an owner that ended leaves nothing stale: {notices:?}");
    assert!(!dir.path().join("owners").exists());
}

#[test]
fn parts_exclude_themselves_and_the_whole_but_not_each_other() {
    let dir = tempfile::tempdir().unwrap();
    with_context(|context| {
        let first = Lock::part(dir.path(), "shard-1-of-2", context).unwrap();
        let second = Lock::part(dir.path(), "shard-2-of-2", context).unwrap();
        assert!(matches!(Lock::part(dir.path(), "shard-1-of-2", context), Err(Error::Held { .. })));
        assert!(matches!(Lock::whole(dir.path(), context), Err(Error::Held { .. })));
        drop((first, second));
        Lock::whole(dir.path(), context).unwrap();
    });
}

#[test]
fn the_dead_are_taken_over_with_a_notice_and_the_living_on_other_hosts_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let note = dir.path().join("owners/run.json");
    fs_err::create_dir_all(dir.path().join("owners")).unwrap();
    // A process of this host that was killed: its note is there, its lock is not.
    Owner { pid: 1, command: "scgs run".into(), ..Owner::this() }.write(&note).unwrap();
    let (_, notices) = with_context(|context| Lock::whole(dir.path(), context).unwrap());
    assert!(notices[0].contains("taken over from process 1 on"), "{notices:?}");

    let elsewhere = Owner { host: "far-away".into(), ..Owner::this() };
    fs_err::create_dir_all(dir.path().join("owners")).unwrap();
    elsewhere.write(&note).unwrap();
    with_context(|context| {
        let text = Lock::whole(dir.path(), context).unwrap_err().to_string();
        assert!(text.contains("far-away"), "{text}");
    });
    Owner { heartbeat: elsewhere.heartbeat - STALE.as_secs() - 1, ..elsewhere }.write(&note).unwrap();
    let (_, notices) = with_context(|context| Lock::whole(dir.path(), context).unwrap());
    assert!(notices[0].contains("far-away"), "{notices:?}");
}

#[test]
fn whoever_was_taken_over_notices_before_it_finishes_a_stage() {
    let dir = tempfile::tempdir().unwrap();
    with_context(|context| {
        let asleep = Lock::whole(dir.path(), context).unwrap();
        Owner { host: "far-away".into(), ..Owner::this() }.write(&dir.path().join("owners/run.json")).unwrap();
        let text = asleep.check().unwrap_err().to_string();
        assert!(text.contains("far-away"), "{text}");
        drop(asleep);
        assert!(dir.path().join("owners/run.json").exists(), "another's note stays");
    });
}

//! A pack gives the very values that decoding gives, and is built anew whenever it could not.

use std::sync::Arc;

use super::*;
use crate::{Batches, Transform, load_batch};

/// Photos of the project's pack, copied, so that they may be changed.
fn photos(folder: &Path) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/habitat/bg/water");
    let mut names: Vec<_> = fs_err::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    names
        .into_iter()
        .take(7)
        .enumerate()
        .map(|(i, from)| {
            let to = folder.join(format!("{i}.jpg"));
            fs_err::copy(from, &to).unwrap();
            to
        })
        .collect()
}

fn square(side: u32) -> Prepare {
    Prepare::square(side, Normalisation::IMAGENET)
}

/// Opens a pack and says whether it was built.
fn opened(file: &Path, paths: &[PathBuf], prepare: &Prepare) -> (Pack, bool) {
    let mut built = false;
    let pack = Pack::open_or_build(file, paths, prepare, &mut |_| {
        built = true;
        true
    });
    (pack.unwrap(), built)
}

#[test]
fn values_are_those_of_decoding_bit_by_bit() {
    let folder = tempfile::tempdir().unwrap();
    let paths = photos(folder.path());
    let (pack, built) = opened(&folder.path().join("cache/a.pack"), &paths, &square(20));
    assert!(built && pack.len() == 7 && !pack.is_empty() && pack.size() == (20, 20));
    for normalisation in [Normalisation::IMAGENET, Normalisation::LITE0] {
        let whole = load_batch(&paths, 20, &normalisation).unwrap();
        let mut out = vec![0.0; whole.len()];
        // Twice: what was given back to the system comes back the same.
        for _ in 0..2 {
            pack.values_into(0, &normalisation, &mut out);
            assert_eq!(out, whole);
        }
        let mut part = vec![0.0; 2 * 3 * 20 * 20];
        pack.values_into(3, &normalisation, &mut part);
        assert_eq!(part, whole[3 * 1200..5 * 1200]);
    }
    let batches = Batches::new(paths.clone(), square(20), 3, 2, Some(Arc::new(pack)));
    let all: Vec<f32> = batches.flat_map(Result::unwrap).collect();
    assert_eq!(all, load_batch(&paths, 20, &Normalisation::IMAGENET).unwrap());
}

#[test]
fn a_pack_is_kept_until_something_changes() {
    let folder = tempfile::tempdir().unwrap();
    let mut paths = photos(folder.path());
    let file = folder.path().join("a.pack");
    let built = |paths: &[PathBuf], prepare: &Prepare| opened(&file, paths, prepare).1;
    assert!(built(&paths, &square(16)));
    assert!(!built(&paths, &square(16)));
    assert!(!built(&paths, &Prepare::square(16, Normalisation::LITE0)), "the normalisation is applied later");
    assert!(built(&paths, &square(17)), "another size");
    let crop = Transform { steps: vec![crate::Step::CenterCrop { side: 17 }] };
    assert!(built(&paths, &Prepare::new(crop, Normalisation::LITE0).unwrap()), "another transform of the same size");
    assert!(built(&paths, &square(16)));
    paths.swap(0, 1);
    assert!(built(&paths, &square(16)), "another order");
    // Another picture under the same name.
    let (from, to) = (paths[2].clone(), paths[3].clone());
    fs_err::copy(from, to).unwrap();
    assert!(built(&paths, &square(16)), "another content");
    let (pack, _) = opened(&file, &paths, &square(16));
    let mut out = vec![0.0; 2 * 768];
    pack.values_into(2, &Normalisation::LITE0, &mut out);
    assert_eq!(out[..768], out[768..]);
}

#[test]
fn a_damaged_pack_is_built_anew() {
    let folder = tempfile::tempdir().unwrap();
    let paths = photos(folder.path());
    let file = folder.path().join("a.pack");
    opened(&file, &paths, &square(16));
    let good = fs_err::read(&file).unwrap();
    let mut huge = good.clone();
    huge[MAGIC.len()..MAGIC.len() + 8].fill(0xff);
    for bytes in [&good[..good.len() - 1], &good[..100], &good[..5], b"", b"something else entirely", &huge] {
        fs_err::remove_file(&file).unwrap();
        fs_err::write(&file, bytes).unwrap();
        assert!(opened(&file, &paths, &square(16)).1, "{} bytes", bytes.len());
        assert_eq!(fs_err::read(&file).unwrap(), good);
    }
}

#[test]
fn what_cannot_be_built_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut paths = photos(folder.path());
    let file = folder.path().join("cache/a.pack");
    let stopped = Pack::open_or_build(&file, &paths, &square(16), &mut |_| false);
    assert!(matches!(stopped, Err(PackError::Stopped)));
    let bytes = fs_err::read(&paths[4]).unwrap();
    fs_err::write(&paths[4], &bytes[..bytes.len() / 2]).unwrap();
    match Pack::open_or_build(&file, &paths, &square(16), &mut |_| true) {
        Err(PackError::Pictures(bad)) => assert_eq!((bad.len(), &bad[0].path), (1, &paths[4])),
        other => panic!("{other:?}"),
    }
    assert_eq!(fs_err::read_dir(folder.path().join("cache")).unwrap().count(), 0);
    paths[4] = folder.path().join("gone.jpg");
    let gone = Pack::open_or_build(&file, &paths, &square(16), &mut |_| true).unwrap_err().to_string();
    assert!(gone.contains("gone.jpg"), "{gone}");
}

#[test]
fn two_that_build_at_once_get_the_same_pack() {
    let folder = tempfile::tempdir().unwrap();
    let paths = photos(folder.path());
    let file = folder.path().join("a.pack");
    let expected = load_batch(&paths, 32, &Normalisation::IMAGENET).unwrap();
    let barrier = std::sync::Barrier::new(4);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                barrier.wait();
                for _ in 0..5 {
                    let (pack, _) = opened(&file, &paths, &square(32));
                    // Another builder replaces the file while this one is mapped.
                    let mut out = vec![0.0; expected.len()];
                    pack.values_into(0, &Normalisation::IMAGENET, &mut out);
                    assert!(out == expected);
                }
            });
        }
    });
    let left: Vec<_> = fs_err::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with(atomic::TEMPORARY_PREFIX)), "{left:?}");
}

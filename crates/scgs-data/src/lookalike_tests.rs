//! Look-alikes are read by the readers of the real data sets.

use super::*;
use crate::{Grouped, ReadOptions, read};

fn datasets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets")
}

fn made(name: &str, scale: f64) -> (tempfile::TempDir, Definition, Grouped) {
    let definition = Definition::read(datasets().join(format!("{name}.toml"))).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("data");
    write(&datasets().join("habitat"), &definition, scale, &out, 3, &|_, _| ()).unwrap();
    let options = ReadOptions { accept_counts: true, ..ReadOptions::default() };
    let grouped = read(&definition, &out, options).unwrap();
    (folder, definition, grouped)
}

fn sizes(grouped: &Grouped) -> [Vec<usize>; 3] {
    Split::ALL.map(|split| grouped.counts(split).groups.iter().map(|group| group.n).collect())
}

#[test]
fn waterbirds_has_its_proportions_and_no_empty_group() {
    let (folder, definition, grouped) = made("waterbirds", 0.01);
    assert_eq!(sizes(&grouped), [vec![35, 4, 4, 11], vec![5, 5, 4, 4], vec![23, 23, 6, 6]]);
    let sample = &grouped.index().samples[0];
    let bytes = fs_err::read(grouped.index().absolute(sample)).unwrap();
    assert_eq!(bytes[..3], [0xff, 0xd8, 0xff], "a JPEG file");
    // The published counts are another matter, and a difference is an error with a table.
    let refused = read(&definition, &folder.path().join("data"), ReadOptions::default()).unwrap_err().to_string();
    assert!(refused.contains("train  landbird x land"), "{refused}");
}

#[test]
fn celeba_has_forty_attributes_and_pictures_of_its_size() {
    let (_folder, _, grouped) = made("celeba", 0.0005);
    assert_eq!(sizes(&grouped), [vec![36, 33, 11, 4], vec![4, 4, 4, 4], vec![5, 4, 4, 4]]);
    let sample = &grouped.index().samples[16];
    assert_eq!(sample.path, Path::new("img_align_celeba/000017.jpg"));
    assert_eq!(crate::read_rgb(grouped.index().absolute(sample)).unwrap().dimensions(), (178, 218));
    let text = fs_err::read_to_string(grouped.index().root.join("list_attr_celeba.txt")).unwrap();
    assert!(text.starts_with("117\n5_o_Clock_Shadow ") && text.lines().nth(1).unwrap().trim_end().ends_with(" Young"));
    assert!(text.lines().skip(2).all(|line| line.split_ascii_whitespace().count() == 41));
}

#[test]
fn metashift_has_both_classes_in_its_drawn_validation_split() {
    for scale in [0.01, 0.03, 0.1] {
        let (_folder, definition, grouped) = made("metashift", scale);
        let [train, val, test] = sizes(&grouped);
        assert_eq!(train, scaled(definition.counts.as_ref().unwrap(), Split::Train, scale));
        assert!(val[2] >= 2 && val[5] >= 2 && test[2] >= 2 && test[5] >= 2, "{val:?} {test:?}");
        assert_eq!(grouped.expected(Split::Test), [false, false, true, false, false, true]);
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_a_second_call_nothing() {
    let definition = Definition::read(datasets().join("metashift.toml")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str, seed: u64| {
        let out = folder.path().join(name);
        let calls = std::sync::atomic::AtomicUsize::new(0);
        let count = |_, _| {
            calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        };
        let result = write(&datasets().join("habitat"), &definition, 0.01, &out, seed, &count);
        (result.map(|()| calls.into_inner()), out.join("train/cat/cat(sofa)/2310000.jpg"))
    };
    let (first, a) = make("a", 0);
    let (_, b) = make("b", 0);
    let (_, c) = make("c", 1);
    assert!(first.unwrap() > 0);
    assert_eq!(fs_err::read(&a).unwrap(), fs_err::read(b).unwrap());
    assert_ne!(fs_err::read(&a).unwrap(), fs_err::read(c).unwrap());
    assert_eq!(make("a", 0).0.unwrap(), 0, "it is there already");
    let refused = make("a", 1).0.unwrap_err().to_string();
    assert!(refused.contains("is not empty; choose another folder"), "{refused}");
    // Nothing temporary is left beside the three.
    assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 3);
}

#[test]
fn what_cannot_be_made_is_named() {
    let message = |name: &str, scale: f64| {
        let definition = Definition::read(datasets().join(format!("{name}.toml"))).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("data");
        write(&datasets().join("habitat"), &definition, scale, &out, 0, &|_, _| ()).unwrap_err().to_string()
    };
    assert!(message("waterbirds", 0.0).contains("scale is 0, expected above 0, at most 1"));
    assert!(message("waterbirds", f64::NAN).contains("scale is NaN"));
    assert!(message("habitat", 0.1).contains("habitat has no published counts"));
}

//! Batches are what the single pictures are, in order, whatever the number of threads and whoever stops listening.

use std::path::Path;

use super::*;
use crate::{Step, load_batch};

fn photos() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/habitat/bg");
    let mut paths: Vec<PathBuf> = ["land", "water"]
        .iter()
        .flat_map(|place| fs_err::read_dir(root.join(place)).unwrap().take(9).map(|entry| entry.unwrap().path()))
        .collect();
    paths.sort();
    paths
}

#[test]
fn batches_are_the_pictures_in_order() {
    let paths = photos();
    let whole = load_batch(&paths, 24, &Normalisation::IMAGENET).unwrap();
    for (batch, ahead) in [(1, 1), (5, 2), (100, 3)] {
        let batches = Batches::new(paths.clone(), Prepare::square(24, Normalisation::IMAGENET), batch, ahead, None);
        let sizes: Vec<Vec<f32>> = batches.map(Result::unwrap).collect();
        assert_eq!(sizes.len(), paths.len().div_ceil(batch));
        assert_eq!(sizes.concat(), whole, "the same bits");
    }
}

#[test]
fn recycled_memory_does_not_show_in_a_shorter_last_batch() {
    let paths = photos();
    let whole = load_batch(&paths, 16, &Normalisation::LITE0).unwrap();
    let mut batches = Batches::new(paths, Prepare::square(16, Normalisation::LITE0), 7, 1, None);
    let mut all = Vec::new();
    while let Some(batch) = batches.next() {
        let batch = batch.unwrap();
        all.extend_from_slice(&batch);
        batches.recycle(batch);
    }
    assert_eq!(all, whole);
}

#[test]
fn a_bad_picture_is_named_and_the_next_batch_comes() {
    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("bad.jpg");
    fs_err::write(&bad, "no picture").unwrap();
    let mut paths = photos();
    paths.truncate(4);
    paths.insert(1, bad.clone());
    let mut batches = Batches::new(paths, Prepare::square(16, Normalisation::LITE0), 2, 1, None);
    let errors = batches.next().unwrap().unwrap_err();
    assert_eq!((errors.len(), &errors[0].path), (1, &bad));
    assert_eq!(batches.next().unwrap().unwrap().len(), 2 * 3 * 16 * 16);
    assert_eq!(batches.next().unwrap().unwrap().len(), 3 * 16 * 16);
    assert!(batches.next().is_none());
}

#[test]
fn whoever_stops_listening_stops_the_thread() {
    let mut paths = Vec::new();
    for _ in 0..40 {
        paths.extend(photos());
    }
    let mut batches = Batches::new(paths, Prepare::square(16, Normalisation::LITE0), 1, 1, None);
    assert!(batches.next().is_some());
    // Returns only when the thread has ended; 719 pictures are left.
    drop(batches);
    assert!(Batches::new(Vec::new(), Prepare::square(16, Normalisation::LITE0), 1, 1, None).next().is_none());
}

#[test]
fn only_transforms_without_chance_and_with_a_size_are_taken() {
    let message = |steps: Vec<Step>| Prepare::new(Transform { steps }, Normalisation::LITE0).unwrap_err().to_string();
    assert!(message(vec![Step::HorizontalFlip { probability: 0.5 }, Step::CenterCrop { side: 8 }]).contains("random"));
    assert!(message(vec![Step::ResizeShorter { side: 8 }]).contains("depends on the picture"));
    assert!(message(vec![]).contains("depends on the picture"));
    assert!(message(vec![Step::CenterCrop { side: 0 }]).contains("side is 0"));
    let prepare = Prepare::new(Transform::celeba_eval(), Normalisation::IMAGENET).unwrap();
    assert_eq!((prepare.size(), prepare.values()), ((224, 224), 3 * 224 * 224));
    let kept = Transform { steps: vec![Step::CenterCrop { side: 8 }, Step::HorizontalFlip { probability: 1.0 }] };
    assert_eq!(Prepare::new(kept, Normalisation::LITE0).unwrap().size(), (8, 8));
}

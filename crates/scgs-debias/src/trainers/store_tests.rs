//! Pictures from a packed cache and changed at random.

use std::{path::Path, sync::atomic::AtomicBool};

use burn::tensor::Device;
use image::{Rgb, RgbImage};
use scgs_data::{Index, Sample};
use scgs_models::Architecture;

use super::*;
use crate::{RunFolder, Settings};

const SIDE: usize = 32;

/// Two training pictures, one of the validation split, one new.
fn pictures(folder: &Path) -> (Index, Vec<PathBuf>) {
    let names = ["0.png", "1.png", "2.png", "new.png"];
    for (i, name) in names.iter().enumerate() {
        let colour = |x: u32, y: u32| Rgb([(x * 7) as u8, (y * 7) as u8, 60 * i as u8]);
        RgbImage::from_fn(SIDE as u32, SIDE as u32, colour).save(folder.join(name)).unwrap();
    }
    let sample = |(i, split): (usize, Split)| Sample { id: i as u64, path: names[i].into(), label: i % 2, split };
    let samples = [(0, Split::Train), (1, Split::Train), (2, Split::Val)].map(sample).to_vec();
    let classes = vec!["a".into(), "b".into()];
    (Index { root: folder.to_owned(), classes, samples }, names.map(|name| folder.join(name)).to_vec())
}

fn with_store(cached: bool, work: impl FnOnce(&Store, &[PathBuf])) {
    let dir = tempfile::tempdir().unwrap();
    let (index, files) = pictures(dir.path());
    let mut settings = Settings::default();
    settings.backbone.architecture = Architecture::ResNet18;
    settings.backbone.input_size = SIDE;
    let folder = RunFolder::open(dir.path(), 0).unwrap();
    let inputs = Inputs {
        index: &index,
        settings: &settings,
        folder: &folder,
        weights: None,
        backgrounds: None,
        small_model: None,
        prompts: &[],
        memory: crate::memory::Share::default(),
    };
    let (cancelled, cache) = (AtomicBool::new(false), dir.path().join("cache"));
    let context = Context { cache: cached.then_some(&*cache), ..Context::new(Device::flex(), &cancelled, &|_| {}) };
    crate::stages::pictures::run(inputs, &context).unwrap();
    let store = Store::open(inputs, &context).unwrap();
    assert_eq!(store.pack.is_some(), cached);
    work(&store, &files);
}

#[test]
fn a_packed_picture_is_the_decoded_one_and_new_ones_are_decoded() {
    let mut plain = Vec::new();
    with_store(false, |store, files| plain = store.values(files).unwrap());
    with_store(true, |store, files| {
        assert_eq!(store.pack.as_ref().unwrap().1.len(), 3, "the new picture is not in the pack");
        assert_eq!(store.values(files).unwrap(), plain);
        let turned: Vec<PathBuf> = files.iter().rev().cloned().collect();
        let each = plain.len() / 4;
        assert_eq!(store.values(&turned).unwrap()[..each], plain[3 * each..]);
    });
}

#[test]
fn half_of_the_pictures_are_mirrored_and_a_stream_decides_which() {
    with_store(true, |store, files| {
        let one = vec![files[0].clone(); 64];
        let plain = store.values(&one[..1]).unwrap();
        let mirrored: Vec<f32> = plain.chunks(SIDE).flat_map(|row| row.iter().rev().copied()).collect();
        let flipped = store.augmented(&one, Augment::Flip, (1, "a")).unwrap();
        let count = flipped.chunks(plain.len()).filter(|values| **values == *mirrored).count();
        let same = flipped.chunks(plain.len()).filter(|values| **values == *plain).count();
        assert_eq!(count + same, 64);
        assert!((16..=48).contains(&count), "{count} of 64");
        assert_eq!(flipped, store.augmented(&one, Augment::Flip, (1, "a")).unwrap());
        assert_ne!(flipped, store.augmented(&one, Augment::Flip, (1, "b")).unwrap());
        assert_eq!(plain, store.augmented(&one[..1], Augment::None, (1, "a")).unwrap());
    });
}

#[test]
fn a_box_of_the_picture_fills_the_input() {
    with_store(false, |store, files| {
        let cut = store.augmented(&files[..1], Augment::CropFlip, (1, "a")).unwrap();
        let plain = store.values(&files[..1]).unwrap();
        assert_eq!(cut.len(), plain.len());
        // Colours of the gradient that lie outside the box are gone.
        let range = |values: &[f32]| {
            let channel = &values[..SIDE * SIDE];
            channel.iter().copied().fold(f32::MIN, f32::max) - channel.iter().copied().fold(f32::MAX, f32::min)
        };
        assert!(range(&cut) < range(&plain) && range(&cut) > 0.6 * range(&plain));
    });
}

#[test]
fn an_unreadable_picture_is_named() {
    with_store(false, |store, files| {
        fs_err::write(&files[1], b"no picture").unwrap();
        let text = store.augmented(files, Augment::Flip, (1, "a")).unwrap_err().to_string();
        assert!(text.contains("1.png") && !text.contains("0.png"), "{text}");
    });
}

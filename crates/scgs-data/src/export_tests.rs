//! What is exported reads back, and refuses what does not fit.

use super::*;
use crate::{ReadOptions, read};

/// A data set with one picture per split and group, and a new picture from the first of train.
fn sample() -> (tempfile::TempDir, Definition, Grouped, Additions) {
    let folder = tempfile::tempdir().unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/waterbirds.toml");
    let mut definition = Definition::read(path).unwrap();
    definition.counts = None;
    let mut table = format!("{}\n", COLUMNS.join(","));
    for i in 0..12 {
        let name = format!("bird ä{i}.JPG");
        table += &format!("{},{name},{},{},{},p\n", i + 1, i / 2 % 2, i / 4, i % 2);
        fs_err::write(folder.path().join(name), format!("picture {i}")).unwrap();
    }
    fs_err::write(folder.path().join("metadata.csv"), table).unwrap();
    let new = folder.path().join("new.png");
    fs_err::write(&new, "a new one").unwrap();
    let grouped = read(&definition, folder.path(), ReadOptions::default()).unwrap();
    let picture = NewPicture {
        id: 1 << 40,
        path: new,
        label: 1,
        source_id: 2,
        inpainter: "paint, \"fine\"".into(),
        prompt: "a photo of a waterbird".into(),
    };
    let additions = Additions {
        pictures: vec![picture],
        repeats: BTreeMap::from([(3, 2)]),
        left_out: BTreeSet::new(),
        run: "waterbirds/0/seed-0".into(),
    };
    (folder, definition, grouped, additions)
}

#[test]
fn the_export_is_a_data_set_in_the_waterbirds_layout() {
    let (folder, definition, grouped, additions) = sample();
    let out = folder.path().join("out");
    let written = write(&grouped, &definition, &additions, &out, &|_, _| ()).unwrap();
    assert_eq!(written, Written { real: 12, new: 1 });
    let again = read(&definition, &out.join("waterbirds"), ReadOptions::default()).unwrap();
    let of = |grouped: &Grouped, id: u64| {
        let sample = grouped.index().samples.iter().find(|sample| sample.id == id).unwrap().clone();
        let bytes = fs_err::read_to_string(grouped.index().absolute(&sample)).unwrap();
        (sample.label, sample.split, grouped.attribute_of(id), bytes)
    };
    for id in 1..=12 {
        assert_eq!(of(&again, id), of(&grouped, id));
    }
    // The class it shows, and the place of its source.
    assert_eq!(of(&again, 1 << 40), (1, Split::Train, Some(1), "a new one".to_owned()));
    let text = fs_err::read_to_string(out.join("waterbirds/metadata.csv")).unwrap();
    let header = text.lines().next().unwrap();
    assert_eq!(header, COLUMNS.iter().chain(&PROVENANCE).copied().collect::<Vec<_>>().join(","));
    assert!(text.contains("3,train/waterbird/0000003.jpg,1,0,0,,real,picture,3,,bird ä2.JPG,,,waterbirds/0/seed-0"));
    assert!(text.contains("synthetic,source,1,2,bird ä1.JPG,\"paint, \"\"fine\"\"\",a photo of a waterbird"), "{text}");
}

#[test]
fn the_image_folder_has_the_same_files_and_a_line_for_each() {
    let (folder, definition, grouped, additions) = sample();
    let out = folder.path().join("out");
    write(&grouped, &definition, &additions, &out, &|_, _| ()).unwrap();
    for (split, lines) in [("train", 5), ("val", 4), ("test", 4)] {
        let root = out.join("images").join(split);
        let text = fs_err::read_to_string(root.join("metadata.jsonl")).unwrap();
        assert_eq!(text.lines().count(), lines);
        for line in text.lines() {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            let name = value["file_name"].as_str().unwrap();
            let class = grouped.index().classes[value["label"].as_u64().unwrap() as usize].clone();
            assert!(name.starts_with(&format!("{class}/")) && value["class"] == class);
            let bytes = fs_err::read(root.join(name)).unwrap();
            assert_eq!(bytes, fs_err::read(out.join("waterbirds").join(split).join(name)).unwrap());
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_and_leaves_nothing() {
    let (folder, definition, grouped, additions) = sample();
    let out = folder.path().join("out");
    let message = |change: &dyn Fn(&mut Additions)| {
        let mut changed = additions.clone();
        change(&mut changed);
        let text = write(&grouped, &definition, &changed, &out, &|_, _| ()).unwrap_err().to_string();
        assert!(!out.exists(), "{text}");
        text
    };
    assert!(message(&|a| a.pictures[0].source_id = 99).contains("unknown source 99"));
    assert!(message(&|a| a.pictures[0].label = 2).contains("unknown class 2"));
    assert!(message(&|a| a.pictures[0].id = 5).contains("id 5 occurs twice"));
    assert!(message(&|a| a.pictures[0].path = "gone.png".into()).contains("gone.png"));
    fs_err::create_dir(&out).unwrap();
    fs_err::write(out.join("mine.txt"), "x").unwrap();
    let text = write(&grouped, &definition, &additions, &out, &|_, _| ()).unwrap_err().to_string();
    assert!(text.contains("choose another folder"), "{text}");
}

#[test]
fn an_unreadable_picture_is_left_out_and_class_names_become_folder_names() {
    let (folder, definition, grouped, mut additions) = sample();
    additions.left_out.insert(7);
    let out = folder.path().join("out");
    assert_eq!(write(&grouped, &definition, &additions, &out, &|_, _| ()).unwrap(), Written { real: 11, new: 1 });
    let names = ["a/b", "a?b", "not blond"].map(str::to_owned);
    assert_eq!(class_folders(&names), ["a_b", "a_b-1", "not blond"]);
}

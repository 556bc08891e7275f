//! MetaShift, folders, tables with a column map, groups files, and what every layout has in common.

use super::*;
use crate::{ColumnMap, FolderOptions};

fn shipped(name: &str) -> Definition {
    Definition::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../datasets/{name}.toml"))).unwrap()
}

fn fill(root: &Path, folder: &str, n: usize) {
    fs_err::create_dir_all(root.join(folder)).unwrap();
    for i in 0..n {
        fs_err::write(root.join(folder).join(format!("{i}.jpg")), "x").unwrap();
    }
}

fn totals(grouped: &Grouped) -> [Vec<usize>; 3] {
    Split::ALL.map(|split| grouped.counts(split).groups.iter().map(|group| group.n).collect())
}

/// A user's definition of a layout, `cat` and `dog`.
fn own(layout: Layout) -> Definition {
    let mut definition = shipped("metashift");
    definition.layout = layout;
    definition.counts = None;
    definition.attributes = vec!["any".to_owned()];
    definition.check().unwrap();
    definition
}

#[test]
fn discs_metashift_has_the_published_counts() {
    let folder = tempfile::tempdir().unwrap();
    let sizes = [
        ("train/cat/cat(sofa)", 231),
        ("train/cat/cat(bed)", 380),
        ("train/dog/dog(bench)", 145),
        ("train/dog/dog(bike)", 367),
        ("test/cat/cat(shelf)", 235),
        ("test/dog/dog(shelf)", 306),
    ];
    for (below, n) in sizes {
        fill(&folder.path().join("MetaDatasetCatDog"), below, n);
    }
    let definition = shipped("metashift");
    let grouped = read(&definition, folder.path(), ReadOptions::default()).unwrap();
    let counts = definition.counts.clone().unwrap();
    assert_eq!(totals(&grouped), [counts.train, counts.val, counts.test]);
    // Names are sorted as text, whatever the file system says: 0, 1, 10, 100, ...
    assert_eq!(grouped.index().samples[2].path, Path::new("train/cat/cat(sofa)/10.jpg"));
    fs_err::remove_file(folder.path().join("MetaDatasetCatDog/train/dog/dog(bike)/5.jpg")).unwrap();
    let text = read(&definition, folder.path(), ReadOptions::default()).unwrap_err().to_string();
    assert!(text.contains("dog x bed or bike") && text.contains("367      366          -1"), "{text}");
    fs_err::remove_dir_all(folder.path().join("MetaDatasetCatDog/test/dog")).unwrap();
    let text = read(&definition, folder.path(), ReadOptions::default()).unwrap_err().to_string();
    assert!(text.contains("expected the folder test/dog/dog(shelf)"), "{text}");
}

#[test]
fn subpopbenchs_metashift_pools_and_draws() {
    let folder = tempfile::tempdir().unwrap();
    for (below, n) in [
        ("train/cat/cat(indoor)", 120),
        ("train/dog/dog(outdoor)", 110),
        ("test/cat/cat(outdoor)", 50),
        ("test/dog/dog(indoor)", 69),
    ] {
        fill(folder.path(), below, n);
    }
    let grouped = read(&shipped("metashift-indoor-outdoor"), folder.path(), ReadOptions::default()).unwrap();
    // int(349 * 0.25) and int(349 * 0.1).
    assert_eq!(totals(&grouped).map(|groups| groups.iter().sum::<usize>()), [228, 34, 87]);
    let first = &grouped.index().samples[0];
    assert_eq!((first.label, grouped.attribute(0)), (1, 1));
    // The first of `choice(arange(349), 87)` under seed 42, from NumPy.
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/splits/reference.json");
    let reference: serde_json::Value = serde_json::from_str(&fs_err::read_to_string(path).unwrap()).unwrap();
    for (key, split) in [("first", Split::Test), ("second", Split::Val)] {
        for at in reference["choices"][0][key].as_array().unwrap() {
            assert_eq!(grouped.index().samples[at.as_u64().unwrap() as usize].split, split);
        }
    }
}

#[test]
fn folders_of_splits_and_drawn_splits() {
    let folder = tempfile::tempdir().unwrap();
    for (split, n) in [("train", 5), ("validation", 2), ("test", 3)] {
        fill(folder.path(), &format!("{split}/cat"), n);
        fill(folder.path(), &format!("{split}/dog"), n);
    }
    let grouped = read(&own(Layout::Folder), folder.path(), ReadOptions::default()).unwrap();
    assert_eq!(totals(&grouped), [vec![5, 5], vec![2, 2], vec![3, 3]]);
    fs_err::remove_dir_all(folder.path().join("validation")).unwrap();
    let text = read(&own(Layout::Folder), folder.path(), ReadOptions::default()).unwrap_err().to_string();
    assert!(text.contains("expected a folder `val` beside `train`"), "{text}");

    let flat = tempfile::tempdir().unwrap();
    fill(flat.path(), "cat", 40);
    fill(flat.path(), "dog", 20);
    let draw = |seed| {
        let mut definition = own(Layout::Folder);
        definition.folder = Some(FolderOptions { seed, ..FolderOptions::default() });
        read(&definition, flat.path(), ReadOptions::default()).unwrap()
    };
    assert_eq!(totals(&draw(0)), [vec![28, 14], vec![4, 2], vec![8, 4]]);
    assert_eq!(draw(0), draw(0));
    assert_ne!(draw(0), draw(1));
    fs_err::create_dir(flat.path().join("bird")).unwrap();
    let text = read(&own(Layout::Folder), flat.path(), ReadOptions::default()).unwrap_err().to_string();
    assert!(text.contains("`bird` is no class"), "{text}");
    fs_err::remove_dir(flat.path().join("bird")).unwrap();
    fs_err::remove_dir_all(flat.path().join("dog")).unwrap();
    fs_err::create_dir(flat.path().join("dog")).unwrap();
    let text = read(&own(Layout::Folder), flat.path(), ReadOptions::default()).unwrap_err().to_string();
    assert!(text.contains("group dog x any has no picture in the train split"), "{text}");
}

#[test]
fn a_groups_file_gives_the_attribute() {
    let folder = tempfile::tempdir().unwrap();
    for split in ["train", "val", "test"] {
        fill(folder.path(), &format!("{split}/cat"), 2);
        fill(folder.path(), &format!("{split}/dog"), 2);
    }
    let mut definition = own(Layout::Folder);
    definition.attributes = vec!["in".to_owned(), "out".to_owned()];
    definition.groups = Some("groups.csv".to_owned());
    definition.check().unwrap();
    let mut text = "\u{feff}attribute,file\r\n".to_owned();
    for split in ["train", "val", "test"] {
        for class in ["cat", "dog"] {
            text += &format!("out,{split}/{class}/1.jpg\r\n0,{split}/{class}/0.jpg\r\n");
        }
    }
    let path = folder.path().join("groups.csv");
    let message = |text: &str| {
        fs_err::write(&path, text).unwrap();
        read(&definition, folder.path(), ReadOptions::default()).unwrap_err().to_string()
    };
    assert!(
        message(&text.replacen("out,", "up,", 1))
            .contains("line 2: attribute is `up`, expected one of 0 (in), 1 (out)")
    );
    assert!(message(&text.replacen("train/cat/1", "train/cat/7", 1)).contains("`train/cat/7.jpg` is no picture"));
    assert!(message(&text.replacen("train/cat/1", "train/cat/0", 1)).contains("occurs already"));
    assert!(message(&text.replacen("out,train/cat/1.jpg\r\n", "", 1)).contains("no row for `train/cat/1.jpg`"));
    assert!(message(&text.replacen("attribute", "group", 1)).contains("column(s) `attribute` missing"));
    fs_err::write(&path, &text).unwrap();
    let grouped = read(&definition, folder.path(), ReadOptions::default()).unwrap();
    assert_eq!(totals(&grouped), [vec![1; 4], vec![1; 4], vec![1; 4]]);
    assert_eq!(grouped.attribute(0), 0);
}

#[test]
fn any_table_can_be_mapped() {
    let folder = tempfile::tempdir().unwrap();
    let mut definition = own(Layout::Metadata);
    definition.attributes = vec!["in".to_owned(), "out".to_owned()];
    definition.columns = Some(ColumnMap {
        file: "path".into(),
        label: "class".into(),
        split: "part".into(),
        attribute: Some("where".into()),
        ..ColumnMap::default()
    });
    definition.check().unwrap();
    let mut rows = "where,class,part,path\n".to_owned();
    for (i, part) in ["train", "val", "2"].iter().enumerate() {
        for group in 0..4 {
            let name = format!("bild, {i} ü{group}.jpg");
            fs_err::write(folder.path().join(&name), "x").unwrap();
            rows += &format!("{},{},{part},\"{name}\"\n", ["in", "1"][group % 2], ["cat", "1"][group / 2]);
        }
    }
    let path = folder.path().join("metadata.csv");
    fs_err::write(&path, &rows).unwrap();
    let grouped = read(&definition, folder.path(), ReadOptions::default()).unwrap();
    assert_eq!(totals(&grouped), [vec![1; 4], vec![1; 4], vec![1; 4]]);
    assert_eq!(grouped.index().samples[5].path, Path::new("bild, 1 ü1.jpg"));
    let message = |from: &str, to: &str| {
        fs_err::write(&path, rows.replacen(from, to, 1)).unwrap();
        read(&definition, folder.path(), ReadOptions::default()).unwrap_err().to_string()
    };
    assert!(
        message("in,cat,train", "in,cow,train").contains("line 2: class is `cow`, expected one of 0 (cat), 1 (dog)")
    );
    assert!(message("in,cat,train", "in,cat,trai").contains("line 2: part is `trai`, expected 0 or train"));
    assert!(message("bild, 0 ü0.jpg", "/etc/passwd").contains("line 2: path is `/etc/passwd`"));
    assert!(message("bild, 0 ü1.jpg", "bild, 0 ü0.jpg").contains("line 3: `bild, 0 ü0.jpg` occurs already in line 2"));
    assert!(message("where", "place").contains("`where` missing"));
}

#[test]
fn a_mapped_table_may_come_from_windows_but_not_lead_outside_or_name_an_id_twice() {
    let folder = tempfile::tempdir().unwrap();
    let mut definition = own(Layout::Metadata);
    definition.columns = Some(ColumnMap { id: Some("number".into()), ..ColumnMap::default() });
    definition.check().unwrap();
    let mut rows = "number,filename,y,split\n".to_owned();
    for i in 0..6 {
        let name = format!("día \"{i}\", 写真.jpg");
        fs_err::write(folder.path().join(&name), "x").unwrap();
        rows += &format!("{},\"{}\",{},{}\n", 100 + i, name.replace('"', "\"\""), i % 2, i / 2);
    }
    let path = folder.path().join("metadata.csv");
    let result = |text: String| {
        fs_err::write(&path, text).unwrap();
        read(&definition, folder.path(), ReadOptions::default())
    };
    let plain = result(rows.clone()).unwrap();
    assert_eq!(plain.index().samples[3].path, Path::new("día \"3\", 写真.jpg"));
    assert_eq!(plain.index().samples[3].id, 103);
    let windows = result(format!("\u{feff}{}", rows.replace('\n', "\r\n"))).unwrap();
    assert_eq!(windows.index().samples, plain.index().samples);
    let message = |text: String| result(text).unwrap_err().to_string();
    assert!(message(rows.replace("\n104,", "\n101,")).contains("line 6: id 101 occurs already in line 3"));
    assert!(message(rows.replace("\n104,", "\nx,")).contains("line 6: number is `x`"));
    assert!(message(rows.replace("\"día \"\"4", "\"../día \"\"4")).contains("line 6: filename is `../día"));
    let outside = folder.path().join("día").display().to_string();
    assert!(message(rows.replace("\"día \"\"4", &format!("\"{outside} \"\"4"))).contains("not absolute, no `..`"));
}

#[test]
fn three_species_are_corrected() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = "img_id,img_filename,y,split,place,place_filename\n".to_owned();
    let birds =
        ["021.Eastern_Towhee", "001.Black_footed_Albatross", "088.Western_Meadowlark", "102.Western_Wood_Pewee"];
    for i in 0..24 {
        let name = format!("{}/{i}.jpg", birds[i % 4]);
        fs_err::create_dir_all(folder.path().join(birds[i % 4])).unwrap();
        fs_err::write(folder.path().join(&name), "x").unwrap();
        table += &format!("{i},{name},1,{},{},p\n", i / 8, i / 4 % 2);
    }
    fs_err::write(folder.path().join("metadata.csv"), table).unwrap();
    let options = ReadOptions { accept_counts: true, allow_empty_groups: true };
    let grouped = read(&shipped("waterbirds"), folder.path(), options).unwrap();
    assert_eq!(totals(&grouped)[0], [0, 0, 4, 4]);
    let corrected = read(&shipped("waterbirds-corrected"), folder.path(), options).unwrap();
    assert_eq!(totals(&corrected)[0], [3, 3, 1, 1]);
}

#[test]
fn options_of_another_layout_are_refused() {
    let refused = |change: &dyn Fn(&mut Definition)| {
        let mut definition = own(Layout::Folder);
        change(&mut definition);
        definition.check().unwrap_err().join("\n")
    };
    assert!(refused(&|d| d.celeba = Some(crate::CelebaOptions::default())).contains("[celeba] is for another layout"));
    assert!(refused(&|d| d.folder = Some(FolderOptions { val: 0.5, test: 0.5, seed: 0 })).contains("together below 1"));
    assert!(refused(&|d| d.groups = Some("../g.csv".into())).contains("expected a file below the data folder"));
}

//! CelebA's tables in their forms, with one fault each, and at full length.

use std::{fmt::Write as _, time::Instant};

use super::*;
use crate::{Grouped, ReadOptions, read as read_set};

fn definition() -> Definition {
    Definition::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/celeba.toml")).unwrap()
}

/// Name and value of 4 attributes per picture; two pictures per split and group.
fn rows() -> Vec<(String, [i8; 4], usize)> {
    let sign = |bit: usize| if bit == 1 { 1 } else { -1 };
    (0..24).map(|i| (format!("{:06}.jpg", i + 1), [1, sign(i / 2 % 2), -1, sign(i % 2)], i / 8)).collect()
}

const NAMES: [&str; 4] = ["Young", "Blond_Hair", "Smiling", "Male"];

fn txt() -> (String, String) {
    let mut attributes = format!("24\n{} \n", NAMES.join(" "));
    let mut partition = String::new();
    for (name, values, split) in rows() {
        let values: Vec<String> = values.iter().map(|value| format!("{value:2}")).collect();
        writeln!(attributes, "{name}  {}", values.join(" ")).unwrap();
        writeln!(partition, "{name} {split}").unwrap();
    }
    (attributes, partition)
}

fn csv() -> (String, String) {
    let mut attributes = format!("image_id,{}\n", NAMES.join(","));
    let mut partition = "image_id,partition\n".to_owned();
    for (name, values, split) in rows() {
        writeln!(attributes, "{name},{}", values.map(|value| value.to_string()).join(",")).unwrap();
        writeln!(partition, "{name},{split}").unwrap();
    }
    (attributes, partition)
}

fn folder(extension: &str, (attributes, partition): (String, String), pictures: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs_err::create_dir_all(folder.path().join(pictures)).unwrap();
    for (name, ..) in rows() {
        fs_err::write(folder.path().join(pictures).join(name), "x").unwrap();
    }
    fs_err::write(folder.path().join(format!("list_attr_celeba.{extension}")), attributes).unwrap();
    fs_err::write(folder.path().join(format!("list_eval_partition.{extension}")), partition).unwrap();
    folder
}

fn read_from(root: &Path) -> Result<Grouped, DataError> {
    read_set(&definition(), root, ReadOptions { accept_counts: true, ..ReadOptions::default() })
}

fn message(extension: &str, tables: (String, String)) -> String {
    let folder = folder(extension, tables, PICTURES);
    read_from(folder.path()).unwrap_err().to_string()
}

#[test]
fn both_forms_and_the_nested_folder_are_the_same_data() {
    let plain = folder("txt", txt(), PICTURES);
    let grouped = read_from(plain.path()).unwrap();
    assert_eq!(grouped.index().samples.len(), 24);
    let sample = &grouped.index().samples[10];
    assert_eq!((sample.id, sample.label, sample.split, grouped.attribute(10)), (11, 1, Split::Val, 0));
    assert_eq!(sample.path, Path::new("img_align_celeba/000011.jpg"));
    for split in Split::ALL {
        assert!(grouped.counts(split).groups.iter().all(|group| group.n == 2));
    }
    let kaggle = folder("csv", csv(), "img_align_celeba/img_align_celeba");
    let nested = read_from(kaggle.path()).unwrap();
    assert_eq!(nested.index().samples[10].path, Path::new("img_align_celeba/img_align_celeba/000011.jpg"));
    let same = |a: &Sample, b: &Sample| (a.id, a.label, a.split) == (b.id, b.label, b.split);
    assert!(nested.index().samples.iter().zip(&grouped.index().samples).all(|(a, b)| same(a, b)));
    let windows = |(a, b): (String, String)| (format!("\u{feff}{}", a.replace('\n', "\r\n")), b.replace('\n', "\r\n"));
    for (extension, tables) in [("txt", txt()), ("csv", csv())] {
        let odd = folder(extension, windows(tables), PICTURES);
        assert_eq!(read_from(odd.path()).unwrap().index().samples, grouped.index().samples);
    }
}

#[test]
fn the_archives_folder_and_another_order_of_splits_are_fine() {
    let (attributes, partition) = csv();
    let mut lines: Vec<&str> = partition.lines().skip(1).collect();
    lines.reverse();
    let turned = format!("image_id,partition\n{}\n", lines.join("\n"));
    let turned = folder("csv", (attributes.clone(), turned), "celebA_v1.0/img_align_celeba");
    for name in ["list_attr_celeba.csv", "list_eval_partition.csv"] {
        fs_err::rename(turned.path().join(name), turned.path().join("celebA_v1.0").join(name)).unwrap();
    }
    let straight = folder("csv", (attributes, partition), PICTURES);
    let samples = |root: &Path| read_from(root).unwrap().index().samples.clone();
    assert_eq!(samples(turned.path()), samples(straight.path()));
}

#[test]
fn any_two_attributes_can_be_asked_for() {
    let folder = folder("txt", txt(), PICTURES);
    let mut other = definition();
    other.celeba = Some(crate::CelebaOptions { target: "Male".into(), attribute: "Young".into() });
    let options = ReadOptions { accept_counts: true, allow_empty_groups: true };
    let grouped = read_set(&other, folder.path(), options).unwrap();
    assert_eq!((grouped.index().samples[1].label, grouped.attribute(1)), (1, 1));
    other.celeba = Some(crate::CelebaOptions { target: "Blonde".into(), attribute: "Male".into() });
    let text = read_set(&other, folder.path(), options).unwrap_err().to_string();
    assert!(text.contains("`Blonde` missing") && text.contains("`Blond_Hair`"), "{text}");
}

#[test]
fn faults_are_named() {
    let edit = |from: &str, to: &str| (txt().0.replacen(from, to, 1), txt().1);
    assert!(message("txt", edit("24\n", "25\n")).contains("promises 25 rows and has 24"));
    assert!(message("txt", edit("24\n", "000001.jpg\n")).contains("expected the number of pictures"));
    assert!(
        message("txt", edit("000003.jpg", "000099.jpg")).contains("`000099.jpg` has no row in list_eval_partition")
    );
    assert!(message("txt", edit("000003.jpg   1", "000003.jpg")).contains("line 5: 3 values, the names are 4"));
    assert!(message("txt", edit("000003.jpg", "000002.jpg")).contains("occurs already in line 4"));
    let both = |to: &str| (txt().0.replace("000003.jpg", to), txt().1.replace("000003.jpg", to));
    assert!(message("txt", both("../3.jpg")).contains("`../3.jpg` is no file name below img_align_celeba"));
    assert!(
        message("txt", both("gone.jpg")).contains("1 of 24 pictures are missing:\n  line 5: img_align_celeba/gone.jpg")
    );
    assert!(message("txt", (txt().0, txt().1.replacen("jpg 0", "jpg 7", 1))).contains("line 1: `000001.jpg 7`"));
    let (attributes, partition) = csv();
    assert!(message("csv", (attributes.replacen(",-1", ",2", 1), partition)).contains("expected -1 or 1"));
    let empty = tempfile::tempdir().unwrap();
    let text = read_from(empty.path()).unwrap_err().to_string();
    assert!(text.contains("expected list_attr_celeba.txt or list_attr_celeba.csv"), "{text}");
}

/// 202,599 rows with the real numbers of columns; the bound is the aim's, and holds for the slowest of our machines.
#[test]
fn the_full_length_is_read_in_under_half_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..40)
        .map(|i| {
            if i == 9 {
                "Blond_Hair".into()
            } else if i == 20 {
                "Male".into()
            } else {
                format!("A{i}")
            }
        })
        .collect();
    let mut attributes = format!("202599\n{}\n", names.join(" "));
    let mut partition = String::new();
    let values = [" -1"; 40].concat();
    for i in 1..=202_599 {
        writeln!(attributes, "{i:06}.jpg {values}").unwrap();
        writeln!(partition, "{i:06}.jpg {}", i % 3).unwrap();
    }
    fs_err::write(folder.path().join("list_attr_celeba.txt"), attributes).unwrap();
    fs_err::write(folder.path().join("list_eval_partition.txt"), partition).unwrap();
    let best = (0..5)
        .map(|_| {
            let clock = Instant::now();
            assert_eq!(read(folder.path(), &definition()).unwrap().samples.len(), 202_599);
            clock.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min);
    println!("202,599 rows in {best:.3} s");
    assert!(best < 0.5 || cfg!(debug_assertions), "{best} s");
}

//! The examples that use one crate alone, run as a person would.

use std::{path::Path, process::Command};

use image::{GrayImage, Luma, Rgb, RgbImage};
use safetensors::SafeTensors;
use scgs_tests::{Said, binary, finish, root, scgs};

/// An example, built beside `scgs`, with the given words, in `folder`.
fn example(name: &str, folder: &Path, words: &[&str]) -> Said {
    let path = binary().with_file_name("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(path.is_file(), "{} is not built: run `cargo build --release --workspace --examples`", path.display());
    finish(Command::new(path).current_dir(folder).args(words))
}

#[test]
fn k_means_of_a_table_finds_two_groups_and_chooses_their_number() {
    let dir = tempfile::tempdir().unwrap();
    let mut table = "x,y\n".to_owned();
    for i in 0..6 {
        let side = if i % 2 == 0 { 0.0 } else { 9.0 };
        table += &format!("{},{}\n", side + f64::from(i) * 0.01, side);
    }
    fs_err::write(dir.path().join("features.csv"), table).unwrap();
    for k in ["2", "auto"] {
        let said = example("kmeans_of_a_table", dir.path(), &["features.csv", k]);
        said.expect(0, &["sizes [3, 3], inertia 0.0016"]);
        let clusters: Vec<&str> = said.stdout.lines().skip(1).map(|line| line.split(',').nth(1).unwrap()).collect();
        assert!(clusters[0] == clusters[2] && clusters[0] == clusters[4] && clusters[0] != clusters[1], "{clusters:?}");
    }
    fs_err::write(dir.path().join("features.csv"), "x,y\n1,2\n3,four\n").unwrap();
    example("kmeans_of_a_table", dir.path(), &["features.csv", "2"]).expect(1, &["row 2 of features.csv: `four`"]);
}

#[test]
fn a_group_report_follows_from_the_answers() {
    let dir = tempfile::tempdir().unwrap();
    let answers = "predicted,label,attribute\n0,0,0\n0,0,0\n1,0,1\n1,1,0\n1,1,1\n0,1,1\n";
    fs_err::write(dir.path().join("answers.csv"), answers).unwrap();
    let said = example("group_report", dir.path(), &["answers.csv"]);
    said.expect(0, &[]);
    for part in ["plain 0.667", "group mean 0.625", "worst group 0.000", "    1          1        1      2  0.500"] {
        assert!(said.stdout.contains(part), "{part} is missing in:\n{}", said.stdout);
    }
    fs_err::write(dir.path().join("answers.csv"), "predicted,label,attribute\n0,0,0\n0,1,1\n").unwrap();
    example("group_report", dir.path(), &["answers.csv"]).expect(1, &["EmptyGroup"]);
}

#[test]
fn one_picture_is_repainted_inside_its_mask_only() {
    let dir = tempfile::tempdir().unwrap();
    let picture = RgbImage::from_fn(24, 20, |x, y| Rgb([200, (x * 8) as u8, (y * 9) as u8]));
    let inside = |x: u32, y: u32| (8..16).contains(&x) && (6..14).contains(&y);
    let mask = GrayImage::from_fn(24, 20, |x, y| Luma([if inside(x, y) { 250 } else { 3 }]));
    let sea = RgbImage::from_pixel(40, 40, Rgb([10, 40, 160]));
    picture.save(dir.path().join("picture.png")).unwrap();
    mask.save(dir.path().join("mask.png")).unwrap();
    sea.save(dir.path().join("sea.png")).unwrap();
    let painted = |words: &[&str], name: &str| {
        let said = example("inpaint_one_picture", dir.path(), words);
        said.expect(0, &[]);
        assert!(said.stdout.contains(name), "{}", said.stdout);
        image::open(dir.path().join("out.png")).unwrap().to_rgb8()
    };
    let fill = painted(&["picture.png", "mask.png", "out.png"], "telea");
    let crop = painted(&["picture.png", "mask.png", "out.png", "sea.png"], "background-crop");
    for (x, y, pixel) in picture.enumerate_pixels().filter(|(x, y, _)| !inside(*x, *y)) {
        assert_eq!(fill.get_pixel(x, y), pixel, "Telea at {x}, {y}");
    }
    assert_eq!(crop.get_pixel(0, 0), picture.get_pixel(0, 0));
    let middle = crop.get_pixel(12, 10);
    assert!(middle[2] > 140 && middle[0] < 40, "the sea in the middle: {middle:?}");
    assert!(fill.get_pixel(12, 10)[0].abs_diff(200) < 5, "the colours around go on: {:?}", fill.get_pixel(12, 10));
}

#[test]
fn maps_of_a_folder_are_those_of_the_command() {
    let dir = tempfile::tempdir().unwrap();
    fs_err::create_dir(dir.path().join("pictures")).unwrap();
    let mut sources: Vec<_> =
        fs_err::read_dir(root().join("datasets/habitat/bg/water")).unwrap().map(|e| e.unwrap().path()).collect();
    sources.sort();
    for (i, source) in sources.iter().take(2).enumerate() {
        // Both programs scale their own way; at the network's size there is nothing to scale.
        let picture = image::open(source).unwrap().resize_exact(224, 224, image::imageops::FilterType::Triangle);
        picture.save(dir.path().join(format!("pictures/{i}.png"))).unwrap();
    }
    let weights = root().join("datasets/weights/efficientnet_lite0.safetensors");
    let weights = weights.to_str().unwrap();
    let said = example("cam_of_a_folder", dir.path(), &["efficientnet-lite0", weights, "pictures", "maps"]);
    said.expect(0, &[]);
    assert!(said.stdout.lines().count() == 2 && said.stdout.contains("pixels attended"), "{}", said.stdout);
    let words = ["cam", "--arch", "efficientnet-lite0", "--weights", weights, "--images", "pictures", "--out", "out"];
    finish(&mut scgs(dir.path(), &[&words[..], &["--method", "layercam", "--target", "predicted"]].concat()))
        .expect(0, &[]);
    for i in 0..2 {
        let map = image::open(dir.path().join(format!("maps/{i}.png"))).unwrap().to_luma8();
        let bytes = fs_err::read(dir.path().join(format!("out/{i}.safetensors"))).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let tensor = tensors.tensor("attention").unwrap();
        let values = tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
        let differing = map.pixels().zip(values).filter(|(p, v)| (f32::from(p[0]) - v * 255.0).abs() > 1.0).count();
        assert_eq!(differing, 0, "picture {i}");
    }
}

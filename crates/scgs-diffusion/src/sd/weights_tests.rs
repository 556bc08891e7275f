//! Weights that fit, and every way in which they do not.

use std::path::Path;

use safetensors::{Dtype, tensor::TensorView};

use super::*;

fn write(path: &Path, tensors: &[(&str, Dtype, Vec<usize>, Vec<u8>)]) {
    let views =
        tensors.iter().map(|(name, kind, shape, bytes)| (*name, TensorView::new(*kind, shape.clone(), bytes).unwrap()));
    fs_err::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn f32_f16_and_bf16_become_the_same_numbers() {
    let dir = folder();
    let path = dir.path().join("part.safetensors");
    let values = [1.5_f32, -2.0, 0.25];
    let halves: Vec<u8> = values.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect();
    let brains: Vec<u8> = values.iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes()).collect();
    write(
        &path,
        &[
            ("layer.a", Dtype::F32, vec![3], f32s(&values)),
            ("layer.b", Dtype::F16, vec![3], halves),
            ("layer.c", Dtype::BF16, vec![3], brains),
            ("layer.position_ids", Dtype::I64, vec![1], vec![0; 8]),
        ],
    );
    let weights = Weights::open(&[path]).unwrap();
    assert_eq!(weights.names().collect::<Vec<_>>(), ["layer.a", "layer.b", "layer.c"]);
    let read = weights.build(&Device::flex(), |part| {
        let mut layer = part.at("layer");
        ["a", "b", "c"].map(|name| layer.tensor(name, [3]).val().into_data().try_into_vec::<f32>().unwrap())
    });
    for part in read.unwrap() {
        assert_eq!(part, values);
    }
}

#[test]
fn differences_are_listed_up_to_ten_of_a_kind() {
    let dir = folder();
    let path = dir.path().join("part.safetensors");
    write(&path, &[("a", Dtype::F32, vec![2, 1], f32s(&[0.0; 2])), ("extra", Dtype::F32, vec![1], f32s(&[0.0]))]);
    let built = Weights::open(&[path]).unwrap().build(&Device::flex(), |part| {
        part.tensor("a", [1, 2]);
        for i in 0..12 {
            part.tensor(&format!("missing{i:02}"), [1]);
        }
    });
    let said = built.unwrap_err().to_string();
    for words in [
        "part.safetensors",
        "12 tensor(s) missing: missing00, ",
        "missing09, and 2 more",
        "1 tensor(s) unexpected: extra",
        "a (expected [1, 2], found [2, 1])",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(!said.contains("missing10"), "{said}");
}

#[test]
fn numbers_that_are_not_finite_are_named() {
    let dir = folder();
    let path = dir.path().join("part.safetensors");
    write(&path, &[("a.weight", Dtype::F32, vec![2], f32s(&[1.0, f32::NAN]))]);
    let built = Weights::open(&[path]).unwrap().build(&Device::flex(), |part| part.tensor("a.weight", [2]));
    let said = built.unwrap_err().to_string();
    assert!(said.contains("`a.weight`") && said.contains("NaN at element 1"), "{said}");
}

#[test]
fn damaged_files_are_refused_by_their_path() {
    let dir = folder();
    let path = dir.path().join("part.safetensors");
    write(&path, &[("a", Dtype::F32, vec![64], f32s(&[1.0; 64]))]);
    let whole = fs_err::read(&path).unwrap();
    let mut broken_header = whole.clone();
    broken_header[9] = b'{';
    let mut long_header = whole.clone();
    long_header[..8].copy_from_slice(&(1_u64 << 40).to_le_bytes());
    let damaged = [whole[..whole.len() - 3].to_vec(), whole[..20].to_vec(), whole[..4].to_vec(), Vec::new()];
    for bytes in damaged.into_iter().chain([broken_header, long_header, vec![b'x'; 100]]) {
        fs_err::write(&path, bytes).unwrap();
        let said = Weights::open(std::slice::from_ref(&path)).unwrap_err().to_string();
        assert!(said.contains("part.safetensors"), "{said}");
    }
    let said = Weights::open(&[dir.path().join("none.safetensors")]).unwrap_err().to_string();
    assert!(said.contains("none.safetensors"), "{said}");
}

#[test]
fn a_header_whose_length_starts_like_a_pickle_is_still_safetensors() {
    let dir = folder();
    let path = dir.path().join("part.safetensors");
    let name = "a".repeat(0x180 - r#"{"":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#.len());
    write(&path, &[(&name, Dtype::F32, vec![1], f32s(&[3.0]))]);
    assert_eq!(fs_err::read(&path).unwrap()[0], 0x80);
    assert_eq!(Weights::open(&[path]).unwrap().values(&name).unwrap(), Some((vec![1], vec![3.0])));
}

#[test]
fn shards_of_one_part_join_and_must_not_overlap() {
    let dir = folder();
    let [one, two] = ["1.safetensors", "2.safetensors"].map(|name| dir.path().join(name));
    write(&one, &[("a", Dtype::F32, vec![1], f32s(&[1.0]))]);
    write(&two, &[("b", Dtype::F32, vec![1], f32s(&[2.0]))]);
    let both = Weights::open(&[one.clone(), two]).unwrap();
    assert_eq!(both.names().collect::<Vec<_>>(), ["a", "b"]);
    assert!(matches!(Weights::open(&[one.clone(), one]), Err(PartError::Twice { name, .. }) if name == "a"));
}

#[test]
fn random_weights_depend_on_seed_and_name_alone() {
    let draw = |seed, name: &str| {
        let built = Weights::random(seed).build(&Device::flex(), |part| part.tensor(name, [3, 4]));
        built.unwrap().val().into_data().try_into_vec::<f32>().unwrap()
    };
    assert_eq!(draw(1, "a"), draw(1, "a"));
    assert_ne!(draw(1, "a"), draw(2, "a"));
    assert_ne!(draw(1, "a"), draw(1, "b"));
    assert!(draw(1, "a").iter().all(|value| value.abs() <= 0.5));
}

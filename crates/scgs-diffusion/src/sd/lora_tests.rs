//! Merged weights against diffusers' `fuse_lora`, and files that will not do.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use burn::tensor::Device;
use safetensors::{Dtype, tensor::TensorView};
use scgs_models::open_tensors;
use tempfile::TempDir;

use super::{Lora, LoraPart};
use crate::sd::Weights;

const PARTS: [(LoraPart, &str); 2] = [(LoraPart::UNet, "unet"), (LoraPart::TextEncoder, "text_encoder")];

type Values = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/diffusion").join(name)
}

fn below(prefix: &str) -> Values {
    let all = open_tensors(&fixture("lora-expected.safetensors")).unwrap();
    let own = all.iter().filter_map(|(name, tensor)| {
        Some((name.strip_prefix(prefix)?.to_owned(), (tensor.shape().to_vec(), tensor.read().unwrap())))
    });
    own.collect()
}

fn weights(values: &Values) -> Weights {
    Weights::from_values(
        "test",
        values.iter().map(|(name, (shape, values))| (name.clone(), shape.clone(), values.clone())),
    )
}

fn write(tensors: &[(&str, &[usize], &[f32])], metadata: Option<&str>) -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("lora.safetensors");
    let bytes: Vec<Vec<u8>> = tensors.iter().map(|(.., v)| v.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        (name.to_string(), TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap())
    });
    let metadata = metadata.map(|text| [("lora_adapter_metadata".to_owned(), text.to_owned())].into());
    fs_err::write(&path, safetensors::serialize(views, metadata).unwrap()).unwrap();
    (folder, path)
}

fn one_module() -> Weights {
    let values =
        [("a.to_q.weight".to_owned(), (vec![2, 3], vec![0.0; 6])), ("a.bias".to_owned(), (vec![2], vec![0.0; 2]))];
    weights(&values.into())
}

const DOWN: (&str, &[usize], &[f32]) = ("unet.a.to_q.lora_A.weight", &[1, 3], &[1.0, 2.0, 3.0]);
const UP: (&str, &[usize], &[f32]) = ("unet.a.to_q.lora_B.weight", &[2, 1], &[10.0, 100.0]);

#[test]
fn merged_weights_equal_those_of_diffusers() {
    let device = Device::flex();
    for (name, base, counts) in [
        ("peft", "conv", [78, 12]),
        ("kohya", "conv", [78, 12]),
        ("old", "linear", [32, 8]),
        ("saved", "linear", [32, 0]),
    ] {
        let lora = Lora::open(&fixture(&format!("lora-{name}.safetensors"))).unwrap();
        for ((part, text), count) in PARTS.into_iter().zip(counts) {
            assert_eq!(lora.count(part), count, "{name} {text}");
            let before = below(&format!("{base}/{text}/"));
            let expected = below(&format!("{name}/{text}/"));
            assert_eq!(expected.len(), count, "{name} {text}: every module was changed by diffusers");
            let mut most = 0.0_f32;
            let mut merged = weights(&before);
            assert_eq!(lora.merge(part, &mut merged, 0.7, &device).unwrap(), count);
            for (tensor, (shape, values)) in &before {
                let (found_shape, found) = merged.values(tensor).unwrap().unwrap();
                assert_eq!(&found_shape, shape);
                let expected = expected.get(tensor).map_or(values, |(_, values)| values);
                let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                most = most.max(worst);
                assert!(worst < 2e-6, "{name} {tensor}: off by {worst:e}");
            }
            println!("{name} {text}: {count} tensors, {most:e}");
        }
    }
}

#[test]
fn the_scale_is_alpha_over_rank_times_the_factor() {
    let alpha: (&str, &[usize], &[f32]) = ("unet.a.to_q.alpha", &[], &[0.5]);
    let all = r#"{"unet.lora_alpha": 4, "unet.alpha_pattern": {}, "text_encoder.lora_alpha": 9}"#;
    let pattern = r#"{"unet.lora_alpha": 4, "unet.alpha_pattern": {"b.to_q": 7, "to_q": 3}}"#;
    for (tensors, metadata, scale, factor) in [
        (vec![DOWN, UP], None, 1.0, 1.0),
        (vec![DOWN, UP], None, -0.25, -0.25),
        (vec![DOWN, UP, alpha], None, 2.0, 1.0),
        (vec![DOWN, UP], Some(all), 0.5, 2.0),
        (vec![DOWN, UP], Some(pattern), 1.0, 3.0),
    ] {
        let (_folder, path) = write(&tensors, metadata);
        let mut weights = one_module();
        Lora::open(&path).unwrap().merge(LoraPart::UNet, &mut weights, scale, &Device::flex()).unwrap();
        let expected = [10.0, 20.0, 30.0, 100.0, 200.0, 300.0].map(|value: f32| value * factor);
        assert_eq!(weights.values("a.to_q.weight").unwrap().unwrap().1, expected);
        assert_eq!(weights.values("a.bias").unwrap().unwrap().1, [0.0; 2]);
    }
}

#[test]
fn files_that_are_no_lora_of_this_model_are_refused_by_name() {
    let merge = |tensors: &[(&str, &[usize], &[f32])], metadata: Option<&str>, scale: f64| {
        let (_folder, path) = write(tensors, metadata);
        let merged = Lora::open(&path).and_then(|l| l.merge(LoraPart::UNet, &mut one_module(), scale, &Device::flex()));
        let message = merged.unwrap_err().to_string();
        assert!(message.contains("lora.safetensors"), "{message}");
        message
    };
    let message = merge(&[DOWN], None, 1.0);
    assert!(message.contains("1 modules with one factor only: unet.a.to_q;"), "{message}");
    let message = merge(&[DOWN, UP, ("unet.a.to_q.dora_scale", &[1], &[1.0])], None, 1.0);
    assert!(message.contains("1 no factors of a LoRA: unet.a.to_q.dora_scale;"), "{message}");
    let message = merge(&[("lora_te1_x.lora_down.weight", &[1], &[1.0])], None, 1.0);
    assert!(
        message.contains("lora_te1_x.lora_down.weight") && message.contains("Stable Diffusion 1 and 2"),
        "{message}"
    );
    let message = merge(&[DOWN, ("unet.a.to_q.lora_B.weight", &[3, 1], &[1.0; 3])], None, 1.0);
    assert!(message.contains("1 factors that do not fit: unet.a.to_q with [1, 3] and [3, 1] for [2, 3];"), "{message}");
    let message = merge(&[DOWN, ("unet.a.to_q.lora_B.weight", &[2, 1], &[1.0, f32::NAN])], None, 1.0);
    assert!(message.contains("unet.a.to_q.lora_B.weight"), "{message}");
    assert!(merge(&[DOWN, UP], None, f64::NAN).contains("the scale is NaN"));
    assert!(merge(&[DOWN, UP], Some("["), 1.0).contains("not a JSON object"));
    assert!(merge(&[DOWN, UP], Some(r#"{"unet.use_rslora": true}"#), 1.0).contains("`unet.use_rslora`"));
    assert!(merge(&[], None, 1.0).contains("no factors"));

    let names: Vec<String> = (0..12).flat_map(|i| ["A", "B"].map(|f| format!("unet.x{i}.lora_{f}.weight"))).collect();
    let tensors: Vec<(&str, &[usize], &[f32])> =
        names.iter().map(|name| (name.as_str(), &[1, 1][..], &[1.0][..])).collect();
    let message = merge(&tensors, None, 1.0);
    let listed = "12 modules that the model does not have: unet.x0, unet.x1, unet.x10, unet.x11, unet.x2, unet.x3, unet.x4, unet.x5, unet.x6, unet.x7 and 2 more;";
    assert!(message.contains(listed), "{message}");

    let (_folder, path) = write(&[DOWN, UP], None);
    let whole = fs_err::read(&path).unwrap();
    for length in [0, 7, 40, whole.len() - 1] {
        fs_err::write(&path, &whole[..length]).unwrap();
        let message = Lora::open(&path).unwrap_err().to_string();
        assert!(message.contains("lora.safetensors"), "{length}: {message}");
    }
    assert!(Lora::open(Path::new("/does/not/exist.safetensors")).unwrap_err().to_string().contains("/does/not/exist"));
}

/// A 1x1 convolution with the factors of a linear map, as some trainers write them, and a kernel that does not fit.
#[test]
fn factors_of_convolutions_fit_by_their_kernels() {
    use super::sizes;
    assert_eq!(sizes(&[4, 8], &[16, 4], &[16, 8, 1, 1]), Some([16, 4, 8]));
    assert_eq!(sizes(&[4, 8, 1, 1], &[16, 4, 1, 1], &[16, 8]), Some([16, 4, 8]));
    assert_eq!(sizes(&[4, 8, 3, 3], &[16, 4, 1, 1], &[16, 8, 3, 3]), Some([16, 4, 72]));
    assert_eq!(sizes(&[4, 8, 9, 1], &[16, 4, 1, 1], &[16, 8, 3, 3]), None);
    assert_eq!(sizes(&[4, 8, 3, 3], &[16, 4, 3, 3], &[16, 8, 3, 3]), None);
    assert_eq!(sizes(&[4, 8], &[16, 5], &[16, 8]), None);
    assert_eq!(sizes(&[0, 8], &[16, 0], &[16, 8]), None);
    assert_eq!(sizes(&[], &[16, 4], &[16, 8]), None);
}

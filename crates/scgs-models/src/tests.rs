//! Facts about the networks that need no reference implementation, and files of weights of every kind.

use std::path::Path;

use burn::{
    module::Module,
    tensor::{Device, Tensor, TensorData},
};
use image::{Rgba, RgbaImage, imageops};

use crate::{
    Architecture, HeadPolicy, Network, WeightsError, load, names,
    parity_tests::{fixture, lite0_weights, network, pictures, values},
    save, weights,
};

fn all_values(network: &Network) -> Vec<(String, Vec<u32>)> {
    let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect();
    names::tensors(network).into_iter().map(|tensor| (tensor.name, bits(tensor.values))).collect()
}

/// ImageNet's class of some cut-outs, as assets of a test: the object on grey and on white must be recognized.
const PHOTOS: [(&str, usize, &str); 10] = [
    ("bird/duck.png", 97, "drake"),
    ("bird/pink_flamingo.png", 130, "flamingo"),
    ("bird/gander.png", 99, "goose"),
    ("bird/penguin.png", 145, "king penguin"),
    ("bird/hen.png", 8, "hen"),
    ("mammal/gc_koala.png", 105, "koala"),
    ("mammal/gc_panda.png", 388, "giant panda"),
    ("mammal/gc_red_panda.png", 387, "lesser panda"),
    ("mammal/gc_dog.png", 235, "German shepherd"),
    ("mammal/zebra.png", 340, "zebra"),
];

/// The cut-out in the middle of a square of one colour, 224 x 224, normalized.
fn on_background(name: &str, shade: u8, device: &Device) -> Tensor<4> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/habitat/fg").join(name);
    let cutout = image::open(path).unwrap().to_rgba8();
    let scale = 200.0 / f64::from(cutout.width().max(cutout.height()));
    let side = |pixels: u32| (f64::from(pixels) * scale).round() as u32;
    let (width, height) = (side(cutout.width()), side(cutout.height()));
    let cutout = imageops::resize(&cutout, width, height, imageops::FilterType::Triangle);
    let mut picture = RgbaImage::from_pixel(224, 224, Rgba([shade, shade, shade, 255]));
    imageops::overlay(&mut picture, &cutout, i64::from(224 - width) / 2, i64::from(224 - height) / 2);
    let architecture = Architecture::EfficientNetLite0;
    let (mean, std) = (architecture.mean(), architecture.std());
    let planes: Vec<f32> = (0..3)
        .flat_map(|c| picture.pixels().map(move |p| (f32::from(p.0[c]) - mean[c]) / std[c]).collect::<Vec<_>>())
        .collect();
    Tensor::from_data(TensorData::new(planes, [1, 3, 224, 224]), device)
}

#[test]
fn the_shipped_weights_recognize_photos() {
    let device = Device::flex();
    let network = load(Architecture::EfficientNetLite0, &lite0_weights(), None, HeadPolicy::Keep, &device).unwrap();
    assert_eq!(network.classes(), 1000);
    let mut wrong = Vec::new();
    for (photo, class, name) in PHOTOS {
        for shade in [128, 255] {
            let logits = values(network.forward(on_background(photo, shade, &device)));
            let best = (0..1000).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap();
            if best != class {
                wrong.push(format!("{photo} on {shade}: expected {class} ({name}), found {best}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_cut_at_any_layer_changes_nothing() {
    let device = Device::flex();
    for (architecture, layers, first, last) in [
        (Architecture::EfficientNetLite0, 18, "stem", "head"),
        (Architecture::ResNet18, 9, "stem", "layer4"),
        (Architecture::ResNet50, 17, "stem", "layer4"),
    ] {
        let network = network(architecture, 3, &device);
        let x = pictures("cut", [2, 40, 56], &device);
        let expected = network.forward(x.clone()).into_data();
        let names = network.layers();
        assert_eq!((names.len(), names[0].as_str(), names[layers - 1].as_str()), (layers, first, last));
        for layer in &names {
            let map = network.until(layer, x.clone()).unwrap();
            assert_eq!(network.after(layer, map).unwrap().into_data(), expected, "{architecture} {layer}");
        }
        assert_eq!(network.until(last, x.clone()).unwrap().into_data(), network.features(x.clone()).into_data());
        // In the order of the question, each as if it were the only one.
        let asked = [last, first, last, names[1].as_str()];
        let each = network.until_each(&asked, x.clone()).unwrap();
        assert_eq!(each.len(), asked.len());
        for (layer, map) in asked.iter().zip(each) {
            assert_eq!(map.into_data(), network.until(layer, x.clone()).unwrap().into_data(), "{architecture} {layer}");
        }
    }
}

#[test]
fn the_last_block_of_a_stage_has_two_names_and_an_unknown_layer_lists_all() {
    let device = Device::flex();
    let network = Architecture::ResNet18.init(2, &device);
    let x = pictures("cut", [1, 32, 32], &device);
    let map = |layer| network.until(layer, x.clone()).map(Tensor::into_data);
    assert_eq!(map("layer4.1"), map("layer4"));
    assert_ne!(map("layer4.0"), map("layer4"));
    for layer in ["layer4.2", "layer5", "layer0.0", "blocks.1", "layer4.x", ""] {
        let error = map(layer).unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "the network has no layer `{layer}`; its layers, from input to output: stem, layer1.0, layer1, \
                 layer2.0, layer2, layer3.0, layer3, layer4.0, layer4"
            )
        );
    }
}

/// Attention maps take gradients of a network that was loaded for inference: batch norms must not notice.
#[test]
fn a_gradient_of_an_activation_leaves_the_network_in_evaluation_mode() {
    let device = Device::flex();
    for architecture in [Architecture::EfficientNetLite0, Architecture::ResNet18] {
        let network = network(architecture, 3, &device);
        let before = all_values(&network);
        let layer = &network.layers()[2];
        let map = network.until(layer, pictures("cut", [2, 48, 48], &device)).unwrap();
        let expected = network.after(layer, map.clone()).unwrap().into_data();
        let leaf = map.autodiff().require_grad();
        let logits = network.after(layer, leaf.clone()).unwrap();
        assert_eq!(logits.clone().inner().into_data(), expected, "{architecture}");
        let gradient = leaf.grad(&logits.sum().backward()).unwrap();
        assert!(values(gradient.abs().sum())[0] > 0.0);
        assert_eq!(all_values(&network), before);
    }
}

#[test]
fn the_gradient_of_a_logit_has_its_closed_form_at_the_last_map() {
    let device = Device::flex();
    let network = network(Architecture::ResNet18, 4, &device);
    assert!(network.head_is_linear());
    let map = network.features(pictures("cut", [1, 64, 96], &device)).autodiff().require_grad();
    let [_, channels, h, w] = map.dims();
    let grads = network.head(map.clone()).slice([0..1, 2..3]).sum().backward();
    let gradient = values(map.grad(&grads).unwrap());
    let weight = values(network.linear().weight.val());
    for channel in 0..channels {
        let closed = weight[channel * 4 + 2] / (h * w) as f32;
        for position in 0..h * w {
            assert!((gradient[channel * h * w + position] - closed).abs() < 1e-8);
        }
    }
}

#[test]
fn training_moves_the_running_statistics_and_inference_does_not() {
    let device = Device::flex().autodiff();
    let network = network(Architecture::ResNet18, 2, &device);
    let statistic = |network: &Network| {
        names::tensors(network).into_iter().find(|tensor| tensor.name == "bn1.running_mean").unwrap().values
    };
    let before = statistic(&network);
    network.valid().forward(pictures("a", [4, 32, 32], &Device::flex()));
    assert_eq!(statistic(&network), before);
    network.forward(pictures("a", [4, 32, 32], &device));
    assert_ne!(statistic(&network), before);
}

/// Two batches on the network itself leave the same digits as the second one on a replica, again and again.
#[test]
fn a_replica_brings_back_what_a_batch_does_to_the_running_statistics() {
    let device = Device::flex().autodiff();
    for architecture in [Architecture::ResNet18, Architecture::EfficientNetLite0] {
        let alone = network(architecture, 2, &device);
        // `valid` takes a copy of what clones share.
        let shared = alone.valid().train();
        let replica = shared.replica(&device);
        for step in ["a", "b"] {
            let batches = [0.5, -1.5].map(|by| pictures(step, [4, 32, 32], &device).mul_scalar(by));
            batches.iter().for_each(|batch| drop(alone.forward(batch.clone())));
            shared.forward(batches[0].clone());
            replica.forward(batches[1].clone());
            assert!(all_values(&alone) != all_values(&shared), "{architecture}: the second batch is not there yet");
            shared.take_statistics(&replica);
            assert!(all_values(&alone) == all_values(&shared), "{architecture}, {step}");
        }
    }
}

#[test]
fn fresh_weights_follow_the_seed_and_their_distribution() {
    let device = Device::flex();
    let weights = |seed, zero| names::tensors(&Architecture::ResNet50.init_seeded(2, seed, zero, &device));
    let (first, again, other, zero) = (weights(1, false), weights(1, false), weights(2, false), weights(1, true));
    let mut zeroed = 0;
    for (((a, b), c), d) in first.iter().zip(&again).zip(&other).zip(&zero) {
        assert_eq!(a.values, b.values, "{}", a.name);
        if a.shape.len() > 1 {
            assert_ne!(a.values, c.values, "{}", a.name);
        }
        if a.name.ends_with("bn3.weight") {
            zeroed += 1;
            assert!(d.values.iter().all(|v| *v == 0.0) && a.values.iter().all(|v| *v == 1.0));
        } else {
            assert_eq!(a.values, d.values, "{}", a.name);
        }
        if let [output, _, height, width] = a.shape[..] {
            let n = a.values.len() as f64;
            let variance = a.values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / n;
            let ratio = variance * (output * height * width) as f64 / 2.0;
            // The relative standard deviation of a variance of n normal values is sqrt(2 / n).
            assert!((ratio - 1.0).abs() < 5.0 * (2.0 / n).sqrt(), "{}: {ratio}", a.name);
        }
    }
    assert_eq!(zeroed, 16);
    let bound = 1.0 / 2048_f32.sqrt();
    let fc = first.iter().find(|tensor| tensor.name == "fc.weight").unwrap();
    assert_eq!(fc.shape, [2, 2048]);
    assert!(fc.values.iter().all(|v| v.abs() <= bound) && fc.values.iter().any(|v| v.abs() > 0.99 * bound));
}

#[test]
fn another_last_layer_computes_what_its_weights_say() {
    let device = Device::flex();
    let network = Architecture::ResNet18.init(7, &device);
    let mut weight = vec![0.0; 2 * 512];
    weight[512 + 3] = 2.0;
    let network = network.with_linear(weight, vec![0.25, -1.0]);
    assert_eq!(network.classes(), 2);
    let x = pictures("a", [1, 32, 32], &device);
    let features = values(crate::pooled(network.features(x.clone())));
    assert_eq!(values(network.forward(x)), [0.25, 2.0 * features[3] - 1.0]);
}

#[test]
fn saved_weights_come_back_bit_for_bit_and_in_the_same_bytes() {
    let device = Device::flex();
    let folder = tempfile::tempdir().unwrap();
    for architecture in [Architecture::EfficientNetLite0, Architecture::ResNet18] {
        // After a training step the running statistics must be the new ones.
        let training = device.clone().autodiff();
        let network = network(architecture, 5, &training);
        network.forward(pictures("a", [2, 32, 32], &training));
        let (a, b) = (folder.path().join("a.safetensors"), folder.path().join("b.safetensors"));
        save(&network, &a).unwrap();
        let again = load(architecture, &a, None, HeadPolicy::Keep, &device).unwrap();
        assert_eq!(all_values(&again), all_values(&network));
        save(&again, &b).unwrap();
        assert!(fs_err::read(&a).unwrap() == fs_err::read(&b).unwrap());
        assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 2, "a temporary file was left");
        fs_err::remove_file(b).unwrap();
        let folded = again.fold_batch_norm();
        assert!(folded.is_folded());
        let error = save(&folded, &a).unwrap_err().to_string();
        assert!(error.ends_with("the batch norms of this network are folded; save it before folding"), "{error}");
        fs_err::remove_file(a).unwrap();
    }
    let error = save(&Architecture::ResNet18.init(2, &device), &folder.path().join("none/a")).unwrap_err();
    assert!(error.to_string().contains("none/a"), "{error}");
}

#[test]
fn a_last_layer_of_another_width_is_refused_or_replaced() {
    let device = Device::flex();
    let arch = Architecture::EfficientNetLite0;
    let error = load(arch, &lite0_weights(), Some(2), HeadPolicy::Keep, &device).unwrap_err();
    assert!(matches!(error, WeightsError::HeadWidth { found: 1000, expected: 2, .. }), "{error}");
    assert!(error.to_string().contains("ask for a fresh last layer (`HeadPolicy::Replace`) or for 1000 classes"));
    let fresh = |seed| load(arch, &lite0_weights(), Some(2), HeadPolicy::Replace { seed }, &device).unwrap();
    let weight = |network: &Network| values(network.linear().weight.val());
    assert_eq!(fresh(1).classes(), 2);
    assert_eq!(weight(&fresh(1)), weight(&fresh(1)));
    assert_ne!(weight(&fresh(1)), weight(&fresh(2)));
    let training = load(arch, &lite0_weights(), Some(2), HeadPolicy::Replace { seed: 1 }, &device.autodiff()).unwrap();
    assert!(training.linear().weight.val().is_require_grad());
}

fn message(architecture: Architecture, path: &Path) -> String {
    load(architecture, path, None, HeadPolicy::Keep, &Device::flex()).unwrap_err().to_string()
}

#[test]
fn weights_of_another_architecture_are_named_tensor_by_tensor() {
    let text = message(Architecture::ResNet18, &lite0_weights());
    assert!(text.contains("these are not the weights of resnet18"), "{text}");
    assert!(text.contains("102 tensor(s) missing: bn1.bias, bn1.running_mean"), "{text}");
    assert!(text.contains("247 tensor(s) unexpected: _blocks.0._bn1.bias"), "{text}");
    assert!(text.contains(", and 92 more") && text.contains(", and 237 more"), "{text}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("resnet34.safetensors");
    save(&Architecture::ResNet34.skeleton(2, &Device::flex()), &path).unwrap();
    let text = message(Architecture::ResNet50, &path);
    assert!(text.contains("layer1.0.conv1.weight (expected [64, 64, 1, 1], found [64, 64, 3, 3])"), "{text}");
}

#[test]
fn damaged_files_are_refused_with_their_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights");
    let arch = Architecture::ResNet18;
    let check = |bytes: &[u8], expected: &str| {
        fs_err::write(&path, bytes).unwrap();
        let text = message(arch, &path);
        assert!(text.starts_with(&path.display().to_string()) && text.contains(expected), "{text}");
    };
    check(b"", "0 bytes are too few");
    check(b"not a file of weights at all", "starts neither like safetensors nor like a PyTorch file");
    let whole = fs_err::read(lite0_weights()).unwrap();
    check(&whole[..whole.len() / 2], "not a whole file of weights: safetensors");
    check(&whole[..1000], "not a whole file of weights: safetensors");
    check(&[&u64::MAX.to_le_bytes()[..], b"{}"].concat(), "the header has 18446744073709551615 bytes");
    for name in ["tiny-zip.pth", "tiny-legacy.pth"] {
        let whole = fs_err::read(fixture(name)).unwrap();
        for cut in [5, whole.len() / 3, whole.len() / 2, whole.len() - 30] {
            check(&whole[..cut], "not a whole file of weights");
        }
    }
    let missing = message(arch, Path::new("/nowhere/weights.pth"));
    assert!(missing.contains("/nowhere/weights.pth") && missing.contains("check the path"), "{missing}");
}

#[test]
fn an_empty_last_layer_of_a_billion_classes_asks_for_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("huge.safetensors");
    let header = br#"{"fc.weight":{"dtype":"F32","shape":[1099511627776,0],"data_offsets":[0,0]}}"#;
    fs_err::write(&path, [&(header.len() as u64).to_le_bytes()[..], header].concat()).unwrap();
    let error = load(Architecture::ResNet18, &path, None, HeadPolicy::Keep, &Device::flex()).unwrap_err();
    assert!(error.to_string().contains("1099511627776 classes, at most 65536"), "{error}");
}

#[test]
fn a_weight_that_is_no_number_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    for bad in [f32::NAN, f32::NEG_INFINITY] {
        let network = names::replace(Architecture::ResNet18.skeleton(2, &Device::flex()), |name, shape| {
            let mut values = vec![1.0; shape.iter().product()];
            if name == "layer2.1.bn2.running_var" {
                values[17] = bad;
            }
            values
        });
        save(&network, &path).unwrap();
        let text = message(Architecture::ResNet18, &path);
        let expected = format!("the tensor `layer2.1.bn2.running_var` has the value {bad} at element 17");
        assert!(text.contains(&expected), "{text}");
    }
}

/// Files that PyTorch wrote, in both of its formats: strides, offsets, types, prefixes, nesting.
#[test]
fn pytorch_files_are_read_as_pytorch_reads_them() {
    let base: Vec<f32> =
        crate::parity_tests::uniform("tiny", 24).map(|u| ((2.0 * u - 1.0) / 6_f64.sqrt()) as f32).collect();
    for name in ["tiny-zip.pth", "tiny-legacy.pth", "nested-zip.pth", "nested-legacy.pth"] {
        let tensors = weights::read(&fixture(name)).unwrap();
        let keys: Vec<&str> = tensors.keys().map(String::as_str).collect();
        assert_eq!(keys, ["bfloat", "double", "half", "parameter", "part", "plain", "scalar", "transposed"], "{name}");
        let check = |key: &str, shape: &[usize], expected: &[f32], tolerance: f32| {
            let tensor = &tensors[key];
            assert_eq!(tensor.shape, shape, "{name} {key}");
            let close = tensor.values.iter().zip(expected).all(|(a, b)| (a - b).abs() <= tolerance);
            assert!(tensor.values.len() == expected.len() && close, "{name} {key}: {:?}", tensor.values);
        };
        let transposed: Vec<f32> = (0..24).map(|i| base[i % 4 * 6 + i / 4]).collect();
        let part: Vec<f32> = [8, 9, 10, 14, 15, 16].map(|i| base[i]).to_vec();
        check("plain", &[4, 6], &base, 0.0);
        check("double", &[4, 6], &base, 0.0);
        check("transposed", &[6, 4], &transposed, 0.0);
        check("part", &[2, 3], &part, 0.0);
        check("parameter", &[6], &base[..6], 0.0);
        check("half", &[4, 6], &base, 2e-4);
        check("bfloat", &[4, 6], &base, 2e-3);
        check("scalar", &[], &[2.5], 0.0);
    }
    let text = message(Architecture::ResNet18, &fixture("integers-zip.pth"));
    assert!(text.contains("the tensor `weight` has numbers of type I64"), "{text}");
    assert_eq!(text.replace("zip", "legacy"), message(Architecture::ResNet18, &fixture("integers-legacy.pth")));
}

#[test]
fn a_pickle_that_refers_to_anything_but_tensors_is_refused_by_name_and_not_executed() {
    for (file, name) in [
        ("evil-zip.pth", "posix.system"),
        ("evil-legacy.pth", "posix.system"),
        ("evil-root.pth", "posix.system"),
        ("evil-protocol4.pth", "posix.system"),
        ("evil-name.pth", "posix.getcwd"),
    ] {
        let error = load(Architecture::ResNet18, &fixture(file), None, HeadPolicy::Keep, &Device::flex()).unwrap_err();
        assert!(matches!(&error, WeightsError::RefusedPickle { name: found, .. } if found == name), "{file}: {error}");
        assert!(error.to_string().contains("torch.save(model.state_dict(), file)"), "{error}");
    }
    // What the pickles would do in Python.
    assert!(!Path::new("scgs-was-here").exists());
}

//! Attention maps against pytorch-grad-cam 1.5.5 (`tests/fixtures/cam/generate.py`), and the ways around them: the
//! closed form, batches, no attention, bad input.
#![expect(clippy::unwrap_used, reason = "a failed test panics")]

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData, activation::relu, module::conv2d, ops::ConvOptions};
use scgs_cam::{
    AttentionMap, CamError, CamMethod, Epsilon, Score, attention, attention_linear_head, attention_of_predicted, fuse,
    layer_attention, layer_score_cam, score_cam,
};

#[derive(serde::Deserialize)]
struct Reference {
    width: usize,
    height: usize,
    logits: Vec<Vec<f32>>,
    maps: BTreeMap<String, Vec<Vec<f32>>>,
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("../../../tests/fixtures/cam/cams.json")).unwrap()
}

/// Draws of stream `salt`: multiples of 2^-24 in -0.5..0.5 (MurmurHash3's 32-bit finaliser of a counter), scaled.
fn filled(salt: u64, count: usize, scale: f32) -> Vec<f32> {
    let offset = salt.wrapping_mul(0x9E37_79B9);
    let draw = |at: u64| {
        let mut h = at.wrapping_add(offset) as u32;
        h ^= h >> 16;
        h = h.wrapping_mul(0x85EB_CA6B);
        h ^= h >> 13;
        h = h.wrapping_mul(0xC2B2_AE35);
        h ^= h >> 16;
        (f64::from(h >> 8) / f64::from(1 << 24) - 0.5) as f32 * scale
    };
    (0..count as u64).map(draw).collect()
}

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

/// Layer number `index` of the network in `generate.py`.
fn conv(index: u64, x: Tensor<4>, out: usize, stride: usize) -> Tensor<4> {
    let channels = x.dims()[1];
    let weight = tensor(filled(2 * index, out * channels * 9, 1.0), [out, channels, 3, 3]);
    let bias = tensor(filled(2 * index + 1, out, 0.2), [out]);
    conv2d(x, weight, Some(bias), ConvOptions::new([stride, stride], [1, 1], [1, 1], 1))
}

fn to_a(x: Tensor<4>) -> Tensor<4> {
    relu(conv(1, relu(conv(0, x, 6, 1)), 8, 2))
}

fn a_to_b(a: Tensor<4>) -> Tensor<4> {
    conv(2, a, 10, 2)
}

fn b_to_logits(b: Tensor<4>) -> Tensor<2> {
    let x = relu(conv(3, relu(b), 6, 1)).flatten::<2>(1, 3);
    let weight = tensor(filled(8, 5 * 72, 1.0), [5, 72]);
    x.matmul(weight.transpose()) + tensor(filled(9, 5, 0.2), [1, 5])
}

fn network(x: Tensor<4>) -> Tensor<2> {
    b_to_logits(a_to_b(to_a(x)))
}

const SIZE: (usize, usize) = (16, 12);
const SCORES: [Score; 3] = [Score::Class(2), Score::Class(0), Score::Difference { of: 1, minus: 3 }];

fn pictures(count: usize) -> Tensor<4> {
    tensor(filled(100, count * 3 * 12 * 16, 4.0), [count, 3, 12, 16])
}

type Maps = Vec<Option<AttentionMap>>;

fn layer_maps(method: &CamMethod) -> [Maps; 2] {
    let a = to_a(pictures(3));
    let b = a_to_b(a.clone());
    if *method == CamMethod::ScoreCam {
        return [a, b].map(|layer| layer_score_cam(layer, pictures(3), &network, &SCORES, SIZE, 4).unwrap());
    }
    let from_a = |a| b_to_logits(a_to_b(a));
    [
        layer_attention(method, a, &from_a, &SCORES, SIZE).unwrap(),
        layer_attention(method, b, &b_to_logits, &SCORES, SIZE).unwrap(),
    ]
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn maps_equal_pytorch_grad_cam() {
    let reference = reference();
    assert_eq!((reference.width, reference.height), SIZE);
    let logits = network(pictures(3)).into_data().try_into_vec::<f32>().unwrap();
    let difference = largest_difference(&logits, &reference.logits.concat());
    assert!(difference < 1e-5, "the two networks differ by {difference}");

    let mut compared = 0;
    for name in ["gradcam", "gradcam++", "xgradcam", "layercam", "eigencam", "scorecam"] {
        let [a, b] = layer_maps(&name.parse().unwrap());
        for layers in ["a", "b", "ab"] {
            for (row, expected) in reference.maps[&format!("{name} {layers}")].iter().enumerate() {
                let used = [layers.contains('a').then_some(&a[row]), layers.contains('b').then_some(&b[row])];
                let used: Vec<AttentionMap> = used.into_iter().flatten().flatten().cloned().collect();
                if used.is_empty() {
                    // Nothing positive: pytorch-grad-cam returns zeros.
                    assert!(expected.iter().all(|&v| v == 0.0), "{name} {layers} {row}");
                    continue;
                }
                let difference = largest_difference(&fuse(&used).unwrap().values, expected);
                println!("{name} {layers} {row} {difference:.2e}");
                assert!(difference < 1e-4, "{name}, layers {layers}, row {row}: {difference}");
                compared += 1;
            }
        }
    }
    assert!(compared >= 50, "only {compared} of 54 maps have attention");
}

#[test]
fn predicted_classes_are_those_of_the_logits() {
    let activation = a_to_b(to_a(pictures(8)));
    // Every picture falls into the same class until the mean logit of each class is taken away.
    let mean = b_to_logits(activation.clone()).mean_dim(0);
    let tail = |b: Tensor<4>| {
        let mean = if b.is_autodiff() { mean.clone().autodiff() } else { mean.clone() };
        b_to_logits(b) - mean
    };
    let logits = tail(activation.clone());
    let classes: Vec<usize> = logits.argmax(1).into_data().iter::<i64>().map(|class| class as usize).collect();
    assert!(classes.iter().any(|&class| class != classes[0]), "the pictures differ: {classes:?}");
    let scores: Vec<Score> = classes.iter().map(|&class| Score::Class(class)).collect();
    for name in ["gradcam", "gradcam++", "xgradcam", "layercam", "eigencam"] {
        let method = name.parse().unwrap();
        let maps = attention(&method, activation.clone(), &tail, &scores, SIZE).unwrap();
        let found = attention_of_predicted(&method, activation.clone(), &tail, SIZE).unwrap();
        assert_eq!(found, classes.iter().copied().zip(maps).collect::<Vec<_>>(), "{name}");
    }
    let refused = attention_of_predicted(&CamMethod::ScoreCam, activation, &tail, SIZE);
    assert_eq!(refused, Err(CamError::NeedsPictures));
}

#[test]
fn one_layer_needs_no_fusing() {
    let reference = reference();
    let maps = attention(&CamMethod::LayerCam, a_to_b(to_a(pictures(3))), &b_to_logits, &SCORES, SIZE).unwrap();
    for (map, expected) in maps.iter().zip(&reference.maps["layercam b"]) {
        assert!(largest_difference(&map.as_ref().unwrap().values, expected) < 1e-4);
    }
    let maps = score_cam(to_a(pictures(3)), pictures(3), &network, &SCORES, SIZE, 3).unwrap();
    for (map, expected) in maps.iter().zip(&reference.maps["scorecam a"]) {
        assert!(largest_difference(&map.as_ref().unwrap().values, expected) < 1e-4);
    }
}

const GRADIENT_METHODS: [CamMethod; 5] = [
    CamMethod::GradCam,
    CamMethod::GradCamPlusPlus { epsilon: Epsilon::Absolute(1e-6) },
    CamMethod::GradCamPlusPlus { epsilon: Epsilon::ScaleFree },
    CamMethod::XGradCam,
    CamMethod::LayerCam,
];

#[test]
fn the_closed_form_equals_the_backward_pass() {
    let activation = || relu(tensor(filled(50, 5 * 40 * 7 * 7, 2.0), [5, 40, 7, 7]));
    let weight = filled(51, 3 * 40, 0.4);
    let tail = |a: Tensor<4>| {
        let pooled = a.mean_dim(3).mean_dim(2).flatten::<2>(1, 3);
        pooled.matmul(tensor(filled(51, 3 * 40, 0.4), [3, 40]).transpose()) + tensor(vec![1.0, -2.0, 3.0], [1, 3])
    };
    let difference = |of, minus| Score::Difference { of, minus };
    let scores = [Score::Class(0), Score::Class(1), Score::Class(2), difference(0, 1), difference(2, 0)];
    for method in GRADIENT_METHODS.into_iter().chain([CamMethod::EigenCam]) {
        let general = attention(&method, activation(), &tail, &scores, (224, 224)).unwrap();
        let closed = attention_linear_head(&method, activation(), &weight, &scores, (224, 224)).unwrap();
        for (row, (general, closed)) in general.iter().zip(&closed).enumerate() {
            let difference = largest_difference(&general.as_ref().unwrap().values, &closed.as_ref().unwrap().values);
            assert!(difference < 1e-5, "{method} row {row}: {difference}");
        }
    }
}

#[test]
fn a_batch_equals_its_pictures_one_by_one() {
    let activation = a_to_b(to_a(pictures(5)));
    let scores =
        [Score::Class(0), Score::Class(4), Score::Difference { of: 2, minus: 1 }, Score::Class(3), Score::Class(1)];
    for method in GRADIENT_METHODS.into_iter().chain([CamMethod::EigenCam]) {
        let batch = attention(&method, activation.clone(), &b_to_logits, &scores, SIZE).unwrap();
        for (row, together) in batch.iter().enumerate() {
            let one = activation.clone().narrow(0, row, 1);
            let alone = attention(&method, one, &b_to_logits, &scores[row..=row], SIZE).unwrap().remove(0);
            match (together, alone) {
                (Some(together), Some(alone)) => {
                    let difference = largest_difference(&together.values, &alone.values);
                    assert!(difference < 1e-6, "{method} row {row}: {difference}");
                }
                (together, alone) => assert_eq!(together, &alone, "{method} row {row}"),
            }
        }
    }
}

fn pooled(a: Tensor<4>) -> Tensor<2> {
    a.mean_dim(3).mean_dim(2).flatten::<2>(1, 3)
}

#[test]
fn nothing_positive_is_no_attention() {
    // Channel 1 speaks against class 0 minus class 1, wherever it is.
    let activation = || tensor(vec![0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 4.0], [1, 2, 2, 2]);
    let score = [Score::Difference { of: 0, minus: 1 }];
    for method in [CamMethod::GradCam, CamMethod::LayerCam, GRADIENT_METHODS[1], CamMethod::XGradCam] {
        assert_eq!(attention(&method, activation(), &pooled, &score, (8, 8)).unwrap(), [None], "{method}");
    }
    let equal = tensor(vec![1.0; 8], [1, 2, 2, 2]);
    assert_eq!(attention(&CamMethod::GradCam, equal, &pooled, &[Score::Class(0)], (8, 8)).unwrap(), [None]);
}

#[test]
fn a_layer_of_one_cell_has_no_place() {
    for method in GRADIENT_METHODS.into_iter().chain([CamMethod::EigenCam]) {
        let one = tensor(vec![2.0, 3.0], [1, 2, 1, 1]);
        assert_eq!(attention(&method, one, &pooled, &[Score::Class(1)], (5, 3)).unwrap(), [None], "{method}");
    }
}

#[test]
fn bad_input_is_named() {
    let fine = || tensor(vec![1.0; 2 * 2 * 4], [2, 2, 2, 2]);
    let scores = [Score::Class(0), Score::Class(1)];
    let run = |activation, tail: &dyn Fn(Tensor<4>) -> Tensor<2>, scores: &[Score]| {
        attention(&CamMethod::GradCam, activation, tail, scores, (4, 4)).unwrap_err()
    };
    let mut values = vec![1.0; 16];
    values[9] = f32::NAN;
    let error = run(tensor(values, [2, 2, 2, 2]), &pooled, &scores);
    assert_eq!(error, CamError::NotFinite { what: "activation", row: 1 });
    assert!(error.to_string().starts_with("the activation of row 1 hold(s) NaN or infinity"), "{error}");

    let nan_logits = |a: Tensor<4>| pooled(a) * tensor(vec![1.0, 1.0, f32::INFINITY, 1.0], [2, 2]);
    assert_eq!(run(fine(), &nan_logits, &scores), CamError::NotFinite { what: "logits", row: 1 });
    // The root of 0 is finite, its slope is not.
    let steep = |a: Tensor<4>| pooled(a - 1.0).sqrt();
    assert_eq!(run(fine(), &steep, &scores), CamError::NotFinite { what: "gradient", row: 0 });

    let cut = |a: Tensor<4>| pooled(a.inner());
    assert_eq!(run(fine(), &cut, &scores), CamError::NoGradient);
    let one_row = |a: Tensor<4>| pooled(a).narrow(0, 0, 1);
    assert_eq!(run(fine(), &one_row, &scores), CamError::LogitRows { rows: 1, pictures: 2 });
    assert_eq!(run(fine(), &pooled, &scores[..1]), CamError::ScoreCount { scores: 1, pictures: 2 });
    let stranger = [Score::Class(0), Score::Class(2)];
    assert_eq!(run(fine(), &pooled, &stranger), CamError::NoSuchClass { row: 1, class: 2, classes: 2 });

    let no_size = attention(&CamMethod::GradCam, fine(), &pooled, &scores, (0, 4)).unwrap_err().to_string();
    assert!(no_size.starts_with("a map of shape [0, 4] cannot be used"), "{no_size}");
    let no_pictures = attention(&CamMethod::ScoreCam, fine(), &pooled, &scores, (4, 4)).unwrap_err();
    assert_eq!(no_pictures, CamError::NeedsPictures);
    let head =
        |weight: &[f32]| attention_linear_head(&CamMethod::GradCam, fine(), weight, &scores, (4, 4)).unwrap_err();
    assert_eq!(head(&[1.0; 3]), CamError::HeadShape { channels: 2, len: 3 });
    assert_eq!(head(&[1.0, 1.0, f32::NAN, 1.0]), CamError::HeadNotFinite { class: 1 });
    let other = tensor(vec![0.0; 27], [1, 3, 3, 3]);
    let mismatch = score_cam(fine(), other, &network, &scores, (4, 4), 2).unwrap_err().to_string();
    assert!(mismatch.starts_with("pictures of shape [1, 3, 3, 3] cannot be used"), "{mismatch}");
}

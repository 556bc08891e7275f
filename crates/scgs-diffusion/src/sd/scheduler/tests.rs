//! The schedulers against diffusers, over whole loops, and what they refuse.

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use serde_json::Value;

use super::{SchedulerConfig, SchedulerError, SchedulerKind};

const SHAPE: [usize; 4] = [1, 2, 2, 3];

fn cases() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/diffusion/schedulers.json");
    serde_json::from_str(&fs_err::read_to_string(path).unwrap()).unwrap()
}

/// `wave` of make_schedulers.py.
fn wave(which: i32) -> Tensor<4> {
    let value = |i: i32| {
        let i = f64::from(i + 17 * which);
        (1.5 * (i * i * 0.7 + f64::from(which)).sin()) as f32
    };
    Tensor::from_data(TensorData::new((0..12).map(value).collect::<Vec<_>>(), SHAPE), &Device::flex())
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
}

/// The largest difference as a share of the largest expected value, but of 1 at least.
fn difference(found: Tensor<4>, expected: &Value) -> f32 {
    let expected = numbers(expected);
    let found = found.into_data().try_to_vec::<f32>().unwrap();
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(1.0_f32, |a, b| a.max(b.abs()));
    found
        .iter()
        .zip(&expected)
        .map(|(a, b)| (a - b).abs() / scale)
        .fold(0.0, |a, b| if b.is_nan() { b } else { a.max(b) })
}

fn config(value: &Value) -> SchedulerConfig {
    SchedulerConfig::parse(&value.to_string(), Path::new("scheduler_config.json")).unwrap()
}

fn refusal(text: &str, kind: SchedulerKind, steps: usize) -> String {
    let config = SchedulerConfig::parse(text, Path::new("dir/scheduler_config.json"));
    match config.and_then(|config| config.scheduler(kind, steps)) {
        Ok(_) => panic!("{text} was accepted by {kind}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn every_scheduler_runs_its_whole_loop_as_in_diffusers() {
    let cases = cases();
    assert!(cases.len() > 200, "{} cases", cases.len());
    let mut worst = std::collections::BTreeMap::new();
    let mut wrong = Vec::new();
    for case in cases {
        let kind: SchedulerKind = case["kind"].as_str().unwrap().parse().unwrap();
        let name = format!("{kind} {} steps from {}: {}", case["steps"], case["first"], case["config"]);
        let (steps, first) = (case["steps"].as_u64().unwrap() as usize, case["first"].as_u64().unwrap() as usize);
        let mut scheduler = config(&case["config"]).scheduler(kind, steps).unwrap_or_else(|e| panic!("{name}: {e}"));
        let expected = numbers(&case["timesteps"]);
        let off = scheduler.timesteps().iter().zip(&expected).any(|(a, b)| (a - b).abs() > 1e-3);
        if scheduler.timesteps().len() != expected.len() || off {
            wrong.push(format!("{name}: timesteps {:?}, expected {expected:?}", scheduler.timesteps()));
            continue;
        }
        let sigma = case["init_noise_sigma"].as_f64().unwrap();
        assert!((scheduler.init_noise_sigma() / sigma - 1.0).abs() < 1e-5, "{name}: {}", scheduler.init_noise_sigma());
        let mut sample = if first > 0 {
            scheduler.add_noise(wave(0), wave(-1), first)
        } else {
            wave(0).mul_scalar(scheduler.init_noise_sigma())
        };
        let mut draws = 0;
        let mut differences = Vec::new();
        let timesteps = scheduler.timesteps().to_vec();
        let mut noisy = case["noisy"].as_array().unwrap().iter();
        for index in first..timesteps.len() {
            let seen = scheduler.scale_model_input(sample.clone(), index);
            if index == first {
                differences.push(difference(seen.clone(), &case["first_input"]));
            }
            let t = f64::from(timesteps[index]);
            let output = seen.sin().mul_scalar(t / (t + 100.0)).add_scalar(0.1);
            let mut noise = || {
                draws += 1;
                wave(draws)
            };
            sample = scheduler.step(output, index, sample, &mut noise);
            if (index == first || index + 2 == timesteps.len()) && index + 1 < timesteps.len() {
                differences.push(difference(scheduler.add_noise(wave(-2), wave(-3), index + 1), noisy.next().unwrap()));
            }
        }
        differences.push(difference(sample, &case["result"]));
        assert_eq!(u64::from(draws.unsigned_abs()), case["draws"].as_u64().unwrap(), "{name}: draws");
        for found in differences {
            let most = worst.entry(kind.name()).or_insert((0.0_f32, String::new()));
            if found > most.0 {
                *most = (found, name.clone());
            }
            // Not `found > 1e-4`: that would let NaN through.
            if found.is_nan() || found > 1e-4 {
                wrong.push(format!("{name}: off by {found:e}"));
            }
        }
    }
    println!("worst relative difference by scheduler: {worst:#?}");
    assert!(wrong.is_empty(), "{} of them\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(worst.len(), SchedulerKind::ALL.len(), "{worst:?}");
}

#[test]
fn strength_starts_later_and_must_leave_a_step() {
    let config = config(&serde_json::json!({"steps_offset": 1}));
    let scheduler = config.scheduler(SchedulerKind::Ddim, 10).unwrap();
    for (strength, first) in [(1.0, 0), (0.6, 4), (0.55, 5), (0.1, 9)] {
        assert_eq!(scheduler.first_step(10, strength).unwrap(), first, "{strength}");
    }
    for strength in [0.0, -0.5, 1.01, 0.05, f64::NAN, f64::INFINITY] {
        let error = scheduler.first_step(10, strength).unwrap_err();
        assert!(matches!(error, SchedulerError::Strength { .. }), "{strength}: {error}");
        assert!(error.to_string().contains("at least 0.1"), "{error}");
    }
}

#[test]
fn too_few_and_too_many_steps_are_refused() {
    for kind in SchedulerKind::ALL {
        assert_eq!(refusal("{}", kind, 0), "0 steps were asked for; ask for at least 1");
        assert_eq!(refusal("{}", kind, 1001), format!("1001 steps are too many for {kind}: at most 1000"));
    }
    assert_eq!(refusal("{}", SchedulerKind::Lcm, 51), "51 steps are too many for lcm: at most 50");
    assert_eq!(refusal("{}", SchedulerKind::DpmPp2M, 1000), "1000 steps are too many for dpmpp-2m: ask for fewer");
    let beyond = refusal(r#"{"steps_offset": 1, "timestep_spacing": "leading"}"#, SchedulerKind::Ddim, 1000);
    assert_eq!(beyond, "with 1000 steps one falls on the timestep 1000, outside of 0 to 999; ask for fewer steps");
}

/// Every number of steps either works or is refused; none panics, gives an infinite number or a wrong count.
#[test]
fn every_number_of_steps_and_every_spacing_is_safe() {
    for spacing in ["leading", "trailing", "linspace"] {
        for offset in [0, 1] {
            let config = config(
                &serde_json::json!({"timestep_spacing": spacing, "steps_offset": offset, "num_train_timesteps": 40}),
            );
            for kind in SchedulerKind::ALL {
                for steps in 1..=40 {
                    let Ok(mut scheduler) = config.scheduler(kind, steps) else { continue };
                    let count = scheduler.timesteps().len();
                    let repeated = usize::from(kind == SchedulerKind::Pndm && steps > 1);
                    assert_eq!(count, steps + repeated, "{kind} {spacing} {steps}");
                    let mut sample = wave(0);
                    for index in 0..count {
                        let output = scheduler.scale_model_input(sample.clone(), index);
                        sample = scheduler.step(output, index, sample, &mut || wave(1));
                    }
                    let finite = sample.into_data().try_to_vec::<f32>().unwrap().iter().all(|v| v.is_finite());
                    assert!(finite, "{kind} {spacing} {steps}");
                }
            }
        }
    }
}

#[test]
fn values_that_are_not_supported_are_refused_by_name() {
    use SchedulerKind::{Ddim, DpmPp2M, Euler, EulerA, Lcm, Pndm};
    for (text, kind, field) in [
        (r#"{"beta_schedule": "sigmoid"}"#, Ddim, "`beta_schedule` is \"sigmoid\", supported: linear, scaled_linear"),
        (r#"{"beta_start": 2.0}"#, Ddim, "`beta_start` is 2.0"),
        (r#"{"beta_end": "x"}"#, Ddim, "`beta_end` is \"x\""),
        (r#"{"timestep_spacing": "log"}"#, Euler, "`timestep_spacing` is \"log\""),
        (r#"{"prediction_type": "flow_prediction"}"#, DpmPp2M, "`prediction_type` is \"flow_prediction\""),
        (r#"{"prediction_type": "sample"}"#, Pndm, "`prediction_type` is sample"),
        (r#"{"prediction_type": "sample"}"#, EulerA, "`prediction_type` is sample"),
        (r#"{"steps_offset": -1}"#, Ddim, "`steps_offset` is -1"),
        (r#"{"num_train_timesteps": 1}"#, Ddim, "`num_train_timesteps` is 1"),
        (r#"{"trained_betas": [0.1, "x"]}"#, Ddim, "`trained_betas`"),
        (r#"{"trained_betas": [0.1, 0.2], "num_train_timesteps": 9}"#, Ddim, "`num_train_timesteps` is 9"),
        (r#"{"clip_sample": 1}"#, Ddim, "`clip_sample` is 1"),
        (r#"{"thresholding": true}"#, Lcm, "`thresholding` is true"),
        (r#"{"solver_order": 3}"#, DpmPp2M, "`solver_order` is 3"),
        (r#"{"solver_type": "bh2"}"#, DpmPp2M, "`solver_type`"),
        (r#"{"algorithm_type": "sde-dpmsolver++"}"#, DpmPp2M, "`algorithm_type`"),
        (r#"{"final_sigmas_type": "x"}"#, Euler, "`final_sigmas_type`"),
        (r#"{"use_beta_sigmas": true}"#, Euler, "`use_beta_sigmas` is true"),
        (r#"{"use_flow_sigmas": true}"#, DpmPp2M, "`use_flow_sigmas` is true"),
        (r#"{"interpolation_type": "log_linear"}"#, Euler, "`interpolation_type`"),
        (r#"{"use_karras_sigmas": true, "sigma_min": 0}"#, Euler, "`sigma_min, sigma_max` is 0"),
        (r#"{"original_inference_steps": 0}"#, Lcm, "`original_inference_steps` is 0"),
        (r#"{"rescale_betas_zero_snr": true}"#, Lcm, "`rescale_betas_zero_snr` is true"),
        ("[]", Ddim, "expected a JSON object"),
        ("{", Ddim, "not a scheduler configuration"),
    ] {
        let message = refusal(text, kind, 4);
        assert!(message.contains(field), "{text}: {message}");
        assert!(message.starts_with("dir/scheduler_config.json"), "{message}");
    }
}

#[test]
fn the_folder_names_the_scheduler_and_the_pipeline_corrects_its_offset() {
    let pndm = config(&serde_json::json!({"_class_name": "PNDMScheduler", "steps_offset": 0, "unknown": [1]}));
    assert_eq!(pndm.kind().unwrap(), SchedulerKind::Pndm);
    let first = |config: &SchedulerConfig, kind| config.scheduler(kind, 10).unwrap().timesteps()[0];
    assert_eq!(first(&pndm, SchedulerKind::Pndm), 900.0);
    for kind in [SchedulerKind::Pndm, SchedulerKind::Ddim] {
        assert_eq!(first(&pndm.clone().in_pipeline(kind), kind), 901.0, "the file has the field");
    }
    let bare = config(&serde_json::json!({"_class_name": "DDIMScheduler"}));
    assert_eq!(first(&bare.clone().in_pipeline(SchedulerKind::Ddim), SchedulerKind::Ddim), 901.0);
    assert_eq!(first(&bare.in_pipeline(SchedulerKind::Pndm), SchedulerKind::Pndm), 900.0);

    let python = SchedulerConfig::parse(r#"{"lambda_min_clipped": -Infinity}"#, Path::new("x")).unwrap();
    assert_eq!(first(&python, SchedulerKind::DpmPp2M), 999.0);
    let other = config(&serde_json::json!({"_class_name": "UniPCMultistepScheduler"}));
    let message = other.kind().unwrap_err().to_string();
    assert!(message.contains("UniPCMultistepScheduler") && message.contains("--scheduler"), "{message}");
    let message = "plms".parse::<SchedulerKind>().unwrap_err().to_string();
    assert_eq!(message, "no scheduler is called `plms`; choose one of ddim, pndm, dpmpp-2m, euler, euler-a, lcm");
}

//! Whether another device gives the numbers of flex: one computation of every kind that the project uses, on both.
//!
//! Inputs and fresh weights are drawn on the host, so both devices start from the same numbers. What is compared is divided by
//! the largest magnitude of flex's values; rounding in f32 leaves differences of 1e-7 to 1e-4 then.

mod diffusion;
mod networks;

use burn::tensor::{Device, Tensor, TensorData};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

/// The largest difference that passes, of values whose largest magnitude is 1.
pub(crate) const TOLERANCE: f64 = 1e-3;

/// One thing that a computation gave.
struct Part {
    what: &'static str,
    values: Vec<f32>,
}

impl Part {
    fn of<const D: usize>(what: &'static str, tensor: Tensor<D>) -> anyhow::Result<Self> {
        let values = tensor.into_data().convert::<f32>().try_into_vec();
        Ok(Self { what, values: values.map_err(|error| anyhow::anyhow!("{what}: {error:?}"))? })
    }
}

/// A computation with fixed inputs on a plain device.
type Computation = fn(&Device) -> anyhow::Result<Vec<Part>>;

/// Every computation, by name.
const COMPUTATIONS: [(&str, Computation); 11] = [
    ("resnet18 4x64", networks::resnet18),
    ("resnet50 4x64", networks::resnet50),
    ("efficientnet-lite0 4x64", networks::lite0),
    ("attention maps", networks::attention_maps),
    ("three training steps", networks::training),
    ("features for k-means", networks::features),
    ("scheduler loops", diffusion::schedulers),
    ("Stable Diffusion's UNet, tiny", diffusion::unet),
    ("Stable Diffusion's VAE, tiny", diffusion::vae),
    ("small UNet 2x64", diffusion::small),
    ("operations with a faster way on flex", networks::layers),
];

/// One compared part.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) device: String,
    pub(crate) computation: &'static str,
    pub(crate) part: &'static str,
    /// How many numbers were compared.
    pub(crate) values: usize,
    /// The largest magnitude on flex.
    pub(crate) scale: f64,
    /// The largest difference divided by `scale`; none where a number is not finite or the counts differ.
    pub(crate) difference: Option<f64>,
    pub(crate) equal: bool,
}

/// Compares each device with flex; `progress` is told what comes next.
///
/// # Errors
/// When a computation fails.
pub(crate) fn compare(devices: &[(String, Device)], progress: &dyn Fn(&str)) -> anyhow::Result<Vec<Row>> {
    let flex = crate::device::open("flex")?;
    let mut rows = Vec::new();
    for (computation, compute) in COMPUTATIONS {
        progress(&format!("{computation} on flex"));
        let expected = compute(&flex)?;
        for (name, device) in devices {
            progress(&format!("{computation} on {name}"));
            let found = compute(device)?;
            anyhow::ensure!(found.len() == expected.len(), "{computation} gives {} parts on {name}", found.len());
            rows.extend(expected.iter().zip(&found).map(|(expected, found)| row(name, computation, expected, found)));
        }
    }
    Ok(rows)
}

fn row(device: &str, computation: &'static str, expected: &Part, found: &Part) -> Row {
    let scale = expected.values.iter().fold(0.0_f64, |most, &value| most.max(f64::from(value).abs()));
    let difference = difference(&expected.values, &found.values, scale);
    Row {
        device: device.to_owned(),
        computation,
        part: expected.what,
        values: expected.values.len(),
        scale,
        difference,
        equal: difference.is_some_and(|difference| difference <= TOLERANCE),
    }
}

/// None where it means nothing: other counts, nothing but zeros to compare with, numbers that are not finite.
fn difference(expected: &[f32], found: &[f32], scale: f64) -> Option<f64> {
    let finite = expected.iter().chain(found).all(|value| value.is_finite());
    if expected.len() != found.len() || !finite || scale == 0.0 {
        return None;
    }
    let pairs = expected.iter().zip(found).map(|(&a, &b)| (f64::from(a) - f64::from(b)).abs());
    Some(pairs.fold(0.0, f64::max) / scale)
}

/// A table with a line per computation and part, a column per device.
pub(crate) fn markdown(rows: &[Row]) -> String {
    let mut devices: Vec<&str> = Vec::new();
    let mut parts: Vec<(&str, &str)> = Vec::new();
    for row in rows {
        if !devices.contains(&row.device.as_str()) {
            devices.push(&row.device);
        }
        if !parts.contains(&(row.computation, row.part)) {
            parts.push((row.computation, row.part));
        }
    }
    let mut table = format!("| computation | part | numbers | {} |\n", devices.join(" | "));
    table += &format!("| --- | --- | --- |{}\n", " --- |".repeat(devices.len()));
    for (computation, part) in parts {
        let of_part: Vec<&Row> = rows.iter().filter(|row| row.computation == computation && row.part == part).collect();
        let values = of_part.first().map_or(0, |row| row.values);
        let cells: Vec<String> = devices
            .iter()
            .map(|device| of_part.iter().find(|row| row.device == *device).map_or("-".into(), |row| cell(row)))
            .collect();
        table += &format!("| {computation} | {part} | {values} | {} |\n", cells.join(" | "));
    }
    table
}

/// The difference, marked where it is too large.
fn cell(row: &Row) -> String {
    match (row.difference, row.equal) {
        (Some(difference), true) => format!("{difference:.1e}"),
        (Some(difference), false) => format!("**{difference:.1e}**"),
        (None, _) => "**not finite**".into(),
    }
}

/// Numbers between -1 and 1, the same on every device.
fn noise<const D: usize>(shape: [usize; D], seed: u64, device: &Device) -> Tensor<D> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.random_range(-1.0..1.0)).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(values: &[f32]) -> Part {
        Part { what: "logits", values: values.to_vec() }
    }

    #[test]
    fn a_difference_is_relative_to_the_largest_value() {
        let equal = row("wgpu", "a network", &part(&[10.0, -1000.0]), &part(&[10.5, -1000.0]));
        assert_eq!((equal.difference, equal.scale, equal.equal), (Some(5e-4), 1000.0, true));
        let other = row("wgpu", "a network", &part(&[10.0, -1000.0]), &part(&[12.0, -1000.0]));
        assert_eq!((other.difference, other.equal), (Some(2e-3), false));
        assert!(markdown(&[equal, other]).contains("| a network | logits | 2 | 5.0e-4 |"));
    }

    #[test]
    fn what_says_nothing_is_not_equal() {
        for found in [&[f32::NAN, 1.0][..], &[1.0], &[f32::INFINITY, 1.0]] {
            let row = row("wgpu", "a network", &part(&[2.0, 1.0]), &part(found));
            assert_eq!((row.difference, row.equal), (None, false));
            assert_eq!(cell(&row), "**not finite**");
        }
        assert!(!row("wgpu", "a network", &part(&[0.0]), &part(&[0.0])).equal, "zeros show nothing");
    }

    #[test]
    fn flex_equals_itself_to_the_bit() {
        let flex = crate::device::open("flex").unwrap();
        let rows = compare(&[("flex".into(), flex)], &|_| {}).unwrap();
        assert!(COMPUTATIONS.iter().all(|(name, _)| rows.iter().any(|row| row.computation == *name)));
        for row in rows {
            assert_eq!(row.difference, Some(0.0), "{} {}", row.computation, row.part);
        }
    }
}

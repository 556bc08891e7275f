//! Where a classifier looks in each picture of a folder:
//! `cargo run --release -p scgs-cam --example cam_of_a_folder -- resnet50 resnet50.pth pictures maps`
//!
//! Writes one grey PNG per picture, white where the network found what speaks for its answer.

#![expect(clippy::print_stdout, reason = "a program of its own")]

use std::path::PathBuf;

use burn::tensor::{Device, Tensor, TensorData};
use image::{GrayImage, Luma, imageops::FilterType};
use scgs_cam::{CamMethod, MaskRule, Score, attention, object_region};
use scgs_models::{Architecture, HeadPolicy, load};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [architecture, weights, pictures, out] = &arguments[..] else {
        return Err("usage: cam_of_a_folder <architecture> <weights> <folder of pictures> <folder to write>".into());
    };
    let device = Device::flex();
    let architecture: Architecture = architecture.parse()?;
    let network = load(architecture, weights.as_ref(), None, HeadPolicy::Keep, &device)?.fold_batch_norm();
    let layer = network.layers().pop().ok_or("a network without layers")?;
    let side = architecture.input_size();

    let mut files: Vec<PathBuf> = fs_err::read_dir(pictures)?.map(|e| Ok(e?.path())).collect::<std::io::Result<_>>()?;
    files.sort();
    fs_err::create_dir_all(out)?;
    for file in files {
        let picture = image::open(&file)?.to_rgb8();
        let scaled = image::imageops::resize(&picture, side as u32, side as u32, FilterType::Triangle);
        // Channels first, each value of 0..=255 scaled as the network was trained.
        let (mean, deviation) = (architecture.mean(), architecture.std());
        let value = |i: usize| {
            let (channel, pixel) = (i / (side * side), i % (side * side));
            let v = scaled.get_pixel((pixel % side) as u32, (pixel / side) as u32)[channel];
            (f32::from(v) - mean[channel]) / deviation[channel]
        };
        let values: Vec<f32> = (0..3 * side * side).map(value).collect();
        let x = Tensor::<4>::from_data(TensorData::new(values, [1, 3, side, side]), &device);

        // The layer's output, the answer, and what in the layer speaks for the answer.
        let activation = network.until(&layer, x)?;
        let logits = network.after(&layer, activation.clone())?;
        let class = logits.argmax(1).into_scalar::<i64>() as usize;
        let tail = |a| network.after(&layer, a).expect("the layer was found above");
        let maps = attention(&CamMethod::LayerCam, activation, &tail, &[Score::Class(class)], (side, side))?;

        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let Some(map) = &maps[0] else {
            println!("{name}: class {class}, no attention");
            continue;
        };
        let region = object_region(map, None, &MaskRule::Otsu)?;
        println!("{name}: class {class}, {} of {} pixels attended", region.count(), side * side);
        let grey = |x, y| Luma([(map.values[y as usize * side + x as usize] * 255.0).round() as u8]);
        GrayImage::from_fn(side as u32, side as u32, grey).save(PathBuf::from(out).join(format!("{name}.png")))?;
    }
    Ok(())
}

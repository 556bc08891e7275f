//! How many pictures a second are loaded: what `cargo xtask bench loader` runs.
//!
//! `loader make DIR N` writes N JPEGs of 178 x 218 pixels, two classes, from the photos of `datasets/habitat`.
//! `loader cold DIR` decodes them, `loader cache DIR` takes them from a packed cache (built first, outside the measured
//! time), `loader index` parses a table of CelebA's size. Prints a line of JSON.

use std::{
    error::Error,
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use image::{codecs::jpeg::JpegEncoder, imageops};
use rand::RngExt;
use rayon::prelude::*;
use scgs_data::{Batches, Definition, Normalisation, Pack, Prepare, ReadOptions, read_rgb, resize_bilinear, stream};

/// The size of CelebA's aligned pictures.
const SIZE: (u32, u32) = (178, 218);
/// What both sides scale to.
const SIDE: u32 = 224;
const BATCH: usize = 32;
/// Batches made ahead.
const AHEAD: usize = 2;
/// Pictures of CelebA.
const CELEBA: usize = 202_599;

#[expect(clippy::print_stdout, reason = "its output is its result")]
fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["make", folder, n] => return make(Path::new(folder), n.parse()?),
        ["cold", folder] => load(Path::new(folder), false)?,
        ["cache", folder] => load(Path::new(folder), true)?,
        ["index"] => index()?,
        _ => return Err("usage: loader make DIR N | cold DIR | cache DIR | index".into()),
    };
    println!("{result}");
    Ok(())
}

/// Random crops of the photos, each from its own stream.
fn make(out: &Path, n: usize) -> Result<(), Box<dyn Error>> {
    let pack = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/habitat/bg");
    let mut photos = Vec::new();
    for place in ["land", "water"] {
        for entry in fs_err::read_dir(pack.join(place))? {
            photos.push(entry?.path());
        }
        fs_err::create_dir_all(out.join(place))?;
    }
    photos.sort();
    let photos = photos.iter().map(read_rgb).collect::<Result<Vec<_>, _>>()?;
    (0..n).into_par_iter().try_for_each(|i| -> Result<(), std::io::Error> {
        let mut rng = stream(0, "bench/loader", i as u64);
        let photo = &photos[rng.random_range(0..photos.len())];
        let scale = f64::from(photo.width()) / f64::from(SIZE.0);
        let scale = scale.min(f64::from(photo.height()) / f64::from(SIZE.1)) * rng.random_range(0.4..=1.0);
        let (width, height) = ((f64::from(SIZE.0) * scale) as u32, (f64::from(SIZE.1) * scale) as u32);
        let left = rng.random_range(0..=photo.width() - width);
        let top = rng.random_range(0..=photo.height() - height);
        let crop = imageops::crop_imm(photo, left, top, width, height).to_image();
        let mut bytes = Vec::new();
        resize_bilinear(&crop, SIZE.0, SIZE.1)
            .write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, 90))
            .map_err(std::io::Error::other)?;
        fs_err::write(out.join(["land", "water"][i % 2]).join(format!("{i:06}.jpg")), bytes)
    })?;
    Ok(())
}

/// One pass over all pictures.
fn load(folder: &Path, cached: bool) -> Result<serde_json::Value, Box<dyn Error>> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for class in ["land", "water"] {
        for entry in fs_err::read_dir(folder.join(class))? {
            paths.push(entry?.path());
        }
    }
    paths.sort();
    let n = paths.len();
    let prepare = Prepare::square(SIDE, Normalisation::IMAGENET);
    let file = folder.join("bench-224.pack");
    if cached {
        drop(Pack::open_or_build(&file, &paths, &prepare, &mut |_| true)?);
    }
    let clock = Instant::now();
    // Opening is part of what a run waits for: it asks for the length and time of every picture.
    let pack = cached.then(|| Pack::open_or_build(&file, &paths, &prepare, &mut |_| true)).transpose()?.map(Arc::new);
    let opened = clock.elapsed().as_secs_f64();
    let mut batches = Batches::new(paths, prepare, BATCH, AHEAD, pack);
    let (mut seen, mut sum) = (0, 0.0);
    while let Some(batch) = batches.next() {
        let values = batch.map_err(|bad| bad[0].to_string())?;
        seen += values.len() / (3 * (SIDE * SIDE) as usize);
        sum += f64::from(values[0]);
        batches.recycle(values);
    }
    let seconds = clock.elapsed().as_secs_f64();
    assert_eq!(seen, n, "every picture was loaded");
    Ok(serde_json::json!({
        "pictures": n, "seconds": seconds, "opened_seconds": opened, "peak_bytes": peak_memory(), "sum": sum,
    }))
}

/// CelebA's two tables, by the reader of the data set; its pictures are empty files.
fn index() -> Result<serde_json::Value, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let names: Vec<String> = (0..40)
        .map(|i| match i {
            9 => "Blond_Hair".to_owned(),
            20 => "Male".to_owned(),
            other => format!("A{other}"),
        })
        .collect();
    let mut attributes = format!("{CELEBA}\n{}\n", names.join(" "));
    let mut partition = String::new();
    let pictures = folder.path().join("img_align_celeba");
    fs_err::create_dir(&pictures)?;
    for i in 1..=CELEBA {
        write!(attributes, "{i:06}.jpg")?;
        (0..40).for_each(|a| attributes.push_str(if (i + a) % 3 == 0 { "  1" } else { " -1" }));
        attributes.push('\n');
        writeln!(partition, "{i:06}.jpg {}", i % 3)?;
        fs_err::write(pictures.join(format!("{i:06}.jpg")), "")?;
    }
    fs_err::write(folder.path().join("list_attr_celeba.txt"), attributes)?;
    fs_err::write(folder.path().join("list_eval_partition.txt"), partition)?;
    let definition = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/celeba.toml");
    let definition = Definition::read(definition)?;
    let options = ReadOptions { accept_counts: true, allow_empty_groups: true };
    let seconds = (0..5)
        .map(|_| {
            let clock = Instant::now();
            scgs_data::read(&definition, folder.path(), options).map(|_| clock.elapsed().as_secs_f64())
        })
        .collect::<Result<Vec<f64>, _>>()?
        .into_iter()
        .fold(f64::INFINITY, f64::min);
    Ok(serde_json::json!({ "pictures": CELEBA, "seconds": seconds, "peak_bytes": peak_memory() }))
}

/// The largest memory of this process in bytes; `None` where the system does not tell.
fn peak_memory() -> Option<u64> {
    let status = fs_err::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

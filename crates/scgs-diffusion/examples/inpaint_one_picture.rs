//! Repaints the white part of a mask in one picture:
//! `cargo run --release -p scgs-diffusion --example inpaint_one_picture -- picture.png mask.png out.png [background.jpg ..]`
//!
//! With backgrounds their crops are used; without, the colours around the hole go on (Telea's fill). Neither needs a model;
//! `scgs inpaint` does the same with Stable Diffusion. The mask counts as white from the middle grey on.

#![expect(clippy::print_stdout, reason = "a program of its own")]

use image::{GrayImage, Luma};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use scgs_diffusion::{BackgroundCrop, Inpainter, Request, TeleaFill};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [picture, mask, out, backgrounds @ ..] = &arguments[..] else {
        return Err("usage: inpaint_one_picture <picture> <mask> <out.png> [<background> ..]".into());
    };
    let picture = image::open(picture)?.to_rgb8();
    // A mask is black or white: what JPEG or a soft brush left in between is decided here.
    let grey = image::open(mask)?.to_luma8();
    let mask = GrayImage::from_fn(grey.width(), grey.height(), |x, y| {
        Luma([if grey.get_pixel(x, y)[0] > 127 { 255 } else { 0 }])
    });

    let inpainter: Box<dyn Inpainter> = if backgrounds.is_empty() {
        Box::new(TeleaFill { radius: 5 })
    } else {
        let pictures: Result<Vec<_>, _> = backgrounds.iter().map(|b| image::open(b).map(|p| p.to_rgb8())).collect();
        Box::new(BackgroundCrop::new(pictures?, 1.5)?)
    };
    // Every random draw comes from this stream: the same seed paints the same picture.
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let request = Request { picture: &picture, mask: &mask, prompt: "", class: 0 };
    inpainter.inpaint(&request, &mut rng)?.save(out)?;
    println!("{} painted {out}", inpainter.name());
    Ok(())
}

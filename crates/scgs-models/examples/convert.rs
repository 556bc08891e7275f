//! Reads weights from any supported file and writes them as safetensors:
//! `cargo run --release -p scgs-models --example convert -- resnet18 resnet18.pth resnet18.safetensors`

#![expect(clippy::print_stdout, reason = "a program of its own")]

use burn::tensor::Device;
use scgs_models::{Architecture, HeadPolicy, load, save};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [architecture, from, to] = &arguments[..] else {
        return Err("usage: convert <architecture> <from> <to>".into());
    };
    let architecture: Architecture = architecture.parse()?;
    let network = load(architecture, from.as_ref(), None, HeadPolicy::Keep, &Device::flex())?;
    save(&network, to.as_ref())?;
    println!("{architecture} with {} classes: {from} -> {to}", network.classes());
    Ok(())
}

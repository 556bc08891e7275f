//! PyTorch's files of weights: the zip archive and the older plain pickle.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use scgs_diffusion::sd::Embedding;
use scgs_fuzz::Scratch;
use scgs_models::open_tensors;

static PLACE: LazyLock<Scratch> = LazyLock::new(Scratch::new);

fuzz_target!(|data: &[u8]| {
    let path = PLACE.write("model.pth", data);
    match open_tensors(&path) {
        Ok(tensors) => tensors.values().for_each(|tensor| drop(tensor.read().map_err(|error| error.to_string()))),
        Err(error) => drop(error.to_string()),
    }
    drop(Embedding::read(&path, Some("<word>")).map_err(|error| error.to_string()));
});

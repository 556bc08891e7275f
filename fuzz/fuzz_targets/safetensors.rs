//! Files of weights in the safetensors format, tensor by tensor, and as the weights of a network.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use scgs_fuzz::Scratch;
use scgs_models::open_tensors;

static PLACE: LazyLock<Scratch> = LazyLock::new(Scratch::new);

fuzz_target!(|data: &[u8]| {
    match open_tensors(&PLACE.write("model.safetensors", data)) {
        Ok(tensors) => tensors.values().for_each(|tensor| match tensor.read() {
            Ok(values) => assert_eq!(values.len(), tensor.shape().iter().product::<usize>()),
            Err(error) => drop(error.to_string()),
        }),
        Err(error) => drop(error.to_string()),
    }
});

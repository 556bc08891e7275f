//! PNG, JPEG and WebP with their metadata.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use scgs_data::read_rgb;
use scgs_fuzz::Scratch;

static PLACE: LazyLock<Scratch> = LazyLock::new(Scratch::new);

fuzz_target!(
    // The reader turns a decoder's panic into an error; libfuzzer-sys would end the process before that. A panic that
    // nobody catches still ends it.
    init: drop(std::panic::take_hook()),
    |data: &[u8]| {
        match read_rgb(PLACE.write("picture", data)) {
            Ok(picture) => assert!(picture.width() > 0 && picture.height() > 0),
            Err(error) => drop(error.to_string()),
        }
    }
);

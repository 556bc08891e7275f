//! CLIP's tokenizer: vocab.json, a line `====`, merges.txt, `====`, tokenizer_config.json, `====`, a prompt.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use scgs_diffusion::sd::Tokenizer;
use scgs_fuzz::{Scratch, parts};

static PLACE: LazyLock<Scratch> = LazyLock::new(Scratch::new);

fuzz_target!(|data: &[u8]| {
    let [vocab, merges, config, prompt] = parts(data);
    for (name, content) in [("vocab.json", vocab), ("merges.txt", merges), ("tokenizer_config.json", config)] {
        PLACE.write(name, content);
    }
    PLACE.write("special_tokens_map.json", config);
    match Tokenizer::open(PLACE.path()) {
        Ok(mut tokenizer) => {
            let prompt = String::from_utf8_lossy(prompt);
            assert_eq!(tokenizer.encode(&prompt).ids.len(), tokenizer.length());
            drop(tokenizer.add("<word>").map_err(|error| error.to_string()));
            assert_eq!(tokenizer.encode(&format!("<word> {prompt}")).ids.len(), tokenizer.length());
        }
        Err(error) => drop(error.to_string()),
    }
});

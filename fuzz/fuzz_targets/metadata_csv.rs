//! `metadata.csv` of Waterbirds, and a table whose columns a definition names.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use scgs_data::{Definition, ReadOptions, read};
use scgs_fuzz::{Scratch, assert_inside};

const WATERBIRDS: &str = include_str!("../../datasets/waterbirds.toml");
const COLUMNS: &str = r#"
    name = "own"
    title = "A table with columns of its own"
    source = "made for this target"
    licence = "CC0-1.0"
    layout = "metadata"
    columns = { file = "img_filename", label = "y", split = "split", attribute = "place", id = "img_id" }
    classes = ["landbird", "waterbird"]
    attributes = ["land", "water"]
    [prompts]
    landbird = ["a {class}"]
    waterbird = ["a {class}"]
"#;

static PLACE: LazyLock<(Scratch, [Definition; 2])> = LazyLock::new(|| {
    let scratch = Scratch::new();
    // The pictures of the seed; their content is not read here.
    (1..=6).for_each(|i| drop(scratch.write(&format!("a/{i}.jpg"), b"x")));
    let parse = |text| Definition::parse(text, "fuzz.toml".as_ref()).expect("a good definition");
    (scratch, [WATERBIRDS, COLUMNS].map(parse))
});

fuzz_target!(|data: &[u8]| {
    let (scratch, definitions) = &*PLACE;
    scratch.write("metadata.csv", data);
    for definition in definitions {
        let options = ReadOptions { accept_counts: true, allow_empty_groups: true, ..ReadOptions::default() };
        match read(definition, scratch.path(), options) {
            Ok(grouped) => assert_inside(&grouped),
            Err(error) => drop(error.to_string()),
        }
    }
});

//! The description of a data set: what is accepted can be written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use scgs_data::Definition;

fuzz_target!(|text: &str| {
    match Definition::parse(text, "fuzz.toml".as_ref()) {
        Ok(definition) => {
            (0..definition.classes.len()).for_each(|label| drop(definition.prompts_of(label)));
            let written = toml::to_string(&definition).expect("a definition is plain TOML");
            let again =
                Definition::parse(&written, "again.toml".as_ref()).expect("what was accepted is accepted again");
            assert_eq!(again, definition);
        }
        Err(error) => drop(error.to_string()),
    }
});

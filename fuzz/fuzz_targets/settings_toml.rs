//! Settings of a run, as a configuration file and as `--set`.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use scgs_data::Definition;
use scgs_debias::Settings;

static DEFINITION: LazyLock<Definition> = LazyLock::new(|| {
    let text = include_str!("../../datasets/waterbirds.toml");
    Definition::parse(text, "waterbirds.toml".as_ref()).expect("a good definition")
});

fuzz_target!(|text: &str| {
    let file = text.parse::<toml::Table>().ok().map(|table| ("fuzz.toml".to_owned(), table));
    let sets: Vec<String> = text.lines().take(4).map(str::to_owned).collect();
    for (file, sets) in [(file, &[][..]), (None, &sets[..])] {
        match Settings::resolve(&DEFINITION, None, file, sets) {
            // The name of the run's folder follows from it.
            Ok(settings) => assert_eq!(settings.hash(&["fuzz"]).len(), 12),
            Err(error) => drop(error.to_string()),
        }
    }
});

//! Tests of the layers of settings, their checks and their hash.

use std::path::Path;

use scgs_cam::MaskRule;

use super::*;

fn definition(extra: &str) -> Definition {
    let text = format!(
        "name = \"d\"\ntitle = \"t\"\nsource = \"s\"\nlicence = \"l\"\nlayout = \"waterbirds\"\nclasses = [\"a\", \"b\"]\n\
         attributes = [\"x\", \"y\"]\n[prompts]\na = [\"a\"]\nb = [\"b\"]\n{extra}"
    );
    Definition::parse(&text, Path::new("d.toml")).unwrap()
}

#[test]
fn later_layers_win() {
    let d =
        definition("[recipe]\ntrain.c = 0.1\ncluster.k = 5\n[profiles.quick]\ncluster.k = 2\nhabitat.train = 300\n");
    let file = || Some(("c.toml".to_owned(), "habitat.train = 500".parse().unwrap()));
    let sets = ["habitat.train=700".to_owned()];
    let resolve = |profile, file, sets| Settings::resolve(&d, profile, file, sets).unwrap();
    let at = |s: &Settings| (s.train.c, s.cluster.k, s.habitat.train);
    assert_eq!(at(&resolve(None, None, &[])), (0.1, ClusterCount::Fixed(5), 1200));
    assert_eq!(at(&resolve(Some("quick"), None, &[])), (0.1, ClusterCount::Fixed(2), 300));
    assert_eq!(at(&resolve(Some("quick"), file(), &[])), (0.1, ClusterCount::Fixed(2), 500));
    assert_eq!(at(&resolve(Some("quick"), file(), &sets)), (0.1, ClusterCount::Fixed(2), 700));
}

#[test]
fn words_numbers_and_tables_can_be_set() {
    let sets = ["identify.rule=held-out", "cluster.k=auto", "mask.region={ rule = \"otsu\" }", "synthesis.feather=0"]
        .map(str::to_owned);
    let s = Settings::resolve(&definition(""), None, None, &sets).unwrap();
    assert_eq!(s.identify.rule, IdentifyRule::HeldOut);
    assert_eq!(s.cluster.k, ClusterCount::Chosen(Auto::Auto));
    assert_eq!(s.mask.region, MaskRule::Otsu);
    assert_eq!(s.synthesis.feather, 0.0);
}

#[test]
fn every_problem_is_listed_with_its_range() {
    let settings = Settings {
        identify: IdentifySettings { folds: 1, c: f64::NAN, ..IdentifySettings::default() },
        mask: MaskSettings { min_area: 0.5, max_area: 0.4, ..MaskSettings::default() },
        jtt: JttSettings { upweight: 0 },
        ..Settings::default()
    };
    let message = settings.check().unwrap_err().to_string();
    for part in [
        "4 setting(s) cannot be used",
        "identify.folds is 1, expected 2 to 20",
        "identify.c is NaN, expected a number above 0",
        "mask.max_area is 0.4, expected above mask.min_area, at most 1",
        "jtt.upweight is 0, expected 1 to 1000000",
    ] {
        assert!(message.contains(part), "{part} in {message}");
    }
}

#[test]
fn a_method_may_have_training_settings_of_its_own() {
    let d = definition("[profiles.paper.methods.jtt]\nlearning_rate = 1e-5\nweight_decay = 1.0\n");
    let s = Settings::resolve(&d, Some("paper"), None, &["methods.jtt.epochs=3".to_owned()]).unwrap();
    let jtt = s.train_for(Method::Jtt);
    assert_eq!((jtt.learning_rate, jtt.weight_decay, jtt.epochs), (1e-5, 1.0, 3));
    assert_eq!(TrainSettings { learning_rate: 1e-3, weight_decay: 1e-4, epochs: 10, ..jtt }, s.train);
    assert_eq!(s.train_for(Method::Erm), s.train);
    let base = Settings::default();
    assert_ne!(s.hash(&["d"]), base.hash(&["d"]));
    let sets = ["methods.erm.epochs=0", "methods.jtt.learning_rate=-1", "methods.jt.momentum=1"].map(str::to_owned);
    let message = Settings::resolve(&d, None, None, &sets).unwrap_err().to_string();
    for part in ["5 setting(s)", "methods is erm", "methods is jt,", "epochs is 0", "rate is -1", "momentum is 1"] {
        assert!(message.contains(part), "{part} in {message}");
    }
}

#[test]
fn every_shipped_profile_can_be_used_and_has_the_published_numbers() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets");
    let mut profiles = 0;
    for entry in fs_err::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "toml") {
            let definition = Definition::read(&path).unwrap();
            for profile in definition.profiles.keys() {
                Settings::resolve(&definition, Some(profile), None, &[]).unwrap();
                profiles += 1;
            }
        }
    }
    assert!(profiles >= 10, "{profiles}");
    let paper = |name: &str| {
        let definition = Definition::read(folder.join(name)).unwrap();
        Settings::resolve(&definition, Some("paper"), None, &[]).unwrap()
    };
    let (waterbirds, celeba) = (paper("waterbirds.toml"), paper("celeba.toml"));
    let of = |s: &Settings, method| {
        let t = s.train_for(method);
        (t.epochs, t.batch, t.learning_rate, t.weight_decay)
    };
    assert_eq!(of(&waterbirds, Method::Erm), (300, 64, 1e-3, 1e-4));
    assert_eq!(of(&waterbirds, Method::Jtt), (300, 64, 1e-5, 1.0));
    assert_eq!(of(&waterbirds, Method::Dfr), (100, 32, 1e-3, 1e-3));
    assert_eq!((waterbirds.jtt.upweight, waterbirds.identify.epoch, waterbirds.cnc.samples), (100, 60, 17));
    assert_eq!(of(&celeba, Method::Jtt), (50, 128, 1e-5, 0.1));
    assert_eq!(of(&celeba, Method::Afr), (20, 100, 3e-3, 1e-4));
    assert_eq!((celeba.jtt.upweight, celeba.identify.epoch, celeba.afr.gamma), (50, 1, 1.44));
}

#[test]
fn the_message_names_the_layer_that_is_wrong() {
    let wrong = |profile, file: Option<(String, toml::Table)>, sets: &[String]| {
        let d = definition("[profiles.broken]\ntrain.cc = 1\n");
        Settings::resolve(&d, profile, file, sets).unwrap_err().to_string()
    };
    assert!(wrong(Some("broken"), None, &[]).starts_with("[profiles.broken] of data set d"));
    assert!(wrong(None, Some(("my.toml".into(), "x = 1".parse().unwrap())), &[]).starts_with("my.toml: "));
    assert!(wrong(None, None, &["train.c=\"high\"".into()]).starts_with("--set train.c="));
    assert!(wrong(None, None, &["train".into()]).contains("expected section.key=value"));
    assert!(wrong(Some("slow"), None, &[]).contains("it has: broken"));
}

#[test]
fn the_hash_changes_with_every_part_and_nothing_else() {
    let base = Settings::default();
    let hash = base.hash(&["d", "flex"]);
    assert_eq!(hash, Settings::default().hash(&["d", "flex"]));
    assert_eq!(hash.len(), 12);
    assert_ne!(hash, base.hash(&["d", "tch"]));
    assert_ne!(hash, base.hash(&["df", "lex"]), "parts are kept apart");
    let often = CheckpointSettings { every: 1, keep: 9 };
    assert_eq!(hash, Settings { checkpoint: often, ..Settings::default() }.hash(&["d", "flex"]), "changes no result");
    let other = Settings { jtt: JttSettings { upweight: 21 }, ..Settings::default() };
    assert_ne!(hash, other.hash(&["d", "flex"]));
}

/// Runs are named by what differs from the defaults. Whoever changes a default value raises `FORMAT` in pipeline.rs, or
/// finished runs would pass for runs with the new value; a new setting needs only the new text here.
#[test]
fn the_defaults_belong_to_the_format_of_runs() {
    let text = toml::to_string(&Settings::default()).unwrap();
    let expected = include_str!("defaults.toml");
    assert_eq!(
        text, expected,
        "raise FORMAT in pipeline.rs if a value has changed, then put this text into settings/defaults.toml"
    );
}

#[test]
fn a_hash_depends_on_what_differs_from_the_defaults_and_on_nothing_else() {
    let default = Settings::default();
    let mut other = default.clone();
    other.synthesis.filter.unchanged = Some(0.1);
    other.mask.region = scgs_cam::MaskRule::Quantile { share: 0.3 };
    let table = |s: &Settings| toml::Table::try_from(s).unwrap();
    let found = super::differences(&table(&other), &table(&default));
    assert_eq!(found["synthesis"]["filter"]["unchanged"].as_float(), Some(0.1));
    assert_eq!(found["mask"]["region"]["rule"].as_str(), Some("quantile"));
    assert_eq!(found.len(), 2, "{found}");
    let back = super::differences(&table(&default), &table(&other));
    assert_eq!(back["synthesis"]["filter"]["unchanged"].as_str(), Some("(unset)"));
    assert_ne!(default.hash(&["a"]), other.hash(&["a"]));
    assert_ne!(default.hash(&["a"]), default.hash(&["b"]));
}

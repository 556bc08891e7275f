//! The composer on the real pack and on damaged ones.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use sha2::{Digest, Sha256};

use super::{pack::Role, plan::Planned, *};
use crate::{Definition, Grouped, ReadOptions, Split, read, read_rgb};

fn datasets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets")
}

fn pack() -> Pack {
    Pack::read(&datasets().join("habitat")).unwrap()
}

fn definition() -> Definition {
    Definition::read(datasets().join("habitat.toml")).unwrap()
}

fn small() -> HabitatConfig {
    HabitatConfig { size: 48, train: 60, val: 9, test: 14, correlation: 0.8, ..HabitatConfig::default() }
}

fn composed(config: &HabitatConfig, seed: u64) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    compose(&datasets().join("habitat"), folder.path(), config, seed, &|_, _| ()).unwrap();
    folder
}

fn planned(config: &HabitatConfig, seed: u64) -> (Pack, Vec<Planned>) {
    let pack = pack();
    let sources = split::split(&pack, seed).unwrap();
    let plan = plan::biased(&pack, &sources, config, seed).unwrap();
    (pack, plan)
}

fn group_sizes(grouped: &Grouped, split: Split) -> Vec<usize> {
    grouped.counts(split).groups.iter().map(|group| group.n).collect()
}

/// sha256 of every file below `folder`, by relative path.
fn hashes(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs_err::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().display().to_string();
                let hash = Sha256::digest(fs_err::read(&path).unwrap());
                found.insert(name, hash.iter().map(|byte| format!("{byte:02x}")).collect());
            }
        }
    }
    found
}

#[test]
fn every_split_takes_its_share_of_every_kind() {
    for seed in 0..20 {
        let sources = split::split(&pack(), seed).unwrap();
        let sizes = |role| Split::ALL.map(|split| sources.of(split, role).len());
        assert_eq!(sizes(Role::Foreground(1)), [27, 6, 13]);
        assert_eq!(sizes(Role::Foreground(0)), [45, 9, 21]);
        assert_eq!(sizes(Role::Background(1)), [25, 5, 13]);
        assert_eq!(sizes(Role::Background(0)), [52, 10, 25]);
    }
}

#[test]
fn no_photo_is_in_two_splits() {
    let shared = pack();
    let mut families = BTreeSet::new();
    for seed in 0..20 {
        let sources = split::split(&shared, seed).unwrap();
        let mut home: BTreeMap<&(String, String), Split> = BTreeMap::new();
        for split in Split::ALL {
            for item in Role::ALL.into_iter().flat_map(|role| sources.of(split, role)) {
                let source = &shared.items[*item].source;
                if let Some(first) = home.insert(source, split) {
                    assert_eq!(first, split, "seed {seed}: {source:?}");
                    families.insert(source.1.clone());
                }
            }
        }
    }
    // The check above saw photos that several cut-outs or backgrounds come from.
    assert!(families.contains("erase/swans.webp") && families.len() == 5, "{families:?}");
}

#[test]
fn the_core_is_in_train_for_every_seed() {
    let pack = pack();
    let core = split::core(&pack);
    assert_eq!(core.each_ref().map(Vec::len), [30, 18, 34, 17], "two fifths of 75, 46, 87 and 43");
    for seed in 0..20 {
        let sources = split::split(&pack, seed).unwrap();
        for role in Role::ALL {
            let train: BTreeSet<usize> = sources.of(Split::Train, role).iter().copied().collect();
            assert!(core[role.position()].iter().all(|item| train.contains(item)), "seed {seed}, {role:?}");
        }
    }
    let read = super::core(&datasets().join("habitat")).unwrap();
    assert_eq!((read.backgrounds.len(), read.cutouts.each_ref().map(Vec::len)), (51, [30, 18]));
}

#[test]
fn seeds_change_the_split() {
    let birds = |seed| split::split(&pack(), seed).unwrap().of(Split::Train, Role::Foreground(1)).to_vec();
    assert_ne!(birds(1).into_iter().collect::<BTreeSet<_>>(), birds(2).into_iter().collect());
}

#[test]
fn aliens_occur_only_on_the_other_background_and_all_others_on_their_own() {
    let (pack, plan) = planned(&HabitatConfig::default(), 3);
    let train: Vec<&Planned> = plan.iter().filter(|p| p.split == Split::Train).collect();
    for (label, aliens) in [(0, 11), (1, 7)] {
        let of = |alien| {
            let chosen = train.iter().filter(move |p| p.label == label && p.alien == alien);
            chosen.map(|p| p.foreground).collect::<BTreeSet<_>>()
        };
        // A quarter of 45 mammals and of 27 birds.
        assert_eq!(of(true).len(), aliens);
        assert!(of(true).is_disjoint(&of(false)));
    }
    assert!(train.iter().all(|p| p.alien == (p.place != p.label)));
    assert!(plan.iter().all(|p| p.split == Split::Train || !p.alien));
    for p in &plan {
        assert_eq!(pack.items[p.foreground].role, Role::Foreground(p.label));
        assert_eq!(pack.items[p.background].role, Role::Background(p.place));
    }
}

#[test]
fn without_aliens_cut_outs_occur_on_both_backgrounds() {
    let config = HabitatConfig { alien_share: 0.0, correlation: 0.5, ..HabitatConfig::default() };
    let (_, plan) = planned(&config, 3);
    let birds_on = |place| {
        let chosen = plan.iter().filter(|p| p.split == Split::Train && p.label == 1 && p.place == place);
        chosen.map(|p| p.foreground).collect::<BTreeSet<_>>()
    };
    assert_eq!(birds_on(0).len(), 27);
    assert_eq!(birds_on(0), birds_on(1));
    assert!(plan.iter().all(|p| !p.alien));
}

#[test]
fn cut_outs_are_used_about_equally_often() {
    let (_, plan) = planned(&HabitatConfig::default(), 5);
    for split in Split::ALL {
        for (label, alien) in [(0, false), (0, true), (1, false), (1, true)] {
            let mut uses: BTreeMap<usize, usize> = BTreeMap::new();
            for p in plan.iter().filter(|p| p.split == split && p.label == label && p.alien == alien) {
                *uses.entry(p.foreground).or_default() += 1;
            }
            if let (Some(least), Some(most)) = (uses.values().min(), uses.values().max()) {
                assert!(most - least <= 1, "{split} {label} {alien}: {least}..{most}");
            }
        }
    }
}

#[test]
fn the_default_has_the_promised_group_sizes() {
    let (_, plan) = planned(&HabitatConfig::default(), 1);
    let sizes = Split::ALL.map(|split| {
        let mut sizes = [0; 4];
        plan.iter().filter(|p| p.split == split).for_each(|p| sizes[p.label * 2 + p.place] += 1);
        sizes
    });
    assert_eq!(sizes, [[570, 30, 30, 570], [100; 4], [200; 4]]);
    let ids: Vec<u64> = plan.iter().map(|p| p.id).collect();
    assert_eq!(ids, (1..=2400).collect::<Vec<u64>>());
}

#[test]
fn a_composed_folder_is_read_by_the_reader_of_waterbirds() {
    let folder = composed(&small(), 11);
    let grouped = read(&definition(), folder.path(), ReadOptions::default()).unwrap();
    assert_eq!(group_sizes(&grouped, Split::Train), [24, 6, 6, 24]);
    assert_eq!(group_sizes(&grouped, Split::Val), [3, 2, 2, 2]);
    assert_eq!(group_sizes(&grouped, Split::Test), [4, 4, 3, 3]);
    let table = fs_err::read_to_string(folder.path().join("metadata.csv")).unwrap();
    assert_eq!(table.lines().next(), Some("img_id,img_filename,y,split,place,place_filename"));
    let files = hashes(folder.path());
    let below = |prefix: &str| files.keys().filter(|name| name.starts_with(prefix)).count();
    assert_eq!(["masks/", "backgrounds/train/", "train/", "val/", "test/"].map(below), [83, 77, 60, 9, 14]);
    for sample in &grouped.index().samples {
        assert_eq!(read_rgb(grouped.index().absolute(sample)).unwrap().dimensions(), (48, 48));
    }
    assert_eq!(files["done"], files["composition.json"]);
}

#[test]
fn objects_are_as_small_as_asked_for() {
    let config = HabitatConfig { size: 128, train: 40, object_area: (0.05, 0.08), ..small() };
    let folder = composed(&config, 2);
    for id in 1..=40 {
        let mask = image::open(folder.path().join(format!("masks/{id}.png"))).unwrap().into_luma8();
        let area = mask.pixels().map(|p| f64::from(p.0[0]) / 255.0).sum::<f64>() / f64::from(128 * 128);
        assert!((0.045..0.085).contains(&area), "{id}: area {area:.3}");
    }
}

#[test]
fn objects_cover_what_they_should_and_lie_inside() {
    let folder = composed(&HabitatConfig { size: 128, train: 80, val: 40, test: 40, correlation: 0.9, ..small() }, 2);
    for id in 1..=160 {
        let mask = image::open(folder.path().join(format!("masks/{id}.png"))).unwrap().into_luma8();
        let area = mask.pixels().map(|p| f64::from(p.0[0]) / 255.0).sum::<f64>() / f64::from(128 * 128);
        let solid: Vec<(u32, u32)> =
            mask.enumerate_pixels().filter(|(.., p)| p.0[0] >= 128).map(|(x, y, _)| (x, y)).collect();
        let across = solid.iter().map(|p| p.0).max().unwrap() - solid.iter().map(|p| p.0).min().unwrap() + 1;
        let down = solid.iter().map(|p| p.1).max().unwrap() - solid.iter().map(|p| p.1).min().unwrap() + 1;
        // Only an object as long as the frame may be smaller than wanted.
        let capped = across.max(down) >= 118;
        assert!(area <= 0.345 && (area >= 0.095 || capped), "{id}: area {area:.3}, {across} x {down}");
        assert_eq!(mask.pixels().map(|p| p.0[0]).max(), Some(255), "{id}");
        // Whole objects: hardly any of their outline is cut by the frame.
        let cut = solid.iter().filter(|p| p.0 == 0 || p.1 == 0 || p.0 == 127 || p.1 == 127).count();
        assert!(cut <= 24, "{id}: {cut} pixels on the frame");
    }
}

/// Same seed, same bytes, on any number of threads; another seed, other pictures.
#[test]
fn composition_is_deterministic() {
    let on = |threads: usize, seed| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| hashes(composed(&small(), seed).path()))
    };
    let one = on(1, 11);
    assert_eq!(one, on(2, 11));
    assert_ne!(one["metadata.csv"], on(1, 12)["metadata.csv"]);
    // These change only together with `RULES` in write.rs: published results were made from such pictures. Pixels are
    // compared, not files, because a new version of the PNG encoder may compress differently.
    let folder = composed(&small(), 11);
    let short =
        |bytes: &[u8]| Sha256::digest(bytes).iter().take(6).map(|byte| format!("{byte:02x}")).collect::<String>();
    let table = |name| short(&fs_err::read(folder.path().join(name)).unwrap());
    assert_eq!(["metadata.csv", "sources.csv"].map(table), ["537bcbad8fa1", "8e8aeb6ff9c8"]);
    let index = read(&definition(), folder.path(), ReadOptions::default()).unwrap().index().clone();
    let picture = |position: usize| short(read_rgb(index.absolute(&index.samples[position])).unwrap().as_raw());
    assert_eq!(
        [0, 20, 40, 62, 82].map(picture),
        ["28f570be96ba", "2ad783280e72", "6c4a77a37643", "385d833fd200", "7c6a5c11e332"]
    );
}

#[test]
fn a_finished_folder_is_kept_and_an_interrupted_one_completed() {
    let pack = datasets().join("habitat");
    let folder = composed(&small(), 4);
    let whole = hashes(folder.path());
    compose(&pack, folder.path(), &small(), 4, &|_, _| unreachable!("nothing is to be done")).unwrap();
    fs_err::remove_file(folder.path().join("done")).unwrap();
    fs_err::remove_file(folder.path().join("metadata.csv")).unwrap();
    fs_err::remove_dir_all(folder.path().join("masks")).unwrap();
    let calls = std::sync::Mutex::new(Vec::new());
    compose(&pack, folder.path(), &small(), 4, &|done, total| calls.lock().unwrap().push((done, total))).unwrap();
    assert_eq!(hashes(folder.path()), whole);
    let mut calls = calls.into_inner().unwrap();
    assert_eq!(calls[0], (0, 83));
    calls.sort_unstable();
    assert_eq!(calls, (0..=83).map(|done| (done, 83)).collect::<Vec<_>>());
}

#[test]
fn another_composition_or_foreign_files_are_not_overwritten() {
    let pack = datasets().join("habitat");
    let refusal = |folder: &Path, config: &HabitatConfig, seed| {
        compose(&pack, folder, config, seed, &|_, _| ()).unwrap_err().to_string()
    };
    let folder = composed(&small(), 4);
    let before = hashes(folder.path());
    let text = refusal(folder.path(), &small(), 5);
    assert!(
        text.contains("holds another composition") && text.contains("\"seed\": 4") && text.contains("\"seed\": 5"),
        "{text}"
    );
    assert!(refusal(folder.path(), &HabitatConfig { train: 62, ..small() }, 4).contains("\"train\": 62"));
    let balanced = compose_balanced_train(&pack, folder.path(), &small(), 4, &|_, _| ()).unwrap_err();
    assert!(balanced.to_string().contains("balanced-train"), "{balanced}");
    assert_eq!(hashes(folder.path()), before);
    let foreign = tempfile::tempdir().unwrap();
    fs_err::write(foreign.path().join("thesis.tex"), "x").unwrap();
    assert!(refusal(foreign.path(), &small(), 4).contains("holds `thesis.tex` and no composition.json"));
}

#[test]
fn the_balanced_set_has_the_same_training_photos_and_no_others() {
    let pack = datasets().join("habitat");
    let folder = tempfile::tempdir().unwrap();
    compose_balanced_train(&pack, folder.path(), &small(), 11, &|_, _| ()).unwrap();
    let options = ReadOptions { allow_empty_groups: true, ..ReadOptions::default() };
    let grouped = read(&definition(), folder.path(), options).unwrap();
    assert_eq!(group_sizes(&grouped, Split::Train), [15; 4]);
    assert_eq!(grouped.index().samples.len(), 60);
    assert!(!folder.path().join("backgrounds").exists());
    let read = Pack::read(&pack).unwrap();
    let sources = split::split(&read, 11).unwrap();
    let train: BTreeSet<&str> = Role::ALL
        .into_iter()
        .flat_map(|role| sources.of(Split::Train, role))
        .map(|&item| read.items[item].file.as_str())
        .collect();
    let table = fs_err::read_to_string(folder.path().join("sources.csv")).unwrap();
    for line in table.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        assert!(train.contains(fields[1]) && train.contains(fields[2]) && fields[3] == "0", "{line}");
    }
}

#[test]
fn impossible_settings_are_refused_with_their_ranges() {
    let message = |config: HabitatConfig| config.check().unwrap_err().to_string();
    let default = HabitatConfig::default;
    HabitatConfig::default().check().unwrap();
    assert!(message(HabitatConfig { size: 31, ..default() }).contains("size is 31, expected 32..=512"));
    assert!(message(HabitatConfig { val: 3, ..default() }).contains("val is 3, expected 4..=30000"));
    assert!(message(HabitatConfig { correlation: 0.4, ..default() }).contains("correlation is 0.4, expected 0.5..=1"));
    assert!(message(HabitatConfig { correlation: f64::NAN, ..default() }).contains("correlation is NaN"));
    assert!(message(HabitatConfig { correlation: 1.0, ..default() }).contains("leaves a group empty"));
    assert!(message(HabitatConfig { train: 8, ..default() }).contains("leaves a group empty"));
    assert!(
        message(HabitatConfig { alien_share: 0.95, ..default() }).contains("alien_share is 0.95, expected 0..=0.9")
    );
    let area = message(HabitatConfig { object_area: (0.3, 0.1), ..default() });
    assert!(area.contains("object_area is [0.3, 0.1], expected 0.02 <= least <= largest <= 0.5"), "{area}");
    let all = message(HabitatConfig { size: 0, train: 0, correlation: 2.0, ..default() });
    assert_eq!(all.lines().count(), 4, "{all}");
    let unknown = toml::from_str::<HabitatConfig>("sise = 64").unwrap_err().to_string();
    assert!(unknown.contains("sise") && unknown.contains("`size`"), "{unknown}");
    assert_eq!(toml::from_str::<HabitatConfig>("size = 64").unwrap(), HabitatConfig { size: 64, ..default() });
}

/// A copy of the pack, changed.
fn damaged(change: impl FnOnce(&Path)) -> String {
    let source = datasets().join("habitat");
    let folder = tempfile::tempdir().unwrap();
    for role in Role::ALL {
        fs_err::create_dir_all(folder.path().join(role.folder())).unwrap();
    }
    for item in &pack().items {
        fs_err::copy(source.join(&item.file), folder.path().join(&item.file)).unwrap();
    }
    fs_err::copy(source.join("MANIFEST.tsv"), folder.path().join("MANIFEST.tsv")).unwrap();
    change(folder.path());
    let out = tempfile::tempdir().unwrap();
    let error = compose(folder.path(), out.path(), &small(), 1, &|_, _| ()).unwrap_err();
    error.to_string().replace(&folder.path().display().to_string(), "PACK")
}

fn edit_manifest(folder: &Path, edit: impl FnOnce(String) -> String) {
    let path = folder.join("MANIFEST.tsv");
    let text = fs_err::read_to_string(&path).unwrap();
    fs_err::write(&path, edit(text)).unwrap();
}

#[test]
fn a_damaged_pack_is_named() {
    let no_manifest = damaged(|pack| fs_err::remove_file(pack.join("MANIFEST.tsv")).unwrap());
    assert!(no_manifest.starts_with("PACK/MANIFEST.tsv: not found"), "{no_manifest}");
    let no_file = damaged(|pack| fs_err::remove_file(pack.join("fg/bird/crow.png")).unwrap());
    assert!(no_file.starts_with("PACK/fg/bird/crow.png: cannot be read"), "{no_file}");
    let other_size =
        damaged(|pack| fs_err::copy(pack.join("fg/bird/owl.png"), pack.join("fg/bird/crow.png")).map(drop).unwrap());
    assert!(other_size.starts_with("PACK/fg/bird/crow.png: is ("), "{other_size}");
    let no_column = damaged(|pack| edit_manifest(pack, |text| text.replacen("package", "origin", 1)));
    assert!(no_column.contains("line 1: expected the columns file, size, package, source_path"), "{no_column}");
    let outside = damaged(|pack| edit_manifest(pack, |text| text.replacen("fg/bird/", "fg/bird/../../../", 1)));
    assert!(outside.contains("line 2: `fg/bird/../../../"), "{outside}");
    let few = damaged(|pack| {
        edit_manifest(pack, |text| {
            let mut birds = 0;
            let keep = |line: &&str| {
                !line.starts_with("fg/bird/") || {
                    birds += 1;
                    birds <= 3
                }
            };
            text.lines().filter(keep).fold(String::new(), |text, line| text + line + "\n")
        });
    });
    assert!(few.contains("3 picture(s) in fg/bird leave none for the val split"), "{few}");
}

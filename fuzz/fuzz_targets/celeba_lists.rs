//! CelebA's tables, `.txt` and `.csv`: the attributes, a line `====`, the splits.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use scgs_data::{Definition, ReadOptions, read};
use scgs_fuzz::{Scratch, assert_inside, parts};

static PLACE: LazyLock<(Scratch, Definition)> = LazyLock::new(|| {
    let scratch = Scratch::new();
    (1..=6).for_each(|i| drop(scratch.write(&format!("img_align_celeba/00000{i}.jpg"), b"x")));
    let text = include_str!("../../datasets/celeba.toml");
    (scratch, Definition::parse(text, "celeba.toml".as_ref()).expect("a good definition"))
});

fuzz_target!(|data: &[u8]| {
    let (scratch, definition) = &*PLACE;
    let [attributes, partition] = parts(data);
    for [extension, other] in [["txt", "csv"], ["csv", "txt"]] {
        for (stem, content) in [("list_attr_celeba", attributes), ("list_eval_partition", partition)] {
            scratch.remove(&format!("{stem}.{other}"));
            scratch.write(&format!("{stem}.{extension}"), content);
        }
        let options = ReadOptions { accept_counts: true, allow_empty_groups: true, ..ReadOptions::default() };
        match read(definition, scratch.path(), options) {
            Ok(grouped) => assert_inside(&grouped),
            Err(error) => drop(error.to_string()),
        }
    }
});

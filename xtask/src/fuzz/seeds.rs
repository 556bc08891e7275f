//! Good inputs to start from: files of the repository, and those in `fuzz/seeds`.

use std::path::{Path, PathBuf};

use super::Target;

/// A larger file makes every execution slow and teaches nothing that a smaller one does not.
const LARGEST: u64 = 20_000;
/// As in `fuzz/src/lib.rs`: between the files of a target that reads several.
const SEPARATOR: &str = "\n====\n";
/// The prompt that goes with each tokenizer.
const PROMPT: &str = "a photo of a bird's <|endoftext|> n\u{e4}st \u{1f426} \u{9ce5}";

/// A convolution of each way.
const CONVOLUTIONS: [(&str, [u8; 11]); 6] = [
    ("winograd", [1, 0, 23, 17, 13, 13, 2, 0, 0, 0, 1]),
    ("pointwise", [2, 0, 20, 12, 15, 15, 0, 0, 0, 0, 2]),
    ("direct", [1, 0, 2, 9, 29, 30, 6, 4, 0, 0, 3]),
    ("per-channel", [2, 1, 7, 0, 19, 36, 2, 0, 0, 0, 4]),
    ("per-channel-halved", [2, 1, 5, 0, 22, 35, 4, 4, 0, 0, 5]),
    ("columns", [1, 6, 4, 5, 11, 12, 7, 5, 7, 13, 6]),
];

/// Fills `into` and says how many there are.
pub(super) fn plant(root: &Path, target: Target, into: &Path) -> anyhow::Result<usize> {
    let fixtures = root.join("tests/fixtures");
    let mut files = Vec::new();
    let mut add = |folder: PathBuf, wanted: &dyn Fn(&str) -> bool| -> anyhow::Result<()> {
        if !folder.is_dir() {
            return Ok(());
        }
        for entry in fs_err::read_dir(folder)? {
            let entry = entry?;
            let small = entry.metadata().is_ok_and(|data| data.is_file() && data.len() <= LARGEST);
            if small && wanted(&entry.file_name().to_string_lossy()) {
                files.push(entry.path());
            }
        }
        Ok(())
    };
    let ends = |endings: &'static [&'static str]| move |name: &str| endings.iter().any(|end| name.ends_with(end));
    add(root.join("fuzz/seeds").join(target.name()), &|_| true)?;
    match target {
        Target::MetadataCsv | Target::CelebaLists => {}
        Target::Convolution => {
            // Images, kind, channels, outputs, height, width, kernel, strides, padding, salt.
            for (name, shape) in CONVOLUTIONS {
                fs_err::write(into.join(name), shape)?;
            }
        }
        Target::DefinitionToml => add(root.join("datasets"), &ends(&[".toml"]))?,
        Target::SettingsToml => {
            add(root.join("datasets/suites"), &ends(&[".toml"]))?;
            add(root.join("crates/scgs-debias/src/settings"), &ends(&[".toml"]))?;
        }
        Target::Picture => {
            add(fixtures.join("pixels"), &ends(&[".png", ".jpg", ".webp"]))?;
            add(fixtures.join("inpaint"), &ends(&["mask.png"]))?;
        }
        Target::Safetensors => add(fixtures.join("diffusion"), &ends(&[".safetensors"]))?,
        Target::Pickle => {
            add(fixtures.join("models"), &ends(&[".pth"]))?;
            add(fixtures.join("diffusion"), &ends(&[".pt", ".bin"]))?;
        }
        Target::Tokenizer => {
            for model in ["four", "sd15", "sd2"] {
                let folder = fixtures.join("diffusion/models").join(model).join("tokenizer");
                let mut text = String::new();
                for name in ["vocab.json", "merges.txt", "tokenizer_config.json"] {
                    text += &fs_err::read_to_string(folder.join(name))?;
                    text += SEPARATOR;
                }
                fs_err::write(into.join(model), text + PROMPT)?;
            }
        }
    }
    for file in files {
        let name = file.file_name().expect("a file of a folder has a name");
        fs_err::copy(&file, into.join(name))?;
    }
    Ok(fs_err::read_dir(into)?.count())
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn every_target_has_seeds() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is in the workspace");
        for &target in Target::value_variants() {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let planted = plant(root, target, folder.path()).expect("seeds are readable");
            assert!(planted >= 2, "{target:?}: {planted}");
        }
    }
}

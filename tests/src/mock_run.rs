//! A run's folder as `scgs run` leaves it, written in a second: for tests of what reads it.

use std::{
    fmt::Write as _,
    io,
    path::{Path, PathBuf},
};

use image::{GrayImage, Luma, Rgb, RgbImage};
use serde_json::json;

/// Ids of new pictures start here.
const FIRST_NEW: u64 = 1 << 40;
/// Sides of the pictures in pixels.
const SIDE: u32 = 16;

/// What the folder holds.
#[derive(Debug, Clone)]
pub struct MockRun {
    /// Names of the two classes; a test may put markup into them.
    pub classes: [String; 2],
    /// Repainted mistakes, half per class.
    pub sources: u64,
    /// New pictures, in turn from the sources; every tenth is dropped.
    pub pictures: u64,
    /// Why it was dropped.
    pub reason: String,
    /// Seconds, commands and labels that a run of an earlier version does not have.
    pub extras: bool,
}

impl Default for MockRun {
    fn default() -> Self {
        Self {
            classes: ["mammal".into(), "bird".into()],
            sources: 40,
            pictures: 100,
            reason: "nothing changed".into(),
            extras: true,
        }
    }
}

/// The cluster of a source.
fn cluster(id: u64) -> u64 {
    (id / 2) % 3
}

/// The attribute of a picture: every fourth is on the other background.
fn attribute(id: u64) -> u64 {
    u64::from(id % 4 == 1)
}

impl MockRun {
    /// Writes `<parent>/habitat/0123456789ab` with one seed and returns that folder.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(&self, parent: &Path) -> io::Result<PathBuf> {
        let run = parent.join("habitat").join("0123456789ab");
        let seed = run.join("seed-0");
        let stages = ["1-erm", "2-errors", "3-clusters", "4-masks", "5-synthesis/images", "6-erm", "6-scgs", "7-chain"];
        for stage in stages {
            fs_err::create_dir_all(seed.join(stage))?;
        }
        for stage in stages.map(|stage| stage.trim_end_matches("/images")) {
            fs_err::write(seed.join(stage).join("done"), "done\n")?;
        }
        let results = serde_json::to_string_pretty(&self.results())?;
        for folder in [&run, &seed] {
            fs_err::write(folder.join("results.json"), &results)?;
        }
        let config = "[identify]\nrule = \"background\"\n\n[mask]\nrepaint = \"attended\"\n";
        fs_err::write(seed.join("config.toml"), config)?;
        let environment = json!({ "scgs": "0.1.0", "device": "flex", "weights_sha256": null });
        fs_err::write(seed.join("environment.json"), environment.to_string())?;
        let diagnostics = json!({
            "train_counts": [95, 5, 5, 95], "error_set": { "size": self.sources, "precision": 0.8, "recall": 0.5 },
            "cluster_purity": 0.9, "mask_iou": 0.6, "random_mask_iou": 0.2,
        });
        fs_err::write(seed.join("diagnostics.json"), diagnostics.to_string())?;
        self.sources_of(&seed)?;
        self.pictures_of(&seed)?;
        self.tested(&seed)?;
        if self.extras {
            let history = json!({
                "schema": 1, "commands": ["scgs run --dataset habitat"], "seconds": { "1-erm": 21.5, "4-masks": 60.0 },
            });
            fs_err::write(seed.join("history.json"), history.to_string())?;
        } else {
            fs_err::remove_dir_all(seed.join("7-chain"))?;
        }
        Ok(run)
    }

    fn results(&self) -> serde_json::Value {
        let row = |method: &str, correct: [u64; 4], oracle: bool| {
            let groups: Vec<_> = (0..4)
                .map(|g: u64| json!({ "label": g / 2, "attribute": g % 2, "n": 10, "correct": correct[g as usize] }))
                .collect();
            let plain = correct.iter().sum::<u64>() as f64 / 40.0;
            let worst = correct.iter().min().copied().unwrap_or_default() as f64 / 10.0;
            json!({
                "method": method, "seed": 0, "groups": groups, "plain": plain, "train_weighted": plain, "group_mean": plain,
                "worst_group": worst, "validation": { "n": 40, "plain": 0.9, "worst_class": 0.8 },
                "sees_groups": { "training": oracle, "selection": false }, "selection": "last", "selected": [],
                "measures": {
                    "per_class": [0.9, 0.9], "auroc": 0.95, "f1": 0.9, "ece": 0.05, "brier": 0.1,
                    "plain_interval": [0.8, 0.95], "worst_group_interval": [0.5, 0.9],
                },
            })
        };
        json!({
            "schema": 1, "dataset": "habitat", "classes": self.classes, "attributes": ["land", "water"],
            "rows": [
                row("erm", [10, 7, 6, 10], false), row("scgs", [9, 9, 8, 9], false),
                row("oracle-reweight", [9, 9, 9, 9], true),
            ],
        })
    }

    fn sources_of(&self, seed: &Path) -> io::Result<()> {
        let mut predictions = String::from("id,label,predicted,confidence\n");
        let mut clusters = String::from("id,label,cluster,distance,x,y\n");
        let mut masks = String::from("id,target,area,skipped\n");
        let mut looked = String::from("id,label\n");
        for id in 0..self.sources {
            let (label, wrong) = (id % 2, 1 - id % 2);
            writeln!(predictions, "{id},{label},{wrong},0.7").unwrap_or_default();
            writeln!(clusters, "{id},{label},{},{},{},{}", cluster(id), id, id % 7, id % 5).unwrap_or_default();
            writeln!(masks, "{id},{label},0.25,").unwrap_or_default();
            let colour = Rgb([(id * 5 % 256) as u8, 120, (id * 11 % 256) as u8]);
            let picture = RgbImage::from_pixel(SIDE, SIDE, colour);
            let map = GrayImage::from_fn(SIDE, SIDE, |x, y| Luma([(x * y % 256) as u8]));
            save(&picture.clone().into(), &seed.join(format!("3-clusters/{id}-picture.png")))?;
            save(&picture.clone().into(), &seed.join(format!("4-masks/{id}-picture.png")))?;
            save(&map.clone().into(), &seed.join(format!("4-masks/{id}-attention.png")))?;
            let mask = GrayImage::from_fn(SIDE, SIDE, |x, _| Luma([if x < SIDE / 4 { 255 } else { 0 }]));
            save(&mask.into(), &seed.join(format!("4-masks/{id}.png")))?;
            if id < 2 {
                writeln!(looked, "{id},{label}").unwrap_or_default();
                save(&picture.into(), &seed.join(format!("7-chain/{id}-picture.png")))?;
                for who in ["erm", "scgs"] {
                    save(&map.clone().into(), &seed.join(format!("7-chain/{id}-{who}.png")))?;
                }
            }
        }
        // One more source found no mask.
        writeln!(masks, "{},0,,the mask covers 0 % of the picture", self.sources).unwrap_or_default();
        fs_err::write(seed.join("1-erm/predictions-train.csv"), &predictions)?;
        fs_err::write(seed.join("2-errors/errors.csv"), &predictions)?;
        fs_err::write(seed.join("3-clusters/clusters.csv"), clusters)?;
        let summary = |label: u64| json!({ "label": label, "sizes": [1, 1, 1], "inertia": 2.0, "silhouette": 0.4 });
        fs_err::write(seed.join("3-clusters/summary.json"), json!([summary(0), summary(1)]).to_string())?;
        fs_err::write(seed.join("4-masks/masks.csv"), masks)?;
        fs_err::write(seed.join("7-chain/attention.csv"), looked)?;
        let epoch = |n: u64| {
            json!({ "phase": "train", "epoch": n, "step": n * 10, "loss": 1.0 / n as f64, "accuracy": 0.8,
                    "learning_rate": 0.1, "validation": 0.7 })
            .to_string()
        };
        fs_err::write(seed.join("1-erm/metrics.jsonl"), format!("{}\n{}\n{}\n", epoch(1), epoch(2), epoch(3)))
    }

    fn pictures_of(&self, seed: &Path) -> io::Result<()> {
        let mut metadata = String::from(
            "img_id,img_filename,y,split,place,place_filename,source_id,repeat,mask,inpainter,prompt,erm_predicted,erm_confidence,change,dropped,uses\n",
        );
        let mut answers = String::from("id,label,erm,erm_confidence,scgs,scgs_confidence\n");
        for id in 0..self.sources {
            let label = id % 2;
            writeln!(answers, "{id},{label},{},0.7,{label},0.6", 1 - label).unwrap_or_default();
        }
        for n in 0..self.pictures {
            let (id, source) = (FIRST_NEW + n, n % self.sources);
            let (label, repeat) = (source % 2, n / self.sources);
            let dropped = n % 10 == 9;
            let reason = if dropped { format!("\"{}\"", self.reason.replace('"', "\"\"")) } else { String::new() };
            writeln!(
                metadata,
                "{id},images/{source}-{repeat}.png,{label},0,-1,,{source},{repeat},4-masks/{source}.png,mock,a photo,0,0.9,0.3,{reason},{}",
                u8::from(!dropped)
            )
            .unwrap_or_default();
            // ERM errs on every third new picture, the classifier after it on every seventh.
            let said = |wrong: bool| if wrong { 1 - label } else { label };
            writeln!(answers, "{id},{label},{},0.8,{},0.9", said(n % 3 == 0), said(n % 7 == 0)).unwrap_or_default();
            let colour = Rgb([(n % 256) as u8, (n / 256 % 256) as u8, 90]);
            let picture = RgbImage::from_fn(SIDE, SIDE, |x, _| if x < SIDE / 4 { colour } else { Rgb([50, 120, 60]) });
            save(&picture.into(), &seed.join(format!("5-synthesis/images/{source}-{repeat}.png")))?;
        }
        fs_err::write(seed.join("5-synthesis/metadata.csv"), metadata)?;
        fs_err::write(seed.join("7-chain/predictions.csv"), answers)
    }

    /// Answers on the test split, and the groups of every picture.
    fn tested(&self, seed: &Path) -> io::Result<()> {
        let (mut before, mut after) = (String::new(), String::new());
        let mut groups = String::from("id,label,attribute\n");
        for id in 0..self.sources {
            writeln!(groups, "{id},{},{}", id % 2, attribute(id)).unwrap_or_default();
        }
        for (n, id) in (100_000..100_040_u64).enumerate() {
            let label = id % 2;
            writeln!(groups, "{id},{label},{}", attribute(id / 2)).unwrap_or_default();
            let said = |wrong: bool| if wrong { 1 - label } else { label };
            writeln!(before, "{id},{label},{},0.8", said(n % 4 == 0)).unwrap_or_default();
            writeln!(after, "{id},{label},{},0.8", said(n % 8 == 0)).unwrap_or_default();
        }
        let header = "id,label,predicted,confidence\n";
        fs_err::write(seed.join("6-erm/predictions.csv"), format!("{header}{before}"))?;
        fs_err::write(seed.join("6-scgs/predictions.csv"), format!("{header}{after}"))?;
        if self.extras { fs_err::write(seed.join("group-labels.csv"), groups) } else { Ok(()) }
    }
}

fn save(picture: &image::DynamicImage, path: &Path) -> io::Result<()> {
    picture.save(path).map_err(io::Error::other)
}

//! A memory budget: what is made ahead and painted together, and whether a run fits at all.
//!
//! The peak of a run is estimated as
//!
//! ```text
//! program + weights + the largest of
//!     decoding          threads * 2 * picture
//!     passes forward    features + pictures of a pass * (forward + values, once and for each batch made ahead) + decoding
//!     a last layer      3 * features
//!     mode `full`       5 * weights + train.batch * (training + values, as above) + decoding
//!     new pictures      n * painting, or synthesis.diffusion.memory
//! ```
//!
//! Batches that are made ahead and pictures that are painted together are what the budget leaves room for; no result depends on
//! them. Everything else decides results, if only their last digits, and is refused where it does not fit: the batch of training,
//! and the pictures of a forward pass, which convolutions compute side by side. On a GPU the estimate counts its memory and that of
//! the machine together.

use std::{fmt, num::NonZeroUsize, str::FromStr};

use scgs_models::Architecture;

use crate::{
    Error,
    settings::{InpainterKind, Settings, TrainMode},
};

/// What the program takes without a network, its threads' stacks and what the allocator keeps included.
const PROGRAM: f64 = 125e6;
/// The matrix and what fitting a last layer makes of it: standardised, as f64 by parts.
const COPIES_OF_FEATURES: f64 = 3.0;
/// Of the weights while every layer is trained: gradients, momentum, the average, a selected model, a step's own.
const COPIES_OF_WEIGHTS: f64 = 5.0;
/// Batches that are made while one is computed on; one where memory is short.
const AHEAD: usize = 2;
/// Pictures of a forward pass; where every layer is trained, the whole network answers for twice as many.
const PASS: [usize; 2] = [16, 32];
/// More pictures are not painted together.
const PAINTED: usize = 32;
/// Pictures that an inpainter is given together where memory is not short.
const TOGETHER: usize = 16;
/// What painting one picture takes beside the picture itself: a window of the small diffusion model, the most of all but Stable
/// Diffusion. `scgs bench infer-unet-4x64` takes 15 MB more for 16 pictures than for one; the rest is for one alone.
const PAINTING: f64 = 8e6;
/// Copies of a picture while it is decoded and scaled.
const COPIES_WHILE_DECODED: f64 = 2.0;
/// Copies of a picture while it is repainted: source, mask, new one, their working copies.
const COPIES_OF_PICTURE: f64 = 6.0;

/// The memory that a run may take, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemoryBudget(u64);

impl MemoryBudget {
    /// Bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }

    /// What [`Self::from_str`] reads as the same size.
    pub fn words(self) -> String {
        format!("{}MB", self.0 as f64 / 1e6)
    }
}

/// Text that is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a number with a unit, such as 4GiB, 1500MB or 512MiB; found `{0}`")]
pub struct NoSize(String);

impl FromStr for MemoryBudget {
    type Err = NoSize;

    /// Reads `4GiB`, `1.5 GB`, `512MiB`, `800MB`.
    fn from_str(text: &str) -> Result<Self, NoSize> {
        let refused = || NoSize(text.to_owned());
        let units = [("GiB", 1u64 << 30), ("MiB", 1 << 20), ("GB", 1_000_000_000), ("MB", 1_000_000)];
        let (number, unit) =
            units.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit))).ok_or_else(refused)?;
        match number.trim().parse::<f64>() {
            Ok(number) if number > 0.0 && number <= 1e6 => Ok(Self((number * unit as f64) as u64)),
            _ => Err(refused()),
        }
    }
}

impl fmt::Display for MemoryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&size(self.0 as f64))
    }
}

fn size(bytes: f64) -> String {
    if bytes < 1e9 {
        format!("{:.0} MB", (bytes / 1e6).ceil())
    } else {
        format!("{:.2} GB", (bytes / 1e7).ceil() / 100.0)
    }
}

/// What a budget allows. [`Share::default`] is that of a run without one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share {
    /// Batches that are made while one is computed on.
    pub ahead: NonZeroUsize,
    /// The most pictures that are painted together. No result depends on it.
    pub painted: NonZeroUsize,
    /// The estimated peak in bytes.
    pub peak: f64,
}

impl Default for Share {
    fn default() -> Self {
        Self { ahead: whole(AHEAD), painted: NonZeroUsize::MAX, peak: 0.0 }
    }
}

/// What decides the memory of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Needs {
    /// The network.
    pub architecture: Architecture,
    /// Side of its input in pixels, the largest that is used.
    pub side: usize,
    /// Bytes of its weights.
    pub weights: f64,
    /// Pictures whose features are held together.
    pub rows: usize,
    /// Pictures of a training batch in mode `full`.
    pub batch: Option<usize>,
    /// Bytes of a picture of the data set, 3 a pixel.
    pub picture: f64,
    /// Pictures that are decoded at once.
    pub threads: usize,
    /// What Stable Diffusion may take in bytes, where it paints; infinite where `synthesis.diffusion.memory` is not set.
    pub diffusion: Option<f64>,
}

impl Needs {
    /// Of a run with these settings; `rows` pictures in training and validation, `added` new ones.
    pub fn of(settings: &Settings, rows: usize, added: usize, weights: f64, picture: f64) -> Self {
        let backbone = &settings.backbone;
        Self {
            architecture: backbone.architecture,
            side: settings.attention.input_size.unwrap_or_default().max(backbone.input_size),
            weights,
            rows: rows + added,
            batch: (settings.train.mode == TrainMode::Full).then(|| largest_batch(settings)),
            picture,
            threads: rayon::current_num_threads(),
            diffusion: (settings.synthesis.inpainter == InpainterKind::StableDiffusion)
                .then(|| settings.synthesis.diffusion.memory.map_or(f64::INFINITY, |gib| gib * f64::from(1 << 30))),
        }
    }

    /// Pictures of a forward pass.
    fn pass(&self) -> usize {
        PASS[usize::from(self.batch.is_some())]
    }

    /// Bytes of a forward pass, with the batches that are made meanwhile.
    fn forward(&self, ahead: usize) -> f64 {
        self.pass() as f64 * (forward(self.architecture, self.side) + self.values() * (ahead + 1) as f64)
            + self.decoding()
    }

    fn decoding(&self) -> f64 {
        self.threads as f64 * COPIES_WHILE_DECODED * self.picture
    }

    fn training(&self, batch: usize, ahead: usize) -> f64 {
        let each = training(self.architecture, self.side) + self.values() * (ahead + 1) as f64;
        COPIES_OF_WEIGHTS * self.weights + batch as f64 * each + self.decoding()
    }

    fn values(&self) -> f64 {
        (3 * self.side * self.side * 4) as f64
    }

    fn painting(&self, n: usize) -> f64 {
        n as f64 * (PAINTING + COPIES_OF_PICTURE * self.picture)
    }

    fn features(&self) -> f64 {
        (self.rows * self.architecture.feature_width() * 8) as f64
    }

    /// What `budget` allows; [`Share::default`] with an estimate of the peak where there is none.
    ///
    /// # Errors
    /// [`Error::Memory`] with what does not fit and the smallest budget that would do.
    pub fn share(&self, budget: Option<MemoryBudget>) -> Result<Share, Error> {
        let base = PROGRAM + self.weights;
        let Some(budget) = budget else {
            let training = self.batch.map_or(0.0, |batch| self.training(batch, AHEAD));
            let painting = self.diffusion.filter(|b| b.is_finite()).unwrap_or_else(|| self.painting(TOGETHER));
            let parts = [self.features() + self.forward(AHEAD), COPIES_OF_FEATURES * self.features()];
            let peak = base + parts.into_iter().chain([training, painting]).fold(0.0, f64::max);
            return Ok(Share { peak, ..Share::default() });
        };
        let room = budget.bytes() as f64 - base;
        let refused = |what: String, needed: f64, advice: &str| Error::Memory {
            what,
            needed: size(base + needed),
            budget: budget.to_string(),
            advice: advice.to_owned(),
        };
        if room <= 0.0 {
            let what = format!("the program with the weights of {}", self.architecture);
            return Err(refused(what, self.features() + self.forward(1), "take a smaller network"));
        }
        if self.decoding() > room {
            let what = format!("decoding {} pictures at once", self.threads);
            return Err(refused(what, self.decoding(), "set RAYON_NUM_THREADS to fewer threads"));
        }
        let fit = COPIES_OF_FEATURES * self.features();
        if fit > room {
            let what = format!("the features of {} pictures", self.rows);
            return Err(refused(what, fit, "take a network with fewer features, or fewer pictures"));
        }
        // Both kinds of passes make batches ahead.
        let passes = |ahead| {
            let training = self.batch.map_or(0.0, |batch| self.training(batch, ahead));
            (training, self.features() + self.forward(ahead))
        };
        let fits = |ahead| passes(ahead).0.max(passes(ahead).1) <= room;
        let ahead = if fits(AHEAD) { AHEAD } else { 1 };
        let (training, forward) = passes(ahead);
        if training > room {
            let what = format!("a training batch of {} pictures", self.batch.unwrap_or_default());
            return Err(refused(
                what,
                training,
                "lower train.batch and raise train.accumulate, or set train.checkpointing; a smaller batch gives other \
                 results, so it is not made smaller for you",
            ));
        }
        if forward > room {
            let what =
                format!("{0} pictures of {1} x {1} side by side in {2}", self.pass(), self.side, self.architecture);
            return Err(refused(what, forward, "take a smaller network or input"));
        }
        if let Some(diffusion) = self.diffusion
            && PROGRAM + diffusion > budget.bytes() as f64
        {
            let left = (budget.bytes() as f64 - PROGRAM) / f64::from(1 << 30);
            return Err(Error::Memory {
                what: "Stable Diffusion".to_owned(),
                needed: if diffusion.is_finite() { size(PROGRAM + diffusion) } else { "what it takes".to_owned() },
                budget: budget.to_string(),
                advice: format!(
                    "set synthesis.diffusion.memory to at most {:.1}: it is a setting of the run, because a VAE that works in \
                     tiles gives not quite the same pictures",
                    (left * 10.0).floor().max(0.0) / 10.0
                ),
            });
        }
        let painted = (1..=PAINTED).rev().find(|&n| self.painting(n) <= room).ok_or_else(|| {
            refused("painting one picture".to_owned(), self.painting(1), "scale the pictures of the data set down")
        })?;
        let painting = self.diffusion.unwrap_or_else(|| self.painting(painted.min(TOGETHER)));
        let peak = base + [fit, self.decoding(), training, forward, painting].into_iter().fold(0.0, f64::max);
        Ok(Share { ahead: whole(ahead), painted: whole(painted), peak })
    }
}

fn whole(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).unwrap_or(NonZeroUsize::MIN)
}

fn largest_batch(settings: &Settings) -> usize {
    let own = settings.methods.values().filter_map(|method| method.batch);
    own.chain([settings.train.batch]).max().unwrap_or(settings.train.batch)
}

/// Bytes of a picture in a forward pass with folded batch norms, beside its values. By `cargo run --release --example
/// memory_per_picture`, a tenth added.
fn forward(architecture: Architecture, side: usize) -> f64 {
    let per_pixel = match architecture {
        Architecture::EfficientNetLite0 => 220.0,
        Architecture::ResNet18 | Architecture::ResNet34 => 150.0,
        Architecture::ResNet50 | Architecture::ResNet101 => 275.0,
    };
    per_pixel * (side * side) as f64
}

/// Bytes of a picture in a training step, as [`forward`].
fn training(architecture: Architecture, side: usize) -> f64 {
    let per_pixel = match architecture {
        Architecture::EfficientNetLite0 => 1230.0,
        Architecture::ResNet18 => 650.0,
        Architecture::ResNet34 => 900.0,
        Architecture::ResNet50 => 2410.0,
        Architecture::ResNet101 => 3450.0,
    };
    per_pixel * (side * side) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs() -> Needs {
        Needs {
            architecture: Architecture::ResNet50,
            side: 224,
            weights: 102e6,
            rows: 1000,
            batch: None,
            picture: 150e3,
            threads: 2,
            diffusion: None,
        }
    }

    fn budget(text: &str) -> Option<MemoryBudget> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn sizes_have_a_unit() {
        for (text, bytes) in
            [("4GiB", 4u64 << 30), ("1.5 GB", 1_500_000_000), ("512MiB", 512 << 20), ("800MB", 800_000_000)]
        {
            assert_eq!(text.parse(), Ok(MemoryBudget(bytes)), "{text}");
            assert_eq!(MemoryBudget(bytes).words().parse(), Ok(MemoryBudget(bytes)), "{text}");
        }
        for text in ["", "4", "GiB", "-1GiB", "0MB", "nanGiB", "1e30GiB", "4 gib"] {
            assert!(text.parse::<MemoryBudget>().unwrap_err().to_string().contains("4GiB"), "{text}");
        }
    }

    #[test]
    fn less_memory_is_less_ahead_and_painted_and_never_more_than_the_budget() {
        let painting = Needs { picture: 3e6, ..needs() };
        let of = |text| painting.share(budget(text)).unwrap();
        let shares = [of("8GiB"), of("700MB"), of("580MB")];
        assert_eq!((shares[0].painted.get(), shares[0].ahead.get()), (PAINTED, AHEAD));
        assert!(shares.windows(2).all(|pair| pair[1].painted < pair[0].painted), "{shares:?}");
        for (share, text) in shares.iter().zip(["8GiB", "700MB", "580MB"]) {
            assert!(share.peak <= text.parse::<MemoryBudget>().unwrap().bytes() as f64, "{text}: {share:?}");
        }
        let just = painting.forward(1) + painting.features() + PROGRAM + painting.weights;
        assert_eq!(painting.share(Some(MemoryBudget(just as u64 + 1))).unwrap().ahead.get(), 1);
    }

    #[test]
    fn what_does_not_fit_is_named_with_what_it_takes() {
        let text = |needs: Needs, size: &str| needs.share(budget(size)).unwrap_err().to_string();
        let pass = text(needs(), "400MB");
        assert!(pass.contains("16 pictures of 224 x 224 side by side in resnet50 needs about"), "{pass}");
        assert!(pass.contains("--max-memory is 400 MB"), "{pass}");
        let batch = text(Needs { batch: Some(128), ..needs() }, "4GB");
        assert!(batch.contains("a training batch of 128 pictures") && batch.contains("train.accumulate"), "{batch}");
        let large = text(Needs { picture: 36e6, threads: 64, ..needs() }, "4GB");
        assert!(large.contains("decoding 64 pictures at once") && large.contains("RAYON_NUM_THREADS"), "{large}");
        let rows = text(Needs { rows: 1_000_000, ..needs() }, "16GB");
        assert!(rows.contains("the features of 1000000 pictures"), "{rows}");
        let nothing = text(needs(), "200MB");
        assert!(nothing.contains("the program with the weights of resnet50 needs about"), "{nothing}");
        // What a refusal asks for is enough.
        let needed = pass.split("about ").nth(1).unwrap().split(',').next().unwrap().replace(' ', "");
        assert!(needs().share(budget(&needed)).is_ok(), "{needed}");
    }

    #[test]
    fn stable_diffusion_is_limited_by_its_own_setting() {
        let of = |diffusion| Needs { diffusion: Some(diffusion), ..needs() }.share(budget("4GiB"));
        assert!(of(3.0 * f64::from(1 << 30)).is_ok());
        for too_much in [4.0 * f64::from(1 << 30), f64::INFINITY] {
            let text = of(too_much).unwrap_err().to_string();
            assert!(text.contains("set synthesis.diffusion.memory to at most 3.8"), "{text}");
        }
    }

    #[test]
    fn a_batch_of_training_is_kept_and_only_what_is_made_ahead_shrinks() {
        let full = Needs { batch: Some(16), ..needs() };
        let enough = full.training(16, AHEAD) + PROGRAM + full.weights;
        let just = Some(MemoryBudget((full.training(16, 1) + PROGRAM + full.weights) as u64 + 1));
        assert_eq!(full.share(Some(MemoryBudget(enough as u64 + 1))).unwrap().ahead.get(), AHEAD);
        assert_eq!(full.share(just).unwrap().ahead.get(), 1);
    }
}

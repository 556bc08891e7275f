//! Stage `3-sources`: the pictures that are repainted, and the class that each of them then shows.
//!
//! A source is a mistake and keeps its class; for `repaint = every-class` it shows each class in turn. For `repaint = swap` a
//! source is a picture of another class that the classifier got right: its context is what misleads, and it gets a new object.

use std::collections::{BTreeMap, BTreeSet};

use rand::{RngExt, seq::SliceRandom};
use scgs_cam::Repaint;
use scgs_cluster::{Candidate, PickOrder, balanced_pick};
use scgs_data::{Sample, Split, stream};
use serde::{Deserialize, Serialize};

use super::{
    Inputs,
    clusters::{self, Member, Pick},
    errors,
    masks::{self, MaskRow},
};
use crate::{Context, Error, RunFolder, run_folder};

/// The method, or one of its controls: which pictures are repainted, and through which masks. In the order of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Variant {
    /// Random masks of the same areas: the control for attention.
    RandomMask,
    /// Sources drawn from all pictures of their class: the control for the error set.
    RandomSource,
    /// The object is removed and nothing is painted in its place: what the context alone does.
    ContextOnly,
    /// The whole picture is painted anew from the class's prompt: the control for keeping anything.
    Generic,
    /// The method.
    Scgs,
    /// True object masks: the upper bound of attention (oracle).
    OracleMask,
}

impl Variant {
    /// Every variant, in the order of the table.
    pub const ALL: [Self; 6] =
        [Self::RandomMask, Self::RandomSource, Self::ContextOnly, Self::Generic, Self::Scgs, Self::OracleMask];

    /// What tells its folders from the method's: empty for the method.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Scgs => "",
            Self::RandomMask => "-random-mask",
            Self::RandomSource => "-random-source",
            Self::ContextOnly => "-context-only",
            Self::Generic => "-generic",
            Self::OracleMask => "-oracle-mask",
        }
    }

    /// The name of the arm that trains on its pictures.
    pub fn arm(self) -> &'static str {
        match self {
            Self::Scgs => "scgs",
            Self::RandomMask => "scgs-random-mask",
            Self::RandomSource => "scgs-random-source",
            Self::ContextOnly => "scgs-context-only",
            Self::Generic => "scgs-generic",
            Self::OracleMask => "oracle-mask",
        }
    }

    /// Folder of the sources.
    pub fn sources_stage(self) -> &'static str {
        if self == Self::RandomSource { "3-sources-random-source" } else { "3-sources" }
    }

    /// Folder of the masks.
    pub fn masks_stage(self) -> String {
        match self {
            Self::Scgs | Self::ContextOnly => masks::STAGE.to_owned(),
            other => format!("{}{}", masks::STAGE, other.suffix()),
        }
    }
}

/// A row of `sources.csv`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// The picture.
    pub id: u64,
    /// Its class.
    pub label: usize,
    /// The class of the new pictures made from it.
    pub becomes: usize,
    /// Its cluster, among those that become the same class.
    pub cluster: usize,
    /// Its distance to the cluster's centre; 0 where there are no clusters.
    pub distance: f64,
}

impl From<Member> for Source {
    /// A mistake that keeps its class.
    fn from(m: Member) -> Self {
        Self { id: m.id, label: m.label, becomes: m.label, cluster: m.cluster, distance: m.distance }
    }
}

/// Every source once for each class that it may become. Clusters of different classes are told apart by their numbers.
fn in_every_class(own: &[Source], classes: usize) -> Vec<Source> {
    let clusters = own.iter().map(|s| s.cluster + 1).max().unwrap_or(0);
    let cluster = |s: &Source| s.label * clusters + s.cluster;
    own.iter().flat_map(|s| (0..classes).map(move |becomes| Source { becomes, cluster: cluster(s), ..*s })).collect()
}

/// How many pictures an arm adds to a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Added {
    /// Repainted ones.
    pub new: usize,
    /// Mistakes that are repeated as they are.
    pub repeated: usize,
}

impl Added {
    /// For every class the same: `synthesis.share` of the real training split in all, `synthesis.duplicates` of them
    /// repeated mistakes.
    pub fn per_class(inputs: Inputs<'_>) -> Result<Self, Error> {
        let settings = &inputs.settings.synthesis;
        let wanted = (settings.share * inputs.usable(Split::Train)?.len() as f64).round() as usize;
        let total = wanted.div_ceil(inputs.classes());
        let repeated = (settings.duplicates * total as f64).round() as usize;
        Ok(Self { new: total - repeated, repeated })
    }

    /// New and repeated ones.
    pub fn total(self) -> usize {
        self.new + self.repeated
    }
}

/// Writes `sources.csv`: for each class the pictures that its new ones are made from.
///
/// # Errors
/// [`Error::NoSource`] if a class has none.
pub fn run(inputs: Inputs<'_>, context: &Context<'_>, variant: Variant) -> Result<(), Error> {
    inputs.folder.stage(context, variant.sources_stage(), 0, |folder| {
        let repaint = inputs.settings.mask.repaint;
        let mistakes = variant != Variant::RandomSource;
        let classes = inputs.classes();
        let sources = if repaint == Repaint::Swap {
            let wrong: BTreeSet<u64> =
                if mistakes { errors::read(inputs.folder)?.iter().map(|e| e.id).collect() } else { BTreeSet::new() };
            drawn(inputs, variant, &wrong, |s, rng| (s.label + rng.random_range(1..classes)) % classes)?
        } else {
            let own = if mistakes {
                clusters::members(inputs.folder)?.into_iter().map(Source::from).collect()
            } else {
                drawn(inputs, variant, &BTreeSet::new(), |s, _| s.label)?
            };
            if repaint == Repaint::EveryClass { in_every_class(&own, classes) } else { own }
        };
        for (class, name) in inputs.index.classes.iter().enumerate() {
            if !sources.iter().any(|s| s.becomes == class) {
                return Err(Error::NoSource { class: name.clone() });
            }
        }
        run_folder::write_csv(&folder.join("sources.csv"), &sources)?;
        let what = if repaint == Repaint::Swap { "contexts of other classes" } else { "pictures" };
        let of = |class| sources.iter().filter(|s| s.becomes == class).count();
        let named: Vec<String> =
            inputs.index.classes.iter().enumerate().map(|(class, name)| format!("{} for {name}", of(class))).collect();
        Ok(format!("{what}: {}", named.join(", ")))
    })
}

/// Up to `synthesis.sources` random training pictures for each class, without those in `excluded`. A picture becomes
/// `becomes(picture, its random stream)`.
fn drawn(
    inputs: Inputs<'_>,
    variant: Variant,
    excluded: &BTreeSet<u64>,
    becomes: impl Fn(&Sample, &mut rand_chacha::ChaCha8Rng) -> usize,
) -> Result<Vec<Source>, Error> {
    let stage = variant.sources_stage();
    let seed = inputs.folder.seed;
    let mut pools: BTreeMap<usize, Vec<Source>> = BTreeMap::new();
    for sample in inputs.usable(Split::Train)?.into_iter().filter(|s| !excluded.contains(&s.id)) {
        let class = becomes(sample, &mut stream(seed, &format!("{stage}/class"), sample.id));
        let source = Source { id: sample.id, label: sample.label, becomes: class, cluster: 0, distance: 0.0 };
        pools.entry(class).or_default().push(source);
    }
    let mut sources = Vec::new();
    for (class, mut pool) in pools {
        pool.shuffle(&mut stream(seed, stage, class as u64));
        pool.truncate(inputs.settings.synthesis.sources);
        pool.sort_by_key(|s| s.id);
        sources.extend(pool);
    }
    Ok(sources)
}

/// The sources of a variant.
///
/// # Errors
/// If the file is missing or damaged.
pub fn read(folder: &RunFolder, variant: Variant) -> Result<Vec<Source>, Error> {
    run_folder::read_csv(&folder.path(variant.sources_stage(), "sources.csv"))
}

/// The new pictures to make: equally many per class, within a class equally many per cluster, from the sources that have
/// a mask. `label` of a pick is the class of the new picture.
///
/// # Errors
/// If no source of a class has a mask (the mask stage has refused that before).
pub(crate) fn picks(inputs: Inputs<'_>, variant: Variant, masks: &[MaskRow]) -> Result<Vec<Pick>, Error> {
    let masked: BTreeSet<u64> = masks.iter().filter(|r| r.area.is_some()).map(|r| r.id).collect();
    let sources = read(inputs.folder, variant)?;
    // Drawn sources have no clusters, and no distance to order them by.
    let clustered = inputs.settings.mask.repaint != Repaint::Swap && variant != Variant::RandomSource;
    let order = if clustered { inputs.settings.cluster.order } else { PickOrder::Uniform };
    let new = Added::per_class(inputs)?.new;
    let classes = inputs.classes();
    // One class after the other, because a source may become several.
    let mut picks = Vec::new();
    for class in 0..classes {
        let candidates: Vec<Candidate> = sources
            .iter()
            .filter(|s| s.becomes == class && masked.contains(&s.id))
            .map(|s| Candidate { id: s.id, class, cluster: s.cluster, distance: s.distance })
            .collect();
        let several = inputs.settings.mask.repaint == Repaint::EveryClass;
        picks.extend(balanced_pick(&candidates, new, order, inputs.folder.seed)?.into_iter().map(|p| Pick {
            id: p.id,
            label: class,
            // Tells the pictures of one source apart.
            repeat: if several { p.repeat * classes + class } else { p.repeat },
        }));
    }
    Ok(picks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_becomes_every_class_keeps_its_cluster_apart() {
        let source = |id, label, cluster| Source { id, label, becomes: label, cluster, distance: 0.5 };
        let all = in_every_class(&[source(1, 0, 0), source(2, 1, 0), source(3, 1, 1)], 2);
        let seen: Vec<_> = all.iter().map(|s| (s.id, s.label, s.becomes, s.cluster)).collect();
        assert_eq!(seen, [(1, 0, 0, 0), (1, 0, 1, 0), (2, 1, 0, 2), (2, 1, 1, 2), (3, 1, 0, 3), (3, 1, 1, 3)]);
    }
}

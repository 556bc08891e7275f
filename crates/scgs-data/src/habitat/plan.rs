//! Which cut-out goes on which background in which picture.

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::{DataError, Split, stream};

use super::{
    Cue, HabitatConfig,
    pack::{Pack, Role},
    split::Sources,
};

/// One picture to be composed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Planned {
    /// Counted from 1 through train, val and test.
    pub(super) id: u64,
    pub(super) split: Split,
    pub(super) label: usize,
    /// The kind of the cue: for `Cue::Place` that of the background.
    pub(super) place: usize,
    /// Position in the pack.
    pub(super) foreground: usize,
    /// Position in the pack.
    pub(super) background: usize,
    /// Whether the cut-out occurs only on the other class's background.
    pub(super) alien: bool,
}

/// Numbers of training pictures in group order (label * 2 + place).
pub(super) fn train_groups(config: &HabitatConfig) -> [usize; 4] {
    let of_class = |label: usize| config.train / 2 + usize::from(label < config.train % 2);
    let own = |label: usize| (of_class(label) as f64 * config.correlation).round() as usize;
    [own(0), of_class(0) - own(0), of_class(1) - own(1), own(1)]
}

/// Four groups of equal size; the first ones take the remainder.
fn equal_groups(n: usize) -> [usize; 4] {
    std::array::from_fn(|group| n / 4 + usize::from(group < n % 4))
}

/// The correlated training set with balanced validation and test sets.
pub(super) fn biased(
    pack: &Pack,
    sources: &Sources,
    config: &HabitatConfig,
    seed: u64,
) -> Result<Vec<Planned>, DataError> {
    let mut plan = Vec::with_capacity(config.train + config.val + config.test);
    let mut homes = [(); 2].map(|()| Homes { own: Vec::new(), other: Vec::new() });
    for (label, home) in homes.iter_mut().enumerate() {
        *home = Homes::draw(pack, sources.of(Split::Train, Role::Foreground(label)), label, config.alien_share)?;
    }
    let mut add = |split, groups, homes| add(&mut plan, (sources, config.cue), split, groups, homes, seed);
    add(Split::Train, train_groups(config), Some(&homes));
    add(Split::Val, equal_groups(config.val), None);
    add(Split::Test, equal_groups(config.test), None);
    Ok(plan)
}

/// A training set in which the background says nothing about the class.
pub(super) fn balanced_train(sources: &Sources, config: &HabitatConfig, seed: u64) -> Vec<Planned> {
    let mut plan = Vec::with_capacity(config.train);
    let balanced = HabitatConfig { correlation: 0.5, ..config.clone() };
    add(&mut plan, (sources, config.cue), Split::Train, train_groups(&balanced), None, seed);
    plan
}

/// The training cut-outs of a class by the background they occur on; equal lists without homes.
#[derive(Debug)]
struct Homes {
    own: Vec<usize>,
    other: Vec<usize>,
}

impl Homes {
    /// `foregrounds` are in random order already, so the first ones are a random choice.
    fn draw(pack: &Pack, foregrounds: &[usize], label: usize, alien_share: f64) -> Result<Self, DataError> {
        if alien_share == 0.0 {
            return Ok(Self { own: foregrounds.to_vec(), other: foregrounds.to_vec() });
        }
        let aliens = ((foregrounds.len() as f64 * alien_share).round() as usize).max(1);
        if aliens >= foregrounds.len() {
            return Err(DataError::Pack {
                path: pack.root.clone(),
                message: format!(
                    "{} training pictures of {} are too few for an alien_share of {alien_share}: lower it or add pictures",
                    foregrounds.len(),
                    Role::Foreground(label).folder(),
                ),
            });
        }
        let (other, own) = foregrounds.split_at(aliens);
        Ok(Self { own: own.to_vec(), other: other.to_vec() })
    }

    fn shared(&self) -> bool {
        self.own == self.other
    }
}

/// Adds a split with the given group sizes, in random order so that an id says nothing about the group.
fn add(
    plan: &mut Vec<Planned>,
    (sources, cue): (&Sources, Cue),
    split: Split,
    groups: [usize; 4],
    homes: Option<&[Homes; 2]>,
    seed: u64,
) {
    let mut rng = stream(seed, "habitat/plan", u64::from(split.code()));
    let mut pictures = Vec::with_capacity(groups.iter().sum());
    for label in 0..2 {
        let sizes = [groups[label * 2], groups[label * 2 + 1]];
        let homes = homes.map(|homes| &homes[label]).filter(|homes| !homes.shared());
        // Without homes one cycle runs through both places, so that every cut-out is used equally often in sum.
        let foregrounds: Vec<usize> = match homes {
            None => cycle(sources.of(split, Role::Foreground(label)), sizes[0] + sizes[1], &mut rng),
            Some(homes) => (0..2)
                .flat_map(|place| cycle(if place == label { &homes.own } else { &homes.other }, sizes[place], &mut rng))
                .collect(),
        };
        let backgrounds: Vec<(usize, usize)> = (0..2)
            .flat_map(|place| {
                let of = |place| sources.of(split, Role::Background(place));
                let pool = match cue {
                    Cue::Place => of(place).to_vec(),
                    Cue::Frame => [of(0), of(1)].concat(),
                };
                let chosen = cycle(&pool, sizes[place], &mut rng);
                chosen.into_iter().map(move |background| (place, background))
            })
            .collect();
        pictures.extend(foregrounds.into_iter().zip(backgrounds).map(|(foreground, (place, background))| Planned {
            id: 0,
            split,
            label,
            place,
            foreground,
            background,
            alien: homes.is_some() && place != label,
        }));
    }
    pictures.shuffle(&mut rng);
    for picture in pictures {
        plan.push(Planned { id: plan.len() as u64 + 1, ..picture });
    }
}

/// `n` items that go round `pool`, each round in a new random order.
fn cycle(pool: &[usize], n: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
    let mut chosen = Vec::with_capacity(n + pool.len());
    while chosen.len() < n {
        let start = chosen.len();
        chosen.extend_from_slice(pool);
        chosen[start..].shuffle(rng);
    }
    chosen.truncate(n);
    chosen
}

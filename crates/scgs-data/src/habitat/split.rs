//! Which source pictures belong to train, val and test.

use std::collections::BTreeSet;

use rand::{RngExt, seq::SliceRandom};

use crate::{DataError, Split, stream};

use super::pack::{Pack, Role};

/// Percent of the pictures of each role in train and val; the rest is test.
const PERCENT: [usize; 2] = [60, 12];
/// Percent of the pictures of each role that are in train for every seed: a generator that has seen no others has seen
/// no test picture, whatever the seed of a run.
const CORE_PERCENT: usize = 40;

/// Positions of pack items per split and role, in random order.
#[derive(Debug)]
pub(super) struct Sources {
    items: [[Vec<usize>; 4]; 3],
}

impl Sources {
    pub(super) fn of(&self, split: Split, role: Role) -> &[usize] {
        &self.items[usize::from(split.code())][role.position()]
    }
}

/// The items that are in train for every seed, by role and in a random order that no seed changes; whole source photos.
pub(super) fn core(pack: &Pack) -> [Vec<usize>; 4] {
    let mut room = Role::ALL.map(|role| pack.of(role).count() * CORE_PERCENT / 100);
    let mut families: Vec<Vec<usize>> = pack.families().into_values().collect();
    families.shuffle(&mut stream(0, "habitat/core", 0));
    let mut items: [Vec<usize>; 4] = Default::default();
    for family in families {
        let positions = family.iter().map(|&member| pack.items[member].role.position());
        if (0..4).all(|role| positions.clone().filter(|&p| p == role).count() <= room[role]) {
            for (&member, role) in family.iter().zip(positions) {
                room[role] -= 1;
                items[role].push(member);
            }
        }
    }
    items
}

/// Deals the items of each role to the splits; items of one source photo go together, whatever their roles. The core
/// comes first, and goes to train.
pub(super) fn split(pack: &Pack, seed: u64) -> Result<Sources, DataError> {
    let mut room = capacities(pack)?;
    let mut items: [[Vec<usize>; 4]; 3] = Default::default();
    let train = usize::from(Split::Train.code());
    items[train] = core(pack);
    for (room, core) in room[train].iter_mut().zip(&items[train]) {
        *room -= core.len();
    }
    let placed: BTreeSet<usize> = items[train].iter().flatten().copied().collect();
    let families = pack.families().into_values().filter(|family| !placed.contains(&family[0]));
    let (mut single, mut shared): (Vec<_>, Vec<_>) = families.partition(|family| family.len() == 1);
    let mut rng = stream(seed, "habitat/split", 0);
    single.shuffle(&mut rng);
    shared.shuffle(&mut rng);
    // Large families first, while there is room; the sort is stable, so the random order within a size stays.
    shared.sort_by_key(|family| std::cmp::Reverse(family.len()));

    for family in shared.into_iter().chain(single) {
        let mut need = [0; 4];
        for &member in &family {
            need[pack.items[member].role.position()] += 1;
        }
        let fits = |split: &usize| (0..4).all(|role| need[role] <= room[*split][role]);
        // A split is drawn with the share of pictures that it still takes of this kind.
        let weights = [0, 1, 2].map(|split: usize| {
            if fits(&split) { (0..4).filter(|&role| need[role] > 0).map(|role| room[split][role]).sum() } else { 0 }
        });
        let total: usize = weights.iter().sum();
        if total == 0 {
            let names: Vec<&str> = family.iter().map(|&member| pack.items[member].file.as_str()).collect();
            return Err(too_small(pack, format!("no split has room for {}, which share a photo", names.join(", "))));
        }
        let mut draw = rng.random_range(0..total);
        let chosen = weights.iter().position(|&weight| {
            let here = draw < weight;
            draw = draw.saturating_sub(weight);
            here
        });
        let chosen = chosen.expect("the draw is below the sum of the weights");
        for member in family {
            let role = pack.items[member].role.position();
            room[chosen][role] -= 1;
            items[chosen][role].push(member);
        }
    }
    for list in items.iter_mut().flatten() {
        list.shuffle(&mut rng);
    }
    Ok(Sources { items })
}

/// How many items of each role each split takes.
fn capacities(pack: &Pack) -> Result<[[usize; 4]; 3], DataError> {
    let mut room = [[0; 4]; 3];
    for role in Role::ALL {
        let n = pack.of(role).count();
        let train = n * PERCENT[0] / 100;
        let val = (n * PERCENT[1] + 50) / 100;
        let parts = [train, val, n.saturating_sub(train + val)];
        for (split, part) in Split::ALL.into_iter().zip(parts) {
            if part == 0 {
                let message = format!("{n} picture(s) in {} leave none for the {split} split", role.folder());
                return Err(too_small(pack, message));
            }
            room[usize::from(split.code())][role.position()] = part;
        }
    }
    Ok(room)
}

fn too_small(pack: &Pack, message: String) -> DataError {
    DataError::Pack { path: pack.root.clone(), message: format!("{message}; the pack is too small, add pictures") }
}

//! Which source pictures belong to train, val and test.

use std::collections::BTreeMap;

use rand::{RngExt, seq::SliceRandom};

use crate::{DataError, Split, stream};

use super::pack::{Pack, Role};

/// Percent of the pictures of each role in train and val; the rest is test.
const PERCENT: [usize; 2] = [60, 12];

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

/// Deals the items of each role to the splits; items of one source photo go together, whatever their roles.
pub(super) fn split(pack: &Pack, seed: u64) -> Result<Sources, DataError> {
    let mut room = capacities(pack)?;
    let mut families: BTreeMap<&(String, String), Vec<usize>> = BTreeMap::new();
    for (position, item) in pack.items.iter().enumerate() {
        families.entry(&item.source).or_default().push(position);
    }
    let (mut single, mut shared): (Vec<_>, Vec<_>) = families.into_values().partition(|family| family.len() == 1);
    let mut rng = stream(seed, "habitat/split", 0);
    single.shuffle(&mut rng);
    shared.shuffle(&mut rng);
    // Large families first, while there is room; the sort is stable, so the random order within a size stays.
    shared.sort_by_key(|family| std::cmp::Reverse(family.len()));

    let mut items: [[Vec<usize>; 4]; 3] = Default::default();
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
        let n = pack.items.iter().filter(|item| item.role == role).count();
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

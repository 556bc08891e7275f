//! The balanced pick: as many sources from every class, and inside it from every cluster.

use std::collections::{BTreeMap, BTreeSet};

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::error::ClusterError;

/// A sample that can be picked.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its id, unique among the candidates.
    pub id: u64,
    /// Its class.
    pub class: usize,
    /// Its cluster within the class.
    pub cluster: usize,
    /// Its distance to the cluster's centroid, finite and at least 0.
    pub distance: f64,
}

/// In which order the candidates of a cluster are taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PickOrder {
    /// By distance to the centroid, nearest first, of equal ones the lower id; the same at every repeat.
    #[default]
    NearestToCentre,
    /// Shuffled, anew at every repeat.
    Uniform,
}

/// A sample picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pick {
    /// Its id.
    pub id: u64,
    /// Its class.
    pub class: usize,
    /// Its cluster within the class.
    pub cluster: usize,
    /// How often it was picked before: 0 until its cluster is exhausted, then 1, and so on.
    pub repeat: usize,
}

/// Picks `per_class` candidates of every class, in turn from each of its clusters.
///
/// The counts of two clusters of a class differ by at most one; the larger ones go to the clusters with most candidates (then
/// to the lower number). Each cluster is drawn from without replacement until it is exhausted, then it starts again, and
/// [`Pick::repeat`] counts up. The result is ascending by class and in the order of picking inside; it depends on the set of
/// candidates and `seed`, not on their order.
///
/// # Errors
/// [`ClusterError::NoCandidates`] for none, [`ClusterError::Setting`] when `per_class` is 0, [`ClusterError::BadDistance`] for a
/// distance that is not finite or below 0, [`ClusterError::DuplicateId`] for an id listed twice.
pub fn balanced_pick(
    candidates: &[Candidate],
    per_class: usize,
    order: PickOrder,
    seed: u64,
) -> Result<Vec<Pick>, ClusterError> {
    if candidates.is_empty() {
        return Err(ClusterError::NoCandidates);
    }
    if per_class == 0 {
        return Err(ClusterError::Setting { name: "per_class", value: "0".to_owned(), expected: "at least 1" });
    }
    let mut ids = BTreeSet::new();
    let mut classes: BTreeMap<usize, BTreeMap<usize, Vec<Candidate>>> = BTreeMap::new();
    for &candidate in candidates {
        let Candidate { id, class, cluster, distance } = candidate;
        if !(distance.is_finite() && distance >= 0.0) {
            return Err(ClusterError::BadDistance { id, distance });
        }
        if !ids.insert(id) {
            return Err(ClusterError::DuplicateId { id });
        }
        classes.entry(class).or_default().entry(cluster).or_default().push(candidate);
    }
    let mut picks = Vec::new();
    for (class, clusters) in classes {
        let mut queues: Vec<Queue> =
            clusters.into_iter().map(|(cluster, members)| Queue::new(class, cluster, members, order, seed)).collect();
        queues.sort_by_key(|queue| (std::cmp::Reverse(queue.members.len()), queue.cluster));
        let turns = queues.len();
        picks.extend((0..per_class).map(|turn| queues[turn % turns].next()));
    }
    Ok(picks)
}

/// The candidates of one cluster in the order in which they are picked.
struct Queue {
    class: usize,
    cluster: usize,
    members: Vec<Candidate>,
    order: PickOrder,
    rng: ChaCha8Rng,
    taken: usize,
}

impl Queue {
    fn new(class: usize, cluster: usize, mut members: Vec<Candidate>, order: PickOrder, seed: u64) -> Self {
        members.sort_unstable_by(|a, b| match order {
            PickOrder::NearestToCentre => a.distance.total_cmp(&b.distance).then(a.id.cmp(&b.id)),
            PickOrder::Uniform => a.id.cmp(&b.id),
        });
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(class as u64);
        // A seed for each cluster out of the class's stream; the position is the cluster's own.
        rng.set_word_pos(2 * cluster as u128);
        let rng = ChaCha8Rng::seed_from_u64(rng.random());
        Self { class, cluster, members, order, rng, taken: 0 }
    }

    fn next(&mut self) -> Pick {
        let (repeat, at) = (self.taken / self.members.len(), self.taken % self.members.len());
        if at == 0 && self.order == PickOrder::Uniform {
            self.members.shuffle(&mut self.rng);
        }
        self.taken += 1;
        Pick { id: self.members[at].id, class: self.class, cluster: self.cluster, repeat }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates() -> Vec<Candidate> {
        let of = |id, class, cluster, distance| Candidate { id, class, cluster, distance };
        vec![
            of(10, 0, 0, 0.5),
            of(11, 0, 0, 0.1),
            of(12, 0, 0, 0.1),
            of(13, 0, 1, 2.0),
            of(20, 1, 0, 1.0),
            of(21, 1, 0, 0.0),
        ]
    }

    #[test]
    fn the_nearest_come_first_and_repeats_only_after_the_last() {
        let picks = balanced_pick(&candidates(), 5, PickOrder::NearestToCentre, 0).unwrap();
        let seen: Vec<_> = picks.iter().map(|p| (p.id, p.class, p.cluster, p.repeat)).collect();
        let expected = [
            (11, 0, 0, 0),
            (13, 0, 1, 0),
            (12, 0, 0, 0),
            (13, 0, 1, 1),
            (10, 0, 0, 0),
            (21, 1, 0, 0),
            (20, 1, 0, 0),
            (21, 1, 0, 1),
            (20, 1, 0, 1),
            (21, 1, 0, 2),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_uniform_pick_is_seeded_and_ignores_the_order_of_candidates() {
        let many: Vec<Candidate> =
            (0..60).map(|id| Candidate { id, class: 0, cluster: (id % 3) as usize, distance: 0.0 }).collect();
        let picks = balanced_pick(&many, 90, PickOrder::Uniform, 1).unwrap();
        let reversed: Vec<Candidate> = many.iter().rev().copied().collect();
        assert_eq!(picks, balanced_pick(&reversed, 90, PickOrder::Uniform, 1).unwrap());
        assert_ne!(picks, balanced_pick(&many, 90, PickOrder::Uniform, 2).unwrap());
        // 20 candidates in each cluster: the first 60 picks are all of them, the next 30 are repeats.
        let first: BTreeSet<u64> = picks[..60].iter().map(|p| p.id).collect();
        assert_eq!(first.len(), 60);
        assert!(picks[..60].iter().all(|p| p.repeat == 0) && picks[60..].iter().all(|p| p.repeat == 1));
        assert!((0..3).all(|c| picks.iter().filter(|p| p.cluster == c).count() == 30));
        let own = |c: usize| picks.iter().filter(|p| p.cluster == c).map(|p| p.id / 3).collect::<Vec<_>>();
        assert_ne!(own(0), own(1), "clusters have streams of their own");
        assert_ne!(own(0)[..10], own(0)[20..], "a repeat is shuffled anew");
    }

    #[test]
    fn bad_candidates_are_named() {
        let mut bad = candidates();
        bad[2].distance = f64::NAN;
        let error = balanced_pick(&bad, 1, PickOrder::Uniform, 0).unwrap_err().to_string();
        assert_eq!(error, "candidate 12 has the distance NaN, expected a finite number of at least 0");
        let mut twice = candidates();
        twice[1].id = 10;
        assert_eq!(balanced_pick(&twice, 1, PickOrder::Uniform, 0), Err(ClusterError::DuplicateId { id: 10 }));
        assert_eq!(balanced_pick(&[], 1, PickOrder::Uniform, 0), Err(ClusterError::NoCandidates));
        let error = balanced_pick(&candidates(), 0, PickOrder::Uniform, 0).unwrap_err().to_string();
        assert_eq!(error, "per_class is 0, expected at least 1");
    }
}

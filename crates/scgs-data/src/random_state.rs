//! NumPy's `RandomState`, as far as published splits were drawn with it.
//!
//! The generator is MT19937 (Matsumoto and Nishimura 1998) with NumPy's seeding by one integer. A permutation is NumPy's
//! legacy shuffle: from the last element down, each is swapped with one at or before it, whose position is the first draw
//! under a bit mask that is not too large. scikit-learn draws `train_test_split` with it.

/// Words of the state.
const N: usize = 624;
/// Distance of the words that are combined.
const M: usize = 397;

/// `numpy.random.RandomState(seed)`.
#[derive(Debug, Clone)]
pub struct RandomState {
    words: [u32; N],
    at: usize,
}

impl RandomState {
    /// `init_genrand` of the reference implementation.
    pub fn new(seed: u32) -> Self {
        let mut words = [seed; N];
        for i in 1..N {
            let before = words[i - 1] ^ (words[i - 1] >> 30);
            words[i] = before.wrapping_mul(1_812_433_253).wrapping_add(i as u32);
        }
        Self { words, at: N }
    }

    /// The next 32 bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.at == N {
            for i in 0..N {
                let joined = (self.words[i] & 0x8000_0000) | (self.words[(i + 1) % N] & 0x7fff_ffff);
                let twist = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
                self.words[i] = self.words[(i + M) % N] ^ (joined >> 1) ^ twist;
            }
            self.at = 0;
        }
        let mut word = self.words[self.at];
        self.at += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    /// A number in `0..=most`.
    fn up_to(&mut self, most: u32) -> u32 {
        if most == 0 {
            return 0;
        }
        let mask = u32::MAX >> most.leading_zeros();
        loop {
            let value = self.next_u32() & mask;
            if value <= most {
                return value;
            }
        }
    }

    /// `permutation(n)`: the numbers `0..n` in random order. `n` is at most the number of pictures of a data set.
    pub(crate) fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut items: Vec<usize> = (0..n).collect();
        for last in (1..n).rev() {
            items.swap(last, self.up_to(u32::try_from(last).expect("fewer pictures than 2^32")) as usize);
        }
        items
    }

    /// `choice(items, size, replace=False)`.
    pub(crate) fn choice(&mut self, items: &[usize], size: usize) -> Vec<usize> {
        self.permutation(items.len()).into_iter().take(size).map(|i| items[i]).collect()
    }
}

/// scikit-learn's `train_test_split(arange(n), test_size=share, random_state=seed)`: the positions of both parts, the
/// part that is not `test` first. The test part has `ceil(share * n)` members.
pub(crate) fn train_test_split(n: usize, share: f64, seed: u32) -> (Vec<usize>, Vec<usize>) {
    let test = (share * n as f64).ceil() as usize;
    let mut drawn = RandomState::new(seed).permutation(n);
    let train = drawn.split_off(test.min(n));
    (train, drawn)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Reference {
        permutations: Vec<Permutation>,
        splits: Vec<SplitCase>,
        choices: Vec<Choice>,
    }

    #[derive(Deserialize)]
    struct Permutation {
        seed: u32,
        n: usize,
        items: Vec<usize>,
    }

    #[derive(Deserialize)]
    struct SplitCase {
        n: usize,
        test_size: f64,
        seed: u32,
        train: Vec<usize>,
        test: Vec<usize>,
    }

    #[derive(Deserialize)]
    struct Choice {
        seed: u32,
        n: usize,
        first: Vec<usize>,
        second: Vec<usize>,
    }

    fn reference() -> Reference {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/splits/reference.json");
        serde_json::from_str(&fs_err::read_to_string(path).unwrap()).unwrap()
    }

    #[test]
    fn permutations_are_numpys() {
        for case in reference().permutations {
            let found = RandomState::new(case.seed).permutation(case.n);
            assert_eq!(found[..case.items.len()], case.items, "seed {} n {}", case.seed, case.n);
        }
    }

    #[test]
    fn splits_are_scikit_learns() {
        for case in reference().splits {
            let found = train_test_split(case.n, case.test_size, case.seed);
            assert_eq!(found, (case.train, case.test), "n {} share {} seed {}", case.n, case.test_size, case.seed);
        }
    }

    #[test]
    fn choices_go_on_where_the_last_one_ended() {
        for case in reference().choices {
            let mut state = RandomState::new(case.seed);
            let all: Vec<usize> = (0..case.n).collect();
            let first = state.choice(&all, case.n / 4);
            assert_eq!(first, case.first);
            let rest: Vec<usize> = all.into_iter().filter(|i| !first.contains(i)).collect();
            assert_eq!(state.choice(&rest, case.n / 10), case.second);
        }
    }

    /// DISC's split of MetaShift's test folder: 235 cats, then 306 dogs.
    #[test]
    fn discs_validation_split_has_the_published_counts() {
        let (val, test) = train_test_split(541, 0.85, 0);
        let cats = |part: &[usize]| part.iter().filter(|&&i| i < 235).count();
        assert_eq!((cats(&val), val.len() - cats(&val)), (34, 47));
        assert_eq!((cats(&test), test.len() - cats(&test)), (201, 259));
    }
}

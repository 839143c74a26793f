//! Random numbers keyed by what they are for.
//!
//! Every random choice of the method is a pure function of a key: what is drawn, the run's seed, the query, the epoch and the
//! index of the draw. Nothing depends on the order in which queries are visited or on how many threads visit them, so a run that
//! was stopped and resumed draws the same numbers as one that was not.
//!
//! The bounded draws are written out here instead of taken from `rand`, whose algorithms may change between releases: a
//! checkpoint must go on with the same numbers after an update.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// A ChaCha stream whose seed is the SHA-256 of a key.
#[derive(Clone, Debug)]
pub struct KeyedRandom {
    stream: ChaCha8Rng,
}

impl KeyedRandom {
    /// The stream of a key. `purpose` separates uses that share the other parts; each part is hashed with its length, so
    /// that `("ab", "c")` and `("a", "bc")` are different keys.
    pub fn new(purpose: &str, seed: u64, parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        hash.update((purpose.len() as u64).to_le_bytes());
        hash.update(purpose.as_bytes());
        hash.update(seed.to_le_bytes());
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self { stream: ChaCha8Rng::from_seed(hash.finalize().into()) }
    }

    /// 64 uniform bits.
    pub fn bits(&mut self) -> u64 {
        self.stream.next_u64()
    }

    /// A uniform number in `0..n`, without bias; 0 when `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        if n == 0 {
            return 0;
        }
        let n = n as u64;
        // Multiply and keep the high half; the few low products that would favour small results are drawn again.
        let threshold = n.wrapping_neg() % n;
        loop {
            let product = u128::from(self.bits()) * u128::from(n);
            if product as u64 >= threshold {
                return (product >> 64) as usize;
            }
        }
    }

    /// A uniform number in `[0, 1)` with 53 random bits.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// A uniform number in `[low, high)`; `low` when the range is empty.
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        if high > low { low + (high - low) * self.unit() } else { low }
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// Shuffles in place (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }

    /// `k` different numbers of `0..n` in random order, all of them when `k >= n`.
    pub fn distinct(&mut self, n: usize, k: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..n).collect();
        let k = k.min(n);
        for i in 0..k {
            let j = i + self.below(n - i);
            all.swap(i, j);
        }
        all.truncate(k);
        all
    }

    /// `k` different numbers of `0..weights.len()`, each draw in proportion to the weights that are left; places whose
    /// weight is not positive are never drawn, so fewer than `k` may come back.
    pub fn distinct_weighted(&mut self, weights: &[f64], k: usize) -> Vec<usize> {
        // Efraimidis and Spirakis: the k largest of u^(1/w) are such a sample; in logarithms to keep tiny values apart.
        let mut keys: Vec<(f64, usize)> = Vec::with_capacity(weights.len());
        for (place, &weight) in weights.iter().enumerate() {
            let u = self.unit().max(f64::MIN_POSITIVE);
            if weight > 0.0 {
                keys.push((u.ln() / weight, place));
            }
        }
        keys.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        keys.truncate(k);
        keys.into_iter().map(|(_, place)| place).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_key_gives_the_same_numbers_and_another_key_others() {
        let draw = |purpose: &str, seed, parts: &[&[u8]]| {
            let mut random = KeyedRandom::new(purpose, seed, parts);
            (0..8).map(|_| random.bits()).collect::<Vec<_>>()
        };
        let first = draw("x", 1, &[b"ab", b"c"]);
        assert_eq!(first, draw("x", 1, &[b"ab", b"c"]));
        assert_ne!(first, draw("x", 1, &[b"a", b"bc"]));
        assert_ne!(first, draw("y", 1, &[b"ab", b"c"]));
        assert_ne!(first, draw("x", 2, &[b"ab", b"c"]));
    }

    #[test]
    fn draws_stay_in_range_and_cover_it() {
        let mut random = KeyedRandom::new("range", 0, &[]);
        let mut seen = [0usize; 7];
        for _ in 0..7000 {
            seen[random.below(7)] += 1;
        }
        // 1000 expected each; five standard deviations are about 146.
        assert!(seen.iter().all(|&n| (850..1150).contains(&n)), "{seen:?}");
        assert_eq!(random.below(0), 0);
        for _ in 0..1000 {
            let x = random.uniform(0.3, 0.7);
            assert!((0.3..0.7).contains(&x));
        }
        assert_eq!(random.uniform(0.5, 0.5), 0.5);
    }

    #[test]
    fn distinct_draws_do_not_repeat() {
        let mut random = KeyedRandom::new("distinct", 3, &[]);
        let mut drawn = random.distinct(10, 4);
        assert_eq!(drawn.len(), 4);
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn.len(), 4);
        assert_eq!(random.distinct(3, 9).len(), 3);
        let mut weighted = random.distinct_weighted(&[0.0, 1.0, 2.0, 0.0], 4);
        weighted.sort_unstable();
        assert_eq!(weighted, vec![1, 2]);
    }

    #[test]
    fn weights_are_honoured() {
        let mut heavy = 0;
        for k in 0..3000u32 {
            let mut random = KeyedRandom::new("weights", 3, &[&k.to_le_bytes()]);
            heavy += usize::from(random.distinct_weighted(&[1.0, 3.0], 1) == vec![1]);
        }
        // Three times in four: 2250 expected, five standard deviations are about 119.
        assert!((2130..2370).contains(&heavy), "{heavy}");
    }
}

//! Deterministic pseudo-random numbers: a hash of numbers, a stream of draws from a hash, and a permutation without
//! memory. The finalizer is that of splitmix64 (Steele, Lea, Flood, 2014).

/// A bijection of `0..size` that scatters neighbours: a Feistel network over the next power of four,
/// walked until it lands inside. On average under four steps, of four rounds each.
#[derive(Clone, Debug)]
pub(super) struct Permutation {
    size: u64,
    half: u32,
    keys: [u64; 4],
}

impl Permutation {
    pub(super) fn new(size: u64, seed: u64) -> Self {
        let bits = u64::BITS - size.saturating_sub(1).leading_zeros();
        let keys = [1, 2, 3, 4].map(|round| hash(&[seed, round]));
        Self { size, half: bits.div_ceil(2).max(1), keys }
    }

    /// Returns the image of `place`, which must be in `0..size`.
    pub(super) fn at(&self, place: u64) -> u64 {
        debug_assert!(place < self.size);
        let mut at = self.step(place);
        while at >= self.size {
            at = self.step(at);
        }
        at
    }

    fn step(&self, place: u64) -> u64 {
        let mask = (1 << self.half) - 1;
        let (mut left, mut right) = (place >> self.half, place & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (mix(right ^ key) & mask));
        }
        left << self.half | right
    }
}

/// Draws from a hash, one after the other.
pub(super) struct Draws(u64);

impl Draws {
    pub(super) fn new(from: &[u64]) -> Self {
        Self(hash(from))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// Draws a number in `0..end`; `end` is small against 2^32, so the bias does not matter.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        ((self.next() >> 32) * end) >> 32
    }

    /// Returns `true` once in `n` draws.
    pub(super) fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// Draws one of `of`, which is not empty.
    pub(super) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

/// Hashes several numbers; their order matters.
pub(super) fn hash(of: &[u64]) -> u64 {
    of.iter().fold(GOLDEN, |hash, part| mix(hash.wrapping_add(GOLDEN) ^ part))
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permutation_is_a_bijection() {
        for size in [1, 2, 3, 4, 5, 63, 64, 65, 90, 1000, 4097] {
            for seed in 0..5 {
                let permutation = Permutation::new(size, seed);
                let mut seen: Vec<_> = (0..size).map(|place| permutation.at(place)).collect();
                seen.sort_unstable();
                assert!(seen.into_iter().eq(0..size), "size {size}, seed {seed}");
            }
        }
    }

    #[test]
    fn a_permutation_scatters() {
        let permutation = Permutation::new(100_000, 7);
        let near = (1..100_000).filter(|&place| permutation.at(place).abs_diff(permutation.at(place - 1)) < 100);
        assert!(near.count() < 400, "neighbours must not stay neighbours");
    }

    #[test]
    fn draws_spread_evenly_and_repeat() {
        let mut draws = Draws::new(&[1, 2, 3]);
        let mut seen = [0_u32; 8];
        (0..8_000).for_each(|_| seen[draws.below(8) as usize] += 1);
        assert!(seen.iter().all(|&count| (850..1150).contains(&count)), "{seen:?}");
        assert_eq!(Draws::new(&[1, 2, 3]).next(), Draws::new(&[1, 2, 3]).next());
        assert_ne!(hash(&[1, 2]), hash(&[2, 1]));
    }
}

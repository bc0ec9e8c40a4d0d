//! Seeded randomness: every decision of a run comes from a [`Dice`], and every part of the
//! simulator owns one forked from the run's seed, so that a draw in one part never shifts another.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::ops::RangeInclusive;

/// A seeded, version-stable generator with the draws that the simulator makes.
#[derive(Clone, Debug)]
pub struct Dice(ChaCha8Rng);

impl Dice {
    /// The generator of one part of a run. The same seed and part always give the same draws.
    #[must_use]
    pub fn new(seed: u64, part: &str) -> Self {
        let mut key = [0_u8; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        let mut hash = crate::trace::Fnv128::default();
        hash.update(part.as_bytes());
        key[16..].copy_from_slice(&hash.value().to_le_bytes());
        Self(ChaCha8Rng::from_seed(key))
    }

    /// Sixty-four random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// True with this probability, 0.0 to 1.0.
    pub fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.0.random_bool(probability.min(1.0))
    }

    /// A number of the range, both ends included.
    pub fn between(&mut self, range: RangeInclusive<u64>) -> u64 {
        self.0.random_range(range)
    }

    /// A number of the bounds, both ends included.
    pub fn within(&mut self, bounds: &RangeInclusive<i64>) -> i64 {
        self.0.random_range(bounds.clone())
    }

    /// An index below `length`, which must not be zero.
    pub fn index(&mut self, length: usize) -> usize {
        self.0.random_range(0..length)
    }

    /// One of the choices; there must be one.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.index(choices.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_and_part_draw_the_same() {
        let mut first = Dice::new(7, "disk");
        let mut second = Dice::new(7, "disk");
        assert!((0..32).all(|_| first.bits() == second.bits()));
        assert_ne!(Dice::new(7, "disk").bits(), Dice::new(7, "clock").bits());
    }
}

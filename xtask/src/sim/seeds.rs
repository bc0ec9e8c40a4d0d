//! A range of seeds as written on the command line.

use std::fmt;
use std::str::FromStr;

/// The seeds from `start` (included) to `end` (excluded).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seeds {
    /// The first seed.
    pub start: u64,
    /// One past the last seed. Invariant: `start < end`.
    pub end: u64,
}

impl Seeds {
    /// Just this seed.
    #[must_use]
    pub fn single(seed: u64) -> Self {
        Self { start: seed, end: seed.saturating_add(1) }
    }

    /// Every seed from this one on: there is always a next one.
    #[must_use]
    pub fn open_from(start: u64) -> Self {
        Self { start, end: u64::MAX }
    }

    /// Whether there is always a next one.
    #[must_use]
    pub fn is_open(self) -> bool {
        self.end == u64::MAX
    }

    /// Every seed, in order.
    pub fn iter(self) -> impl Iterator<Item = u64> + Send {
        self.start..self.end
    }

    /// How many seeds there are.
    #[must_use]
    pub fn count(self) -> u64 {
        self.end - self.start
    }
}

impl fmt::Display for Seeds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}..", self.start)?;
        if self.is_open() { Ok(()) } else { write!(formatter, "{}", self.end) }
    }
}

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = || format!("`{text}` is not a range of seeds; write A..B, for example 0..200");
        let (start, end) = text.split_once("..").ok_or_else(shape)?;
        let start = start.trim().parse().map_err(|_| shape())?;
        let end = end.trim().parse().map_err(|_| shape())?;
        if start >= end {
            return Err(format!("the range {text} is empty; its end is excluded"));
        }
        Ok(Self { start, end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_excludes_its_end() {
        let seeds: Seeds = "3..6".parse().unwrap();
        assert_eq!(seeds.iter().collect::<Vec<_>>(), [3, 4, 5]);
        assert_eq!(seeds.count(), 3);
    }

    #[test]
    fn a_single_seed_is_a_range_of_one() {
        assert_eq!(Seeds::single(42).iter().collect::<Vec<_>>(), [42]);
    }

    #[test]
    fn seeds_without_an_end_are_shown_without_one() {
        assert!(Seeds::open_from(3).is_open() && !Seeds::single(3).is_open());
        assert_eq!(Seeds::open_from(3).to_string(), "3..");
        assert_eq!("3..6".parse::<Seeds>().unwrap().to_string(), "3..6");
    }

    #[test]
    fn what_is_no_range_is_refused_with_a_reason() {
        for text in ["", "7", "a..b", "..", "1..", "..4", "-1..3", "0..=4"] {
            assert!(text.parse::<Seeds>().unwrap_err().contains("A..B"), "{text}");
        }
        for text in ["5..5", "6..2"] {
            assert!(text.parse::<Seeds>().unwrap_err().contains("empty"), "{text}");
        }
    }
}

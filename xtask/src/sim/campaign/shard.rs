//! One machine's part of a campaign, as it is written on the command line.

use std::fmt;
use std::str::FromStr;

/// Part `index` of `of` parts of the same size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Which part, from 0. Invariant: `index < of`.
    pub index: u64,
    /// How many parts there are.
    pub of: u64,
}

impl Shard {
    /// All of it.
    pub const WHOLE: Self = Self { index: 0, of: 1 };

    /// Whether this part has the run of this round of the scenario at this place.
    ///
    /// Each round gives a scenario to the next part, so that every part has its share of every
    /// scenario's seeds, and every seed has its share of every part's time.
    #[must_use]
    pub fn has(self, place: u64, round: u64) -> bool {
        (place % self.of + round % self.of) % self.of == self.index
    }

    /// How many of the first `rounds` runs of the scenario at this place this part has.
    #[must_use]
    pub fn count(self, place: u64, rounds: u64) -> u64 {
        let first = (self.index + self.of - place % self.of) % self.of;
        if first < rounds { (rounds - 1 - first) / self.of + 1 } else { 0 }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.index, self.of)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape =
            || format!("`{text}` is not a shard; write I/N with I from 0 to N-1, for example 0/4");
        let (index, of) = text.split_once('/').ok_or_else(shape)?;
        let number = |text: &str| text.trim().parse::<u32>().map(u64::from).map_err(|_| shape());
        let (index, of) = (number(index)?, number(of)?);
        if index >= of {
            return Err(shape());
        }
        Ok(Self { index, of })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_counted_from_zero() {
        assert_eq!("0/1".parse(), Ok(Shard::WHOLE));
        assert_eq!("3/4".parse(), Ok(Shard { index: 3, of: 4 }));
        assert_eq!(Shard { index: 3, of: 4 }.to_string(), "3/4");
        for text in ["", "1", "4/4", "0/0", "-1/3", "a/b", "1/2/3", "0/99999999999"] {
            assert!(text.parse::<Shard>().unwrap_err().contains("0/4"), "{text}");
        }
    }

    #[test]
    fn every_run_belongs_to_exactly_one_shard_and_the_counts_agree() {
        for of in 1..=5 {
            for place in 0..7 {
                for rounds in 0..12 {
                    let shards = (0..of).map(|index| Shard { index, of });
                    let counts: Vec<u64> =
                        shards.clone().map(|shard| shard.count(place, rounds)).collect();
                    let had: Vec<u64> = shards
                        .map(|shard| (0..rounds).filter(|round| shard.has(place, *round)).count())
                        .map(|count| count as u64)
                        .collect();
                    assert_eq!(counts, had, "{place} {rounds} of {of}");
                    assert_eq!(counts.iter().sum::<u64>(), rounds);
                    let spread = counts.iter().max().unwrap() - counts.iter().min().unwrap();
                    assert!(spread <= 1, "{counts:?}");
                }
            }
        }
    }
}

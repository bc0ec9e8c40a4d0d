//! Medians and percentiles.

use std::time::Duration;

use serde::Serialize;

/// The usual percentiles of many durations, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Percentiles {
    pub count: usize,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub max_ms: f64,
}

impl Percentiles {
    /// Of these durations, in any order.
    #[must_use]
    pub fn of(mut durations: Vec<Duration>) -> Self {
        durations.sort_unstable();
        Self {
            count: durations.len(),
            p50_ms: quantile(&durations, 0.5),
            p99_ms: quantile(&durations, 0.99),
            p999_ms: quantile(&durations, 0.999),
            max_ms: quantile(&durations, 1.0),
        }
    }

    /// The one with the smaller median, of those that measured anything.
    #[must_use]
    pub fn quicker(self, other: Self) -> Self {
        let other_counts = other.count > 0 && (self.count == 0 || other.p50_ms < self.p50_ms);
        if other_counts { other } else { self }
    }
}

/// The smallest duration that at least the given part does not exceed, in milliseconds.
fn quantile(sorted: &[Duration], part: f64) -> f64 {
    let rank = (part * sorted.len() as f64).ceil() as usize;
    let index = rank.max(1).min(sorted.len().max(1)) - 1;
    sorted.get(index).map_or(0.0, |duration| duration.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_take_the_nearest_rank() {
        let percentiles = Percentiles::of((1..=1000).rev().map(Duration::from_millis).collect());
        assert_eq!(percentiles.count, 1000);
        assert_eq!(percentiles.p50_ms, 500.0);
        assert_eq!(percentiles.p99_ms, 990.0);
        assert_eq!(percentiles.p999_ms, 999.0);
        assert_eq!(percentiles.max_ms, 1000.0);
    }

    #[test]
    fn the_quicker_of_two_measurements_counts() {
        let of = |ms| Percentiles::of(vec![Duration::from_millis(ms)]);
        assert_eq!(of(3).quicker(of(2)), of(2));
        assert_eq!(of(2).quicker(of(3)), of(2));
        assert_eq!(Percentiles::default().quicker(of(3)), of(3));
        assert_eq!(of(3).quicker(Percentiles::default()), of(3));
    }

    #[test]
    fn nothing_and_one_are_no_trouble() {
        assert_eq!(Percentiles::of(Vec::new()), Percentiles::default());
        assert_eq!(Percentiles::of(vec![Duration::from_millis(7)]).p50_ms, 7.0);
    }
}

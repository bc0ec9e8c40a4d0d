//! What producers saw of each fault: how long partitions acknowledged nothing.

use std::time::Duration;

/// A partition acknowledged nothing, though records waited. Times in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    pub partition: usize,
    /// The last acknowledgement before.
    pub from_ms: u64,
    /// The first one after.
    pub until_ms: u64,
}

/// The time that belongs to a fault: from its beginning to the next one's.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub from_ms: u64,
    pub until_ms: u64,
}

/// The longest that the partition acknowledged nothing within the span; zero without a gap. What of a gap
/// lies outside is another fault's: the last acknowledgement before a fault lies in the span of the one
/// before it.
pub fn longest(gaps: &[Gap], partition: usize, span: Span) -> Duration {
    let within = gaps.iter().filter(|gap| gap.partition == partition).map(|gap| {
        let (from, until) = (gap.from_ms.max(span.from_ms), gap.until_ms.min(span.until_ms));
        until.saturating_sub(from)
    });
    Duration::from_millis(within.max().unwrap_or(0))
}

/// Minimum, median, 90th percentile and maximum in seconds, and of how many.
pub fn distribution(mut samples: Vec<Duration>) -> String {
    samples.sort_unstable();
    let Some(last) = samples.len().checked_sub(1) else { return "none".to_owned() };
    // The nearest rank.
    let rank = |part: f64| ((part * samples.len() as f64).ceil() as usize).clamp(1, last + 1) - 1;
    let at = |index: usize| samples[index].as_secs_f64();
    format!(
        "min {:.1} s, median {:.1} s, p90 {:.1} s, max {:.1} s of {}",
        at(0),
        at(rank(0.5)),
        at(rank(0.9)),
        at(last),
        samples.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_in_the_span_counts_of_the_gaps_of_the_partition() {
        let gap = |partition, from_ms, until_ms| Gap { partition, from_ms, until_ms };
        let gaps = [gap(0, 900, 4000), gap(0, 100, 950), gap(1, 900, 9000), gap(0, 4990, 9000)];
        let of =
            |partition, from_ms, until_ms| longest(&gaps, partition, Span { from_ms, until_ms });
        assert_eq!(of(0, 1000, 5000), Duration::from_millis(3000), "not the next fault's 4 s");
        assert_eq!(of(0, 5000, 10_000), Duration::from_millis(4000));
        assert_eq!(of(1, 2000, 3000), Duration::from_millis(1000));
        assert_eq!(of(2, 1000, 5000), Duration::ZERO);
    }

    #[test]
    fn a_distribution_takes_the_nearest_rank() {
        let samples = (1..=10).rev().map(Duration::from_secs).collect();
        let text = distribution(samples);
        assert_eq!(text, "min 1.0 s, median 5.0 s, p90 9.0 s, max 10.0 s of 10");
        assert_eq!(distribution(Vec::new()), "none");
    }
}

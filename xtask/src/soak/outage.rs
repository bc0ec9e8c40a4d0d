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

/// The longest gap of the partition that overlaps the span; zero without any.
pub fn longest(gaps: &[Gap], partition: usize, span: Span) -> Duration {
    let lengths = gaps
        .iter()
        .filter(|gap| gap.partition == partition)
        .filter(|gap| gap.from_ms < span.until_ms && gap.until_ms > span.from_ms)
        .map(|gap| gap.until_ms - gap.from_ms);
    Duration::from_millis(lengths.max().unwrap_or(0))
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
    fn only_gaps_of_the_partition_and_the_span_count() {
        let gap = |partition, from_ms, until_ms| Gap { partition, from_ms, until_ms };
        let gaps = [gap(0, 900, 4000), gap(0, 100, 950), gap(1, 900, 9000), gap(0, 5000, 9000)];
        let span = Span { from_ms: 1000, until_ms: 5000 };
        assert_eq!(longest(&gaps, 0, span), Duration::from_millis(3100));
        assert_eq!(longest(&gaps, 2, span), Duration::ZERO);
    }

    #[test]
    fn a_distribution_takes_the_nearest_rank() {
        let samples = (1..=10).rev().map(Duration::from_secs).collect();
        let text = distribution(samples);
        assert_eq!(text, "min 1.0 s, median 5.0 s, p90 9.0 s, max 10.0 s of 10");
        assert_eq!(distribution(Vec::new()), "none");
    }
}

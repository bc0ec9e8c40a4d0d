//! The known name that a misspelt one resembles most.

/// The nearest of `known` by edit distance, when it is near enough to be what was meant. Of two
/// equally near names the first wins.
#[must_use]
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // A key of the longest known length plus its distance bound: anything longer resembles none.
    if name.len() > MAX_NAME_BYTES {
        return None;
    }
    let bound = (name.len() / 3).max(2);
    known
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= bound)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

const MAX_NAME_BYTES: usize = 128;

/// Levenshtein's distance, with separators and case made equal first, so that
/// `LOG_RETENTION_MS` is at distance zero from `log.retention.ms`.
fn distance(left: &str, right: &str) -> usize {
    let fold = |text: &str| -> Vec<u8> {
        text.bytes()
            .map(|byte| if matches!(byte, b'_' | b'-') { b'.' } else { byte.to_ascii_lowercase() })
            .collect()
    };
    let (left, right) = (fold(left), fold(right));
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, r) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(l != r);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 3] = ["log.retention.ms", "log.retention.bytes", "num.partitions"];

    #[test]
    fn a_misspelt_name_finds_its_key_and_a_foreign_one_finds_none() {
        let near = |name| nearest(name, KNOWN.into_iter());
        assert_eq!(near("log.retentoin.ms"), Some("log.retention.ms"));
        assert_eq!(near("LOG_RETENTION_MS"), Some("log.retention.ms"));
        assert_eq!(near("num.partition"), Some("num.partitions"));
        assert_eq!(near("zookeeper.connect"), None);
        assert_eq!(near(&"x".repeat(1_000_000)), None);
    }

    #[test]
    fn the_distance_counts_single_edits() {
        for (left, right, expected) in
            [("", "", 0), ("a", "", 1), ("kitten", "sitting", 3), ("ab", "ba", 2)]
        {
            assert_eq!(distance(left, right), expected, "{left} to {right}");
        }
    }
}

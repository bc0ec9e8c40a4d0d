//! Where a trace stood while it was written: a few bits of its hash after every so many events, so
//! that the first event that differs in another run is found without keeping the trace.

use serde::{Deserialize, Serialize};

/// The most checkpoints that a script keeps.
const MOST: usize = 50_000;

/// Sixteen bits of the trace's hash after every `every` events.
///
/// The hash is one over all events before, so that nearly every checkpoint behind a difference
/// differs, too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoints {
    /// How many events lie between two checkpoints, at least one.
    pub every: usize,
    /// Four hexadecimal digits for each.
    pub prefixes: String,
}

impl Checkpoints {
    /// Of a trace that had these bits after each of its events.
    #[must_use]
    pub fn of(prefixes: &[u16]) -> Self {
        let every = prefixes.len().div_ceil(MOST).max(1);
        let kept = prefixes.iter().skip(every - 1).step_by(every);
        Self { every, prefixes: kept.map(|prefix| format!("{prefix:04x}")).collect() }
    }

    /// The number of the first event, counted from zero, up to which a trace with these bits may
    /// have been the same: at most `every` events before the difference. `None` when no checkpoint
    /// differs, as far as both traces go.
    #[must_use]
    pub fn first_difference(&self, prefixes: &[u16]) -> Option<usize> {
        let ours = prefixes.iter().skip(self.every.max(1) - 1).step_by(self.every.max(1));
        let theirs = self.prefixes.as_bytes().chunks_exact(4);
        let differs = |(theirs, ours): (&[u8], &u16)| theirs != format!("{ours:04x}").as_bytes();
        theirs.zip(ours).position(differs).map(|index| index * self.every.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_event_that_differs_is_found() {
        let trace: Vec<u16> = (0..500).map(|event| event * 7).collect();
        let checkpoints = Checkpoints::of(&trace);
        assert_eq!((checkpoints.every, checkpoints.prefixes.len()), (1, 2_000));
        assert_eq!(checkpoints.first_difference(&trace), None);
        assert_eq!(checkpoints.first_difference(&trace[..80]), None);
        let mut other = trace;
        other[321..].iter_mut().for_each(|prefix| *prefix ^= 0x8000);
        assert_eq!(checkpoints.first_difference(&other), Some(321));
    }

    #[test]
    fn a_long_trace_has_fewer_checkpoints_than_events() {
        let mut trace: Vec<u16> = (0..120_000_u32).map(|event| event as u16).collect();
        let checkpoints = Checkpoints::of(&trace);
        assert_eq!((checkpoints.every, checkpoints.prefixes.len()), (3, 160_000));
        trace[100_000..].iter_mut().for_each(|prefix| *prefix ^= 1);
        assert_eq!(checkpoints.first_difference(&trace), Some(99_999));
    }
}

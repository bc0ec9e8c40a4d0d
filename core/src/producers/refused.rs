//! The first batches of producers that nothing is known of, as long as they were refused.

use crate::{
    record::ProducerIdentity,
    time::Instant,
    types::{ProducerEpoch, ProducerId, Sequence},
};
use alloc::collections::{BTreeMap, VecDeque};
use core::time::Duration;

/// How many producers are remembered: those whose first batches were refused and have not come
/// again. The one that was refused first makes room.
pub const REFUSED_MAX: usize = 1_000;

/// How long one is remembered: longer than what was sent behind a refused batch may be on its way.
pub const REFUSED_FOR: Duration = Duration::from_secs(120);

type Key = (ProducerId, ProducerEpoch);

/// Where producers have to begin.
///
/// Of a producer that is not known any sequence number is accepted (KAFKA-7190). If its first batch
/// is refused for now, because too few replicas are in sync or because the broker does not lead yet,
/// and the next one, already on its way, is not, then the first can never be appended any more
/// (KAFKA-14359). So a broker remembers for a while what it refused, and what it had appended and had
/// to truncate, until that comes again.
#[derive(Clone, Debug, Default)]
pub struct RefusedSequences {
    /// The lowest that was refused, and when the first was.
    lowest: BTreeMap<Key, (Sequence, Instant)>,
    /// Invariant: the keys of `lowest`, in the order of their first refusals.
    order: VecDeque<Key>,
}

impl RefusedSequences {
    /// A batch was refused, or truncated, and will come again.
    pub fn refused(&mut self, now: Instant, batch: &ProducerIdentity) {
        self.forget_old(now);
        let key = (batch.id, batch.epoch);
        if let Some((lowest, _)) = self.lowest.get_mut(&key) {
            *lowest = batch.base_sequence.min(*lowest);
            return;
        }
        if self.order.len() == REFUSED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.lowest.remove(&oldest);
        }
        self.lowest.insert(key, (batch.base_sequence, now));
        self.order.push_back(key);
    }

    /// The sequence number with which a producer that is not known has to begin; `None` when any
    /// will do.
    #[must_use]
    pub fn begins_with(&self, now: Instant, batch: &ProducerIdentity) -> Option<Sequence> {
        let (lowest, since) = self.lowest.get(&(batch.id, batch.epoch))?;
        (now.since(*since) < REFUSED_FOR).then_some(*lowest)
    }

    fn forget_old(&mut self, now: Instant) {
        while let Some(oldest) = self.order.front()
            && now.since(self.lowest[oldest].1) >= REFUSED_FOR
        {
            self.lowest.remove(oldest);
            self.order.pop_front();
        }
    }

    /// The producer is known now.
    pub fn forget(&mut self, batch: &ProducerIdentity) {
        let key = (batch.id, batch.epoch);
        if self.lowest.remove(&key).is_some() {
            self.order.retain(|other| *other != key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant(7);

    fn identity(id: u64, base: i32) -> ProducerIdentity {
        let (base_sequence, last_sequence) = (Sequence(base), Sequence(base));
        ProducerIdentity {
            id: ProducerId(id),
            epoch: ProducerEpoch(0),
            base_sequence,
            last_sequence,
        }
    }

    #[test]
    fn the_lowest_refused_sequence_is_where_a_producer_begins() {
        let mut refused = RefusedSequences::default();
        for base in [5, 3, 8] {
            refused.refused(NOW, &identity(1, base));
        }
        assert_eq!(refused.begins_with(NOW, &identity(1, 9)), Some(Sequence(3)));
        assert_eq!(refused.begins_with(NOW, &identity(2, 9)), None);
        refused.forget(&identity(1, 3));
        assert_eq!(refused.begins_with(NOW, &identity(1, 9)), None);
    }

    #[test]
    fn what_was_refused_long_ago_binds_nobody() {
        let mut refused = RefusedSequences::default();
        refused.refused(NOW, &identity(1, 0));
        let (before, then) = (REFUSED_FOR - Duration::from_nanos(1), REFUSED_FOR);
        assert_eq!(refused.begins_with(NOW.after(before), &identity(1, 9)), Some(Sequence(0)));
        assert_eq!(refused.begins_with(NOW.after(then), &identity(1, 9)), None);
        refused.refused(NOW.after(then), &identity(2, 0));
        assert_eq!(refused.order.len(), 1);
    }

    #[test]
    fn the_producer_that_was_refused_first_makes_room() {
        let mut refused = RefusedSequences::default();
        for id in 0..=REFUSED_MAX as u64 {
            refused.refused(NOW, &identity(id, 0));
        }
        assert_eq!(refused.begins_with(NOW, &identity(0, 1)), None);
        assert_eq!(refused.begins_with(NOW, &identity(1, 1)), Some(Sequence(0)));
        assert_eq!(refused.order.len(), REFUSED_MAX);
    }
}

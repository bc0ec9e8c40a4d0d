//! The producers whose batches were refused because their partition was not open yet. When it is
//! opened it hears of them: what was sent behind such a batch and arrives by then may not be taken for
//! the producer's first (KAFKA-14359).

use highwater_core::{
    producers::{REFUSED_FOR, REFUSED_MAX},
    record::ProducerIdentity,
    time::Instant,
    types::{PartitionIndex, TopicId},
};
use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

type Key = (TopicId, PartitionIndex);

/// Refused batches of partitions that are not open, the latest [`REFUSED_MAX`] of the last
/// [`REFUSED_FOR`], in the order in which they came.
#[derive(Default)]
pub struct RefusedProduces(Mutex<VecDeque<(Key, Instant, ProducerIdentity)>>);

impl RefusedProduces {
    /// A batch for this partition was refused.
    pub fn note(&self, key: Key, now: Instant, batch: ProducerIdentity) {
        let mut refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while refused.len() >= REFUSED_MAX
            || refused.front().is_some_and(|(_, since, _)| now.since(*since) >= REFUSED_FOR)
        {
            refused.pop_front();
        }
        refused.push_back((key, now, batch));
    }

    /// What was refused of this partition, which is told of it now.
    pub fn take(&self, key: Key) -> Vec<ProducerIdentity> {
        let mut refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = refused.iter().filter(|(of, ..)| *of == key).map(|(.., batch)| *batch);
        let taken = taken.collect();
        refused.retain(|(of, ..)| *of != key);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use highwater_core::types::{ProducerEpoch, ProducerId, Sequence};

    const NOW: Instant = Instant(7);

    fn key(index: u32) -> Key {
        (TopicId::default(), PartitionIndex(index))
    }

    fn batch(id: u64) -> ProducerIdentity {
        let (base_sequence, last_sequence) = (Sequence(0), Sequence(3));
        ProducerIdentity {
            id: ProducerId(id),
            epoch: ProducerEpoch(0),
            base_sequence,
            last_sequence,
        }
    }

    #[test]
    fn a_partition_hears_once_of_what_was_refused_for_it() {
        let refused = RefusedProduces::default();
        refused.note(key(0), NOW, batch(1));
        refused.note(key(1), NOW, batch(2));
        refused.note(key(0), NOW, batch(3));
        assert_eq!(refused.take(key(0)), [batch(1), batch(3)]);
        assert_eq!(refused.take(key(0)), []);
        assert_eq!(refused.take(key(1)), [batch(2)]);
    }

    #[test]
    fn what_was_refused_long_ago_or_first_makes_room() {
        let refused = RefusedProduces::default();
        refused.note(key(0), NOW, batch(0));
        refused.note(key(0), NOW.after(REFUSED_FOR), batch(1));
        assert_eq!(refused.take(key(0)), [batch(1)]);
        for id in 0..=REFUSED_MAX as u64 {
            refused.note(key(0), NOW, batch(id));
        }
        let left = refused.take(key(0));
        assert_eq!((left.len(), left[0]), (REFUSED_MAX, batch(1)));
    }
}

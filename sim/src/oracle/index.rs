//! Views over a history that several checks need, built once.

use crate::batch::ReadRecord;
use crate::history::{Call, FinalLog, History, Outcome, Partition, Produce};
use std::collections::BTreeMap;

/// A history with its indexes.
#[derive(Debug)]
pub struct Index<'a> {
    /// The history itself.
    pub history: &'a History,
    /// Every attempt to send a record of this number, in the order of invocation.
    pub attempts: BTreeMap<u64, Vec<(&'a Call, &'a Produce)>>,
    /// What the healed broker serves, by partition.
    pub finals: BTreeMap<Partition, &'a FinalLog>,
    /// The records of the healed broker that are not below its log start, by partition and offset.
    pub records: BTreeMap<Partition, BTreeMap<i64, &'a ReadRecord>>,
}

impl<'a> Index<'a> {
    /// Indexes a history.
    #[must_use]
    pub fn new(history: &'a History) -> Self {
        let mut attempts: BTreeMap<u64, Vec<_>> = BTreeMap::new();
        for (call, produce) in history.produces() {
            for record in &produce.records {
                attempts.entry(record.number).or_default().push((call, produce));
            }
        }
        let with_partition = |log: &'a FinalLog| Some((log.partition?, log));
        let finals: BTreeMap<_, _> = history.finals.iter().filter_map(with_partition).collect();
        let records = finals.iter().map(|(partition, log)| (*partition, records_of(log))).collect();
        Self { history, attempts, finals, records }
    }

    /// The final log of a partition, if it is online.
    #[must_use]
    pub fn online(&self, partition: Partition) -> Option<&'a FinalLog> {
        self.finals.get(&partition).copied().filter(|log| log.error.is_none())
    }

    /// A partition's name as people write it.
    #[must_use]
    pub fn name(&self, partition: Partition) -> String {
        self.history.name(partition)
    }
}

fn records_of(log: &FinalLog) -> BTreeMap<i64, &ReadRecord> {
    let records = log.batches.iter().flat_map(|batch| &batch.records);
    let kept = records.filter(|record| record.offset >= log.log_start);
    kept.map(|record| (record.offset, record)).collect()
}

/// Whether an outcome means that nothing was appended, for certain.
#[must_use]
pub fn surely_not_appended(outcome: &Outcome) -> bool {
    const CORRUPT_MESSAGE: i16 = 2;
    const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
    const MESSAGE_TOO_LARGE: i16 = 10;
    const NOT_ENOUGH_REPLICAS: i16 = 19;
    const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
    const INVALID_PRODUCER_EPOCH: i16 = 47;
    const UNKNOWN_PRODUCER_ID: i16 = 59;
    const INVALID_RECORD: i16 = 87;
    const UNKNOWN_TOPIC_ID: i16 = 100;
    matches!(
        outcome,
        Outcome::Failed(
            CORRUPT_MESSAGE
                | UNKNOWN_TOPIC_OR_PARTITION
                | MESSAGE_TOO_LARGE
                | NOT_ENOUGH_REPLICAS
                | OUT_OF_ORDER_SEQUENCE_NUMBER
                | INVALID_PRODUCER_EPOCH
                | UNKNOWN_PRODUCER_ID
                | INVALID_RECORD
                | UNKNOWN_TOPIC_ID
        )
    )
}

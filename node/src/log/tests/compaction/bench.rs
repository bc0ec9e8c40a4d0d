//! A log of keyed records, and the plainest idea of what compaction may do to it.

use super::super::{
    super::{
        CompactionPolicy, CompactionReport, CompactionTask, Log, LogError, LogOptions, Pace,
        RecoveredLog,
    },
    disk::MemoryDisk,
    model::{Events, OPTIONS, at, dir, settle},
};
use crate::{
    codec,
    env::{BoxFuture, Disk},
    log::LogEvent,
    tasks::Tasks,
};
use highwater_core::{
    partition::{CompactionBounds, SideState},
    record::{
        BATCH_HEADER_BYTES, Batch, BatchBuilder, BatchHeader, Compression, NewRecord, Origin,
        PlacedBatch, Records, crc_of, verify_crc,
    },
    time::Timestamp,
    types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, WriteId},
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// A record: offset, timestamp, key, value.
pub(super) type Stored = (u64, i64, Option<Vec<u8>>, Option<Vec<u8>>);

pub(super) const POLICY: CompactionPolicy = CompactionPolicy {
    min_dirty_ratio_millionths: 500_000,
    min_lag: Duration::ZERO,
    max_lag: None,
    delete_retention: Duration::from_millis(1000),
    segment_bytes: 1500,
    segment_index_bytes: 1 << 20,
    index_interval_bytes: 200,
};

/// Never waits.
pub(super) struct NoPace;

impl Pace for NoPace {
    fn moved(&self, _: u64) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// What a batch is made of.
#[derive(Clone, Copy)]
pub(super) struct Sent<'a> {
    pub(super) producer: Option<(u64, i32)>,
    pub(super) compression: Compression,
    /// Key, value and timestamp of each record.
    pub(super) records: &'a [(Option<&'a str>, Option<&'a str>, i64)],
}

pub(super) struct Bench {
    pub(super) memory: MemoryDisk,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) log: Log,
    pub(super) events: Events,
    /// Every batch that was appended and is in the log, or was until compaction came.
    pub(super) batches: Vec<PlacedBatch>,
    pub(super) epoch: u32,
    pub(super) policy: CompactionPolicy,
    pub(super) map_bytes: u64,
    /// How often something was written.
    pub(super) writes: u64,
}

pub(super) async fn open_log(
    disk: &Arc<dyn Disk>,
) -> Result<(Log, RecoveredLog, Events), LogError> {
    disk.create_dir("data".as_ref()).await?;
    disk.sync_dir("".as_ref()).await?;
    let events = Events::default();
    let (log, recovered) =
        Log::open(disk.clone(), &Tasks::default(), dir(), OPTIONS, at(0), events.sink()).await?;
    Ok((log, recovered, events))
}

impl Bench {
    pub(super) async fn new() -> Self {
        let memory = MemoryDisk::default();
        let disk: Arc<dyn Disk> = Arc::new(memory.clone());
        let (log, _, events) = open_log(&disk).await.expect("opens");
        Self {
            memory,
            disk,
            log,
            events,
            batches: Vec::new(),
            epoch: 0,
            policy: POLICY,
            map_bytes: 1 << 20,
            writes: 0,
        }
    }

    pub(super) fn end(&self) -> Offset {
        self.batches.last().map_or(Offset(0), |batch| batch.header.next_offset())
    }

    pub(super) fn write_id(&mut self) -> WriteId {
        self.writes += 1;
        WriteId(self.writes)
    }

    /// Appends a batch without waiting for it.
    pub(super) fn append(&mut self, sent: Sent<'_>) {
        let batch = placed(self.end().0, self.epoch, sent);
        let write = self.write_id();
        self.log.append(at(0), write, batch.clone());
        self.batches.push(batch);
    }

    /// Appends one record each, all flushed.
    pub(super) async fn put(&mut self, records: &[(&str, Option<&str>)]) {
        for (key, value) in records {
            let records = &[(Some(*key), *value, self.end().0 as i64)];
            self.append(Sent { producer: None, compression: Compression::None, records });
        }
        settle().await;
    }

    /// Closes the active segment.
    pub(super) async fn roll(&self) {
        self.log.roll();
        settle().await;
    }

    /// The state as of the end.
    pub(super) fn side(&self) -> SideState {
        let mut side = SideState::starting_at(Offset(0));
        for batch in &self.batches {
            side.replay(&batch.header).expect("in order");
        }
        side
    }

    pub(super) fn bounds(&self) -> CompactionBounds {
        let side = self.side();
        CompactionBounds { cleanable_end: side.offset, tombstones_end: side.offset, side }
    }

    pub(super) async fn try_compact(
        &self,
        now: i64,
        bounds: CompactionBounds,
    ) -> Result<CompactionReport, LogError> {
        let task = CompactionTask {
            now: Timestamp(now),
            bounds,
            policy: self.policy,
            map_bytes: self.map_bytes,
            hash_key: [3; 16],
            pace: &NoPace,
        };
        self.log.compact(&task).await
    }

    pub(super) async fn compact(&self, now: i64) -> CompactionReport {
        let report = self.try_compact(now, self.bounds()).await.expect("compacts");
        settle().await;
        report
    }

    /// The power fails, and comes back.
    pub(super) async fn power_cut(&mut self, seed: u64) -> RecoveredLog {
        self.memory.power_cut(seed);
        let (log, recovered, events) = open_log(&self.disk).await.expect("recovers");
        (self.log, self.events) = (log, events);
        recovered
    }

    pub(super) async fn records(&self) -> Vec<Stored> {
        read_all(&self.log, Offset(0), self.end()).await.1
    }

    /// Everything that was sent.
    pub(super) fn sent(&self) -> Vec<Stored> {
        self.batches.iter().flat_map(|batch| stored(&batch.chunks.concat())).collect()
    }

    /// The batches below the end as they are in the log.
    pub(super) async fn headers(&self) -> Vec<BatchHeader> {
        read_all(&self.log, Offset(0), self.end()).await.0
    }

    pub(super) fn has_failed(&self) -> bool {
        self.events.take().iter().any(|event| matches!(event, LogEvent::Failed(_)))
    }

    /// Checks everything that compaction promises about the records, with everything at or above
    /// `suffix` untouched.
    pub(super) async fn check(&self, suffix: Offset) {
        check(&self.log, &self.sent(), self.end(), suffix).await;
    }
}

/// Checks a log against what was sent, up to `end`.
pub(super) async fn check(log: &Log, sent: &[Stored], end: Offset, suffix: Offset) {
    let (headers, found) = read_all(log, Offset(0), end).await;
    assert!(headers.is_sorted_by(|a, b| a.next_offset() <= b.base_offset), "batches in order");
    assert!(found.is_sorted_by_key(|record| record.0), "records in order");
    for record in &found {
        assert!(sent.contains(record), "a record is as it was sent: {record:?}");
    }
    assert_eq!(projected(&found), projected(sent), "C1: the newest values");
    let above = |records: &[Stored]| -> Vec<Stored> {
        records.iter().filter(|record| record.0 >= suffix.0).cloned().collect()
    };
    assert_eq!(above(&found), above(sent), "C2: what lies above {suffix} stays");
    // C3: reading at any offset goes on with the next record.
    for offset in 0..end.0 {
        let bytes = log.read(Offset(offset), end, 1, true).await.expect("readable");
        let batch = BatchHeader::parse(&bytes).expect("there is a batch to go on from");
        assert!(batch.next_offset() > Offset(offset));
        let expected = headers.iter().find(|header| header.next_offset() > Offset(offset));
        assert_eq!(Some(&batch), expected, "the next batch at {offset}");
    }
}

/// The last value of each key that has one.
pub(super) fn projected(records: &[Stored]) -> BTreeMap<Vec<u8>, (u64, Vec<u8>)> {
    let mut map = BTreeMap::new();
    for (offset, _, key, value) in records {
        let Some(key) = key else { continue };
        match value {
            Some(value) => map.insert(key.clone(), (*offset, value.clone())),
            None => map.remove(key),
        };
    }
    map
}

/// Reads from batch to batch.
pub(super) async fn read_all(
    log: &Log,
    from: Offset,
    end: Offset,
) -> (Vec<BatchHeader>, Vec<Stored>) {
    let (mut headers, mut records, mut at) = (Vec::new(), Vec::new(), from);
    while at < end {
        let mut bytes = log.read(at, end, 600, true).await.expect("readable");
        if bytes.is_empty() {
            break;
        }
        while !bytes.is_empty() {
            let header = BatchHeader::parse(&bytes).expect("whole batches");
            let batch = bytes.split_to(header.size_in_bytes);
            assert!(verify_crc(&batch));
            records.extend(stored(&batch));
            at = header.next_offset();
            headers.push(header);
        }
    }
    (headers, records)
}

fn stored(batch: &[u8]) -> Vec<Stored> {
    let header = BatchHeader::parse(batch).expect("sound");
    let body = codec::decompress(header.compression, &batch[BATCH_HEADER_BYTES..]).expect("sound");
    let records = Records::in_body(&header, &body).map(|record| {
        let record = record.expect("sound");
        let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
        (record.offset.0, record.timestamp.0, owned(record.key), owned(record.value))
    });
    records.collect()
}

pub(super) fn placed(base_offset: u64, epoch: u32, sent: Sent<'_>) -> PlacedBatch {
    let mut builder = BatchBuilder::new();
    if let Some((id, sequence)) = sent.producer {
        builder = builder.producer(ProducerId(id), ProducerEpoch(0), Sequence(sequence));
    }
    for (key, value, timestamp) in sent.records {
        builder.push(NewRecord {
            timestamp: Timestamp(*timestamp),
            key: key.map(str::as_bytes),
            value: value.map(str::as_bytes),
            headers: &[],
        });
    }
    let bytes = compressed(&builder.build(), sent.compression);
    Batch::parse(bytes.into(), usize::MAX, Origin::Client).expect("valid").placed(
        Offset(base_offset),
        LeaderEpoch(epoch),
        None,
    )
}

/// The same batch, compressed.
fn compressed(batch: &[u8], compression: Compression) -> Vec<u8> {
    let body = codec::compress(compression, &batch[BATCH_HEADER_BYTES..]).expect("to memory");
    let mut bytes = [&batch[..BATCH_HEADER_BYTES], &body].concat();
    let codecs = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];
    let codec = codecs.iter().position(|known| *known == compression).expect("known");
    reseal(&mut bytes, |bytes| bytes[22] |= codec as u8);
    bytes
}

/// Changes a batch and makes it sound again.
pub(super) fn reseal(bytes: &mut [u8], change: impl FnOnce(&mut [u8])) {
    change(bytes);
    let length = bytes.len() as u32 - 12;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = crc_of(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// Larger segments than the other tests have.
pub(super) fn roomy() -> LogOptions {
    LogOptions { segment_bytes: 1 << 20, ..OPTIONS }
}

impl Bench {
    /// The base offsets of the batches in the log, whatever is in them.
    pub(super) async fn headers_only(&self) -> Vec<u64> {
        let (mut offsets, mut at) = (Vec::new(), Offset(0));
        while at < self.end() {
            let bytes = self.log.read(at, self.end(), 1, true).await.expect("readable");
            // A log may end in a gap.
            let Ok(header) = BatchHeader::parse(&bytes) else { break };
            offsets.push(header.base_offset.0);
            at = header.next_offset();
        }
        offsets
    }
}

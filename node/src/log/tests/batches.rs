//! Batches for tests.

use highwater_core::{
    record::{
        Batch, BatchBuilder, BatchHeader, Compression, NewRecord, Origin, PlacedBatch,
        TimestampType,
    },
    time::Timestamp,
    types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence},
};

/// A header alone, for what never looks at records.
pub(in crate::log) fn header(
    base_offset: u64,
    records: u32,
    size_in_bytes: usize,
    timestamp: i64,
) -> BatchHeader {
    BatchHeader {
        base_offset: Offset(base_offset),
        size_in_bytes,
        leader_epoch: Some(LeaderEpoch(0)),
        crc: 0,
        compression: Compression::None,
        timestamp_type: TimestampType::CreateTime,
        is_transactional: false,
        is_control: false,
        last_offset_delta: records - 1,
        base_timestamp: Timestamp(timestamp),
        delete_horizon: None,
        max_timestamp: Timestamp(timestamp),
        producer: None,
        record_count: records,
    }
}

/// A real batch: one record for each timestamp, each with a value of `value_bytes`.
pub(in crate::log) fn batch(
    base_offset: u64,
    epoch: u32,
    producer: Option<(u64, i32)>,
    timestamps: &[i64],
    value_bytes: usize,
) -> PlacedBatch {
    let mut builder = BatchBuilder::new();
    if let Some((id, sequence)) = producer {
        builder = builder.producer(ProducerId(id), ProducerEpoch(0), Sequence(sequence));
    }
    let value: Vec<u8> = (0..value_bytes).map(|at| (base_offset as usize + at) as u8).collect();
    for timestamp in timestamps {
        builder.push(NewRecord {
            timestamp: Timestamp(*timestamp),
            value: Some(&value),
            ..NewRecord::default()
        });
    }
    let bytes = builder.build();
    Batch::parse(bytes, usize::MAX, Origin::Client)
        .expect("the builder makes valid batches")
        .placed(Offset(base_offset), LeaderEpoch(epoch), None)
}

/// A batch as it is on the disk.
pub(in crate::log) fn bytes_of(batch: &PlacedBatch) -> Vec<u8> {
    batch.chunks.concat()
}

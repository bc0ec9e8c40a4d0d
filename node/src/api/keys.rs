//! The keys of records that are sent to a compacted topic: each must have one.

use crate::codec;
use highwater_core::record::{BATCH_HEADER_BYTES, Batch, Records};

/// Records without a key that an answer names. More say nothing more.
const NAMED_MAX: usize = 1000;

/// The places in the batch of records without a key, the first [`NAMED_MAX`].
///
/// # Errors
/// With the reason, when the records cannot be read: then compaction could not read them either.
pub fn keyless_records(batch: &Batch) -> Result<Vec<i32>, String> {
    let header = &batch.header;
    let body = codec::decompress(header.compression, &batch.bytes[BATCH_HEADER_BYTES..])
        .map_err(|error| error.to_string())?;
    let mut keyless = Vec::new();
    for (place, record) in (0..).zip(Records::in_body(header, &body)) {
        let record = record.map_err(|error| error.to_string())?;
        if record.key.is_none() && keyless.len() < NAMED_MAX {
            keyless.push(place);
        }
    }
    Ok(keyless)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use highwater_core::record::{BatchBuilder, NewRecord, Origin};

    fn batch(keys: &[Option<&[u8]>]) -> Batch {
        let mut builder = BatchBuilder::new();
        for key in keys {
            builder.push(NewRecord { key: *key, value: Some(b"value"), ..NewRecord::default() });
        }
        parsed(builder.build())
    }

    fn parsed(bytes: Bytes) -> Batch {
        Batch::parse(bytes, usize::MAX, Origin::Client).expect("valid")
    }

    #[test]
    fn records_without_a_key_are_named_by_their_places() {
        assert_eq!(keyless_records(&batch(&[Some(b"a"), Some(b"")])), Ok(vec![]), "empty is a key");
        assert_eq!(keyless_records(&batch(&[None, Some(b"a"), None])), Ok(vec![0, 2]));
    }

    #[test]
    fn a_batch_that_compaction_could_not_read_is_refused() {
        let mut damaged = batch(&[Some(b"a")]);
        let mut bytes = damaged.bytes.to_vec();
        bytes[BATCH_HEADER_BYTES] = 0x7f;
        damaged.bytes = bytes.into();
        assert!(keyless_records(&damaged).is_err());
    }
}

//! The records that are produced and the comparison with what is read back.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};

pub const PARTITIONS: i32 = 3;
pub const RECORDS: usize = 300;
pub const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

/// One record as it was produced or as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    /// In name order, as rskafka keeps them.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Milliseconds since the Unix epoch.
    pub timestamp: i64,
}

/// An hour before the start of the program: no retention touches it.
pub fn base_timestamp() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    now.as_millis() as i64 - 3_600_000
}

/// The records of one round for one partition: null, empty and large values, some without a key.
pub fn samples(base_timestamp: i64, round: usize, label: &str, partition: i32) -> Vec<Sample> {
    (0..RECORDS)
        .filter(|i| i % PARTITIONS as usize == partition as usize)
        .map(|i| {
            let tail = vec![i as u8, 0, 0xFF];
            let value = match i {
                _ if i % 50 == 7 => None,
                _ if i % 50 == 8 => Some(Vec::new()),
                150 => Some((0..60_000).map(|j| (j * 31 + j / 251) as u8).collect()),
                _ => {
                    let text = format!("{label} record {i} ").repeat(1 + i % 7);
                    Some([text.as_bytes(), &tail].concat())
                }
            };
            Sample {
                key: (i % 10 != 9).then(|| format!("key-{i}").into_bytes()),
                value,
                headers: vec![("n".into(), tail), ("round".into(), label.as_bytes().to_vec())],
                timestamp: base_timestamp + round as i64 * 100_000 + i as i64 * 100,
            }
        })
        .collect()
}

/// Compares what was read, with its offsets, against what was produced from `start` on.
pub fn compare(partition: i32, start: i64, wanted: &[Sample], got: &[(i64, Sample)]) -> Result<()> {
    ensure!(
        got.len() == wanted.len(),
        "partition {partition}: {} records read, {} produced",
        got.len(),
        wanted.len()
    );
    for (n, ((offset, have), want)) in got.iter().zip(wanted).enumerate() {
        let expected = start + n as i64;
        ensure!(*offset == expected, "partition {partition}: offset {offset}, expected {expected}");
        ensure!(
            have == want,
            "partition {partition} offset {offset}: the record differs: timestamp {} for {}, key {:?} for {:?}, headers {:?} for {:?}, {:?} for {:?} value bytes",
            have.timestamp,
            want.timestamp,
            have.key,
            want.key,
            have.headers,
            want.headers,
            have.value.as_ref().map(Vec::len),
            want.value.as_ref().map(Vec::len)
        );
    }
    Ok(())
}

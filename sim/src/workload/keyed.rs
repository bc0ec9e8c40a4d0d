//! A client of compacted topics: writes values and deletions of few keys over and over, and reads.

use super::{Turns, admin::produce_once, session::Session};
use crate::{
    batch::{KEYED, KEYS, Sent, keyed_number},
    choices::Choices,
    cluster::WALL_AT_START,
    history::{Partition, Produce},
    recorder::now_nanos,
    scenario::{Spread, WorkloadShape},
};
use madsim::time;
use std::{collections::BTreeMap, time::Duration};

/// Writes and reads until the run comes to an end.
/// Writes and reads until the run comes to an end. All who write have so many keys.
pub async fn run(session: Session, mut turns: Turns, shape: WorkloadShape, keys: i64) {
    let pause = shape.pause.clone().unwrap_or(1..=25);
    let calls = turns.client.within("calls", &shape.calls);
    let draw = turns.client.clone();
    let mut keyed = Keyed { session, draw, positions: BTreeMap::new(), keys };
    for _ in 0..calls {
        let Some(draw) = turns.next(&mut keyed.session).await else { return };
        keyed.draw = draw;
        let pause = keyed.draw.within("pause", &pause).max(0) as u64;
        if !keyed.session.connected().await {
            return;
        }
        let partition = keyed.session.choose_compacted(shape.partition_choice, &mut keyed.draw);
        match keyed.draw.chance("write", 0.7) {
            true => keyed.write(partition, &shape).await,
            false => keyed.read(partition).await,
        }
        time::sleep(Duration::from_millis(pause)).await;
    }
}

struct Keyed {
    session: Session,
    /// The choices of the operation.
    draw: Choices,
    positions: BTreeMap<Partition, i64>,
    /// How many keys there are.
    keys: i64,
}

impl Keyed {
    async fn write(&mut self, partition: Partition, shape: &WorkloadShape) {
        let timestamp = WALL_AT_START + (now_nanos() / 1_000_000) as i64;
        let count = self.draw.within("records", &shape.records).max(1);
        let records = (0..count).map(|_| Sent { number: self.number(shape), timestamp }).collect();
        produce_once(&mut self.session, Produce { partition, acks: -1, producer: None, records })
            .await;
    }

    /// The next record's number, with the key and the size that the scenario asks for.
    fn number(&mut self, shape: &WorkloadShape) -> u64 {
        let number = self.session.next_number();
        let bytes = shape.value_bytes.as_ref();
        let bytes = bytes.map(|bytes| self.draw.within("value_bytes", bytes).max(0) as u64);
        let asks = *shape.keys.start() < KEYS as i64 || shape.key_choice != Spread::Even;
        if !asks && bytes.is_none() {
            return KEYED | number;
        }
        let keys = self.keys.max(1) as usize;
        keyed_number(number, self.draw.spread("key", shape.key_choice, keys) as u64, bytes)
    }

    /// Reads on, or from the beginning.
    async fn read(&mut self, partition: Partition) {
        let again = self.draw.chance("again", 0.1);
        let known = self.positions.get(&partition).copied().filter(|_| !again);
        let bytes = self.draw.between("bytes", 1..=4_000) as i32;
        let from = known.unwrap_or(0);
        let fetched = self.session.fetch(partition, from, Duration::ZERO, bytes).await;
        if let Some(last) = fetched.as_ref().and_then(|fetched| fetched.batches.last()) {
            self.positions.insert(partition, last.last_offset + 1);
        }
    }
}

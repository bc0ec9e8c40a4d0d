//! A client of compacted topics: writes values and deletions of few keys over and over, and reads.

use super::{ClientNumber, Clients, admin::produce_once, session::Session};
use crate::{
    batch::{KEYED, KEYS, Sent, keyed_number},
    cluster::WALL_AT_START,
    dice::Dice,
    history::{Partition, Produce},
    recorder::now_nanos,
    scenario::{Spread, WorkloadShape},
};
use madsim::time;
use std::{collections::BTreeMap, time::Duration};

/// Writes and reads until the run comes to an end.
pub async fn run(clients: Clients, client: ClientNumber, dice: Dice, shape: WorkloadShape) {
    let keys = clients.keys(&shape);
    let session = Session::new(clients, client);
    let mut keyed = Keyed { session, dice, positions: BTreeMap::new(), keys };
    let pause = shape.pause.clone().unwrap_or(1..=25);
    for _ in 0..keyed.dice.within(&shape.calls) {
        if keyed.session.clients.is_stopping() || !keyed.session.connected().await {
            return;
        }
        let partitions = keyed.session.clients.compacted.clone();
        let at = shape.partition_choice.index(&mut keyed.dice, partitions.len());
        let partition = partitions[at];
        match keyed.dice.chance(0.7) {
            true => keyed.write(partition, &shape).await,
            false => keyed.read(partition).await,
        }
        let pause = keyed.dice.within(&pause).max(0) as u64;
        time::sleep(Duration::from_millis(pause)).await;
    }
}

struct Keyed {
    session: Session,
    dice: Dice,
    positions: BTreeMap<Partition, i64>,
    /// How many keys there are.
    keys: i64,
}

impl Keyed {
    async fn write(&mut self, partition: Partition, shape: &WorkloadShape) {
        let timestamp = WALL_AT_START + (now_nanos() / 1_000_000) as i64;
        let count = self.dice.within(&shape.records);
        let records = (0..count).map(|_| Sent { number: self.number(shape), timestamp }).collect();
        produce_once(&mut self.session, Produce { partition, acks: -1, producer: None, records })
            .await;
    }

    /// The next record's number, with the key and the size that the scenario asks for.
    fn number(&mut self, shape: &WorkloadShape) -> u64 {
        let number = self.session.clients.next_number();
        let bytes = shape.value_bytes.clone().map(|b| self.dice.within(&b).max(0) as u64);
        let asks = *shape.keys.start() < KEYS as i64 || shape.key_choice != Spread::Even;
        if !asks && bytes.is_none() {
            return KEYED | number;
        }
        let keys = self.keys.max(1) as usize;
        keyed_number(number, shape.key_choice.index(&mut self.dice, keys) as u64, bytes)
    }

    /// Reads on, or from the beginning.
    async fn read(&mut self, partition: Partition) {
        let again = self.dice.chance(0.1);
        let known = self.positions.get(&partition).copied().filter(|_| !again);
        let bytes = self.dice.between(1..=4_000) as i32;
        let from = known.unwrap_or(0);
        let fetched = self.session.fetch(partition, from, Duration::ZERO, bytes).await;
        if let Some(last) = fetched.as_ref().and_then(|fetched| fetched.batches.last()) {
            self.positions.insert(partition, last.last_offset + 1);
        }
    }
}

//! A consumer: reads one partition after the other from the start, from the end, from a timestamp
//! or from anywhere.

use super::{ClientNumber, Clients, session::Session};
use crate::{cluster::WALL_AT_START, dice::Dice, history::Partition, scenario::WorkloadShape};
use madsim::time;
use std::{collections::BTreeMap, time::Duration};

/// OFFSET_OUT_OF_RANGE: the position is not in the log (any more).
const OFFSET_OUT_OF_RANGE: i16 = 1;
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const NEWEST: i64 = -3;

/// Reads until the run comes to an end.
pub async fn run(clients: Clients, client: ClientNumber, dice: Dice, shape: WorkloadShape) {
    let session = Session::new(clients, client);
    let mut consumer = Consumer { session, dice, positions: BTreeMap::new() };
    let pause = shape.pause.clone().unwrap_or(1..=20);
    let calls = consumer.dice.within(&shape.calls);
    for _ in 0..calls {
        if consumer.session.clients.is_stopping() || !consumer.session.connected().await {
            return;
        }
        consumer.act().await;
        let pause = consumer.dice.within(&pause).max(0) as u64;
        time::sleep(Duration::from_millis(pause)).await;
    }
}

struct Consumer {
    session: Session,
    dice: Dice,
    positions: BTreeMap<Partition, i64>,
}

impl Consumer {
    async fn act(&mut self) {
        let partitions = self.session.clients.partitions.clone();
        let partition = *self.dice.pick(&partitions);
        match self.dice.between(0..=19) {
            0 => self.seek(partition, EARLIEST).await,
            1 => self.seek(partition, LATEST).await,
            2 => self.seek(partition, NEWEST).await,
            3 => {
                let timestamp = WALL_AT_START + self.dice.between(0..=3_000) as i64;
                self.seek(partition, timestamp).await;
            }
            4 => {
                let end = self.positions.get(&partition).copied().unwrap_or(0);
                let anywhere = self.dice.between(0..=end.max(0) as u64) as i64;
                self.positions.insert(partition, anywhere);
                self.poll(partition).await;
            }
            _ => self.poll(partition).await,
        }
    }

    async fn seek(&mut self, partition: Partition, timestamp: i64) {
        if let Some(Ok((offset, _))) = self.session.list_offset(partition, timestamp).await
            && offset >= 0
        {
            self.positions.insert(partition, offset);
        }
    }

    async fn poll(&mut self, partition: Partition) {
        let position = self.positions.get(&partition).copied().unwrap_or(0);
        let wait = Duration::from_millis(*self.dice.pick(&[0, 10, 60]));
        let bytes = self.dice.between(1..=8_000) as i32;
        let Some(fetched) = self.session.fetch(partition, position, wait, bytes).await else {
            return;
        };
        match fetched.error {
            0 => {
                if let Some(last) = fetched.batches.last() {
                    self.positions.insert(partition, last.last_offset + 1);
                }
            }
            OFFSET_OUT_OF_RANGE if self.session.is_connected() => {
                self.seek(partition, EARLIEST).await;
            }
            _ => {}
        }
    }
}

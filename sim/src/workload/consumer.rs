//! A consumer: reads one partition after the other from the start, from the end, from a timestamp
//! or from anywhere; where there are racks, mostly in one, so that followers answer it.

use super::{
    ClientNumber, Clients,
    session::{Fetched, Session},
};
use crate::{
    cluster::{WALL_AT_START, rack_of},
    dice::Dice,
    history::Partition,
    scenario::WorkloadShape,
};
use madsim::time;
use std::{collections::BTreeMap, time::Duration};

/// How likely a consumer is to be in a rack, if there are any.
const IN_A_RACK: f64 = 0.8;
/// How likely it is to ask the leader again where to read.
const ASK_AGAIN: f64 = 0.1;

/// OFFSET_OUT_OF_RANGE: the position is not in the log (any more).
const OFFSET_OUT_OF_RANGE: i16 = 1;
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const NEWEST: i64 = -3;

/// Reads until the run comes to an end.
pub async fn run(clients: Clients, client: ClientNumber, dice: Dice, shape: WorkloadShape) {
    let mut rack_dice = Dice::new(clients.seed, &format!("rack {}", client.0));
    let racks = clients.recorder.history().promise.racks;
    let rack = (racks > 0 && rack_dice.chance(IN_A_RACK))
        .then(|| rack_of(rack_dice.between(0..=racks as u64 - 1) as i32));
    let session = Session::new(clients, client);
    let mut consumer = Consumer { session, dice, positions: BTreeMap::new(), rack, rack_dice };
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
    rack: Option<String>,
    /// Beside the other, whose draws are the same without racks.
    rack_dice: Dice,
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
        let Some(fetched) = self.fetch(partition, position, wait, bytes).await else {
            return;
        };
        match fetched.error {
            0 => {
                if let Some(last) = fetched.batches.last() {
                    self.positions.insert(partition, last.last_offset + 1);
                }
            }
            // The leader may have it.
            OFFSET_OUT_OF_RANGE if fetched.from_follower => {}
            OFFSET_OUT_OF_RANGE if self.session.is_connected() => {
                self.seek(partition, EARLIEST).await;
            }
            _ => {}
        }
    }

    async fn fetch(
        &mut self,
        partition: Partition,
        position: i64,
        wait: Duration,
        bytes: i32,
    ) -> Option<Fetched> {
        let Some(rack) = &self.rack else {
            return self.session.fetch(partition, position, wait, bytes).await;
        };
        if self.rack_dice.chance(ASK_AGAIN) {
            self.session.forget_preferred(partition);
        }
        self.session.fetch_in_rack(partition, position, (wait, bytes), rack).await
    }
}

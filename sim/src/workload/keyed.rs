//! A client of compacted topics: writes values and deletions of few keys over and over, and reads.

use super::{Turns, admin::produce_once, session::Session};
use crate::{
    batch::{KEYED, Sent},
    choices::Choices,
    cluster::WALL_AT_START,
    history::{Partition, Produce},
    recorder::now_nanos,
    scenario::WorkloadShape,
};
use madsim::time;
use std::{collections::BTreeMap, time::Duration};

/// Writes and reads until the run comes to an end.
pub async fn run(session: Session, mut turns: Turns, shape: WorkloadShape) {
    let pause = shape.pause.clone().unwrap_or(1..=25);
    let calls = turns.client.within("calls", &shape.calls);
    let draw = turns.client.clone();
    let mut keyed = Keyed { session, draw, positions: BTreeMap::new() };
    for _ in 0..calls {
        let Some(draw) = turns.next(&mut keyed.session).await else { return };
        keyed.draw = draw;
        let pause = keyed.draw.within("pause", &pause).max(0) as u64;
        if !keyed.session.connected().await {
            return;
        }
        let partition = keyed.session.choose_compacted(&mut keyed.draw);
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
}

impl Keyed {
    /// The keys follow from the numbers of the records, so that these are drawn, too.
    async fn write(&mut self, partition: Partition, shape: &WorkloadShape) {
        let timestamp = WALL_AT_START + (now_nanos() / 1_000_000) as i64;
        let count = self.draw.within("records", &shape.records).max(1);
        let skipped = self.draw.between("first", 0..=9_999);
        let record = |_| Sent { number: KEYED | (self.session.next_number() + skipped), timestamp };
        let records = (0..count).map(record).collect();
        produce_once(&mut self.session, Produce { partition, acks: -1, producer: None, records })
            .await;
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

//! One client's connection to the broker: it connects again whenever the connection was lost, and
//! records every call with its outcome.

use super::Clients;
use crate::{
    batch::{ReadBatch, decode_all},
    dice::Dice,
    history::{Outcome, Partition, Request},
    trace::Effect,
    world::{BROKER_ADDRESS, client_clock},
};
use highwater_core::types::{PartitionIndex, TopicId};
use highwater_node::{
    client::{ClientError, Connection, PartitionRef},
    env::Clock,
    wire::generated::fetch::PartitionData,
};
use madsim::time;
use std::{sync::Arc, time::Duration};

/// How long a client waits for an answer.
const CALL_TIMEOUT: Duration = Duration::from_millis(1_500);
/// How long it waits before it tries to connect again.
const RECONNECT_AFTER: Duration = Duration::from_millis(15);

/// Names a client in the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientNumber(pub u32);

/// One client's way to the broker.
pub struct Session {
    /// What all clients share.
    pub clients: Clients,
    client: ClientNumber,
    clock: Arc<dyn Clock>,
    connection: Option<Connection>,
    dice: Dice,
}

impl Session {
    /// A session that is not connected yet.
    #[must_use]
    pub fn new(clients: Clients, client: ClientNumber) -> Self {
        let dice = Dice::new(clients.seed, &format!("session {}", client.0));
        Self { clients, client, clock: client_clock(), connection: None, dice }
    }

    /// Connects if needed. `false` when everybody shall stop before that worked.
    pub async fn connected(&mut self) -> bool {
        while self.connection.is_none() {
            let name = format!("client-{}", self.client.0);
            let connecting = Connection::connect(BROKER_ADDRESS, &name, self.clock.clone());
            match time::timeout(CALL_TIMEOUT, connecting).await {
                Ok(Ok(mut connection)) => {
                    connection.set_timeout(CALL_TIMEOUT);
                    self.connection = Some(connection);
                }
                Ok(Err(_)) | Err(_) if self.clients.is_stopping() => return false,
                Ok(Err(_)) | Err(_) => time::sleep(RECONNECT_AFTER).await,
            }
        }
        true
    }

    /// Whether there is a connection that may work.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// Makes a call on the connection and records it. The session must be connected.
    pub async fn call<T>(
        &mut self,
        request: Request,
        make: impl AsyncFnOnce(&mut Connection) -> Result<T, ClientError>,
        outcome_of: impl FnOnce(&T) -> Outcome,
    ) -> Option<T> {
        let call = self.invoke(request);
        let answer = self.exchange(make).await;
        let outcome = answer.as_ref().map_or(Outcome::Unknown, outcome_of);
        self.clients.recorder.end(call, outcome);
        answer
    }

    /// Notes that a call begins.
    pub fn invoke(&mut self, request: Request) -> usize {
        self.clients.recorder.invoke(self.client.0, request)
    }

    /// Uses the connection; any failure, and giving up, ends it.
    pub async fn exchange<T>(
        &mut self,
        make: impl AsyncFnOnce(&mut Connection) -> Result<T, ClientError>,
    ) -> Option<T> {
        let mut connection = self.connection.take()?;
        let patience = match self.dice.chance(self.clients.impatience) {
            true => Duration::from_millis(self.dice.between(1..=8)),
            false => CALL_TIMEOUT * 2,
        };
        match time::timeout(patience, make(&mut connection)).await {
            Ok(Ok(answer)) => {
                self.connection = Some(connection);
                Some(answer)
            }
            Ok(Err(error)) => {
                self.clients.recorder.note(format_args!("client {}: {error}", self.client.0));
                None
            }
            Err(_) => {
                if patience < CALL_TIMEOUT {
                    self.clients.recorder.trace.effect(Effect::CallCut, 1);
                }
                None
            }
        }
    }

    /// A partition by the names that the protocol uses.
    #[must_use]
    pub fn reference(&self, partition: Partition) -> PartitionRef {
        let history = self.clients.recorder.history();
        let topic = &history.topics[partition.topic];
        PartitionRef {
            topic: topic.name.as_str().into(),
            topic_id: TopicId(topic.id),
            index: PartitionIndex(partition.index as u32),
        }
    }

    /// Fetches and records it.
    pub async fn fetch(
        &mut self,
        partition: Partition,
        offset: i64,
        max_wait: Duration,
        max_bytes: i32,
    ) -> Option<Fetched> {
        let reference = self.reference(partition);
        let answer = self
            .call(
                Request::Fetch { partition, offset },
                async |connection| {
                    let data = connection.fetch(&reference, offset, max_wait, max_bytes).await?;
                    Ok(Fetched::of(data))
                },
                Fetched::outcome,
            )
            .await?;
        Some(answer)
    }

    /// Looks an offset up and records it: the (offset, timestamp) found, or the error code.
    pub async fn list_offset(
        &mut self,
        partition: Partition,
        timestamp: i64,
    ) -> Option<Result<(i64, i64), i16>> {
        let reference = self.reference(partition);
        self.call(
            Request::ListOffsets { partition, timestamp },
            async |connection| {
                let answer = connection.list_offset(&reference, timestamp).await?;
                Ok(match answer.error_code {
                    0 => Ok((answer.offset, answer.timestamp)),
                    code => Err(code),
                })
            },
            |answer| match answer {
                Ok((offset, timestamp)) => {
                    Outcome::Offset { offset: *offset, timestamp: *timestamp }
                }
                Err(code) => Outcome::Failed(*code),
            },
        )
        .await
    }
}

/// What a fetch brought.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The error code, 0 for none.
    pub error: i16,
    /// Exclusive bound of what readers may see.
    pub high_watermark: i64,
    /// The first offset there is.
    pub log_start: i64,
    /// The batches.
    pub batches: Vec<ReadBatch>,
    bad: Option<String>,
}

impl Fetched {
    fn of(data: PartitionData) -> Self {
        let bytes = data.records.unwrap_or_default();
        let (batches, taken, bad) = decode_all(&bytes);
        let bad = bad.map(|bad| format!("{bad:?} at byte {taken} of {}", bytes.len()));
        Self {
            error: data.error_code,
            high_watermark: data.high_watermark,
            log_start: data.log_start_offset,
            batches,
            bad,
        }
    }

    fn outcome(&self) -> Outcome {
        if self.error != 0 {
            return Outcome::Failed(self.error);
        }
        Outcome::Fetched {
            high_watermark: self.high_watermark,
            log_start: self.log_start,
            batches: self.batches.clone(),
            bad: self.bad.clone(),
        }
    }
}

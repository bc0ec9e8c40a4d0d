//! What a client reads: records, and offsets that are looked up.

use super::Session;
use crate::{
    batch::{ReadBatch, decode_all},
    history::{Outcome, Partition, Request},
    trace::Effect,
};
use highwater_core::types::LeaderEpoch;
use highwater_node::{
    client::{ClientError, Connection, PartitionRef, Reader},
    wire::generated::{
        fetch::PartitionData,
        list_offsets::{
            ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic, ListOffsetsTopicResponse,
        },
        offset_for_leader_epoch::{
            OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
            OffsetForLeaderTopicResult,
        },
    },
};
use std::time::Duration;

impl Session {
    /// Fetches from the leader and records it.
    pub async fn fetch(
        &mut self,
        partition: Partition,
        offset: i64,
        max_wait: Duration,
        max_bytes: i32,
    ) -> Option<Fetched> {
        if !self.towards(partition).await {
            return None;
        }
        self.fetch_here(partition, offset, (max_wait, max_bytes), "").await
    }

    /// Fetches as a consumer in a rack: from the follower that the leader named, else from the
    /// leader (KIP-392).
    pub async fn fetch_in_rack(
        &mut self,
        partition: Partition,
        offset: i64,
        (max_wait, max_bytes): (Duration, i32),
        rack: &str,
    ) -> Option<Fetched> {
        let preferred = self.preferred.get(&partition).copied();
        let is_there = match preferred {
            Some(follower) => self.connect_to(follower).await,
            None => false,
        };
        if !is_there {
            self.preferred.remove(&partition);
            if !self.towards(partition).await {
                return None;
            }
        }
        let mut answer = self.fetch_here(partition, offset, (max_wait, max_bytes), rack).await;
        match &mut answer {
            Some(fetched) if fetched.error == 0 => {
                self.preferred.extend(fetched.preferred.map(|follower| (partition, follower)));
            }
            _ => drop(self.preferred.remove(&partition)),
        }
        if let Some(fetched) = answer.as_mut().filter(|_| is_there) {
            fetched.from_follower = true;
            self.clients.recorder.trace.effect(Effect::FollowerRead, 1);
        }
        answer
    }

    /// Asks the next time the leader again, whether to read from a follower.
    pub fn forget_preferred(&mut self, partition: Partition) {
        self.preferred.remove(&partition);
    }

    async fn fetch_here(
        &mut self,
        partition: Partition,
        offset: i64,
        (max_wait, max_bytes): (Duration, i32),
        rack: &str,
    ) -> Option<Fetched> {
        let reference = self.reference(partition);
        let leader_epoch = self.epoch_of(partition);
        let reader = Reader { rack, leader_epoch };
        let answer = self
            .read(
                Request::Fetch { partition, offset },
                (max_wait, leader_epoch),
                async |connection| {
                    let fetching =
                        connection.fetch_as(&reference, offset, max_wait, max_bytes, reader);
                    Ok(Fetched::of(fetching.await?))
                },
                Fetched::outcome,
            )
            .await;
        let outcome = answer.as_ref().map_or(Outcome::Unknown, Fetched::outcome);
        self.heard(partition, &outcome);
        answer
    }

    /// Looks an offset up and records it: the (offset, timestamp) found, or the error code.
    pub async fn list_offset(
        &mut self,
        partition: Partition,
        timestamp: i64,
    ) -> Option<Result<(i64, i64), i16>> {
        if !self.towards(partition).await {
            return None;
        }
        let reference = self.reference(partition);
        let leader_epoch = self.epoch_of(partition);
        let request = lookup_of(&reference, timestamp, leader_epoch);
        let answer = self
            .read(
                Request::ListOffsets { partition, timestamp },
                (Duration::ZERO, leader_epoch),
                async |connection| Ok(connection.call(&request).await?.topics),
                |topics| looked_up(topics),
            )
            .await;
        let outcome = answer.as_ref().map_or(Outcome::Unknown, |topics| looked_up(topics));
        self.heard(partition, &outcome);
        match outcome {
            Outcome::Offset { offset, timestamp, .. } => Some(Ok((offset, timestamp))),
            Outcome::Failed(code) => Some(Err(code)),
            _ => None,
        }
    }

    /// Asks the leader where an epoch ends, and records it (KIP-320).
    pub async fn ask_epoch_end(&mut self, partition: Partition, epoch: i32) {
        if !self.towards(partition).await {
            return;
        }
        let reference = self.reference(partition);
        let leader_epoch = self.epoch_of(partition);
        let request = epoch_end_of(&reference, epoch, leader_epoch);
        let answer = self
            .read(
                Request::EpochEnd { partition, epoch },
                (Duration::ZERO, leader_epoch),
                async |connection| Ok(connection.call(&request).await?.topics),
                |topics| told_epoch_end(topics),
            )
            .await;
        let outcome = answer.as_ref().map_or(Outcome::Unknown, |topics| told_epoch_end(topics));
        self.heard(partition, &outcome);
    }

    /// The epoch of the leadership that the metadata told.
    #[must_use]
    pub fn epoch_of(&self, partition: Partition) -> Option<LeaderEpoch> {
        self.leaders.get(&partition).map(|(_, epoch)| *epoch)
    }

    /// Takes another epoch for that of the leadership, until the leader is asked for again.
    pub fn believe(&mut self, partition: Partition, epoch: LeaderEpoch) {
        self.leaders.entry(partition).and_modify(|(_, known)| *known = epoch);
    }

    /// As [`Session::call`], with what a reader says beside what it wants.
    async fn read<T>(
        &mut self,
        request: Request,
        (waits, knew): (Duration, Option<LeaderEpoch>),
        make: impl AsyncFnOnce(&mut Connection) -> Result<T, ClientError>,
        outcome_of: impl FnOnce(&T) -> Outcome,
    ) -> Option<T> {
        let call = self.invoke(request);
        {
            let mut history = self.clients.recorder.history();
            let made = &mut history.calls[call];
            made.waits = waits.as_nanos() as u64;
            made.knew = knew.map(|epoch| epoch.0 as i32);
        }
        self.go_on(call, make, outcome_of).await
    }
}

fn lookup_of(
    reference: &PartitionRef,
    timestamp: i64,
    leader_epoch: Option<LeaderEpoch>,
) -> ListOffsetsRequest {
    let wanted = ListOffsetsPartition {
        partition_index: reference.index.0 as i32,
        current_leader_epoch: leader_epoch.map_or(-1, |epoch| epoch.0 as i32),
        timestamp,
    };
    ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic { name: reference.topic.clone(), partitions: vec![wanted] }],
        ..Default::default()
    }
}

fn looked_up(topics: &[ListOffsetsTopicResponse]) -> Outcome {
    match topics.iter().flat_map(|topic| &topic.partitions).next() {
        None => Outcome::Unknown,
        Some(answer) if answer.error_code != 0 => Outcome::Failed(answer.error_code),
        Some(answer) => Outcome::Offset {
            offset: answer.offset,
            timestamp: answer.timestamp,
            leader_epoch: Some(answer.leader_epoch).filter(|epoch| *epoch >= 0),
        },
    }
}

fn epoch_end_of(
    reference: &PartitionRef,
    epoch: i32,
    leader_epoch: Option<LeaderEpoch>,
) -> OffsetForLeaderEpochRequest {
    let wanted = OffsetForLeaderPartition {
        partition: reference.index.0 as i32,
        current_leader_epoch: leader_epoch.map_or(-1, |epoch| epoch.0 as i32),
        leader_epoch: epoch,
    };
    let topic = OffsetForLeaderTopic { topic: reference.topic.clone(), partitions: vec![wanted] };
    OffsetForLeaderEpochRequest { replica_id: -1, topics: vec![topic] }
}

fn told_epoch_end(topics: &[OffsetForLeaderTopicResult]) -> Outcome {
    match topics.iter().flat_map(|topic| &topic.partitions).next() {
        None => Outcome::Unknown,
        Some(answer) if answer.error_code != 0 => Outcome::Failed(answer.error_code),
        Some(answer) => Outcome::EpochEnd { epoch: answer.leader_epoch, end: answer.end_offset },
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
    /// The follower to read from instead.
    pub preferred: Option<i32>,
    /// Whether a follower answered that the leader had named.
    pub from_follower: bool,
    pub(super) bad: Option<String>,
}

impl Fetched {
    pub(super) fn of(data: PartitionData) -> Self {
        let bytes = data.records.unwrap_or_default();
        let (batches, taken, bad) = decode_all(&bytes);
        let bad = bad.map(|bad| format!("{bad:?} at byte {taken} of {}", bytes.len()));
        Self {
            error: data.error_code,
            high_watermark: data.high_watermark,
            log_start: data.log_start_offset,
            batches,
            preferred: Some(data.preferred_read_replica).filter(|replica| *replica >= 0),
            from_follower: false,
            bad,
        }
    }

    pub(super) fn outcome(&self) -> Outcome {
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

//! Serving followers: a fetch waits until one of its partitions has something to tell.

use super::{Lookup, ParkedRequests, PartitionDriver, Shared};
use crate::{
    log::LogError,
    peer::messages::{
        AnswerStamp, FetchedPartition, FetchedRecords, ReplicaFetch, ReplicaFetchPartition,
        ReplicaFetched,
    },
};
use bytes::Bytes;
use highwater_core::{
    partition::{Input, Partition, ReplicaFetchError, ReplicaReadable, Response},
    time::Instant,
    types::{BrokerId, RequestId},
};
use std::{sync::Arc, time::Duration};
use tokio::sync::Notify;

/// The longest wait that a follower may ask for.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// A partition of the fetch and its driver.
struct Target {
    wanted: ReplicaFetchPartition,
    driver: Result<Arc<PartitionDriver>, ReplicaFetchError>,
}

impl Target {
    /// Until when the follower has to wait for records, because it is out of sync and throttled.
    fn held_up_until(&self, shared: &Shared, follower: BrokerId) -> Option<Instant> {
        let driver = self.driver.as_ref().ok()?;
        let now = shared.doors.clock.now().monotonic;
        let until = shared.throttles.leader.holds_up(now, &driver.id)?;
        let in_sync = driver.inspect(Partition::isr).is_some_and(|isr| isr.contains(&follower));
        (!in_sync).then_some(until)
    }
}

/// Serves one fetch of a follower.
pub async fn serve(
    shared: &Arc<Shared>,
    follower: BrokerId,
    fetch: ReplicaFetch,
) -> ReplicaFetched {
    let wait = Duration::from_millis(u64::from(fetch.max_wait_millis)).min(WAIT_MAX);
    let deadline = shared.doors.clock.now().monotonic.after(wait);
    let targets: Vec<Target> = fetch
        .partitions
        .iter()
        .map(|wanted| Target { wanted: *wanted, driver: driver_of(shared, wanted) })
        .collect();
    let heard = fetch.heard.filter(|stamp| Some(stamp.broker_epoch) == shared.broker_epoch);
    let heard = heard.map(|stamp| stamp.at);
    let input = |wanted: &ReplicaFetchPartition, park| {
        let (broker_epoch, position) = (fetch.broker_epoch, wanted.position);
        move |request: RequestId| Input::ReplicaFetch {
            request,
            follower,
            broker_epoch,
            position,
            heard,
            park,
        }
    };
    while shared.doors.clock.now().monotonic < deadline {
        let wake = Arc::new(Notify::new());
        let mut parked = ParkedRequests::default();
        let mut worthwhile = targets.is_empty();
        let mut look_again = deadline;
        for target in &targets {
            let Ok(driver) = &target.driver else {
                worthwhile = true;
                continue;
            };
            let (request, response) = driver.park(wake.clone(), input(&target.wanted, true));
            parked.add(driver, request);
            match target.held_up_until(shared, follower) {
                Some(until) if has_records_only(&response) => look_again = look_again.min(until),
                _ => worthwhile |= has_something(&response),
            }
        }
        if worthwhile {
            break;
        }
        tokio::select! {
            biased;
            () = wake.notified() => {}
            () = shared.closing() => break,
            () = shared.doors.clock.sleep_until(look_again) => {}
        }
    }
    // A partition that catches up must leave room for those that keep up.
    let partition_max = shared.config.replica_fetch_max_bytes as usize;
    let mut room = fetch.max_bytes as usize;
    let mut partitions = Vec::with_capacity(targets.len());
    for target in &targets {
        let Target { wanted, driver } = target;
        let outcome = match driver {
            Ok(driver) => {
                let response = driver.ask(input(wanted, false));
                let may_read = target.held_up_until(shared, follower).is_none();
                let limits = (&mut room, if may_read { partition_max } else { 0 });
                let is_first = partitions.is_empty() && may_read;
                let read = read(driver, wanted, response, limits, is_first).await;
                let now = shared.doors.clock.now().monotonic;
                let bytes = read.as_ref().map_or(0, |fetched| fetched.records.len());
                shared.throttles.leader.record(now, &driver.id, bytes);
                read
            }
            Err(error) => Err(error.clone()),
        };
        if let Err(ReplicaFetchError::OffsetOutOfRange { producers, .. }) = &outcome {
            let bytes = producers.encoded_bytes();
            // It is asked for again at once, and some time first.
            if bytes > room && !partitions.is_empty() {
                continue;
            }
            room = room.saturating_sub(bytes);
        }
        partitions.push(FetchedPartition {
            topic: wanted.topic,
            index: wanted.index,
            leader_epoch: wanted.position.leader_epoch,
            fetch_offset: wanted.position.fetch_offset,
            outcome,
        });
    }
    let at = shared.doors.clock.now().monotonic;
    let broker_epoch = shared.broker_epoch.unwrap_or_default();
    ReplicaFetched { partitions, stamp: AnswerStamp { broker_epoch, at } }
}

fn driver_of(
    shared: &Shared,
    wanted: &ReplicaFetchPartition,
) -> Result<Arc<PartitionDriver>, ReplicaFetchError> {
    match shared.partitions.get(wanted.topic, wanted.index) {
        Lookup::Open(driver) => Ok(driver),
        Lookup::Offline => Err(ReplicaFetchError::StorageFailed),
        Lookup::Opening | Lookup::Unknown => Err(ReplicaFetchError::NotLeader),
    }
}

/// Whether there is nothing to tell but records, if even those.
fn has_records_only(response: &Response) -> bool {
    match response {
        Response::ReplicaReadable(readable) => readable.diverging.is_none() && !readable.hurry,
        _ => false,
    }
}

fn has_something(response: &Response) -> bool {
    match response {
        Response::ReplicaReadable(readable) => {
            readable.diverging.is_some() || readable.available_bytes > 0 || readable.hurry
        }
        _ => true,
    }
}

async fn read(
    driver: &PartitionDriver,
    wanted: &ReplicaFetchPartition,
    response: Response,
    (room, partition_max): (&mut usize, usize),
    is_first: bool,
) -> Result<FetchedRecords, ReplicaFetchError> {
    let readable = match response {
        Response::ReplicaReadable(readable) => readable,
        Response::ReplicaRefused(error) => return Err(error),
        other => unreachable!("a replica's fetch was answered with {other:?}"),
    };
    let ReplicaReadable { log_start_offset, high_watermark, diverging, end, .. } = readable;
    let from = wanted.position.fetch_offset;
    let limit = partition_max.min(*room);
    let records = if diverging.is_some() || from >= end || (limit == 0 && !is_first) {
        Bytes::new()
    } else {
        let read = driver.log().read(from, end, limit, *room > 0).await;
        read.map_err(|error| match error {
            // Truncated or deleted under the read: the next fetch finds out.
            LogError::OffsetOutOfRange { .. } => ReplicaFetchError::NotLeader,
            error => {
                tracing::error!(partition = %driver.id, %error, "a follower's read failed");
                ReplicaFetchError::StorageFailed
            }
        })?
    };
    *room = room.saturating_sub(records.len());
    Ok(FetchedRecords { high_watermark, log_start_offset, diverging, records })
}

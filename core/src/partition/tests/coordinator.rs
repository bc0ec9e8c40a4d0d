//! Appending as the coordinator whose state the partition holds.

use super::{replicas::*, *};

fn append_in(epoch: LeaderEpoch, batch: Batch) -> Input {
    Input::AppendAsCoordinator { request: RequestId(1), leader_epoch: epoch, batch }
}

fn answered(base_offset: u64, end: u64) -> Effect {
    respond(1, Response::Appended { base_offset: Offset(base_offset), end: Offset(end) })
}

#[test]
fn a_coordinator_hears_at_once_where_its_batch_is_and_later_that_it_is_committed() {
    let mut fixture = Fixture::leading(&[1, 2]);
    fixture.fill(1);
    let effects = fixture.step(append_in(EPOCH, batch(3)));
    assert_eq!(effects, [append(2, batch(3), 1), answered(1, 4)]);
    assert_eq!(fixture.flushed(2), []);
    assert_eq!(fixture.fetched_by(2, at(4, 4)), [advanced(4)]);
}

#[test]
fn a_coordinator_of_another_epoch_appends_nothing() {
    let mut fixture = Fixture::leading(&[1, 2]);
    let current = EPOCH;
    for (epoch, error) in [
        (LeaderEpoch(EPOCH.0 - 1), PartitionError::FencedLeaderEpoch { current }),
        (LeaderEpoch(EPOCH.0 + 1), PartitionError::UnknownLeaderEpoch { current }),
    ] {
        assert_eq!(fixture.step(append_in(epoch, batch(1))), [failed(1, error)]);
    }
    assert_eq!(fixture.partition.log_end_offset(), Offset(0));
}

#[test]
fn a_coordinator_appends_nothing_where_another_broker_leads() {
    let mut fixture = Fixture::replica(Recovered::default(), three(2, 0, &[1, 2]));
    let effects = fixture.step(append_in(EPOCH, batch(1)));
    assert_eq!(effects, [failed(1, not_leader(2, EPOCH.0))]);
}

#[test]
fn a_coordinator_appends_nothing_below_min_insync_replicas() {
    let assignment = Assignment { min_insync: 2, ..three(1, 0, &[1]) };
    let mut fixture = Fixture::replica(Recovered::default(), assignment);
    let error = PartitionError::NotEnoughReplicas { in_sync: 1, required: 2 };
    assert_eq!(fixture.step(append_in(EPOCH, batch(1))), [failed(1, error)]);
}

#[test]
fn a_coordinator_appends_nothing_to_a_log_that_has_failed() {
    let mut fixture = Fixture::leading(&[1, 2]);
    fixture.step(Input::LogFailed { readable: true });
    let effects = fixture.step(append_in(EPOCH, batch(1)));
    assert_eq!(effects, [failed(1, PartitionError::StorageFailed)]);
}

#[test]
fn a_coordinator_may_append_more_than_a_client() {
    let mut fixture = Fixture::leading(&[1, 2]);
    let config = TopicConfig { max_message_bytes: 1, ..TopicConfig::default() };
    fixture.step(Input::ConfigChanged(config));
    let effects = fixture.step(append_in(EPOCH, batch(1)));
    assert_eq!(effects, [append(1, batch(1), 0), answered(0, 1)]);
}

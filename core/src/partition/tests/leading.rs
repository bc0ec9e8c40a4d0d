//! Leading: what counts as replicated, who is answered, and which follower is believed.

use super::{replicas::*, *};
use crate::epochs::EpochEnd;

fn latest() -> Input {
    Input::ListOffsets {
        request: RequestId(1),
        spec: OffsetSpec::Latest,
        current_leader_epoch: None,
    }
}

fn refused(error: ReplicaFetchError) -> Vec<Effect> {
    vec![respond(900, Response::ReplicaRefused(error))]
}

#[test]
fn a_record_is_committed_when_every_in_sync_replica_has_flushed_it() {
    let mut fixture = Fixture::leading(&[1, 2, 3]);
    fixture.produce(1, Acks::All, batch(1));
    assert_eq!(fixture.flushed(1), []);
    assert_eq!(fixture.fetched_by(2, at(1, 1)), []);
    assert_eq!(fixture.fetched_by(3, at(1, 0)), [], "received is not flushed");
    assert_eq!(fixture.flushed_by(3, 1), [advanced(1), produced(1, 0)]);
}

#[test]
fn a_replicated_record_is_committed_when_every_in_sync_replica_has_received_it() {
    let assignment = Assignment { counts_flushed: false, ..three(1, 0, &[1, 2]) };
    let mut fixture = Fixture::replica(Recovered::default(), assignment);
    fixture.produce(1, Acks::All, batch(1));
    assert_eq!(fixture.fetched_by(2, at(1, 0)), [], "the leader has not written it");
    let written = fixture.step(Input::Written { through: WriteId(1) });
    assert_eq!(written, [advanced(1), produced(1, 0)]);
}

#[test]
fn one_ack_is_given_when_the_leader_has_flushed() {
    let mut fixture = Fixture::leading(&[1, 2, 3]);
    fixture.produce(1, Acks::Leader, batch(1));
    assert_eq!(fixture.flushed(1), [produced(1, 0)]);
    assert_eq!(fixture.partition.high_watermark(), Offset(0));
}

#[test]
fn the_high_watermark_stands_still_while_a_member_was_not_heard_in_this_epoch() {
    let mut fixture = Fixture::replica(log_of(&[1, 2], 1), three(1, 0, &[1, 2]));
    fixture.fill(1);
    assert_eq!(fixture.partition.high_watermark(), Offset(1), "what it knew as a follower");
}

#[test]
fn below_min_insync_replicas_acks_all_is_refused_and_nothing_is_committed() {
    let assignment = Assignment { min_insync: 2, ..three(1, 0, &[1]) };
    let mut fixture = Fixture::replica(Recovered::default(), assignment);
    let error = PartitionError::NotEnoughReplicas { in_sync: 1, required: 2 };
    assert_eq!(fixture.produce(1, Acks::All, batch(1)), [failed(1, error)]);
    assert_eq!(fixture.produce(2, Acks::Leader, batch(1)), [append(1, batch(1), 0)]);
    assert_eq!(fixture.flushed(1), [produced(2, 0)]);
    assert_eq!(fixture.partition.high_watermark(), Offset(0));
}

#[test]
fn a_produce_that_waits_is_failed_when_too_few_replicas_are_left() {
    let all = Assignment { min_insync: 2, ..three(1, 0, &[1, 2]) };
    let mut fixture = Fixture::replica(Recovered::default(), all);
    fixture.produce(1, Acks::All, batch(1));
    fixture.produce(2, Acks::Leader, batch(1));
    let effects = fixture.assign(Assignment { min_insync: 2, ..three(1, 1, &[1]) });
    assert_eq!(effects, [failed(1, PartitionError::NotEnoughReplicasAfterAppend)]);
}

#[test]
fn whoever_waits_learns_that_another_broker_leads() {
    let mut fixture = Fixture::leading(&[1, 2, 3]);
    fixture.produce(1, Acks::All, batch(1));
    fixture.produce(2, Acks::Leader, batch(1));
    fixture.fetch(3, 0, true);
    fixture.ask(2, registration(2).0, at(0, 0), true);
    let next = Assignment { leader_epoch: LeaderEpoch(4), ..three(2, 1, &[1, 2, 3]) };
    let error = not_leader(2, 4);
    let expected = [failed(2, error.clone()), failed(1, error.clone()), wake(3), wake(900)];
    assert_eq!(fixture.assign(next), expected);
    assert_eq!(fixture.produce(4, Acks::All, batch(1)), [failed(4, error)]);
}

#[test]
fn an_older_image_changes_nothing() {
    let mut fixture = Fixture::leading(&[1, 2, 3]);
    let old = Assignment { leader_epoch: LeaderEpoch(2), ..three(2, 9, &[2]) };
    assert_eq!(fixture.assign(old), []);
    assert!(fixture.partition.is_leader());
}

#[test]
fn a_new_leader_does_not_tell_its_end_before_it_knows_what_was_committed() {
    let mut fixture = Fixture::replica(log_of(&[1, 1, 2], 1), three(1, 0, &[1, 2]));
    let not_available = [failed(1, PartitionError::OffsetNotAvailable)];
    assert_eq!(fixture.step(latest()), not_available);
    let before = ReplicaPosition { last_fetched_epoch: Some(LeaderEpoch(1)), ..at(2, 2) };
    assert_eq!(fixture.fetched_by(2, before), [advanced(2)]);
    assert_eq!(fixture.step(latest()), not_available);
    let all = ReplicaPosition { last_fetched_epoch: Some(LeaderEpoch(2)), ..at(3, 3) };
    assert_eq!(fixture.fetched_by(2, all), [advanced(3)]);
    let response =
        Response::Offset { timestamp: None, offset: Some(Offset(3)), leader_epoch: Some(EPOCH) };
    assert_eq!(fixture.step(latest()), [respond(1, response)]);
}

#[test]
fn a_follower_that_knows_another_epoch_is_refused_and_not_counted() {
    let mut fixture = Fixture::leading(&[1, 2]);
    fixture.fill(1);
    for (epoch, error) in
        [(2, ReplicaFetchError::FencedLeaderEpoch), (4, ReplicaFetchError::UnknownLeaderEpoch)]
    {
        let position = ReplicaPosition { leader_epoch: LeaderEpoch(epoch), ..at(1, 1) };
        assert_eq!(fixture.ask(2, registration(2).0, position, false), refused(error));
    }
    assert_eq!(fixture.partition.high_watermark(), Offset(0));
}

#[test]
fn an_old_registration_and_a_broker_without_a_replica_are_refused() {
    let mut fixture = Fixture::leading(&[1, 2]);
    let not_replica = refused(ReplicaFetchError::NotReplica);
    assert_eq!(fixture.ask(2, registration(2).0 - 1, at(0, 0), false), not_replica);
    assert_eq!(fixture.ask(9, 1, at(0, 0), false), not_replica);
    fixture.fetched_as(2, 99, at(0, 0));
    assert_eq!(fixture.ask(2, registration(2).0, at(0, 0), false), not_replica);
}

#[test]
fn what_a_follower_said_before_it_restarted_counts_no_more() {
    let mut fixture = Fixture::leading(&[1, 2]);
    fixture.fill(2);
    assert_eq!(fixture.fetched_by(2, at(1, 0)), []);
    assert_eq!(fixture.fetched_as(2, 99, at(0, 0)), []);
    assert_eq!(fixture.flushed_by(2, 1), [], "of the process before");
    assert_eq!(fixture.flushed_as(2, 99, 1), [advanced(1)]);
}

#[test]
fn a_flush_report_counts_only_after_a_fetch_that_agreed_in_this_epoch() {
    let mut fixture = Fixture::leading(&[1, 2]);
    fixture.fill(2);
    assert_eq!(fixture.flushed_by(2, 2), []);
    assert_eq!(fixture.fetched_by(2, at(0, 0)), []);
    assert_eq!(fixture.flushed_by(2, 3), [], "more than there is");
    let of_another_epoch = Input::ReplicaFlushed {
        follower: BrokerId(2),
        broker_epoch: registration(2),
        leader_epoch: LeaderEpoch(2),
        flushed: Offset(2),
    };
    assert_eq!(fixture.step(of_another_epoch), []);
    assert_eq!(fixture.flushed_by(2, 2), [advanced(2)]);
}

#[test]
fn a_follower_whose_log_parted_learns_where_and_is_not_counted() {
    let mut fixture = Fixture::replica(
        log_of(&[1, 1, 3], 0),
        Assignment { leader_epoch: LeaderEpoch(5), ..three(1, 0, &[1, 2]) },
    );
    let position = |end, epoch| ReplicaPosition {
        leader_epoch: LeaderEpoch(5),
        last_fetched_epoch: Some(LeaderEpoch(epoch)),
        ..at(end, end)
    };
    for (end, epoch, expected) in
        [(3, 2, Some((1, 2))), (3, 1, Some((1, 2))), (4, 3, Some((3, 3))), (9, 4, Some((3, 3)))]
    {
        let effects = fixture.ask(2, registration(2).0, position(end, epoch), false);
        let [Effect::Respond { response: Response::ReplicaReadable(readable), .. }] = &effects[..]
        else {
            panic!("unexpected {effects:?}");
        };
        let end = expected
            .map(|(epoch, end)| EpochEnd { epoch: LeaderEpoch(epoch), end_offset: Offset(end) });
        assert_eq!(readable.diverging, end, "epoch {epoch}");
    }
    assert_eq!(fixture.partition.high_watermark(), Offset(0));
}

#[test]
fn a_parked_follower_is_woken_when_more_is_written() {
    let mut fixture = Fixture::leading(&[1, 2]);
    fixture.ask(2, registration(2).0, at(0, 0), true);
    fixture.produce(1, Acks::None, batch(1));
    assert_eq!(fixture.step(Input::Written { through: WriteId(1) }), [wake(900)]);
    assert_eq!(fixture.flushed(1), []);
}

#[test]
fn a_parked_follower_hears_of_the_high_watermark_with_its_next_answer_and_stays_parked() {
    let mut fixture = Fixture::leading(&[1, 2]);
    fixture.fill(1);
    fixture.ask(2, registration(2).0, at(1, 0), true);
    let mention = Effect::Mention { request: RequestId(900) };
    assert_eq!(fixture.flushed_by(2, 1), [advanced(1), mention]);
    fixture.produce(1, Acks::None, batch(1));
    assert_eq!(fixture.step(Input::Written { through: WriteId(2) }), [wake(900)]);
}

#[test]
fn a_parked_follower_is_woken_when_its_leader_begins_another_leadership() {
    let mut fixture = Fixture::leading(&[1, 2]);
    fixture.ask(2, registration(2).0, at(0, 0), true);
    let next = Assignment { leader_epoch: LeaderEpoch(4), ..three(1, 1, &[1, 2]) };
    assert_eq!(fixture.assign(next), [wake(900)]);
}

#[test]
fn a_deletion_is_answered_when_every_in_sync_replica_has_it() {
    let mut fixture = Fixture::leading(&[1, 2]);
    fixture.fill(3);
    fixture.fetched_by(2, at(3, 3));
    let delete = Input::DeleteRecords { request: RequestId(1), before: Some(Offset(2)) };
    assert_eq!(fixture.step(delete), [Effect::AdvanceLogStart { to: Offset(2) }]);
    assert_eq!(fixture.step(Input::LogStartPersisted { to: Offset(2) }), []);
    fixture.pass(1);
    let position = ReplicaPosition { log_start_offset: Offset(2), ..at(3, 3) };
    let response = Response::RecordsDeleted { low_watermark: Offset(2) };
    assert_eq!(fixture.fetched_by(2, position), [respond(1, response)]);
}

#[test]
fn a_new_leader_answers_a_deletion_of_what_is_gone_when_its_followers_have_shown_that_it_is() {
    let log = Recovered { log_start_offset: Offset(2), ..log_of(&[1, 1, 1], 3) };
    let mut fixture = Fixture::replica(log, three(1, 0, &[1, 2]));
    let delete = |request, before| Input::DeleteRecords {
        request: RequestId(request),
        before: Some(Offset(before)),
    };
    assert_eq!(fixture.step(delete(1, 0)), [], "the start of broker 2 is not known, and not 0");
    assert_eq!(fixture.step(delete(2, 1)), []);
    let deleted = |request| respond(request, Response::RecordsDeleted { low_watermark: Offset(2) });
    fixture.pass(1);
    let old = Some(LeaderEpoch(1));
    let starts_at_two =
        ReplicaPosition { last_fetched_epoch: old, log_start_offset: Offset(2), ..at(3, 3) };
    assert_eq!(fixture.fetched_by(2, starts_at_two), [deleted(1), deleted(2)]);
    assert_eq!(fixture.step(delete(3, 0)), [], "the next leader may have deleted more");
    fixture.pass(1);
    assert_eq!(fixture.fetched_by(2, starts_at_two), [deleted(3)]);
}

#[test]
fn below_min_insync_replicas_a_deletion_is_done_and_not_answered() {
    let all = Assignment { min_insync: 2, ..three(1, 0, &[1, 2]) };
    let mut fixture = Fixture::replica(Recovered::default(), all);
    fixture.fill(3);
    fixture.fetched_by(2, at(3, 3));
    let mut fenced = Assignment { min_insync: 2, ..three(1, 1, &[1]) };
    fenced.eligible.remove(&BrokerId(2));
    fixture.assign(fenced);
    let delete =
        |request| Input::DeleteRecords { request: RequestId(request), before: Some(Offset(2)) };
    assert_eq!(fixture.step(delete(1)), [Effect::AdvanceLogStart { to: Offset(2) }]);
    let persisted = Input::LogStartPersisted { to: Offset(2) };
    assert_eq!(fixture.step(persisted), [], "broker 2 may be elected, and has the records");
    assert_eq!(fixture.step(delete(2)), []);
    fixture.pass(1);
    let position = ReplicaPosition { log_start_offset: Offset(2), ..at(3, 3) };
    assert_eq!(fixture.fetched_by(2, position), [], "it is fenced");
    let deleted = |request| respond(request, Response::RecordsDeleted { low_watermark: Offset(2) });
    let back = Assignment { min_insync: 2, ..three(1, 2, &[1, 2]) };
    assert_eq!(fixture.assign(back), [deleted(1), deleted(2)]);
}

#[test]
fn a_deletion_waits_for_the_flush_of_what_is_committed_by_replication_alone() {
    let assignment = Assignment { counts_flushed: false, ..three(1, 0, &[1]) };
    let mut fixture = Fixture::replica(Recovered::default(), assignment);
    fixture.produce(1, Acks::None, batch(2));
    assert_eq!(fixture.step(Input::Written { through: WriteId(1) }), [advanced(2)]);
    let delete = Input::DeleteRecords { request: RequestId(2), before: None };
    assert_eq!(fixture.step(delete), []);
    assert_eq!(fixture.flushed(1), [Effect::AdvanceLogStart { to: Offset(2) }]);
}

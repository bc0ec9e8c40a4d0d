//! The ISR: who joins, who leaves, and what becomes of proposals.

use super::{replicas::*, *};

const ALONE: (i32, u64) = (1, 11);
const SECOND: (i32, u64) = (2, 12);
const THIRD: (i32, u64) = (3, 13);

#[test]
fn a_replica_joins_when_it_has_flushed_everything_that_is_committed() {
    let mut fixture = Fixture::leading_two();
    assert_eq!(fixture.fetched_by(2, at(1, 1)), []);
    assert_eq!(fixture.fetched_by(2, at(2, 1)), [], "not flushed");
    assert_eq!(fixture.flushed_by(2, 2), [proposed(0, &[ALONE, SECOND])]);
}

#[test]
fn a_replica_joins_only_above_the_beginning_of_the_leadership() {
    let mut fixture = Fixture::replica(log_of(&[1, 1, 1], 1), three(1, 0, &[1, 3]));
    let old = |end| ReplicaPosition { last_fetched_epoch: Some(LeaderEpoch(1)), ..at(end, end) };
    assert_eq!(fixture.fetched_by(2, old(2)), [], "beyond the high watermark is not enough");
    assert_eq!(fixture.fetched_by(2, old(3)), [proposed(0, &[ALONE, SECOND, THIRD])]);
}

#[test]
fn a_replica_joins_a_leader_whose_log_failed_when_it_has_all_that_was_written() {
    let mut fixture = Fixture::replica(log_of(&[1, 1], 2), three(1, 0, &[1]));
    fixture.produce(1, Acks::Leader, batch(2));
    fixture.step(Input::LogFailed { readable: true });
    let leader_epoch = LeaderEpoch(EPOCH.0 + 1);
    fixture.assign(Assignment { leader_epoch, ..three(1, 1, &[1]) });
    let old = |end| ReplicaPosition {
        leader_epoch,
        last_fetched_epoch: Some(LeaderEpoch(1)),
        ..at(end, end)
    };
    assert_eq!(fixture.fetched_by(2, old(1)), [], "this one was committed");
    let joins = fixture.fetched_by(2, old(2));
    assert!(matches!(&joins[..], [Effect::ProposeIsr { .. }]), "{joins:?}");
}

#[test]
fn a_replica_joins_when_it_has_removed_what_its_leader_has() {
    let mut fixture = Fixture::leading_two();
    let delete = Input::DeleteRecords { request: RequestId(1), before: Some(Offset(1)) };
    assert_eq!(fixture.step(delete), [Effect::AdvanceLogStart { to: Offset(1) }]);
    fixture.step(Input::LogStartPersisted { to: Offset(1) });
    assert_eq!(fixture.fetched_by(2, at(2, 2)), [], "a deletion was answered that it would undo");
    let position = ReplicaPosition { log_start_offset: Offset(1), ..at(2, 2) };
    assert_eq!(fixture.fetched_by(2, position), [proposed(0, &[ALONE, SECOND])]);
}

#[test]
fn an_empty_log_shows_its_start_only_when_it_has_the_batch_that_the_start_is_in() {
    let mut fixture = Fixture::leading(&[1]);
    fixture.produce(1, Acks::Leader, batch(3));
    fixture.flushed(1);
    let delete = Input::DeleteRecords { request: RequestId(2), before: Some(Offset(2)) };
    fixture.step(delete);
    fixture.step(Input::LogStartPersisted { to: Offset(2) });
    let starts_at_two = |position| ReplicaPosition { log_start_offset: Offset(2), ..position };
    let empty = ReplicaPosition { last_fetched_epoch: None, ..at(2, 2) };
    assert_eq!(fixture.fetched_by(2, starts_at_two(empty)), []);
    assert_eq!(fixture.flushed_by(2, 3), [], "it begins where the batch does, at 0");
    assert_eq!(fixture.fetched_by(2, at(3, 3)), []);
    let join = [proposed(0, &[ALONE, SECOND])];
    assert_eq!(fixture.fetched_by(2, starts_at_two(at(3, 3))), join);
}

#[test]
fn an_empty_log_that_ends_where_its_leader_s_does_shows_its_start() {
    let mut fixture = Fixture::leading_two();
    let delete = Input::DeleteRecords { request: RequestId(1), before: None };
    fixture.step(delete);
    fixture.step(Input::LogStartPersisted { to: Offset(2) });
    let empty = ReplicaPosition { log_start_offset: Offset(2), ..at(2, 2) };
    assert_eq!(fixture.fetched_by(2, empty), [proposed(0, &[ALONE, SECOND])]);
}

#[test]
fn a_replica_that_is_not_eligible_does_not_join() {
    let mut fixture = Fixture::leading_two();
    let mut fenced = three(1, 0, &[1]);
    fenced.eligible.remove(&BrokerId(2));
    fixture.assign(fenced);
    assert_eq!(fixture.fetched_by(2, at(2, 2)), []);
    assert_eq!(fixture.fetched_as(3, 99, at(2, 2)), [], "the metadata knows another registration");
    let effects = fixture.assign(three(1, 0, &[1]));
    assert_eq!(effects, [proposed(0, &[ALONE, SECOND])], "as soon as it is");
}

#[test]
fn the_high_watermark_counts_a_replica_whose_joining_is_proposed() {
    let mut fixture = Fixture::leading_two();
    fixture.fetched_by(2, at(2, 2));
    fixture.fill(1);
    fixture.pass(31);
    assert_eq!(fixture.partition.high_watermark(), Offset(2), "it may be a member");
    assert_eq!(fixture.flushed_by(2, 3), [advanced(3)]);
}

#[test]
fn a_member_that_lags_leaves_by_the_monotonic_clock_alone() {
    let mut fixture = Fixture::leading(&[1, 2]);
    fixture.fetched_by(2, at(0, 0));
    fixture.fill(1);
    fixture.now.wall.0 += 86_400_000;
    assert_eq!(fixture.step(Input::Tick), []);
    assert_eq!(fixture.partition.next_deadline(), Some(Instant(30_000_000_000)));
    fixture.now.monotonic = Instant(30_000_000_000);
    assert_eq!(fixture.step(Input::Tick), [proposed(0, &[ALONE])]);
}

#[test]
fn a_member_that_has_everything_does_not_lag() {
    let mut fixture = Fixture::leading(&[1, 2]);
    fixture.fill(1);
    assert_eq!(fixture.fetched_by(2, at(1, 1)), [advanced(1)]);
    fixture.pass(1000);
    assert_eq!(fixture.step(Input::Tick), []);
    assert_eq!(fixture.partition.next_deadline(), None);
}

#[test]
fn a_member_that_follows_a_busy_leader_does_not_lag() {
    let mut fixture = Fixture::leading(&[1, 2]);
    for second in 0..60 {
        fixture.fill(1);
        fixture.pass(1);
        fixture.fetched_by(2, at(second, second));
        assert_eq!(fixture.step(Input::Tick), [], "it is always one record behind");
    }
}

#[test]
fn the_high_watermark_moves_on_when_a_member_has_left() {
    let mut fixture = Fixture::leading(&[1, 2]);
    fixture.produce(1, Acks::All, batch(1));
    fixture.flushed(1);
    fixture.pass(30);
    let left = [failed(1, PartitionError::RequestTimedOut), proposed(0, &[ALONE])];
    assert_eq!(fixture.step(Input::Tick), left);
    assert_eq!(fixture.partition.high_watermark(), Offset(0), "it may still be a member");
    assert_eq!(fixture.step(accepted(0)), [advanced(1)]);
    assert_eq!(fixture.partition.isr(), Some(ids(&[1])));
}

#[test]
fn a_proposal_without_an_answer_is_repeated_as_it_was() {
    let mut fixture = Fixture::leading_two();
    let first = fixture.fetched_by(2, at(2, 2));
    assert_eq!(first, [proposed(0, &[ALONE, SECOND])]);
    assert_eq!(fixture.fetched_as(2, 99, at(0, 0)), [], "it has restarted and lost everything");
    fixture.pass(3);
    assert_eq!(fixture.step(Input::Tick), first, "never in the name of the new process");
    fixture.pass(3);
    assert_eq!(fixture.step(answered(0, IsrOutcome::Unknown)), []);
    assert_eq!(fixture.step(Input::Tick), first);
}

#[test]
fn a_proposal_that_will_have_no_answer_is_repeated_sooner() {
    let mut fixture = Fixture::leading_two();
    let first = fixture.fetched_by(2, at(2, 2));
    assert_eq!(fixture.step(answered(0, IsrOutcome::Unknown)), []);
    assert_eq!(fixture.partition.next_deadline(), Some(Instant(1_000_000_000)));
    fixture.pass(1);
    assert_eq!(fixture.step(Input::Tick), first);
    fixture.pass(2);
    assert_eq!(fixture.step(answered(0, IsrOutcome::Unknown)), []);
    assert_eq!(fixture.partition.next_deadline(), Some(Instant(4_000_000_000)), "and never later");
}

#[test]
fn a_replica_that_comes_back_with_everything_joins_though_nothing_is_written() {
    let mut fixture = Fixture::replica(log_of(&[1, 1], 2), three(1, 0, &[1, 3]));
    let mut back = three(1, 0, &[1, 3]);
    back.eligible.insert(BrokerId(2), BrokerEpoch(22));
    assert_eq!(fixture.assign(back), []);
    let position = ReplicaPosition { last_fetched_epoch: Some(LeaderEpoch(1)), ..at(2, 2) };
    assert_eq!(fixture.fetched_as(2, 12, position), [], "the process before this one");
    let join = [proposed(0, &[ALONE, (2, 22), THIRD])];
    assert_eq!(fixture.fetched_as(2, 22, position), join);
}

#[test]
fn a_refused_proposal_is_made_again_after_a_while() {
    let mut fixture = Fixture::leading_two();
    let join = [proposed(0, &[ALONE, SECOND])];
    assert_eq!(fixture.fetched_by(2, at(2, 2)), join);
    assert_eq!(fixture.step(answered(0, IsrOutcome::Refused)), []);
    assert_eq!(fixture.fetched_by(2, at(2, 2)), []);
    assert_eq!(fixture.partition.next_deadline(), Some(Instant(1_000_000_000)));
    fixture.pass(1);
    assert_eq!(fixture.step(Input::Tick), join);
}

#[test]
fn a_refused_proposal_is_made_again_at_once_when_the_metadata_has_changed() {
    let mut fixture = Fixture::leading_two();
    fixture.fetched_by(2, at(2, 2));
    fixture.step(answered(0, IsrOutcome::Refused));
    assert_eq!(fixture.assign(three(1, 1, &[1])), [proposed(1, &[ALONE, SECOND])]);
}

#[test]
fn the_answer_to_another_proposal_says_nothing() {
    let mut fixture = Fixture::leading_two();
    fixture.fetched_by(2, at(2, 2));
    assert_eq!(fixture.step(accepted(7)), []);
    let of_another_epoch = Input::IsrAnswered {
        leader_epoch: LeaderEpoch(2),
        partition_epoch: PartitionEpoch(0),
        outcome: IsrOutcome::Refused,
    };
    assert_eq!(fixture.step(of_another_epoch), []);
    assert_eq!(fixture.partition.isr(), Some(ids(&[1])));
    assert_eq!(fixture.step(accepted(0)), []);
    assert_eq!(fixture.partition.isr(), Some(ids(&[1, 2])));
}

#[test]
fn a_refusal_says_nothing_of_an_earlier_proposal_that_was_not_answered() {
    let mut fixture = Fixture::leading_two();
    fixture.fetched_by(2, at(2, 2));
    fixture.pass(3);
    fixture.step(Input::Tick);
    // The first one was accepted, and its answer is lost.
    assert_eq!(fixture.step(answered(0, IsrOutcome::Refused)), []);
    fixture.fill(1);
    assert_eq!(fixture.partition.high_watermark(), Offset(2), "broker 2 may be a member");
    fixture.pass(1);
    let withdrawal = [proposed(0, &[ALONE])];
    assert_eq!(fixture.step(Input::Tick), withdrawal, "makes the first one's base an old one");
    assert_eq!(fixture.step(accepted(0)), [], "which of the three?");
    fixture.fill(1);
    assert_eq!(fixture.partition.high_watermark(), Offset(2));
    assert_eq!(fixture.assign(three(1, 1, &[1, 2])), []);
    assert_eq!(fixture.flushed_by(2, 4), [advanced(4)]);
}

#[test]
fn the_high_watermark_waits_for_a_replica_that_keeps_up_and_may_join() {
    let mut fixture = Fixture::leading_two();
    fixture.fetched_by(2, at(1, 1));
    fixture.fill(1);
    assert_eq!(fixture.partition.high_watermark(), Offset(2));
    fixture.pass(30);
    assert_eq!(fixture.step(Input::Tick), [advanced(3)], "it does not keep up");
}

#[test]
fn a_tick_is_due_when_the_wait_for_a_joining_replica_ends() {
    let mut fixture = Fixture::leading_two();
    fixture.fetched_by(2, at(1, 1));
    fixture.fill(1);
    assert_eq!(fixture.partition.next_deadline(), Some(Instant(30_000_000_000)));
}

#[test]
fn the_high_watermark_does_not_wait_for_a_replica_that_may_not_join() {
    let mut fixture = Fixture::leading_two();
    fixture.fetched_by(2, at(2, 2));
    fixture.step(answered(0, IsrOutcome::Refused));
    let mut fenced = three(1, 0, &[1]);
    fenced.eligible.remove(&BrokerId(2));
    fixture.assign(fenced);
    fixture.fill(1);
    assert_eq!(fixture.partition.high_watermark(), Offset(3));
}

#[test]
fn the_high_watermark_does_not_wait_for_a_replica_that_never_kept_up() {
    let mut fixture = Fixture::replica(log_of(&[1, 1], 2), three(1, 0, &[1]));
    assert_eq!(fixture.fetched_by(2, at(0, 0)), []);
    fixture.fill(1);
    assert_eq!(fixture.partition.high_watermark(), Offset(3));
}

#[test]
fn a_new_member_has_the_whole_time_to_catch_up() {
    let mut fixture = Fixture::leading_two();
    fixture.produce(9, Acks::None, batch(1));
    fixture.pass(100);
    assert_eq!(fixture.fetched_by(2, at(2, 2)), [proposed(0, &[ALONE, SECOND])]);
    fixture.step(accepted(0));
    assert_eq!(fixture.partition.next_deadline(), Some(Instant(130_000_000_000)));
}

#[test]
fn a_change_of_the_metadata_keeps_the_progress_of_every_replica() {
    let mut fixture = Fixture::leading(&[1, 3]);
    fixture.fill(2);
    fixture.fetched_by(2, at(1, 1));
    let join = [proposed(1, &[ALONE, SECOND, THIRD])];
    assert_eq!(fixture.assign(three(1, 1, &[1, 3])), join);
}

#[test]
fn one_proposal_is_under_way_at_a_time() {
    let mut fixture = Fixture::leading_two();
    assert_eq!(fixture.fetched_by(2, at(2, 2)), [proposed(0, &[ALONE, SECOND])]);
    assert_eq!(fixture.fetched_by(3, at(2, 2)), []);
    assert_eq!(fixture.step(accepted(0)), [proposed(1, &[ALONE, SECOND, THIRD])]);
}

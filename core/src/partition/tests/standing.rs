//! Rule tests: when a leader that does not hear the controller may still be believed.

use super::{
    replicas::{at, ids, not_leader, registration, three},
    *,
};
use crate::producers::SequenceError;

const PATIENCE: Duration = Duration::from_secs(1);

fn out_of_touch(fixture: &mut Fixture) -> Effects {
    told_out_of_touch(fixture, Instant(0))
}

/// As a leader whose process went on then, after it had stood still.
fn told_out_of_touch(fixture: &mut Fixture, resumed: Instant) -> Effects {
    fixture.step(Input::OutOfTouch { resumed, patience: PATIENCE, vouches_for: PATIENCE })
}

fn not_the_newest() -> PartitionError {
    PartitionError::NotLeader { leader: None, leader_epoch: EPOCH }
}

/// Leads one committed record of producer 1 with followers 2 and 3, who fetched just now.
fn leading_with_followers() -> Fixture {
    let mut fixture = Fixture::leading(&[1, 2, 3]);
    fixture.produce(1, Acks::All, idempotent(0, 1));
    fixture.flushed(1);
    fixture.fetched_by(2, at(1, 1));
    assert_eq!(fixture.fetched_by(3, at(1, 1)), [advanced(1), produced(1, 0)]);
    fixture
}

#[test]
fn a_leader_out_of_touch_fails_what_has_waited_for_replicas_for_too_long() {
    let mut fixture = Fixture::leading(&[1, 2, 3]);
    fixture.produce(1, Acks::All, batch(1));
    fixture.pass(2);
    fixture.produce(2, Acks::All, batch(1));
    fixture.produce(3, Acks::Leader, batch(1));
    assert_eq!(out_of_touch(&mut fixture), [failed(1, not_the_newest())]);
    assert_eq!(fixture.flushed(3), [produced(3, 2)], "it waits for this broker alone");
}

#[test]
fn a_leader_out_of_touch_appends_nothing_and_judges_no_sequence_number() {
    let mut fixture = leading_with_followers();
    fixture.pass(2);
    out_of_touch(&mut fixture);
    for acks in [Acks::All, Acks::Leader, Acks::None] {
        assert_eq!(fixture.produce(2, acks, idempotent(1, 1)), [failed(2, not_the_newest())]);
    }
    let gap = fixture.produce(3, Acks::All, idempotent(7, 1));
    assert_eq!(gap, [failed(3, not_the_newest())], "another leader may have what it lacks");
    assert_eq!(fixture.partition.log_end_offset(), Offset(1));
}

#[test]
fn a_leader_out_of_touch_stands_while_every_member_of_the_isr_fetches_from_it() {
    let mut fixture = leading_with_followers();
    fixture.pass(2);
    out_of_touch(&mut fixture);
    fixture.fetched_by(2, at(1, 1));
    assert_eq!(fixture.produce(2, Acks::All, batch(1)), [failed(2, not_the_newest())]);
    fixture.fetched_by(3, at(1, 1));
    let appended = fixture.produce(3, Acks::All, idempotent(1, 1));
    assert!(matches!(appended[..], [Effect::Append { .. }]), "{appended:?}");
    fixture.pass(2);
    assert_eq!(fixture.produce(4, Acks::All, batch(1)), [failed(4, not_the_newest())]);
}

#[test]
fn nobody_vouches_for_a_leader_by_what_was_before_it_stood_still() {
    let mut fixture = leading_with_followers();
    fixture.pass(1);
    fixture.fetched_by(2, at(1, 1));
    fixture.fetched_by(3, at(1, 1));
    fixture.pass(1);
    out_of_touch(&mut fixture);
    assert!(fixture.partition.check_stands(fixture.now).is_ok(), "they fetched a second ago");
    assert_eq!(fixture.partition.doubt(), Some(Some(Instant(0))));
    let resumed = fixture.now.monotonic;
    told_out_of_touch(&mut fixture, resumed);
    assert!(fixture.partition.check_stands(fixture.now).is_err());
    assert_eq!(fixture.partition.doubt(), Some(Some(resumed)));
    fixture.step(Input::InTouch);
    assert!(fixture.partition.check_stands(fixture.now).is_ok());
    assert_eq!(fixture.partition.doubt(), Some(None));
}

#[test]
fn who_has_heard_a_leader_since_it_stood_still_vouches_for_it() {
    let mut fixture = leading_with_followers();
    fixture.pass(1);
    let resumed = fixture.now.monotonic;
    told_out_of_touch(&mut fixture, resumed);
    fixture.fetched_by(2, at(1, 1));
    fixture.fetched_by(3, at(1, 1));
    assert!(fixture.partition.check_stands(fixture.now).is_err(), "that was heard before");
    fixture.pass(1);
    fixture.fetched_by(2, at(1, 1));
    assert!(fixture.partition.check_stands(fixture.now).is_err(), "broker 3 is missing");
    fixture.fetched_by(3, at(1, 1));
    assert!(fixture.partition.check_stands(fixture.now).is_ok());
}

/// Whether broker 2 is told to fetch again at once.
fn hurries(fixture: &mut Fixture) -> bool {
    match fixture.ask(2, registration(2).0, at(1, 1), false).pop() {
        Some(Effect::Respond { response: Response::ReplicaReadable(readable), .. }) => {
            readable.hurry
        }
        other => panic!("a fetch was answered with {other:?}"),
    }
}

#[test]
fn followers_of_a_leader_that_stood_still_are_asked_for_a_sign_of_life() {
    let mut fixture = leading_with_followers();
    fixture.ask(2, registration(2).0, at(1, 1), true);
    fixture.pass(1);
    let resumed = fixture.now.monotonic;
    let told = told_out_of_touch(&mut fixture, resumed);
    assert!(told.contains(&wake(900)), "{told:?}");
    assert!(hurries(&mut fixture), "it is to fetch again at once");
    fixture.pass(1);
    assert!(!hurries(&mut fixture));
}

#[test]
fn a_leader_that_is_the_whole_isr_stands_by_itself() {
    let mut fixture = Fixture::leading_two();
    out_of_touch(&mut fixture);
    assert_ne!(fixture.produce(1, Acks::All, batch(1)), [failed(1, not_the_newest())]);
}

#[test]
fn nothing_proves_a_leader_under_min_insync() {
    // Who left the ISR then is eligible, and leads if all who are in it are cut off together.
    for (isr, min_insync) in [(&[1][..], 2), (&[1, 2], 3)] {
        let assignment = Assignment { min_insync, ..three(1, 0, isr) };
        let mut fixture = Fixture::replica(Recovered::default(), assignment);
        fixture.fetched_by(2, at(0, 0));
        fixture.fetched_by(3, at(0, 0));
        assert!(fixture.partition.check_stands(fixture.now).is_ok(), "in touch it stands");
        out_of_touch(&mut fixture);
        assert!(fixture.partition.check_stands(fixture.now).is_err());
    }
}

#[test]
fn that_a_sequence_is_out_of_order_cannot_be_proven_under_min_insync() {
    let assignment = Assignment { min_insync: 2, ..three(1, 0, &[1]) };
    let mut fixture = Fixture::replica(Recovered::default(), assignment);
    fixture.produce(1, Acks::Leader, idempotent(0, 1));
    let error = PartitionError::NotEnoughReplicas { in_sync: 1, required: 2 };
    assert_eq!(fixture.produce(2, Acks::Leader, idempotent(5, 1)), [failed(2, error)]);
}

#[test]
fn a_proposed_member_has_to_vouch_too() {
    let mut fixture = Fixture::leading_two();
    let proposed = fixture.fetched_by(2, at(2, 2));
    assert!(matches!(proposed[..], [Effect::ProposeIsr { .. }]), "{proposed:?}");
    fixture.pass(2);
    out_of_touch(&mut fixture);
    let refused = fixture.produce(1, Acks::All, batch(1));
    assert_eq!(refused, [failed(1, not_the_newest())], "broker 2 may be in the ISR and lead");
}

#[test]
fn readers_at_the_end_of_a_leader_out_of_touch_are_sent_away() {
    let mut fixture = leading_with_followers();
    fixture.fetch(2, 1, true);
    fixture.pass(2);
    assert_eq!(out_of_touch(&mut fixture), [wake(2)]);
    assert_eq!(fixture.fetch(3, 1, true), [failed(3, not_the_newest())]);
    assert_eq!(fixture.fetch(4, 9, false), [failed(4, not_the_newest())], "not out of range");
    let position = ReadPosition { from_follower: true, ..position(1) };
    let anywhere = Input::Fetch { request: RequestId(6), position, park: true };
    assert_eq!(fixture.step(anywhere), [failed(6, not_the_newest())], "it is no follower either");
    let committed = fixture.fetch(5, 0, false);
    assert!(
        matches!(committed[..], [Effect::Respond { response: Response::Readable(_), .. }]),
        "what is committed stays so: {committed:?}"
    );
}

#[test]
fn a_leader_in_touch_again_decides_again() {
    let mut fixture = leading_with_followers();
    fixture.pass(2);
    out_of_touch(&mut fixture);
    fixture.step(Input::InTouch);
    assert_ne!(fixture.produce(2, Acks::All, batch(1)), [failed(2, not_the_newest())]);
    assert!(matches!(
        fixture.fetch(3, 2, false)[..],
        [Effect::Respond {
            response: Response::Error(PartitionError::OffsetOutOfRange { .. }),
            ..
        }] | [Effect::Respond { response: Response::Readable(_), .. }]
    ));
}

#[test]
fn a_new_leadership_was_heard_of_from_the_controller() {
    let mut fixture = leading_with_followers();
    fixture.pass(2);
    out_of_touch(&mut fixture);
    fixture.assign(Assignment {
        leader_epoch: LeaderEpoch(EPOCH.0 + 1),
        isr: ids(&[1]),
        ..three(1, 1, &[1])
    });
    assert_ne!(fixture.produce(2, Acks::All, batch(1)), [failed(2, not_the_newest())]);
}

fn out_of_order(request: u64, base_sequence: i32, expected: i32) -> Effect {
    let (base_sequence, expected) = (Sequence(base_sequence), Sequence(expected));
    failed(request, SequenceError::OutOfOrder { base_sequence, expected })
}

#[test]
fn that_a_sequence_is_out_of_order_is_said_when_the_isr_has_followed_since() {
    let mut fixture = leading_with_followers();
    fixture.ask(2, registration(2).0, at(1, 1), true);
    let parked = fixture.produce(2, Acks::All, idempotent(7, 1));
    assert_eq!(parked, [wake(900)], "the followers are asked for a sign of life");
    assert_eq!(fixture.fetched_by(2, at(1, 1)), [], "this may have been sent before");
    fixture.pass(1);
    assert_eq!(fixture.fetched_by(2, at(1, 1)), []);
    assert_eq!(fixture.fetched_by(3, at(1, 1)), [out_of_order(2, 7, 1)]);
}

#[test]
fn a_follower_whose_proof_is_missing_is_answered_at_once() {
    let mut fixture = leading_with_followers();
    fixture.produce(2, Acks::All, idempotent(7, 1));
    assert!(hurries(&mut fixture));
    fixture.pass(1);
    assert!(!hurries(&mut fixture), "it has followed since; broker 3 has not");
}

#[test]
fn a_replaced_leader_calls_nothing_out_of_order() {
    let mut fixture = leading_with_followers();
    fixture.produce(2, Acks::All, idempotent(7, 1));
    let moved = Assignment { leader_epoch: LeaderEpoch(EPOCH.0 + 1), ..three(2, 1, &[1, 2, 3]) };
    assert_eq!(fixture.assign(moved), [failed(2, not_leader(2, EPOCH.0 + 1))]);
}

#[test]
fn a_refusal_that_cannot_be_proven_in_time_times_out() {
    let mut fixture = leading_with_followers();
    fixture.produce(2, Acks::All, idempotent(7, 1));
    fixture.pass(31);
    let effects = fixture.step(Input::Tick);
    assert!(effects.contains(&failed(2, PartitionError::RequestTimedOut)), "{effects:?}");
}

#[test]
fn a_leader_that_is_the_whole_isr_refuses_at_once() {
    let mut fixture = Fixture::leading_two();
    fixture.produce(1, Acks::All, idempotent(0, 1));
    assert_eq!(fixture.produce(2, Acks::All, idempotent(7, 1)), [out_of_order(2, 7, 1)]);
}

fn delete(fixture: &mut Fixture, request: u64, before: u64) -> Effects {
    let (request, before) = (RequestId(request), Some(Offset(before)));
    fixture.step(Input::DeleteRecords { request, before })
}

fn deleted(request: u64, low_watermark: u64) -> Effect {
    respond(request, Response::RecordsDeleted { low_watermark: Offset(low_watermark) })
}

/// Where a follower is that has one record, or has deleted it.
fn from(log_start: u64) -> ReplicaPosition {
    ReplicaPosition { log_start_offset: Offset(log_start), ..at(1, 1) }
}

#[test]
fn that_records_were_gone_already_is_said_when_the_isr_has_followed_since() {
    let mut fixture = leading_with_followers();
    fixture.ask(2, registration(2).0, at(1, 1), true);
    let parked = delete(&mut fixture, 2, 0);
    assert_eq!(parked, [wake(900)], "the followers are asked for a sign of life");
    assert_eq!(fixture.fetched_by(2, at(1, 1)), [], "this may have been sent before");
    fixture.pass(1);
    assert_eq!(fixture.fetched_by(2, at(1, 1)), []);
    assert_eq!(fixture.fetched_by(3, at(1, 1)), [deleted(2, 0)]);
}

#[test]
fn a_deletion_is_proven_by_the_fetches_that_tell_of_it() {
    let mut fixture = leading_with_followers();
    let advance = Effect::AdvanceLogStart { to: Offset(1) };
    assert_eq!(delete(&mut fixture, 2, 1), [advance]);
    fixture.pass(1);
    assert_eq!(fixture.step(Input::LogStartPersisted { to: Offset(1) }), []);
    assert_eq!(fixture.fetched_by(2, from(1)), []);
    assert_eq!(fixture.fetched_by(3, from(1)), [deleted(2, 1)]);
}

#[test]
fn a_replaced_leader_says_nothing_about_a_deletion() {
    let mut fixture = leading_with_followers();
    delete(&mut fixture, 2, 0);
    let moved = Assignment { leader_epoch: LeaderEpoch(EPOCH.0 + 1), ..three(2, 1, &[1, 2, 3]) };
    assert_eq!(fixture.assign(moved), [failed(2, not_leader(2, EPOCH.0 + 1))]);
}

#[test]
fn a_leader_out_of_touch_deletes_nothing_and_fails_the_deletions_that_have_waited_for_too_long() {
    let mut fixture = leading_with_followers();
    delete(&mut fixture, 2, 0);
    fixture.pass(2);
    delete(&mut fixture, 3, 1);
    assert_eq!(out_of_touch(&mut fixture), [failed(2, not_the_newest())]);
    assert_eq!(delete(&mut fixture, 4, 1), [failed(4, not_the_newest())]);
}

#[test]
fn a_coordinator_whose_leader_is_out_of_touch_appends_nothing() {
    let mut fixture = leading_with_followers();
    fixture.pass(2);
    assert!(fixture.partition.stands(fixture.now.monotonic, EPOCH));
    out_of_touch(&mut fixture);
    assert!(!fixture.partition.stands(fixture.now.monotonic, EPOCH));
    let (request, leader_epoch) = (RequestId(2), EPOCH);
    let append = Input::AppendAsCoordinator { request, leader_epoch, batch: batch(1) };
    assert_eq!(fixture.step(append), [failed(2, not_the_newest())]);
    fixture.step(Input::InTouch);
    assert!(fixture.partition.stands(fixture.now.monotonic, EPOCH));
    assert!(!fixture.partition.stands(fixture.now.monotonic, LeaderEpoch(EPOCH.0 + 1)));
}

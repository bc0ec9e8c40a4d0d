//! What a loss costs, and what outlives it.

use super::super::{
    example::{Example, PARTITION, batch, batch_by, image, in_sync, producer},
    first_violation,
};
use super::*;
use crate::batch::ReadBatch;
use crate::history::{Boundary, FinalTopic, MarkKind, Moment};

/// A cluster that broker 1 leads at first, with everybody in sync.
fn example() -> Example {
    let mut example = Example::in_cluster();
    let final_topic = FinalTopic { name: "t".into(), id: [1; 16], partitions: 1, configs: None };
    example.history.final_topics.push(final_topic);
    sees(&mut example, 1, (Some(1), 1), &[1, 2, 3]);
    example
}

fn unclean() -> Example {
    let mut example = example();
    example.history.topics[0].unclean = true;
    example
}

fn replicated() -> Example {
    let mut example = example();
    example.history.topics[0].replicated = true;
    example
}

/// All machines see this leader with its epoch, and this ISR.
fn sees(example: &mut Example, at: u64, leader: (Option<i32>, i32), isr: &[i32]) {
    for machine in [1, 2, 3] {
        let mut seen = in_sync(1, leader.1);
        (seen.leader, seen.isr, seen.partition_epoch) = (leader.0, isr.to_vec(), at as i32);
        example.saw(machine, at, "", seen);
        let look = example.history.metadata.last_mut().expect("just pushed");
        (look.digest, look.brokers) = (at.to_string(), [(1, 1), (2, 1), (3, 1)].into());
    }
}

/// Everybody has registered again in the newest look.
fn registered_again(example: &mut Example) {
    for look in example.history.metadata.iter_mut().rev().take(3) {
        look.brokers = [(1, 9), (2, 9), (3, 9)].into();
    }
}

fn acknowledged_by(example: &mut Example, broker: i32, number: u64, offset: i64) {
    let call = example.produced(number..number + 1, offset);
    example.history.calls[call].broker = broker;
}

fn broken(example: &Example) -> Option<&'static str> {
    first_violation(&example.history).map(|(check, _)| check.name)
}

#[test]
fn an_unclean_election_gives_up_what_was_acknowledged_before_and_nothing_since() {
    for (kept, is_unclean, expected) in [
        (true, true, None),
        (true, false, Some("L3 immutable")),
        (false, true, Some("L7 crash prefix")),
    ] {
        let mut example = unclean();
        example.history.topics[0].unclean = is_unclean;
        sees(&mut example, 2, (Some(1), 1), &[1]);
        acknowledged_by(&mut example, 1, 5, 0);
        sees(&mut example, 3, (Some(2), 2), &[2]);
        acknowledged_by(&mut example, 2, 7, 0);
        example.finish(if kept { vec![batch(0, 7..8)] } else { vec![] });
        assert_eq!(broken(&example), expected);
    }
}

#[test]
fn the_election_of_a_replica_in_sync_or_eligible_gives_nothing_up() {
    for (isr, elr, gives_up) in
        [(&[1, 2][..], &[][..], false), (&[1], &[2], false), (&[1], &[3], true)]
    {
        let mut example = unclean();
        sees(&mut example, 2, (Some(1), 1), isr);
        for look in example.history.metadata.iter_mut().rev().take(3) {
            look.partitions.get_mut(&PARTITION).expect("seen").elr = elr.to_vec();
        }
        sees(&mut example, 3, (Some(2), 2), &[2]);
        assert_eq!(given_up(&example.history).contains_key(&PARTITION), gives_up);
    }
}

#[test]
fn a_leader_that_was_replaced_without_knowing_it_binds_nobody() {
    for (broker, expected) in [(1, None), (2, Some("L7 crash prefix"))] {
        let mut example = unclean();
        sees(&mut example, 2, (Some(1), 1), &[1]);
        sees(&mut example, 3, (Some(2), 2), &[2]);
        acknowledged_by(&mut example, broker, 5, 0);
        example.finish(vec![]);
        assert_eq!(broken(&example), expected);
    }
}

#[test]
fn a_producer_is_refused_what_it_goes_on_with_when_that_is_gone_and_not_otherwise() {
    for (began_before, expected) in [(true, None), (false, Some("I8 honest refusals"))] {
        let mut example = unclean();
        let produced = |example: &mut Example, broker, number: u64, base_sequence: i32| {
            let numbers = number..number + 1;
            let call = example.produce(numbers, Some(producer(0, base_sequence)));
            example.acknowledge(call, 0);
            example.history.calls[call].broker = broker;
        };
        sees(&mut example, 2, (Some(1), 1), &[1]);
        if began_before {
            produced(&mut example, 1, 6, 0);
        }
        sees(&mut example, 3, (Some(2), 2), &[2]);
        produced(&mut example, 2, 7, 5);
        let call = example.produce(8..9, Some(producer(0, 0)));
        example.history.end(call, Outcome::Failed(OUT_OF_ORDER_SEQUENCE_NUMBER));
        example.history.calls[call].broker = 2;
        let kept = batch_by(0, 7..8, producer(0, 5));
        example.finish(vec![kept]).producers = vec![(7, 0, 5)];
        assert_eq!(broken(&example), expected);
    }
}

#[test]
fn what_was_told_before_a_loss_is_judged_by_itself() {
    let mut example = unclean();
    acknowledged_by(&mut example, 1, 5, 0);
    acknowledged_by(&mut example, 1, 6, 0);
    sees(&mut example, 2, (Some(1), 1), &[1]);
    sees(&mut example, 3, (Some(2), 2), &[2]);
    example.finish(vec![]);
    assert_eq!(broken(&example), Some("L3 immutable"));
}

#[test]
fn replicated_records_are_lost_with_the_last_of_those_in_sync_and_not_before() {
    for crashes in 1..=3 {
        let mut example = replicated();
        acknowledged_by(&mut example, 1, 5, 0);
        for machine in 1..=crashes {
            example.history.mark(machine, MarkKind::Stopped);
        }
        example.finish(vec![]);
        let expected = (crashes < 3).then_some("L7 crash prefix");
        assert_eq!(broken(&example), expected, "{crashes}");
    }
}

#[test]
fn who_has_registered_again_and_is_in_sync_has_every_record_again() {
    for is_in_sync in [true, false] {
        let mut example = replicated();
        example.history.mark(1, MarkKind::Stopped);
        let isr: &[i32] = if is_in_sync { &[1, 2, 3] } else { &[2, 3] };
        sees(&mut example, 2, (Some(2), 2), isr);
        registered_again(&mut example);
        example.history.mark(2, MarkKind::Stopped);
        example.history.mark(3, MarkKind::Stopped);
        assert_eq!(given_up(&example.history).is_empty(), is_in_sync);
    }
}

#[test]
fn a_clean_shutdown_is_no_crash() {
    let mut example = replicated();
    for machine in 1..=3 {
        example.history.mark(machine, MarkKind::ShutDown);
        example.history.mark(machine, MarkKind::Stopped);
    }
    assert!(given_up(&example.history).is_empty());
    example.history.mark(1, MarkKind::Ready);
    for machine in 1..=3 {
        example.history.mark(machine, MarkKind::Stopped);
    }
    assert_eq!(given_up(&example.history)[&PARTITION].len(), 1);
}

#[test]
fn a_member_that_crashed_and_stays_alone_in_the_isr_is_the_end_where_one_is_enough() {
    for min_insync in [1, 2] {
        let mut example = replicated();
        example.history.mark(2, MarkKind::Stopped);
        sees(&mut example, 2, (None, 2), &[2]);
        for look in example.history.metadata.iter_mut().rev().take(3) {
            look.partitions.get_mut(&PARTITION).expect("seen").min_insync = min_insync;
        }
        assert_eq!(given_up(&example.history).contains_key(&PARTITION), min_insync == 1);
    }
}

/// Nobody has looked between this moment and the newest looks.
fn nobody_looked_since(example: &mut Example, moment: Moment) {
    for look in example.history.metadata.iter_mut().rev().take(3) {
        look.unknown_at = moment;
    }
}

/// A machine lost its power, and with it all that was not on its disk.
fn crashed(example: &mut Example, machine: i32, on_disk: &[ReadBatch]) {
    let stopped = example.history.mark(machine, MarkKind::Stopped);
    let logs = BTreeMap::from([(PARTITION, image(on_disk))]);
    let (before, after) = (logs.clone(), logs);
    let boundary = Boundary { machine, stopped, power: true, before, after, recovered: None };
    example.history.boundaries.push(boundary);
}

#[test]
fn what_was_promised_while_the_elected_was_in_sync_outlives_its_election() {
    for (end, expected) in [
        (vec![batch(0, 5..6)], None),
        (vec![batch(0, 5..6), batch(1, 6..7)], None),
        (vec![batch(0, 7..8)], Some("L3 immutable")),
        (vec![], Some("L7 crash prefix")),
    ] {
        let mut example = unclean();
        acknowledged_by(&mut example, 1, 5, 0);
        sees(&mut example, 2, (Some(1), 1), &[1]);
        acknowledged_by(&mut example, 1, 6, 1);
        sees(&mut example, 3, (Some(2), 2), &[2]);
        example.finish(end);
        assert_eq!(broken(&example), expected);
    }
}

#[test]
fn what_one_election_cost_no_later_one_has_to_keep() {
    for (in_sync_again, expected) in [(false, None), (true, Some("L7 crash prefix"))] {
        let mut example = unclean();
        sees(&mut example, 2, (Some(1), 1), &[1, 3]);
        acknowledged_by(&mut example, 1, 5, 0);
        sees(&mut example, 3, (Some(1), 1), &[1]);
        sees(&mut example, 4, (Some(2), 2), &[2]);
        sees(&mut example, 5, (Some(2), 2), if in_sync_again { &[2, 3] } else { &[2] });
        acknowledged_by(&mut example, 2, 7, 0);
        sees(&mut example, 6, (Some(2), 2), &[2]);
        sees(&mut example, 7, (Some(3), 3), &[3]);
        example.finish(vec![]);
        assert_eq!(broken(&example), expected);
    }
}

#[test]
fn a_read_outlives_a_loss_that_keeps_what_was_read() {
    for (in_sync, expected) in [(&[1, 2][..], Some("L4 read bound")), (&[1], None)] {
        let mut example = unclean();
        sees(&mut example, 2, (Some(1), 1), in_sync);
        example.produce(5..6, None);
        example.fetched(0, 1, vec![batch(0, 5..6)]);
        sees(&mut example, 3, (Some(1), 1), &[1]);
        sees(&mut example, 4, (Some(2), 2), &[2]);
        example.finish(vec![]);
        assert_eq!(broken(&example), expected);
    }
}

#[test]
fn who_lost_its_disk_keeps_nothing_until_it_is_in_sync_again() {
    for (is_back, expected) in [(false, None), (true, Some("L7 crash prefix"))] {
        let mut example = unclean();
        acknowledged_by(&mut example, 1, 5, 0);
        example.history.mark(2, MarkKind::Wiped);
        sees(&mut example, 2, (Some(1), 1), &[1, 2]);
        if is_back {
            registered_again(&mut example);
        }
        sees(&mut example, 3, (Some(1), 1), &[1]);
        sees(&mut example, 4, (Some(2), 2), &[2]);
        example.finish(vec![]);
        assert_eq!(broken(&example), expected);
    }
}

#[test]
fn changes_that_nobody_saw_may_have_been_an_unclean_election() {
    for (are_hidden, expected) in [(true, None), (false, Some("L7 crash prefix"))] {
        let mut example = unclean();
        sees(&mut example, 2, (Some(1), 1), &[1, 2]);
        let looked_at = example.history.tick();
        acknowledged_by(&mut example, 1, 5, 0);
        sees(&mut example, if are_hidden { 4 } else { 3 }, (Some(2), 2), &[2]);
        nobody_looked_since(&mut example, looked_at);
        example.finish(vec![]);
        assert_eq!(broken(&example), expected);
    }
}

#[test]
fn what_lies_on_the_disk_of_the_next_leader_outlives_the_crash_of_all() {
    let (first, second) = (batch(0, 5..6), batch(1, 6..7));
    for (leader, end, expected) in [
        (2, vec![first.clone()], None),
        (2, vec![], Some("L7 crash prefix")),
        (3, vec![], None),
        (1, vec![first.clone()], Some("L7 crash prefix")),
        (1, vec![first.clone(), second.clone()], None),
    ] {
        let mut example = replicated();
        acknowledged_by(&mut example, 1, 5, 0);
        acknowledged_by(&mut example, 1, 6, 1);
        crashed(&mut example, 3, &[]);
        crashed(&mut example, 2, std::slice::from_ref(&first));
        crashed(&mut example, 1, &[first.clone(), second.clone()]);
        sees(&mut example, 2, (Some(leader), 2), &[leader]);
        example.finish(end);
        assert_eq!(broken(&example), expected, "{leader}");
    }
}

#[test]
fn what_was_committed_behind_a_read_that_is_kept_may_be_lost() {
    const OFFSET_OUT_OF_RANGE: i16 = 1;
    for (offset, expected) in [(2, None), (1, Some("L18 in range"))] {
        let mut example = replicated();
        let first = batch(0, 5..6);
        example.produce(5..6, None);
        example.fetched(0, 2, vec![first.clone()]);
        example.history.calls[1].knew = Some(1);
        crashed(&mut example, 3, &[]);
        crashed(&mut example, 1, &[]);
        crashed(&mut example, 2, std::slice::from_ref(&first));
        sees(&mut example, 2, (Some(2), 2), &[2]);
        let request = Request::Fetch { partition: PARTITION, offset };
        let call = example.history.invoke(1, 0, request);
        let made = &mut example.history.calls[call];
        (made.broker, made.knew) = (2, Some(2));
        example.history.end(call, Outcome::Failed(OFFSET_OUT_OF_RANGE));
        example.finish(vec![first]);
        assert_eq!(broken(&example), expected, "at {offset}");
    }
}

//! Rule tests: reassignments (KIP-455, KIP-860).

use super::*;

/// Reassigns or, without a target, cancels.
fn reassign(
    log: &mut Log,
    target: Option<&[i32]>,
    force: bool,
    allow_replication_factor_change: bool,
) -> Result<(), MetadataError> {
    let changes = vec![(TOPIC, INDEX, target.map(ids))];
    let command = Command::AlterReassignments { changes, force, allow_replication_factor_change };
    match log.apply(command) {
        Ok(Reply::ReassignmentsAltered(mut outcomes)) => outcomes.remove(0),
        other => panic!("unexpected {other:?}"),
    }
}

fn replicas(log: &Log) -> String {
    let numbers = |ids: &[BrokerId]| ids.iter().map(|id| id.0).collect::<Vec<_>>();
    let partition = log.partition();
    let (adding, removing) = (numbers(&partition.adding), numbers(&partition.removing));
    format!("{:?} adding {adding:?} removing {removing:?}", numbers(&partition.replicas))
}

#[test]
fn a_reassignment_completes_when_all_of_its_target_is_in_sync_and_not_earlier() {
    let mut log = Log::of(5, &[]);
    assert_eq!(reassign(&mut log, Some(&[4, 2, 5]), false, false), Ok(()));
    assert_eq!(replicas(&log), "[4, 2, 5, 1, 3] adding [4, 5] removing [1, 3]");
    assert_eq!(log.shown(), "leader 1 isr [2, 1, 3] elr [] epochs 0 1");
    log.set_isr(&[1, 2, 3, 4]);
    log.set_isr(&[1, 3, 4, 5]);
    assert_eq!(replicas(&log), "[4, 2, 5, 1, 3] adding [4, 5] removing [1, 3]", "2 is not in sync");
    log.set_isr(&[1, 2, 4, 5]);
    assert_eq!(replicas(&log), "[4, 2, 5] adding [] removing []");
    assert_eq!(log.shown(), "leader 4 isr [4, 2, 5] elr [] epochs 1 4");
}

#[test]
fn a_leader_that_stays_gets_a_new_epoch_when_replicas_leave() {
    let mut log = Log::of(4, &[]);
    reassign(&mut log, Some(&[1, 2, 4]), false, false).expect("allowed");
    log.set_isr(&[1, 2, 3, 4]);
    assert_eq!(replicas(&log), "[1, 2, 4] adding [] removing []");
    assert_eq!(log.shown(), "leader 1 isr [1, 2, 4] elr [] epochs 1 2");
}

#[test]
fn another_order_of_the_same_replicas_is_in_force_at_once() {
    let mut log = Log::of(3, &[]);
    reassign(&mut log, Some(&[3, 1, 2]), false, false).expect("allowed");
    assert_eq!(replicas(&log), "[3, 1, 2] adding [] removing []");
    assert_eq!(log.shown(), "leader 1 isr [3, 1, 2] elr [] epochs 0 1");
}

#[test]
fn a_cancelled_reassignment_goes_back_to_the_replicas_before_it() {
    let mut log = Log::of(5, &[]);
    let nothing = reassign(&mut log, None, false, false);
    assert_eq!(nothing, Err(MetadataError::NoReassignmentInProgress));
    reassign(&mut log, Some(&[4, 5, 1]), false, false).expect("allowed");
    log.set_isr(&[1, 2, 3, 4]);
    log.fence(1);
    assert_eq!(log.shown(), "leader 4 isr [4, 2, 3] elr [] epochs 1 3");
    assert_eq!(reassign(&mut log, None, false, false), Ok(()));
    assert_eq!(replicas(&log), "[1, 2, 3] adding [] removing []");
    assert_eq!(log.shown(), "leader 2 isr [2, 3] elr [] epochs 2 4");
}

#[test]
fn a_newer_reassignment_replaces_the_one_in_progress_and_can_still_be_cancelled() {
    let mut log = Log::of(5, &[]);
    reassign(&mut log, Some(&[1, 2, 4]), false, false).expect("allowed");
    assert_eq!(replicas(&log), "[1, 2, 4, 3] adding [4] removing [3]");
    log.fence(4);
    reassign(&mut log, Some(&[1, 2, 5]), false, false).expect("allowed");
    assert_eq!(replicas(&log), "[1, 2, 5, 3] adding [5] removing [3]");
    assert_eq!(reassign(&mut log, Some(&[1, 2, 3]), false, false), Ok(()));
    assert_eq!(replicas(&log), "[1, 2, 3] adding [] removing []");
    reassign(&mut log, Some(&[1, 2, 5]), false, false).expect("allowed");
    reassign(&mut log, Some(&[2, 4, 5]), false, false).expect("allowed");
    assert_eq!(replicas(&log), "[2, 4, 5, 1, 3] adding [4, 5] removing [1, 3]");
    reassign(&mut log, None, false, false).expect("in progress");
    assert_eq!(replicas(&log), "[2, 1, 3] adding [] removing []");
}

#[test]
fn a_cancellation_that_leaves_nobody_in_sync_is_refused_unless_unclean_leaders_are_allowed() {
    let moved = |configs| {
        let mut log = Log::of(4, configs);
        reassign(&mut log, Some(&[4, 2, 3]), false, false).expect("allowed");
        log.set_isr(&[1, 4]);
        log.shut_down(1);
        assert_eq!(log.partition().isr, ids(&[4]));
        log
    };
    let mut log = moved(&[]);
    let before = log.image.fingerprint_at_zero();
    assert_eq!(reassign(&mut log, None, true, false), Err(MetadataError::WouldBeUnclean));
    assert_eq!(log.image.fingerprint_at_zero(), before);
    let mut log = moved(&[("unclean.leader.election.enable", "true")]);
    assert_eq!(reassign(&mut log, None, true, false), Ok(()));
    assert_eq!(log.shown(), "leader 2 isr [2] elr [] epochs 2 4");
    let mut log = moved(&[("min.insync.replicas", "2")]);
    assert_eq!(log.partition().elr, ids(&[1]));
    assert_eq!(reassign(&mut log, None, true, false), Ok(()), "1 has every acknowledged record");
    assert_eq!(log.shown(), "leader none isr [1] elr [] epochs 2 4");
}

#[test]
fn fewer_replicas_than_the_minimum_need_force() {
    let mut log = Log::of(5, &[("min.insync.replicas", "2")]);
    let refused =
        |remaining| Err(MetadataError::BelowMinInsyncReplicas { remaining, min_insync: 2 });
    assert_eq!(reassign(&mut log, Some(&[1]), false, true), refused(1));
    assert_eq!(reassign(&mut log, Some(&[1]), true, true), Ok(()));
    assert_eq!(replicas(&log), "[1] adding [] removing []");
    let mut log = Log::of(5, &[("min.insync.replicas", "2")]);
    reassign(&mut log, Some(&[1, 4, 5]), false, false).expect("allowed");
    log.set_isr(&[1, 4]);
    assert_eq!(reassign(&mut log, None, false, false), refused(1));
    assert_eq!(reassign(&mut log, None, true, false), Ok(()));
    assert_eq!(log.shown(), "leader 1 isr [1] elr [] epochs 1 3");
}

#[test]
fn a_target_has_as_many_replicas_as_before_unless_that_may_change() {
    let mut log = Log::of(4, &[]);
    let other = |wanted| Err(MetadataError::InvalidReplicationFactor { wanted, possible: 3 });
    assert_eq!(reassign(&mut log, Some(&[1, 2]), false, false), other(2));
    assert_eq!(reassign(&mut log, Some(&[1, 2, 3, 4]), false, false), other(4));
    assert_eq!(reassign(&mut log, Some(&[1, 2, 3, 4]), false, true), Ok(()));
    assert_eq!(replicas(&log), "[1, 2, 3, 4] adding [4] removing []");
    assert_eq!(reassign(&mut log, Some(&[1, 2, 4]), false, false), Ok(()), "three, as before");
    assert_eq!(replicas(&log), "[1, 2, 4, 3] adding [4] removing [3]");
}

#[test]
fn a_target_names_registered_brokers_once_each() {
    let mut log = Log::of(3, &[]);
    let before = log.image.fingerprint_at_zero();
    for target in [&[][..], &[1, 1, 2]] {
        let outcome = reassign(&mut log, Some(target), true, true);
        assert!(matches!(outcome, Err(MetadataError::InvalidReplicas { .. })), "{outcome:?}");
    }
    let unknown = MetadataError::UnknownBroker { broker: BrokerId(9) };
    assert_eq!(reassign(&mut log, Some(&[1, 2, 9]), true, true), Err(unknown));
    assert_eq!(log.image.fingerprint_at_zero(), before);
}

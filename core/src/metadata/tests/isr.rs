//! Rule tests: changes of the ISR by its leader, and the eligible leader replicas (KIP-966).

use super::*;

#[test]
fn a_leader_shrinks_and_grows_its_isr_from_one_partition_epoch_to_the_next() {
    let mut log = Log::of(3, &[]);
    assert_eq!(log.propose(log.proposal(&[3, 1])), Ok(PartitionEpoch(1)));
    assert_eq!(log.shown(), "leader 1 isr [1, 3] elr [] epochs 0 1");
    assert_eq!(log.propose(log.proposal(&[1, 2, 3])), Ok(PartitionEpoch(2)));
}

#[test]
fn a_change_to_the_same_isr_withdraws_a_proposal_whose_fate_the_leader_does_not_know() {
    let mut log = Log::of(3, &[]);
    let lost = log.proposal(&[1, 2]);
    assert_eq!(log.propose(log.proposal(&[2, 3, 1])), Ok(PartitionEpoch(1)), "it is so already");
    assert_eq!(log.shown(), "leader 1 isr [1, 2, 3] elr [] epochs 0 1");
    let current = PartitionEpoch(1);
    assert_eq!(log.propose(lost), Err(MetadataError::StalePartitionEpoch { current }));
}

#[test]
fn a_proposal_from_an_old_partition_epoch_is_refused() {
    let mut log = Log::of(3, &[]);
    let stale = log.proposal(&[1, 2]);
    log.set_isr(&[1, 3]);
    let before = log.image.fingerprint_at_zero();
    let current = PartitionEpoch(1);
    assert_eq!(log.propose(stale), Err(MetadataError::StalePartitionEpoch { current }));
    assert_eq!(log.image.fingerprint_at_zero(), before);
}

#[test]
fn only_the_leader_of_the_epoch_changes_the_isr() {
    let mut log = Log::of(3, &[]);
    let (leader, current) = (Some(BROKER), LeaderEpoch(0));
    let fenced = MetadataError::FencedLeaderEpoch { leader, current };
    let newer = IsrChange { leader_epoch: LeaderEpoch(1), ..log.proposal(&[1, 2]) };
    assert_eq!(log.propose(newer), Err(fenced.clone()));
    let (broker, broker_epoch) = (BrokerId(2), log.epoch(2));
    let changes = vec![log.proposal(&[2, 3])];
    let outcome = log.apply(Command::AlterPartition { broker, broker_epoch, changes });
    assert_eq!(outcome, Ok(Reply::PartitionsAltered(vec![Err(fenced)])));
}

#[test]
fn a_fenced_a_stopping_a_restarted_and_an_unknown_broker_stay_out_of_the_isr() {
    let mut log = Log::of(4, &[]);
    log.fence(2);
    log.shut_down(3);
    let before = log.image.fingerprint_at_zero();
    for (broker, reason) in [(2, "it is fenced"), (3, "it is shutting down")] {
        let expected =
            MetadataError::IneligibleReplica { broker: BrokerId(broker), reason: reason.into() };
        assert_eq!(log.propose(log.proposal(&[1, broker])), Err(expected));
    }
    assert_eq!(log.image.fingerprint_at_zero(), before);
    log.unfence(2);
    let old = log.proposal(&[1, 2]);
    log.restart(2, true);
    log.unfence(2);
    let reason = "it has registered again".into();
    let expected = MetadataError::IneligibleReplica { broker: BrokerId(2), reason };
    assert_eq!(log.propose(old), Err(expected));
    log.set_isr(&[1, 2]);
}

#[test]
fn an_isr_has_its_leader_and_each_replica_at_most_once_and_nobody_else() {
    let mut log = Log::of(4, &[]);
    let before = log.image.fingerprint_at_zero();
    for isr in [&[][..], &[2, 3], &[1, 1], &[1, 2, 1], &[1, 4]] {
        let outcome = log.propose(log.proposal(isr));
        assert!(matches!(outcome, Err(MetadataError::InvalidIsr { .. })), "{isr:?}: {outcome:?}");
    }
    let unknown = IsrChange { index: PartitionIndex(1), ..log.proposal(&[1]) };
    let error = MetadataError::UnknownPartition { topic: TOPIC, index: PartitionIndex(1) };
    assert_eq!(log.propose(unknown), Err(error));
    let id = TopicId([9; 16]);
    let unknown = IsrChange { topic: id, ..log.proposal(&[1]) };
    assert_eq!(log.propose(unknown), Err(MetadataError::UnknownTopic { id }));
    assert_eq!(log.image.fingerprint_at_zero(), before);
}

#[test]
fn each_change_of_a_command_stands_for_itself() {
    let mut log = Log::of(3, &[]);
    let bad = IsrChange { index: PartitionIndex(7), ..log.proposal(&[1]) };
    let changes = vec![bad, log.proposal(&[1, 2]), log.proposal(&[1, 3])];
    let (broker, broker_epoch) = (BROKER, log.epoch(1));
    let outcome = log.apply(Command::AlterPartition { broker, broker_epoch, changes });
    let expected = vec![
        Err(MetadataError::UnknownPartition { topic: TOPIC, index: PartitionIndex(7) }),
        Ok(PartitionEpoch(1)),
        Err(MetadataError::StalePartitionEpoch { current: PartitionEpoch(1) }),
    ];
    assert_eq!(outcome, Ok(Reply::PartitionsAltered(expected)));
}

#[test]
fn who_leaves_an_isr_under_its_minimum_stays_eligible_until_the_minimum_is_reached() {
    let mut log = Log::of(3, &[("min.insync.replicas", "2")]);
    log.set_isr(&[1, 2]);
    assert_eq!(
        log.shown(),
        "leader 1 isr [1, 2] elr [] epochs 0 1",
        "the minimum goes on without 3"
    );
    log.fence(2);
    assert_eq!(log.shown(), "leader 1 isr [1] elr [2] epochs 0 2");
    log.set_isr(&[1, 3]);
    assert_eq!(log.shown(), "leader 1 isr [1, 3] elr [] epochs 0 3", "2 may lack records by now");
}

#[test]
fn the_minimum_is_at_most_the_number_of_replicas() {
    let mut log = Log::of(3, &[("min.insync.replicas", "9")]);
    assert_eq!(log.image.min_insync_replicas(TOPIC, INDEX), 3);
    assert_eq!(log.image.min_insync_replicas(TOPIC, PartitionIndex(1)), 1);
    log.set_isr(&[1, 2]);
    assert_eq!(log.shown(), "leader 1 isr [1, 2] elr [3] epochs 0 1");
    log.set_isr(&[1, 2, 3]);
    assert_eq!(log.shown(), "leader 1 isr [1, 2, 3] elr [] epochs 0 2");
}

#[test]
fn nobody_is_eligible_by_another_minimum() {
    for raise in [false, true] {
        let mut log = Log::of(3, &[]);
        log.set_default("min.insync.replicas", "2");
        log.set_isr(&[1]);
        assert_eq!(log.shown(), "leader 1 isr [1] elr [2, 3] epochs 0 1");
        log.set_config("min.insync.replicas", "2");
        assert_eq!(log.shown(), "leader 1 isr [1] elr [2, 3] epochs 0 1", "it is the same");
        log.set_config("min.insync.replicas", if raise { "3" } else { "1" });
        assert_eq!(log.shown(), "leader 1 isr [1] elr [] epochs 0 2");
    }
    let mut log = Log::of(3, &[]);
    log.set_default("min.insync.replicas", "2");
    log.set_isr(&[1]);
    log.set_default("min.insync.replicas", "3");
    assert_eq!(log.shown(), "leader 1 isr [1] elr [] epochs 0 2");
}

//! Rule tests: registration, fencing and shutdown of brokers.

use super::*;

#[test]
fn a_process_that_registers_again_gets_the_same_epoch_and_another_one_a_new_epoch() {
    let mut log = Log::new();
    let granted = |epoch| Ok(Reply::BrokerRegistered { broker_epoch: BrokerEpoch(epoch) });
    let before = log.image.fingerprint_at_zero();
    assert_eq!(log.apply(register(1, 1)), granted(1));
    assert_eq!(log.image.fingerprint_at_zero(), before, "the same process asked again");
    assert_eq!(log.apply(register(1, 2)), granted(4));
    let registration = log.image.broker(BROKER).expect("registered");
    let expected = BrokerRegistration {
        directory: crate::types::DirectoryId(0),
        epoch: BrokerEpoch(4),
        incarnation: Incarnation(2),
        registered_at: Timestamp(5),
        rack: None,
        client_endpoint: Endpoint { host: "a".into(), port: 9092 },
        peer_endpoint: Endpoint { host: "a".into(), port: 9093 },
        fenced: true,
        in_controlled_shutdown: false,
    };
    assert_eq!(registration, &expected);
}

#[test]
fn a_command_for_an_earlier_registration_changes_nothing() {
    let mut log = Log::of(3, &[]);
    log.restart(2, true);
    let before = log.image.fingerprint_at_zero();
    let (broker, current) = (BrokerId(2), log.epoch(2));
    let (epoch, stale) = (BrokerEpoch(3), MetadataError::StaleBrokerEpoch { broker, current });
    for command in [
        Command::FenceBroker { broker, epoch },
        Command::UnfenceBroker { broker, epoch },
        Command::BeginControlledShutdown { broker, epoch },
        Command::AlterPartition { broker, broker_epoch: epoch, changes: vec![] },
    ] {
        assert_eq!(log.apply(command), Err(stale.clone()));
    }
    let unknown = MetadataError::BrokerNotRegistered { broker: BrokerId(9) };
    assert_eq!(log.apply(unfence(9, 1)), Err(unknown));
    assert_eq!(log.image.fingerprint_at_zero(), before);
}

#[test]
fn a_replica_whose_disk_failed_leaves_the_isr_and_the_leadership_to_the_others() {
    let mut log = Log::of(3, &[]);
    let (broker, epoch) = (BROKER, log.epoch(1));
    let partitions = vec![(TOPIC, PartitionIndex(0)), (TOPIC, PartitionIndex(99))];
    assert_eq!(log.apply(Command::FailReplicas { broker, epoch, partitions }), Ok(Reply::Done));
    assert_eq!(log.shown(), "leader 2 isr [2, 3] elr [] epochs 1 1");
    let mut alone = Log::new();
    alone.create_one(&[1], &[]);
    let (epoch, partitions) = (alone.epoch(1), vec![(TOPIC, PartitionIndex(0))]);
    assert_eq!(alone.apply(Command::FailReplicas { broker, epoch, partitions }), Ok(Reply::Done));
    assert_eq!(alone.shown(), "leader 1 isr [1] elr [] epochs 0 1", "it can still be read");
}

#[test]
fn a_leader_whose_disk_failed_while_it_was_alone_is_replaced_by_the_first_that_joins_it() {
    let mut log = Log::of(3, &[]);
    log.set_isr(&[1]);
    log.fail(1);
    assert_eq!(log.shown(), "leader 1 isr [1] elr [] epochs 0 2", "nobody else has everything");
    log.set_isr(&[1, 3]);
    assert_eq!(log.shown(), "leader 3 isr [3] elr [] epochs 1 3");
    let joins = log.propose(log.proposal(&[3, 1]));
    assert!(matches!(joins, Err(MetadataError::IneligibleReplica { .. })), "{joins:?}");
    log.restart(1, true);
    log.unfence(1);
    log.set_isr(&[3, 1]);
    assert_eq!(log.partition().isr, ids(&[1, 3]), "its new process opened the log again");
}

#[test]
fn a_leader_whose_disk_failed_is_replaced_by_an_eligible_replica_when_there_is_one() {
    let mut log = Log::of(3, &[("min.insync.replicas", "2")]);
    log.set_isr(&[1, 2]);
    log.fence(2);
    assert_eq!(log.shown(), "leader 1 isr [1] elr [2] epochs 0 2");
    log.fail(1);
    assert_eq!(log.partition().leader, Some(BrokerId(1)), "the eligible one is fenced");
    log.unfence(2);
    assert_eq!(log.shown(), "leader 2 isr [2] elr [1] epochs 1 4");
    log.fence(2);
    assert_eq!(log.shown(), "leader none isr [2] elr [1] epochs 2 5", "1 could take nothing");
    let mut both = Log::with_brokers(2);
    both.create_one(&[1, 2], &[("min.insync.replicas", "2")]);
    both.fail(2);
    both.fail(1);
    assert_eq!(both.shown(), "leader 1 isr [1] elr [2] epochs 0 2", "neither can take anything");
}

#[test]
fn a_leader_whose_disk_failed_is_replaced_by_anybody_where_the_topic_allows_that() {
    let mut log = Log::of(3, &[("unclean.leader.election.enable", "true")]);
    log.set_isr(&[1]);
    log.fail(1);
    assert_eq!(log.shown(), "leader 2 isr [2] elr [] epochs 1 2");
    let mut alone = Log::new();
    alone.create_one(&[1], &[]);
    alone.fail(1);
    alone.fence(1);
    assert_eq!(alone.partition().leader, None);
    alone.unfence(1);
    assert_eq!(alone.partition().leader, Some(BrokerId(1)), "what it has can be read");
}

#[test]
fn a_broker_that_is_alive_is_not_replaced_by_one_with_another_directory() {
    let mut log = Log::of(3, &[]);
    let mut other = register(1, 2);
    let Command::RegisterBroker { directory, .. } = &mut other else { unreachable!("just made") };
    *directory = crate::types::DirectoryId(7);
    let refused = Err(MetadataError::DuplicateBroker { broker: BROKER });
    assert_eq!(log.apply(other.clone()), refused);
    log.shut_down(1);
    assert_eq!(log.apply(other.clone()), refused, "it may be the last that has everything");
    log.fence(1);
    assert!(log.apply(other).is_ok(), "what is fenced is taken to be dead");
}

#[test]
fn a_broker_that_returns_with_another_directory_has_lost_everything_it_had() {
    let mut log = Log::new();
    log.create_one(&[1], &[]);
    let mut command = register(1, 2);
    let Command::RegisterBroker { directory, .. } = &mut command else { unreachable!("just made") };
    *directory = crate::types::DirectoryId(7);
    log.fence(1);
    log.apply(command).expect("registered");
    assert_eq!(log.partition().last_known_leader, None, "electing it would save nothing");
    log.unfence(1);
    assert_eq!(log.shown(), "leader none isr [] elr [] epochs 1 2");
}

#[test]
fn a_restarted_leader_hands_over_and_never_resumes_its_epoch() {
    let mut log = Log::of(3, &[]);
    assert_eq!(log.shown(), "leader 1 isr [1, 2, 3] elr [] epochs 0 0");
    log.restart(1, true);
    assert_eq!(log.shown(), "leader 2 isr [2, 3] elr [] epochs 1 1");
    let mut alone = Log::new();
    alone.create_one(&[1], &[]);
    alone.restart(1, true);
    assert_eq!(alone.shown(), "leader none isr [1] elr [] epochs 1 1");
    assert_eq!(alone.partition().last_known_leader, Some(BROKER));
    alone.unfence(1);
    assert_eq!(alone.shown(), "leader 1 isr [1] elr [] epochs 2 2");
    assert_eq!(alone.partition().last_known_leader, None);
}

#[test]
fn a_fenced_broker_leaves_every_isr_with_another_member_in_one_command() {
    let mut log = Log::with_brokers(3);
    let replicas = vec![ids(&[1, 2, 3]), ids(&[2, 1]), ids(&[1]), ids(&[3, 2])];
    let id = log.create(NewTopic { replicas, ..topic("t", 1) }).expect("new");
    log.fence(1);
    let partitions = log.image.topic(id).expect("there").partitions.iter();
    let seen: Vec<_> = partitions.map(|it| (it.leader.map(|it| it.0), it.isr.clone())).collect();
    let expected =
        [(Some(2), ids(&[2, 3])), (Some(2), ids(&[2])), (None, ids(&[1])), (Some(3), ids(&[3, 2]))];
    assert_eq!(seen, expected);
    assert!(!log.image.leads_any(BROKER));
}

#[test]
fn fencing_again_and_unfencing_again_change_nothing() {
    let mut log = Log::of(3, &[]);
    log.fence(1);
    let fenced = log.image.fingerprint_at_zero();
    log.fence(1);
    assert_eq!(log.image.fingerprint_at_zero(), fenced);
    log.unfence(1);
    assert_eq!(log.shown(), "leader 2 isr [2, 3] elr [] epochs 1 1", "only its leader lets it in");
    let unfenced = log.image.fingerprint_at_zero();
    log.unfence(1);
    assert_eq!(log.image.fingerprint_at_zero(), unfenced);
}

#[test]
fn the_last_isr_member_stays_in_the_isr_when_it_is_fenced_and_leads_again_afterwards() {
    let mut log = Log::of(3, &[]);
    for broker in [3, 2, 1] {
        log.fence(broker);
    }
    assert_eq!(log.shown(), "leader none isr [1] elr [] epochs 1 3");
    log.unfence(2);
    log.unfence(3);
    assert_eq!(log.shown(), "leader none isr [1] elr [] epochs 1 3", "the others may lack records");
    log.unfence(1);
    assert_eq!(log.shown(), "leader 1 isr [1] elr [] epochs 2 4");
}

#[test]
fn a_controlled_shutdown_hands_over_before_the_broker_stops() {
    let mut log = Log::of(3, &[]);
    log.shut_down(1);
    assert_eq!(log.shown(), "leader 2 isr [2, 3] elr [] epochs 1 1");
    let registration = log.image.broker(BROKER).expect("registered");
    assert_eq!((registration.fenced, registration.in_controlled_shutdown), (false, true));
    assert!(!log.image.is_active(BROKER));
    log.shut_down(2);
    log.shut_down(3);
    assert_eq!(log.shown(), "leader none isr [3] elr [] epochs 3 3", "nobody is left to lead");
    log.restart(3, true);
    log.unfence(3);
    assert_eq!(log.shown(), "leader 3 isr [3] elr [] epochs 4 4");
}

#[test]
fn a_crash_loses_nothing_acknowledged_of_an_fsynced_topic() {
    let mut log = Log::of(3, &[("min.insync.replicas", "2")]);
    log.set_isr(&[1]);
    assert_eq!(log.shown(), "leader 1 isr [1] elr [2, 3] epochs 0 1");
    log.restart(2, false);
    assert_eq!(log.shown(), "leader 1 isr [1] elr [2, 3] epochs 0 1");
    log.restart(1, false);
    assert_eq!(log.shown(), "leader 3 isr [3] elr [1, 2] epochs 1 2");
}

#[test]
fn a_crash_costs_a_broker_its_place_in_isr_and_elr_of_a_replicated_topic() {
    let configs = [("min.insync.replicas", "2"), ("durability", "replicated")];
    let mut log = Log::of(3, &configs);
    assert_eq!(log.image.durability(TOPIC), Durability::Replicated);
    log.set_isr(&[1]);
    log.restart(2, false);
    assert_eq!(log.shown(), "leader 1 isr [1] elr [3] epochs 0 2");
    log.restart(3, true);
    assert_eq!(log.shown(), "leader 1 isr [1] elr [3] epochs 0 2", "it was stopped cleanly");
    log.restart(1, false);
    assert_eq!(log.shown(), "leader none isr [] elr [3] epochs 1 3");
    log.unfence(1);
    assert_eq!(log.shown(), "leader none isr [] elr [3] epochs 1 3", "broker 3 has more");
    log.unfence(3);
    assert_eq!(log.shown(), "leader 3 isr [3] elr [] epochs 2 4");
}

#[test]
fn only_a_fenced_broker_without_replicas_is_forgotten() {
    let mut log = Log::of(4, &[]);
    let unregister = |broker| Command::UnregisterBroker { broker: BrokerId(broker) };
    assert!(matches!(log.apply(unregister(4)), Err(MetadataError::BrokerInUse { .. })));
    log.fence(4);
    assert_eq!(log.apply(unregister(4)), Ok(Reply::Done));
    let unknown = MetadataError::BrokerNotRegistered { broker: BrokerId(4) };
    assert_eq!(log.apply(unregister(4)), Err(unknown));
    log.fence(3);
    assert!(matches!(log.apply(unregister(3)), Err(MetadataError::BrokerInUse { .. })));
    let first = log.image.applied();
    log.apply(register(4, 1)).expect("registering never fails");
    assert!(log.epoch(4).0 > first.0, "an epoch is granted once");
}

//! Rule tests: who leads.

use super::*;

fn elect(
    log: &mut Log,
    partitions: Option<Vec<(TopicId, PartitionIndex)>>,
    kind: ElectionKind,
) -> Vec<Result<(), MetadataError>> {
    match log.apply(Command::ElectLeaders { partitions, kind }) {
        Ok(Reply::LeadersElected(outcomes)) => outcomes.into_iter().map(|(_, it)| it).collect(),
        other => panic!("unexpected {other:?}"),
    }
}

const HERE: (TopicId, PartitionIndex) = (TOPIC, INDEX);

#[test]
fn a_new_partition_is_in_sync_where_brokers_are_alive() {
    let mut log = Log::with_brokers(3);
    log.fence(1);
    log.create_one(&[1, 2, 3], &[]);
    assert_eq!(log.shown(), "leader 2 isr [2, 3] elr [] epochs 0 0");
}

#[test]
fn a_partition_needs_a_live_broker_to_begin_on() {
    let mut log = Log::with_brokers(3);
    log.fence(1);
    log.shut_down(2);
    let mut new = topic("t", 7);
    new.replicas = vec![ids(&[3]), ids(&[1, 2])];
    let refused = log.create(new.clone());
    assert!(matches!(refused, Err(MetadataError::InvalidReplicas { .. })), "{refused:?}");
    new.replicas = vec![ids(&[1, 2, 3])];
    log.create(new).expect("3 is alive");
    let grown = Command::CreatePartitions {
        topic: TopicId([7; 16]),
        first: PartitionIndex(1),
        replicas: vec![ids(&[1, 2])],
    };
    let refused = log.apply(grown);
    assert!(matches!(refused, Err(MetadataError::InvalidReplicas { .. })), "{refused:?}");
}

#[test]
fn the_isr_comes_first_in_the_order_of_the_replicas() {
    let mut log = Log::with_brokers(3);
    log.create_one(&[3, 1, 2], &[]);
    log.fence(3);
    assert_eq!(log.shown(), "leader 1 isr [1, 2] elr [] epochs 1 1");
    log.unfence(3);
    log.fence(1);
    assert_eq!(log.shown(), "leader 2 isr [2] elr [] epochs 2 2", "3 is not in sync");
}

#[test]
fn an_eligible_leader_replica_leads_when_no_isr_member_can() {
    let mut log = Log::of(3, &[("min.insync.replicas", "3")]);
    log.set_isr(&[1]);
    log.fence(2);
    log.fence(1);
    assert_eq!(log.shown(), "leader 3 isr [3] elr [1, 2] epochs 1 2");
}

#[test]
fn the_last_known_leader_leads_when_isr_and_elr_are_empty_and_only_once_it_is_alive() {
    let mut log = Log::of(3, &[("durability", "replicated")]);
    log.set_isr(&[1]);
    log.restart(1, false);
    assert_eq!(log.shown(), "leader none isr [] elr [] epochs 1 2");
    assert_eq!(log.partition().last_known_leader, Some(BROKER));
    log.restart(2, false);
    log.unfence(2);
    assert_eq!(log.shown(), "leader none isr [] elr [] epochs 1 2");
    log.unfence(1);
    assert_eq!(log.shown(), "leader 1 isr [1] elr [] epochs 2 3");
}

#[test]
fn an_unclean_election_needs_leave_of_the_topic_or_the_cluster_or_an_operator() {
    let lost = || {
        let mut log = Log::of(3, &[("min.insync.replicas", "2")]);
        log.set_isr(&[1, 2]);
        log.fence(2);
        log.fence(1);
        assert_eq!(log.shown(), "leader none isr [1] elr [2] epochs 1 3");
        log
    };
    let expected = "leader 3 isr [3] elr [] epochs 2 4";
    let mut log = lost();
    log.set_config("unclean.leader.election.enable", "true");
    assert!(log.image.allows_unclean_election(TOPIC));
    assert_eq!(log.shown(), expected);
    let mut log = lost();
    log.set_default("unclean.leader.election.enable", "true");
    assert_eq!(log.shown(), expected);
    let mut log = lost();
    assert_eq!(elect(&mut log, Some(vec![HERE]), ElectionKind::Unclean), [Ok(())]);
    assert_eq!(log.shown(), expected);
    assert!(!log.image.allows_unclean_election(TOPIC));
    let again = elect(&mut log, Some(vec![HERE]), ElectionKind::Unclean);
    assert_eq!(again, [Err(MetadataError::ElectionNotNeeded)]);
    let mut log = lost();
    log.fence(3);
    let nobody = elect(&mut log, Some(vec![HERE]), ElectionKind::Unclean);
    assert_eq!(nobody, [Err(MetadataError::EligibleLeadersNotAvailable)]);
}

#[test]
fn the_preferred_leader_is_elected_when_it_is_in_sync() {
    let mut log = Log::of(3, &[]);
    let prefer = |log: &mut Log| elect(log, Some(vec![HERE]), ElectionKind::Preferred);
    assert_eq!(prefer(&mut log), [Err(MetadataError::ElectionNotNeeded)]);
    log.fence(1);
    log.unfence(1);
    let unavailable = MetadataError::PreferredLeaderNotAvailable { preferred: BROKER };
    assert_eq!(prefer(&mut log), [Err(unavailable)]);
    log.set_isr(&[1, 2, 3]);
    assert_eq!(log.shown(), "leader 2 isr [1, 2, 3] elr [] epochs 1 2");
    assert_eq!(prefer(&mut log), [Ok(())]);
    assert_eq!(log.shown(), "leader 1 isr [1, 2, 3] elr [] epochs 2 3");
}

#[test]
fn an_election_everywhere_tells_of_the_partitions_that_needed_one() {
    let mut log = Log::of(3, &[]);
    assert_eq!(elect(&mut log, None, ElectionKind::Preferred), []);
    log.fence(1);
    assert_eq!(elect(&mut log, None, ElectionKind::Preferred).len(), 1);
    let unknown = Some(vec![(TopicId([9; 16]), INDEX), (TOPIC, PartitionIndex(9))]);
    let outcomes = elect(&mut log, unknown, ElectionKind::Preferred);
    let expected = [
        Err(MetadataError::UnknownTopic { id: TopicId([9; 16]) }),
        Err(MetadataError::UnknownPartition { topic: TOPIC, index: PartitionIndex(9) }),
    ];
    assert_eq!(outcomes, expected);
}

//! What counts as a proof that nobody can serve a partition, and what does not.

use super::*;
use crate::history::{PartitionSeen, Topic};
use highwater_core::types::{LeaderEpoch, PartitionEpoch};

fn brokers(of: &[i32]) -> Vec<BrokerId> {
    of.iter().copied().map(BrokerId).collect()
}

/// A partition on brokers 1 to 3.
fn partition(leader: Option<i32>, isr: &[i32], elr: &[i32]) -> PartitionRegistration {
    PartitionRegistration {
        replicas: brokers(&[1, 2, 3]),
        isr: brokers(isr),
        elr: brokers(elr),
        last_known_leader: None,
        adding: Vec::new(),
        removing: Vec::new(),
        leader: leader.map(BrokerId),
        leader_epoch: LeaderEpoch(4),
        partition_epoch: PartitionEpoch(9),
        failed: vec![],
    }
}

/// Whether it is proven that nobody can serve it, with `min.insync.replicas` of 2.
fn is_proven(known: &PartitionRegistration, states: [State; 3]) -> bool {
    is_proven_with(known, states, false)
}

fn is_proven_with(known: &PartitionRegistration, states: [State; 3], any_may_lead: bool) -> bool {
    let brokers = (1..).map(BrokerId).zip(states).collect();
    let left = Left { known, brokers: &brokers, needed: 2, any_may_lead, lost_nothing: None };
    left.why().is_ok()
}

fn does_not_start() -> State {
    State::DoesNotStart("its disk is damaged".into())
}

const SERVES: State = State::InService;
const ROTTEN: State = State::Rotten;
const HANGS: State = State::Unexplained("neither gets ready nor says why");

#[test]
fn a_leader_whose_log_rotted_leads_nobody_and_nobody_else_may() {
    let known = partition(Some(1), &[1], &[]);
    assert!(is_proven(&known, [ROTTEN, SERVES, SERVES]));
    assert!(!is_proven(&known, [SERVES, SERVES, SERVES]));
    assert!(!is_proven_with(&known, [ROTTEN, SERVES, SERVES], true));
    assert!(!is_proven(&partition(Some(1), &[1], &[2]), [ROTTEN, SERVES, SERVES]));
    assert!(!is_proven(&partition(Some(1), &[1, 3], &[]), [ROTTEN, SERVES, SERVES]));
}

#[test]
fn a_replica_whose_log_rotted_does_not_count_as_one_that_could_be_in_sync() {
    let known = partition(Some(1), &[1], &[]);
    assert!(is_proven(&known, [SERVES, ROTTEN, ROTTEN]));
    assert!(is_proven(&known, [SERVES, ROTTEN, does_not_start()]));
    assert!(!is_proven(&known, [SERVES, ROTTEN, SERVES]));
}

#[test]
fn nobody_gets_in_sync_with_a_leader_whose_log_cannot_be_copied() {
    assert!(is_proven(&partition(Some(1), &[1], &[]), [State::Flipped, SERVES, SERVES]));
    assert!(!is_proven(&partition(Some(1), &[1, 2], &[]), [State::Flipped, SERVES, SERVES]));
    assert!(!is_proven(&partition(Some(1), &[1], &[]), [SERVES, State::Flipped, SERVES]));
}

#[test]
fn nobody_may_lead_where_all_who_had_everything_are_gone_for_a_reason() {
    let mut known = partition(None, &[1], &[2]);
    assert!(is_proven(&known, [ROTTEN, does_not_start(), SERVES]));
    assert!(!is_proven(&known, [ROTTEN, SERVES, SERVES]));
    known = partition(None, &[], &[]);
    assert!(is_proven(&known, [SERVES, SERVES, SERVES]));
    assert!(!is_proven_with(&known, [SERVES, SERVES, SERVES], true));
    known.last_known_leader = Some(BrokerId(3));
    assert!(!is_proven(&known, [SERVES, SERVES, SERVES]));
}

#[test]
fn a_broker_that_hangs_could_serve() {
    assert!(!is_proven(&partition(None, &[1], &[]), [HANGS, SERVES, SERVES]));
    assert!(!is_proven(&partition(Some(1), &[1], &[]), [SERVES, HANGS, ROTTEN]));
    let no_reason = State::Unexplained("is alive, and its log failed and is not rotten");
    assert!(!is_proven(&partition(Some(1), &[1], &[]), [SERVES, no_reason, ROTTEN]));
}

#[test]
fn a_cluster_that_hangs_as_a_whole_has_no_excuse() {
    let all = |states: [State; 2]| (1..).map(BrokerId).zip(states).collect();
    assert!(nobody_runs(&all([does_not_start(), does_not_start()])).is_ok());
    assert!(nobody_runs(&all([does_not_start(), HANGS])).is_err());
    assert!(nobody_runs(&all([HANGS, HANGS])).is_err());
}

#[test]
fn each_partition_that_nobody_serves_needs_a_proof_of_its_own() {
    let [one, other] = [0, 1].map(|index| Partition { topic: 0, index });
    let unserved =
        || vec![(one, "one is silent".to_owned()), (other, "other is silent".to_owned())];
    let proven = |_| Ok("its copies are gone".to_owned());
    let one_is_proven = |of| if of == one { proven(of) } else { Err("broker 2 may".to_owned()) };
    assert_eq!(excuses(unserved(), true, proven).map(|all| all.len()), Ok(2));
    let unproven = excuses(unserved(), true, one_is_proven);
    assert_eq!(unproven, Err("other is silent; and yet it could be: broker 2 may".into()));
    assert_eq!(excuses(unserved(), false, proven), Err("one is silent".into()));
}

#[test]
fn who_had_everything_may_only_be_forgotten_when_its_disk_was_lost_or_its_memory_counted() {
    for (wiped, stopped, is_replicated, expected) in [
        (&[2, 3][..], &[][..], false, None),
        (&[2], &[], false, Some(BrokerId(3))),
        (&[2], &[3], false, Some(BrokerId(3))),
        (&[2], &[3], true, None),
        (&[], &[], false, Some(BrokerId(2))),
    ] {
        let of = Partition { topic: 0, index: 0 };
        let mut history = History::default();
        history.topics.push(Topic { replicated: is_replicated, ..Topic::default() });
        for (offset, isr, elr) in [(1, vec![1, 2, 3], vec![]), (2, vec![2], vec![3])] {
            let seen = PartitionSeen { isr, elr, ..PartitionSeen::default() };
            let partitions = [(of, seen)].into();
            history.metadata.push(MetadataSeen { offset, partitions, ..MetadataSeen::default() });
        }
        let forgotten = [(of, PartitionSeen::default())].into();
        history.metadata.push(MetadataSeen {
            offset: 3,
            partitions: forgotten,
            ..MetadataSeen::default()
        });
        for broker in wiped {
            history.mark(*broker, MarkKind::Wiped);
        }
        for broker in stopped {
            history.mark(*broker, MarkKind::Stopped);
        }
        assert_eq!(lost_nothing(&history, of), expected);
    }
    let known = partition(None, &[], &[]);
    let brokers = (1..).map(BrokerId).zip([SERVES, SERVES, SERVES]).collect();
    let lost_nothing = Some(BrokerId(3));
    let left =
        Left { known: &known, brokers: &brokers, needed: 2, any_may_lead: false, lost_nothing };
    assert!(left.why().is_err());
}

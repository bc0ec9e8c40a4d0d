//! Heartbeats that make no sense by themselves.

use super::*;

#[test]
fn requests_that_make_no_sense_are_refused() {
    let joining = || join("a", &["t"]);
    let table = [
        ("no group", ConsumerHeartbeat { group: "".into(), ..joining() }),
        ("blank group", ConsumerHeartbeat { group: " ".into(), ..joining() }),
        ("no member that stays", stay("", 1)),
        ("no member that leaves", leave("")),
        ("empty instance", ConsumerHeartbeat { instance: Some("".into()), ..joining() }),
        ("empty rack", ConsumerHeartbeat { rack: Some("".into()), ..joining() }),
        ("no rebalance timeout", ConsumerHeartbeat { rebalance_timeout: None, ..joining() }),
        ("no owned partitions", ConsumerHeartbeat { owned: None, ..joining() }),
        (
            "joins and owns",
            ConsumerHeartbeat { owned: Some(partitions(&[(1, &[0])])), ..joining() },
        ),
        ("no subscription", ConsumerHeartbeat { topics: None, ..joining() }),
        (
            "leaves for now without an instance",
            ConsumerHeartbeat { epoch: MemberEpoch::LeaveForNow, ..stay("a", 0) },
        ),
        ("stays in epoch zero", stay("a", 0)),
    ];
    let mut world = World::with_topics(&[("t", 1)]);
    for (what, request) in table {
        let refusal = world.refused(&request);
        assert!(matches!(refusal, GroupError::InvalidRequest(_)), "{what}: {refusal:?}");
    }
    assert!(!world.groups.contains("g"));
}

#[test]
fn an_assignor_that_is_not_known_is_refused() {
    let mut world = World::with_topics(&[("t", 1)]);
    let request = ConsumerHeartbeat { assignor: Some("sticky".into()), ..join("a", &["t"]) };
    assert_eq!(world.refused(&request), GroupError::UnsupportedAssignor);
}

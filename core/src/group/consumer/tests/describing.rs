//! What others are told of consumer groups.

use super::*;
use crate::group::{ConsumerDescribed, ConsumerDescribedMember, GroupState, GroupType, Listed};

#[test]
fn a_group_is_described_with_what_its_members_have_and_are_to_have() {
    let mut world = World::with_topics(&[("t", 2)]);
    world.accepted(&ConsumerHeartbeat { rack: Some("r".into()), ..join_static("a", "i", &["t"]) });
    world.accepted(&join_matching("b", "t"));
    let first = ConsumerDescribedMember {
        member: "a".into(),
        instance: Some("i".into()),
        rack: Some("r".into()),
        epoch: Some(1),
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        topics: names(&["t"]),
        regular_expression: None,
        assignment: partitions(&[(1, &[0, 1])]),
        target: partitions(&[(1, &[0])]),
        is_classic: false,
    };
    let second = ConsumerDescribedMember {
        member: "b".into(),
        instance: None,
        rack: None,
        epoch: Some(2),
        topics: names(&[]),
        regular_expression: Some("t".into()),
        assignment: partitions(&[]),
        target: partitions(&[(1, &[1])]),
        ..first.clone()
    };
    let described = ConsumerDescribed {
        state: GroupState::Reconciling,
        epoch: 2,
        assignment_epoch: 2,
        assignor: "uniform".into(),
        members: vec![first, second],
    };
    assert_eq!(world.groups.describe("g"), Ok(described));
    assert_eq!(world.groups.describe("h"), Err(GroupError::GroupIdNotFound));
}

#[test]
fn groups_are_listed_by_id() {
    let mut world = World::with_topics(&[("t", 2)]);
    world.accepted(&join("a", &["t"]));
    world.accepted(&ConsumerHeartbeat { group: "f".into(), ..join("a", &["t"]) });
    world.accepted(&ConsumerHeartbeat { group: "f".into(), ..leave("a") });
    let listed = |group: &str, state| Listed {
        group: group.into(),
        protocol_type: "consumer".into(),
        state,
        kind: GroupType::Consumer,
    };
    let all: Vec<Listed> = world.groups.list().collect();
    assert_eq!(all, [listed("f", GroupState::Empty), listed("g", GroupState::Stable)]);
}

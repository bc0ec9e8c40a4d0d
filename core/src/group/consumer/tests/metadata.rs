//! What assignments depend on changes in the metadata.

use super::*;

#[test]
fn a_topic_that_grows_bumps_the_epoch_with_the_next_heartbeat() {
    let mut world = World::with_topics(&[("t", 1)]);
    world.accepted(&join("a", &["t"]));
    let before = world.group().value.metadata_hash;
    world.grow_topic(1, 2);
    let (records, told) = world.accepted(&stay("a", 1));
    let hash = world.group().value.metadata_hash;
    assert_ne!(hash, before);
    let target = partitions(&[(1, &[0, 1])]);
    assert_eq!(
        records,
        [
            group_record(2, hash),
            target_record("a", Some(target.clone())),
            target_epoch_record(2),
            current_record("a", Some(stable(2, 1, assigned(&[(1, &[(0, 1), (1, 2)])])))),
        ]
    );
    assert_eq!(told, answer("a", 2, Some(target)));
}

#[test]
fn a_topic_that_comes_is_assigned() {
    let mut world = World::new();
    world.accepted(&join("a", &["t"]));
    world.create_topic(1, "t", 1);
    let (_, told) = world.accepted(&stay("a", 1));
    assert_eq!(told, answer("a", 2, Some(partitions(&[(1, &[0])]))));
}

#[test]
fn a_topic_that_goes_is_given_up() {
    let mut world = World::with_topics(&[("t", 1)]);
    let mut a = Client::join(&mut world, "a", &["t"]);
    world.delete_topic(1);
    assert_eq!(world.beat(&mut a), answer("a", 1, Some(partitions(&[]))));
    assert_eq!(world.beat(&mut a), answer("a", 2, None));
    assert_eq!(world.group().value.metadata_hash, 0);
}

#[test]
fn a_topic_that_goes_and_comes_is_another_topic() {
    let mut world = World::with_topics(&[("t", 1)]);
    let mut a = Client::join(&mut world, "a", &["t"]);
    world.delete_topic(1);
    world.create_topic(2, "t", 1);
    assert_eq!(world.beat(&mut a), answer("a", 1, Some(partitions(&[]))));
    assert_eq!(world.beat(&mut a), answer("a", 2, Some(partitions(&[(2, &[0])]))));
}

#[test]
fn metadata_of_other_topics_changes_nothing() {
    let mut world = World::with_topics(&[("t", 1)]);
    world.accepted(&join("a", &["t"]));
    world.create_topic(2, "u", 1);
    let (records, _) = world.accepted(&stay("a", 1));
    assert_eq!(records, []);
}

#[test]
fn another_rack_of_a_replica_bumps_the_epoch() {
    let mut world = World::with_topics(&[("t", 1)]);
    world.accepted(&join("a", &["t"]));
    world.register(1, Some("r"));
    let (_, told) = world.accepted(&stay("a", 1));
    assert_eq!(epoch(&told), 2);
}

#[test]
fn members_read_in_their_racks_and_move_when_they_get_others() {
    let mut world = World::new();
    for (broker, rack) in [(1, "r"), (2, "s")] {
        world.register(broker, Some(rack));
    }
    let replicas = [2, 1, 2, 1].map(|broker| vec![BrokerId(broker)]).to_vec();
    let of = NewTopic { id: topic(1), name: "t".into(), replicas, configs: BTreeMap::new() };
    world.command(&Command::CreateTopics { topics: vec![of] });
    let in_rack =
        |id: &str, rack: &str| ConsumerHeartbeat { rack: Some(rack.into()), ..join(id, &["t"]) };
    world.accepted(&in_rack("a", "r"));
    world.accepted(&in_rack("b", "s"));
    let targets = |world: &World| {
        ["a", "b"].map(|id| (*world.group().target_of(&MemberId::from(id))).clone())
    };
    assert_eq!(targets(&world), [partitions(&[(1, &[1, 3])]), partitions(&[(1, &[0, 2])])]);
    // Where nobody is in the other rack, everything stays.
    let before = world.group().value.epoch;
    world.accepted(&in_rack("b", "r"));
    assert_eq!(world.group().value.epoch, before + 1);
    assert_eq!(targets(&world), [partitions(&[(1, &[1, 3])]), partitions(&[(1, &[0, 2])])]);
    world.accepted(&in_rack("a", "s"));
    assert_eq!(targets(&world), [partitions(&[(1, &[0, 2])]), partitions(&[(1, &[1, 3])])]);
    // A rack that only members name is none.
    world.accepted(&in_rack("a", "nowhere"));
    assert_eq!(targets(&world), [partitions(&[(1, &[0, 2])]), partitions(&[(1, &[1, 3])])]);
}

#[test]
fn the_same_metadata_has_the_same_hash_with_another_coordinator() {
    let mut world = World::with_topics(&[("t", 1), ("u", 3)]);
    world.accepted(&join("a", &["t", "u"]));
    world.fail_over();
    let (records, _) = world.accepted(&stay("a", 1));
    assert_eq!(records, []);
}

#[test]
fn a_change_while_nobody_coordinates_is_noticed() {
    let mut world = World::with_topics(&[("t", 1)]);
    world.accepted(&join("a", &["t"]));
    world.grow_topic(1, 2);
    world.fail_over();
    let (_, told) = world.accepted(&stay("a", 1));
    assert_eq!(epoch(&told), 2);
}

#[test]
fn a_change_that_a_refused_heartbeat_saw_is_not_forgotten() {
    let mut world = World::with_topics(&[("t", 1)]);
    world.accepted(&join("a", &["t"]));
    world.grow_topic(1, 2);
    let unknown =
        CurrentAssignmentValue { state: MemberState::Unknown, ..stable(1, 0, assigned(&[])) };
    world.replay(&[current_record("a", Some(unknown))]);
    assert_eq!(world.refused(&stay("a", 1)), GroupError::FencedMemberEpoch);
    let (_, told) = world.accepted(&join("a", &["t"]));
    assert_eq!(epoch(&told), 2);
}

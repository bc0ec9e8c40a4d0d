//! What is decided at once fits into one batch: what does not is refused and changes nothing.

use super::{both::*, *};
use crate::{
    coordinator::{Decision, Shard},
    group::{
        DECISION_BYTES_MAX, GROUP_DECISION_BYTES_MAX, GroupState, Join, Leaver, MigrationPolicy,
        Request, Response, limits::record_size,
    },
};
use alloc::{format, string::String};
use bytes::Bytes;

/// A name that is almost as long as one may be: few records about it are many bytes.
fn long() -> GroupId {
    "g".repeat(32_000).into()
}

fn id(number: usize) -> MemberId {
    format!("m{number:04}").into()
}

fn size(records: &[Record]) -> usize {
    records.iter().map(record_size).sum()
}

fn snapshot(members: usize) -> ClassicSnapshot {
    let member = |number| ClassicSnapshotMember {
        member: id(number),
        instance: None,
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        rebalance_timeout: REBALANCE,
        session_timeout: CLASSIC_SESSION,
        protocols: protocol(&[]),
        assignment: Bytes::new(),
    };
    ClassicSnapshot {
        is_recorded: true,
        protocol_type: "consumer".into(),
        generation: 1,
        members: (0..members).map(member).collect(),
    }
}

/// A group of that long name in epoch 1, whose members are such; their target is empty.
fn large_group(world: &mut World, members: usize, about: &ConsumerMemberValue) {
    let value = Some(ConsumerGroupValue { epoch: 1, metadata_hash: 0 });
    let mut records = vec![Record::ConsumerGroup { group: long(), value }];
    let name = long();
    for number in 0..members {
        let (group, member, value) = (name.clone(), id(number), Some(about.clone()));
        records.push(Record::ConsumerMember { group, member, value });
        let (group, member) = (name.clone(), id(number));
        let value = Some(stable(1, 0, assigned(&[])));
        records.push(Record::CurrentAssignment { group, member, value });
    }
    records.push(Record::TargetAssignmentEpoch { group: name, value: Some(1) });
    world.replay(&records);
}

#[test]
fn a_classic_group_that_is_too_large_for_one_decision_does_not_become_a_consumer_group() {
    let mut world = World::with_topics(&[("t", 3)]);
    let request = ConsumerHeartbeat { group: long(), ..join("c", &["t"]) };
    let mut ask = |members, records: &mut Vec<Record>| {
        let World { groups, image, config, now, .. } = &mut world;
        let classic = snapshot(members);
        let told = groups.heartbeat_of_upgrade(*now, image, config, &request, &classic, records);
        (told.map(|_| ()), groups.next_deadline())
    };
    let mut records = Vec::new();
    let refused = (Err(GroupError::GroupMaxSizeReached), None);
    assert_eq!(ask(700, &mut records), refused, "no session has begun");
    assert_eq!(records, []);
    assert_eq!(ask(500, &mut records).0, Ok(()));
    assert!((DECISION_BYTES_MAX..=GROUP_DECISION_BYTES_MAX).contains(&size(&records)));
}

#[test]
fn a_classic_group_that_is_too_large_goes_on_as_one() {
    let mut groups = Groups::new(&[("t", 2)], MigrationPolicy::Bidirectional);
    let topics: Vec<String> = (0..4_000).map(|number| format!("{number:0200}")).collect();
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    let metadata = Bytes::from(super::protocols::subscribe(3, &topics, &[], None));
    let parked: Vec<_> = (0..40)
        .map(|number| {
            let protocols = vec![("range".into(), metadata.clone())];
            let join = classic_join(&id(number), &[]);
            groups.ask(Request::Join(Join { member: "".into(), protocols, ..join })).0
        })
        .collect();
    let (records, told) = groups.heartbeat(join("c", &["t"]));
    assert_eq!((records.len(), told), (0, Err(GroupError::GroupMaxSizeReached)));
    assert_eq!(groups.state(), Some(GroupState::PreparingRebalance));
    groups.pass(Duration::from_secs(3));
    groups.pass(Duration::from_secs(3));
    for request in parked {
        let answer = groups.answer(request);
        assert!(matches!(answer, Response::Joined(Ok(_))), "it goes on");
    }
}

#[test]
fn a_heartbeat_that_would_write_more_than_one_decision_may_is_refused() {
    for (members, outcome) in [(1_500, Ok(())), (2_000, Err(GroupError::GroupMaxSizeReached))] {
        let mut world = World::with_topics(&[("t", 2_000)]);
        large_group(&mut world, members, &about(&["t"]));
        let beat = ConsumerHeartbeat { group: long(), ..stay(&id(0), 1) };
        assert_eq!(world.heartbeat(&beat).map(|_| ()), outcome, "{members}");
    }
}

#[test]
fn of_members_that_leave_together_as_many_go_as_one_decision_may_be_about() {
    let mut world = World::with_topics(&[("t", 2)]);
    large_group(&mut world, 400, &about_classic(&[]));
    let leaver = |number| Leaver { member: id(number), instance: None, reason: None };
    let leavers: Vec<Leaver> = (0..400).map(leaver).collect();
    let mut records = Vec::new();
    let World { groups, image, config, now, .. } = &mut world;
    let outcomes = groups.leave_classic(*now, image, config, &long(), &leavers, &mut records);
    let gone = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert!((100..300).contains(&gone), "{gone}");
    assert!(outcomes[gone..].iter().all(|it| matches!(it, Err(GroupError::InvalidRequest(_)))));
    assert!(size(&records) <= DECISION_BYTES_MAX + record_size(&records[0]));
    world.replay(&records);
    assert_eq!(world.groups.members(), 400 - gone);
}

#[test]
fn of_members_that_are_late_together_as_many_go_as_one_decision_may_be_about() {
    let mut world = World::with_topics(&[("t", 2)]);
    for number in 0..200 {
        // Each is alone in its group, and takes its expression with it.
        let group = format!("{number:032000}").into();
        world.accepted(&ConsumerHeartbeat { group, ..join_matching("m", "t.*") });
    }
    world.pass(world.config.consumer_session_timeout);
    let records = world.tick();
    let expressions = records.iter().filter(|it| matches!(it, Record::RegularExpression { .. }));
    assert!((50..200).contains(&expressions.count()));
    let last = 5 * record_size(&records[0]);
    assert!(size(&records) <= DECISION_BYTES_MAX + last, "{}", size(&records));
    world.tick();
    assert_eq!(world.groups.members(), 0);
}

#[test]
fn a_consumer_group_that_is_too_large_for_one_decision_does_not_become_a_classic_group() {
    for (members, becomes_classic) in [(100, true), (700, false)] {
        let mut world = World::with_topics(&[("t", 2)]);
        large_group(&mut world, members, &about_classic(&[]));
        let (group, member, value) = (long(), "c".into(), Some(about(&["t"])));
        world.replay(&[Record::ConsumerMember { group, member, value }]);
        let leave = ConsumerHeartbeat { group: long(), ..leave("c") };
        let (records, _) = world.accepted(&leave);
        assert!(size(&records) <= GROUP_DECISION_BYTES_MAX);
        assert_eq!(!world.groups.contains(&long()), becomes_classic);
        assert_eq!(world.groups.take_downgraded().len(), usize::from(becomes_classic));
    }
}

#[test]
fn expressions_that_match_more_than_is_written_at_once_are_looked_up_by_several_heartbeats() {
    let mut world = World::new();
    let create = |world: &mut World, numbers: core::ops::Range<u16>| {
        let topic = |number: u16| {
            let mut id = [9; 16];
            id[..2].copy_from_slice(&number.to_be_bytes());
            let (name, replicas) = (format!("x{number:0248}"), vec![vec![BrokerId(1)]]);
            NewTopic { id: TopicId(id), name, replicas, configs: BTreeMap::new() }
        };
        world.command(&Command::CreateTopics { topics: numbers.map(topic).collect() });
    };
    create(&mut world, 0..1_000);
    for number in 0..20 {
        world.accepted(&join_matching(&id(number), &format!("x.*|{number}")));
    }
    create(&mut world, 1_000..1_001);
    world.pass(Duration::from_secs(11));
    let mut resolved = || {
        let epoch = world.member(&id(19)).epoch();
        let (records, _) = world.accepted(&stay(&id(19), epoch));
        records.iter().filter(|it| matches!(it, Record::RegularExpression { .. })).count()
    };
    let (first, rest) = (resolved(), resolved());
    assert!((10..20).contains(&first), "{first}");
    assert_eq!((rest, resolved()), (20 - first, 0));
}

#[test]
fn a_tick_is_about_classic_groups_or_about_consumer_groups() {
    let mut groups = Groups::new(&[("t", 2)], MigrationPolicy::Bidirectional);
    groups.accepted(join("c", &["t"]));
    let classic = Join { group: "h".into(), member: "".into(), ..classic_join("a", &[]) };
    groups.ask(Request::Join(classic));
    groups.pass(Duration::from_secs(3));
    let is_about = |records: &[Record], group: &str| {
        !records.is_empty() && records.iter().all(|record| **record.group() == *group)
    };
    let records = groups.pass(Duration::from_secs(100));
    assert!(is_about(&records, "h"), "{records:?}");
    let due = groups.shard.next_deadline();
    assert!(due.is_some_and(|due| due <= groups.world.now.monotonic), "the rest stays due");
    let records = groups.pass(Duration::ZERO);
    assert!(is_about(&records, "g"), "{records:?}");
}

#[test]
fn groups_that_nobody_uses_go_as_many_at_once_as_one_decision_may_be_about() {
    let mut groups = Groups::new(&[("t", 2)], MigrationPolicy::Bidirectional);
    let value = Some(ConsumerGroupValue { epoch: 1, metadata_hash: 0 });
    let group = |number| Record::ConsumerGroup { group: format!("{number:032000}").into(), value };
    let records = (0..400).map(group).collect();
    groups.carry_out(Decision { records, ..Decision::default() });
    let records = groups.pass(groups.world.config.offsets_retention_check_interval);
    assert!(size(&records) <= DECISION_BYTES_MAX + 2 * record_size(&records[0]));
    groups.pass(Duration::ZERO);
    assert!(groups.shard.hard_state().consumer_groups.is_empty());
}

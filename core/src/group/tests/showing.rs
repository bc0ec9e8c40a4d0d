//! DescribeGroups and ListGroups.

use super::*;

fn describe(fixture: &mut Fixture) -> Described {
    match fixture.ask(Request::Describe { group: GROUP.into() }) {
        Response::Described(Ok(described)) => described,
        other => panic!("unexpected {other:?}"),
    }
}

#[test]
fn a_stable_group_shows_its_protocol_and_what_its_members_have() {
    let mut fixture = Fixture::new();
    fixture.completing(&["a"]);
    let completing = describe(&mut fixture);
    assert_eq!(completing.state, GroupState::CompletingRebalance);
    assert_eq!((&*completing.protocol_type, &*completing.protocol), ("consumer", ""));
    let mut member = DescribedMember {
        member: "a".into(),
        instance: None,
        client_id: "client".into(),
        client_host: "/10.0.0.1".into(),
        metadata: Bytes::new(),
        assignment: Bytes::new(),
    };
    assert_eq!(completing.members, [member.clone()]);
    fixture.assign(1, &["a"]);
    let stable = describe(&mut fixture);
    assert_eq!((stable.state, &*stable.protocol), (GroupState::Stable, "range"));
    member.metadata = subscription(&[TOPIC]);
    member.assignment = Bytes::from("a");
    assert_eq!(stable.members, [member.clone()]);
    fixture.join(first_join("b"));
    let mut rebalancing = describe(&mut fixture);
    assert_eq!(rebalancing.state, GroupState::PreparingRebalance);
    rebalancing.members.retain(|member| &*member.member == "a");
    (member.metadata, member.assignment) = (Bytes::new(), Bytes::new());
    assert_eq!(rebalancing.members, [member], "it does not show what is about to change");
}

#[test]
fn a_group_of_offsets_alone_is_an_empty_group_of_no_type() {
    let mut fixture = Fixture::new();
    let describe_it = || Request::Describe { group: GROUP.into() };
    let nobody_knows = Response::Described(Err(GroupError::GroupIdNotFound));
    assert_eq!(fixture.ask(describe_it()), nobody_knows);
    fixture.commit(nobody(), 5).expect("a simple group");
    let described = describe(&mut fixture);
    assert_eq!((described.state, &*described.protocol_type), (GroupState::Empty, ""));
}

#[test]
fn no_consumer_group_has_an_empty_id_and_other_groups_may() {
    let mut fixture = Fixture::new();
    let asked = Request::DescribeConsumer { group: "".into() };
    let refused = Response::ConsumerDescribed(Err(GroupError::InvalidGroupId));
    assert_eq!(fixture.ask(asked), refused);
    let asked = Request::Describe { group: "".into() };
    assert_eq!(fixture.ask(asked), Response::Described(Err(GroupError::GroupIdNotFound)));
}

#[test]
fn groups_are_listed_by_state_and_type_whatever_their_case() {
    let mut fixture = Fixture::new();
    fixture.stable(&["a"]);
    fixture.join(Join { group: "f".into(), protocol_type: "connect".into(), ..first_join("b") });
    let offsets = vec![to_commit(TOPIC, 5)];
    let commit = CommitOffsets { group: "h".into(), identity: nobody(), retention: None, offsets };
    fixture.send_commit(commit).expect("a simple group");
    let table: [(&[&str], &[&str], &[&str]); 8] = [
        (&[], &[], &["f connect PreparingRebalance", "g consumer Stable", "h  Empty"]),
        (&["Stable"], &[], &["g consumer Stable"]),
        (&["PREPARINGREBALANCE", "empty"], &[], &["f connect PreparingRebalance", "h  Empty"]),
        (&["Dead"], &[], &[]),
        (&["x"], &[], &[]),
        (&["Stable"], &["classic"], &["g consumer Stable"]),
        (&[], &["Consumer"], &[]),
        (&["Empty"], &["x", "Classic"], &["h  Empty"]),
    ];
    let strings = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
    for (states, types, expected) in table {
        let list = Request::List { states: strings(states), types: strings(types) };
        let Response::Listed(listed) = fixture.ask(list) else { panic!("a list") };
        let shown = listed.iter().map(|group| {
            assert_eq!(group.kind.name(), "classic");
            format!("{} {} {}", group.group, group.protocol_type, group.state.name())
        });
        assert_eq!(shown.collect::<Vec<_>>(), expected, "{states:?} {types:?}");
    }
}
